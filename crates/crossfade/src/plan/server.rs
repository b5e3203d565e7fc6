//! Plans from the control plane (`crossfade serve`), acknowledged.
//!
//! Registering and getting the first plan is one transaction; every later plan comes by server-sent events, goes into
//! force at once, and is acknowledged when every operation that began earlier has ended, together with the marks those
//! operations left (R3). Losing the server costs nothing: the last plan stays, and the connection is tried again with
//! jitter (R11). Row values never leave the process; marks carry the keys that a repair needs.

use crate::broken::{self, Broken};

use super::{PlanSource, PlanSourceError, Steward};
use crate::marks::Marked;
use crate::observe::Observation;
use crossfade_api::histogram::Histogram;
use crossfade_api::problem::{Code, Problem};
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::{
    Acknowledgement, Comparisons, Departure, Heartbeat, HeartbeatAnswer, InstanceKind, MarkChange, MarkDoc, MarkRef,
    MismatchSample, Observations, OperationDoc, Publication, Registered, Registration,
};
use crossfade_core::{Phase, Plan, Revision, Side};
use futures::StreamExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// The longest pause between two tries to reach the server.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How many marks one message names; further ones go in the next.
const MARKS_AT_ONCE: usize = 5_000;
/// A stream on which nothing comes for so long is dead: the server sends a comment every ten seconds.
const STREAM_SILENCE: Duration = Duration::from_secs(30);

/// The plan of a control plane. See [`server()`].
#[derive(Debug)]
pub struct ServerSource {
    url: String,
    token: Token,
    instance: String,
    host: String,
    registered: Option<Registered>,
    leaving: mpsc::Receiver<oneshot::Sender<()>>,
    membership: Membership,
}

#[derive(Debug)]
enum Token {
    None,
    Text(String),
    File(PathBuf),
}

/// The plan of the control plane at this URL.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use crossfade::{Migration, plan};
/// let source = plan::server("http://127.0.0.1:7420").token_file("/run/secrets/crossfade");
/// let membership = source.membership();
/// let migration = Migration::builder("events").plan(source).build().await?;
/// // … serve; at SIGTERM, after the last request has been answered:
/// membership.leave(std::time::Duration::from_secs(10)).await;
/// # Ok(()) }
/// ```
#[must_use]
pub fn server(url: impl Into<String>) -> ServerSource {
    let (sender, leaving) = mpsc::channel(1);
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    ServerSource {
        url: url.into().trim_end_matches('/').to_owned(),
        token: Token::None,
        instance: new_instance(&host),
        host,
        registered: None,
        leaving,
        membership: Membership(sender),
    }
}

/// A name that no other life of any process has: host, process, and the time of its beginning.
fn new_instance(host: &str) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), nanos);
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    let host = if host.is_empty() { "app" } else { &host };
    format!("{host}-{}-{random:012x}", std::process::id())
}

impl ServerSource {
    /// The token to show, of role `instance`.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> ServerSource {
        self.token = Token::Text(token.into());
        self
    }

    /// A file with the token; read again at every connection, so that it can be renewed.
    #[must_use]
    pub fn token_file(mut self, path: impl AsRef<Path>) -> ServerSource {
        self.token = Token::File(path.as_ref().to_owned());
        self
    }

    /// Where it runs, for people. Default: the variable HOSTNAME.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> ServerSource {
        self.host = host.into();
        self.instance = new_instance(&self.host);
        self
    }

    /// The name under which this process is waited for.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The hand that takes this process out of the fleet when it ends.
    #[must_use]
    pub fn membership(&self) -> Membership {
        self.membership.clone()
    }

    fn wire(&self, migration: &str) -> Result<Wire, PlanSourceError> {
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|error| PlanSourceError::Other(format!("no HTTP client: {error}")))?;
        let base = format!("{}/v1/migrations/{migration}/instances", self.url);
        let token = match &self.token {
            Token::None => Token::None,
            Token::Text(text) => Token::Text(text.clone()),
            Token::File(path) => Token::File(path.clone()),
        };
        Ok(Wire { http, base, instance: self.instance.clone(), host: self.host.clone(), token })
    }
}

