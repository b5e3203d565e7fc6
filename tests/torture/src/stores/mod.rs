//! The databases: the application's own code, which crossfade never sees.

pub(crate) mod dynamo;
mod lending;
pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod redis;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests;

use crate::dao::{Row, RowError, RowId, Rows};
use anyhow::bail;
use crossfade::rows::{Cursor, Page};
use dynamo::DynamoRows;
use mysql::MysqlRows;
use postgres::PostgresRows;
use redis::RedisRows;
use std::collections::HashMap;

/// A side, whatever it is.
#[derive(Clone)]
pub(crate) enum Store {
    Postgres(PostgresRows),
    Mysql(MysqlRows),
    Redis(RedisRows),
    Dynamo(DynamoRows),
}

/// Which database a URL is of. The URL may hold a password: it is not repeated.
enum Scheme {
    Postgres,
    Mysql,
    Redis,
    Dynamo,
}

impl Scheme {
    fn of(url: &str) -> anyhow::Result<Scheme> {
        Ok(match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("postgres") => Scheme::Postgres,
            Some("mysql") => Scheme::Mysql,
            Some("redis") => Scheme::Redis,
            Some("dynamodb") => Scheme::Dynamo,
            Some(_) | None => bail!("no store has such a URL"),
        })
    }
}

impl Store {
    /// Of this URL.
    pub(crate) fn new(name: &'static str, url: &str, connections: usize) -> anyhow::Result<Store> {
        Ok(match Scheme::of(url)? {
            Scheme::Postgres => Store::Postgres(PostgresRows::new(name, url, connections)?),
            Scheme::Mysql => Store::Mysql(MysqlRows::new(name, url, connections)?),
            Scheme::Redis => Store::Redis(RedisRows::new(name, url, connections)?),
            Scheme::Dynamo => Store::Dynamo(DynamoRows::new(name, url)?),
        })
    }
}

/// What was found of these rows, in their order.
fn aligned(ids: &[RowId], found: Vec<Row>) -> Vec<Option<Row>> {
    let mut found: HashMap<RowId, Row> = found.into_iter().map(|row| (row.id.clone(), row)).collect();
    ids.iter().map(|id| found.remove(id)).collect()
}

/// Makes the table, past everything.
pub(crate) async fn prepare(url: &str) -> anyhow::Result<()> {
    match Scheme::of(url)? {
        Scheme::Postgres => postgres::prepare(url).await,
        Scheme::Mysql => mysql::prepare(url).await,
        Scheme::Redis => redis::prepare(url).await,
        Scheme::Dynamo => dynamo::prepare(url).await,
    }
}

/// Every row, past everything that is tested.
pub(crate) async fn dump(url: &str) -> anyhow::Result<Vec<Row>> {
    match Scheme::of(url)? {
        Scheme::Postgres => postgres::dump(url).await,
        Scheme::Mysql => mysql::dump(url).await,
        Scheme::Redis => redis::dump(url).await,
        Scheme::Dynamo => dynamo::dump(url).await,
    }
}

// In a box: the library holds such a call many times over, and one to DynamoDB is large without optimisation.
macro_rules! on {
    ($store:expr, $rows:ident => $call:expr) => {
        match $store {
            Store::Postgres($rows) => Box::pin($call).await,
            Store::Mysql($rows) => Box::pin($call).await,
            Store::Redis($rows) => Box::pin($call).await,
            Store::Dynamo($rows) => Box::pin($call).await,
        }
    };
}

impl Rows for Store {
    async fn put(&self, id: &RowId, value: &str) -> Result<(), RowError> {
        on!(self, rows => rows.put(id, value))
    }

    async fn put_all(&self, rows: &[Row]) -> Result<(), RowError> {
        on!(self, store => store.put_all(rows))
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

    async fn get_all(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, RowError> {
        on!(self, rows => rows.get_all(ids))
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
