//! The two traits: a [`Store`] opens tables, a [`Table`] reads and writes rows.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::{Change, ChangeOutcome, ErrorKind, Page, Position, Range, StoreError};
use crate::{
    schema::{Column, ColumnType, Fit, TableName, TableSchema, TableSpec},
    url::StoreKind,
    value::{Row, RowKey},
};

/// A database. Cheap to share; holds a pool of connections or a client.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Which engine.
    fn kind(&self) -> StoreKind;

    /// Where it is, without credentials, for messages.
    fn location(&self) -> String;

    /// Asks the store something small. Called by `check`, and before a long run.
    /// `Err` is `Unreachable`, `Denied` or `Config`, and says what the person can do.
    async fn ping(&self) -> Result<(), StoreError>;

    /// The tables of this store that the login can see; for `init`. Empty where the store cannot tell.
    async fn tables(&self) -> Result<Vec<TableName>, StoreError>;

    /// What the table looks like in this store. A store without columns (DynamoDB, Redis) gives its key attributes and says `open`.
    /// `Err` is `NoSuchTable` if it is not there or has no primary key.
    async fn describe(&self, table: &TableName) -> Result<TableSchema, StoreError>;

    /// How values of type `wanted` survive in this store: in the column `found`, or (for stores without columns) in an attribute.
    /// Pure: the generated tables of `docs/reference/types.md` come from it.
    fn fit(&self, wanted: &ColumnType, found: Option<&Column>) -> Fit;

    /// Opens a table to read and write rows of exactly `spec.columns`, in that order, as values of exactly these types:
    /// a source is opened with its own described columns, a target with the mapped columns of its source.
    /// Refuses with `Unrepresentable` a column that does not [`Store::fit`] (unless lossy and accepted), with `NoSuchTable`/`SchemaChanged` what is missing.
    /// Columns of the table that are not in the spec are neither read nor written (inserting must work without them).
    /// Columns that the store computes are read and compared, and never written: a row that is put may come back with another value there.
    async fn table(&self, spec: &TableSpec) -> Result<Arc<dyn Table>, StoreError>;

    /// Things about this table that a person should know before migrating it (triggers and defaults that write by themselves,
    /// missing rights, who makes ids): lowercase fragments that name the table. For `check`.
    async fn warnings(&self, table: &TableName) -> Result<Vec<String>, StoreError> {
        let _ = table;
        Ok(Vec::new())
    }
}

/// The rows of one table, as opened by [`Store::table`].
///
/// All methods may be called concurrently. Dropping the future of a read is harmless; dropping the future of [`Table::write`] or
/// [`Table::load`] leaves its outcome unknown, like an [`ChangeOutcome::Ambiguous`]: the effect may land within the linger.
/// Values come back as the types of the spec; a stored value that cannot be one is `Unrepresentable`, with column and key digest,
/// and never replaced by something near it.
#[async_trait]
pub trait Table: Send + Sync + fmt::Debug {
    /// The spec it was opened with.
    fn spec(&self) -> &TableSpec;

    /// What this table can do, besides what every table can.
    fn capabilities(&self) -> &Capabilities;

    /// Which table this is, by the server's own word: two URLs that lead to one table give equal identities. `None` for a table that no server holds
    /// (a test double).
    /// `Err` is what the server said; a server that cannot tell is `Unsupported`.
    async fn identity(&self) -> Result<Option<TableIdentity>, StoreError> {
        Ok(None)
    }

    /// Some of the keys that more than one row of this table has, at most `most`. Empty wherever the store's own primary key rules them out.
    async fn repeated_keys(&self, most: usize) -> Result<Vec<RowKey>, StoreError> {
        let _ = most;
        Ok(Vec::new())
    }