/// Takes this process out of the fleet when it ends. Without it the process is missed, blocks the next step until an
/// operator states that it is dead, and leaves the migration suspect.
#[derive(Debug, Clone)]
pub struct Membership(mpsc::Sender<oneshot::Sender<()>>);

impl Membership {
    /// Waits for the operations in flight, hands the last marks and observations over, and says goodbye. Call it after
    /// the last request was answered. Returns whether it was said within the time.
    pub async fn leave(&self, within: Duration) -> bool {
        let (sender, said) = oneshot::channel();
        let left = async { self.0.send(sender).await.is_ok() && said.await.is_ok() };
        tokio::time::timeout(within, left).await.unwrap_or(false)
    }
}

/// Why the server gave no answer.
#[derive(Debug)]
enum Silence {
    /// It said no.
    Refused(Box<Problem>),
    /// It said nothing.
    Lost(String),
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Silence::Refused(problem) => write!(f, "{}: {}", problem.code.name(), problem.detail),
            Silence::Lost(why) => f.write_str(why),
        }
    }
}

#[derive(Debug)]
struct Wire {
    http: reqwest::Client,
    base: String,
    instance: String,
    host: String,
    token: Token,
}

impl Wire {
    async fn authorised(&self, request: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder, Silence> {
        match &self.token {
            Token::None => Ok(request),
            Token::Text(text) => Ok(request.bearer_auth(text)),
            Token::File(path) => {
                let read = tokio::task::spawn_blocking({
                    let path = path.clone();
                    move || std::fs::read_to_string(path)
                });
                match read.await {
                    Ok(Ok(text)) => Ok(request.bearer_auth(text.trim())),
                    Ok(Err(_)) | Err(_) => Err(Silence::Lost(format!("cannot read the token in {}", path.display()))),
                }
            }
        }
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Silence> {
        let lost = |error: reqwest::Error| Silence::Lost(error.without_url().to_string());
        let body = serde_json::to_vec(body).map_err(|error| Silence::Lost(error.to_string()))?;
        let request = self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        let request = self.authorised(request.body(body).timeout(Duration::from_secs(10))).await?;
        let response = request.send().await.map_err(lost)?;
        let good = response.status().is_success();
        let bytes = response.bytes().await.map_err(lost)?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        if good {
            return serde_json::from_slice(bytes).map_err(|error| Silence::Lost(error.to_string()));
        }
        match serde_json::from_slice(bytes) {
            Ok(problem) => Err(Silence::Refused(Box::new(problem))),
            Err(_) => Err(Silence::Lost("what answers there is no control plane".to_owned())),
        }
    }

    async fn register(&self, holding: Option<Publication>) -> Result<Registered, Silence> {
        let registration = Registration {
            instance: self.instance.clone(),
            kind: InstanceKind::Application,
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            holding,
        };
        self.post("", &registration).await
    }

    async fn acknowledge(&self, revision: Revision, marks: MarkChange) -> Result<HeartbeatAnswer, Silence> {
        let body = Acknowledgement { revision: revision.into(), marks };
        self.post(&format!("/{}/acknowledge", self.instance), &body).await
    }

    async fn heartbeat(&self, beat: &Heartbeat) -> Result<HeartbeatAnswer, Silence> {
        self.post(&format!("/{}/heartbeat", self.instance), beat).await
    }

    async fn marks(&self, change: &MarkChange) -> Result<(), Silence> {
        self.post(&format!("/{}/marks", self.instance), change).await
    }

    async fn goodbye(&self, departure: &Departure) -> Result<(), Silence> {
        self.post(&format!("/{}/goodbye", self.instance), departure).await
    }

    /// Follows the plan stream and hands every publication over, until the stream ends.
    async fn follow(&self, holds: Revision, plans: &mpsc::Sender<Publication>) -> Silence {
        let url = format!("{}/{}/plans?holds={}", self.base, self.instance, RevisionText(holds));
        let lost = |error: reqwest::Error| Silence::Lost(error.without_url().to_string());
        let request = match self.authorised(self.http.get(url)).await {
            Ok(request) => request,
            Err(silence) => return silence,
        };
        let response = match tokio::time::timeout(Duration::from_secs(10), request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return lost(error),
            Err(_) => return Silence::Lost("the plan stream did not begin in time".to_owned()),
        };
        if !response.status().is_success() {
            let bytes = match response.bytes().await {
                Ok(bytes) => bytes,
                Err(error) => return lost(error),
            };
            return match serde_json::from_slice(&bytes) {
                Ok(problem) => Silence::Refused(Box::new(problem)),
                Err(_) => Silence::Lost("what answers there is no control plane".to_owned()),
            };
        }
        let mut stream = response.bytes_stream();
        let mut pending = Vec::new();
        loop {
            match tokio::time::timeout(STREAM_SILENCE, stream.next()).await {
                Ok(Some(Ok(bytes))) => pending.extend_from_slice(&bytes),
                Ok(Some(Err(error))) => return lost(error),
                Ok(None) => return Silence::Lost("the plan stream ended".to_owned()),
                Err(_) => return Silence::Lost("the plan stream fell silent".to_owned()),
            }
            while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = pending.drain(..end + 2).collect();
                let text = String::from_utf8_lossy(&event);
                let Some(data) = text.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
                match serde_json::from_str(data) {
                    Ok(publication) => {
                        if plans.send(publication).await.is_err() {
                            return Silence::Lost("the migration is gone".to_owned());
                        }
                    }
                    Err(error) => return Silence::Lost(format!("a plan that cannot be read: {error}")),
                }
            }
        }
    }
}

/// Up to half as long again or half as short, so that a fleet does not come back as one.
fn jittered(pause: Duration) -> Duration {
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
    pause / 2 + pause.mul_f64((random % 1_000) as f64 / 1_000.0)
}

fn adopt(publication: &Publication) -> Result<(Plan, Revision), String> {
    let plan = Plan::new(publication.plan.clone()).map_err(|error| error.to_string())?;
    Ok((plan, publication.revision.0))
}

impl PlanSource for ServerSource {
    fn first<'a>(&'a mut self, migration: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>> {
        Box::pin(async move {
            let wire = self.wire(migration)?;
            let mut pause = Duration::from_millis(100);
            loop {
                match wire.register(None).await {
                    Ok(registered) => {
                        let adopted = adopt(&registered.publication).map_err(PlanSourceError::Other)?;
                        self.registered = Some(registered);
                        return Ok(adopted);
                    }
                    Err(Silence::Refused(problem)) if !waits(problem.code) => {
                        return Err(PlanSourceError::Other(format!(
                            "the control plane refuses this instance: {}",
                            problem.detail
                        )));
                    }
                    Err(silence) => {
                        tracing::warn!(migration, %silence, "no plan yet: the control plane is asked again");
                    }
                }
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        })
    }

    fn follow(mut self: Box<Self>, steward: Steward) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Some((plan, _)) = steward.standing() else { return };
            let Ok(wire) = self.wire(plan.migration()) else { return };
            let every = self.registered.as_ref().map_or(5_000, |registered| registered.heartbeat_ms.max(50));
            let wire = Arc::new(wire);
            let mut member = Member { wire, steward, ledger: Ledger::default(), seen: Seen::default(), beats: 0 };
            member.serve(Duration::from_millis(every), &mut self.leaving).await;
        })
    }
}

