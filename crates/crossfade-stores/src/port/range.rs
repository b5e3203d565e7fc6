//! Parts of a table, and reading one page by page with an explicit end.

use crate::{Row, RowKey};

/// A part of a table that can be scanned on its own.
#[derive(Clone, PartialEq, Debug)]
pub enum Range {
    /// The keys from `from` (inclusive) to `to` (exclusive) in this table's own scan order; `None` is unbounded.
    Keys {
        /// First key, inclusive.
        from: Option<RowKey>,
        /// First key that is not part of it.
        to: Option<RowKey>,
    },
    /// One of `of` disjoint segments that together are the whole table, in no order.
    Segment {
        /// 0..of
        index: u32,
        /// How many there are.
        of: u32,
    },
}

impl Range {
    /// The whole table.
    pub const ALL: Range = Range::Keys { from: None, to: None };
}

/// Where to go on in a [`Range`].
#[derive(Clone, PartialEq, Debug)]
pub enum Position {
    /// At its beginning.
    Start,
    /// Behind this key (for ordered scans).
    After(RowKey),
    /// Where the store said, in its own words (for segment scans); only good for the same range.
    Cursor(Vec<u8>),
}

/// What is left of a range after a page.
#[derive(Clone, PartialEq, Debug)]
pub enum Rest {
    /// Go on here. Even an empty page may say this.
    More(Position),
    /// The store has said that this was the end. Only the store's own word makes this; a lost connection is an error.
    End,
}

/// Some rows of a range.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// In key order if the table's capabilities say `ordered`.
    pub rows: Vec<Row>,
    /// Whether there is more.
    pub rest: Rest,
}
