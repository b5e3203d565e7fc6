//! The databases: the application's own code, which crossfade never sees.

pub(crate) mod dynamo;
pub(crate) mod postgres;

use crate::dao::{Row, RowError, RowId, Rows};
use crossfade::rows::{Cursor, Page};
use dynamo::DynamoRows;
use postgres::PostgresRows;

/// A side, whatever it is.
#[derive(Clone)]
pub(crate) enum Store {
    Postgres(PostgresRows),
    Dynamo(DynamoRows),
}

impl Store {
    /// Of this URL.
    pub(crate) fn new(name: &'static str, url: &str, connections: usize) -> anyhow::Result<Store> {
        if url.starts_with("dynamodb://") {
            return Ok(Store::Dynamo(DynamoRows::new(name, url)?));
        }
        Ok(Store::Postgres(PostgresRows::new(name, url, connections)?))
    }
}

/// Makes the table, past everything.
pub(crate) async fn prepare(url: &str) -> anyhow::Result<()> {
    if url.starts_with("dynamodb://") { dynamo::prepare(url).await } else { postgres::prepare(url).await }
}

/// Every row, past everything that is tested.
pub(crate) async fn dump(url: &str) -> anyhow::Result<Vec<Row>> {
    if url.starts_with("dynamodb://") { dynamo::dump(url).await } else { postgres::dump(url).await }
}

macro_rules! on {
    ($store:expr, $rows:ident => $call:expr) => {
        match $store {
            Store::Postgres($rows) => $call.await,
            Store::Dynamo($rows) => $call.await,
        }
    };
}

impl Rows for Store {
    async fn put(&self, id: &RowId, value: &str) -> Result<(), RowError> {
        on!(self, rows => rows.put(id, value))
    }

    async fn delete(&self, id: &RowId) -> Result<(), RowError> {
        on!(self, rows => rows.delete(id))
    }

    async fn increment(&self, id: &RowId) -> Result<i64, RowError> {
        on!(self, rows => rows.increment(id))
    }

    async fn set(&self, id: &RowId, count: i64) -> Result<(), RowError> {
        on!(self, rows => rows.set(id, count))
    }

    async fn claim(&self, id: &RowId, owner: &str) -> Result<String, RowError> {
        on!(self, rows => rows.claim(id, owner))
    }

    async fn get(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        on!(self, rows => rows.get(id))
    }

    async fn snapshot(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        on!(self, rows => rows.snapshot(id))
    }

    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError> {
        on!(self, rows => rows.restore(id, seen, row))
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError> {
        on!(self, rows => rows.scan(after, limit))
    }
}
