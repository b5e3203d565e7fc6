//! Where a migration stands and why: everything that the command line and the dashboard show.

use super::instance::{InstanceKind, MarkDoc, Progress, Publication, TableDoc, TableDoubt};
use super::observation::{Comparisons, MismatchSample};
use crate::revision::RevisionText;
use crossfade_core::{BackfillState, Blocker, Share, Side, Stage, Switches, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A stage by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum StageName {
    /// The source alone.
    Off,
    /// Both written, source read.
    DualWrite,
    /// Both read, source answers.
    Shadow,
    /// Both read, target answers.
    Live,
    /// Both written, target read.
    RampDown,
    /// The target alone.
    Complete,
}

/// One thing that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct BlockerDoc {
    /// The stable code.
    pub code: String,
    /// What it is here, and what clears it.
    pub detail: String,
    /// Its runbook, a URI reference.
    pub runbook: String,
}

impl From<&Blocker> for BlockerDoc {
    fn from(blocker: &Blocker) -> BlockerDoc {
        BlockerDoc {
            code: blocker.code().to_owned(),
            detail: blocker.to_string(),
            runbook: crate::problem::runbook(blocker.code()),
        }
    }
}

/// What a gate says to the next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct GateDoc {
    /// Whether both sides must be shown equal first.
    pub converged: bool,
    /// Whether the step may be taken.
    pub go: bool,
    /// Everything that stands in the way.
    pub blockers: Vec<BlockerDoc>,
    /// What the gate cannot see, in words.
    #[serde(default)]
    pub cautions: Vec<String>,
}

/// One stage of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Rung {
    /// The stage.
    #[cfg_attr(feature = "openapi", schema(value_type = StageName))]
    pub stage: Stage,
    /// The four switches and the authority.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub switches: Switches,
    /// The share of the keys that are here.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub percent: Share,
}

/// The switches in shares of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Ladder {
    /// The six stages, and the share of the keys at each.
    pub stages: Vec<Rung>,
    /// The share of the keys whose writes reach the source.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub write_source: Share,
    /// The share of the keys whose reads reach the source.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub read_source: Share,
    /// The share of the keys whose writes reach the target.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub write_target: Share,
    /// The share of the keys whose reads reach the target.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub read_target: Share,
    /// The share of the keys whose authority is the target.
    #[cfg_attr(feature = "openapi", schema(value_type = f64))]
    pub authority_target: Share,
}

/// A step under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct StepDoc {
    /// Its number.
    pub step: u64,
    /// Where it leads, in words.
    pub goal: String,
    /// `settled`, `hold` or `move`.
    pub phase: String,
    /// Revisions still to publish.
    pub to_publish: usize,
    /// Without the gate (R20).
    pub forced: bool,
    /// Who asked for it.
    pub by: String,
    /// Why it was given up, while that is being acknowledged.
    pub abandoned: Option<String>,
    /// For whom it waits: instances that have not acknowledged the revision.
    pub waiting_for: Vec<String>,
    /// What else it waits for: marks of the moving keys, a settle time, reports after a restart.
    pub waiting_also: Vec<String>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct LastStepDoc {
    /// Its number.
    pub step: u64,
    /// Where it was to lead.
    pub goal: String,
    /// Why it did not get there.
    pub abandoned: Option<String>,
}

/// How far history has been moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct BackfillDoc {
    /// In the present generation.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub state: BackfillState,
    /// Counts the target's claims (R10).
    pub generation: u64,
}

/// The newest finished verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct VerificationDoc {
    /// The place in the log at which it began.
    pub began: u64,
    /// What it found.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub verdict: Verdict,
}

/// What is known about the migration, as gates see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct EvidenceDoc {
    /// Marked rows in all.
    pub marks: u64,
    /// Instances that vanished (R8).
    pub suspects: Vec<String>,
    /// Repair runs under way.
    pub repairs_running: u64,
    /// The backfill.
    pub backfill: BackfillDoc,
    /// The newest finished verification.
    pub verification: Option<VerificationDoc>,
    /// Since which place in the log every dual write is checked.
    pub full_checks_since: Option<u64>,
    /// Since which place in the log every key of the ramp is dual-written.
    pub dual_write_since: Option<u64>,
    /// When the last repair ended, a place in the log.
    pub last_repair: Option<u64>,
    /// Declared writers that bypass the library, not confirmed as paused.
    pub bypassing_writers: Vec<String>,
    /// P2 to P4 are waived since this place in the log (R20), until a verification passes.
    pub waived_since: Option<u64>,
    /// Tables in which rows that nobody can name may differ (R24). An empty name: the table is not known either.
    #[serde(default)]
    pub suspect_tables: Vec<TableDoubt>,
    /// Instances of the application that cannot check every table that they write (R25), at most 100.
    #[serde(default)]
    pub cannot_check: Vec<CannotCheckDoc>,
    /// Tables on which instances run different operations.
    #[serde(default)]
    pub operations: Vec<OperationsDoc>,
}

/// An instance that cannot check a table that it writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct CannotCheckDoc {
    /// The instance.
    pub instance: String,
    /// The table; none when the instance does not report its tables.
    pub table: Option<String>,
}

/// Different operations on one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct OperationsDoc {
    /// The table.
    pub table: String,
    /// By hash of the operations: the first instance that runs them.
    pub operations: BTreeMap<String, String>,
    /// An operator has confirmed every one of them.
    pub confirmed: bool,
}

