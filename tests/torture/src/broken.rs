//! Variants that break one rule of the protocol each, so that the torture test can show that it would notice.
//!
//! Only `no-hold` needs another library: one compiled with `--cfg crossfade_broken`. The others are test doubles around
//! the library that is shipped: a repair, a backfill, a plan or a member of the fleet that does what the rule forbids.

use crate::dao::{Row, RowId};
use crate::plane::{MIGRATION, Plane, Trouble};
use crossfade_api::wire::{Acknowledgement, MarkChange, Status};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// A rule that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Broken {
    /// Each plan is acknowledged at once, and reaches each instance at another time (R3).
    NoBarrier,
    /// Writes of keys whose authority moves do not wait (R4).
    NoHold,
    /// A repair puts the value that it read a while ago over whatever is there (R6).
    ReplayRepair,
    /// The backfill inserts what is missing, and reads nothing again (R9): processes that backfill run it.
    InsertIfAbsent,
    /// Each plan is acknowledged before the operations of the one before it have ended (R3).
    EarlyAck,
    /// The plan declares a linger that is shorter than that of the stores, so marks are cleared too early (R5, R6).
    EarlyClear,
}

/// Tells a process which variant it runs.
pub(crate) const VARIABLE: &str = "CROSSFADE_BROKEN";

impl Broken {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Broken::NoBarrier => "no-barrier",
            Broken::NoHold => "no-hold",
            Broken::ReplayRepair => "replay-repair",
            Broken::InsertIfAbsent => "insert-if-absent",
            Broken::EarlyAck => "early-ack",
            Broken::EarlyClear => "early-clear",
        }
    }

    /// Whether this program can run the variant.
    pub(crate) fn is_built(self) -> bool {
        self != Broken::NoHold || cfg!(crossfade_broken)
    }

    /// Whether this process, which the driver started, runs the variant.
    pub(crate) fn is_run(self) -> bool {
        static NAME: OnceLock<Option<String>> = OnceLock::new();
        NAME.get_or_init(|| std::env::var(VARIABLE).ok()).as_deref() == Some(self.name())
    }
}

/// Of which task (none: the main one), and which row.
type Whose = (Option<tokio::task::Id>, RowId);

/// A row, and how many more times it is the answer.
type Answer = (Option<Row>, u8);

/// What repairs have put, and how many of their `snapshot`s are still to be answered with it: see [`believe`].
static PUT: Mutex<Option<HashMap<Whose, Answer>>> = Mutex::new(None);

/// A repair ([`Broken::ReplayRepair`]) has put its row over whatever was there, or a backfill ([`Broken::InsertIfAbsent`])
/// has put nothing over what was there, and is to believe that both sides hold it: the next `snapshot` of each side by the same task is answered with it.
pub(crate) fn believe(id: &RowId, row: Option<&Row>) {
    let mut table = PUT.lock().unwrap_or_else(PoisonError::into_inner);
    table.get_or_insert_default().insert((tokio::task::try_id(), id.clone()), (row.cloned(), 2));
}

/// What [`believe`] has left for a `snapshot` of this task.
pub(crate) fn believed(id: &RowId) -> Option<Option<Row>> {
    let whose = (tokio::task::try_id(), id.clone());
    let mut table = PUT.lock().unwrap_or_else(PoisonError::into_inner);
    let table = table.as_mut()?;
    let (row, left) = table.get_mut(&whose)?;
    *left -= 1;
    let (row, over) = (row.clone(), *left == 0);
    if over {
        table.remove(&whose);
    }
    Some(row)
}

/// [`Broken::EarlyAck`], [`Broken::NoBarrier`]: acknowledges every plan for every instance as soon as it is published.
pub(crate) async fn acknowledge_for_all(plane: Plane) {
    loop {
        if let Ok(status) = plane.get::<Status>(&format!("/{MIGRATION}")).await
            && let Some(step) = &status.step
        {
            for instance in &step.waiting_for {
                let path = format!("/{MIGRATION}/instances/{instance}/acknowledge");
                let revision = status.publication.revision;
                let word = Acknowledgement { revision, marks: MarkChange::default(), tables: None };
                let _heard: Result<(), Trouble> = plane.post(&path, &word).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}
