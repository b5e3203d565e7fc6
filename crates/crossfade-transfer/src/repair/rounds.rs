//! The rounds of a repair, towards one side.

use std::{collections::HashSet, time::Duration};

use crossfade::Side;
use crossfade_stores::{Change, ChangeOutcome, Recovery, Row, RowKey, Table};
use tokio::time::Instant;

use super::{Named, Options, Report};
use crate::{Pair, TransferError, reconcile::Deletes, retry::Retry};

/// How often a row is tried that others keep changing.
const ROUNDS: u32 = 60;

/// How often a row may differ after it was put, while the authority's row stayed, until that counts as what the side does by itself.
const BENT: u32 = 3;

/// Rows that are deleted in vain, one after another, until no further one is tried.
const FRUITLESS: u32 = 16;

/// Whether rows that refuse each other are taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Swaps {
    /// They are given back: others may belong to them.
    Leave,
    /// One is deleted and put again.
    Break,
}

/// A row that is being repaired.
pub(super) struct Item {
    pub(super) source_key: RowKey,
    target_key: Option<RowKey>,
    /// The caller named the key in the target: then the row there is meant, whatever the source has.
    named: bool,
    /// As the source has it.
    pub(super) source: Option<Row>,
    /// As the target has it.
    pub(super) target: Option<Row>,
    writes: u32,
    /// What the authority had at the last write.
    put: Option<Option<Row>>,
    bent: u32,
    refused: Option<String>,
    /// What was deleted to free its unique values, and is not put again yet.
    parked: Option<Row>,
    was_parked: bool,
}

impl Item {
    pub(super) fn new(pair: &Pair, row: &Named) -> Item {
        Item {
            target_key: row.target_key.clone().or_else(|| pair.map.target_key_of(&row.source_key)),
            named: row.target_key.is_some(),
            source_key: row.source_key.clone(),
            source: None,
            target: None,
            writes: 0,
            put: None,
            bent: 0,
            refused: None,
            parked: None,
            was_parked: false,
        }
    }

    pub(super) fn refusal(&self) -> String {
        self.refused.clone().unwrap_or_else(|| "was not tried".to_owned())
    }

