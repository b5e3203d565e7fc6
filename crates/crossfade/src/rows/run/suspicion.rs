//! What a verification clears in this process: only the doubts that were raised before it began (R8, R24).
//!
//! The one place at which runs touch the doubts of tables.

use crate::migration::Inner;
use crate::table::TableState;
use std::sync::Arc;

/// The doubts of each table when a verification began.
#[derive(Debug)]
pub(super) struct SuspicionBefore(Vec<(Arc<TableState>, u64)>);

/// Takes the token of a verification, before it reads its first row.
pub(super) fn before(inner: &Inner) -> SuspicionBefore {
    let raised = |table: Arc<TableState>| {
        let count = table.doubt.raised();
        (table, count)
    };
    SuspicionBefore(inner.tables.all().into_iter().map(raised).collect())
}

/// A verification of every row of every table has passed. A doubt that was raised after it began stays.
pub(super) fn clear(inner: &Inner, before: SuspicionBefore) {
    for (table, raised) in before.0 {
        table.doubt.clear(raised);
    }
    inner.marks.nudge();
}
