//! Who agreed that rows of the target are deleted.
//!
//! Deleting a row that this migration put is R9 and needs nobody's consent. A row that the target had before is its owner's. The first run tells them apart: it counts
//! the target's rows that the source lacks. If there are none, every such row of a later run was put by this migration (by an earlier run, or by a dual write), because
//! the source had it once. The answer is kept in the checkpoint, with the identities of both tables; without that record the run asks again.

use std::time::Duration;

use crossfade_stores::{Position, Range, Rest, RowKey};
use serde::{Deserialize, Serialize};

use super::Options;
use crate::{Pair, TransferError, crew, pace::Control, progress::Counters, reconcile::Deletes, retry::Retry};

/// What becomes of rows that the target had before this migration, and that the source lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Extra {
    /// A first run that finds any ends with [`TransferError::Extra`] before it writes anything.
    #[default]
    Ask,
    /// They are deleted: the operator consented.
    Delete,
    /// They stay, and verification reports them.
    Keep,
}

/// Whether a run may delete what the source lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// No row of the target is its own.
    NotNeeded,
    /// The operator consented.
    Given,
    /// A run would end before it writes anything.
    Needed,
    /// The rows stay.
    Kept,
}

/// What a checkpoint says of the rows that the target had before its first run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Recorded {
    /// The source had them all.
    None,
    /// The operator consented to their deletion.
    Delete,
    /// They stay.
    Keep,
}

impl Recorded {
    pub(super) fn deletes(self) -> Deletes {
        match self {
            Recorded::None | Recorded::Delete => Deletes::All,
            Recorded::Keep => Deletes::OnlyOfThisRun,
        }
    }
}

/// What is known without looking at the target. Rows that were kept are asked about again.
pub(super) fn known(wanted: Extra, earlier: Option<Recorded>) -> Option<Recorded> {
    match (wanted, earlier) {
        (Extra::Keep, _) => Some(Recorded::Keep),
        (Extra::Delete, _) => Some(Recorded::Delete),
        (Extra::Ask, Some(known @ (Recorded::None | Recorded::Delete))) => Some(known),
        (Extra::Ask, Some(Recorded::Keep) | None) => None,
    }
}

/// Waits before a row that only the target has is read again: a live delete may be between its two sides.
const AGAIN: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(300)];

/// Rows of a page.
const PAGE: usize = 5_000;

/// Counts the target's rows that the source lacks.
///
/// # Errors
/// [`TransferError::Extra`] if there are any.
pub(super) async fn ask(
    pair: &Pair,
    options: &Options,
    control: &Control,
    counters: &std::sync::Arc<Counters>,
) -> Result<Recorded, TransferError> {
    let ranges = options.retry.run(|| pair.target.split(PAGE as u64 * 4)).await?;
    let counts = crew::each(options.parallel, ranges, |range| {
        let (pair, retry, control, counters) = (pair.clone(), options.retry, control.clone(), counters.clone());
        async move { count(&pair, &retry, &control, &counters, &range).await }
    })
    .await?;
    match counts.into_iter().sum() {
        0 => Ok(Recorded::None),
        rows => Err(TransferError::Extra { table: pair.name.clone(), rows }),
    }
}

async fn count(
    pair: &Pair,
    retry: &Retry,
    control: &Control,
    counters: &Counters,
    range: &Range,
) -> Result<u64, TransferError> {
    let mut position = Position::Start;
    let mut extra = 0;
    loop {
        control.may_go_on().await?;
        let page = retry.run(|| pair.target.scan(range, &position, PAGE)).await?;
        Counters::add(&counters.read_target, page.rows.len());
        let mut rows: Vec<(RowKey, RowKey)> =
            page.rows.iter().map(|row| (pair.map.source_key_of(row), pair.target_key(row))).collect();
        let mut there = vec![true; rows.len()];
        for (n, wait) in AGAIN.into_iter().enumerate() {
            tokio::time::sleep(wait).await;
            if n > 0 {
                let keys: Vec<RowKey> = rows.iter().map(|(_, target)| target.clone()).collect();
                there = retry.run(|| pair.target.read(&keys)).await?.iter().map(Option::is_some).collect();
            }
            let keys: Vec<RowKey> = rows.iter().map(|(source, _)| source.clone()).collect();
            let sources = retry.run(|| pair.source.read(&keys)).await?;
            let seen = rows.into_iter().zip(there.iter().zip(sources));
            rows = seen.filter(|(_, (there, source))| **there && source.is_none()).map(|(row, _)| row).collect();
            if rows.is_empty() {
                break;
            }
        }
        extra += rows.len() as u64;
        match page.rest {
            Rest::More(next) => position = next,
            Rest::End => return Ok(extra),
        }
    }
}
