//! Instances: some that speak the wire protocol by themselves, as cheaply as they can, and some by the library.
//!
//! Each has a stream of its own and, as far as open files permit, a connection of its own for what it says.

use super::lab::{MIGRATION, TOKEN};
use super::wire::{Events, Wire};
use anyhow::{Context as _, bail};
use crossfade::{Migration, Plan, plan};
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::{Acknowledgement, InstanceKind, MarkChange, Observations, OperationDoc, Publication};
use crossfade_api::wire::{Registered, Registration};
use crossfade_core::Phase;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;

/// How many instances share a connection for what they say, when there is no room for one each.
const SHARED: u64 = 64;
/// How many join at the same time.
const JOINING: usize = 128;

/// How many instances, and of which kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) instances: u64,
    /// Of these by the library.
    pub(crate) library: u64,
    /// How many may have a connection of their own for what they say.
    pub(crate) room: u64,
}

/// A plan went into force in one instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    pub(crate) revision: u64,
    pub(crate) at: Instant,
    pub(crate) held: bool,
}

/// All instances, until it is dropped.
#[derive(Debug)]
pub(crate) struct Fleet {
    size: Size,
    sightings: mpsc::UnboundedReceiver<Sighting>,
    /// Heartbeats that were answered.
    pub(crate) beats: Arc<AtomicU64>,
    tasks: JoinSet<anyhow::Result<()>>,
}

fn sighting(publication: &Publication, plan: &Plan) -> Sighting {
    let held = !matches!(plan.phase(), Phase::Settled);
    Sighting { revision: publication.revision.0.number, at: Instant::now(), held }
}

impl Fleet {
    /// Registers all and connects them.
    pub(crate) async fn start(address: SocketAddr, size: Size) -> anyhow::Result<Fleet> {
        let (seen, sightings) = mpsc::unbounded_channel();
        let beats = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let mut library = Vec::new();
        for _ in 0..size.library {
            let source = plan::server(format!("http://{address}")).token(TOKEN);
            library.push(Migration::builder(MIGRATION).plan(source).publish_metrics_every(None).build().await?);
        }
        tasks.spawn(watch(library, seen.clone()));
        let joining = Arc::new(Semaphore::new(JOINING));
        let mut shared = Vec::new();
        for _ in 0..SHARED {
            shared.push(Arc::new(Mutex::new(Wire::open(address, TOKEN).await?)));
        }
        for number in 0..size.instances - size.library {
            let says = match number < size.room {
                true => Arc::new(Mutex::new(Wire::open(address, TOKEN).await?)),
                false => shared[(number % SHARED) as usize].clone(),
            };
            let (joining, seen, beats) = (joining.clone(), seen.clone(), beats.clone());
            tasks.spawn(async move {
                let name = format!("bench-{number}");
                let permit = joining.acquire_owned().await?;
                let mut instance = Instance::join(address, name, number, says).await?;
                drop(permit);
                instance.live(&seen, &beats).await
            });
        }
        Ok(Fleet { size, sightings, beats, tasks })
    }

    /// What was seen until every instance had this revision in force.
    pub(crate) async fn until(&mut self, revision: u64, within: Duration) -> anyhow::Result<Vec<Sighting>> {
        let (mut all, mut there) = (Vec::new(), 0);
        let ends = tokio::time::Instant::now() + within;
        while there < self.size.instances {
            tokio::select! {
                seen = self.sightings.recv() => {
                    let sighting = seen.context("nobody is left")?;
                    there += u64::from(sighting.revision == revision);
                    all.push(sighting);
                }
                ended = self.tasks.join_next() => {
                    ended.context("nobody is left")??.context("an instance ended")?;
                    bail!("an instance ended");
                }
                () = tokio::time::sleep_until(ends) => {
                    bail!("{there} of {} applied revision {revision} in time", self.size.instances);
                }
            }
        }
        Ok(all)
    }
}

