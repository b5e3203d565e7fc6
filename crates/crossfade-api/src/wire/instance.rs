//! What instances of the application, and the runs of the data side, say to the control plane.

use super::observation::Observations;
use crate::revision::RevisionText;
use crossfade_core::{MarkReason, PlanSpec, Verdict};
use serde::{Deserialize, Serialize};

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
}

impl MarkChange {
    /// Nothing set and nothing cleared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.cleared.is_empty() && self.unlisted == 0
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
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
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
