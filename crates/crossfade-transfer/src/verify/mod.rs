//! Proving that both sides are equal, or saying which rows are not, or which ranges are not known (R14).
//!
//! | way | when | what it cannot see |
//! |---|---|---|
//! | checksums computed in both databases | same engine, same column types, rows not changed on the way | a pair of changes whose 64-bit digests cancel (2⁻⁶⁴) |
//! | ordered streams, merged | both scan in the same key order | |
//! | lookups, both ways | everything else | |
//!
//! Every row of both sides is looked at. What differs is read again, in generations: it counts only when the very same two values are seen twice in a row.
//! Where both databases know when a row was written (checksums of two PostgreSQL), a row that neither wrote since the verification began was seen by it already:
//! it is not waited for, if the verification has taken as long as all generations would.
//! A range that could not be read to its end is unknown, never verified.

mod generations;
mod ways;

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use crossfade_stores::{RowKey, StoreError, port::Moment};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    Pair, TransferError,
    pace::Control,
    progress::{Counters, Observer},
    retry::Retry,
};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ranges at a time.
    pub parallel: usize,
    /// Rows of a range.
    pub range_rows: u64,
    /// Rows of a part with a checksum of its own.
    pub part_rows: u64,
    /// Waits before a difference is read again; its last wait is repeated while the rows keep changing.
    pub generations: Vec<Duration>,
    /// Asking again.
    pub retry: Retry,
    /// Whether databases may compute checksums.
    pub push_down: PushDown,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            parallel: 4,
            range_rows: 20_000,
            part_rows: 500,
            generations: [0, 100, 300].map(Duration::from_millis).to_vec(),
            retry: Retry::default(),
            push_down: PushDown::WherePossible,
        }
    }
}

/// Whether databases may compute checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PushDown {
    /// Where both agree bit for bit.
    WherePossible,
    /// Every row is carried here and compared here.
    Never,
}

/// What a verification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every row of both sides was looked at, and none differs.
    Verified,
    /// Some rows differ.
    Diverged,
    /// Some ranges could not be looked at.
    Unknown,
}

/// The result, with the field names of `--json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What it says.
    pub verdict: Verdict,
    /// Rows of the source that were looked at.
    pub rows_source: u64,
    /// Rows of the target that were looked at.
    pub rows_target: u64,
    /// Rows that only the source has.
    pub missing_in_target: u64,
    /// Rows that only the target has.
    pub extra_in_target: u64,
    /// Rows that both have, and that differ.
    pub different: u64,
    /// What could not be looked at, and why.
    pub unknown_ranges: Vec<UnknownRange>,
    /// How long it took.
    pub seconds: f64,
}

/// What could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownRange {
    /// In the source.
    pub table: String,
    /// Which rows.
    pub range: String,
    /// Why.
    pub why: String,
}

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only the source has it.
    MissingInTarget,
    /// Only the target has it.
    ExtraInTarget,
    /// Both have it.
    Different,
}

/// A row that differs, after it was read again.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// In the source.
    pub table: String,
    /// Its key in the source.
    pub source_key: RowKey,
    /// Its key in the target, where known.
    pub target_key: Option<RowKey>,
    /// How.
    pub kind: Kind,
    /// Columns of the target that differ.
    pub fields: Vec<String>,
}

/// A report with the rows it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The counts.
    pub report: Report,
    /// The rows; the first [`MOST_DIFFERENCES`] of them.
    pub differences: Vec<Difference>,
}

/// Beyond this, differences are counted and not kept.
pub const MOST_DIFFERENCES: usize = 1_000_000;

