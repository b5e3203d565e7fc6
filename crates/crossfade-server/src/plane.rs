//! The one writer: takes wishes in turn, decides by the law, appends, and only then lets anybody see the effect.
//!
//! Wishes that arrive together share one commit. Nothing outside this module holds the state.

use crate::access::Tokens;
use crate::law::advance::{Elapsed, Next};
use crate::law::auto::Turn;
use crate::law::{Entry, Event, Happening, State};
use crate::log::{Hook, Log, LogError};
use crate::observatory::{Evaluated, Observatory, now_ms};
use arc_swap::ArcSwap;
use bytes::Bytes;
use crossfade_api::problem::{Code, Problem};
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::Publication;
use crossfade_core::{Plan, Tick};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Who asks, as it is written in the history.
pub const PLANE: &str = "plane";

/// How many wishes may wait for the writer; further ones are told to come back.
const WAITING: usize = 4_096;
/// How many share one commit.
const TOGETHER: usize = 512;

/// A plan in force, ready to be evaluated and to be sent.
#[derive(Debug)]
pub struct Live {
    /// The plan.
    pub plan: Plan,
    /// As it is published.
    pub publication: Publication,
    /// As an event of the plan stream.
    pub event: Bytes,
    /// Told of evaluations over OFREP.
    pub evaluated: Evaluated,
}

impl Live {
    fn new(plan: &Plan, revision: RevisionText, evaluated: Evaluated) -> Live {
        let publication = Publication { revision, plan: plan.spec() };
        // A plan is made of strings and numbers: writing it cannot fail, and an empty event would be refetched.
        let json = serde_json::to_string(&publication).unwrap_or_default();
        let event = Bytes::from(format!("event: plan\nid: {revision}\ndata: {json}\n\n"));
        Live { plan: plan.clone(), publication, event, evaluated }
    }
}

/// By migration; sorted, so that bulk evaluations have an order.
pub type LivePlans = BTreeMap<String, watch::Receiver<Arc<Live>>>;

type Reply = Box<dyn FnOnce(Result<(&State, &Log), Problem>) + Send>;
type Ask = Box<dyn FnOnce(&State) -> (Vec<Event>, Reply) + Send>;

struct Wish {
    by: String,
    ask: Ask,
}

/// A handle on the plane; clones share it.
#[derive(Clone)]
pub struct Plane {
    wishes: mpsc::Sender<Wish>,
    plans: Arc<ArcSwap<LivePlans>>,
    tokens: Arc<ArcSwap<Tokens>>,
    observatory: Arc<Observatory>,
    changes: watch::Receiver<Tick>,
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane").finish_non_exhaustive()
    }
}

/// The writer's thread; joined to know that everything is stored.
#[derive(Debug)]
pub struct Writer(std::thread::JoinHandle<()>);

impl Writer {
    /// Waits until the last wish is answered; every handle must be gone before. Blocks.
    pub fn join(self) {
        drop(self.0.join());
    }
}

/// How a plane begins its life.
#[derive(Clone, Default)]
pub struct Birth {
    /// From a backup (R21).
    pub restored: bool,
    /// Tokens beside those of the log.
    pub given: Tokens,
    /// Where a test may end the process.
    pub hook: Option<Hook>,
}

