//! Two tables, opened so that a row of the source becomes a row of the target, and rows of the target can be compared.

mod complete;
mod losses;
mod map;
mod open;
pub(crate) mod walk;

use std::sync::Arc;

use crossfade_stores::{Row, RowKey, Table, TableSchema, value::Closeness};

pub use map::{Made, MapError, Piece, RowMap};
pub use open::{Engines, OpenError, open, opened, specs};
pub(crate) use open::{Fits, judge, specs_for};

/// A table of the source and its counterpart.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The table's name in the source, as the configuration calls it.
    pub name: String,
    /// The authority's side of the copy.
    pub source: Arc<dyn Table>,
    /// The copy.
    pub target: Arc<dyn Table>,
    /// From a row of the source to a row of the target.
    pub map: Arc<RowMap>,
    /// How rows of the target are compared with mapped rows.
    pub closeness: Closeness,
    /// Whether rows expire, so that one missing in the target is no divergence.
    pub cache: bool,
}

impl Pair {
    /// Whether both scan in the same key order, and their keys are the same values: then two ranges can be merged.
    #[must_use]
    pub fn mergeable(&self) -> bool {
        self.map.keys_are_equal() && self.source.capabilities().ordered && self.target.capabilities().ordered
    }

    /// Whether both can compute the same checksums for equal rows, and rows are not changed on the way.
    #[must_use]
    pub fn same_checksums(&self) -> bool {
        let dialect = &self.source.capabilities().checksum;
        self.mergeable()
            && self.map.is_identity()
            && dialect.is_some()
            && *dialect == self.target.capabilities().checksum
    }

    /// Whether bytes of the one go into the other as they are.
    #[must_use]
    pub fn same_bytes(&self) -> bool {
        match (self.source.raw(), self.target.raw()) {
            (Some(a), Some(b)) => self.map.is_identity() && a.format() == b.format(),
            _ => false,
        }
    }

    /// The key of a row of the source.
    #[must_use]
    pub fn source_key(&self, row: &Row) -> RowKey {
        row.key(&self.source.spec().key)
    }

    /// The key of a row of the target.
    #[must_use]
    pub fn target_key(&self, row: &Row) -> RowKey {
        row.key(&self.target.spec().key)
    }
}

/// Names of columns, for reports.
#[must_use]
pub fn column_names(schema: &TableSchema) -> Vec<String> {
    schema.columns.iter().map(|c| c.name.clone()).collect()
}
