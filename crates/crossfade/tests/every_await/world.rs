//! Two sides in memory that count their calls together; one call of a run meets a fault.

use crate::support::{Error, effect};
use crossfade::rows::{Cursor, Page, RowPair, ScanRows};
use crossfade::{Checks, Migration, Options, Plan, PlanSpec, Side, Stage, plan};
use futures::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than anything that may still happen.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// Later than every time-out, within the linger.
const LATE: Duration = Duration::from_millis(150);

/// What one call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error before the effect, which says so.
    Refused,
    /// No effect, and nobody says so.
    Vanished,
    /// The effect happens, the answer is lost.
    AnswerLost,
    /// The answer is lost, and the effect lands later.
    Late,
    /// The effect happens, the answer is lost, and it happens once more later.
    LateAgain,
    /// It happens twice in a row, and the second answer is heard.
    Twice,
    /// It never answers, and has no effect.
    Hangs,
    /// It happens, and the answer never comes.
    HangsAfter,
    Panics,
}

impl Fault {
    pub(crate) const ALL: [Fault; 9] = [
        Fault::Refused,
        Fault::Vanished,
        Fault::AnswerLost,
        Fault::Late,
        Fault::LateAgain,
        Fault::Twice,
        Fault::Hangs,
        Fault::HangsAfter,
        Fault::Panics,
    ];
}

/// Which call meets what, and what that call was.
#[derive(Debug, Default)]
struct Script {
    calls: usize,
    at: Option<(usize, Fault)>,
    met: Option<(Side, &'static str)>,
}

pub(crate) type Rows = BTreeMap<u64, u64>;

#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    sides: Arc<[Mutex<Rows>; 2]>,
    script: Arc<Mutex<Script>>,
}

impl World {
    /// Equal sides with these rows.
    pub(crate) fn of(rows: &[(u64, u64)]) -> World {
        let world = World::default();
        for side in [Side::Source, Side::Target] {
            *world.rows(side) = rows.iter().copied().collect();
        }
        world
    }

    pub(crate) fn rows(&self, side: Side) -> std::sync::MutexGuard<'_, Rows> {
        self.sides[usize::from(side == Side::Target)].lock().unwrap()
    }

    pub(crate) fn equal(&self) -> bool {
        let source = self.rows(Side::Source).clone();
        source == *self.rows(Side::Target)
    }

    pub(crate) fn delete_everything(&self) {
        for side in [Side::Source, Side::Target] {
            self.rows(side).clear();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        [Side::Source, Side::Target].into_iter().all(|side| self.rows(side).is_empty())
    }

    /// From here on the calls are counted, and the nth meets the fault.
    pub(crate) fn arm(&self, nth: usize, fault: Fault) {
        *self.script.lock().unwrap() = Script { calls: 0, at: Some((nth, fault)), met: None };
    }

    /// The call that met the fault, if one did.
    pub(crate) fn met(&self) -> Option<(Side, &'static str)> {
        self.script.lock().unwrap().met
    }

    async fn call<T: Send + 'static>(
        &self,
        side: Side,
        name: &'static str,
        effect: impl Fn(&mut Rows) -> T + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let fault = {
            let mut script = self.script.lock().unwrap();
            let now = script.calls;
            script.calls += 1;
            let fault = script.at.filter(|(nth, _)| *nth == now).map(|(_, fault)| fault);
            script.met = script.met.or(fault.map(|_| (side, name)));
            fault
        };
        let world = self.clone();
        let effect = move || effect(&mut world.rows(side));
        // Each call is an await at which others may run.
        tokio::task::yield_now().await;
        let later = |effect: Box<dyn FnOnce() -> T + Send>| {
            tokio::spawn(async move {
                tokio::time::sleep(LATE).await;
                effect();
            });
        };
        match fault {
            None => Ok(effect()),
            Some(Fault::Refused) => Err(Error::Definite),
            Some(Fault::Vanished) => Err(Error::Lost),
            Some(Fault::AnswerLost) => {
                effect();
                Err(Error::Lost)
            }
            Some(Fault::Late) => {
                later(Box::new(effect));
                Err(Error::Lost)
            }
            Some(Fault::LateAgain) => {
                effect();
                later(Box::new(effect));
                Err(Error::Lost)
            }
            Some(Fault::Twice) => {
                effect();
                Ok(effect())
            }
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::HangsAfter) => {
                effect();
                std::future::pending().await
            }
            // Without the words that a panic says first.
            Some(Fault::Panics) => std::panic::resume_unwind(Box::new("a fault on purpose")),
        }
    }

    async fn put(self, side: Side, id: u64, value: Option<u64>) -> Result<(), Error> {
        self.call(side, "write", move |rows| match value {
            Some(value) => drop(rows.insert(id, value)),
            None => drop(rows.remove(&id)),
        })
        .await
    }

    async fn get(self, side: Side, id: u64) -> Result<Option<u64>, Error> {
        self.call(side, "read", move |rows| rows.get(&id).copied()).await
    }

    /// A dual write; none deletes. A caller whose call hangs goes away after a second; one whose call panics hears that.
    pub(crate) async fn write(&self, migration: &Migration, id: u64, value: Option<u64>) -> Result<(), Error> {
        let (source, target) = (self.clone(), self.clone());
        let write = migration
            .write(&id)
            .source(move || source.put(Side::Source, id, value))
            .target(move || target.put(Side::Target, id, value))
            .replay()
            .run_with(Error::Refused, effect);
        heard(write).await
    }

    pub(crate) async fn read(&self, migration: &Migration, id: u64) -> Result<Option<u64>, Error> {
        let (source, target) = (self.clone(), self.clone());
        let read = migration
            .read(&id)
            .source(move || source.clone().get(Side::Source, id))
            .target(move || target.clone().get(Side::Target, id))
            .compare(crossfade::compare::fields())
            .run(Error::Refused);
        heard(read).await
    }
}

