//! How far a run is, for the caller, for the log and for the control plane.

use crate::plan::runs::RunCount;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The shortest pause between two lines of the log.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Shows how far a run is, and stops it. Clones show the same run.
#[derive(Debug, Clone)]
pub struct RunHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    done: AtomicU64,
    /// Rows that the caller expects on each side, in all tables; 0 when unknown.
    expected: AtomicU64,
    place: Mutex<Place>,
    stop: Arc<watch::Sender<Option<String>>>,
}

#[derive(Debug, Default)]
struct Place {
    table: String,
    began: Option<Instant>,
    logged: Option<Instant>,
}

impl RunHandle {
    pub(super) fn new() -> RunHandle {
        RunHandle(Arc::new(Shared {
            done: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            place: Mutex::default(),
            stop: Arc::new(watch::Sender::new(None)),
        }))
    }

    /// Rows looked at so far, each side counted by itself. Pages of an earlier run are not counted again.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Rows to look at, twice what [`Run::expecting`](super::Run::expecting) was given; none when it was not given.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        let expected = self.0.expected.load(Ordering::Relaxed);
        (expected > 0).then(|| expected.saturating_mul(2).max(self.done()))
    }

    /// Rows per second, since the run began its work.
    #[must_use]
    pub fn rate(&self) -> u64 {
        let Some(began) = self.place().began else { return 0 };
        let millis = began.elapsed().as_millis().max(1);
        u64::try_from(u128::from(self.done()) * 1_000 / millis).unwrap_or(u64::MAX)
    }

    /// The table that the run is at; empty before it has begun.
    #[must_use]
    pub fn table(&self) -> String {
        self.place().table.clone()
    }

    /// Stops the run: rows under way end, progress is kept, and the run returns
    /// [`RunError::Stopped`](super::RunError::Stopped). Returns at once.
    pub fn stop(&self) {
        self.stop_for("the caller stopped it");
    }

    pub(super) fn stop_for(&self, why: &str) {
        self.0.stop.send_if_modified(|reason| {
            let first = reason.is_none();
            if first {
                *reason = Some(why.to_owned());
            }
            first
        });
    }

    /// Why the run must stop, when it must.
    pub(super) fn stopped(&self) -> Option<String> {
        self.0.stop.borrow().clone()
    }

    pub(super) fn stop_sender(&self) -> Arc<watch::Sender<Option<String>>> {
        Arc::clone(&self.0.stop)
    }

    pub(super) fn expect(&self, rows: u64) {
        self.0.expected.store(rows, Ordering::Relaxed);
    }

    pub(super) fn at(&self, table: &str) {
        let mut place = self.place();
        table.clone_into(&mut place.table);
        place.began.get_or_insert_with(Instant::now);
    }

    pub(super) fn saw_one(&self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes a line to the log, when the last one is old enough.
    pub(super) fn log(&self, migration: &str, what: &str) {
        {
            let mut place = self.place();
            if place.logged.or(place.began).is_some_and(|last| last.elapsed() < LOG_EVERY) {
                return;
            }
            place.logged = Some(Instant::now());
        }
        let (RunCount { done, total, rate, table }, total_known) = (self.count(), self.total().is_some());
        let total = if total_known { total.unwrap_or_default().to_string() } else { "not known".to_owned() };
        tracing::info!(migration, %table, done, %total, rows_per_second = rate, "the {what} goes on");
    }

    pub(super) fn count(&self) -> RunCount {
        RunCount { done: self.done(), total: self.total(), rate: self.rate(), table: self.table() }
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Place> {
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
