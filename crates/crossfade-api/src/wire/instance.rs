//! What instances of the application, and the runs of the data side, say to the control plane.

use super::observation::Observations;
use crate::revision::RevisionText;
use crossfade_core::{MarkReason, PlanSpec, Verdict};
use serde::{Deserialize, Serialize};

/// The longest row key or cohort key of a mark, in bytes. A longer one leaves its table in doubt instead (R24).
pub const LONGEST_MARK_KEY: usize = 4_096;

/// Marks, set and cleared together, in one message at most.
pub const MARKS_AT_ONCE: usize = 10_000;

/// Bytes of key text (tables, rows and cohort keys of marks) that a sender puts into one message at most. The server
/// takes a body with so much of it and [`MARKS_AT_ONCE`] marks, however the text is escaped.
pub const MARK_BYTES_AT_ONCE: usize = 1 << 20;

/// What runs under a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InstanceKind {
    /// A process of the application.
    Application,
    /// A backfill run.
    Backfill,
    /// A verification run.
    Verify,
    /// A repair run: no authority moves while it lives.
    Repair,
}

impl InstanceKind {
    /// The name used on every surface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            InstanceKind::Application => "application",
            InstanceKind::Backfill => "backfill",
            InstanceKind::Verify => "verify",
            InstanceKind::Repair => "repair",
        }
    }
}

/// A plan and its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Publication {
    /// Which version of the plan.
    pub revision: RevisionText,
    /// The plan.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub plan: PlanSpec,
}

/// An instance joins. Registering and getting the first plan is one transaction (R3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Registration {
    /// Chosen by the instance, new for every life of its process: 1 to 128 of letters, digits, `-`, `_`, `.`, `:`.
    pub instance: String,
    /// What it is.
    pub kind: InstanceKind,
    /// Where it runs, for people: a host or pod name.
    #[serde(default)]
    pub host: String,
    /// The version of the library.
    #[serde(default)]
    pub version: String,
    /// The plan that it runs under already, when it registers again: a plane restored from a backup learns from
    /// it what it had published (R21).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding: Option<Publication>,
    /// The highest revision that an earlier life of the process has seen, as far as its disk tells. The plan is not
    /// in force there; a plane that has not published it refuses with `plane-behind` (R21).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<RevisionText>,
    /// The tables that the instance writes, as far as it knows when it registers. `None`: the instance does not report
    /// tables (an older library, or a run of the data side).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<TableDoc>>,
    /// A run of the data side: which tables it works on. Those whose servers cannot tell are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sides: Vec<SidesDoc>,
}

/// The two tables that a run works on, by the word of their servers. Holds no credentials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct SidesDoc {
    /// The name of the table in the source.
    pub table: String,
    /// Which table of which database the source is: the same for every URL that leads to it, and after a restart of the server.
    pub source: String,
    /// Which one the target is.
    pub target: String,
}

/// What one instance does with one table, and what it can check there (R23, R25).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct TableDoc {
    /// The name of the table: 1 to 128 bytes, the same in every instance.
    pub table: String,
    /// The instance can read a row of this table on both sides, so that it can check every dual write and repair.
    pub can_check: bool,
    /// A hash of the operations on the table (names, keys, rows, mirrors), 16 hex digits. Empty when the operations
    /// are written as closures and are not known beforehand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub operations: String,
}

/// The answer to a registration: from here on the instance is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Registered {
    /// The plan to run under.
    pub publication: Publication,
    /// How often to send a heartbeat.
    pub heartbeat_ms: u64,
    /// After how long without one an instance counts as silent.
    pub silent_after_ms: u64,
    /// Tables for which this run names other databases than the last run that wrote there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_databases: Vec<String>,
}

/// A row that may differ (R5). The key is needed to repair it; values never travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct MarkDoc {
    /// The table or operation that the row belongs to.
    pub table: String,
    /// The row key, canonical text.
    pub row: String,
    /// The cohort key, canonical text.
    pub cohort: String,
    /// Why.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "secondary-unknown"))]
    pub reason: MarkReason,
    /// Rises each time that this instance marks the row again; a repair clears only the one that it began with.
    pub generation: u64,
}

/// A mark to clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct MarkRef {
    /// Who set it; the sender when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The table or operation.
    pub table: String,
    /// The row key.
    pub row: String,
    /// The newest generation that the repair saw.
    pub generation: u64,
}

/// Marks set and cleared since the last message. Repeating one is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct MarkChange {
    /// Rows that may differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<MarkDoc>,
    /// Rows that were repaired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleared: Vec<MarkRef>,
    /// Marks beyond what a message can name: a verification has to find those rows.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
    /// Tables in which rows that the instance cannot name may differ (R24). Only a verification that began later
    /// clears this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspect: Vec<TableDoubt>,
}

/// Events since the last message that left unnamed rows of a table in doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct TableDoubt {
    /// The name of the table.
    pub table: String,
    /// How many such events; at least 1.
    pub count: u64,
}

impl MarkChange {
    /// Nothing set and nothing cleared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.cleared.is_empty() && self.unlisted == 0 && self.suspect.is_empty()
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Every operation that began under another revision has ended (R3), and these are the marks they left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Acknowledgement {
    /// The revision.
    pub revision: RevisionText,
    /// Marks not yet sent.
    #[serde(default)]
    pub marks: MarkChange,
    /// The tables that the instance writes, when they changed since the last message that was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<TableDoc>>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// Rows done.
    pub done: u64,
    /// Rows in all, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Rows per second, lately.
    #[serde(default)]
    pub rate: u64,
    /// What it does, in a few words.
    #[serde(default)]
    pub note: String,
}

/// Sent every few seconds: alive, and what was seen since the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Heartbeat {
    /// The revision that new operations run under.
    pub revision: RevisionText,
    /// Counts the heartbeats of this life: one that is repeated is not counted twice.
    pub sequence: u64,
    /// What was seen since the last heartbeat.
    #[serde(default)]
    pub observations: Observations,
    /// Marks not yet sent.
    #[serde(default)]
    pub marks: MarkChange,
    /// How far a run is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The tables that the instance writes, when they changed since the last message that was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<TableDoc>>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct HeartbeatAnswer {
    /// The revision in force: an instance that has another fetches the plan.
    pub revision: RevisionText,
}

/// An instance leaves in good order: no operation is in flight any more.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Departure {
    /// Marks not yet sent.
    #[serde(default)]
    pub marks: MarkChange,
    /// What was seen since the last heartbeat.
    #[serde(default)]
    pub observations: Observations,
}

/// A run may begin: what happens from here on it will see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct RunTicket {
    /// The place in the log at which it began.
    pub tick: u64,
    /// Which claim of the target it is for (R10): work of another generation does not count.
    pub generation: u64,
    /// The plan it runs under.
    pub publication: Publication,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All there was to do is done.
    Complete,
    /// It stopped before its end; it can be resumed.
    Interrupted,
    /// A verification's answer (R14).
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    Verdict(Verdict),
}

/// A run ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub struct RunEnd {
    /// How.
    pub outcome: Outcome,
    /// Marks not yet sent.
    #[serde(default)]
    pub marks: MarkChange,
    /// The last progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}
