//! The rows behind a DAO, as repair, checks, backfill and verification see them.
//!
//! `#[crossfade::dao]` implements these from the methods marked `#[snapshot]`, `#[restore]` and `#[scan]`; they can be
//! implemented by hand for the closure interface.

mod backfill;
mod fields;
mod run;
mod verify;

pub use backfill::{Pace, Progress, RowsError, backfill};
pub use fields::{WithFields, with_fields};
pub use run::{Difference, DifferenceKind, Extra, Moved, Run, RunError, RunHandle, TableVerified, Verification};
pub use verify::{Verified, verify};

use crate::key::ParseKey;
use crossfade_core::Side;
use std::fmt;
use std::future::Future;

/// Point access to the rows of both sides.
///
/// Called on background tasks, many rows at a time, never twice at once for one row by one repair. Calls may be given
/// up by dropping the future; an effect that lands later is waited for (the plan's `linger`).
pub trait RowPair: Send + Sync + 'static {
    /// The row key; its text is what a mark carries.
    type Id: ParseKey + Clone + Send + Sync + 'static;
    /// A whole row. Equality decides whether the sides are equal.
    type Row: Clone + PartialEq + Send + Sync + 'static;
    /// Errors of the stores.
    type Error: fmt::Display + Send + 'static;

    /// The row as it is now; none when there is none. Linearizable: never from a replica, an index or an eventually
    /// consistent read (R22). An error says nothing about the row.
    fn snapshot(
        &self,
        side: Side,
        id: &Self::Id,
    ) -> impl Future<Output = Result<Option<Self::Row>, Self::Error>> + Send;

    /// Compare-and-set on the full row: puts `row` (none: deletes) if the row still is `seen` (none: absent).
    /// `false`: it was no longer `seen`, and nothing was changed. An error says that nobody knows.
    fn restore(
        &self,
        side: Side,
        id: &Self::Id,
        seen: Option<&Self::Row>,
        row: Option<&Self::Row>,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;
}

/// Reading every row of a side, for backfill and verification.
pub trait ScanRows: RowPair {
    /// At least one and about `limit` rows after `after`, in an order of the store's own. Every row that exists from
    /// before the first page until after the last is in some page. The end is said by `next: None`, never by an error
    /// or an empty page alone.
    fn scan(
        &self,
        side: Side,
        after: Option<Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<Self::Row>, Self::Error>> + Send;

    /// The row key of a row.
    fn id_of(&self, row: &Self::Row) -> Self::Id;

    /// The canonical text of a row's cohort key.
    fn key_of(&self, row: &Self::Row) -> String;

    /// The names of the fields in which two rows of one row key differ, for people. Empty, the default, where fields
    /// are not known: see [`with_fields`].
    fn fields_that_differ(&self, source: &Self::Row, target: &Self::Row) -> Vec<String> {
        let _ = (source, target);
        Vec::new()
    }
}

/// A place in a scan, in words of the store that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub String);

/// Some rows of a scan.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<R> {
    /// The rows, perhaps none.
    pub rows: Vec<R>,
    /// Where the next page begins; none at the end.
    pub next: Option<Cursor>,
}
