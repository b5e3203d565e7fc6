//! What was seen: counts, latencies per side, samples of mismatches. Aggregated in the process; nothing here can
//! fail, block for long, or reach a caller. Keys are digests and differences are field names; row values are kept
//! only in samples, and only where the plan shares them.

mod stats;

pub(crate) use stats::{Counter, OperationStats, Timing, drawn, timed_now};

use hdrhistogram::Histogram;
use std::time::SystemTime;

/// Everything seen by one migration in this process since it was built.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The id of the migration.
    pub migration: String,
    /// One entry per operation, in the order in which they were first used.
    pub operations: Vec<OperationObservation>,
    /// Rows that are marked now.
    pub marked: u64,
    /// Rows of unknown identity may differ in some table: only a verification clears that.
    pub everything_suspect: bool,
    /// The tables in which they may.
    pub suspect_tables: Vec<String>,
    /// Marks cleared after putting the authority's value into the secondary.
    pub repaired: u64,
    /// Marks cleared because both sides were found equal.
    pub repaired_unchanged: u64,
    /// Repairs that failed and are tried again.
    pub repair_failures: u64,
    /// Secondary calls in flight now.
    pub secondary_in_flight: u32,
    /// Plans that were refused: invalid, or a jump over an edge.
    pub plans_refused: u64,
    /// The longest time for which writes were held by a move of authority, milliseconds.
    pub longest_hold_ms: u64,
}

/// What one operation has seen.
#[derive(Debug, Clone)]
pub struct OperationObservation {
    /// The name of the method, or the one given in the closure interface.
    pub operation: String,
    /// Calls begun as reads.
    pub reads: u64,
    /// Calls begun as writes.
    pub writes: u64,
    /// Calls that the authority answered with an error.
    pub authority_errors: u64,
    /// Reads of both sides that were compared to the end.
    pub compared: u64,
    /// … and were equal, at once or when read again.
    pub matched: u64,
    /// … and differed each time they were read again.
    pub mismatched: u64,
    /// … and lacked rows in the target that the backfill has not reached (R15).
    pub not_backfilled: u64,
    /// Comparisons that came to no answer: secondary errors, time-outs, panics, a plan that changed meanwhile.
    pub unknown: u64,
    /// Reads that were not compared for lack of budget.
    pub skipped: u64,
    /// Secondary calls that answered with an error.
    pub secondary_errors: u64,
    /// Secondary calls given up after their time-out.
    pub secondary_timeouts: u64,
    /// Secondary calls that panicked.
    pub secondary_panics: u64,
    /// Dual writes whose secondary was still running when the caller was answered.
    pub secondary_late: u64,
    /// Dual writes that left their row marked.
    pub marked: u64,
    /// Dual writes checked after the fact.
    pub checked: u64,
    /// … that then differed.
    pub checks_differed: u64,
    /// Writes that waited while authority moved.
    pub held: u64,
    /// Secondary calls whose times were taken and that kept their thread longer than 100 ms without yielding.
    pub blocked: u64,
    /// Latencies of the source, microseconds: of every compared read, of dual writes the first 4,096 and then one in
    /// eight, and of one in sixteen calls that go to one side only.
    pub source: Histogram<u64>,
    /// Latencies of the target, microseconds.
    pub target: Histogram<u64>,
    /// The newest confirmed mismatches.
    pub samples: Vec<Sample>,
}

/// A confirmed mismatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When it was confirmed.
    pub at: SystemTime,
    /// Digest of the cohort key.
    pub key_digest: String,
    /// Names of the fields that differ; empty when the comparator does not know fields.
    pub fields: Vec<String>,
    /// The answers of source and target as text, cut to a thousand characters; only where the plan says that samples share
    /// them, and the comparator can show them.
    pub values: Option<[String; 2]>,
}

impl Observation {
    /// The sum of one count over all operations.
    pub fn total(&self, count: impl Fn(&OperationObservation) -> u64) -> u64 {
        self.operations.iter().map(count).sum()
    }

    /// Hands every count and quantile to the `metrics` facade. Names: `docs/reference/metrics.md`.
    pub fn publish(&self) {
        let migration = || self.migration.clone();
        let gauge = |name: &'static str, value: f64| metrics::gauge!(name, "migration" => migration()).set(value);
        let count = |name: &'static str, value: u64| {
            metrics::counter!(name, "migration" => migration()).absolute(value);
        };
        gauge("crossfade_marked_rows", self.marked as f64);
        gauge("crossfade_secondary_in_flight", f64::from(self.secondary_in_flight));
        gauge("crossfade_longest_hold_seconds", self.longest_hold_ms as f64 / 1e3);
        count("crossfade_repaired_total", self.repaired);
        count("crossfade_repair_failures_total", self.repair_failures);
        count("crossfade_plans_refused_total", self.plans_refused);
        for seen in &self.operations {
            let labels = || [("migration", self.migration.clone()), ("operation", seen.operation.clone())];
            let counts = [
                ("crossfade_reads_total", seen.reads),
                ("crossfade_writes_total", seen.writes),
                ("crossfade_authority_errors_total", seen.authority_errors),
                ("crossfade_compared_total", seen.compared),
                ("crossfade_matched_total", seen.matched),
                ("crossfade_mismatched_total", seen.mismatched),
                ("crossfade_not_backfilled_total", seen.not_backfilled),
                ("crossfade_unknown_total", seen.unknown),
                ("crossfade_skipped_total", seen.skipped),
                ("crossfade_secondary_errors_total", seen.secondary_errors),
                ("crossfade_secondary_timeouts_total", seen.secondary_timeouts),
                ("crossfade_secondary_panics_total", seen.secondary_panics),
                ("crossfade_secondary_late_total", seen.secondary_late),
                ("crossfade_marked_total", seen.marked),
                ("crossfade_checked_total", seen.checked),
                ("crossfade_checks_differed_total", seen.checks_differed),
                ("crossfade_held_total", seen.held),
                ("crossfade_blocked_total", seen.blocked),
            ];
            for (name, value) in counts {
                metrics::counter!(name, &labels()).absolute(value);
            }
            for (side, histogram) in [("source", &seen.source), ("target", &seen.target)] {
                for quantile in [0.5, 0.9, 0.99] {
                    metrics::gauge!(
                        "crossfade_latency_seconds",
                        "migration" => migration(),
                        "operation" => seen.operation.clone(),
                        "side" => side,
                        "quantile" => quantile.to_string()
                    )
                    .set(histogram.value_at_quantile(quantile) as f64 / 1e6);
                }
            }
        }
    }
}
