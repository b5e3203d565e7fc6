//! What a backfill would do, without doing it.

use std::sync::Arc;

use serde::Serialize;

use super::{
    Consent, Extra, Options,
    consent::{self, Recorded},
    sides,
};
use crate::{
    Pair, TransferError,
    pace::Control,
    progress::{Counters, Observer},
    verify,
};

/// What a backfill would do to one table now, with the field names of `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// Rows that the target lacks.
    pub rows_to_insert: u64,
    /// Rows that both have, and that differ.
    pub rows_to_change: u64,
    /// Rows that only the target has, and that would be deleted.
    pub rows_to_delete: u64,
    /// Rows that only the target has, and that would stay.
    pub rows_to_keep: u64,
    /// Whether a run may delete.
    pub consent: Consent,
    /// Ranges that could not be looked at.
    pub unknown_ranges: u64,
}

impl Preview {
    /// Joins with that of another table.
    #[must_use]
    pub fn joined(self, other: Preview) -> Preview {
        // The one that an operator has to act on stands over the others.
        let weight = |consent: Consent| match consent {
            Consent::NotNeeded => 0,
            Consent::Kept => 1,
            Consent::Given => 2,
            Consent::Needed => 3,
        };
        Preview {
            rows_to_insert: self.rows_to_insert + other.rows_to_insert,
            rows_to_change: self.rows_to_change + other.rows_to_change,
            rows_to_delete: self.rows_to_delete + other.rows_to_delete,
            rows_to_keep: self.rows_to_keep + other.rows_to_keep,
            consent: if weight(self.consent) < weight(other.consent) { other.consent } else { self.consent },
            unknown_ranges: self.unknown_ranges + other.unknown_ranges,
        }
    }
}

/// Compares both sides and says what [`super::run`] with these options would do. Writes nothing, to no database and no file.
///
/// # Errors
/// As [`super::run`], but never [`TransferError::Extra`]: that is [`Consent::Needed`].
pub async fn preview(
    pair: &Pair,
    options: &Options,
    control: &Control,
    counters: &Arc<Counters>,
    observer: &Arc<dyn Observer>,
) -> Result<Preview, TransferError> {
    let sides = sides::of(pair, &options.retry).await?;
    let earlier = sides::earlier(pair, options.checkpoint.as_deref(), sides.as_ref())?;
    let looking = verify::Options { parallel: options.parallel, retry: options.retry, ..verify::Options::default() };
    let report = verify::run(pair, &looking, control, counters, observer).await?.report;
    let extra = report.extra_in_target;
    let consent = match (options.extra, consent::known(options.extra, earlier)) {
        _ if extra == 0 => Consent::NotNeeded,
        (Extra::Delete, _) | (_, Some(Recorded::Delete)) => Consent::Given,
        (_, Some(Recorded::None)) => Consent::NotNeeded,
        (_, Some(Recorded::Keep)) => Consent::Kept,
        (_, None) => Consent::Needed,
    };
    let kept = consent == Consent::Kept;
    Ok(Preview {
        rows_to_insert: report.missing_in_target,
        rows_to_change: report.different,
        rows_to_delete: if kept { 0 } else { extra },
        rows_to_keep: if kept { extra } else { 0 },
        consent,
        unknown_ranges: report.unknown_ranges.len() as u64,
    })
}
