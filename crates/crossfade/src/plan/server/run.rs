//! A backfill, a verification or a repair of this process, as an instance of its own beside the application's.
//!
//! The run registers, begins when the control plane lets it, sends heartbeats with its progress, and ends with its
//! outcome. It acknowledges a later plan only when this process has that plan in force, every row under an earlier
//! one has ended, and the run may work under it. Otherwise it stops, and the step waits until it has ended.

use super::wire::{Silence, Wire};
use super::{LONGEST_PAUSE, Token, jittered, new_instance};
use crate::plan::Steward;
use crate::plan::runs::{
    NotRegistered, RegisterRuns, RunCount, RunKind, RunMembership, RunOutcome, RunRegistrar, RunRequest,
};
use crossfade_api::problem::{Code, Problem};
use crossfade_api::wire::{
    Acknowledgement, Departure, Heartbeat, HeartbeatAnswer, InstanceKind, MarkChange, MarkRef, MarksPage, Observations,
    Outcome, Progress, Registered, Registration, RunEnd, RunTicket,
};
use crossfade_core::Revision;
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// The longest pause between two heartbeats of a run: a step waits for the run to acknowledge.
const LONGEST_BEAT: Duration = Duration::from_millis(500);
/// How long an unreachable control plane is tried for, at the beginning and at the end of a run.
const TRIED_FOR: Duration = Duration::from_secs(30);
/// The pause between two questions whether the run may begin.
const ASK_AGAIN: Duration = Duration::from_millis(200);

type Ending = oneshot::Receiver<(RunOutcome, oneshot::Sender<Result<(), String>>)>;

/// Registers the runs of this process.
pub(super) struct Registrar {
    pub(super) http: reqwest::Client,
    pub(super) url: String,
    pub(super) token: Token,
    pub(super) host: String,
}

impl Registrar {
    pub(super) fn port(self) -> RunRegistrar {
        RunRegistrar(Arc::new(self))
    }
}

impl RegisterRuns for Registrar {
    fn begin(&self, request: RunRequest, linger: Duration) -> BoxFuture<'static, Result<RunMembership, NotRegistered>> {
        let instance = format!("{}-{}", kind(request.kind).name(), new_instance(&self.host));
        let wire = Wire {
            http: self.http.clone(),
            base: format!("{}/v1/migrations/{}/instances", self.url, request.migration),
            instance,
            host: self.host.clone(),
            token: self.token.clone(),
        };
        Box::pin(begin(wire, request, linger))
    }
}

const fn kind(kind: RunKind) -> InstanceKind {
    match kind {
        RunKind::Backfill => InstanceKind::Backfill,
        RunKind::Verify => InstanceKind::Verify,
        RunKind::Repair => InstanceKind::Repair,
    }
}

/// What the run and the task that keeps it registered share.
struct Shared {
    wire: Wire,
    migration: String,
    kind: RunKind,
    steward: Steward,
    count: Arc<dyn Fn() -> RunCount + Send + Sync>,
    stop: Arc<watch::Sender<Option<String>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The revision that the run has acknowledged; none before it has begun.
    begun: Option<Revision>,
    /// Marks that a complete end of the run clears, in the generation that the run has seen.
    marks: Vec<MarkRef>,
}

