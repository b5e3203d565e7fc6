//! What driver, operator and nemesis share.

use super::fleet::{App, Process};
use super::proxy::Proxy;
use super::servers::Database;
use crate::check::{Circumstances, LINGER};
use crate::clock::now;
use crate::history::Library;
use crate::plane::{MIGRATION, Plane, Trouble};
use crossfade_api::wire::{EvictRequest, Instances, Status};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What happened, for the last line.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) stage_changes: AtomicU64,
    pub(crate) authority_moves: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) forced: AtomicU64,
    pub(crate) kills: AtomicU64,
    pub(crate) database_restarts: AtomicU64,
    pub(crate) plane_restarts: AtomicU64,
    pub(crate) stops: AtomicU64,
    pub(crate) deploys: AtomicU64,
    pub(crate) partitions: AtomicU64,
    pub(crate) backfills: AtomicU64,
    pub(crate) verifications: AtomicU64,
    pub(crate) repairs: AtomicU64,
    pub(crate) compares: AtomicU64,
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
    pub(crate) broken: Option<String>,
    pub(crate) quiet: bool,
    pub(crate) secret: String,
}

pub(crate) struct World {
    pub(crate) ground: Ground,
    pub(crate) workers: u64,
    pub(crate) began: std::time::Instant,
    pub(crate) plane_url: String,
    pub(crate) plane: Plane,
    pub(crate) databases: [Database; 2],
    pub(crate) proxies: [Proxy; 2],
    pub(crate) counts: Counts,
    /// The fleet; taken while something is done to one of its processes.
    pub(crate) apps: tokio::sync::Mutex<Vec<App>>,
    pub(crate) server: tokio::sync::Mutex<Option<Process>>,
    /// Held by whoever makes trouble; taken whole for a quiet moment.
    pub(crate) peace: tokio::sync::RwLock<()>,
    /// Processes whose death is known: the beginning of their name, and when.
    dead: Mutex<BTreeMap<String, u64>>,
    library: Mutex<Library>,
    around: Mutex<Circumstances>,
    numbers: AtomicU64,
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
            counts: Counts::default(),
            apps: tokio::sync::Mutex::default(),
            server: tokio::sync::Mutex::default(),
            peace: tokio::sync::RwLock::default(),
            dead: Mutex::default(),
            library: Mutex::default(),
            around: Mutex::default(),
            numbers: AtomicU64::new(1),
        }
    }

    pub(crate) fn library(&self) -> MutexGuard<'_, Library> {
        self.library.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn around(&self) -> MutexGuard<'_, Circumstances> {
        self.around.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A line for people.
    pub(crate) fn say(&self, what: &str) {
        if !self.ground.quiet {
            eprintln!("{:7.2}  {what}", self.began.elapsed().as_secs_f64());
        }
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

    /// A process was killed.
    pub(crate) fn died(&self, name: &str, number: Option<usize>, at: u64) {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), at);
        if let Some(number) = number {
            self.around().deaths.insert(number, at);
        }
    }

    pub(crate) async fn status(&self) -> Result<Status, Trouble> {
        self.plane.get(&format!("/{MIGRATION}")).await
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
