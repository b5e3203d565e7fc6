//! A conditional write and what became of it.

use crate::{Row, RowKey, StoreError};

/// One conditional write of one row: a compare-and-set on what was seen.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// Put a row where none was seen. Never overwrites.
    Insert {
        /// The whole row.
        row: Row,
    },
    /// Put a row over exactly the row that was seen.
    Replace {
        /// What [`crate::Table::read`] or [`crate::Table::scan`] of this very table gave.
        seen: Row,
        /// The whole new row; its key is the key of `seen`.
        row: Row,
    },
    /// Delete exactly the row that was seen.
    Delete {
        /// What [`crate::Table::read`] or [`crate::Table::scan`] of this very table gave.
        seen: Row,
    },
}

impl Change {
    /// The row that carries this change's key.
    #[must_use]
    pub fn keyed(&self) -> &Row {
        match self {
            Change::Insert { row } => row,
            Change::Replace { seen, .. } | Change::Delete { seen } => seen,
        }
    }

    /// The key of the row, by the table's key columns.
    #[must_use]
    pub fn key(&self, key_columns: &[usize]) -> RowKey {
        self.keyed().key(key_columns)
    }
}

/// What became of one [`Change`]. Accepted is not durable: only `Applied` is.
#[derive(Debug)]
pub enum ChangeOutcome {
    /// It is in the store, durably.
    Applied,
    /// What was seen is not there any more: nothing was done. Read again.
    LostRace,
    /// Not known: it may have been done, or may still be done within [`crate::Capabilities::linger`].
    Ambiguous(StoreError),
    /// The store refused this row and did nothing.
    Refused(StoreError),
}

impl ChangeOutcome {
    /// Whether it is in the store, durably.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        matches!(self, ChangeOutcome::Applied)
    }
}
