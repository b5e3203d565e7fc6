//! A backfill, a verification or a repair of every row of a migration, through its DAOs.
//!
//! Where the migration's plan comes from a control plane, the run registers there as an instance beside the
//! application's: it waits until it may begin, sends its progress, and ends with its outcome, so that gates know of it.
//! Under any other plan source the same call works and registers nothing.
//!
//! Each row is decided by the plan in force (R2): it is copied from the side that has authority for its cohort key to the
//! other one. A row is worked on while its plan is held, so that no authority moves under it (R6).

mod checkpoint;
mod comparing;
mod moving;
mod progress;
mod suspicion;
mod turn;

pub use comparing::{Difference, DifferenceKind, TableVerified, Verification};
pub use moving::Moved;
pub use progress::RunHandle;

use super::{Pace, RowsError, ScanRows};
use crate::key::{self, Key};
use crate::migration::{Inner, Migration};
use crate::plan::Steward;
use crate::plan::runs::{NotRegistered, RunKind, RunMembership, RunOutcome, RunRequest};
use checkpoint::{Checkpoint, Identity};
use comparing::Naming;
use crossfade_core::{Plan, Side, Verdict};
use futures::future::BoxFuture;
use moving::Counters;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What to do with rows that only the side without authority has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extra {
    /// Leave and count them. The run then ends with [`RunError::Extra`], and no gate takes it as complete.
    #[default]
    Refuse,
    /// Delete them.
    Delete,
}

/// Why a run came to no end. What it has done is done, and doing it again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// No table was given.
    #[error("the run has no rows to work on: give it the rows of each DAO with `rows` or `table`")]
    NoTable,
    /// Rows were named, and the run has several tables: a row key alone does not say whose row it is (R23).
    #[error("the run has {tables} tables, and named rows are of one: make a run for each table with its own keys")]
    SeveralTables {
        /// How many tables it was given.
        tables: usize,
    },
    /// This process has said goodbye to the control plane, or is about to (R30). Nothing was done: see
    /// [`Refused::Left`](crate::Refused::Left).
    #[error("the {run} cannot begin: this process has left the migration's fleet, so begin it in another instance")]
    Left {
        /// `backfill`, `verification` or `repair`.
        run: &'static str,
    },
    /// The plan in force or the control plane does not let it begin. Nothing was done.
    #[error("the {run} cannot begin: {why}")]
    NotNow {
        /// `backfill`, `verification` or `repair`.
        run: &'static str,
        /// Why, and what would change it.
        why: String,
    },
    /// It stopped before its end: the plan moved on, or the caller stopped it.
    #[error("the {run} stopped before its end ({why}): run it again")]
    Stopped {
        /// `backfill`, `verification` or `repair`.
        run: &'static str,
        /// Why.
        why: String,
    },
    /// The file of the progress cannot be used.
    #[error("the progress in {}: {what}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Rows of a table could not be read or settled.
    #[error("table `{table}`: {error}")]
    Rows {
        /// The table.
        table: String,
        /// What failed.
        #[source]
        error: RowsError,
    },
    /// A row has no cohort key (R13).
    #[error("table `{table}`: the row {digest} (digest of its key) has no cohort key: check `key_of` of its rows")]
    MissingKey {
        /// The table.
        table: String,
        /// Digest of the row key.
        digest: String,
    },
    /// Only the side without authority has these rows, and the run was not told to delete them.
    #[error(
        "{rows} rows are only in the {side}, which has no authority for them, and were left there: verify to see which, check that source and target are not swapped, then allow it with `extra(Extra::Delete)`"
    )]
    Extra {
        /// The side that has them.
        side: Side,
        /// How many.
        rows: u64,
    },
    /// The work is done, and the control plane could not be told.
    #[error("the {run} ended, and the control plane does not know it ({why}): run it again")]
    NotRecorded {
        /// `backfill`, `verification` or `repair`.
        run: &'static str,
        /// Why.
        why: String,
    },
}

