//! A run as an instance of the control plane: registered before it begins, heard of while it works, gone when it ends.
//! Gates then know of it, and no authority moves under it (R3, R6, R7).
//!
//! Absent here: what the run does. Losing the plane stops no run; it is asked again, and told the end.

use super::{Context, opening, output};
use crate::control::client::{Client, Refused, path};
use clap::Args;
use crossfade_api::exit::Exit;
use crossfade_api::problem::{Code, Problem};
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::{
    Acknowledgement, Departure, Heartbeat, HeartbeatAnswer, InstanceKind, MarkChange, MarkRef, MarksPage, Observations,
    Outcome, OwnedMark, Progress, Publication, Registered, Registration, RunEnd, RunTicket, SidesDoc, Status,
};
use crossfade_core::{CohortKey, Phase, Plan, Stage};
use crossfade_transfer::backfill::{self, Sides};
use crossfade_transfer::pace::{Control, Order};
use crossfade_transfer::progress::Counters;
use crossfade_transfer::retry::Retry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;

/// Which control plane knows of the run.
#[derive(Args, Clone, Debug)]
pub(super) struct PlaneArgs {
    /// Registers the run with this control plane [default: `url` of `[server]` in the file, if there is one]
    #[arg(long, value_name = "URL", env = "CROSSFADE_SERVER")]
    server: Option<String>,
    /// A file with its token; without it the variable CROSSFADE_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Why no run deletes rows of one side alone without `--delete-extra`, while promises are waived.
pub(super) const WAIVED: &str =
    "after a forced rollback, or a restore of the control plane, they may be writes that were acknowledged";

/// The longest pause between two signs of life: a step waits for this run to acknowledge.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
/// How long the plane is tried to be told the end.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// Rows done, and in all as far as known, of what the run is at.
type Look = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

/// What the run is at.
#[derive(Default)]
struct Place {
    table: String,
    look: Option<(Look, Instant)>,
    /// Rows of the tables before, read and expected.
    before: (u64, u64),
}

/// Who hears what happens.
#[derive(Clone)]
pub(crate) enum Voice {
    /// A person at a terminal, or a machine that reads lines.
    Aloud(Context),
    /// Nobody: whoever began the run tells of it.
    Silent,
}

impl Voice {
    fn say(&self, event: &str, text: &str) {
        match self {
            Voice::Aloud(context) => output::say(context, event, text),
            Voice::Silent => {}
        }
    }

    fn fail(&self, text: &str) {
        match self {
            Voice::Aloud(context) => output::fail(context, text),
            Voice::Silent => tracing::error!("{text}"),
        }
    }
}

struct Shared {
    voice: Voice,
    client: Client,
    id: String,
    instance: String,
    kind: InstanceKind,
    sides: Vec<SidesDoc>,
    control: Control,
    place: Mutex<Place>,
    /// Marks that are settled when the run has looked at every row.
    marks: Mutex<Vec<MarkRef>>,
    /// The plan that a repair takes the authority of rows from.
    working: Mutex<Option<Plan>>,
    /// What the plan in force says of it.
    longest_effect: Mutex<LongestEffect>,
}

/// A registered run.
pub(crate) struct Run {
    shared: Arc<Shared>,
    accompanied: JoinHandle<()>,
    /// Which claim of the target it works for (R10).
    pub(super) generation: u64,
}

/// A name that no other run has.
fn new_instance(kind: InstanceKind) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), nanos);
    format!("{}-{}-{random:012x}", kind.name(), std::process::id())
}

/// Whether a run of this kind may work under this plan, and why not.
fn unfit(kind: InstanceKind, plan: &Plan) -> Option<&'static str> {
    let (earlier, later) = plan.position().occupied();
    let settled = matches!(plan.phase(), Phase::Settled);
    let mirrored = earlier.is_mirrored() && later.is_mirrored();
    match kind {
        InstanceKind::Verify | InstanceKind::Application => (!mirrored).then_some(
            "both sides are held equal only while every key is dual-written: `crossfade ramp ID dual-write`",
        ),
        InstanceKind::Backfill => (!settled || !mirrored || later >= Stage::Live)
            .then_some("history moves while every key is at dual-write or shadow: `crossfade ramp ID dual-write`"),
        InstanceKind::Repair if !settled => {
            Some("no authority may move under a repair: run it again when the step under way has ended")
        }
        InstanceKind::Repair => (!earlier.is_mirrored() && !later.is_mirrored()).then_some(
            "no key is written on both sides, so that there is nothing to repair: `crossfade ramp ID dual-write`",
        ),
    }
}

