//! Rows in PostgreSQL.
//!
//! A call that is given up takes its connection along: the next one does not queue behind it. What the server still
//! does for it is bounded by `statement_timeout`.

use super::Base;
use crate::dao::{Row, RowError, RowId, Rows, TABLES};
use anyhow::Context;
use crossfade::rows::{Cursor, Page};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, NoTls};

/// How long a call may take: then nobody knows what it did.
const PATIENCE: Duration = Duration::from_millis(900);

/// How long a connection may take. Nothing was sent by then, so no linger counts it; given up sooner, every caller on a
/// slow machine knocks again before a restarted server has let anybody in.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// `cohort` is for the command, which decides by columns; no statement of the application names it.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS @t (
    id text COLLATE \"C\" PRIMARY KEY, value text NOT NULL, count bigint NOT NULL,
    cohort text COLLATE \"C\" GENERATED ALWAYS AS (split_part(id, '.', 1)) STORED)";

/// Rows in one of the tables; `@t` in a statement is its name.
#[derive(Clone)]
pub(crate) struct PostgresRows {
    pool: Pool,
    name: &'static str,
    pub(super) table: &'static str,
}

/// A connection while a call uses it. Dropped without [`Lent::back`], it is closed.
struct Lent(Option<Object>);

impl Lent {
    /// Its call has ended, and nothing of it is on its way.
    fn back(mut self) {
        self.0.take();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

/// Makes the tables, past everything. The ids of orders go up by two from the first.
pub(crate) async fn prepare(url: &str, first_id: u64) -> anyhow::Result<()> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("cannot connect to PostgreSQL")?;
    let driven = tokio::spawn(connection);
    for table in TABLES {
        client.batch_execute(&TABLE.replace("@t", table)).await.context("cannot make a table")?;
    }
    let ids = format!("CREATE SEQUENCE IF NOT EXISTS order_ids START {first_id} INCREMENT 2");
    client.batch_execute(&ids).await.context("cannot make the ids of orders")?;
    drop(client);
    // It ends with its client.
    let _ended = driven.await;
    Ok(())
}

/// Every row, by plain SQL and past everything that is tested.
pub(crate) async fn dump(url: &str, table: &str) -> anyhow::Result<Vec<Row>> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("cannot connect to PostgreSQL")?;
    let driven = tokio::spawn(connection);
    let rows =
        client.query(&format!("SELECT id, value, count FROM {table} ORDER BY id"), &[]).await.context("cannot read")?;
    drop(client);
    let _ended = driven.await;
    rows.iter().map(|row| of(row).context("a row of another shape")).collect()
}

fn of(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    Ok(Row { id: RowId(row.try_get(0)?), value: row.try_get(1)?, count: row.try_get(2)? })
}

impl PostgresRows {
    /// Will connect to this database.
    pub(crate) fn new(name: &'static str, url: &str, connections: usize) -> anyhow::Result<PostgresRows> {
        let mut config: Config = url.parse().context("this is no PostgreSQL URL")?;
        config.options("-c statement_timeout=800 -c lock_timeout=700").connect_timeout(CONNECTED_WITHIN);
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let patience = Some(Duration::from_millis(1_000));
        let pool = Pool::builder(manager)
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(patience)
            .create_timeout(Some(CONNECTED_WITHIN))
            .recycle_timeout(patience);
        Ok(PostgresRows { pool: pool.build().context("cannot make the pool")?, name, table: TABLES[0] })
    }

    fn failed(&self, error: RowError) -> RowError {
        tracing::debug!(side = self.name, %error, connections = ?self.pool.status(), "a call failed");
        error
    }

    async fn query(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, RowError> {
        let rows = self.rows(sql, values).await?;
        rows.iter().map(of).collect::<Result<_, _>>().map_err(|_| RowError::Unknown("a row of another shape"))
    }

    async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<tokio_postgres::Row>, RowError> {
        // Without a connection nothing was sent.
        let connection = self.pool.get().await.map_err(|error| {
            let why = match error {
                deadpool_postgres::PoolError::Timeout(_) => "no connection in time",
                _ => "no connection",
            };
            self.failed(RowError::Rejected(why))
        })?;
        let lent = Lent(Some(connection));
        let Some(client) = &lent.0 else { return Err(RowError::Rejected("no connection")) };
        let call = async {
            let statement = client
                .prepare_cached(&sql.replace("@t", self.table))
                .await
                .map_err(|_| RowError::Rejected("not prepared"))?;
            client.query(&statement, values).await.map_err(|error| failed(&error))
        };
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(rows)) => {
                lent.back();
                Ok(rows)
            }
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Err(self.failed(RowError::Unknown("no answer in time"))),
        }
    }

    async fn changed(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<bool, RowError> {
        Ok(!self.rows(sql, values).await?.is_empty())
    }
}

/// An answer of the server says that nothing was done, unless the session ended with it: a backend may be told to go
/// between its commit and its answer.
fn failed(error: &tokio_postgres::Error) -> RowError {
    match error.as_db_error() {
        Some(answer) if answer.code().code().starts_with("57P") => RowError::Unknown("the session was ended"),
        Some(answer) if answer.parsed_severity() == Some(tokio_postgres::error::Severity::Error) => {
            RowError::Rejected("by the database")
        }
        Some(_) => RowError::Unknown("the session failed"),
        None => RowError::Unknown("the connection was lost"),
    }
}