/// Whether to ask again later, rather than to give up.
fn waits(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Storage | Code::TooManyRequests)
}

/// This process as a member of the fleet.
struct Member {
    wire: Arc<Wire>,
    steward: Steward,
    ledger: Ledger,
    seen: Seen,
    beats: u64,
}

impl Member {
    async fn serve(&mut self, every: Duration, leaving: &mut mpsc::Receiver<oneshot::Sender<()>>) {
        let (sender, mut plans) = mpsc::channel::<Publication>(16);
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pause = Duration::from_millis(50);
        let mut to_acknowledge = None;
        let Some(mut marks) = self.steward.watch_marks() else { return };
        loop {
            let Some((_, holds)) = self.steward.standing() else { return };
            // One stream after the other; between them the last plan stays.
            let ended = {
                let wire = Arc::clone(&self.wire);
                let stream = wire.follow(holds, &sender);
                tokio::pin!(stream);
                loop {
                    tokio::select! {
                        biased;
                        said = leaving.recv() => {
                            if let Some(said) = said {
                                self.leave().await;
                                // Whoever waited for it may have given up.
                                let _ = said.send(());
                            }
                            return;
                        }
                        plan = plans.recv() => {
                            if let Some(publication) = plan {
                                pause = Duration::from_millis(50);
                                if broken::is(Broken::NoBarrier) {
                                    self.install_later(publication).await;
                                } else if self.install(&publication) {
                                    to_acknowledge = Some(publication.revision.0);
                                }
                            }
                        }
                        ended = self.steward.acknowledged(), if to_acknowledge.is_some() => {
                            // Effects that may land late and repairs hold the epoch in which they began: those of earlier
                            // ones have ended too. Those of this one are waited for at its own end, not before: while a
                            // side is down there are always some, and the way back has to stay open.
                            let Some((revision, marks)) = ended else { return };
                            match self.acknowledge(revision, &marks).await {
                                Ok(()) => to_acknowledge = None,
                                Err(silence) => break silence,
                            }
                        }
                        // Writes wait, and the move waits for the last mark: it does not wait for a heartbeat too.
                        Ok(()) = marks.changed(), if to_acknowledge.is_none() && self.holds() => {
                            if let Err(silence) = self.beat().await {
                                break silence;
                            }
                        }
                        _ = ticks.tick() => {
                            if let Err(silence) = self.beat().await {
                                break silence;
                            }
                        }
                        ended = &mut stream => break ended,
                    }
                }
            };
            if let Silence::Refused(problem) = &ended
                && problem.code == Code::UnknownInstance
                && let Some((plan, revision)) = self.steward.standing()
            {
                // The plane forgot this process, or a revision: it is told both (R21).
                let holding = Publication { revision: revision.into(), plan: plan.spec() };
                match self.wire.register(Some(holding)).await {
                    Ok(registered) => {
                        self.ledger.forget();
                        self.install(&registered.publication);
                        to_acknowledge = Some(registered.publication.revision.0);
                        continue;
                    }
                    Err(silence) => tracing::warn!(%silence, "the control plane does not take this instance back"),
                }
            }
            tracing::warn!(silence = %ended, "lost the control plane; the last plan stays");
            // A goodbye is not kept waiting by a server that is gone.
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                said = leaving.recv() => {
                    if let Some(said) = said {
                        self.leave().await;
                        let _ = said.send(());
                    }
                    return;
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Puts a plan into force; `true` when it has to be acknowledged.
    fn install(&self, publication: &Publication) -> bool {
        let Some((_, standing)) = self.steward.standing() else { return false };
        if publication.revision.0 == standing {
            // The one in force, at the beginning of a stream: the plane may have missed its acknowledgement.
            return true;
        }
        if publication.revision.0 < standing {
            return false;
        }
        match adopt(publication) {
            Ok((plan, revision)) => {
                self.steward.install(plan, revision);
                true
            }
            Err(why) => {
                self.steward.refused(&why);
                false
            }
        }
    }

    /// What [`Member::install`] must not be: acknowledged now, in force a while later, at each instance at another time.
    async fn install_later(&mut self, publication: Publication) {
        // Whether it was heard makes no difference to a variant that is wrong anyway.
        let _heard = self.acknowledge(publication.revision.0, &[]).await;
        let steward = self.steward.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(u64::from(std::process::id() % 7) * 100)).await;
            if let (Ok((plan, revision)), Some((_, standing))) = (adopt(&publication), steward.standing())
                && revision > standing
            {
                steward.install(plan, revision);
            }
        });
    }

