//! What driver, operator and nemesis share.

use super::fleet::{App, Process};
use super::proxy::Proxy;
use super::servers::Database;
use super::shipped::Shipped;
use crate::broken::Broken;
use crate::check::{Circumstances, LINGER};
use crate::clock::now;
use crate::history::Library;
use crate::plane::{MIGRATION, Plane, Trouble};
use crossfade_api::wire::{EvictRequest, Instances, Status};
use crossfade_core::Verdict;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What happened, for the last line.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Writes and reads that the last check knew of, and those among them that were acknowledged.
    pub(crate) operations: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) stage_changes: AtomicU64,
    pub(crate) authority_moves: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) forced: AtomicU64,
    pub(crate) kills: AtomicU64,
    pub(crate) database_restarts: AtomicU64,
    pub(crate) plane_restarts: AtomicU64,
    pub(crate) plane_restores: AtomicU64,
    pub(crate) clock_moves: AtomicU64,
    pub(crate) stops: AtomicU64,
    pub(crate) deploys: AtomicU64,
    pub(crate) partitions: AtomicU64,
    pub(crate) backfills: AtomicU64,
    pub(crate) verifications: AtomicU64,
    pub(crate) repairs: AtomicU64,
    pub(crate) compares: AtomicU64,
    pub(crate) outages: AtomicU64,
    /// Moves that a gate refused while an instance could not check a table.
    pub(crate) unchecked_refused: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What a run stands on.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
    /// The broken variant of the library that all processes run.
    pub(crate) broken: Option<Broken>,
    /// How long the run is.
    pub(crate) seconds: u64,
    /// Expired sessions are deleted by a predicate, so the plan crosses shadow and live in one step (R18).
    pub(crate) whole: bool,
    pub(crate) quiet: bool,
    pub(crate) secret: String,
    /// What moves a process's wall clock, where that is there.
    pub(crate) faketime: Option<PathBuf>,
}

impl Ground {
    /// The file that says how far the wall clock of a process is off.
    pub(crate) fn clock_of(&self, process: &str) -> PathBuf {
        self.folder.join("clocks").join(process)
    }
}

pub(crate) struct World {
    pub(crate) ground: Ground,
    pub(crate) workers: u64,
    pub(crate) began: std::time::Instant,
    pub(crate) plane_url: String,
    pub(crate) plane: Plane,
    pub(crate) databases: [Database; 2],
    pub(crate) proxies: [Proxy; 2],
    /// Runs of the data side are the command's, where it can do them.
    pub(crate) shipped: Option<Shipped>,
    pub(crate) counts: Counts,
    /// The fleet; taken while something is done to one of its processes.
    pub(crate) apps: tokio::sync::Mutex<Vec<App>>,
    pub(crate) server: tokio::sync::Mutex<Option<Process>>,
    /// Held by whoever makes trouble; taken whole for a quiet moment.
    pub(crate) peace: tokio::sync::RwLock<()>,
    /// Processes whose death is known: the beginning of their name, and when.
    dead: Mutex<BTreeMap<String, u64>>,
    /// The histories of all processes that there ever were; read later.
    histories: Mutex<Vec<PathBuf>>,
    library: Mutex<Library>,
    around: Mutex<Circumstances>,
    /// Whether expired sessions are deleted now: the operator pauses that from before a verification until after a move.
    pub(crate) sweeping: AtomicBool,
    /// The control plane was restored from an older copy, and nothing was verified since.
    restored: AtomicBool,
    /// How often it was restored.
    lives: AtomicU64,
    numbers: AtomicU64,
    /// What was said last: what a run that does not end was at.
    said: Mutex<String>,
}

/// Whom everybody talks to.
pub(crate) struct Parts {
    pub(crate) workers: u64,
    pub(crate) plane_url: String,
    pub(crate) plane: Plane,
    pub(crate) databases: [Database; 2],
    pub(crate) proxies: [Proxy; 2],
}

impl World {
    pub(crate) fn new(ground: Ground, parts: Parts) -> World {
        let Parts { workers, plane_url, plane, databases, proxies } = parts;
        World {
            ground,
            workers,
            began: std::time::Instant::now(),
            plane_url,
            plane,
            databases,
            proxies,
            shipped: None,
            counts: Counts::default(),
            apps: tokio::sync::Mutex::default(),
            server: tokio::sync::Mutex::default(),
            peace: tokio::sync::RwLock::default(),
            dead: Mutex::default(),
            histories: Mutex::default(),
            library: Mutex::default(),
            around: Mutex::default(),
            sweeping: AtomicBool::new(true),
            restored: AtomicBool::new(false),
            lives: AtomicU64::new(0),
            numbers: AtomicU64::new(1),
            said: Mutex::default(),
        }
    }

