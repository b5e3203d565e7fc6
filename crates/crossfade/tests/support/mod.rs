//! Two stores in memory, with a queue of faults for each: what a real server will not show on demand.
#![expect(dead_code, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use crossfade::plan::Control;
use crossfade::rows::{Cursor, Page, RowPair, ScanRows};
use crossfade::{Effect, Migration, Options, Plan, PlanSpec, Refused, Side, Stage, plan};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    Refused(Refused),
    /// Certainly without effect.
    Definite,
    /// Nobody knows.
    Lost,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

pub(crate) fn effect(error: &Error) -> Effect {
    match error {
        Error::Refused(_) | Error::Definite => Effect::Refused,
        Error::Lost => Effect::Unknown,
    }
}

/// What the next call meets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It works.
    None,
    /// It answers with an error, before the effect.
    RefuseBefore,
    /// The effect happens and the answer is lost.
    LoseAnswer,
    /// It answers after so long.
    Slow(Duration),
    /// It never answers, and has no effect.
    Hang,
    /// The answer is lost at once and the effect lands so much later, whoever has given up meanwhile.
    Late(Duration),
    Panic,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) rows: Mutex<BTreeMap<u64, String>>,
    faults: Mutex<VecDeque<Fault>>,
    pub(crate) calls: AtomicU32,
}

impl Store {
    pub(crate) fn fault(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }

    pub(crate) fn get(&self, id: u64) -> Option<String> {
        self.rows.lock().unwrap().get(&id).cloned()
    }

    pub(crate) fn set(&self, id: u64, value: &str) {
        self.rows.lock().unwrap().insert(id, value.to_owned());
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn with_fault<T>(
        self: &Arc<Self>,
        effect: impl FnOnce(&mut BTreeMap<u64, String>) -> T + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
    {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        match fault {
            Fault::None => Ok(effect(&mut self.rows.lock().unwrap())),
            Fault::RefuseBefore => Err(Error::Definite),
            Fault::LoseAnswer => {
                effect(&mut self.rows.lock().unwrap());
                Err(Error::Lost)
            }
            Fault::Slow(wait) => {
                tokio::time::sleep(wait).await;
                Ok(effect(&mut self.rows.lock().unwrap()))
            }
            Fault::Hang => std::future::pending().await,
            Fault::Late(wait) => {
                let store = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    effect(&mut store.rows.lock().unwrap());
                });
                Err(Error::Lost)
            }
            Fault::Panic => panic!("a fault on purpose"),
        }
    }

    pub(crate) async fn put(self: Arc<Self>, id: u64, value: String) -> Result<(), Error> {
        self.with_fault(move |rows| drop(rows.insert(id, value))).await
    }

    pub(crate) async fn delete(self: Arc<Self>, id: u64) -> Result<(), Error> {
        self.with_fault(move |rows| drop(rows.remove(&id))).await
    }

    /// Deletes the rows with this value: a predicate, not a key.
    pub(crate) async fn delete_value(self: Arc<Self>, value: &'static str) -> Result<(), Error> {
        self.with_fault(move |rows| rows.retain(|_, row| row != value)).await
    }

    pub(crate) async fn read(self: Arc<Self>, id: u64) -> Result<Option<String>, Error> {
        self.with_fault(move |rows| rows.get(&id).cloned()).await
    }

    async fn swap(self: Arc<Self>, id: u64, seen: Option<String>, row: Option<String>) -> Result<bool, Error> {
        self.with_fault(move |rows| {
            let same = rows.get(&id) == seen.as_ref();
            if same {
                match row {
                    Some(row) => drop(rows.insert(id, row)),
                    None => drop(rows.remove(&id)),
                }
            }
            same
        })
        .await
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Pair {
    pub(crate) source: Arc<Store>,
    pub(crate) target: Arc<Store>,
}

impl Pair {
    pub(crate) fn on(&self, side: Side) -> Arc<Store> {
        match side {
            Side::Source => Arc::clone(&self.source),
            Side::Target => Arc::clone(&self.target),
        }
    }

    /// A dual write of one row, whose cohort key is the row's.
    pub(crate) async fn write(&self, migration: &Migration, id: u64, value: &str) -> Result<(), Error> {
        let (source, target) = (self.on(Side::Source), self.on(Side::Target));
        let (ours, theirs) = (value.to_owned(), value.to_owned());
        migration
            .write(&id)
            .source(move || source.put(id, ours))
            .target(move || target.put(id, theirs))
            .replay()
            .run_with(Error::Refused, effect)
            .await
    }

    pub(crate) async fn remove(&self, migration: &Migration, id: u64) -> Result<(), Error> {
        let (source, target) = (self.on(Side::Source), self.on(Side::Target));
        migration
            .write(&id)
            .source(move || source.delete(id))
            .target(move || target.delete(id))
            .replay()
            .run_with(Error::Refused, effect)
            .await
    }

    pub(crate) async fn read(&self, migration: &Migration, id: u64) -> Result<Option<String>, Error> {
        let (source, target) = (self.on(Side::Source), self.on(Side::Target));
        migration
            .read(&id)
            .source(move || Arc::clone(&source).read(id))
            .target(move || Arc::clone(&target).read(id))
            .compare(crossfade::compare::fields())
            .run(Error::Refused)
            .await
    }

    pub(crate) fn get_count(&self) -> usize {
        self.source.rows.lock().unwrap().len()
    }

    pub(crate) fn equal(&self) -> bool {
        *self.source.rows.lock().unwrap() == *self.target.rows.lock().unwrap()
    }
}

impl RowPair for Pair {
    type Id = u64;
    type Row = String;
    type Error = Error;

    async fn snapshot(&self, side: Side, id: &u64) -> Result<Option<String>, Error> {
        self.on(side).read(*id).await
    }

    async fn restore(&self, side: Side, id: &u64, seen: Option<&String>, row: Option<&String>) -> Result<bool, Error> {
        self.on(side).swap(*id, seen.cloned(), row.cloned()).await
    }
}

impl ScanRows for Pair {
    async fn scan(&self, side: Side, after: Option<Cursor>, limit: usize) -> Result<Page<String>, Error> {
        let after = after.map(|cursor| cursor.0.parse::<u64>().unwrap());
        let store = self.on(side);
        let rows = store.rows.lock().unwrap();
        let found: Vec<(u64, String)> = rows
            .iter()
            .filter(|(id, _)| after.is_none_or(|after| **id > after))
            .take(limit)
            .map(|(id, row)| (*id, row.clone()))
            .collect();
        let next = found.last().filter(|_| found.len() == limit).map(|(id, _)| Cursor(id.to_string()));
        Ok(Page { rows: found.into_iter().map(|(_, row)| row).collect(), next })
    }

    fn id_of(&self, row: &String) -> u64 {
        row.split(':').next().unwrap().parse().unwrap()
    }

    fn key_of(&self, row: &String) -> String {
        self.id_of(row).to_string()
    }
}

/// A migration that the test conducts, every key at one stage.
pub(crate) async fn migration(stage: Stage) -> (Migration, Control) {
    migration_with(stage, Options::default()).await
}

pub(crate) async fn migration_with(stage: Stage, options: Options) -> (Migration, Control) {
    let first = Plan::new(PlanSpec { options, ..PlanSpec::at("events", stage) }).unwrap();
    let (control, source) = plan::local(first);
    (Migration::builder("events").plan(source).build().await.unwrap(), control)
}
