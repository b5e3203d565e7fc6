//! DynamoDB, and what speaks like it.
//!
//! | | |
//! |---|---|
//! | reads | always consistent (R22), never of an index; by key in batches of 100, scans by segment |
//! | writes | one conditional request each, many at once: a put where nothing is, an update or a delete of exactly what was seen; updates leave the attributes alone that are not in the spec |
//! | bulk | batches of 25 puts, which overwrite |
//! | slower | throttling, items left undone and conflicts with transactions are asked again with exponential backoff; the SDK's own retries are off, since a repeated put hides that the first one landed |
//! | values | the table at the head of `values.rs`; null is no attribute, and `NULL` reads as null |
//! | settings of the URL | `endpoint` (a loopback one gets made-up credentials), `write_timeout_ms` (default 10000; the linger is three times that), `concurrency` (requests under way, default 64), `attempts` (default 10) |
//!
//! Absent here: DAX, streams, and making tables.

mod connect;
mod documents;
mod errors;
#[cfg(feature = "testing")]
pub mod faults;
mod load;
mod pace;
mod read;
pub mod rest;
mod schema;
mod values;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::SemaphorePermit;

use crate::{
    Capabilities, Change, ChangeOutcome, Column, ColumnType, ErrorKind, Fit, Page, Position, Range, Row, RowKey, Store,
    StoreError, StoreKind, Table, TableName, TableSchema, TableSpec, port::TableIdentity,
};
pub use connect::Dynamodb;
use schema::Shape;

/// One opened table.
pub struct DynamodbTable {
    store: Dynamodb,
    spec: TableSpec,
    shape: Shape,
    capabilities: Capabilities,
}

impl std::fmt::Debug for DynamodbTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DynamodbTable({} at {})", self.spec.name, self.store.location())
    }
}

impl DynamodbTable {
    /// Room for one more request.
    async fn permit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.store
            .requests()
            .acquire()
            .await
            .map_err(|e| StoreError::new(ErrorKind::Protocol, "the store is closed").caused_by(e))
    }
}

#[async_trait]
impl Store for Dynamodb {
    fn kind(&self) -> StoreKind {
        StoreKind::Dynamodb
    }

    fn location(&self) -> String {
        self.shown().to_owned()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let answer = self.client().list_tables().limit(1).send().await;
        match answer.map_err(|e| errors::of("cannot ask for the tables", self.shown(), e).error) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == ErrorKind::Lost => Err(StoreError::new(ErrorKind::Unreachable, e.to_string())),
            Err(e) => Err(e),
        }
    }

    async fn tables(&self) -> Result<Vec<TableName>, StoreError> {
        let mut out = Vec::new();
        let mut from = None;
        loop {
            let page = self
                .client()
                .list_tables()
                .set_exclusive_start_table_name(from)
                .send()
                .await
                .map_err(|e| errors::of("cannot list the tables", self.shown(), e).error)?;
            out.extend(page.table_names.unwrap_or_default().into_iter().map(TableName::new));
            match page.last_evaluated_table_name {
                Some(name) => from = Some(name),
                None => return Ok(out),
            }
        }
    }

    async fn describe(&self, table: &TableName) -> Result<TableSchema, StoreError> {
        schema::schema(table, self.shown(), &self.table_description(table).await?)
    }

    fn fit(&self, wanted: &ColumnType, found: Option<&Column>) -> Fit {
        values::fit(wanted, found)
    }

    async fn table(&self, spec: &TableSpec) -> Result<Arc<dyn Table>, StoreError> {
        let shape = Shape::new(self.shown(), spec, &self.table_description(&spec.name).await?)?;
        let capabilities = Capabilities {
            linger: spec.options.linger.unwrap_or(self.timeout() * 3),
            ordered: false,
            fence: true,
            version_column: spec.options.version_column.clone(),
            checksum: None,
            keeps_decimal_scale: shape.keeps_decimal_scale(),
            keeps_json_text: shape.keeps_json_text(),
            throttles: true,
            write_batch: 500,
        };
        Ok(Arc::new(DynamodbTable { store: self.clone(), spec: spec.clone(), shape, capabilities }))
    }

    async fn warnings(&self, table: &TableName) -> Result<Vec<String>, StoreError> {
        self.warnings_of(table).await
    }
}

#[async_trait]
impl Table for DynamodbTable {
    fn spec(&self) -> &TableSpec {
        &self.spec
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn identity(&self) -> Result<Option<TableIdentity>, StoreError> {
        let description = self.store.table_description(&self.spec.name).await?;
        // The id is new for each table that was ever made; what speaks like DynamoDB may have none, and one ARN for all.
        let own = match (description.table_id(), description.table_arn()) {
            (Some(id), _) => id.to_owned(),
            (None, Some(arn)) => format!("{} {arn}", self.store.shown()),
            (None, None) => self.shape.shown.clone(),
        };
        Ok(Some(TableIdentity::lasting(format!("dynamodb {own}"))))
    }

    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, StoreError> {
        self.read_keys(keys).await
    }

    async fn scan(&self, range: &Range, position: &Position, limit: usize) -> Result<Page, StoreError> {
        self.page(range, position, limit).await
    }

    async fn split(&self, rows: u64) -> Result<Vec<Range>, StoreError> {
        self.cut(rows).await
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
}
