//! Backfill and repair: each row is copied from the side that has authority for it to the other one.

use super::checkpoint::Checkpoint;
use super::turn::{Allowed, Turn, decide};
use super::{Extra, RunError, Work};
use crate::key;
use crate::plan::runs::RunKind;
use crate::repair::{RepairError, Repaired, reconcile};
use crate::rows::{Cursor, RowsError, ScanRows, backfill};
use crate::secondary::{Outcome, guarded};
use crossfade_core::Side;
use futures::{StreamExt, stream};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a backfill or a repair did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Moved {
    /// Rows looked at, each side counted by itself.
    pub read: u64,
    /// Rows put into the side without authority.
    pub copied: u64,
    /// Rows deleted there.
    pub deleted: u64,
    /// Rows that were equal already.
    pub unchanged: u64,
    /// Rows left alone, because only one side is written for their keys.
    pub not_mirrored: u64,
    /// Pages that an earlier run had finished, and this one skipped.
    pub pages_resumed: u64,
    /// Tables of this process that the run did not have. Unless it is empty, no gate takes the run as complete.
    pub left_out: Vec<String>,
}

/// So many rows of one side alone are looked at again before they count.
const LOOKED_AT: u64 = 1_000;

/// Counts of one run, over all tables.
#[derive(Debug, Default)]
pub(super) struct Counters {
    copied: AtomicU64,
    deleted: AtomicU64,
    unchanged: AtomicU64,
    not_mirrored: AtomicU64,
    /// Rows of each side that it took and reads back otherwise.
    not_kept: [AtomicU64; 2],
    /// Rows that only this side has, which has no authority for them.
    extra: [AtomicU64; 2],
    /// The table in which a row was not kept first.
    not_kept_in: Mutex<Option<String>>,
}

const fn index(side: Side) -> usize {
    match side {
        Side::Source => 0,
        Side::Target => 1,
    }
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// An error when some row is not as it should be, though every row was visited.
    pub(super) fn clean(&self) -> Result<(), RunError> {
        for side in Side::ALL {
            let rows = self.not_kept[index(side)].load(Ordering::Relaxed);
            if rows > 0 {
                let table = self.not_kept_in.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let error = RowsError::NotKept { side, rows };
                return Err(RunError::Rows { table: table.unwrap_or_default(), error });
            }
            let rows = self.extra[index(side)].load(Ordering::Relaxed);
            if rows > 0 {
                return Err(RunError::Extra { side, rows });
            }
        }
        Ok(())
    }

    pub(super) fn report(&self, read: u64, pages_resumed: u64, left_out: Vec<String>) -> Moved {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Moved {
            read,
            copied: get(&self.copied),
            deleted: get(&self.deleted),
            unchanged: get(&self.unchanged),
            not_mirrored: get(&self.not_mirrored),
            pages_resumed,
            left_out,
        }
    }
}

/// Visits every row of the source, then every row of the target. Ends when each row that it began has ended.
pub(super) async fn move_all<P: ScanRows>(
    pair: &P,
    work: &Work<'_>,
    counters: &Counters,
    checkpoint: &mut Checkpoint,
) -> Result<(), RunError> {
    let mut place = checkpoint.place(work.table);
    while !place.done {
        work.stopped()?;
        checkpoint.at(work.table, place.clone()).await?;
        let after = place.after.clone().map(Cursor);
        let page = backfill::page(pair, place.side, after, work.pace).await.map_err(|error| work.rows_error(error))?;
        let failed: Mutex<Option<RunError>> = Mutex::default();
        let failure = || failed.lock().unwrap_or_else(PoisonError::into_inner);
        stream::iter(page.rows)
            .for_each_concurrent(work.pace.at_once.max(1), |row| {
                let (side, failure) = (place.side, &failure);
                async move {
                    // Rows under way end; no other begins.
                    if failure().is_some() || work.handle.stopped().is_some() {
                        return;
                    }
                    if let Err(error) = move_row(pair, work, counters, side, row).await {
                        failure().get_or_insert(error);
                    }
                }
            })
            .await;
        if counters.clean().is_err() {
            checkpoint.leaves_rows();
        }
        if let Some(error) = failure().take() {
            return Err(error);
        }
        // A page in which a row was skipped is not finished.
        work.stopped()?;
        place.pages += 1;
        place.after = page.next.map(|cursor| cursor.0);
        if place.after.is_none() {
            match place.side {
                Side::Source => place.side = Side::Target,
                Side::Target => place.done = true,
            }
        }
        work.handle.log(&work.inner.id, work.kind.name());
    }
    checkpoint.at(work.table, place).await
}