    /// A process of the application begins: its number, and where to write its history.
    pub(crate) fn history(&self) -> (usize, PathBuf) {
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        let number = histories.len();
        let path = self.ground.folder.join("histories").join(format!("{number}"));
        histories.push(path.clone());
        (number, path)
    }

    /// Held for as long as a check takes: whoever makes trouble never waits for it.
    pub(crate) fn library(&self) -> MutexGuard<'_, Library> {
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        let histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        for path in histories.iter().skip(library.count()) {
            library.add(path.clone());
        }
        library
    }

    pub(crate) fn around(&self) -> MutexGuard<'_, Circumstances> {
        self.around.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The control plane forgets what an older copy of its file does not know, a waiver among that.
    pub(crate) fn restored(&self) {
        let _nobody_ends_a_waiver = self.around();
        self.lives.fetch_add(1, Ordering::SeqCst);
        self.restored.store(true, Ordering::SeqCst);
    }

    /// When a verification has passed, everything is promised again.
    fn end_waiver(&self, status: &Status, life: u64) {
        let evidence = &status.evidence;
        if evidence.waived_since.is_some() {
            return;
        }
        let mut around = self.around();
        if self.lives.load(Ordering::SeqCst) != life {
            return;
        }
        // The copy may be older than the forced rollback: suspects stand for it then, until the same verification.
        if self.restored.load(Ordering::SeqCst) {
            let verified = evidence.verification.as_ref().is_some_and(|seen| seen.verdict == Verdict::Verified);
            if !verified || !evidence.suspects.is_empty() {
                return;
            }
            self.restored.store(false, Ordering::SeqCst);
        }
        if let Some(waiver) = around.waivers.last_mut().filter(|waiver| waiver.until == u64::MAX) {
            waiver.until = now();
        }
    }

    pub(crate) fn plane_address(&self) -> anyhow::Result<std::net::SocketAddr> {
        Ok(self.plane_url.trim_start_matches("http://").parse()?)
    }

    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A line for people.
    pub(crate) fn say(&self, what: &str) {
        what.clone_into(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.ground.quiet {
            eprintln!("{:7.2}  {what}", self.began.elapsed().as_secs_f64());
        }
    }

    /// The line that was said last.
    pub(crate) fn last_said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where everything is, as arguments of a role, with the token in this file.
    pub(crate) fn places(&self, token: &str) -> Vec<String> {
        let by = |place: usize| self.databases[place].url_by(self.proxies[place].port).unwrap_or_default();
        let token = self.ground.folder.join(token).display().to_string();
        let places =
            [("--server", self.plane_url.clone()), ("--token-file", token), ("--source", by(0)), ("--target", by(1))];
        places.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// A quiet moment is on.
    pub(crate) fn peaceful(&self) -> bool {
        self.peace.try_read().is_err()
    }

    /// A process was killed, or has ended: a plane restored from an older copy may still count on it.
    pub(crate) fn died(&self, name: &str, number: Option<usize>, at: u64) {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), at);
        if let Some(number) = number {
            self.around().deaths.insert(number, at);
        }
    }

    pub(crate) async fn status(&self) -> Result<Status, Trouble> {
        let life = self.lives.load(Ordering::SeqCst);
        let status = self.plane.get(&format!("/{MIGRATION}")).await?;
        self.end_waiver(&status, life);
        Ok(status)
    }

    /// Somebody who is dead has not been stated dead yet.
    pub(crate) async fn anybody_dead(&self) -> anyhow::Result<bool> {
        let known: Instances = self.plane.get(&format!("/{MIGRATION}/instances")).await?;
        let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.instances.iter().any(|instance| dead.keys().any(|name| is_named(name, &instance.instance))))
    }

    /// States of silent instances that they are dead, where that is true and nothing of theirs can land any more.
    pub(crate) async fn evict(&self) -> Result<usize, Trouble> {
        let known: Instances = self.plane.get(&format!("/{MIGRATION}/instances")).await?;
        let surely: Vec<String> = {
            let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
            let long_dead = |name: &str| {
                dead.iter().filter(|(dead, _)| is_named(dead, name)).any(|(_, at)| now().saturating_sub(*at) >= LINGER)
            };
            known
                .instances
                .iter()
                .filter(|instance| instance.silent && long_dead(&instance.instance))
                .map(|instance| instance.instance.clone())
                .collect()
        };
        if surely.is_empty() {
            return Ok(0);
        }
        let evicted = surely.len();
        self.say(&format!("evict {}", surely.join(", ")));
        let request = EvictRequest { instances: surely, dead: true };
        let _after: Status = self.plane.post(&format!("/{MIGRATION}/evict"), &request).await?;
        Ok(evicted)
    }
}

/// Processes of the application are known by the beginning of their name, runs of the data side by the whole.
fn is_named(dead: &str, instance: &str) -> bool {
    match dead.strip_suffix('-') {
        Some(_) => instance.starts_with(dead),
        None => instance == dead,
    }
}
