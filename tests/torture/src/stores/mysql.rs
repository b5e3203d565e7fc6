//! Rows in MariaDB.
//!
//! A call that is given up takes its connection along. What the server still does for it is bounded by
//! `max_statement_time`, which ends a wait for a lock too.
//!
//! InnoDB shows a commit to others before its log is written: a kill -9 in between takes back what somebody may have
//! read, though never what was acknowledged to its writer. No setting of the server closes that gap of microseconds.

use super::Base;
use super::lending::Lending;
use crate::dao::{Row, RowError, RowId, Rows, TABLES};
use anyhow::Context;
use crossfade::rows::{Cursor, Page};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, OptsBuilder, Params, Value};
use std::sync::Arc;
use std::time::Duration;

/// How long a call may take: then nobody knows what it did.
const PATIENCE: Duration = Duration::from_millis(900);

/// Compared byte by byte: a value with a blank at its end is another one.
/// `cohort` is for the command, which decides by columns; no statement of the application names it.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS `@t` (
    id varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PRIMARY KEY,
    value varchar(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
    count bigint NOT NULL,
    cohort varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin AS (SUBSTRING_INDEX(id, '.', 1)) STORED
    ) ENGINE=InnoDB";

/// What a session is told when it begins. Every statement is a transaction of its own.
const SESSION: [&str; 4] = [
    "SET SESSION autocommit = 1, max_statement_time = 0.8, innodb_lock_wait_timeout = 1",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET NAMES utf8mb4",
];

/// Answers that say that the statement was undone: its row had changed (1020), a lock was not to be had in time (1205) or
/// would have been a deadlock (1213), its time was over (1969). The clock of a statement stops before its commit begins.
const UNDONE: [u16; 4] = [1020, 1205, 1213, 1969];

/// Of an insert: a row is there, and was left alone.
const DUPLICATE: u16 = 1062;
const THERE: &str = "a row is there";

/// Rows in one of the tables; `@t` in a statement is its name.
#[derive(Clone)]
pub(crate) struct MysqlRows {
    opts: Opts,
    connections: Arc<Lending<Conn>>,
    name: &'static str,
    pub(super) table: &'static str,
}

/// What a statement answered.
struct Answer {
    rows: Vec<Row>,
    /// Rows that it found, whether it changed them or not.
    found: u64,
}

fn opts(url: &str) -> anyhow::Result<OptsBuilder> {
    // The driver's words may hold parts of the URL, and so the password.
    let opts = Opts::from_url(url).map_err(|_| anyhow::anyhow!("this is no URL of a MariaDB database"))?;
    Ok(OptsBuilder::from_opts(opts).prefer_socket(false).client_found_rows(true))
}

/// Makes the tables, past everything. The ids of orders go up by two from the first.
pub(crate) async fn prepare(url: &str, first_id: u64) -> anyhow::Result<()> {
    let mut connection = Conn::new(opts(url)?).await.context("cannot connect to MariaDB")?;
    for table in TABLES {
        connection.query_drop(TABLE.replace("@t", table)).await.context("cannot make a table")?;
    }
    let ids = format!("CREATE SEQUENCE IF NOT EXISTS order_ids START WITH {first_id} INCREMENT BY 2");
    connection.query_drop(ids).await.context("cannot make the ids of orders")?;
    connection.disconnect().await.context("no goodbye")
}

/// Every row, by plain SQL and past everything that is tested.
pub(crate) async fn dump(url: &str, table: &str) -> anyhow::Result<Vec<Row>> {
    let mut connection = Conn::new(opts(url)?).await.context("cannot connect to MariaDB")?;
    let rows: Vec<mysql_async::Row> =
        connection.query(format!("SELECT id, value, count FROM `{table}` ORDER BY id")).await.context("cannot read")?;
    connection.disconnect().await.context("no goodbye")?;
    rows.into_iter().map(|row| of(row).context("a row of another shape")).collect()
}

fn of(row: mysql_async::Row) -> Result<Row, mysql_async::FromRowError> {
    let (id, value, count) = mysql_async::from_row_opt(row)?;
    Ok(Row { id: RowId(id), value, count })
}

