//! Rows whose differing fields can be named.

use super::{Cursor, Page, RowPair, ScanRows};
use crate::read::compare::{Compare, Comparison};
use crossfade_core::Side;

/// Rows, and a comparator that names the fields in which two of them differ. See [`with_fields`].
#[derive(Debug, Clone)]
pub struct WithFields<P, C> {
    rows: P,
    comparator: C,
}

/// Lets a verification name the fields that differ. Whether two rows are equal is still decided by their `==`; the
/// comparator only names. [`compare::fields`](crate::compare::fields) does it for every row that is `Serialize`.
///
/// ```
/// # use crossfade::rows::{ScanRows, with_fields};
/// # fn f<P: ScanRows<Row = Vec<u8>>>(rows: P) {
/// let rows = with_fields(rows, crossfade::compare::fields());
/// # let _ = rows; }
/// ```
pub fn with_fields<P: ScanRows, C: Compare<P::Row>>(rows: P, comparator: C) -> WithFields<P, C> {
    WithFields { rows, comparator }
}

impl<P: ScanRows, C: Compare<P::Row>> RowPair for WithFields<P, C> {
    type Id = P::Id;
    type Row = P::Row;
    type Error = P::Error;

    async fn snapshot(&self, side: Side, id: &Self::Id) -> Result<Option<Self::Row>, Self::Error> {
        self.rows.snapshot(side, id).await
    }

    async fn restore(
        &self,
        side: Side,
        id: &Self::Id,
        seen: Option<&Self::Row>,
        row: Option<&Self::Row>,
    ) -> Result<bool, Self::Error> {
        self.rows.restore(side, id, seen, row).await
    }
}

impl<P: ScanRows, C: Compare<P::Row>> ScanRows for WithFields<P, C> {
    async fn scan(&self, side: Side, after: Option<Cursor>, limit: usize) -> Result<Page<Self::Row>, Self::Error> {
        self.rows.scan(side, after, limit).await
    }

    fn id_of(&self, row: &Self::Row) -> Self::Id {
        self.rows.id_of(row)
    }

    fn key_of(&self, row: &Self::Row) -> String {
        self.rows.key_of(row)
    }

    fn fields_that_differ(&self, source: &Self::Row, target: &Self::Row) -> Vec<String> {
        match self.comparator.compare(source, target) {
            Comparison::Differ(fields) => fields,
            Comparison::Match | Comparison::Missing => Vec::new(),
        }
    }
}