/// Visits the rows with these keys, on the source and on the target, as [`move_all`] does. Nothing is begun before every
/// key is known to be one of the table's.
pub(super) async fn move_named<P: ScanRows>(
    pair: &P,
    work: &Work<'_>,
    counters: &Counters,
    keys: &[String],
) -> Result<(), RunError> {
    let mut seen = HashSet::new();
    let mut ids: Vec<P::Id> = Vec::new();
    for text in keys.iter().filter(|text| seen.insert(text.as_str())) {
        let Some(id) = key::ParseKey::parse_key(text) else {
            return Err(work.rows_error(RepairError::Key { digest: key::digest(text) }));
        };
        ids.push(id);
    }
    for side in Side::ALL {
        let failed: Mutex<Option<RunError>> = Mutex::default();
        let failure = || failed.lock().unwrap_or_else(PoisonError::into_inner);
        stream::iter(&ids)
            .for_each_concurrent(work.pace.at_once.max(1), |id| {
                let failure = &failure;
                async move {
                    // Rows under way end; no other begins.
                    if failure().is_some() || work.handle.stopped().is_some() {
                        return;
                    }
                    let moved = match read_again(pair, work, side, id).await {
                        Ok(Some(row)) => move_row(pair, work, counters, side, row).await,
                        Ok(None) => Ok(()),
                        Err(error) => Err(error),
                    };
                    if let Err(error) = moved {
                        failure().get_or_insert(error);
                    }
                }
            })
            .await;
        if let Some(error) = failure().take() {
            return Err(error);
        }
        work.stopped()?;
    }
    Ok(())
}

/// The present row of a side, asked for again while the store fails.
async fn read_again<P: ScanRows>(
    pair: &P,
    work: &Work<'_>,
    side: Side,
    id: &P::Id,
) -> Result<Option<P::Row>, RunError> {
    let mut attempt = 1;
    loop {
        match read(pair, side, id, work.pace.timeout).await {
            Ok(row) => return Ok(row),
            Err(error) if attempt >= work.pace.attempts || work.handle.stopped().is_some() => {
                return Err(work.rows_error(error));
            }
            Err(_) => {
                attempt += 1;
                tokio::time::sleep(work.pace.linger.min(Duration::from_millis(500))).await;
            }
        }
    }
}

/// Settles one row, and tries it again where a store failed. The plan is asked anew for each try.
async fn move_row<P: ScanRows>(
    pair: &P,
    work: &Work<'_>,
    counters: &Counters,
    scanned: Side,
    row: P::Row,
) -> Result<(), RunError> {
    work.handle.saw_one();
    let (id, key) = (pair.id_of(&row), pair.key_of(&row));
    let mut attempt = 1;
    loop {
        let allowed = decide(work.inner, |plan| work.unfit(plan), &key, work.pace.linger);
        let (authority, mut turn) = match allowed {
            Ok(Allowed::Work(authority, turn)) => (authority, turn),
            Ok(Allowed::NotMirrored) => {
                one(&counters.not_mirrored);
                return Ok(());
            }
            Ok(Allowed::Unfit(why)) => {
                work.handle.stop_for(why);
                return Ok(());
            }
            Err(_) => {
                let digest = key::digest(&key::text(&id));
                return Err(RunError::MissingKey { table: work.table.to_owned(), digest });
            }
        };
        let first = (attempt == 1).then_some(&row);
        let error = match settle(pair, work, counters, (scanned, authority), &id, first, &mut turn).await {
            Ok(()) => return Ok(()),
            Err(RepairError::NotKept(side)) => {
                turn.put_answered();
                one(&counters.not_kept[index(side)]);
                let mut table = counters.not_kept_in.lock().unwrap_or_else(PoisonError::into_inner);
                table.get_or_insert_with(|| work.table.to_owned());
                return Ok(());
            }
            Err(error) => error,
        };
        // What is read before a put without an answer has landed would prove nothing.
        if error.lingers() {
            turn.linger().await;
        } else {
            turn.put_answered();
        }
        drop(turn);
        if attempt >= work.pace.attempts || work.handle.stopped().is_some() {
            return Err(work.rows_error(error));
        }
        attempt += 1;
        if !error.lingers() {
            tokio::time::sleep(work.pace.linger.min(Duration::from_millis(500))).await;
        }
    }
}

