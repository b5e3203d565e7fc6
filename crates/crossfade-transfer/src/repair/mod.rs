//! Copying the truth for some rows (R6), towards the side that has no authority for them.
//!
//! For each row: read the side without authority, then the authority; where they differ, put the authority's present row (or delete) by compare-and-set on what was
//! seen; read both again, and go on until they agree. So a row counts as repaired only when both sides were read equal after the write. A side that does not keep
//! what is put into it (a trigger) is found by the same reads.
//!
//! Two rows that have exchanged a unique value refuse each other. Then one of them is deleted, the other is put, and the first is put again; if that does not help,
//! the deleted row is put back as it was.

mod rounds;

use std::{collections::HashSet, fmt, sync::Arc};

use crossfade::{Side, key::PART};
use crossfade_stores::{Row, RowKey};
use serde::Serialize;

use crate::{
    Pair, TransferError,
    pace::Control,
    pair::Made,
    reconcile::{Deletes, Failed},
    retry::Retry,
};
use rounds::{Item, Swaps};

/// The result, with the field names of `--json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Rows made equal by a write or a delete.
    pub repaired: u64,
    /// Rows that were equal already.
    pub unchanged: u64,
    /// Rows whose key is at a stage where only one side is written: nothing was copied.
    pub left_alone: u64,
    /// Rows that only the side without authority has, and that stay there because nobody agreed that they are deleted.
    pub kept: u64,
    /// Of these: rows of the source.
    pub kept_in_source: u64,
    /// Rows that could not be made equal: they differ still.
    pub failed: u64,
    /// Which, and why.
    #[serde(skip)]
    pub failures: Vec<Failed>,
}

impl Report {
    /// Adds another's.
    pub fn add(&mut self, other: Report) {
        self.repaired += other.repaired;
        self.unchanged += other.unchanged;
        self.left_alone += other.left_alone;
        self.kept += other.kept;
        self.kept_in_source += other.kept_in_source;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }

    fn fail(&mut self, key: RowKey, why: impl Into<String>) {
        self.failed += 1;
        self.failures.push(Failed { key, why: why.into() });
    }
}

/// A row to repair.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Its key in the source.
    pub source_key: RowKey,
    /// Its key in the target, where the source's does not give it.
    pub target_key: Option<RowKey>,
}

/// What is true of a row's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truth {
    /// Both sides are written, and this one has authority.
    At(Side),
    /// Only one side is written: the other is left as it is.
    OneSided,
}

/// Tells the truth of a cohort key by its canonical text; `None` where there is no such key.
pub type Decide = Arc<dyn Fn(&str) -> Option<Truth> + Send + Sync>;

/// Which side has authority.
#[derive(Clone)]
pub enum Authority {
    /// One side, for every row.
    Of(Side),
    /// It goes by the cohort key of each row.
    ByKey {
        /// Columns of the source that make the cohort key.
        columns: Vec<String>,
        /// What a plan says of the key. Must give the same answers for as long as the repair runs: no authority may move meanwhile (R6).
        decide: Decide,
    },
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Authority::Of(side) => f.debug_tuple("Of").field(side).finish(),
            Authority::ByKey { columns, .. } => f.debug_tuple("ByKey").field(columns).finish(),
        }
    }
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which side has authority.
    pub authority: Authority,
    /// Which rows of the target may be deleted, where the source has authority.
    pub deletes: Deletes,
    /// Which rows of the source may be deleted, where the target has authority.
    pub deletes_in_source: Deletes,
    /// Asking again.
    pub retry: Retry,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            authority: Authority::Of(Side::Source),
            deletes: Deletes::All,
            // A row that the target never got is lost with it.
            deletes_in_source: Deletes::OnlyOfThisRun,
            retry: Retry::default(),
        }
    }
}

/// Rows at a time.
const CHUNK: usize = 1_000;

/// Rows that refuse each other and are tried together.
const MOST_TOGETHER: usize = 10_000;

/// Makes these rows of the target what the source has now. The source must be the authority while it runs.
///
/// # Errors
/// [`TransferError::Stopped`], or what a database said; rows that are done stay done.
pub async fn run(pair: &Pair, rows: &[Named], retry: &Retry, control: &Control) -> Result<Report, TransferError> {
    run_with(pair, rows, &Options { retry: *retry, ..Options::default() }, control).await
}

