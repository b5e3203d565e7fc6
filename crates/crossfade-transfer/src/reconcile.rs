//! Making rows equal beside live writes: the loop of R9, which is also R6 for given rows.
//!
//! For each row: read the target, then the source; where they differ, put the source's present row (or delete) by compare-and-set on what was seen in
//! the target; read the source again; go on until that agrees. The target is read first, so that a compare-and-set that succeeds never puts a value
//! older than one that a live write put there in between. A put whose outcome is not known keeps its row open until the linger has passed.

use std::time::Duration;

use crossfade_stores::{Change, ChangeOutcome, Recovery, Row, RowKey, StoreError};

use crate::{Pair, TransferError, retry::Retry};

/// A row as both sides were seen to have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its key in the source.
    pub source_key: RowKey,
    /// Its key in the target, where known.
    pub target_key: Option<RowKey>,
    /// The source's row, mapped; `None` is no row.
    pub source: Option<Row>,
    /// The target's row; `None` is no row.
    pub target: Option<Row>,
}

/// What became of some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled {
    /// Put into the target.
    pub written: u64,
    /// Deleted from the target.
    pub deleted: u64,
    /// Equal without a write.
    pub unchanged: u64,
    /// Rows that only the target has, left there under [`Deletes::OnlyOfThisRun`].
    pub kept: u64,
    /// Not done, each with its key's digest and why.
    pub failed: Vec<Failed>,
}

/// A row that could not be made equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its key in the source.
    pub key: RowKey,
    /// Why, with the column.
    pub why: String,
}

impl Settled {
    /// Adds another's counts.
    pub fn add(&mut self, other: Settled) {
        self.written += other.written;
        self.deleted += other.deleted;
        self.unchanged += other.unchanged;
        self.kept += other.kept;
        self.failed.extend(other.failed);
    }
}

/// Which rows of the target may be deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deletes {
    /// Every row that the source lacks.
    All,
    /// Only a row that the source had when this call began. A row that only the target had stays.
    OnlyOfThisRun,
}

/// How often a row is tried that others keep changing.
const ROUNDS: u32 = 60;