/// Why a run of this kind may not work under this publication. A plan that this program cannot validate is no reason to go on: it may say anything.
fn unfit_under(kind: InstanceKind, publication: &Publication) -> Option<String> {
    match Plan::new(publication.plan.clone()) {
        Ok(plan) => unfit(kind, &plan).map(|why| format!("it is at `{}`: {why}", plan.position())),
        Err(error) => Some(format!(
            "this program cannot validate the plan of revision {} ({error}): use the version of the control plane for this run too, and try again",
            publication.revision
        )),
    }
}

/// Why a repair that works under `working` may not go on under the next plan: it would change which side a row is copied to (R6).
fn changes_roles(working: &Plan, next: &Publication) -> Option<String> {
    let next = match Plan::new(next.plan.clone()) {
        Ok(next) => next,
        // Said by `unfit_under`.
        Err(_) => return None,
    };
    let same = working.position() == next.position() && working.salt().text() == next.salt().text();
    let stages = [working.position().occupied(), next.position().occupied()];
    let stages = stages.map(|(earlier, later)| [earlier, later]).concat();
    let one_authority = stages
        .iter()
        .all(|stage| stage.is_mirrored() && Some(stage.authority()) == stages.first().map(|s| s.authority()));
    let settled = matches!(next.phase(), Phase::Settled);
    (!settled || !(same || one_authority)).then(|| {
        format!(
            "the step to `{}` changes the side that has authority for some keys: run the repair again after it",
            next.position()
        )
    })
}

/// For how long after a mark was reported a write of its row may still change a side. A mark that is cleared earlier would
/// hide what such a write leaves (R6).
#[derive(Clone, Copy, Default)]
struct LongestEffect {
    /// Where the instance that set it is gone: what it has sent may land for the linger.
    of_gone: Duration,
    /// Where the instance runs: a mirror that was under way when the mark was set waits for its turn and then runs, each
    /// for at most the secondary's time-out, and may land for the linger after that.
    of_running: Duration,
}

impl From<&crossfade_core::Options> for LongestEffect {
    fn from(options: &crossfade_core::Options) -> LongestEffect {
        LongestEffect { of_gone: options.linger, of_running: options.linger + options.secondary_timeout * 2 }
    }
}

impl Run {
    /// Registers a run with the plane that is named, waits until it may begin, and begins. `None` when no plane is
    /// named.
    pub(super) async fn begin(
        args: &PlaneArgs,
        context: &Context,
        id: &str,
        kind: InstanceKind,
        tables: &[opening::Opened],
        control: &Control,
    ) -> Result<Option<Run>, Exit> {
        let declared = opening::config(context)?.server;
        let server = args.server.clone().or_else(|| declared.as_ref()?.url.clone());
        let Some(server) = server else { return Ok(None) };
        let token_file = args.token_file.clone().or_else(|| declared.and_then(|declared| declared.token_file));
        let client = Client::new(&server, token_file.as_deref()).map_err(|failure| {
            output::fail(context, &failure.text());
            failure.exit()
        })?;
        let mut sides = Vec::new();
        for opening::Opened { pair, .. } in tables {
            let of = backfill::sides_of(pair, &Retry::default()).await;
            if let Some(Sides { source, target }) = of.map_err(|error| output::ended(context, &error))? {
                sides.push(SidesDoc { table: pair.name.clone(), source, target });
            }
        }
        let run = Run::join(client, Voice::Aloud(context.clone()), id, kind, sides, control).await?;
        output::say(context, "registered", &format!("{} is registered with {server}", run.shared.instance));
        Ok(Some(run))
    }