    /// Whether deleting a row of this table may delete or change rows of other tables by itself (a foreign key that cascades).
    async fn deletes_cascade(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Reads these keys, linearizably (R22: consistent reads, no index, never a replica), each as of some moment after the call.
    /// The answer has the length and the order of `keys`. Repeating a key is allowed. Stores split large calls themselves.
    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError>;

    /// The next rows of `range` after `position`, about `limit` of them (a store with its own page size may give fewer or,
    /// if one partition holds them, more). Each page is as of some moment after the call; two pages need not be of one moment.
    /// A row that exists throughout the scan is given at least once; a segment scan may repeat a row.
    /// [`super::Rest::End`] only when the store said so.
    async fn scan(&self, range: &Range, position: &Position, limit: usize) -> Result<Page, StoreError>;

    /// Cuts the whole table into ranges of about `rows` rows. They are disjoint and leave nothing out, also of rows that come later.
    async fn split(&self, rows: u64) -> Result<Vec<Range>, StoreError>;

    /// About how many rows there are, as cheaply as can be; for progress bars only.
    async fn estimate(&self) -> Result<u64, StoreError>;

    /// Conditional writes, each on its own row (keys within one call are distinct), each atomic, in any order, not atomic together.
    /// The comparison with `seen` is byte-exact: a numerically or collation-equal value is another value.
    /// The answer has the length and the order of `changes`. A refusal of one row does not stop the others.
    /// `Err` means that nothing of the whole call was or will be done (`Unreachable`, `Throttled` before the start, ...);
    /// a connection that is lost after something was sent is `Ambiguous` per row, not `Err`.
    /// Repeating a call is safe by construction: what was applied loses the race the second time.
    async fn write(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError>;

    /// The bulk path: puts rows, unconditionally, as fast as the store can. Lawful only for ranges that no live write can touch (R9).
    /// When it returns `Ok` all rows are durable. On `Err` some may be: reconcile the range, do not assume.
    /// A store may refuse existing keys (`Refused`) or overwrite them; either way the caller may not rely on it.
    async fn load(&self, rows: Vec<Row>) -> Result<(), StoreError>;

    /// The bulk path without decoding, between two tables of the same [`RawFormat`]; `None` where there is none.
    fn raw(&self) -> Option<&dyn RawRows> {
        None
    }

    /// Keys, sorted, that cut the table into parts of about `rows` rows on average, as cheaply as can be: not exact, and not the same at the next call.
    async fn fences(&self, rows: u64) -> Result<Vec<RowKey>, StoreError> {
        let upper = |range| match range {
            Range::Keys { to, .. } => to,
            Range::Segment { .. } => None,
        };
        Ok(self.split(rows).await?.into_iter().filter_map(upper).collect())
    }

    /// One checksum for each part of the table between two neighbouring `fences` (sorted keys; n fences make n+1 parts), in one pass.
    /// Only comparable where [`Capabilities::checksum`] of both tables is the same. `Unsupported` without it.
    async fn checksums(&self, fences: &[RowKey]) -> Result<Vec<Checksum>, StoreError> {
        let _ = fences;
        Err(StoreError::new(ErrorKind::Unsupported, "this store computes no checksums"))
    }

    /// A token for the transactions that may have written and are not yet committed or rolled back, as of now (R9: late commits).
    /// `None` where a write is visible when it is acknowledged and no transaction can be open.
    async fn open_writes(&self) -> Result<Option<OpenWrites>, StoreError> {
        Ok(None)
    }

    /// Whether all transactions of `token` have ended. Poll it.
    async fn have_ended(&self, token: &OpenWrites) -> Result<bool, StoreError> {
        let _ = token;
        Ok(true)
    }
}

/// Which table a [`Table`] is: the same for every URL that leads to it. Holds no credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableIdentity {
    /// As the running server tells it. Compare these of two tables that are open now.
    pub live: String,
    /// What survives a restart of the server. Record this one, to recognise the table later.
    pub lasting: String,
}

impl TableIdentity {
    /// An identity that a restart of the server does not change.
    #[must_use]
    pub fn lasting(text: impl Into<String>) -> Self {
        let text = text.into();
        TableIdentity { live: text.clone(), lasting: text }
    }
}

/// The transactions that were open at a moment, in the store's own words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenWrites(pub String);

/// What a table can do. What is missing is declared; the plan refuses, with the reason, to promise what needs it.
#[derive(Clone, PartialEq, Debug)]
pub struct Capabilities {
    /// The longest time for which an ambiguous write may still land.
    pub linger: Duration,
    /// Whether `scan` gives rows in [`RowKey`] order and `Range::Keys` works with any keys: then two tables can be merged as streams.
    /// Declared per table: a PostgreSQL text key under a linguistic collation is not in that order.
    pub ordered: bool,
    /// Whether the store can check an epoch row within a write (R8).
    pub fence: bool,
    /// A column that changes with every write of a row, if one was declared: compare-and-set goes by it.
    pub version_column: Option<String>,
    /// The dialect of [`Table::checksums`].
    pub checksum: Option<ChecksumDialect>,
    /// Decimals come back with the scale they were put with (`1.0` is not `1.00`). Where false, decimals compare by value.
    pub keeps_decimal_scale: bool,
    /// JSON comes back as the text that was put. Where false, JSON compares by value (key order and spaces do not count).
    pub keeps_json_text: bool,
    /// Whether the store itself says [`ErrorKind::Throttled`] when it is asked for more than it has to give: then its latency tells nothing about what others
    /// feel, and nobody has to find out how much it takes.
    pub throttles: bool,
    /// Rows of one `write` call that the store takes well; larger calls work and are split.
    pub write_batch: usize,
}

/// Two tables of the same dialect give the same checksum for the same rows, bit for bit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChecksumDialect(pub String);

/// Rows and a digest of them that does not depend on their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checksum {
    /// How many rows.
    pub rows: u64,
    /// Exclusive or of the rows' digests.
    pub digest: u64,
}