impl MysqlRows {
    /// Will connect to this database.
    pub(crate) fn new(name: &'static str, url: &str, connections: usize) -> anyhow::Result<MysqlRows> {
        let opts = opts(url)?.setup(SESSION.map(str::to_owned).to_vec()).stmt_cache_size(64);
        // Otherwise every connection begins with a question for both.
        let opts = opts.max_allowed_packet(Some(16 << 20)).wait_timeout(Some(28_800));
        Ok(MysqlRows { opts: opts.into(), connections: Arc::new(Lending::new(connections)), name, table: TABLES[0] })
    }

    fn failed(&self, error: RowError) -> RowError {
        tracing::debug!(side = self.name, %error, "a call failed");
        error
    }

    async fn ask(&self, sql: &str, values: impl Into<Params>) -> Result<Answer, RowError> {
        let connect = Conn::new(self.opts.clone());
        let mut lent = self.connections.lend(connect).await.map_err(|error| self.failed(error))?;
        let connection = &mut lent.connection;
        let call = async {
            let statement = connection
                .prep(sql.replace("@t", self.table))
                .await
                .map_err(|error| (RowError::Rejected("not prepared"), error))?;
            let rows: Result<Vec<mysql_async::Row>, Error> = connection.exec(&statement, values.into()).await;
            let rows = rows.map_err(|error| (failed(&error), error))?;
            Ok((rows, connection.affected_rows()))
        };
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok((rows, found))) => {
                lent.back();
                let rows = rows.into_iter().map(of).collect::<Result<_, _>>();
                let rows = rows.map_err(|_| self.failed(RowError::Unknown("a row of another shape")))?;
                Ok(Answer { rows, found })
            }
            Ok(Err((said, error))) => {
                match (&said, error) {
                    // The session goes on.
                    (RowError::Rejected(_), Error::Server(_)) => lent.back(),
                    (_, Error::Server(_)) => {}
                    (_, Error::Driver(_) | Error::Io(_) | Error::Other(_) | Error::Url(_)) => self.connections.forget(),
                }
                Err(if matches!(said, RowError::Rejected(THERE)) { said } else { self.failed(said) })
            }
            Err(_) => Err(self.failed(RowError::Unknown("no answer in time"))),
        }
    }

    async fn row(&self, sql: &str, values: impl Into<Params>) -> Result<Row, RowError> {
        self.ask(sql, values).await?.rows.pop().ok_or(RowError::Unknown("no row came back"))
    }
}

/// Only what surely was undone is refused: a shutdown, a killed connection or a failed commit may come after the effect.
fn failed(error: &Error) -> RowError {
    match error {
        Error::Server(answer) if answer.code == DUPLICATE => RowError::Rejected(THERE),
        Error::Server(answer) if UNDONE.contains(&answer.code) => RowError::Rejected("by the database"),
        Error::Server(_) => RowError::Unknown("the session failed"),
        Error::Driver(_) | Error::Io(_) | Error::Other(_) | Error::Url(_) => {
            RowError::Unknown("the connection was lost")
        }
    }
}

impl Rows for MysqlRows {
    async fn put(&self, id: &RowId, value: &str) -> Result<(), RowError> {
        let sql = "INSERT INTO `@t` (id, value, count) VALUES (?, ?, 0) ON DUPLICATE KEY UPDATE value = VALUES(value)";
        self.ask(sql, (&id.0, value)).await.map(drop)
    }

    async fn put_all(&self, rows: &[Row]) -> Result<(), RowError> {
        let places = vec!["(?, ?, 0)"; rows.len()].join(", ");
        let sql = format!(
            "INSERT INTO `@t` (id, value, count) VALUES {places} ON DUPLICATE KEY UPDATE value = VALUES(value)"
        );
        let values: Vec<Value> =
            rows.iter().flat_map(|row| [Value::from(&row.id.0), Value::from(&row.value)]).collect();
        self.ask(&sql, values).await.map(drop)
    }

    async fn delete(&self, id: &RowId) -> Result<(), RowError> {
        self.ask("DELETE FROM `@t` WHERE id = ?", (&id.0,)).await.map(drop)
    }

    async fn increment(&self, id: &RowId) -> Result<i64, RowError> {
        let sql = "INSERT INTO `@t` (id, value, count) VALUES (?, '', 1)
            ON DUPLICATE KEY UPDATE count = count + 1 RETURNING id, value, count";
        Ok(self.row(sql, (&id.0,)).await?.count)
    }

