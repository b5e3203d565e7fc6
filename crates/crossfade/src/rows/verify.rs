//! Comparing every row of both sides through a DAO (R14).

use super::ScanRows;
use super::backfill::{Pace, Progress, RowsError, each};
use crate::key;
use crate::repair::{RepairError, equal};
use crossfade_core::{Side, Verdict};
use futures::{StreamExt, stream};
use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Verified, diverged or unknown.
    pub verdict: Verdict,
    /// Rows of the source.
    pub rows_source: u64,
    /// Rows of the target.
    pub rows_target: u64,
    /// Digests of the row keys that differ.
    pub differing: Vec<String>,
}

/// A difference counts when it is still there each time.
const GENERATIONS: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1)];

/// Reads every row of both sides and compares it with the other; what differs is read again, in generations, beside
/// live writes, before it counts. Holds the row keys of both sides in memory. Cancel safe: it changes nothing.
///
/// # Errors
/// [`RowsError`] when a side cannot be read to its end: that is neither equal nor different.
pub async fn verify<P: ScanRows>(
    pair: &P,
    authority: Side,
    pace: &Pace,
    progress: &Progress,
) -> Result<Verified, RowsError> {
    let secondary = authority.other();
    let seen: Mutex<HashSet<String>> = Mutex::default();
    let suspects: Mutex<BTreeSet<String>> = Mutex::default();
    let suspect = |id: &P::Id| suspects.lock().unwrap_or_else(PoisonError::into_inner).insert(key::text(id));
    each(pair, secondary, pace, |row| {
        let (seen, suspect) = (&seen, &suspect);
        async move {
            let id = pair.id_of(&row);
            progress.saw_one();
            seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key::text(&id));
            let truth = tokio::time::timeout(pace.timeout, pair.snapshot(authority, &id)).await;
            if !matches!(truth, Ok(Ok(Some(truth))) if truth == row) {
                suspect(&id);
            }
            Ok(())
        }
    })
    .await?;
    let mut rows = (0, seen.lock().unwrap_or_else(PoisonError::into_inner).len() as u64);
    let counted = Mutex::new(0u64);
    each(pair, authority, pace, |row| {
        let (seen, suspect, counted) = (&seen, &suspect, &counted);
        async move {
            let id = pair.id_of(&row);
            progress.saw_one();
            *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            if !seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&key::text(&id)) {
                suspect(&id);
            }
            Ok(())
        }
    })
    .await?;
    rows.0 = *counted.lock().unwrap_or_else(PoisonError::into_inner);
    let mut suspects = suspects.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut unknown = BTreeSet::new();
    for wait in GENERATIONS {
        if suspects.is_empty() {
            break;
        }
        tokio::time::sleep(wait).await;
        (suspects, unknown) = again(pair, authority, pace, suspects).await?;
    }
    let verdict = match (suspects.len() - unknown.len(), unknown.len()) {
        (0, 0) => Verdict::Verified,
        (0, unknown) => Verdict::Unknown(unknown as u64),
        (differing, _) => Verdict::Diverged(differing as u64),
    };
    let (rows_source, rows_target) = if authority == Side::Source { rows } else { (rows.1, rows.0) };
    let differing = suspects.difference(&unknown).map(|row| key::digest(row)).collect();
    Ok(Verified { verdict, rows_source, rows_target, differing })
}

/// Reads suspects again: those that still differ or gave no answer, and of these the ones without an answer.
async fn again<P: ScanRows>(
    pair: &P,
    authority: Side,
    pace: &Pace,
    suspects: BTreeSet<String>,
) -> Result<(BTreeSet<String>, BTreeSet<String>), RowsError> {
    let read = |row: String| async move {
        let Some(id) = key::ParseKey::parse_key(&row) else {
            return Err(RepairError::Key { digest: key::digest(&row) });
        };
        Ok((row, equal(pair, authority, &id, pace.timeout).await))
    };
    let answers: Vec<_> =
        stream::iter(suspects.into_iter().map(read)).buffer_unordered(pace.at_once.max(1)).collect().await;
    let (mut still, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for answer in answers {
        match answer? {
            (_, Ok(true)) => {}
            (row, Ok(false)) => {
                still.insert(row);
            }
            (row, Err(_)) => {
                unknown.insert(row.clone());
                still.insert(row);
            }
        }
    }
    Ok((still, unknown))
}