/// Looks every millisecond which plan the library has in force: its figures are at most that much too large.
async fn watch(library: Vec<Migration>, seen: mpsc::UnboundedSender<Sighting>) -> anyhow::Result<()> {
    let mut known = vec![0; library.len()];
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (migration, known) in library.iter().zip(&mut known) {
            let standing = migration.standing();
            if standing.revision.number != *known {
                *known = standing.revision.number;
                let held = !matches!(standing.plan.phase(), Phase::Settled);
                let sighting = Sighting { revision: *known, at: Instant::now(), held };
                if seen.send(sighting).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// An instance that knows the protocol by itself.
#[derive(Debug)]
struct Instance {
    name: String,
    base: String,
    number: u64,
    says: Arc<Mutex<Wire>>,
    plans: Events,
    every: Duration,
    revision: RevisionText,
    /// What a heartbeat reports, as JSON.
    observations: String,
    beats: u64,
}

impl Instance {
    async fn join(address: SocketAddr, name: String, number: u64, says: Arc<Mutex<Wire>>) -> anyhow::Result<Instance> {
        let base = format!("/v1/migrations/{MIGRATION}/instances");
        let (kind, host, version) = (InstanceKind::Application, "bench".to_owned(), "0".to_owned());
        let joining = Registration {
            instance: name.clone(),
            kind,
            host,
            version,
            holding: None,
            seen: None,
            tables: None,
            sides: Vec::new(),
        };
        let answer = says.lock().await.post(&base, &serde_json::to_vec(&joining)?).await?.good()?;
        let registered: Registered = serde_json::from_slice(&answer)?;
        let revision = registered.publication.revision;
        let base = format!("{base}/{name}");
        let plans = Wire::open(address, TOKEN).await?.stream(&format!("{base}/plans?holds={revision}")).await?;
        let every = Duration::from_millis(registered.heartbeat_ms);
        let observations = serde_json::to_string(&seen_meanwhile(number))?;
        Ok(Instance { name, base, number, says, plans, every, revision, observations, beats: 0 })
    }

    async fn live(&mut self, seen: &mpsc::UnboundedSender<Sighting>, beats: &AtomicU64) -> anyhow::Result<()> {
        // Spread over the interval, as a fleet that was not started by one hand is.
        let first = self.every.mul_f64((self.number.wrapping_mul(2_654_435_761) % 1_000) as f64 / 1_000.0);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.plans.next() => {
                    let publication: Publication = serde_json::from_str(&event?)?;
                    let plan = Plan::new(publication.plan.clone()).context("a plan that is not valid")?;
                    if seen.send(sighting(&publication, &plan)).is_err() {
                        return Ok(());
                    }
                    self.revision = publication.revision;
                    let said = Acknowledgement { revision: self.revision, marks: MarkChange::default(), tables: None };
                    self.say("acknowledge", &serde_json::to_vec(&said)?).await?;
                }
                _ = ticks.tick() => {
                    self.beats += 1;
                    let beat = format!(
                        "{{\"revision\":\"{}\",\"sequence\":{},\"observations\":{}}}", self.revision, self.beats, self.observations
                    );
                    self.say("heartbeat", beat.as_bytes()).await?;
                    beats.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    async fn say(&self, what: &str, body: &[u8]) -> anyhow::Result<()> {
        let answer = self.says.lock().await.post(&format!("{}/{what}", self.base), body).await?;
        answer.good().with_context(|| format!("{} of {}", what, self.name)).map(drop)
    }
}

/// Two operations, latencies in some thirty buckets: what a service sees within a few seconds.
fn seen_meanwhile(number: u64) -> Observations {
    let mut seen = Observations::default();
    for name in ["record", "events_of"] {
        let mut doc = OperationDoc::default();
        for call in 0..60 {
            doc.source.latency_us.record(400 + (call * 37 + number) % 900);
            doc.target.latency_us.record(900 + (call * 61 + number) % 2_500);
        }
        doc.comparisons.compared = 60;
        doc.comparisons.matched = 60;
        seen.operations.insert(name.to_owned(), doc);
    }
    seen
}
