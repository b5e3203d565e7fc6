//! SQLite files.
//!
//! | | |
//! |---|---|
//! | connections | one that writes, and as many readers as scans run at once; all on the blocking pool |
//! | writes | one immediate transaction per batch; a refused row is refused alone. Loads that wait for each other share one |
//! | values | integers as integers, bytes as blobs, everything else as its text form: so decimals, 64-bit unsigned and JSON want a column of text affinity |
//! | settings of the URL | `busy_timeout_ms` (default 10000), `max_pages`: the file is full when it has so many |
//!
//! The journal mode is the file owner's business and never changed.

mod connect;
mod errors;
mod read;
mod schema;
mod values;
mod write;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    Capabilities, Change, ChangeOutcome, Column, ColumnType, ErrorKind, Fit, OpenWrites, Page, Position, Range, Row,
    RowKey, Store, StoreError, StoreKind, Table, TableName, TableSchema, TableSpec, port::TableIdentity,
};
pub use connect::Sqlite;
use schema::Shape;

/// One opened table.
pub struct SqliteTable {
    store: Sqlite,
    spec: TableSpec,
    shape: Arc<Shape>,
    capabilities: Capabilities,
}

impl std::fmt::Debug for SqliteTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SqliteTable({} at {})", self.spec.name, self.store.location())
    }
}

#[async_trait]
impl Store for Sqlite {
    fn kind(&self) -> StoreKind {
        StoreKind::Sqlite
    }

    fn location(&self) -> String {
        self.shown().to_owned()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.reading(|c| {
            c.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
                .map_err(|e| errors::of("cannot read the file", e))
        })
        .await
    }

    async fn tables(&self) -> Result<Vec<TableName>, StoreError> {
        self.reading(|c| {
            let fail = |e| errors::of("cannot list the tables", e);
            let mut statement = c.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1").map_err(fail)?;
            let names = statement.query_map([], |r| r.get::<_, String>(0)).map_err(fail)?;
            names.map(|n| n.map(TableName::new).map_err(fail)).collect()
        })
        .await
    }

    async fn describe(&self, table: &TableName) -> Result<TableSchema, StoreError> {
        let (table, shown) = (table.clone(), self.shown().to_owned());
        self.reading(move |c| Ok(schema::describe(c, &table, &shown)?.schema)).await
    }

    fn fit(&self, wanted: &ColumnType, found: Option<&Column>) -> Fit {
        values::fit(wanted, found)
    }

    async fn table(&self, spec: &TableSpec) -> Result<Arc<dyn Table>, StoreError> {
        if spec.options.ttl_column.is_some() || spec.options.key_pattern.is_some() {
            return Err(StoreError::new(
                ErrorKind::Config,
                format!("table {}: `ttl` and `key` patterns are for key-value stores, not for sqlite", spec.name),
            ));
        }
        let (own, shown) = (spec.clone(), self.shown().to_owned());
        let shape = self.reading(move |c| Shape::new(&schema::describe(c, &own.name, &shown)?, &own, &shown)).await?;
        let capabilities = Capabilities {
            // A commit is over when it returns, or rolled back when the process is gone.
            linger: spec.options.linger.unwrap_or(Duration::ZERO),
            ordered: shape.ordered,
            fence: true,
            version_column: spec.options.version_column.clone(),
            checksum: None,
            keeps_decimal_scale: true,
            keeps_json_text: true,
            throttles: false,
            write_batch: 5_000,
        };
        Ok(Arc::new(SqliteTable { store: self.clone(), spec: spec.clone(), shape: Arc::new(shape), capabilities }))
    }

    async fn warnings(&self, table: &TableName) -> Result<Vec<String>, StoreError> {
        let table = table.clone();
        self.reading(move |c| schema::warnings(c, &table)).await
    }
}

#[async_trait]
impl Table for SqliteTable {
    fn spec(&self) -> &TableSpec {
        &self.spec
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn identity(&self) -> Result<Option<TableIdentity>, StoreError> {
        let table = self.spec.name.clone();
        let name = table.to_string().to_lowercase();
        let file = self
            .store
            .reading(move |c| {
                // The name by which SQLite itself opened it; links are followed.
                let opened = c.path().unwrap_or_default().to_owned();
                std::fs::canonicalize(&opened).map_err(|e| {
                    StoreError::new(ErrorKind::Unreachable, format!("cannot ask which file table {table} is in"))
                        .caused_by(e)
                })
            })
            .await?;
        Ok(Some(TableIdentity::lasting(format!("sqlite {} {name}", file.display()))))
    }

    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        let (shape, keys) = (self.shape.clone(), keys.to_vec());
        self.store.reading(move |c| read::by_key(c, &shape, &keys)).await
    }

    async fn scan(&self, range: &Range, position: &Position, limit: usize) -> Result<Page, StoreError> {
        let (shape, range, position) = (self.shape.clone(), range.clone(), position.clone());
        self.store.reading(move |c| read::page(c, &shape, &range, &position, limit)).await
    }

    async fn split(&self, rows: u64) -> Result<Vec<Range>, StoreError> {
        let shape = self.shape.clone();
        self.store.reading(move |c| read::cut(c, &shape, rows)).await
    }

    async fn estimate(&self) -> Result<u64, StoreError> {
        let shape = self.shape.clone();
        self.store.reading(move |c| read::count(c, &shape)).await
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<ChangeOutcome>, StoreError> {
        let (shape, changes) = (self.shape.clone(), changes.to_vec());
        self.store.writing(move |c| write::changes(c, &shape, &changes)).await
    }

    async fn load(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        self.store.loading(self.shape.clone(), rows).await
    }

    async fn open_writes(&self) -> Result<Option<OpenWrites>, StoreError> {
        Ok(Some(OpenWrites("the writer of the file".to_owned())))
    }

    async fn have_ended(&self, _: &OpenWrites) -> Result<bool, StoreError> {
        // There is one writer at a time: who can become it knows that the one before has ended.
        self.store.writing(write::nobody_else_writes).await
    }
}