/// What the caller hears in the end.
async fn heard<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let call = AssertUnwindSafe(call).catch_unwind();
    match tokio::time::timeout(Duration::from_secs(1), call).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => Err(Error::Lost),
    }
}

impl RowPair for World {
    type Id = u64;
    type Row = (u64, u64);
    type Error = Error;

    async fn snapshot(&self, side: Side, id: &u64) -> Result<Option<(u64, u64)>, Error> {
        let id = *id;
        self.call(side, "snapshot", move |rows| rows.get(&id).map(|value| (id, *value))).await
    }

    async fn restore(
        &self,
        side: Side,
        id: &u64,
        seen: Option<&(u64, u64)>,
        row: Option<&(u64, u64)>,
    ) -> Result<bool, Error> {
        let (id, seen, row) = (*id, seen.map(|row| row.1), row.map(|row| row.1));
        self.call(side, "restore", move |rows| {
            let same = rows.get(&id).copied() == seen;
            match row {
                Some(value) if same => drop(rows.insert(id, value)),
                None if same => drop(rows.remove(&id)),
                Some(_) | None => {}
            }
            same
        })
        .await
    }
}

impl ScanRows for World {
    async fn scan(&self, side: Side, after: Option<Cursor>, limit: usize) -> Result<Page<(u64, u64)>, Error> {
        let after = after.map(|cursor| cursor.0.parse::<u64>().unwrap());
        self.call(side, "scan", move |rows| {
            let left = rows.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
            let rows: Vec<_> = left.take(limit).map(|(id, value)| (*id, *value)).collect();
            let next = rows.last().filter(|_| rows.len() == limit).map(|(id, _)| Cursor(id.to_string()));
            Page { rows, next }
        })
        .await
    }

    fn id_of(&self, row: &(u64, u64)) -> u64 {
        row.0
    }

    fn key_of(&self, row: &(u64, u64)) -> String {
        row.0.to_string()
    }
}

/// A migration that repairs by itself.
pub(crate) async fn migration(world: &World, stage: Stage, checks: Checks) -> (Migration, plan::Control) {
    let (migration, control) = unrepaired(stage, checks).await;
    migration.attach_rows(world.clone());
    (migration, control)
}

/// With times that fit the faults.
pub(crate) async fn unrepaired(stage: Stage, checks: Checks) -> (Migration, plan::Control) {
    let options = Options {
        checks,
        secondary_wait: Duration::from_millis(20),
        secondary_timeout: Duration::from_millis(100),
        linger: Duration::from_millis(300),
        ..Options::default()
    };
    let first = Plan::new(PlanSpec { options, ..PlanSpec::at("events", stage) }).unwrap();
    let (control, source) = plan::local(first);
    (Migration::builder("events").plan(source).publish_metrics_every(None).build().await.unwrap(), control)
}
