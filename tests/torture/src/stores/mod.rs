//! The databases: the application's own code, which crossfade never sees.

pub(crate) mod dynamo;
mod lending;
pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod redis;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests;

use crate::broken::{Broken, believe, believed};
use crate::dao::{BareSessions, Orders, Row, RowError, RowId, Rows, Sessions};
use anyhow::bail;
use crossfade::rows::{Cursor, Page};
use dynamo::DynamoRows;
use mysql::MysqlRows;
use postgres::PostgresRows;
use redis::RedisRows;
use std::collections::HashMap;
use std::time::Duration;

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

/// What the orders and the sessions need beside [`Rows`].
trait Base {
    /// The row is this one, whatever was there.
    async fn store(&self, row: &Row) -> Result<(), RowError>;

    /// A row with an id that the database makes.
    async fn create(&self, value: &str, count: i64) -> Result<Row, RowError>;

    /// Every row goes whose count is at most this.
    async fn expire(&self, until: i64) -> Result<(), RowError>;
}

impl Store {
    /// The same side, another table of it.
    pub(crate) fn table(&self, table: &'static str) -> Store {
        let mut other = self.clone();
        match &mut other {
            Store::Postgres(rows) => rows.table = table,
            Store::Mysql(rows) => rows.table = table,
            Store::Redis(rows) => rows.table = table,
            Store::Dynamo(rows) => rows.table = table,
        }
        other
    }

    /// Of this URL, with the first of its tables.
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

/// Makes the tables, past everything. The side that has this first id of an order makes every second one after it.
pub(crate) async fn prepare(url: &str, first_id: u64) -> anyhow::Result<()> {
    match Scheme::of(url)? {
        Scheme::Postgres => postgres::prepare(url, first_id).await,
        Scheme::Mysql => mysql::prepare(url, first_id).await,
        Scheme::Redis => redis::prepare(url, first_id).await,
        Scheme::Dynamo => dynamo::prepare(url, first_id).await,
    }
}

/// Every row of a table, past everything that is tested.
pub(crate) async fn dump(url: &str, table: &str) -> anyhow::Result<Vec<Row>> {
    match Scheme::of(url)? {
        Scheme::Postgres => postgres::dump(url, table).await,
        Scheme::Mysql => mysql::dump(url, table).await,
        Scheme::Redis => redis::dump(url, table).await,
        Scheme::Dynamo => dynamo::dump(url, table).await,
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

impl Store {
    /// [`Broken::ReplayRepair`]: waits, then puts the row over whatever is there by then.
    async fn replay(&self, id: &RowId, row: Option<&Row>) -> Result<bool, RowError> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for _ in 0..8 {
            let there = on!(self, rows => rows.snapshot(id))?;
            if on!(self, rows => rows.restore(id, there.as_ref(), row))? {
                believe(id, row);
                return Ok(true);
            }
        }
        Ok(false)
    }
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
        if (Broken::ReplayRepair.is_run() || Broken::InsertIfAbsent.is_run())
            && let Some(row) = believed(id)
        {
            return Ok(row);
        }
        on!(self, rows => rows.snapshot(id))
    }

    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError> {
        if Broken::ReplayRepair.is_run() {
            return self.replay(id, row).await;
        }
        if Broken::InsertIfAbsent.is_run() {
            if row.is_some() {
                on!(self, rows => rows.restore(id, None, row))?;
            }
            believe(id, row);
            return Ok(true);
        }
        on!(self, rows => rows.restore(id, seen, row))
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError> {
        on!(self, rows => rows.scan(after, limit))
    }
}

impl Orders for Store {
    async fn create(&self, owner: i64, value: &str) -> Result<Row, RowError> {
        on!(self, rows => Base::create(rows, value, owner))
    }

    async fn store(&self, order: &Row) -> Result<(), RowError> {
        on!(self, rows => Base::store(rows, order))
    }

    async fn cancel(&self, _owner: i64, id: &RowId) -> Result<(), RowError> {
        Rows::delete(self, id).await
    }

    async fn order(&self, _owner: i64, id: &RowId) -> Result<Option<Row>, RowError> {
        Rows::get(self, id).await
    }

    async fn snapshot(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        Rows::snapshot(self, id).await
    }

    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError> {
        Rows::restore(self, id, seen, row).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError> {
        Rows::scan(self, after, limit).await
    }
}

impl Sessions for Store {
    async fn open(&self, session: &Row) -> Result<(), RowError> {
        on!(self, rows => Base::store(rows, session))
    }

    async fn close(&self, id: &RowId) -> Result<(), RowError> {
        Rows::delete(self, id).await
    }

    async fn session(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        Rows::get(self, id).await
    }

    async fn expire(&self, until: i64) -> Result<(), RowError> {
        on!(self, rows => Base::expire(rows, until))
    }

    async fn snapshot(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        Rows::snapshot(self, id).await
    }

    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError> {
        Rows::restore(self, id, seen, row).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError> {
        Rows::scan(self, after, limit).await
    }
}

impl BareSessions for Store {
    async fn open(&self, session: &Row) -> Result<(), RowError> {
        Sessions::open(self, session).await
    }

    async fn close(&self, id: &RowId) -> Result<(), RowError> {
        Rows::delete(self, id).await
    }

    async fn session(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        Rows::get(self, id).await
    }

    async fn expire(&self, until: i64) -> Result<(), RowError> {
        Sessions::expire(self, until).await
    }
}