/// A backfill, a verification or a repair of every row, through the DAOs of a migration.
///
/// ```no_run
/// # use crossfade::{Migration, rows::{Run, RunError, ScanRows}};
/// # async fn f<E: ScanRows, O: ScanRows>(migration: Migration, events: E, orders: O) -> Result<(), RunError> {
/// // One table, named as the migration: `events` is `dao.rows()`.
/// let moved = Run::new(&migration).rows(events).checkpoint("/var/lib/app/events.progress").backfill().await?;
/// println!("{} rows copied", moved.copied);
/// // Several tables: the run stands for the migration when it has all of them.
/// # let (events, orders): (E, O) = unimplemented!();
/// let found = Run::new(&migration).table("events", events).table("orders", orders).verify().await?;
/// for difference in &found.differences {
///     println!("{} {}: {:?}", difference.table, difference.digest, difference.fields);
/// }
/// # Ok(()) }
/// ```
///
/// A run is cancelled by dropping its future, or ended in good order by [`RunHandle::stop`].
pub struct Run {
    inner: Arc<Inner>,
    tables: Vec<(String, Box<dyn Rows>)>,
    pace: Pace,
    checkpoint: Option<PathBuf>,
    extra: Extra,
    naming: Naming,
    handle: RunHandle,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tables: Vec<&String> = self.tables.iter().map(|(name, _)| name).collect();
        f.debug_struct("Run").field("migration", &self.inner.id).field("tables", &tables).finish_non_exhaustive()
    }
}

/// The rows of one table, whatever their types.
trait Rows: Send + Sync {
    fn move_all<'a>(
        &'a self,
        work: &'a Work<'a>,
        counters: &'a Counters,
        checkpoint: &'a mut Checkpoint,
    ) -> BoxFuture<'a, Result<(), RunError>>;

    fn move_named<'a>(
        &'a self,
        work: &'a Work<'a>,
        counters: &'a Counters,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<(), RunError>>;

    fn compare_all<'a>(
        &'a self,
        work: &'a Work<'a>,
        naming: &'a Naming,
        found: &'a mut Verification,
    ) -> BoxFuture<'a, Result<(), RunError>>;
}

impl<P: ScanRows> Rows for P {
    fn move_all<'a>(
        &'a self,
        work: &'a Work<'a>,
        counters: &'a Counters,
        checkpoint: &'a mut Checkpoint,
    ) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(moving::move_all(self, work, counters, checkpoint))
    }

    fn move_named<'a>(
        &'a self,
        work: &'a Work<'a>,
        counters: &'a Counters,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(moving::move_named(self, work, counters, keys))
    }

    fn compare_all<'a>(
        &'a self,
        work: &'a Work<'a>,
        naming: &'a Naming,
        found: &'a mut Verification,
    ) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(comparing::compare_all(self, work, naming, found))
    }
}

/// What the passes over one table share.
pub(super) struct Work<'a> {
    inner: &'a Arc<Inner>,
    table: &'a str,
    kind: RunKind,
    /// A control plane knows of the run.
    registered: bool,
    pace: &'a Pace,
    extra: Extra,
    handle: &'a RunHandle,
}

impl Work<'_> {
    fn unfit(&self, plan: &Plan) -> Option<&'static str> {
        if self.registered { self.kind.unfit(plan) } else { self.kind.unfit_alone(plan) }
    }

    /// The error of a run that must stop, when it must.
    fn stopped(&self) -> Result<(), RunError> {
        match self.handle.stopped() {
            Some(why) => Err(RunError::Stopped { run: self.kind.name(), why }),
            None => Ok(()),
        }
    }

    fn rows_error(&self, error: impl Into<RowsError>) -> RunError {
        RunError::Rows { table: self.table.to_owned(), error: error.into() }
    }
}

impl Run {
    /// A run over rows of this migration. Give it the rows of every table of the migration: a run over some of them
    /// does its work, and no gate takes it for one of the whole migration.
    #[must_use]
    pub fn new(migration: &Migration) -> Run {
        Run {
            inner: Arc::clone(&migration.inner),
            tables: Vec::new(),
            pace: Pace::default(),
            checkpoint: None,
            extra: Extra::default(),
            naming: Naming::default(),
            handle: RunHandle::new(),
        }
    }