impl Plane {
    /// Opens the log, replays it and begins to write.
    ///
    /// # Errors
    /// When the log cannot be used.
    pub fn open(path: &Path, birth: Birth, observatory: Arc<Observatory>) -> Result<(Plane, Writer), LogError> {
        let log = Log::open(path, birth.hook.clone())?;
        let state = log.replay()?;
        let (wishes, inbox) = mpsc::channel(WAITING);
        let (changed, changes) = watch::channel(state.tick);
        let plans = Arc::new(ArcSwap::from_pointee(LivePlans::new()));
        let tokens = Arc::new(ArcSwap::from_pointee(Tokens::default()));
        let mut loops = Loop {
            log,
            state,
            broken: false,
            live: HashMap::new(),
            clocks: HashMap::new(),
            plans: plans.clone(),
            tokens: tokens.clone(),
            given: birth.given,
            observatory: observatory.clone(),
            changed,
        };
        loops.begin(birth.restored)?;
        let writer = std::thread::Builder::new()
            .name("crossfade-plane".to_owned())
            .spawn(move || match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                Ok(runtime) => runtime.block_on(loops.run(inbox)),
                Err(error) => tracing::error!(%error, "the plane's writer has no runtime: stopping"),
            })
            .map_err(|error| LogError::Sqlite {
                doing: "given a thread",
                source: rusqlite::Error::ToSqlConversionFailure(Box::new(error)),
            })?;
        Ok((Plane { wishes, plans, tokens, observatory, changes }, Writer(writer)))
    }

    /// Asks for something. What is answered is durable.
    ///
    /// # Errors
    /// Why not; when the log failed, it is not known whether it happened.
    pub async fn ask<T, A, R>(&self, by: &str, ask: A, answer: R) -> Result<T, Problem>
    where
        T: Send + 'static,
        A: FnOnce(&State) -> (Vec<Event>, Result<(), Problem>) + Send + 'static,
        R: FnOnce(&State, &Log) -> Result<T, Problem> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let ask: Ask = Box::new(move |state| {
            let (events, verdict) = ask(state);
            let reply: Reply = Box::new(move |stored| {
                let said = stored.and_then(|(state, log)| verdict.and_then(|()| answer(state, log)));
                // Whoever asked may have gone; the effect stays.
                drop(sender.send(said));
            });
            (events, reply)
        });
        let gone = || Problem::new(Code::Unavailable, "the server is stopping: ask again in a moment");
        match self.wishes.try_send(Wish { by: by.to_owned(), ask }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(wish)) => {
                let queued = tokio::time::timeout(Duration::from_secs(5), self.wishes.send(wish)).await;
                let busy = || Problem::new(Code::Unavailable, "the server is busy: ask again in a moment");
                queued.map_err(|_| busy())?.map_err(|_| gone())?;
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(gone()),
        }
        receiver.await.map_err(|_| gone())?
    }

    /// Looks at the state, at some durable place of the log.
    ///
    /// # Errors
    /// What the look itself finds, or that the server is stopping.
    pub async fn read<T, R>(&self, look: R) -> Result<T, Problem>
    where
        T: Send + 'static,
        R: FnOnce(&State, &Log) -> Result<T, Problem> + Send + 'static,
    {
        self.ask(PLANE, |_| (Vec::new(), Ok(())), look).await
    }

    /// The plans in force.
    #[must_use]
    pub fn plans(&self) -> Arc<LivePlans> {
        self.plans.load_full()
    }

    /// Who may do what.
    #[must_use]
    pub fn tokens(&self) -> Arc<Tokens> {
        self.tokens.load_full()
    }

    /// What heartbeats said.
    #[must_use]
    pub fn observatory(&self) -> &Arc<Observatory> {
        &self.observatory
    }

    /// Follows the place of the log.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Tick> {
        self.changes.clone()
    }
}

/// When the revision in force was published, and since when writes are held, by this life's clock.
#[derive(Debug, Clone, Copy)]
struct Clocks {
    published: Instant,
    held: Option<Instant>,
    /// Held by an earlier life: its bound is taken as passed.
    overdue: bool,
}

struct Loop {
    log: Log,
    state: State,
    broken: bool,
    live: HashMap<String, watch::Sender<Arc<Live>>>,
    clocks: HashMap<String, Clocks>,
    plans: Arc<ArcSwap<LivePlans>>,
    tokens: Arc<ArcSwap<Tokens>>,
    given: Tokens,
    observatory: Arc<Observatory>,
    changed: watch::Sender<Tick>,
}