/// One try at a row that was found on the side `scanned`. `first` is the row as it was read, at the first try.
async fn settle<P: ScanRows>(
    pair: &P,
    work: &Work<'_>,
    counters: &Counters,
    (scanned, authority): (Side, Side),
    id: &P::Id,
    first: Option<&P::Row>,
    turn: &mut Turn,
) -> Result<(), RepairError> {
    let (timeout, secondary) = (work.pace.timeout, authority.other());
    if scanned == authority {
        match (work.kind, first) {
            // Most rows of a first backfill are missing: put the row as read, then look whether it still is the truth.
            (RunKind::Backfill, Some(row)) => {
                turn.put_begins();
                let put = match guarded(pair.restore(secondary, id, None, Some(row)), timeout).await {
                    Outcome::Answered(Ok(put)) => {
                        turn.put_answered();
                        put
                    }
                    Outcome::Answered(Err(_)) | Outcome::TimedOut | Outcome::Panicked => {
                        turn.linger().await;
                        false
                    }
                };
                // R9: the second read of the authority. Anything but the row that was put is settled.
                if put && read(pair, authority, id, timeout).await.is_ok_and(|truth| truth.as_ref() == Some(row)) {
                    one(&counters.copied);
                    return Ok(());
                }
                return copy(pair, authority, id, timeout, turn).await.map(|done| match done {
                    Repaired::Copied => one(&counters.copied),
                    Repaired::Unchanged if put => one(&counters.copied),
                    Repaired::Unchanged => one(&counters.unchanged),
                });
            }
            (RunKind::Backfill | RunKind::Repair | RunKind::Verify, _) => {}
        }
        return copy(pair, authority, id, timeout, turn).await.map(|done| match done {
            Repaired::Copied => one(&counters.copied),
            Repaired::Unchanged => one(&counters.unchanged),
        });
    }
    // The side without authority has the row. If the authority has it too, the scan of that side settles it.
    if read(pair, authority, id, timeout).await?.is_some() {
        return Ok(());
    }
    match work.extra {
        Extra::Delete => {
            let done = copy(pair, authority, id, timeout, turn).await?;
            if done == Repaired::Copied {
                one(&counters.deleted);
            }
        }
        Extra::Refuse => {
            let counter = &counters.extra[index(secondary)];
            // Beyond so many, the deletes of live writes make no difference to the answer.
            if counter.load(Ordering::Relaxed) >= LOOKED_AT || is_extra(pair, authority, id, timeout).await? {
                one(counter);
            }
        }
    }
    Ok(())
}

/// Whether only the side without authority has the row, after the delete of a live write has had time to arrive there.
async fn is_extra<P: ScanRows>(pair: &P, authority: Side, id: &P::Id, timeout: Duration) -> Result<bool, RepairError> {
    for wait in super::comparing::LOOKS {
        tokio::time::sleep(wait).await;
        let copy = read(pair, authority.other(), id, timeout).await?;
        if copy.is_none() || read(pair, authority, id, timeout).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies the authority's present row (R6).
async fn copy<P: ScanRows>(
    pair: &P,
    authority: Side,
    id: &P::Id,
    timeout: Duration,
    turn: &mut Turn,
) -> Result<Repaired, RepairError> {
    turn.put_begins();
    let done = reconcile(pair, authority, id, timeout).await;
    if done.is_ok() {
        turn.put_answered();
    }
    done
}

/// The present row of a side.
pub(super) async fn read<P: ScanRows>(
    pair: &P,
    side: Side,
    id: &P::Id,
    timeout: Duration,
) -> Result<Option<P::Row>, RepairError> {
    match guarded(pair.snapshot(side, id), timeout).await {
        Outcome::Answered(Ok(row)) => Ok(row),
        Outcome::Answered(Err(error)) => Err(RepairError::Store { call: "snapshot", side, message: error.to_string() }),
        Outcome::TimedOut | Outcome::Panicked => Err(RepairError::Unanswered { call: "snapshot", side }),
    }
}