    async fn acknowledge(&mut self, revision: Revision, marks: &[Marked]) -> Result<(), Silence> {
        let everything = self.steward.observe().is_some_and(|seen| seen.everything_suspect);
        loop {
            let change = self.ledger.change(marks, everything);
            if !change.more {
                self.wire.acknowledge(revision, change.message.clone()).await?;
                self.ledger.sent(change);
                return Ok(());
            }
            // An acknowledgement stands for all marks: the first thousands go ahead of it.
            self.wire.marks(&change.message).await?;
            self.ledger.sent(change);
        }
    }

    /// Writes of some keys wait.
    fn holds(&self) -> bool {
        self.steward.standing().is_some_and(|(plan, _)| !matches!(plan.phase(), Phase::Settled))
    }

    async fn beat(&mut self) -> Result<(), Silence> {
        let Some((plan, revision)) = self.steward.standing() else { return Ok(()) };
        let (Some(observation), marks) = (self.steward.observe(), self.steward.marks()) else { return Ok(()) };
        let change = self.ledger.change(&marks, observation.everything_suspect);
        let (observations, now) = self.seen.since(&observation, plan.position().stage().authority());
        self.beats += 1;
        let beat = Heartbeat {
            revision: revision.into(),
            sequence: self.beats,
            observations,
            marks: change.message.clone(),
            progress: None,
        };
        self.wire.heartbeat(&beat).await?;
        self.ledger.sent(change);
        self.seen = now;
        Ok(())
    }

