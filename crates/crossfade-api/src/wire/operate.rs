//! What operators ask for. Every step names the revision that they looked at, so that two operators cannot cross.

use super::status::{GateDoc, Status};
use crate::revision::RevisionText;
use crossfade_core::{Options, Pin, PlanSpec, Share, Stage};
use serde::{Deserialize, Serialize};

/// Makes a migration, as its configuration declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CreateRequest {
    /// The first plan: settled, at a stage, without a ramp.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub plan: PlanSpec,
    /// Declared writers that bypass the library (cron SQL, triggers): a gate asks for their pause.
    #[serde(default)]
    pub bypassing_writers: Vec<String>,
}

/// Towards a stage, so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RampRequest {
    /// The stage.
    #[cfg_attr(feature = "openapi", schema(value_type = super::status::StageName))]
    pub stage: Stage,
    /// The share of the keys that shall be there. All by default.
    #[serde(default = "all")]
    #[cfg_attr(feature = "openapi", schema(value_type = f64, minimum = 0, maximum = 100))]
    pub percent: Share,
    /// The pins from now on; as they are when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<Object>>))]
    pub pins: Option<Vec<Pin>>,
    /// The revision that the operator looked at.
    pub if_revision: RevisionText,
    /// The migration's name, where the step cannot be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

const fn all() -> Share {
    Share::ALL
}

/// Empties an open ramp, otherwise back by one edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RollbackRequest {
    /// The revision that the operator looked at.
    pub if_revision: RevisionText,
    /// Without the gate (R20): the promises P2 to P4 are waived until a verification passes.
    #[serde(default)]
    pub force: bool,
    /// The migration's name, when it is forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// Other options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OptionsRequest {
    /// All of them; what is left out is as by default.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub options: Options,
    /// The revision that the operator looked at.
    pub if_revision: RevisionText,
}

/// The guarded rollout: from step to step while the guards hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AutoRequest {
    /// The stage at which it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = super::status::StageName))]
    pub until: Stage,
    /// The shares of each edge, rising; 100 is added at the end.
    #[serde(default = "ladder")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<f64>))]
    pub percents: Vec<Share>,
    /// How long each share stands before the next.
    #[serde(default = "dwell")]
    pub dwell_ms: u64,
    /// Mismatched reads allowed in one dwell, in all.
    #[serde(default)]
    pub max_mismatched: u64,
    /// How many times as slow as the authority's p99 the secondary's may be, in percent (200: twice as slow).
    #[serde(default = "slower")]
    pub max_slower_percent: u64,
    /// Failed calls of the secondary allowed in one dwell, in thousandths of its calls.
    #[serde(default = "failing")]
    pub max_failing_permille: u64,
}

fn ladder() -> Vec<Share> {
    [1_000, 5_000, 25_000, 50_000, 100_000].into_iter().filter_map(Share::from_buckets).collect()
}

const fn dwell() -> u64 {
    600_000
}

const fn slower() -> u64 {
    300
}

const fn failing() -> u64 {
    10
}

/// Declared writers that bypass the library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WriterRequest {
    /// Its name as declared.
    pub writer: String,
    /// Whether somebody has made sure that it writes no more.
    pub paused: bool,
    /// The migration's name, when the writer is to write again after authority has moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// Confirms operations of one table that differ between instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConfirmOperationsRequest {
    /// The table.
    pub table: String,
    /// The hashes, exactly those that instances report: another one that appears later blocks again.
    pub operations: Vec<String>,
}

/// Asserts that these processes are dead and can reach neither database (R8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EvictRequest {
    /// Which. Without names nobody is evicted, and the refusal lists the silent ones.
    #[serde(default)]
    pub instances: Vec<String>,
    /// The assertion. `false` is refused.
    pub dead: bool,
}

/// Ends a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RetireRequest {
    /// The revision that the operator looked at.
    pub if_revision: RevisionText,
    /// The migration's name.
    pub confirm: String,
}

/// What a step would do, before it is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Preview {
    /// Where it leads, in words.
    pub goal: String,
    /// The revisions it takes: `hold`, `move`, `release`, or one `ramp`.
    pub revisions: Vec<String>,
    /// The share of the keys that move.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub moving: Share,
    /// What it means, a sentence each.
    pub effects: Vec<String>,
    /// Writes of the moving keys are held, for this long at the most; none when no authority moves.
    pub held_at_most_ms: Option<u64>,
    /// Whether there is a way back, and on what it depends.
    pub way_back: String,
    /// Whether the migration's name has to be typed.
    pub needs_confirmation: bool,
    /// The gate and what blocks it.
    pub gate: GateDoc,
    /// For whom it would wait now.
    pub waiting_for: Vec<String>,
}

/// A step was begun; it has happened when the status shows no step under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct StepAnswer {
    /// The number of the step, as in the status.
    pub step: u64,
    /// The status after the first revision of the step.
    pub status: Status,
}