    fn on(&self, side: Side) -> &Option<Row> {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    fn is_duplicate(&self) -> bool {
        let text = self.refusal();
        ["(23505)", "(1062)", "UNIQUE constraint"].iter().any(|word| text.contains(word))
    }
}

/// What to do with a row.
enum Next {
    Equal,
    Kept,
    Write(Change),
    /// Its key in the target was not known before: read that.
    Again,
    Fail(String),
}

fn table(pair: &Pair, side: Side) -> &dyn Table {
    match side {
        Side::Source => &*pair.source,
        Side::Target => &*pair.target,
    }
}

/// Reads both sides of each row, the one without authority first: a compare-and-set that succeeds then never puts a value older than one that a live write put there.
pub(super) async fn read(pair: &Pair, retry: &Retry, authority: Side, items: &mut [Item]) -> Result<(), TransferError> {
    let sources: Vec<RowKey> = items.iter().map(|item| item.source_key.clone()).collect();
    if items.iter().any(|item| item.target_key.is_none()) {
        // A target key that only the source's row tells.
        let rows = retry.run(|| pair.source.read(&sources)).await?;
        for (item, row) in items.iter_mut().zip(rows) {
            if let (None, Some(row)) = (&item.target_key, row.and_then(|row| pair.map.forward(&row).ok())) {
                item.target_key = Some(pair.target_key(&row));
            }
        }
    }
    for side in [authority.other(), authority] {
        match side {
            Side::Source => {
                let rows = retry.run(|| pair.source.read(&sources)).await?;
                items.iter_mut().zip(rows).for_each(|(item, row)| item.source = row);
            }
            Side::Target => {
                let keys: Vec<RowKey> = items.iter().filter_map(|item| item.target_key.clone()).collect();
                let mut rows = retry.run(|| pair.target.read(&keys)).await?.into_iter();
                for item in items.iter_mut() {
                    item.target = if item.target_key.is_some() { rows.next().flatten() } else { None };
                }
            }
        }
    }
    Ok(())
}

const COLLISION: &str = "another row of the source has this key in the target: make the key's template tell them apart";

/// What one row wants, as both sides were just read.
fn next(pair: &Pair, authority: Side, deletes: Deletes, item: &mut Item) -> Next {
    let mapped = item.source.as_ref().map(|row| pair.map.forward(row)).transpose();
    let there = item.target.as_ref().is_some_and(|row| pair.map.source_key_of(row) == item.source_key);
    let foreign = item.target.is_some() && !there;
    // The source's row may belong to another key of the target than the one that was read.
    let belongs = match &mapped {
        Ok(Some(row)) => {
            let key = pair.target_key(row);
            let same = item.target_key.as_ref() == Some(&key);
            let settled = same || item.named || (authority == Side::Target && there);
            if !settled {
                item.target_key = Some(key);
                return Next::Again;
            }
            same
        }
        Ok(None) | Err(_) => true,
    };
    if item.target_key.is_none() && item.source.is_none() {
        return Next::Fail(
            "its key in the target is not made of its key in the source alone: repair it by a line of `verify --keys`"
                .to_owned(),
        );
    }
    // A row that this call has written, its authority had then.
    let stays = deletes == Deletes::OnlyOfThisRun && item.writes == 0;
    match authority {
        Side::Source => {
            let wanted = match mapped {
                Ok(wanted) => wanted.filter(|_| belongs),
                Err(e) => return Next::Fail(e.to_string()),
            };
            match (wanted, &item.target) {
                (None, None) => Next::Equal,
                (Some(wanted), Some(have)) if wanted.same(have, pair.closeness) => Next::Equal,
                (None, Some(_)) if foreign => Next::Equal,
                (Some(_), Some(_)) if foreign => Next::Fail(COLLISION.to_owned()),
                (Some(wanted), None) => Next::Write(Change::Insert { row: wanted }),
                (Some(wanted), Some(have)) => Next::Write(Change::Replace { seen: have.clone(), row: wanted }),
                (None, Some(_)) if stays => Next::Kept,
                (None, Some(have)) => Next::Write(Change::Delete { seen: have.clone() }),
            }
        }
        Side::Target => {
            if foreign {
                return Next::Fail(COLLISION.to_owned());
            }
            let wanted = match (&item.target, pair.map.way_back()) {
                (None, _) => None,
                (Some(row), Ok(columns)) => Some(Row(columns.iter().map(|at| row.0[*at].clone()).collect())),
                (Some(_), Err(lost)) => {
                    let column = &pair.source.spec().columns[lost].name;
                    return Next::Fail(format!(
                        "the target has authority and does not hold `{column}` as it is, so that its row cannot be brought back to the source: repair it through the application"
                    ));
                }
            };
            match (wanted, &item.source) {
                (None, None) => Next::Equal,
                (Some(_), Some(_)) if matches!((&mapped, &item.target), (Ok(Some(a)), Some(b)) if a.same(b, pair.closeness)) => {
                    Next::Equal
                }
                // The row of the source is the counterpart of another row of the target.
                (None, Some(_)) if !belongs => Next::Equal,
                (Some(wanted), None) => Next::Write(Change::Insert { row: wanted }),
                (Some(wanted), Some(have)) => Next::Write(Change::Replace { seen: have.clone(), row: wanted }),
                (None, Some(_)) if stays => Next::Kept,
                (None, Some(have)) => Next::Write(Change::Delete { seen: have.clone() }),
            }
        }
    }
}

/// Makes rows equal whose authority is this side; gives back those that the other side refuses.
pub(super) async fn settle(
    pair: &Pair,
    options: &Options,
    authority: Side,
    mut open: Vec<Item>,
    swaps: Swaps,
    report: &mut Report,
) -> Result<Vec<Item>, TransferError> {
    let secondary = table(pair, authority.other());
    let deletes = match authority {
        Side::Source => options.deletes,
        Side::Target => options.deletes_in_source,
    };
    let mut linger: Option<Instant> = None;
    let (mut round, mut fruitless) = (0_u32, 0);
    while !open.is_empty() {
        if round > 0 {
            // Others write the same rows: give them a moment, more each time.
            tokio::time::sleep(Duration::from_millis(u64::from(round.min(20)) * 2)).await;
        }
        if let Some(until) = linger.take() {
            tokio::time::sleep_until(until).await;
        }
        round += 1;
        read(pair, &options.retry, authority, &mut open).await?;
        let (mut changes, mut writing, mut later) = (Vec::new(), Vec::new(), Vec::new());
        let mut keys = HashSet::new();
        let mut progress = false;
        for mut item in open.drain(..) {
            match next(pair, authority, deletes, &mut item) {
                Next::Equal => {
                    progress = true;
                    if item.writes > 0 { report.repaired += 1 } else { report.unchanged += 1 }
                }
                Next::Kept => {
                    progress = true;
                    report.kept += 1;
                    report.kept_in_source += u64::from(authority == Side::Target);
                }
                Next::Fail(why) => report.fail(item.source_key, why),
                Next::Again => {
                    progress = true;
                    later.push(item);
                }
                Next::Write(change) => {
                    // Both sides were equal after the last write, if the authority's row is still the same.
                    if item.put.as_ref() == Some(item.on(authority)) {
                        item.bent += 1;
                    }
                    if item.bent >= BENT {
                        report.fail(item.source_key, format!("differs still after it was repaired: the {} does not keep what is put into it: look for a trigger or a rule there", authority.other().name()));
                    } else if round > ROUNDS {
                        report.fail(
                            item.source_key,
                            format!(
                                "was changed by others {ROUNDS} times while it was copied: run the same command again"
                            ),
                        );
                    } else if keys.insert(change.key(&secondary.spec().key)) {
                        changes.push(change);
                        writing.push(item);
                    } else {
                        later.push(item);
                    }
                }
            }
        }
        let outcomes =
            if changes.is_empty() { Vec::new() } else { options.retry.run(|| secondary.write(&changes)).await? };
        let mut refused = Vec::new();
        for (mut item, outcome) in writing.into_iter().zip(outcomes) {
            match outcome {
                ChangeOutcome::Applied => {
                    progress = true;
                    item.writes += 1;
                    item.refused = None;
                    item.parked = None;
                    item.put = Some(item.on(authority).clone());
                    later.push(item);
                }
                ChangeOutcome::LostRace => {
                    progress = true;
                    later.push(item);
                }
                ChangeOutcome::Ambiguous(_) => {
                    progress = true;
                    item.writes += 1;
                    let until = Instant::now() + secondary.capabilities().linger;
                    linger = Some(linger.map_or(until, |l| l.max(until)));
                    later.push(item);
                }
                ChangeOutcome::Refused(e) => match e.recovery() {
                    Recovery::Again | Recovery::Slower => {
                        progress = true;
                        later.push(item);
                    }
                    Recovery::Row => {
                        item.refused = Some(e.to_string());
                        refused.push(item);
                    }
                    Recovery::Stop => {
                        refused.push(item);
                        put_back(secondary, &options.retry, &mut refused).await;
                        return Err(e.into());
                    }
                },
            }
        }
        open = later;
        if progress {
            fruitless = 0;
            // What was refused may be free by now.
            open.extend(refused);
            continue;
        }
        // Nothing moves any more but by taking rows apart.
        put_back(secondary, &options.retry, &mut refused).await;
        let breakable = swaps == Swaps::Break
            && fruitless < FRUITLESS
            && refused.iter().filter(|item| item.is_duplicate()).count() >= 2;
        if !breakable || !park(secondary, &options.retry, authority.other(), &mut refused).await? {
            return Ok(refused);
        }
        fruitless += 1;
        open.extend(refused);
    }
    Ok(Vec::new())
}

/// Deletes one of these rows, to be put again when the others have what they want. Whether there was one.
async fn park(secondary: &dyn Table, retry: &Retry, side: Side, refused: &mut [Item]) -> Result<bool, TransferError> {
    // Other tables would lose rows that nobody puts again.
    if retry.run(|| secondary.deletes_cascade()).await? {
        for item in refused.iter_mut().filter(|item| item.is_duplicate()) {
            let why = item.refusal();
            item.refused = Some(format!(
                "{why}; it was not deleted for a moment to free that value, because a foreign key would delete or change rows of another table with it"
            ));
        }
        return Ok(false);
    }
    for item in refused.iter_mut().filter(|item| !item.was_parked && item.is_duplicate()) {
        let Some(seen) = item.on(side).clone() else { continue };
        item.was_parked = true;
        let delete = [Change::Delete { seen: seen.clone() }];
        let deleted = retry.run(|| secondary.write(&delete)).await?.pop();
        match deleted {
            Some(ChangeOutcome::Applied) => {
                item.parked = Some(seen);
                return Ok(true);
            }
            // It may be gone in a moment: the next round reads it again.
            Some(ChangeOutcome::LostRace | ChangeOutcome::Ambiguous(_)) => return Ok(true),
            Some(ChangeOutcome::Refused(_)) | None => {}
        }
    }
    Ok(false)
}

/// Puts rows back that were deleted in vain.
async fn put_back(secondary: &dyn Table, retry: &Retry, refused: &mut [Item]) {
    for item in refused {
        let Some(row) = item.parked.take() else { continue };
        let insert = [Change::Insert { row }];
        let put = retry.run(|| secondary.write(&insert)).await.map(|mut all| all.pop());
        // A lost race: a live write has put the row.
        if !matches!(put, Ok(Some(ChangeOutcome::Applied | ChangeOutcome::LostRace))) {
            let why = item.refusal();
            item.refused = Some(format!(
                "{why}; it was deleted for a moment to free that value, and could not be put back: repair it again"
            ));
        }
    }
}
