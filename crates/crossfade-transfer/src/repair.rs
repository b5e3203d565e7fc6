//! Copying the truth for some rows (R6).

use crossfade_stores::{Row, RowKey};
use serde::Serialize;

use crate::{
    Pair, TransferError,
    pace::Control,
    reconcile::{self, Failed, Seen},
    retry::Retry,
};

/// The result, with the field names of `--json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Rows made equal by a write or a delete.
    pub repaired: u64,
    /// Rows that were equal already.
    pub unchanged: u64,
    /// Rows that could not be made equal.
    pub failed: u64,
    /// Which, and why.
    #[serde(skip)]
    pub failures: Vec<Failed>,
}

/// A row to repair.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Its key in the source.
    pub source_key: RowKey,
    /// Its key in the target, where the source's does not give it.
    pub target_key: Option<RowKey>,
}

/// Makes these rows of the target what the source has now. The source must be the authority while it runs.
///
/// # Errors
/// [`TransferError::Stopped`], or what a database said; rows that are done stay done.
pub async fn run(pair: &Pair, rows: &[Named], retry: &Retry, control: &Control) -> Result<Report, TransferError> {
    let mut report = Report::default();
    for chunk in rows.chunks(1_000) {
        control.may_go_on().await?;
        let mut seen = Vec::with_capacity(chunk.len());
        for row in chunk {
            let target_key = row.target_key.clone().or_else(|| pair.map.target_key_of(&row.source_key));
            seen.push(Seen { source_key: row.source_key.clone(), target_key, source: None, target: None });
        }
        read(pair, retry, &mut seen, &mut report).await?;
        let settled = reconcile::settle(pair, retry, seen).await?;
        report.repaired += settled.written + settled.deleted;
        report.unchanged += settled.unchanged;
        report.failed += settled.failed.len() as u64;
        report.failures.extend(settled.failed);
    }
    Ok(report)
}

/// Both sides of each row, the target first.
async fn read(pair: &Pair, retry: &Retry, seen: &mut Vec<Seen>, report: &mut Report) -> Result<(), TransferError> {
    let sources: Vec<RowKey> = seen.iter().map(|s| s.source_key.clone()).collect();
    // A target key that only the source's row tells.
    if seen.iter().any(|s| s.target_key.is_none()) {
        let rows = retry.run(|| pair.source.read(&sources)).await?;
        for (seen, row) in seen.iter_mut().zip(rows) {
            if let (None, Some(row)) = (&seen.target_key, row.and_then(|r| pair.map.forward(&r).ok())) {
                seen.target_key = Some(pair.target_key(&row));
            }
        }
    }
    let with_key: Vec<usize> = (0..seen.len()).filter(|i| seen[*i].target_key.is_some()).collect();
    let keys: Vec<RowKey> = with_key.iter().filter_map(|i| seen[*i].target_key.clone()).collect();
    let targets: Vec<Option<Row>> = retry.run(|| pair.target.read(&keys)).await?;
    for (i, row) in with_key.into_iter().zip(targets) {
        seen[i].target = row;
    }
    let rows = retry.run(|| pair.source.read(&sources)).await?;
    let mut kept = Vec::with_capacity(seen.len());
    for (mut one, row) in seen.drain(..).zip(rows) {
        match row.map(|r| pair.map.forward(&r)).transpose() {
            Ok(row) => {
                one.source = row;
                kept.push(one);
            }
            Err(e) => {
                report.failed += 1;
                report.failures.push(Failed { key: one.source_key, why: e.to_string() });
            }
        }
    }
    *seen = kept;
    Ok(())
}