/// A row that is not settled yet.
struct Open {
    row: Seen,
    wrote: Option<Wrote>,
    /// Whether what is in `row` may be put without reading both sides first.
    fresh: bool,
    /// Whether only the target had the row when it was first seen.
    only_target: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrote {
    Put,
    Deleted,
}

/// Makes `rows` equal. What was seen may be old by now: a difference is read again (target, then source) before it is written, except a row that
/// was missing in the target, whose insert can overwrite nothing.
///
/// # Errors
/// The databases cannot be asked any more. Rows that one of them refuses are in [`Settled::failed`] instead.
pub async fn settle(pair: &Pair, retry: &Retry, rows: Vec<Seen>) -> Result<Settled, TransferError> {
    settle_with(pair, retry, rows, Deletes::All).await
}

/// As [`settle`], deleting no more than `deletes` allows.
///
/// # Errors
/// As [`settle`].
pub async fn settle_with(
    pair: &Pair,
    retry: &Retry,
    rows: Vec<Seen>,
    deletes: Deletes,
) -> Result<Settled, TransferError> {
    let mut settled = Settled::default();
    let mut open = Vec::new();
    for mut row in rows {
        if row.target_key.is_none() {
            row.target_key = row.target.as_ref().or(row.source.as_ref()).map(|r| pair.target_key(r));
        }
        match (&row.source, &row.target) {
            (None, None) => settled.unchanged += 1,
            (Some(s), Some(t)) if s.same(t, pair.closeness) => settled.unchanged += 1,
            (Some(_), None) => open.push(Open { row, wrote: None, fresh: true, only_target: false }),
            (source, _) => {
                let only_target = source.is_none();
                open.push(Open { row, wrote: None, fresh: false, only_target });
            }
        }
    }
    let mut linger: Option<tokio::time::Instant> = None;
    let mut round = 0;
    while !open.is_empty() {
        if round > 0 {
            // Others write the same rows: give them a moment, more each time.
            tokio::time::sleep(Duration::from_millis(u64::from(round.min(20)) * 2)).await;
        }
        if let Some(until) = linger.take() {
            tokio::time::sleep_until(until).await;
        }
        round += 1;
        if round > ROUNDS {
            for row in open {
                let why =
                    format!("was changed by others {ROUNDS} times while it was copied: run the same command again");
                settled.failed.push(Failed { key: row.row.source_key, why });
            }
            break;
        }
        read_again(pair, retry, &mut open, &mut settled).await?;
        open.retain(|o| !done(pair, o, &mut settled));
        if deletes == Deletes::OnlyOfThisRun {
            let before = open.len();
            open.retain(|o| !(o.only_target && o.row.source.is_none() && o.row.target.is_some()));
            settled.kept += (before - open.len()) as u64;
        }
        if open.is_empty() {
            break;
        }
        let outcomes = write(pair, retry, &open).await?;
        let mut next = Vec::with_capacity(open.len());
        for (mut row, outcome) in open.into_iter().zip(outcomes) {
            match outcome {
                ChangeOutcome::Applied => {
                    row.wrote = Some(if row.row.source.is_some() { Wrote::Put } else { Wrote::Deleted });
                    row.row.target.clone_from(&row.row.source);
                    row.fresh = true;
                    next.push(row);
                }
                ChangeOutcome::LostRace => {
                    row.fresh = false;
                    next.push(row);
                }
                ChangeOutcome::Ambiguous(_) => {
                    let until = tokio::time::Instant::now() + pair.target.capabilities().linger;
                    linger = Some(linger.map_or(until, |l| l.max(until)));
                    row.fresh = false;
                    next.push(row);
                }
                ChangeOutcome::Refused(e) => match e.recovery() {
                    Recovery::Again | Recovery::Slower => {
                        row.fresh = false;
                        next.push(row);
                    }
                    Recovery::Row => settled.failed.push(Failed { key: row.row.source_key, why: e.to_string() }),
                    Recovery::Stop => return Err(e.into()),
                },
            }
        }
        open = next;
        // The second read: what was put must still be what the source has.
        second_read(pair, retry, &mut open, &mut settled).await?;
    }
    Ok(settled)
}

/// Counts a row that is equal now.
fn done(pair: &Pair, open: &Open, settled: &mut Settled) -> bool {
    let same = match (&open.row.source, &open.row.target) {
        (None, None) => true,
        (Some(s), Some(t)) => s.same(t, pair.closeness),
        _ => false,
    };
    if same {
        match open.wrote {
            Some(Wrote::Put) => settled.written += 1,
            Some(Wrote::Deleted) => settled.deleted += 1,
            None => settled.unchanged += 1,
        }
    }
    same
}

/// Reads the target, then the source, of the rows that are not fresh. Afterwards they are.
async fn read_again(
    pair: &Pair,
    retry: &Retry,
    open: &mut Vec<Open>,
    settled: &mut Settled,
) -> Result<(), TransferError> {
    let stale: Vec<usize> = (0..open.len()).filter(|i| !open[*i].fresh).collect();
    if stale.is_empty() {
        return Ok(());
    }
    // The target's key may have to come from the source's row, where it is not made of the source's key alone.
    let unknown: Vec<usize> = stale.iter().copied().filter(|i| open[*i].row.target_key.is_none()).collect();
    if !unknown.is_empty() {
        for i in &unknown {
            open[*i].row.target_key = pair.map.target_key_of(&open[*i].row.source_key);
        }
    }
    let known: Vec<usize> = stale.iter().copied().filter(|i| open[*i].row.target_key.is_some()).collect();
    let target_keys: Vec<RowKey> = known.iter().filter_map(|i| open[*i].row.target_key.clone()).collect();
    let targets = retry.run(|| pair.target.read(&target_keys)).await?;
    for (i, target) in known.iter().zip(targets) {
        open[*i].row.target = target;
    }
    let source_keys: Vec<RowKey> = stale.iter().map(|i| open[*i].row.source_key.clone()).collect();
    let sources = retry.run(|| pair.source.read(&source_keys)).await?;
    let mut failed = Vec::new();
    for (i, source) in stale.iter().zip(sources) {
        let row = &mut open[*i];
        row.fresh = true;
        match source.map(|s| pair.map.forward(&s)).transpose() {
            Ok(source) => {
                if let Some(source) = &source {
                    let key = pair.target_key(source);
                    if row.row.target_key.as_ref() != Some(&key) {
                        // Now the key is known: read the target in the next round.
                        row.row.target = None;
                        row.row.target_key = Some(key);
                    }
                }
                row.row.source = source;
            }
            Err(e) => failed.push((*i, e.to_string())),
        }
    }
    fail(open, failed, settled);
    Ok(())
}

fn fail(open: &mut Vec<Open>, failed: Vec<(usize, String)>, settled: &mut Settled) {
    for (i, why) in failed.into_iter().rev() {
        let row = open.swap_remove(i);
        settled.failed.push(Failed { key: row.row.source_key, why });
    }
}

async fn write(pair: &Pair, retry: &Retry, open: &[Open]) -> Result<Vec<ChangeOutcome>, TransferError> {
    let mut changes = Vec::with_capacity(open.len());
    let mut collisions: Vec<usize> = Vec::new();
    for (i, row) in open.iter().enumerate() {
        changes.push(match (&row.row.source, &row.row.target) {
            (Some(s), None) => Change::Insert { row: s.clone() },
            (Some(s), Some(t)) => {
                if pair.map.source_key_of(t) != row.row.source_key {
                    collisions.push(i);
                }
                Change::Replace { seen: t.clone(), row: s.clone() }
            }
            (None, Some(t)) => {
                if pair.map.source_key_of(t) != row.row.source_key {
                    collisions.push(i);
                }
                Change::Delete { seen: t.clone() }
            }
            // Settled rows are not open.
            (None, None) => continue,
        });
    }
    if collisions.is_empty() {
        return Ok(retry.run(|| pair.target.write(&changes)).await?);
    }
    // Two rows of the source would be one in the target: neither may overwrite the other.
    let mut rest = Vec::with_capacity(changes.len());
    for (i, change) in changes.into_iter().enumerate() {
        if !collisions.contains(&i) {
            rest.push(change);
        }
    }
    let mut outcomes = retry.run(|| pair.target.write(&rest)).await?.into_iter();
    Ok((0..open.len())
        .map(|i| {
            if collisions.contains(&i) {
                let what =
                    "another row of the source has this key in the target: make the key's template tell them apart";
                ChangeOutcome::Refused(
                    StoreError::new(crossfade_stores::ErrorKind::Refused, what).at_key(&open[i].row.source_key),
                )
            } else {
                outcomes.next().unwrap_or(ChangeOutcome::LostRace)
            }
        })
        .collect())
}

/// Reads the source again for rows that were written; those that agree are settled, the others are read again on both sides.
async fn second_read(
    pair: &Pair,
    retry: &Retry,
    open: &mut Vec<Open>,
    settled: &mut Settled,
) -> Result<(), TransferError> {
    let written: Vec<usize> = (0..open.len()).filter(|i| open[*i].fresh && open[*i].wrote.is_some()).collect();
    let keys: Vec<RowKey> = written.iter().map(|i| open[*i].row.source_key.clone()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let now = retry.run(|| pair.source.read(&keys)).await?;
    let mut settled_now = vec![false; open.len()];
    let mut failed = Vec::new();
    for (i, source) in written.into_iter().zip(now) {
        match source.map(|s| pair.map.forward(&s)).transpose() {
            Ok(source) => {
                open[i].row.source = source;
                if done(pair, &open[i], settled) {
                    settled_now[i] = true;
                } else {
                    open[i].fresh = false;
                }
            }
            Err(e) => failed.push((i, e.to_string())),
        }
    }
    for (i, why) in &failed {
        settled.failed.push(Failed { key: open[*i].row.source_key.clone(), why: why.clone() });
        settled_now[*i] = true;
    }
    let mut at = 0;
    open.retain(|_| {
        at += 1;
        !settled_now[at - 1]
    });
    Ok(())
}
