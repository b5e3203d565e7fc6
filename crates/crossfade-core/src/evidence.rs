//! What is known about a migration when a gate is asked. Gathered elsewhere; here it is only facts with an order.

use serde::{Deserialize, Serialize};

/// A place in the migration's log of events: what came before what, without a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Tick(pub u64);

/// How far history has been moved, in the present generation of the target's claim (R10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackfillState {
    /// No backfill since the target was last claimed.
    #[default]
    NotStarted,
    /// One is running, or was interrupted.
    Unfinished,
    /// Every range was reconciled; this is when it ended.
    Complete(Tick),
}

/// What a verification found (R14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every row of both sides was seen, and they are equal.
    Verified,
    /// So many rows differ.
    Diverged(u64),
    /// So many ranges could not be read to their end.
    Unknown(u64),
}

/// The newest finished verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Verification {
    /// When it began: what happened later it may not have seen.
    pub began: Tick,
    /// What it found.
    pub verdict: Verdict,
}

/// A table in which rows that nobody can name may differ (R24).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableInDoubt {
    /// The name of the table; empty for rows of which the table is not known either (older libraries).
    pub table: String,
    /// How many events left rows in doubt. An event may concern any number of rows.
    pub events: u64,
}

/// An instance that writes a table and cannot read its rows on both sides (R25).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UncheckedWriter {
    /// The instance.
    pub instance: String,
    /// The table; `None` for an instance that does not report its tables, so that nothing is known of what it can check.
    pub table: Option<String>,
}

/// Two instances that run different operations on one table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DifferentOperations {
    /// The table.
    pub table: String,
    /// An instance with one set of operations, and one with another.
    pub instances: [String; 2],
}

/// Everything a gate looks at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Marked rows whose keys are to move.
    pub marks: u64,
    /// Tables in which rows that nobody can name may differ (R24).
    pub tables_in_doubt: Vec<TableInDoubt>,
    /// Instances of the application that cannot check every table that they write (R25).
    pub unchecked_writers: Vec<UncheckedWriter>,
    /// Tables on which instances run different operations, as far as no operator has confirmed it. Only a step that moves
    /// authority looks at it.
    pub different_operations: Vec<DifferentOperations>,
    /// Instances that vanished without goodbye (R8), by name.
    pub suspects: Vec<String>,
    /// Repair runs under way: no authority moves while one runs (R6).
    pub repairs_running: u64,
    /// How far history has been moved.
    pub backfill: BackfillState,
    /// When the last repair run ended.
    pub last_repair: Option<Tick>,
    /// When the last revision that brought keys into dual-write was acknowledged everywhere.
    pub dual_write_since: Option<Tick>,
    /// Since when every dual write is checked after the fact, acknowledged everywhere (R5); none when not all are.
    pub full_checks_since: Option<Tick>,
    /// The newest finished verification.
    pub verification: Option<Verification>,
    /// Declared writers that bypass the library and have not been confirmed as paused.
    pub bypassing_writers: Vec<String>,
}