/// What protects the migration's steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Protection {
    /// Every reader of the plan that is known acknowledges it (R3).
    pub acknowledged: bool,
    /// Flags were evaluated over OFREP lately: such clients cannot acknowledge (R12).
    pub unacknowledged_clients: bool,
    /// How long every revision stands before the next.
    pub settle_ms: u64,
    /// In words, what that means.
    pub label: String,
}

/// An instance, as the plane knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct InstanceDoc {
    /// Its id.
    pub instance: String,
    /// What it is.
    pub kind: InstanceKind,
    /// Where it runs.
    pub host: String,
    /// The version of its library.
    pub version: String,
    /// What it has acknowledged.
    pub acknowledged: Option<RevisionText>,
    /// It has acknowledged the revision in force.
    pub current: bool,
    /// Nothing was heard of it for too long.
    pub silent: bool,
    /// How long ago it was last heard of.
    pub heard_ms_ago: u64,
    /// It follows the plan over an open stream.
    pub connected: bool,
    /// Rows it marked that are not repaired.
    pub marks: u64,
    /// How far a run is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The tables that it writes, and whether it can check them; none when it does not report them.
    #[serde(default)]
    pub tables: Option<Vec<TableDoc>>,
}

/// All instances of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Instances {
    /// The revision in force.
    pub revision: RevisionText,
    /// Sorted by id.
    pub instances: Vec<InstanceDoc>,
}

/// Latencies and failures of one side of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct LatencyDoc {
    /// Calls answered.
    pub calls: u64,
    /// Calls failed.
    pub errors: u64,
    /// The median, in microseconds.
    pub p50_us: Option<u64>,
    /// The 99th percentile, in microseconds.
    pub p99_us: Option<u64>,
}

/// One operation, in a window of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct OperationStatus {
    /// Its name.
    pub operation: String,
    /// At the source.
    pub source: LatencyDoc,
    /// At the target.
    pub target: LatencyDoc,
    /// Compared reads.
    pub comparisons: Comparisons,
}

/// A piece of the recent past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct WindowDoc {
    /// When it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// All operations at the source.
    pub source: LatencyDoc,
    /// All operations at the target.
    pub target: LatencyDoc,
    /// Compared reads.
    pub comparisons: Comparisons,
}

/// What the file declares and the plan does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct DriftDoc {
    /// What differs.
    pub what: String,
    /// In the file.
    pub declared: String,
    /// In the plan.
    pub in_force: String,
}

/// The guarded rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct AutoDoc {
    /// Where it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = StageName))]
    pub until: Stage,
    /// It does nothing any more.
    pub ended: bool,
    /// What it will do next, or why it ended.
    pub note: String,
}

/// Where one migration stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Its id.
    pub migration: String,
    /// The plan in force.
    pub publication: Publication,
    /// Where the keys are, in words.
    pub position: String,
    /// The stages and switches, in shares of the keys.
    pub ladder: Ladder,
    /// A side, when every key has the same authority.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub authority: Option<Side>,
    /// The step under way.
    pub step: Option<StepDoc>,
    /// How the last step ended.
    pub last_step: Option<LastStepDoc>,
    /// Instances that block the next revision: silent, or not heard of since the plane started.
    pub waiting_for: Vec<String>,
    /// How many instances there are.
    pub instances: usize,
    /// How many have acknowledged the revision in force.
    pub acknowledged: usize,
    /// What gates look at.
    pub evidence: EvidenceDoc,
    /// What the gate says to a step over the next edge that has one.
    pub gate: GateDoc,
    /// What protects its steps.
    pub protection: Protection,
    /// Steps are refused until it is resumed.
    pub paused: bool,
    /// It has ended.
    pub retired: bool,
    /// The guarded rollout.
    pub auto: Option<AutoDoc>,
    /// What the file declares otherwise.
    pub drift: Vec<DriftDoc>,
    /// Operations, in the last minute.
    pub operations: Vec<OperationStatus>,
    /// The recent past, oldest first.
    pub windows: Vec<WindowDoc>,
    /// Some of the reads that differed, newest last.
    pub mismatches: Vec<MismatchSample>,
    /// Runs of the data side.
    pub runs: Vec<InstanceDoc>,
    /// The place in the log that this was seen at.
    pub tick: u64,
}

/// All migrations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct MigrationList {
    /// Sorted by id.
    pub migrations: Vec<Status>,
}

/// Who did what, when, from which revision to which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct HistoryEntry {
    /// The place in the log.
    pub tick: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who: the name of a token, an instance, or `plane`.
    pub by: String,
    /// The migration, when it concerns one.
    pub migration: Option<String>,
    /// What kind of event.
    pub kind: String,
    /// What happened, in words.
    pub text: String,
    /// The revision published by it.
    pub revision: Option<RevisionText>,
}

/// A page of the history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct HistoryPage {
    /// The entries.
    pub entries: Vec<HistoryEntry>,
    /// Ask for entries before this place to go on; none at the end.
    pub before: Option<u64>,
}

/// A mark and who set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct OwnedMark {
    /// Who set it.
    pub instance: String,
    /// The mark.
    #[serde(flatten)]
    pub mark: MarkDoc,
    /// The instance is registered no more: it cannot clear the mark by itself.
    #[serde(default)]
    pub gone: bool,
}

/// Marked rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct MarksPage {
    /// The first marks, at most 10,000.
    pub marks: Vec<OwnedMark>,
    /// How many there are in all.
    pub total: u64,
    /// Events that left rows in doubt without naming them: only a verification finds those rows.
    pub unlisted: u64,
    /// The same by table. An empty name: the table is not known either.
    #[serde(default)]
    pub suspect: Vec<TableDoubt>,
}
