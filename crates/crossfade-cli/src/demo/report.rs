//! What the demo reports at its end: a contract.

use serde::Serialize;

/// The last JSON line.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) event: &'static str,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) rows_source: u64,
    pub(crate) rows_target: u64,
    pub(crate) acknowledged_writes: u64,
    pub(crate) lost_writes: u64,
    pub(crate) stale_reads: u64,
    pub(crate) comparisons: u64,
    /// Confirmed ones.
    pub(crate) mismatches: u64,
    /// Rows that differ at the independent check.
    pub(crate) diverged: u64,
    pub(crate) repaired: u64,
    pub(crate) rolled_back: bool,
    pub(crate) longest_hold_ms: u64,
    pub(crate) stages: Vec<StageReport>,
    /// Attempts that users saw fail, and made again.
    pub(crate) failed_writes: u64,
    pub(crate) failed_reads: u64,
    /// Comparisons that lacked rows not yet backfilled.
    pub(crate) not_backfilled: u64,
    /// Fields that differed in confirmed mismatches.
    pub(crate) differing_fields: Vec<String>,
    pub(crate) order: &'static str,
    pub(crate) seconds: f64,
}

/// One stop of the story: a stage, and how much of the ramp to it was open.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StageReport {
    pub(crate) stage: &'static str,
    pub(crate) percent: f64,
    pub(crate) seconds: f64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) read_p50_us: u64,
    pub(crate) read_p99_us: u64,
    pub(crate) write_p50_us: u64,
    pub(crate) write_p99_us: u64,
}