impl Rows for PostgresRows {
    async fn put(&self, id: &RowId, value: &str) -> Result<(), RowError> {
        let sql = "INSERT INTO @t (id, value, count) VALUES ($1, $2, 0) ON CONFLICT (id) DO UPDATE SET value = $2";
        self.rows(sql, &[&id.0, &value]).await.map(drop)
    }

    async fn put_all(&self, rows: &[Row]) -> Result<(), RowError> {
        let sql = "INSERT INTO @t (id, value, count) SELECT id, value, 0 FROM unnest($1::text[], $2::text[]) AS new (id, value)
            ON CONFLICT (id) DO UPDATE SET value = excluded.value";
        let ids: Vec<&str> = rows.iter().map(|row| row.id.0.as_str()).collect();
        let values: Vec<&str> = rows.iter().map(|row| row.value.as_str()).collect();
        self.rows(sql, &[&ids, &values]).await.map(drop)
    }

    async fn delete(&self, id: &RowId) -> Result<(), RowError> {
        self.rows("DELETE FROM @t WHERE id = $1", &[&id.0]).await.map(drop)
    }

    async fn increment(&self, id: &RowId) -> Result<i64, RowError> {
        let sql = "INSERT INTO @t (id, value, count) VALUES ($1, '', 1)
            ON CONFLICT (id) DO UPDATE SET count = @t.count + 1 RETURNING id, value, count";
        let row = self.query(sql, &[&id.0]).await?.pop();
        row.map(|row| row.count).ok_or(RowError::Unknown("no row came back"))
    }

    async fn set(&self, id: &RowId, count: i64) -> Result<(), RowError> {
        let sql = "INSERT INTO @t (id, value, count) VALUES ($1, '', $2) ON CONFLICT (id) DO UPDATE SET count = $2";
        self.rows(sql, &[&id.0, &count]).await.map(drop)
    }

    async fn claim(&self, id: &RowId, owner: &str) -> Result<String, RowError> {
        let sql = "INSERT INTO @t (id, value, count) VALUES ($1, $2, 0)
            ON CONFLICT (id) DO UPDATE SET value = @t.value RETURNING id, value, count";
        let row = self.query(sql, &[&id.0, &owner]).await?.pop();
        row.map(|row| row.value).ok_or(RowError::Unknown("no row came back"))
    }

    async fn get(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        self.snapshot(id).await
    }

    async fn get_all(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, RowError> {
        let wanted: Vec<&str> = ids.iter().map(|id| id.0.as_str()).collect();
        let rows = self.query("SELECT id, value, count FROM @t WHERE id = ANY($1)", &[&wanted]).await?;
        Ok(super::aligned(ids, rows))
    }

    async fn snapshot(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        Ok(self.query("SELECT id, value, count FROM @t WHERE id = $1", &[&id.0]).await?.pop())
    }

    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError> {
        match (seen, row) {
            (None, None) => Ok(self.snapshot(id).await?.is_none()),
            (None, Some(row)) => {
                let sql =
                    "INSERT INTO @t (id, value, count) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING RETURNING id";
                self.changed(sql, &[&id.0, &row.value, &row.count]).await
            }
            (Some(seen), None) => {
                let sql = "DELETE FROM @t WHERE id = $1 AND value = $2 AND count = $3 RETURNING id";
                self.changed(sql, &[&id.0, &seen.value, &seen.count]).await
            }
            (Some(seen), Some(row)) => {
                let sql =
                    "UPDATE @t SET value = $4, count = $5 WHERE id = $1 AND value = $2 AND count = $3 RETURNING id";
                self.changed(sql, &[&id.0, &seen.value, &seen.count, &row.value, &row.count]).await
            }
        }
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError> {
        let after = after.map_or_else(String::new, |cursor| cursor.0);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT id, value, count FROM @t WHERE id > $1 ORDER BY id LIMIT $2";
        let rows = self.query(sql, &[&after, &most]).await?;
        let next = rows.last().filter(|_| rows.len() == limit).map(|last| Cursor(last.id.0.clone()));
        Ok(Page { rows, next })
    }
}

impl Base for PostgresRows {
    async fn store(&self, row: &Row) -> Result<(), RowError> {
        let sql = "INSERT INTO @t (id, value, count) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET value = $2, count = $3";
        self.rows(sql, &[&row.id.0, &row.value, &row.count]).await.map(drop)
    }

    async fn create(&self, value: &str, count: i64) -> Result<Row, RowError> {
        let sql =
            "INSERT INTO @t (id, value, count) VALUES (nextval('order_ids')::text, $1, $2) RETURNING id, value, count";
        self.query(sql, &[&value, &count]).await?.pop().ok_or(RowError::Unknown("no row came back"))
    }

    async fn expire(&self, until: i64) -> Result<(), RowError> {
        self.rows("DELETE FROM @t WHERE count <= $1", &[&until]).await.map(drop)
    }
}
