//! What can happen. Every event is appended to the log before anybody sees its effect, and recovery replays them all.

use crossfade_api::revision::RevisionText;
use crossfade_api::wire::{
    AutoRequest, InstanceKind, MarkChange, Outcome, Publication, Role, SidesDoc, TableDoc, TableDoubt,
};
use crossfade_core::{PlanSpec, Tick};
use serde::{Deserialize, Serialize};

/// An event at its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place.
    pub tick: Tick,
    /// When, in milliseconds since 1970. For people; the law goes by the tick.
    pub at_ms: u64,
    /// Who: the name of a token, an instance, or `plane`.
    pub by: String,
    /// What happened.
    pub event: Event,
}

/// Something that happened to the plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The server began a life.
    Started {
        /// From a backup: publish nothing before the known instances have reported (R21).
        restored: bool,
    },
    /// A token was issued; the hash of its secret.
    TokenIssued {
        /// Its public part.
        id: String,
        /// Who holds it.
        name: String,
        /// What it may do.
        role: Role,
        /// SHA-256 of the secret, in hex.
        hash: String,
    },
    /// A token is no longer good.
    TokenRevoked {
        /// Its public part.
        id: String,
    },
    /// A migration was made, with its first plan.
    Created {
        /// The plan, settled and without a ramp.
        publication: Publication,
        /// Declared writers that bypass the library.
        writers: Vec<String>,
    },
    /// Something happened to a migration.
    To {
        /// Which.
        migration: String,
        /// What.
        what: Happening,
    },
}

/// Something that happened to a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happening {
    /// The configuration file was read again.
    Declared {
        /// What it says.
        plan: Box<PlanSpec>,
        /// Declared writers that bypass the library.
        writers: Vec<String>,
    },
    /// An instance joined, with the plan in force as its first, or again with the one it holds.
    Registered {
        /// Its id.
        instance: String,
        /// What it is.
        kind: InstanceKind,
        /// Where it runs.
        host: String,
        /// The version of its library.
        version: String,
        /// It may have operations under another revision, and must acknowledge.
        holding: bool,
        /// The tables that it writes; none when it does not report them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tables: Option<Vec<TableDoc>>,
        /// The tables that a run works on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sides: Vec<SidesDoc>,
    },
    /// An instance reports other tables than before, or other abilities to check them (R25).
    TablesReported {
        /// Its id.
        instance: String,
        /// All tables that it writes.
        tables: Vec<TableDoc>,
    },
    /// An operator confirms that these operations on a table may run side by side while authority moves.
    OperationsConfirmed {
        /// The table.
        table: String,
        /// The hashes, as instances report them.
        operations: Vec<String>,
    },
    /// Every operation of the instance under other revisions has ended, and left these marks.
    Acknowledged {
        /// Its id.
        instance: String,
        /// The revision.
        revision: RevisionText,
        /// The marks.
        marks: MarkChange,
    },
    /// Marks were set or cleared.
    Marked {
        /// By which instance.
        instance: String,
        /// The marks.
        marks: MarkChange,
    },
    /// An instance left in good order.
    Left {
        /// Its id.
        instance: String,
        /// Its last marks.
        marks: MarkChange,
    },
    /// An operator asserts that the instance is dead (R8).
    Evicted {
        /// Its id.
        instance: String,
    },
    /// A step was begun.
    StepBegan {
        /// Where it leads, in words.
        goal: String,
        /// The plans to publish, one after the other.
        plans: Vec<PlanSpec>,
        /// Without the gate (R20).
        forced: bool,
        /// When forced: the marked rows, and since when writes may be lost, in milliseconds since 1970.
        waived: Option<Waived>,
    },
    /// A revision is in force.
    Published {
        /// The revision and its plan.
        publication: Publication,
    },
    /// The step is given up: the old roles again (R4).
    Abandoned {
        /// Why.
        why: String,
        /// With a plan of its own, when one was held.
        publication: Option<Publication>,
    },
    /// The last revision of the step is acknowledged everywhere, or the step was given up.
    StepEnded {
        /// It reached its goal.
        reached: bool,
    },
    /// A run began its work.
    RunBegan {
        /// The run.
        instance: String,
    },
    /// A run ended its work.
    RunEnded {
        /// The run.
        instance: String,
        /// How.
        outcome: Outcome,
        /// Its last marks.
        marks: MarkChange,
    },
    /// Somebody made sure that a declared writer writes no more, or lets it write again.
    WriterPaused {
        /// The writer.
        writer: String,
        /// Whether it is paused.
        paused: bool,
    },
    /// An instance holds a plan that this plane had published and forgotten (R21).
    Restored {
        /// What it holds.
        seen: Publication,
        /// What follows it.
        revision: RevisionText,
    },
    /// No steps until it is resumed.
    Paused,
    /// Steps again.
    Resumed,
    /// The guarded rollout was set out.
    AutoBegan {
        /// How.
        request: AutoRequest,
    },
    /// The guarded rollout ended.
    AutoEnded {
        /// Why.
        why: String,
    },
    /// The migration has ended.
    Retired,
}

/// What a forced rollback waives (R20).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Waived {
    /// Marked rows at that time, table and row key.
    pub rows: Vec<(String, String)>,
    /// How many marked rows there were in all.
    pub marks: u64,
    /// The first place in the log from which writes may be lost.
    pub since: Tick,
    /// Tables in which rows that nobody can name may differ (R24).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspect: Vec<TableDoubt>,
}