async fn begin(wire: Wire, request: RunRequest, linger: Duration) -> Result<RunMembership, NotRegistered> {
    let RunRequest { migration, kind, steward, runtime, count, stop, clears_marks } = request;
    let shared = Arc::new(Shared { wire, migration, kind, steward, count, stop, state: Mutex::default() });
    let registered = shared.register().await?;
    let every = Duration::from_millis(registered.heartbeat_ms.max(50)).min(LONGEST_BEAT);
    let (ending, ended) = oneshot::channel();
    // From here on the control plane waits for this run: the task says goodbye however the run ends.
    runtime.spawn(keep(Arc::clone(&shared), every, linger, ended));
    let ticket = shared.may_begin().await?;
    shared.state().begun = Some(ticket.publication.revision.0);
    shared.has_plan(ticket.publication.revision.0).await?;
    if clears_marks {
        shared.take_marks(linger).await?;
    }
    Ok(RunMembership { claim: ticket.generation, ending })
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, rest: &str) -> String {
        format!("/{}{rest}", self.wire.instance)
    }

    async fn register(&self) -> Result<Registered, NotRegistered> {
        let registration = Registration {
            instance: self.wire.instance.clone(),
            kind: kind(self.kind),
            host: self.wire.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            holding: None,
            seen: None,
            tables: None,
            sides: Vec::new(),
        };
        let (began, mut pause) = (Instant::now(), Duration::from_millis(100));
        loop {
            match self.wire.post::<Registered>("", &registration).await {
                Ok(registered) => return Ok(registered),
                Err(Silence::Refused(problem)) if !super::waits(problem.code) => {
                    return Err(NotRegistered::Refused(text(&problem)));
                }
                Err(silence) if began.elapsed() > TRIED_FOR => {
                    return Err(NotRegistered::Refused(format!("the control plane cannot be reached: {silence}")));
                }
                Err(silence) => {
                    tracing::warn!(migration = %self.migration, %silence, "the {} is not registered yet: the control plane is asked again", self.kind.name());
                }
            }
            self.pause(jittered(pause)).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sleeps, unless the run is told to stop.
    async fn pause(&self, pause: Duration) -> Result<(), NotRegistered> {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            why = stop.wait_for(Option::is_some) => {
                // The sender lives in `self`: waiting ends by a reason alone.
                let why = why.ok().and_then(|why| why.clone()).unwrap_or_default();
                Err(NotRegistered::Stopped(why))
            }
        }
    }

    /// Asks until the control plane lets the run begin. What only an operator can change is an error instead.
    async fn may_begin(&self) -> Result<RunTicket, NotRegistered> {
        let mut said = String::new();
        let mut lost_since = None;
        loop {
            let waits_for = match self.wire.post::<RunTicket>(&self.path("/begin"), &()).await {
                Ok(ticket) => return Ok(ticket),
                Err(Silence::Refused(problem)) if matches!(problem.code, Code::NotReady | Code::StepUnderWay) => {
                    lost_since = None;
                    let plan = self.steward.standing().map(|(plan, _)| plan);
                    let unfit = plan.as_ref().and_then(|plan| self.kind.unfit(plan));
                    if let (Code::NotReady, Some(why)) = (problem.code, unfit) {
                        return Err(NotRegistered::Refused(why.to_owned()));
                    }
                    text(&problem)
                }
                Err(Silence::Refused(problem)) if !super::waits(problem.code) => {
                    return Err(NotRegistered::Refused(text(&problem)));
                }
                Err(silence) => {
                    let since = *lost_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > TRIED_FOR {
                        return Err(NotRegistered::Refused(format!("the control plane cannot be reached: {silence}")));
                    }
                    silence.to_string()
                }
            };
            if waits_for != said {
                tracing::info!(migration = %self.migration, run = %self.wire.instance, %waits_for, "the {} waits until it may begin", self.kind.name());
                said = waits_for;
            }
            self.pause(ASK_AGAIN).await?;
        }
    }

    /// Waits until this process has the plan under which the run begins: a process that follows the plan no longer
    /// would work under roles that the fleet has left.
    async fn has_plan(&self, revision: Revision) -> Result<(), NotRegistered> {
        let began = Instant::now();
        loop {
            match self.steward.standing() {
                None => return Err(NotRegistered::Stopped("the migration was dropped".to_owned())),
                Some((_, here)) if here >= revision => return Ok(()),
                Some((_, here)) if began.elapsed() > TRIED_FOR => {
                    return Err(NotRegistered::Refused(format!(
                        "this process is at revision {}, and the control plane at {}: a process that has left the fleet can begin no run",
                        here.number, revision.number
                    )));
                }
                Some(_) => self.pause(ASK_AGAIN).await?,
            }
        }
    }

    /// Takes up the marks of instances that are gone, and waits until no write that set one can still land (R6). The
    /// marks of instances that run are left to them: only they know whether a write of such a row is under way.
    async fn take_marks(&self, linger: Duration) -> Result<(), NotRegistered> {
        let page = match self.wire.get::<MarksPage>("/marks").await {
            Ok(page) => page,
            Err(silence) => {
                tracing::warn!(migration = %self.migration, %silence, "the marks of instances that are gone stay as they are");
                return Ok(());
            }
        };
        let gone = page.marks.into_iter().filter(|owned| owned.gone).map(|owned| MarkRef {
            instance: Some(owned.instance),
            table: owned.mark.table,
            row: owned.mark.row,
            generation: owned.mark.generation,
        });
        let marks: Vec<MarkRef> = gone.collect();
        if !marks.is_empty() {
            tracing::info!(migration = %self.migration, marks = marks.len(), ?linger, "the repair waits until no write that marked a row can still land");
            self.pause(linger).await?;
            self.state().marks = marks;
        }
        Ok(())
    }

    /// Tells the control plane how the run ended.
    async fn end(&self, outcome: RunOutcome) -> Result<(), String> {
        let cleared = match outcome {
            RunOutcome::Complete => std::mem::take(&mut self.state().marks),
            RunOutcome::Interrupted | RunOutcome::Verdict(_) => Vec::new(),
        };
        let outcome = match outcome {
            RunOutcome::Complete => Outcome::Complete,
            RunOutcome::Interrupted => Outcome::Interrupted,
            RunOutcome::Verdict(verdict) => Outcome::Verdict(verdict),
        };
        let marks = MarkChange { cleared, ..MarkChange::default() };
        let end = RunEnd { outcome, marks, progress: Some(self.progress()) };
        let began = Instant::now();
        loop {
            match self.wire.post::<()>(&self.path("/end"), &end).await {
                Ok(()) => return Ok(()),
                Err(Silence::Refused(problem)) if !super::waits(problem.code) => return Err(text(&problem)),
                Err(silence) if began.elapsed() > TRIED_FOR => return Err(silence.to_string()),
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }

    async fn goodbye(&self) {
        if let Err(silence) = self.wire.goodbye(&Departure::default()).await {
            tracing::warn!(migration = %self.migration, run = %self.wire.instance, %silence, "the control plane did not hear that this run has ended, and will report it as silent");
        }
    }

    fn progress(&self) -> Progress {
        let RunCount { done, total, rate, table } = (self.count)();
        Progress { done, total, rate, note: table }
    }

    fn stop(&self, why: &str) {
        self.stop.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                *reason = Some(why.to_owned());
            }
            first
        });
    }

    async fn beat(&self, sequence: u64, lost: &mut bool) {
        let Some((_, here)) = self.steward.standing() else { return self.stop("the migration was dropped") };
        let revision = self.state().begun.unwrap_or(here);
        let beat = Heartbeat {
            revision: revision.into(),
            sequence,
            observations: Observations::default(),
            marks: MarkChange::default(),
            progress: Some(self.progress()),
            tables: None,
        };
        match self.wire.post::<HeartbeatAnswer>(&self.path("/heartbeat"), &beat).await {
            Ok(_) => *lost = false,
            Err(Silence::Refused(problem)) if problem.code == Code::UnknownInstance => {
                self.stop("the control plane does not know this run any more: it was evicted, or the control plane was restored");
            }
            Err(silence) => {
                if !std::mem::replace(lost, true) {
                    tracing::warn!(migration = %self.migration, run = %self.wire.instance, %silence, "the {} goes on without the control plane", self.kind.name());
                }
            }
        }
    }

    /// Acknowledges the plan of this process, or stops the run where it may not work under that plan.
    async fn take_plan(&self) {
        let Some(begun) = self.state().begun else { return };
        let Some((plan, revision)) = self.steward.standing() else { return self.stop("the migration was dropped") };
        if revision <= begun {
            return;
        }
        if let Some(why) = self.kind.unfit(&plan) {
            return self.stop(why);
        }
        // The rows that are under way end within a few time-outs; asked again after each heartbeat until they have.
        let ended = tokio::time::timeout(LONGEST_BEAT, self.steward.acknowledged()).await;
        let (Ok(Some((acknowledged, _))), Some((plan, here))) = (ended, self.steward.standing()) else { return };
        if acknowledged != here || self.kind.unfit(&plan).is_some() {
            return;
        }
        let body = Acknowledgement { revision: here.into(), marks: MarkChange::default(), tables: None };
        if self.wire.post::<HeartbeatAnswer>(&self.path("/acknowledge"), &body).await.is_ok() {
            self.state().begun = Some(here);
        }
    }
}