/// Makes these rows of the side without authority what the other has now.
///
/// # Errors
/// As [`run`]; [`TransferError::Config`] where the authority goes by columns that are not copied.
pub async fn run_with(
    pair: &Pair,
    rows: &[Named],
    options: &Options,
    control: &Control,
) -> Result<Report, TransferError> {
    let mut report = Report::default();
    let mut refused: [Vec<Item>; 2] = Default::default();
    let mut named = HashSet::new();
    for chunk in rows.chunks(CHUNK) {
        control.may_go_on().await?;
        let fresh = chunk.iter().filter(|row| named.insert((row.source_key.clone(), row.target_key.clone())));
        let items: Vec<Item> = fresh.map(|row| Item::new(pair, row)).collect();
        let sorted = sort(pair, options, items, &mut report).await?;
        for ((side, items), refused) in [Side::Source, Side::Target].into_iter().zip(sorted).zip(&mut refused) {
            let left = rounds::settle(pair, options, side, items, Swaps::Leave, &mut report).await?;
            refused.extend(left);
        }
    }
    // Rows that refuse each other may have been in different chunks.
    for (side, items) in [Side::Source, Side::Target].into_iter().zip(refused) {
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            control.may_go_on().await?;
            let together: Vec<Item> = items.by_ref().take(MOST_TOGETHER).collect();
            for item in rounds::settle(pair, options, side, together, Swaps::Break, &mut report).await? {
                let why = item.refusal();
                report.fail(item.source_key, why);
            }
        }
    }
    Ok(report)
}

/// The rows whose authority is the source, and those whose authority is the target.
async fn sort(
    pair: &Pair,
    options: &Options,
    mut items: Vec<Item>,
    report: &mut Report,
) -> Result<[Vec<Item>; 2], TransferError> {
    let (columns, decide) = match &options.authority {
        Authority::Of(Side::Source) => return Ok([items, Vec::new()]),
        Authority::Of(Side::Target) => return Ok([Vec::new(), items]),
        Authority::ByKey { columns, decide } => (columns, decide),
    };
    let cohort = Cohort::new(pair, columns)?;
    rounds::read(pair, &options.retry, Side::Source, &mut items).await?;
    let mut sorted: [Vec<Item>; 2] = Default::default();
    for item in items {
        // The key of a row never changes, so that either side tells it.
        let texts = [
            item.source.as_ref().map(|row| cohort.of_source(row)),
            item.target.as_ref().map(|row| cohort.of_target(row)),
        ];
        let truths: Option<Vec<Truth>> =
            texts.into_iter().flatten().map(|text| text.as_deref().and_then(|text| decide(text))).collect();
        match truths.as_deref() {
            None => report.fail(item.source_key, "its cohort key is missing, so that its authority is not known"),
            Some([]) => report.unchanged += 1,
            Some([first, rest @ ..]) if rest.iter().any(|other| other != first) => {
                report.fail(
                    item.source_key,
                    "its cohort key differs between the sides, so that its authority is not known",
                );
            }
            Some([Truth::OneSided, ..]) => report.left_alone += 1,
            Some([Truth::At(Side::Source), ..]) => sorted[0].push(item),
            Some([Truth::At(Side::Target), ..]) => sorted[1].push(item),
        }
    }
    Ok(sorted)
}

/// Where both sides have the columns of the cohort key.
struct Cohort {
    source: Vec<usize>,
    /// `None` where the target does not hold a column as it is.
    target: Option<Vec<usize>>,
}

impl Cohort {
    fn new(pair: &Pair, columns: &[String]) -> Result<Cohort, TransferError> {
        let spec = pair.source.spec();
        let source: Result<Vec<usize>, TransferError> = columns
            .iter()
            .map(|name| {
                spec.columns.iter().position(|column| column.name == *name).ok_or_else(|| {
                    TransferError::Config(format!(
                        "table {}: the cohort column `{name}` is not copied, so that the authority of a row is not known: do not ignore it in `map`",
                        pair.name
                    ))
                })
            })
            .collect();
        let source = source?;
        let target = source.iter().map(|column| held_by(pair, *column)).collect();
        Ok(Cohort { source, target })
    }

    fn of_source(&self, row: &Row) -> Option<String> {
        text(row, &self.source)
    }

    fn of_target(&self, row: &Row) -> Option<String> {
        text(row, self.target.as_ref()?)
    }
}

/// The column of the target that holds this column of the source unchanged.
fn held_by(pair: &Pair, column: usize) -> Option<usize> {
    pair.map.made().iter().position(|made| matches!(made, Made::Column { from, convert: None, .. } if *from == column))
}

/// The canonical text of a key, as [`crossfade::key::Key`] makes it.
fn text(row: &Row, columns: &[usize]) -> Option<String> {
    let parts: Option<Vec<String>> =
        columns.iter().map(|column| row.0[*column].to_text().filter(|text| !text.is_empty())).collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join(&PART.to_string()))
}