    async fn leave(&mut self) {
        // The same plan once more is another epoch: its grace period ends with the last operation that has begun by now,
        // secondary writes that went on without their caller and lingering effects among them. The caller bounds the time.
        let Some((plan, revision)) = self.steward.standing() else { return };
        self.steward.install(plan, revision);
        let Some((_, marks)) = self.steward.acknowledged().await else { return };
        let (Some(observation), Some((plan, _))) = (self.steward.observe(), self.steward.standing()) else { return };
        let change = self.ledger.change(&marks, observation.everything_suspect);
        let (observations, _) = self.seen.since(&observation, plan.position().stage().authority());
        if let Err(silence) = self.wire.goodbye(&Departure { marks: change.message, observations }).await {
            tracing::warn!(%silence, "goodbye was not heard: the plane will miss this instance");
        }
    }
}

/// Which marks the plane knows of.
#[derive(Debug, Default)]
struct Ledger {
    known: HashMap<(Box<str>, Box<str>), u64>,
    generations: u64,
    everything: bool,
}

/// What to tell the plane, and what it knows when it was told.
struct Change {
    message: MarkChange,
    known: HashMap<(Box<str>, Box<str>), u64>,
    everything: bool,
    /// There is more to tell than one message holds.
    more: bool,
}

impl Ledger {
    fn change(&mut self, marks: &[Marked], everything: bool) -> Change {
        let mut message = MarkChange::default();
        let mut known = HashMap::with_capacity(marks.len());
        let mut more = false;
        for mark in marks {
            let id = (mark.id.key.clone(), mark.id.row.clone());
            if let Some(generation) = self.known.get(&id) {
                known.insert(id, *generation);
                continue;
            }
            if message.set.len() >= MARKS_AT_ONCE {
                more = true;
                continue;
            }
            self.generations += 1;
            // The one that stays longest: the plane asks whether a hold would outlast it.
            let lasting = mark.reasons.iter().find(|reason| !reason.passes_in_a_hold());
            let Some(reason) = lasting.or(mark.reasons.first()).copied() else { continue };
            message.set.push(MarkDoc {
                table: String::new(),
                row: mark.id.row.to_string(),
                cohort: mark.id.key.to_string(),
                reason,
                generation: self.generations,
            });
            known.insert(id, self.generations);
        }
        for (id, generation) in &self.known {
            if !known.contains_key(id) {
                if message.cleared.len() >= MARKS_AT_ONCE {
                    known.insert(id.clone(), *generation);
                    more = true;
                    continue;
                }
                let (row, generation) = (id.1.to_string(), *generation);
                message.cleared.push(MarkRef { instance: None, table: String::new(), row, generation });
            }
        }
        if everything && !self.everything {
            message.unlisted += 1;
        }
        Change { message, known, everything, more }
    }