/// Keeps a run registered until it has ended.
async fn keep(shared: Arc<Shared>, every: Duration, linger: Duration, mut ending: Ending) {
    let Some(mut plans) = shared.steward.watch_plan() else { return };
    let (mut sequence, mut lost) = (0, false);
    // Since when the run is dropped: its last effects may still land.
    let mut dropped: Option<Instant> = None;
    loop {
        if dropped.is_some_and(|since| since.elapsed() >= linger) {
            if shared.state().begun.is_some()
                && let Err(why) = shared.end(RunOutcome::Interrupted).await
            {
                tracing::warn!(migration = %shared.migration, run = %shared.wire.instance, %why, "the control plane does not know that this run was interrupted");
            }
            return shared.goodbye().await;
        }
        tokio::select! {
            biased;
            end = &mut ending, if dropped.is_none() => match end {
                Ok((outcome, answer)) => {
                    let told = shared.end(outcome).await;
                    shared.goodbye().await;
                    // Whoever waited for it may have given up.
                    let _ = answer.send(told);
                    return;
                }
                // A run that has not begun has had no effect.
                Err(_) if shared.state().begun.is_none() => return shared.goodbye().await,
                Err(_) => dropped = Some(Instant::now()),
            },
            Ok(()) = plans.changed() => shared.take_plan().await,
            () = tokio::time::sleep(every) => {
                sequence += 1;
                shared.beat(sequence, &mut lost).await;
                shared.take_plan().await;
            }
        }
    }
}

fn text(problem: &Problem) -> String {
    if problem.waiting_for.is_empty() {
        return problem.detail.clone();
    }
    format!("{} (waiting for {})", problem.detail, problem.waiting_for.join(", "))
}