impl Outcome {
    /// Joins the outcomes of several tables.
    #[must_use]
    pub fn joined(outcomes: Vec<Outcome>) -> Outcome {
        let mut all = Outcome {
            report: Report {
                verdict: Verdict::Verified,
                rows_source: 0,
                rows_target: 0,
                missing_in_target: 0,
                extra_in_target: 0,
                different: 0,
                unknown_ranges: Vec::new(),
                seconds: 0.0,
            },
            differences: Vec::new(),
        };
        for one in outcomes {
            let (a, b) = (&mut all.report, one.report);
            a.verdict = match (a.verdict, b.verdict) {
                (Verdict::Diverged, _) | (_, Verdict::Diverged) => Verdict::Diverged,
                (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
                (Verdict::Verified, Verdict::Verified) => Verdict::Verified,
            };
            a.rows_source += b.rows_source;
            a.rows_target += b.rows_target;
            a.missing_in_target += b.missing_in_target;
            a.extra_in_target += b.extra_in_target;
            a.different += b.different;
            a.unknown_ranges.extend(b.unknown_ranges);
            a.seconds += b.seconds;
            all.differences.extend(one.differences);
        }
        all
    }
}

/// What the ranges of a run share.
struct Run {
    pair: Pair,
    options: Options,
    control: Control,
    counters: Arc<Counters>,
    observer: Arc<dyn Observer>,
    found: Mutex<Found>,
    /// Where both sides know when a row was written.
    began: OnceLock<Moments>,
    /// One generation at a time, so that memory is bounded.
    settling: tokio::sync::Mutex<()>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    rows_source: u64,
    rows_target: u64,
    suspects: Vec<Suspect>,
    differences: Vec<Difference>,
    missing: u64,
    extra: u64,
    different: u64,
    unknown: Vec<UnknownRange>,
}

/// A moment of both sides, and of ours not before it.
struct Moments {
    source: Moment,
    target: Moment,
    ours: Instant,
}

/// A row that differed when it was first seen.
#[derive(Clone, Debug)]
struct Suspect {
    source_key: RowKey,
    target_key: Option<RowKey>,
    /// How many rows of the source and of the target it was counted as.
    counted: (u64, u64),
}

/// Repeated keys that are named.
const MOST_REPEATED: usize = 1_000;

/// So many suspects are read again before the walk goes on.
const SUSPECTS: usize = 10_000;

/// Looks at every row of both sides.
///
/// # Errors
/// [`TransferError::Stopped`], or a database that could not be asked at all. A range that failed on the way is in the report as unknown.
pub async fn run(
    pair: &Pair,
    options: &Options,
    control: &Control,
    counters: &Arc<Counters>,
    observer: &Arc<dyn Observer>,
) -> Result<Outcome, TransferError> {
    let start = Instant::now();
    let run = Arc::new(Run {
        pair: pair.clone(),
        options: options.clone(),
        control: control.clone(),
        counters: counters.clone(),
        observer: observer.clone(),
        found: Mutex::default(),
        began: OnceLock::new(),
        settling: tokio::sync::Mutex::new(()),
    });
    if options.push_down == PushDown::WherePossible && pair.same_checksums() {
        run.checksums().await?;
    } else if pair.mergeable() {
        run.streams().await?;
    } else {
        run.lookups().await?;
    }
    run.generations(Flush::All).await?;
    run.repeated().await;
    let found = run.with(std::mem::take);
    let diverged = found.different > 0 || (!pair.cache && (found.missing > 0 || found.extra > 0));
    let verdict = match (diverged, found.unknown.is_empty()) {
        (true, _) => Verdict::Diverged,
        (false, false) => Verdict::Unknown,
        (false, true) => Verdict::Verified,
    };
    let mut found = found;
    // Two tables of different lengths are not equal, whatever was compared. (Rows of a cache may be missing.)
    let verdict = if verdict == Verdict::Verified && !pair.cache && found.rows_source != found.rows_target {
        found.unknown.push(UnknownRange {
            table: pair.name.clone(),
            range: "all rows".to_owned(),
            why: format!(
                "the source has {} rows and the target {}, although every key that was compared is equal: verify again",
                found.rows_source, found.rows_target
            ),
        });
        Verdict::Unknown
    } else {
        verdict
    };
    let report = Report {
        verdict,
        rows_source: found.rows_source,
        rows_target: found.rows_target,
        missing_in_target: found.missing,
        extra_in_target: found.extra,
        different: found.different,
        unknown_ranges: found.unknown,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok(Outcome { report, differences: found.differences })
}

/// Which suspects are read again now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// Only if there are many.
    IfMany,
    /// All.
    All,
}

impl Run {
    fn with<T>(&self, work: impl FnOnce(&mut Found) -> T) -> T {
        work(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keys that several rows of one side have: neither a comparison by key nor a write by key sees all of them.
    async fn repeated(&self) {
        for (side, table) in [("source", &self.pair.source), ("target", &self.pair.target)] {
            let keys = match self.options.retry.run(|| table.repeated_keys(MOST_REPEATED)).await {
                Ok(keys) => keys,
                Err(e) => {
                    self.unknown(format!("repeated keys of the {side}"), &e);
                    continue;
                }
            };
            for key in keys {
                let (source_key, target_key) = match side {
                    "source" => (key, None),
                    _ if self.pair.map.keys_are_equal() => (key.clone(), Some(key)),
                    _ => (RowKey(Vec::new()), Some(key)),
                };
                let difference = Difference {
                    table: self.pair.name.clone(),
                    source_key,
                    target_key,
                    kind: Kind::Different,
                    fields: vec![format!("several rows of the {side} have this key")],
                };
                self.with(|f| {
                    f.different += 1;
                    if f.differences.len() < MOST_DIFFERENCES {
                        f.differences.push(difference);
                    }
                });
            }
        }
    }

    fn unknown(&self, range: String, why: &StoreError) {
        let unknown = UnknownRange { table: self.pair.name.clone(), range, why: why.to_string() };
        self.with(|f| f.unknown.push(unknown));
    }
}