    /// Registers a run with this plane, waits until it may begin, and begins.
    pub(crate) async fn join(
        client: Client,
        voice: Voice,
        id: &str,
        kind: InstanceKind,
        sides: Vec<SidesDoc>,
        control: &Control,
    ) -> Result<Run, Exit> {
        let shared = Arc::new(Shared {
            voice,
            client,
            id: id.to_owned(),
            instance: new_instance(kind),
            kind,
            sides,
            control: control.clone(),
            place: Mutex::default(),
            marks: Mutex::default(),
            working: Mutex::default(),
            longest_effect: Mutex::default(),
        });
        let registered: Registered = shared
            .client
            .post(&path(id, "/instances"), &shared.registration(None))
            .await
            .map_err(|no| shared.no(no))?;
        if !registered.other_databases.is_empty() {
            let text = format!(
                "table `{}`: these are other databases than those that the last run of this migration wrote between: if that is not meant, stop this run and correct `source` and `target`",
                registered.other_databases.join("`, `")
            );
            shared.voice.say("other_databases", &text);
        }
        let every = Duration::from_millis(registered.heartbeat_ms).min(SIGN_OF_LIFE);
        let accompanied = tokio::spawn(accompany(Arc::clone(&shared), registered.publication, every));
        let run = Run { shared, accompanied, generation: 0 };
        match run.may_begin().await {
            Ok(ticket) => {
                let options = &ticket.publication.plan.options;
                *run.shared.longest_effect.lock().unwrap_or_else(PoisonError::into_inner) = options.into();
                if kind == InstanceKind::Repair {
                    let plan = Plan::new(ticket.publication.plan.clone()).ok();
                    *run.shared.working.lock().unwrap_or_else(PoisonError::into_inner) = plan;
                }
                Ok(Run { generation: ticket.generation, ..run })
            }
            Err(exit) => {
                run.leave().await;
                Err(exit)
            }
        }
    }

