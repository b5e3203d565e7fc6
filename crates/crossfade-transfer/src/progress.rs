//! What happens while it runs: counters that a progress bar samples, and rare events.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a run, readable at any time.
#[derive(Debug, Default)]
pub struct Counters {
    /// About how many rows there are to read.
    pub expected: AtomicU64,
    /// Rows read from the source.
    pub read: AtomicU64,
    /// Rows put into the target.
    pub written: AtomicU64,
    /// Rows that were equal already.
    pub unchanged: AtomicU64,
    /// Rows deleted in the target because the source has them no more.
    pub deleted: AtomicU64,
    /// Rows that only the target has, and that stay there because the configuration keeps them.
    pub kept: AtomicU64,
    /// Rows read from the target.
    pub read_target: AtomicU64,
    /// Rows whose difference is read again.
    pub suspected: AtomicU64,
    /// Rows that could not be done.
    pub failed: AtomicU64,
}

impl Counters {
    /// Adds to one of them.
    pub fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Reads one of them.
    #[must_use]
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// Something a person may want to know when it happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A table begins.
    Table {
        /// Its name in the source.
        name: String,
        /// Ranges to do.
        ranges: usize,
        /// Ranges that an earlier run did.
        resumed: usize,
        /// Which way rows go, and how it is known that it is lawful.
        path: String,
    },
    /// Waiting for transactions of the source that are older than this run.
    WaitingForOlderWriters,
    /// A killed run may have had writes under way, which land within their linger: what it was cut off in begins after that.
    WaitingForKilledRun {
        /// How long.
        wait: std::time::Duration,
    },
    /// A row was not done.
    RowFailed {
        /// Digest of its key.
        key: String,
        /// Why, with the column.
        why: String,
    },
    /// Differences are read again.
    Generation {
        /// 1, 2, …
        number: u32,
        /// How many rows.
        rows: usize,
    },
    /// The pace changed.
    Pace {
        /// Chunks at a time.
        parallel: usize,
        /// Why.
        why: &'static str,
    },
}

/// Who is told.
pub trait Observer: Send + Sync {
    /// Called from the run's tasks: must return at once.
    fn event(&self, event: Event);
}

/// Nobody.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event) {}
}
