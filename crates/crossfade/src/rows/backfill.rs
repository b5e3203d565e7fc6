//! Moving history through a DAO (R9): every row of the authority is put into the other side beside live writes, and
//! rows that only the other side has are deleted there.
//!
//! For DAOs, whose rows only they understand. Tables as such are moved, faster, by the data side. These functions register
//! nothing, keep no progress, and take one side for the authority of every row: [`Run`](super::Run) does all three.

use super::{Cursor, Page, ScanRows};
use crate::repair::{RepairError, Repaired, reconcile};
use crossfade_core::Side;
use futures::{TryStreamExt, stream};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How a backfill or a verification goes about it.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Rows in a page. Default: 500.
    pub page: usize,
    /// Rows worked on at once. Default: 16.
    pub at_once: usize,
    /// How long one call may take before it is given up. Default: 10 s.
    pub timeout: Duration,
    /// How long to wait before a row that failed is tried again, at least the linger of the stores. Default: 5 s.
    pub linger: Duration,
    /// How often a row is tried. Default: 5.
    pub attempts: u32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { page: 500, at_once: 16, timeout: Duration::from_secs(10), linger: Duration::from_secs(5), attempts: 5 }
    }
}

/// Counts while it runs, to be looked at by whoever shows progress.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    copied: AtomicU64,
    deleted: AtomicU64,
    unchanged: AtomicU64,
    not_kept: AtomicU64,
}

impl Progress {
    /// Rows looked at, on either side.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Rows put into the secondary.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Rows of the secondary alone that were deleted there.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted.load(Ordering::Relaxed)
    }

    /// Rows that were equal already.
    #[must_use]
    pub fn unchanged(&self) -> u64 {
        self.unchanged.load(Ordering::Relaxed)
    }

    /// Rows that the secondary took and reads back otherwise: a mistake in its DAO, which only its owner can mend.
    #[must_use]
    pub fn not_kept(&self) -> u64 {
        self.not_kept.load(Ordering::Relaxed)
    }

    pub(super) fn saw_one(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why rows could not be moved or compared to the end. What was done is done, and doing it again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// A page could not be read.
    #[error("a page of the {side} cannot be read: {message}; begin again when it can")]
    Scan {
        /// Where.
        side: Side,
        /// What the store said.
        message: String,
    },
    /// A row could not be settled.
    #[error(transparent)]
    Row(#[from] RepairError),
    /// Every row was visited, and some are not in the secondary as they were put.
    #[error(
        "{rows} rows read back from the {side} otherwise than they were put: compare its `restore` with its `snapshot`"
    )]
    NotKept {
        /// Where.
        side: Side,
        /// How many.
        rows: u64,
    },
}

/// Moves every row of `authority` to the other side, and deletes what only the other side has. Begin it when dual-write
/// is acknowledged everywhere (R9), and let no authority move meanwhile. Dropped half-way it leaves what it has done.
///
/// # Errors
/// [`RowsError`], after as many attempts as the pace allows.
pub async fn backfill<P: ScanRows>(
    pair: &P,
    authority: Side,
    pace: &Pace,
    progress: &Progress,
) -> Result<(), RowsError> {
    each(pair, authority, pace, |row| async move {
        let id = pair.id_of(&row);
        progress.saw_one();
        // Most rows of a first backfill are missing: put the row as read, then look whether it still is the truth.
        let put = pair.restore(authority.other(), &id, None, Some(&row));
        let first = match tokio::time::timeout(pace.timeout, put).await {
            Ok(Ok(done)) => done,
            // The put may still land: nothing that is read before its linger has passed would prove anything.
            Ok(Err(_)) | Err(_) => {
                tokio::time::sleep(pace.linger).await;
                false
            }
        };
        // R9: the second read of the authority. Unchanged, the row that was put is the truth; anything else is settled.
        let truth = pair.snapshot(authority, &id);
        let stands =
            first && matches!(tokio::time::timeout(pace.timeout, truth).await, Ok(Ok(Some(truth))) if truth == row);
        let settled = if stands { Some(Repaired::Copied) } else { settle(pair, authority, &id, pace).await? };
        let counter = match (first, settled) {
            (_, None) => &progress.not_kept,
            (true, _) | (false, Some(Repaired::Copied)) => &progress.copied,
            (false, Some(Repaired::Unchanged)) => &progress.unchanged,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
    .await?;
    each(pair, authority.other(), pace, |row| async move {
        let id = pair.id_of(&row);
        progress.saw_one();
        let truth = pair.snapshot(authority, &id);
        if matches!(tokio::time::timeout(pace.timeout, truth).await, Ok(Ok(Some(_)))) {
            return Ok(());
        }
        match settle(pair, authority, &id, pace).await? {
            Some(Repaired::Copied) => progress.deleted.fetch_add(1, Ordering::Relaxed),
            Some(Repaired::Unchanged) => 0,
            None => progress.not_kept.fetch_add(1, Ordering::Relaxed),
        };
        Ok(())
    })
    .await?;
    match progress.not_kept() {
        0 => Ok(()),
        rows => Err(RowsError::NotKept { side: authority.other(), rows }),
    }
}

/// Reconciles one row, and outwaits the linger of a put whose outcome is unknown before it reads again. None when the
/// secondary does not keep the row as it is put: trying again would change nothing.
async fn settle<P: ScanRows>(
    pair: &P,
    authority: Side,
    id: &P::Id,
    pace: &Pace,
) -> Result<Option<Repaired>, RepairError> {
    let mut attempt = 1;
    loop {
        match reconcile(pair, authority, id, pace.timeout).await {
            Ok(settled) => return Ok(Some(settled)),
            Err(RepairError::NotKept(_)) => return Ok(None),
            Err(error) if attempt >= pace.attempts => return Err(error),
            Err(_) => {
                attempt += 1;
                tokio::time::sleep(pace.linger).await;
            }
        }
    }
}

/// Calls `work` with every row of a side, `pace.at_once` at a time.
pub(super) async fn each<P, F>(pair: &P, side: Side, pace: &Pace, work: impl Fn(P::Row) -> F) -> Result<(), RowsError>
where
    P: ScanRows,
    F: Future<Output = Result<(), RowsError>>,
{
    let mut after = None;
    loop {
        let Page { rows, next } = page(pair, side, after, pace).await?;
        stream::iter(rows.into_iter().map(Ok)).try_for_each_concurrent(pace.at_once.max(1), &work).await?;
        match next {
            Some(cursor) => after = Some(cursor),
            None => return Ok(()),
        }
    }
}

/// A page, asked for again while the store fails: a lost connection is not an end.
pub(super) async fn page<P: ScanRows>(
    pair: &P,
    side: Side,
    after: Option<Cursor>,
    pace: &Pace,
) -> Result<Page<P::Row>, RowsError> {
    let failed = |message: &dyn fmt::Display| RowsError::Scan { side, message: message.to_string() };
    let mut attempt = 1;
    loop {
        let error = match tokio::time::timeout(pace.timeout, pair.scan(side, after.clone(), pace.page)).await {
            Ok(Ok(page)) => return Ok(page),
            Ok(Err(error)) => failed(&error),
            Err(elapsed) => failed(&elapsed),
        };
        if attempt >= pace.attempts {
            return Err(error);
        }
        attempt += 1;
        tokio::time::sleep(pace.linger.min(Duration::from_millis(500))).await;
    }
}