    fn sent(&mut self, change: Change) {
        self.known = change.known;
        self.everything = change.everything;
    }

    /// The plane lost what it knew: everything is told again.
    fn forget(&mut self) {
        self.known.clear();
        self.everything = false;
    }
}

/// What was told already, by operation.
#[derive(Debug, Default, Clone)]
struct Seen {
    operations: HashMap<String, Told>,
    newest_sample: Option<SystemTime>,
}

#[derive(Debug, Default, Clone)]
struct Told {
    source: BTreeMap<u16, u64>,
    target: BTreeMap<u16, u64>,
    comparisons: Comparisons,
    errors: [u64; 4],
}

impl Seen {
    /// What was seen since, and what is told then.
    fn since(&self, observation: &Observation, authority: Side) -> (Observations, Seen) {
        let mut fresh = Observations::default();
        let mut now = Seen { operations: HashMap::new(), newest_sample: self.newest_sample };
        let nothing = Told::default();
        for seen in &observation.operations {
            let before = self.operations.get(&seen.operation).unwrap_or(&nothing);
            let told = Told {
                source: counts(&seen.source),
                target: counts(&seen.target),
                comparisons: Comparisons {
                    compared: seen.compared,
                    matched: seen.matched,
                    mismatched: seen.mismatched,
                    unknown: seen.unknown,
                },
                errors: [seen.authority_errors, seen.secondary_errors, seen.secondary_timeouts, seen.secondary_panics],
            };
            let doc = difference(before, &told, authority);
            if doc != OperationDoc::default() {
                fresh.operations.insert(seen.operation.clone(), doc);
            }
            for sample in &seen.samples {
                if self.newest_sample.is_some_and(|newest| sample.at <= newest) {
                    continue;
                }
                now.newest_sample = now.newest_sample.max(Some(sample.at));
                let at_ms = sample.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
                fresh.mismatches.push(MismatchSample {
                    at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
                    operation: seen.operation.clone(),
                    key_digest: sample.key_digest.clone(),
                    fields: sample.fields.clone(),
                    values: None,
                });
            }
            now.operations.insert(seen.operation.clone(), told);
        }
        (fresh, now)
    }
}

fn counts(histogram: &hdrhistogram::Histogram<u64>) -> BTreeMap<u16, u64> {
    let mut counts = BTreeMap::new();
    for step in histogram.iter_recorded() {
        *counts.entry(Histogram::bucket_of(step.value_iterated_to())).or_default() += step.count_at_value();
    }
    counts
}

/// Errors are counted at the side that most keys have as authority or secondary: exact while no ramp is open across
/// the cut-over.
fn difference(before: &Told, told: &Told, authority: Side) -> OperationDoc {
    let mut doc = OperationDoc::default();
    let fresh = |now: &BTreeMap<u16, u64>, then: &BTreeMap<u16, u64>| {
        let mut histogram = Histogram::default();
        for (bucket, count) in now {
            histogram.add(*bucket, count.saturating_sub(then.get(bucket).copied().unwrap_or(0)));
        }
        histogram
    };
    doc.source.latency_us = fresh(&told.source, &before.source);
    doc.target.latency_us = fresh(&told.target, &before.target);
    let (now, then) = (told.comparisons, before.comparisons);
    doc.comparisons = Comparisons {
        compared: now.compared.saturating_sub(then.compared),
        matched: now.matched.saturating_sub(then.matched),
        mismatched: now.mismatched.saturating_sub(then.mismatched),
        unknown: now.unknown.saturating_sub(then.unknown),
    };
    let classes = [
        (authority, "error"),
        (authority.other(), "error"),
        (authority.other(), "timeout"),
        (authority.other(), "panic"),
    ];
    for ((side, class), (now, then)) in classes.into_iter().zip(told.errors.iter().zip(before.errors)) {
        let count = now.saturating_sub(then);
        if count > 0 {
            let errors = match side {
                Side::Source => &mut doc.source.errors,
                Side::Target => &mut doc.target.errors,
            };
            *errors.entry(class.to_owned()).or_default() += count;
        }
    }
    doc
}