/// A byte format that goes from one table into another without being understood on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawFormat(pub String);

/// The bytes of a range. It ends with `None` only when the store said that it was the end.
pub type RawDump = BoxStream<'static, Result<Bytes, StoreError>>;

/// A moment of a store, in its own words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment(pub String);

/// The rows of a range, told apart by when they were written.
#[derive(Clone, PartialEq, Debug)]
pub struct Since {
    /// How many rows are the very same versions that were there at the moment, and all the time since.
    pub old: u64,
    /// The keys of all others: written since, or perhaps since.
    pub newer: Vec<RowKey>,
}

/// The bulk path without decoding.
#[async_trait]
pub trait RawRows: Send + Sync {
    /// Two tables with equal formats may be joined.
    fn format(&self) -> &RawFormat;

    /// The rows of a range as of one moment.
    async fn dump(&self, range: &Range) -> Result<RawDump, StoreError>;

    /// As [`RawRows::dump`], without the rows of some keys.
    async fn dump_without(&self, range: &Range, keys: &[RowKey]) -> Result<RawDump, StoreError>;

    /// The keys of the rows of a dump, whose bytes these are from its beginning to its end.
    fn keys_in(&self, dump: &[Bytes]) -> Result<Vec<RowKey>, StoreError>;

    /// Now: every row that a later call sees was there at this moment, or is newer. `Unsupported` where the store does not keep when a row was written.
    async fn moment(&self) -> Result<Moment, StoreError>;

    /// The rows of a range, without those of some keys, told apart by whether they are newer than a moment; all as of one later moment.
    async fn since(&self, range: &Range, without: &[RowKey], moment: &Moment) -> Result<Since, StoreError>;

    /// Those of some rows that are the very same versions that were there at the moment, and all the time since.
    async fn old_among(&self, keys: &[RowKey], moment: &Moment) -> Result<Vec<RowKey>, StoreError>;

    /// The first keys of a range, in order, at most so many.
    async fn keys(&self, range: &Range, most: usize) -> Result<Vec<RowKey>, StoreError>;

    /// Puts the rows of a dump as one transaction: all of them, or none. `Refused` if one of the keys is there: nothing is ever overwritten. How many they are.
    /// On `Ok` it is durable. On `Err` nothing was done, except `Lost`, where it may have been, or may be within the linger.
    async fn insert_all(&self, dump: RawDump) -> Result<u64, StoreError>;

    /// Loads a dump as one transaction and returns the number of rows, durable. All or nothing: on `Err` (also an `Err` in the dump) nothing is loaded,
    /// except `Lost`, where it is not known.
    async fn load(&self, dump: RawDump) -> Result<u64, StoreError>;
}