    /// The rows of the DAO whose table has the name of the migration: `dao.rows()`.
    #[must_use]
    pub fn rows(self, rows: impl ScanRows) -> Run {
        let table = self.inner.id.clone();
        self.table(&table, rows)
    }

    /// The rows of the DAO of this table. A second call with one name replaces the first.
    #[must_use]
    pub fn table(mut self, table: &str, rows: impl ScanRows) -> Run {
        self.tables.retain(|(name, _)| name != table);
        self.tables.push((table.to_owned(), Box::new(rows)));
        self
    }

    /// Page size, rows at once, time-outs and attempts.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Run {
        self.pace = pace;
        self
    }

    /// A file that keeps the progress of a backfill, on a disk that survives the process. A backfill that finds the file
    /// of one that was stopped or killed goes on where that one was. One process at a time: `FILE.lock` beside it says
    /// which. Without a control plane, remove the file when the migration goes back to off: the next way forward begins
    /// from the first row (R10).
    #[must_use]
    pub fn checkpoint(mut self, file: impl AsRef<Path>) -> Run {
        self.checkpoint = Some(file.as_ref().to_owned());
        self
    }

    /// What a backfill and a repair do with rows that only the side without authority has. Default: [`Extra::Refuse`].
    #[must_use]
    pub fn extra(mut self, extra: Extra) -> Run {
        self.extra = extra;
        self
    }

    /// About how many rows there are on each side, in all tables: the progress then has a total.
    #[must_use]
    pub fn expecting(self, rows: u64) -> Run {
        self.handle.expect(rows);
        self
    }

    /// Names at most so many differing rows one by one; all are counted. Default: 1,000.
    #[must_use]
    pub fn name_at_most(mut self, rows: usize) -> Run {
        self.naming.at_most = rows;
        self
    }

    /// Names differing rows by their keys, not by digests alone. Keys may name people.
    #[must_use]
    pub fn with_keys(mut self) -> Run {
        self.naming.keys = true;
        self
    }

    /// Shows how far the run is, and stops it.
    #[must_use]
    pub fn handle(&self) -> RunHandle {
        self.handle.clone()
    }

    /// Moves history beside live writes (R9): every row is copied from the side that has authority for it to the other
    /// one. Begins when dual-write is acknowledged everywhere. A dropped backfill leaves what it has done.
    ///
    /// # Errors
    /// [`RunError`]. The control plane then has the backfill as unfinished.
    pub async fn backfill(self) -> Result<Moved, RunError> {
        self.moved(RunKind::Backfill).await
    }

    /// Copies the present row of the side that has authority over every row of the other side that differs (R6), at every
    /// stage that writes both sides. Marks that instances have left which are gone are cleared at the control plane.
    ///
    /// # Errors
    /// [`RunError`]. Verify after a repair, whether it failed or not: gates ask for it.
    pub async fn repair(mut self) -> Result<Moved, RunError> {
        // A repair begins with the first row each time.
        self.checkpoint = None;
        self.moved(RunKind::Repair).await
    }

    /// As [`Run::repair`], of the rows with these row keys alone: those that a verification named, for example. The run
    /// has one table. A key whose row neither side has needs no repair and is not counted.
    ///
    /// The control plane takes it for a repair of some rows: marks that instances have left which are gone stay. Verify
    /// after it: gates ask for it.
    ///
    /// ```no_run
    /// # use crossfade::{Migration, rows::{Run, RunError, ScanRows}};
    /// # async fn f<E: ScanRows>(migration: Migration, events: E) -> Result<(), RunError> {
    /// let repaired = Run::new(&migration).table("events", events).repair_rows([17u64, 42]).await?;
    /// println!("{} rows copied", repaired.copied);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RunError`]: among them [`RunError::SeveralTables`], and a key that is not one of the table's
    /// ([`RepairError::Key`](crate::repair::RepairError::Key)), for which nothing is done.
    pub async fn repair_rows(self, keys: impl IntoIterator<Item = impl Key>) -> Result<Moved, RunError> {
        let keys: Vec<String> = keys.into_iter().map(|key| key::text(&key)).collect();
        let (table, rows) = match self.tables.as_slice() {
            [] => return Err(RunError::NoTable),
            [(table, rows)] => (table, rows),
            several => return Err(RunError::SeveralTables { tables: several.len() }),
        };
        let (kind, left_out) = (RunKind::Repair, self.left_out());
        let membership = self.begin(kind, false).await?;
        let counters = Counters::default();
        self.handle.at(table);
        let moved = rows.move_named(&self.work(kind, table, membership.is_some()), &counters, &keys).await;
        let result = moved.and_then(|()| counters.clean());
        self.end(kind, membership, RunOutcome::Interrupted, result).await?;
        let moved = counters.report(self.handle.done(), 0, left_out);
        tracing::info!(migration = %self.inner.id, table = %table, ?moved, "the repair of named rows has ended");
        Ok(moved)
    }

    /// Compares every row of both sides (R14). A difference counts when it is still there after three more looks. A
    /// verification of every table that passes also clears what this process suspected before the verification began.
    ///
    /// # Errors
    /// [`RunError`] when it could not look at every row: that is neither equal nor different.
    pub async fn verify(self) -> Result<Verification, RunError> {
        let kind = RunKind::Verify;
        let left_out = self.left_out();
        let membership = self.begin(kind, false).await?;
        let before = suspicion::before(&self.inner);
        let mut found = Verification::new(left_out);
        let mut result = Ok(());
        for (table, rows) in &self.tables {
            self.handle.at(table);
            result = rows.compare_all(&self.work(kind, table, membership.is_some()), &self.naming, &mut found).await;
            if result.is_err() {
                break;
            }
        }
        let outcome = match &result {
            Ok(()) if found.left_out.is_empty() => RunOutcome::Verdict(found.verdict()),
            Ok(()) | Err(_) => RunOutcome::Interrupted,
        };
        self.end(kind, membership, outcome, result).await?;
        if found.left_out.is_empty() && found.verdict() == Verdict::Verified && found.not_mirrored == 0 {
            suspicion::clear(&self.inner, before);
        }
        Ok(found)
    }

    async fn moved(self, kind: RunKind) -> Result<Moved, RunError> {
        let left_out = self.left_out();
        // Taken before anything is registered: the second of two runs is turned away at once.
        let lock = match self.checkpoint.clone() {
            None => None,
            Some(path) => Some(Arc::new(blocking(&path.clone(), move || checkpoint::lock(&path)).await?)),
        };
        // A file that cannot be used is refused before the control plane takes the backfill for begun.
        self.open(None, None).await?;
        let membership = self.begin(kind, left_out.is_empty()).await?;
        let counters = Counters::default();
        let opened = self.open(Some(membership.as_ref().map_or(0, |membership| membership.claim)), lock).await;
        let (result, resumed) = match opened {
            Ok(mut checkpoint) => {
                let resumed = checkpoint.pages();
                (self.move_tables(kind, membership.is_some(), &counters, &mut checkpoint).await, resumed)
            }
            Err(error) => (Err(error), 0),
        };
        let outcome = match &result {
            Ok(()) if left_out.is_empty() => RunOutcome::Complete,
            Ok(()) | Err(_) => RunOutcome::Interrupted,
        };
        self.end(kind, membership, outcome, result).await?;
        let moved = counters.report(self.handle.done(), resumed, left_out);
        tracing::info!(migration = %self.inner.id, ?moved, "the {} has ended", kind.name());
        Ok(moved)
    }

    async fn move_tables(
        &self,
        kind: RunKind,
        registered: bool,
        counters: &Counters,
        checkpoint: &mut Checkpoint,
    ) -> Result<(), RunError> {
        if checkpoint.was_cut_off() {
            // A put of the run that was killed may still land (R9).
            let linger = self.linger();
            tracing::info!(migration = %self.inner.id, ?linger, "the last {} was cut off: waiting until no write of it can still land", kind.name());
            tokio::time::sleep(linger).await;
        }
        for (table, rows) in &self.tables {
            self.handle.at(table);
            if let Err(error) = rows.move_all(&self.work(kind, table, registered), counters, checkpoint).await {
                // Every row that was begun has ended: nothing is under way.
                checkpoint.idle().await?;
                return Err(error);
            }
        }
        checkpoint.complete().await?;
        counters.clean()
    }

    fn work<'a>(&'a self, kind: RunKind, table: &'a str, registered: bool) -> Work<'a> {
        Work { inner: &self.inner, table, kind, registered, pace: &self.pace, extra: self.extra, handle: &self.handle }
    }

    /// Tables of this process that the run does not cover.
    fn left_out(&self) -> Vec<String> {
        let covered = |name: &String| self.tables.iter().any(|(table, _)| table == name);
        self.inner.tables.names().into_iter().filter(|name| !covered(name)).collect()
    }

    /// For how long an effect whose outcome is not known may still land.
    fn linger(&self) -> Duration {
        self.pace.linger.max(self.inner.epochs.peek(|epoch| epoch.plan.options().linger))
    }

    /// Opens the file of the progress; without a claim, to see whether it can be used.
    async fn open(&self, claim: Option<u64>, lock: Option<Arc<std::fs::File>>) -> Result<Checkpoint, RunError> {
        let (earlier, later) = self.inner.epochs.peek(|epoch| epoch.plan.position().occupied());
        let authority = if earlier.authority() == later.authority() { earlier.authority().name() } else { "both" };
        let identity = Identity {
            migration: self.inner.id.clone(),
            claim,
            authority: authority.to_owned(),
            tables: self.tables.iter().map(|(name, _)| name.clone()).collect(),
        };
        let path = self.checkpoint.clone();
        let name = path.clone().unwrap_or_default();
        blocking(&name, move || Checkpoint::open(path, identity, lock)).await
    }

    /// Registers the run and waits until it may begin; without a control plane, until every operation of earlier plans
    /// of this process has ended.
    async fn begin(&self, kind: RunKind, whole: bool) -> Result<Option<RunMembership>, RunError> {
        if self.tables.is_empty() {
            return Err(RunError::NoTable);
        }
        if self.inner.epochs.peek(|epoch| epoch.is_closed()) {
            return Err(RunError::Left { run: kind.name() });
        }
        let left_out = self.left_out();
        if !left_out.is_empty() {
            tracing::warn!(migration = %self.inner.id, ?left_out, "the {} is not one of every table: it does not count for the gates", kind.name());
        }
        let not_now = |why: String| RunError::NotNow { run: kind.name(), why };
        let Some(registrar) = &self.inner.run_registrar else {
            if let Some(why) = self.inner.epochs.peek(|epoch| kind.unfit_alone(&epoch.plan)) {
                return Err(not_now(why.to_owned()));
            }
            let sequence = *self.inner.epochs.watch().borrow();
            self.inner.epochs.grace(sequence).await;
            return Ok(None);
        };
        let handle = self.handle.clone();
        let request = RunRequest {
            migration: self.inner.id.clone(),
            kind,
            steward: Steward::of(&self.inner),
            runtime: self.inner.runtime.clone(),
            count: Arc::new(move || handle.count()),
            stop: self.handle.stop_sender(),
            clears_marks: kind == RunKind::Repair && whole,
        };
        match registrar.0.begin(request, self.linger()).await {
            Ok(membership) => Ok(Some(membership)),
            Err(NotRegistered::Refused(why)) => Err(not_now(why)),
            Err(NotRegistered::Stopped(why)) => Err(RunError::Stopped { run: kind.name(), why }),
        }
    }

    /// Tells the control plane, if there is one. An error of the work goes before one of the telling.
    async fn end(
        &self,
        kind: RunKind,
        membership: Option<RunMembership>,
        outcome: RunOutcome,
        result: Result<(), RunError>,
    ) -> Result<(), RunError> {
        let told = match membership {
            Some(membership) => membership.end(outcome).await,
            None => Ok(()),
        };
        match (result, told) {
            (Ok(()), Ok(())) => Ok(()),
            (Ok(()), Err(why)) => Err(RunError::NotRecorded { run: kind.name(), why }),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(why)) => {
                tracing::warn!(migration = %self.inner.id, %why, "the control plane does not know that the {} was interrupted", kind.name());
                Err(error)
            }
        }
    }
}

/// Work on files, off the runtime's threads.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    let ended = |_| RunError::Checkpoint { path: path.to_owned(), what: "the reading task ended early".to_owned() };
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}