    async fn set(&self, id: &RowId, count: i64) -> Result<(), RowError> {
        let sql = "INSERT INTO `@t` (id, value, count) VALUES (?, '', ?) ON DUPLICATE KEY UPDATE count = VALUES(count)";
        self.ask(sql, (&id.0, count)).await.map(drop)
    }

    async fn claim(&self, id: &RowId, owner: &str) -> Result<String, RowError> {
        let sql = "INSERT INTO `@t` (id, value, count) VALUES (?, ?, 0)
            ON DUPLICATE KEY UPDATE id = id RETURNING id, value, count";
        Ok(self.row(sql, (&id.0, owner)).await?.value)
    }

    async fn get(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        self.snapshot(id).await
    }

    async fn get_all(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, RowError> {
        let places = vec!["?"; ids.len()].join(", ");
        let sql = format!("SELECT id, value, count FROM `@t` WHERE id IN ({places})");
        let wanted: Vec<Value> = ids.iter().map(|id| Value::from(&id.0)).collect();
        Ok(super::aligned(ids, self.ask(&sql, wanted).await?.rows))
    }

    async fn snapshot(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        Ok(self.ask("SELECT id, value, count FROM `@t` WHERE id = ?", (&id.0,)).await?.rows.pop())
    }

    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError> {
        match (seen, row) {
            (None, None) => Ok(self.snapshot(id).await?.is_none()),
            (None, Some(row)) => {
                let sql = "INSERT INTO `@t` (id, value, count) VALUES (?, ?, ?)";
                match self.ask(sql, (&id.0, &row.value, row.count)).await {
                    Ok(_) => Ok(true),
                    Err(RowError::Rejected(THERE)) => Ok(false),
                    Err(error) => Err(error),
                }
            }
            (Some(seen), None) => {
                let sql = "DELETE FROM `@t` WHERE id = ? AND value = ? AND count = ?";
                Ok(self.ask(sql, (&id.0, &seen.value, seen.count)).await?.found > 0)
            }
            (Some(seen), Some(row)) => {
                let sql = "UPDATE `@t` SET value = ?, count = ? WHERE id = ? AND value = ? AND count = ?";
                let values = (&row.value, row.count, &id.0, &seen.value, seen.count);
                Ok(self.ask(sql, values).await?.found > 0)
            }
        }
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError> {
        let after = after.map_or_else(String::new, |cursor| cursor.0);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT id, value, count FROM `@t` WHERE id > ? ORDER BY id LIMIT ?";
        let rows = self.ask(sql, (after, most)).await?.rows;
        let next = rows.last().filter(|_| rows.len() == limit).map(|last| Cursor(last.id.0.clone()));
        Ok(Page { rows, next })
    }
}

impl Base for MysqlRows {
    async fn store(&self, row: &Row) -> Result<(), RowError> {
        let sql = "INSERT INTO `@t` (id, value, count) VALUES (?, ?, ?)
            ON DUPLICATE KEY UPDATE value = VALUES(value), count = VALUES(count)";
        self.ask(sql, (&row.id.0, &row.value, row.count)).await.map(drop)
    }

    async fn create(&self, value: &str, count: i64) -> Result<Row, RowError> {
        let sql =
            "INSERT INTO `@t` (id, value, count) VALUES (NEXT VALUE FOR order_ids, ?, ?) RETURNING id, value, count";
        self.row(sql, (value, count)).await
    }

    async fn expire(&self, until: i64) -> Result<(), RowError> {
        self.ask("DELETE FROM `@t` WHERE count <= ?", (until,)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_undone_is_refused() {
        let of = |code| {
            failed(&Error::Server(mysql_async::ServerError { code, message: String::new(), state: String::new() }))
        };
        for undone in [1062, 1205, 1213, 1969] {
            assert!(matches!(of(undone), RowError::Rejected(_)), "{undone}");
        }
        // A shutdown, a killed connection, a failed commit, an interrupted query, and a table that is full.
        for open in [1053, 1927, 1180, 1317, 1114] {
            assert!(matches!(of(open), RowError::Unknown(_)), "{open}");
        }
        let lost = Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
        assert!(matches!(failed(&lost), RowError::Unknown(_)));
    }
}