    /// Asks until the plane lets it begin; says what it waits for.
    async fn may_begin(&self) -> Result<RunTicket, Exit> {
        let shared = &self.shared;
        let mut said = String::new();
        loop {
            let answer = shared.client.post::<RunTicket>(&shared.path("/begin"), &()).await;
            let problem = match answer {
                // The plane lets a repair run wherever both sides are written; this command is narrower.
                Ok(ticket) => return shared.fit(&ticket.publication).map(|()| ticket),
                Err(Refused::Problem(problem)) if matches!(problem.code, Code::NotReady | Code::StepUnderWay) => {
                    problem
                }
                Err(no) => return Err(shared.no(no)),
            };
            // What only an operator can change is not waited for.
            let plan: Publication = shared.client.get(&path(&shared.id, "/plan")).await.map_err(|no| shared.no(no))?;
            if problem.code == Code::NotReady {
                shared.fit(&plan)?;
            }
            let waits = waits(&problem);
            if waits != said {
                shared.voice.say("waiting", &waits);
                said = waits;
            }
            if shared.control.is_stopped() {
                return Err(Exit::Unknown);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The run is at this table now.
    pub(super) fn at(&self, table: &str, counters: &Arc<Counters>) {
        let counters = Arc::clone(counters);
        self.follow(table, move || (Counters::get(&counters.read), Counters::get(&counters.expected)));
    }

    /// The run is at this now; `look` says how many rows are done, and how many there are about.
    pub(crate) fn follow(&self, what: &str, look: impl Fn() -> (u64, u64) + Send + Sync + 'static) {
        let mut place = self.shared.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, _)) = place.look.take() {
            let (done, total) = before();
            place.before.0 += done;
            place.before.1 += total.max(done);
        }
        place.table = what.to_owned();
        place.look = Some((Box::new(look), Instant::now()));
    }

    /// The plan that a repair works under; `None` for other runs.
    pub(super) fn plan(&self) -> Option<Plan> {
        self.shared.working.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether rows of one side alone may be acknowledged writes: after a forced rollback (R20) or a restore of the control plane (R21), until a verification
    /// passes. So they may if the plane does not say.
    pub(super) async fn is_waived(&self) -> bool {
        let shared = &self.shared;
        match shared.client.get::<Status>(&path(&shared.id, "")).await {
            Ok(status) => status.evidence.waived_since.is_some(),
            Err(no) => {
                shared.voice.say("plane_lost", &format!("going on as after a forced rollback: {}", words(&no)));
                true
            }
        }
    }

    /// Takes up the marks that the control plane knows of, of these tables: a complete end of this run clears them, in the generation that they have now. Reads that
    /// clear a mark begin after the linger of what set it (R6), so that this waits. Marks of other tables, and of keys that this run leaves alone, stay.
    pub(super) async fn take_marks(&self, looked_at: &[&str], only_table: bool, control: &Control) {
        let shared = &self.shared;
        let page = match shared.client.get::<MarksPage>(&path(&shared.id, "/marks")).await {
            Ok(page) => page,
            Err(no) => return shared.voice.say("plane_lost", &format!("marks are left as they are: {}", words(&no))),
        };
        let plan = self.plan();
        let mirrored = |cohort: &str| match (&plan, CohortKey::new(cohort)) {
            (Some(plan), Ok(key)) => plan.decide(key).stage.is_mirrored(),
            (None, _) | (_, Err(_)) => false,
        };
        // A DAO that names no table calls it by the migration's id: which table that is, is known only where there is one.
        let is_looked_at = |table: &str| {
            if table == shared.id { only_table } else { looked_at.contains(&table) }
        };
        let (taken, left): (Vec<_>, Vec<_>) = page
            .marks
            .into_iter()
            .partition(|OwnedMark { mark, .. }| is_looked_at(&mark.table) && mirrored(&mark.cohort));
        if !left.is_empty() {
            let mut tables: Vec<&str> = left.iter().map(|owned| owned.mark.table.as_str()).collect();
            tables.sort_unstable();
            tables.dedup();
            let text = format!(
                "{} marks are left as they are: this run does not look at their rows (tables `{}`)",
                left.len(),
                tables.join("`, `")
            );
            shared.voice.say("marks_left", &text);
        }
        if taken.is_empty() {
            return;
        }
        let longest = *shared.longest_effect.lock().unwrap_or_else(PoisonError::into_inner);
        let linger = if taken.iter().all(|owned| owned.gone) { longest.of_gone } else { longest.of_running };
        let text = format!(
            "{} marked rows: waiting {} s, until no write that marked one can still land",
            taken.len(),
            linger.as_secs_f64()
        );
        shared.voice.say("waiting", &text);
        let until = Instant::now() + linger;
        while Instant::now() < until && !control.is_stopped() {
            tokio::time::sleep(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(200))).await;
        }
        let taken = taken.into_iter().map(|OwnedMark { instance, mark, gone: _ }| MarkRef {
            instance: Some(instance),
            table: mark.table,
            row: mark.row,
            generation: mark.generation,
        });
        *shared.marks.lock().unwrap_or_else(PoisonError::into_inner) = taken.collect();
    }

    /// Tells the plane how the run ended, and leaves. The exit code stays, unless the plane could not be told.
    pub(crate) async fn end(self, outcome: Outcome, exit: Exit) -> Exit {
        let shared = Arc::clone(&self.shared);
        let taken = std::mem::take(&mut *shared.marks.lock().unwrap_or_else(PoisonError::into_inner));
        let cleared = if matches!(outcome, Outcome::Complete) { taken } else { Vec::new() };
        let marks = MarkChange { cleared, ..MarkChange::default() };
        let end = RunEnd { outcome, marks, progress: Some(shared.progress()) };
        let began = Instant::now();
        let told = loop {
            match shared.client.post::<()>(&shared.path("/end"), &end).await {
                Ok(()) => break Ok(()),
                Err(Refused::Problem(problem)) => break Err(problem.detail.clone()),
                Err(Refused::Failure(failure)) if began.elapsed() > TOLD_WITHIN => break Err(failure.text()),
                Err(Refused::Failure(_)) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        };
        self.leave().await;
        match told {
            Ok(()) => exit,
            Err(why) => {
                let text = format!("the control plane does not know how this run ended ({why}): run the command again");
                shared.voice.fail(&text);
                if exit == Exit::Done { Exit::Unreachable } else { exit }
            }
        }
    }

    async fn leave(self) {
        self.accompanied.abort();
        let shared = &self.shared;
        if let Err(no) = shared.client.post::<()>(&shared.path("/goodbye"), &Departure::default()).await {
            shared.voice.say("no_goodbye", &format!("the control plane will miss this run: {}", words(&no)));
        }
    }
}

impl Shared {
    fn path(&self, rest: &str) -> String {
        path(&self.id, &format!("/instances/{}{rest}", self.instance))
    }

    fn registration(&self, holding: Option<Publication>) -> Registration {
        Registration {
            instance: self.instance.clone(),
            kind: self.kind,
            host: std::env::var("HOSTNAME").unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            holding,
            seen: None,
            tables: None,
            sides: self.sides.clone(),
        }
    }

    /// Says why the run may not work under this plan, if it may not.
    fn fit(&self, publication: &Publication) -> Result<(), Exit> {
        let Some(why) = unfit_under(self.kind, publication) else { return Ok(()) };
        self.voice.fail(&why);
        Err(Exit::Refused)
    }

    /// Says why not, and with which exit code.
    fn no(&self, no: Refused) -> Exit {
        self.voice.fail(&words(&no));
        match no {
            Refused::Problem(problem) => problem.code.exit(),
            Refused::Failure(failure) => failure.exit(),
        }
    }

    fn progress(&self) -> Progress {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut done, mut total) = place.before;
        let mut rate = 0;
        if let Some((look, since)) = &place.look {
            let (read, expected) = look();
            done += read;
            total += expected.max(read);
            let seconds = since.elapsed().as_millis().max(1);
            rate = u64::try_from(u128::from(read) * 1_000 / seconds).unwrap_or(u64::MAX);
        }
        Progress { done, total: (total > 0).then_some(total), rate, note: place.table.clone() }
    }
}

fn words(no: &Refused) -> String {
    match no {
        Refused::Problem(problem) => waits(problem),
        Refused::Failure(failure) => failure.text(),
    }
}

fn waits(problem: &Problem) -> String {
    if problem.waiting_for.is_empty() {
        return problem.detail.clone();
    }
    format!("{} (waiting for {})", problem.detail, problem.waiting_for.join(", "))
}

/// Signs of life with progress; takes every later plan, or stops the run where it must not go on under it.
async fn accompany(shared: Arc<Shared>, first: Publication, every: Duration) {
    let mut held = first;
    let mut sequence = 0;
    let mut lost = false;
    acknowledge(&shared, held.revision).await;
    loop {
        tokio::time::sleep(every).await;
        sequence += 1;
        let beat = Heartbeat {
            revision: held.revision,
            sequence,
            observations: Observations::default(),
            marks: MarkChange::default(),
            progress: Some(shared.progress()),
            tables: None,
        };
        match shared.client.post::<HeartbeatAnswer>(&shared.path("/heartbeat"), &beat).await {
            Ok(answer) => {
                lost = false;
                if answer.revision == held.revision {
                    continue;
                }
                let Ok(next) = shared.client.get::<Publication>(&path(&shared.id, "/plan")).await else { continue };
                let working = shared.working.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let turned = || working.as_ref().and_then(|working| changes_roles(working, &next));
                match unfit_under(shared.kind, &next).or_else(turned) {
                    None => {
                        held = next;
                        acknowledge(&shared, held.revision).await;
                    }
                    // The step waits until the run has ended and said goodbye.
                    Some(why) if !shared.control.is_stopped() => {
                        shared.voice.say("stopping", &format!("the migration moves on, stopping: {why}"));
                        shared.control.tell(Order::Stop);
                    }
                    Some(_) => {}
                }
            }
            Err(Refused::Problem(problem)) if problem.code == Code::UnknownInstance => {
                // A plane restored from a backup learns what this run has seen (R21); its run does not count there.
                let again = shared.registration(Some(held.clone()));
                if let Ok(registered) = shared.client.post::<Registered>(&path(&shared.id, "/instances"), &again).await
                {
                    held = registered.publication;
                    acknowledge(&shared, held.revision).await;
                }
            }
            Err(no) if !lost => {
                lost = true;
                shared.voice.say("plane_lost", &format!("going on without an answer: {}", words(&no)));
            }
            Err(_) => {}
        }
    }
}

async fn acknowledge(shared: &Shared, revision: RevisionText) {
    let body = Acknowledgement { revision, marks: MarkChange::default(), tables: None };
    // Unheard, the next sign of life brings it up again.
    if let Err(no) = shared.client.post::<HeartbeatAnswer>(&shared.path("/acknowledge"), &body).await {
        shared.voice.say("plane_lost", &words(&no));
    }
}
