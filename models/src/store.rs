//! The two databases: one cell a row, and effects that are still on their way after their caller has given up.
//!
//! A store answers at once and once, or its answer is lost: then the effect is *late* and lands now, later, twice, or
//! never. A store here has no clock: "the linger has passed" is "nothing of it is on its way any more".

use crate::state::State;
use crossfade_core::Side;

/// What a row holds; none when there is no row. For counters, the sum.
pub type Value = Option<u8>;

/// Two rows are enough to be at two stages.
pub const ROWS: usize = 2;

/// One database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Store {
    /// Its rows.
    pub rows: [Value; ROWS],
    /// What each row held before its last change, as a lagging replica would say. Kept only while R22 is dropped.
    pub replica: [Value; ROWS],
}

/// What a call asks a store to do with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Put this value, or delete the row.
    Set(Value),
    /// Add one.
    Add,
    /// Delete every row: a predicate that every row meets, evaluated where the call lands.
    Clear,
}

impl Change {
    fn on(self, old: Value) -> Value {
        match self {
            Change::Set(value) => value,
            Change::Clear => None,
            Change::Add => Some(old.unwrap_or(0) + 1),
        }
    }
}

/// Who made a call: its linger is over when nothing of it is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// An operation of the application, by its number.
    Operation(u8),
    /// A repair, by its number.
    Repair(u8),
    /// The backfill.
    Backfill,
}

/// One call of a store that changes a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// Whose it is.
    pub owner: Owner,
    /// Where it goes.
    pub side: Side,
    /// The row.
    pub row: u8,
    /// What it does.
    pub change: Change,
    /// It does it only while the row holds this.
    pub expected: Option<Value>,
    /// It is the write of an operation on the side that the operation holds for the authority.
    pub authoritative: bool,
}

/// A call whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Late {
    /// The call.
    pub call: Call,
    /// How often it may still land.
    pub lands: u8,
}

/// How many calls can be on their way at a time.
pub const LATE: usize = 3;

impl State {
    /// What a row holds on a side.
    #[must_use]
    pub fn cell(&self, side: Side, row: u8) -> Value {
        self.stores[side as usize].rows[row as usize]
    }

    /// Carries a call out; none when the row held something else than expected.
    pub fn apply(&mut self, call: Call, replicas: bool) -> Option<Value> {
        if call.change == Change::Clear {
            for row in 0..ROWS as u8 {
                self.apply(Call { row, change: Change::Set(None), ..call }, replicas);
            }
            return None;
        }
        let store = &mut self.stores[call.side as usize];
        let cell = &mut store.rows[call.row as usize];
        if call.expected.is_some_and(|expected| expected != *cell) {
            return None;
        }
        if replicas {
            store.replica[call.row as usize] = *cell;
        }
        *cell = call.change.on(*cell);
        let value = *cell;
        if call.authoritative {
            self.ghost.record(call.row, value);
        }
        Some(value)
    }

    /// The caller of this call learns nothing; false when too many are on their way already.
    pub fn lose(&mut self, call: Call, lands: u8) -> bool {
        match self.late.iter_mut().find(|late| late.is_none()) {
            Some(free) => {
                *free = Some(Late { call, lands });
                true
            }
            None => false,
        }
    }

    /// A late call lands, once.
    pub fn land(&mut self, index: usize, replicas: bool) {
        let Some(Late { call, lands }) = self.late[index] else { return };
        self.apply(call, replicas);
        self.late[index] = (lands > 1).then_some(Late { call, lands: lands - 1 });
        self.sort_late();
    }

    /// A late call will never land: its linger has passed, or it was lost on the way.
    pub fn vanish(&mut self, index: usize) {
        self.late[index] = None;
        self.sort_late();
    }

    /// Nothing of this caller is on its way.
    #[must_use]
    pub fn linger_passed(&self, owner: Owner) -> bool {
        !self.late.iter().flatten().any(|late| late.call.owner == owner)
    }

    /// Two states that differ only in the order of this list are one state.
    fn sort_late(&mut self) {
        self.late.sort_by_key(|late| match late {
            None => (u8::MAX, 0, 0),
            Some(late) => {
                let owner = match late.call.owner {
                    Owner::Operation(number) => number,
                    Owner::Repair(number) => 100 + number,
                    Owner::Backfill => 200,
                };
                (owner, late.call.side as u8, late.lands)
            }
        });
    }
}
