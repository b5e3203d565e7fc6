//! What a state of the model holds: everything a real migration has, small, and the ghost that the promises are told of.

use crate::application::Instance;
use crate::backfill::Backfill;
use crate::control::Control;
use crate::repair::Repair;
use crate::store::{LATE, Late, ROWS, Store, Value};
use crate::verification::Verifying;

/// The most application instances that a scope has.
pub const INSTANCES: usize = 3;

/// The most repairs that run at a time.
pub const REPAIRS: usize = 2;

/// One moment of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// Source and target.
    pub stores: [Store; 2],
    /// Calls whose callers have given up, still on their way.
    pub late: [Option<Late>; LATE],
    /// The application.
    pub instances: [Instance; INSTANCES],
    /// The control plane.
    pub control: Control,
    /// What a restore puts back: the control plane as it was when the scope began.
    pub backup: Option<Box<Control>>,
    /// The backfill, when a row is under way.
    pub backfill: Option<Backfill>,
    /// Repairs under way.
    pub repairs: [Option<Repair>; REPAIRS],
    /// The verification under way.
    pub verification: Option<Verifying>,
    /// What may still happen.
    pub left: Budget,
    /// What the promises are told of; no actor looks at it.
    pub ghost: Ghost,
}

/// How often a thing may still happen: this is what makes a scope small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    /// Writes of the application.
    pub writes: u8,
    /// Reads of the application.
    pub reads: u8,
    /// Calls that a store refuses.
    pub refusals: u8,
    /// Calls whose answer is lost.
    pub losses: u8,
    /// Revisions that the control plane publishes.
    pub revisions: u8,
    /// Instances that crash.
    pub crashes: u8,
    /// Instances that start.
    pub starts: u8,
    /// Repairs that begin.
    pub repairs: u8,
    /// Rows that the backfill begins with.
    pub backfills: u8,
    /// Backfills or repairs that are killed.
    pub kills: u8,
    /// Verifications that begin.
    pub verifications: u8,
    /// Restores of the control plane from its backup.
    pub restores: u8,
    /// Instances that lose the plan source.
    pub lost_flags: u8,
    /// Rollbacks that the operator forces.
    pub forced: u8,
    /// Secondary writes that do not wait for their turn and are not made: over budget, or a turn that comes too late.
    pub skips: u8,
    /// Instances that say goodbye.
    pub leaves: u8,
}

/// How many values a row can have had.
pub const HISTORY: usize = 8;

/// The history that an onlooker with a notebook would have written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ghost {
    /// Per row, the values that authoritative writes made, in their order; the first is what was there before.
    pub values: [[Value; HISTORY]; ROWS],
    /// Per row, the place of the newest value.
    pub newest: [u8; ROWS],
    /// Per row, the place of the newest acknowledged write: what is before it is superseded.
    pub acknowledged: [u8; ROWS],
    /// Per row, the acknowledged increments.
    pub increments: [u8; ROWS],
    /// Operations begun; the number of the next.
    pub operations: u8,
    /// A read has returned a superseded value.
    pub stale_read: bool,
    /// Keys have gone back over these edges, a bit for each.
    pub rolled_back: u8,
    /// A fault has happened.
    pub faulty: bool,
    /// A forced rollback has waived the promises, and nothing has been verified since (R20).
    pub waived: bool,
}

impl Ghost {
    /// An authoritative write took effect.
    pub fn record(&mut self, row: u8, value: Value) {
        let row = row as usize;
        self.newest[row] += 1;
        self.values[row][self.newest[row] as usize] = value;
    }

    /// The write that took effect last was acknowledged.
    pub fn acknowledge(&mut self, row: u8, increment: bool) {
        self.acknowledged[row as usize] = self.newest[row as usize];
        self.increments[row as usize] += u8::from(increment);
    }

    /// The promises hold again from here, for what the row holds now.
    pub fn begin_anew(&mut self, row: u8, value: Value) {
        self.record(row, value);
        self.acknowledged[row as usize] = self.newest[row as usize];
        self.increments[row as usize] = 0;
    }

    /// A read that began when `since` was the newest acknowledged write may return this value.
    #[must_use]
    pub fn regular(&self, row: u8, since: u8, value: Value) -> bool {
        let row = row as usize;
        self.values[row][since as usize..=self.newest[row] as usize].contains(&value)
    }
}