impl Loop {
    fn begin(&mut self, restored: bool) -> Result<(), LogError> {
        let now = Instant::now();
        for (id, migration) in &self.state.migrations {
            let held = migration.is_held();
            let clocks = Clocks { published: now, held: held.then_some(now), overdue: held };
            self.clocks.insert(id.clone(), clocks);
        }
        let entry = self.note(PLANE, Event::Started { restored });
        self.log.append(&[entry])?;
        self.show();
        Ok(())
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Wish>) {
        let mut wishes = Vec::with_capacity(TOGETHER);
        // Steps that an earlier life left under way go on at once.
        let mut pause = self.settle(Vec::new());
        loop {
            let asleep = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                taken = inbox.recv_many(&mut wishes, TOGETHER) => {
                    if taken == 0 {
                        return;
                    }
                }
                () = asleep => {}
            }
            pause = self.settle(std::mem::take(&mut wishes));
        }
    }

    /// Decides, stores and answers; returns when time alone may change something.
    fn settle(&mut self, wishes: Vec<Wish>) -> Option<Duration> {
        let mut entries = Vec::new();
        let mut replies = Vec::with_capacity(wishes.len());
        for Wish { by, ask } in wishes {
            if self.broken {
                self.recover();
            }
            let (events, reply) = ask(&self.state);
            let events = if self.broken { Vec::new() } else { events };
            for event in events {
                entries.push(self.note(&by, event));
            }
            replies.push(reply);
        }
        let pause = if self.broken { None } else { self.go_on(&mut entries) };
        let stored = if self.broken {
            Err(())
        } else if entries.is_empty() {
            Ok(())
        } else {
            self.log.append(&entries).map_err(|error| {
                tracing::error!(error = %error, "the log failed: nothing of this was published");
                self.broken = true;
            })
        };
        match stored {
            Ok(()) => {
                if !entries.is_empty() {
                    self.show();
                }
                for reply in replies {
                    reply(Ok((&self.state, &self.log)));
                }
                pause
            }
            Err(()) => {
                self.recover();
                for reply in replies {
                    let detail = "the log could not be written, so nothing was published: check the disk, then look at the status before asking again";
                    reply(Err(Problem::new(Code::Storage, detail)));
                }
                Some(Duration::from_secs(1))
            }
        }
    }

    /// After a failed append the log alone knows what is true.
    fn recover(&mut self) {
        match self.log.replay() {
            Ok(state) => {
                self.state = state;
                self.broken = false;
                self.show();
            }
            Err(error) => {
                self.broken = true;
                tracing::error!(error = %error, "the log cannot be read either");
            }
        }
    }

    /// The entry of this event, applied.
    fn note(&mut self, by: &str, event: Event) -> Entry {
        let entry = Entry { tick: Tick(self.state.tick.0 + 1), at_ms: now_ms(), by: by.to_owned(), event };
        self.state.apply(&entry);
        self.keep_time(&entry.event);
        entry
    }

    fn keep_time(&mut self, event: &Event) {
        let id = match event {
            Event::Created { publication, .. } => &publication.plan.migration,
            Event::To {
                migration,
                what:
                    Happening::Published { .. }
                    | Happening::Abandoned { publication: Some(_), .. }
                    | Happening::Restored { .. },
            } => migration,
            Event::To { migration, what: Happening::Evicted { instance } | Happening::Left { instance, .. } } => {
                self.observatory.forget(migration, instance);
                return;
            }
            Event::To { .. } | Event::Started { .. } | Event::TokenIssued { .. } | Event::TokenRevoked { .. } => return,
        };
        let Some(migration) = self.state.migrations.get(id) else { return };
        let now = Instant::now();
        let before = self.clocks.get(id).and_then(|clocks| clocks.held);
        let held = migration.is_held().then(|| before.unwrap_or(now));
        self.clocks.insert(id.clone(), Clocks { published: now, held, overdue: false });
    }

    /// Takes every step that may be taken now.
    fn go_on(&mut self, entries: &mut Vec<Entry>) -> Option<Duration> {
        let mut pause: Option<Duration> = None;
        let ids: Vec<String> = self.state.migrations.keys().cloned().collect();
        for id in ids {
            // A step publishes at most three revisions and ends; more turns than that would be a loop.
            for _ in 0..8 {
                match self.turn(&id) {
                    Turned::Append(by, events) => {
                        for event in events {
                            entries.push(self.note(&by, event));
                        }
                    }
                    Turned::Wait(wait) => {
                        pause = [pause, wait].into_iter().flatten().min();
                        break;
                    }
                }
            }
        }
        pause
    }

    fn turn(&self, id: &str) -> Turned {
        let Some(migration) = self.state.migrations.get(id) else { return Turned::Wait(None) };
        let rolling = migration.auto.as_ref().is_some_and(|auto| auto.ended.is_none());
        if migration.step.is_none() && !rolling {
            return Turned::Wait(None);
        }
        let clocks = self.clocks.get(id).copied();
        let published = clocks.map_or(Duration::ZERO, |clocks| clocks.published.elapsed());
        if migration.step.is_some() {
            let held = clocks.and_then(|clocks| match (clocks.held, clocks.overdue) {
                (Some(_), true) => Some(Duration::MAX),
                (Some(since), false) => Some(since.elapsed()),
                (None, _) => None,
            });
            let bound = migration.plan.options().hold_bound;
            // Nothing to ask the gate while acknowledgements are missing and time is left.
            if !migration.unacknowledged.is_empty() && held.is_none_or(|held| held < bound) {
                return Turned::Wait(held.map(|held| bound - held));
            }
            let presence = self.observatory.presence(id, migration);
            return match migration.advance(&self.state, &presence, Elapsed { published, held }) {
                Next::Append(events) => Turned::Append(PLANE.to_owned(), events),
                // Presence changes with time, unseen by the log.
                Next::Wait { at_most, why: _ } => {
                    Turned::Wait(Some(at_most.unwrap_or(Duration::MAX).min(Duration::from_millis(50))))
                }
            };
        }
        let presence = self.observatory.presence(id, migration);
        let dwell = migration.auto.as_ref().map_or(0, |auto| auto.request.dwell_ms);
        let seen = self.observatory.since(id, Duration::from_millis(dwell).min(published));
        match migration.auto_turn(&self.state, &presence, published, &seen) {
            Turn::Idle => Turned::Wait(None),
            Turn::Wait(wait, _) => Turned::Wait(Some(wait.min(Duration::from_secs(1)))),
            Turn::Refused(_) => Turned::Wait(Some(Duration::from_secs(1))),
            Turn::Append(events) => {
                let by = migration.auto.as_ref().map_or(PLANE, |auto| auto.by.as_str());
                Turned::Append(format!("auto of {by}"), events)
            }
        }
    }

    /// Lets everybody see the durable state.
    fn show(&mut self) {
        let mut new = false;
        for (id, migration) in &self.state.migrations {
            let revision = RevisionText(migration.revision);
            match self.live.get(id) {
                Some(sender) if sender.borrow().publication.revision == revision => {}
                Some(sender) => {
                    self.observatory.share_values(id, migration.plan.options().sample_values);
                    let evaluated = self.observatory.evaluated(id);
                    sender.send_replace(Arc::new(Live::new(&migration.plan, revision, evaluated)));
                }
                None => {
                    new = true;
                    self.observatory.share_values(id, migration.plan.options().sample_values);
                    let evaluated = self.observatory.evaluated(id);
                    let (sender, _) = watch::channel(Arc::new(Live::new(&migration.plan, revision, evaluated)));
                    self.live.insert(id.clone(), sender);
                }
            }
        }
        let gone: BTreeSet<String> =
            self.live.keys().filter(|id| !self.state.migrations.contains_key(*id)).cloned().collect();
        if new || !gone.is_empty() {
            // A migration whose creation turned out not to be durable.
            self.live.retain(|id, _| !gone.contains(id));
            self.plans.store(Arc::new(self.live.iter().map(|(id, sender)| (id.clone(), sender.subscribe())).collect()));
        }
        if self.tokens.load().differs(&self.state.tokens) || self.tokens.load().is_unset() {
            self.tokens.store(Arc::new(self.given.with(&self.state.tokens)));
        }
        self.changed.send_replace(self.state.tick);
    }
}

enum Turned {
    Append(String, Vec<Event>),
    Wait(Option<Duration>),
}
