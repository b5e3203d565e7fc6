//! PostgreSQL, from version 13 (checksums from 14).
//!
//! | | |
//! |---|---|
//! | reads | by key in one query; scans page by page in the key's index |
//! | writes | inserts above a few go by `COPY` into a temporary table and `ON CONFLICT (key) DO NOTHING`; the rest are pipelined statements that compare the whole row as text, all in one transaction, in key order |
//! | bulk | binary `COPY`, both ways; whether its rows are still the same is told by the transactions that wrote them |
//! | settings of the URL | those of libpq, and `pool` (connections, default 8), `write_timeout_ms` (default 10000: also half of the linger) |
//!
//! Absent here: TLS. A URL with `sslmode=require` is refused by the driver.

mod binary;
mod checksum;
mod connect;
mod copy;
mod errors;
mod fences;
mod identity;
mod numeric;
mod read;
mod schema;
mod statements;
mod tuples;
mod versions;
mod write;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    Capabilities, Change, ChangeOutcome, Checksum, Column, ColumnType, ErrorKind, Fit, OpenWrites, Page, Position,
    Range, Row, RowKey, Store, StoreError, StoreKind, Table, TableName, TableSchema, TableSpec,
    port::{ChecksumDialect, RawFormat, RawRows, TableIdentity},
    value::fit_between,
};
pub use connect::Postgres;
use statements::Shape;

/// One opened table.
pub struct PostgresTable {
    store: Postgres,
    spec: TableSpec,
    shape: Shape,
    capabilities: Capabilities,
    raw: RawFormat,
}

impl std::fmt::Debug for PostgresTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresTable({} at {})", self.spec.name, self.store.location())
    }
}

#[async_trait]
impl Store for Postgres {
    fn kind(&self) -> StoreKind {
        StoreKind::Postgres
    }

    fn location(&self) -> String {
        self.shown().to_owned()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let client = self.client().await?;
        client.batch_execute("SELECT 1").await.map_err(|e| errors::of("cannot ask the database anything", e))
    }

    async fn tables(&self) -> Result<Vec<TableName>, StoreError> {
        schema::tables(self).await
    }

    async fn describe(&self, table: &TableName) -> Result<TableSchema, StoreError> {
        Ok(schema::describe(self, table).await?.schema)
    }

    fn fit(&self, wanted: &ColumnType, found: Option<&Column>) -> Fit {
        match found {
            Some(found) => match (wanted, fit_between(wanted, found)) {
                (ColumnType::Text { .. }, Fit::Lossless) if found.native.starts_with("character(") => {
                    Fit::Lossy("`character(n)` pads with blanks: use `text`")
                }
                (_, fit) => fit,
            },
            None => match wanted {
                ColumnType::Uint64 => Fit::Refused("postgresql has no unsigned integers: use `numeric(20,0)`"),
                ColumnType::Native { engine, .. } if engine != "postgres" => {
                    Fit::Refused("a type that only one engine knows")
                }
                ColumnType::Json => Fit::Lossless,
                _ => Fit::Lossless,
            },
        }
    }

    async fn table(&self, spec: &TableSpec) -> Result<Arc<dyn Table>, StoreError> {
        let described = schema::describe(self, &spec.name).await?;
        if spec.options.ttl_column.is_some() || spec.options.key_pattern.is_some() {
            return Err(StoreError::new(
                ErrorKind::Config,
                format!("table {}: `ttl` and `key` patterns are for key-value stores, not for postgres", spec.name),
            ));
        }
        schema::refuse_hidden_rows(self, &spec.name, &described).await?;
        let shape = Shape::new(self, spec, &described)?;
        let capabilities = Capabilities {
            linger: spec.options.linger.unwrap_or(self.write_timeout() * 2),
            ordered: shape.ordered,
            fence: true,
            version_column: spec.options.version_column.clone(),
            checksum: (described.version >= 140_000 && shape.ordered && shape.may_write().is_ok())
                .then(|| ChecksumDialect(format!("postgres row hash xor 2: {}", shape.signature()))),
            keeps_decimal_scale: shape.keeps_decimal_scale(),
            keeps_json_text: shape.keeps_json_text(),
            throttles: false,
            write_batch: 5_000,
        };
        let raw = RawFormat(format!("postgres binary copy: {}", shape.signature()));
        Ok(Arc::new(PostgresTable { store: self.clone(), spec: spec.clone(), shape, capabilities, raw }))
    }

    async fn warnings(&self, table: &TableName) -> Result<Vec<String>, StoreError> {
        schema::warnings(self, table).await
    }
}

#[async_trait]
impl Table for PostgresTable {
    fn spec(&self) -> &TableSpec {
        &self.spec
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn identity(&self) -> Result<Option<TableIdentity>, StoreError> {
        identity::of(&self.store, &self.spec.name, &self.shape.table).await.map(Some)
    }

    async fn repeated_keys(&self, most: usize) -> Result<Vec<RowKey>, StoreError> {
        self.repeated(most).await
    }

    async fn deletes_cascade(&self) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT FROM pg_constraint WHERE confrelid = to_regclass($1) AND contype = 'f' AND confdeltype IN ('c', 'n', 'd'))";
        let fail = |e| errors::of(format!("cannot look at the foreign keys of {}", self.shape.shown), e);
        Ok(self.store.client().await?.query_one(sql, &[&self.shape.table]).await.map_err(fail)?.get(0))
    }

    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        self.read_keys(keys).await
    }

    async fn scan(&self, range: &Range, position: &Position, limit: usize) -> Result<Page, StoreError> {
        self.page(range, position, limit).await
    }

    async fn split(&self, rows: u64) -> Result<Vec<Range>, StoreError> {
        self.ranges(rows).await
    }

    async fn estimate(&self) -> Result<u64, StoreError> {
        self.about().await
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
        self.write_all(changes).await
    }

    async fn load(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        self.load_rows(&rows).await
    }

    fn raw(&self) -> Option<&dyn RawRows> {
        self.shape.is_plain().then_some(self as &dyn RawRows)
    }

    async fn fences(&self, rows: u64) -> Result<Vec<RowKey>, StoreError> {
        self.drawn(rows).await
    }

    async fn checksums(&self, fences: &[RowKey]) -> Result<Vec<Checksum>, StoreError> {
        self.sums(fences).await
    }

    async fn open_writes(&self) -> Result<Option<OpenWrites>, StoreError> {
        let client = self.store.client().await?;
        let row = client
            // Our own new number is above all that are open. (A snapshot's xmax is not: it is the last that has ended, plus one.)
            .query_one("SELECT pg_current_xact_id()::text", &[])
            .await
            .map_err(|e| errors::of("cannot ask which transactions are open", e))?;
        Ok(Some(OpenWrites(row.get(0))))
    }

    async fn have_ended(&self, token: &OpenWrites) -> Result<bool, StoreError> {
        let client = self.store.client().await?;
        let row = client
            .query_one("SELECT pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8", &[&token.0])
            .await
            .map_err(|e| errors::of("cannot ask which transactions have ended", e))?;
        Ok(row.get(0))
    }
}

/// How long a write may run in the server when the URL does not say.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
