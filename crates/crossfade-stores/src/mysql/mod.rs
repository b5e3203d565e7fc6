//! MySQL from 8.0 and MariaDB from 10.5.
//!
//! | | |
//! |---|---|
//! | reads | prepared statements (the binary protocol: texts of floats are rounded); scans page by page in the primary key |
//! | writes | one transaction for each call; inserts by the hundred, updates and deletes that compare every column byte by byte, counted by the rows they found |
//! | bulk | `LOAD DATA LOCAL INFILE`, undone at the first warning; plain inserts where the server does not take local files |
//! | sessions | UTC, strict, ids of 0 stay 0, read committed |
//! | settings of the URL | those of `mysql_async`, and `pool` (connections, default 8), `write_timeout_ms` (default 10000: also half of the linger) |
//!
//! Absent here: replicas, and engines without transactions (which `check` warns of).

mod connect;
mod errors;
mod load;
mod read;
mod schema;
mod values;
mod write;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mysql_async::prelude::Queryable;

use crate::{
    Capabilities, Change, ChangeOutcome, Column, ColumnType, ErrorKind, Fit, OpenWrites, Page, Position, Range, Row,
    RowKey, Store, StoreError, StoreKind, Table, TableName, TableSchema, TableSpec, port::TableIdentity,
};
pub use connect::Mysql;
use schema::Shape;

/// One opened table.
pub struct MysqlTable {
    store: Mysql,
    spec: TableSpec,
    shape: Shape,
    capabilities: Capabilities,
}

impl std::fmt::Debug for MysqlTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MysqlTable({} at {})", self.spec.name, self.store.location())
    }
}

#[async_trait]
impl Store for Mysql {
    fn kind(&self) -> StoreKind {
        StoreKind::Mysql
    }

    fn location(&self) -> String {
        self.shown().to_owned()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        session.query_drop("SELECT 1").await.map_err(|e| errors::of("cannot ask the database anything", e))
    }

    async fn tables(&self) -> Result<Vec<TableName>, StoreError> {
        let mut session = self.session().await?;
        let names: Vec<String> = session
            .query("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' ORDER BY 1")
            .await
            .map_err(|e| errors::of("cannot list the tables", e))?;
        Ok(names.into_iter().map(TableName::new).collect())
    }

    async fn describe(&self, table: &TableName) -> Result<TableSchema, StoreError> {
        Ok(schema::describe(self, table).await?.schema)
    }

    fn fit(&self, wanted: &ColumnType, found: Option<&Column>) -> Fit {
        values::fit(wanted, found)
    }

    async fn table(&self, spec: &TableSpec) -> Result<Arc<dyn Table>, StoreError> {
        if spec.options.ttl_column.is_some() || spec.options.key_pattern.is_some() {
            return Err(StoreError::new(
                ErrorKind::Config,
                format!("table {}: `ttl` and `key` patterns are for key-value stores, not for mysql", spec.name),
            ));
        }
        let shape = Shape::new(self, spec, &schema::describe(self, &spec.name).await?)?;
        let capabilities = Capabilities {
            linger: spec.options.linger.unwrap_or(self.write_timeout() * 2),
            ordered: shape.ordered,
            fence: true,
            version_column: spec.options.version_column.clone(),
            checksum: None,
            keeps_decimal_scale: shape.keeps_decimal_scale(),
            keeps_json_text: shape.keeps_json_text(),
            throttles: false,
            write_batch: 2_000,
        };
        Ok(Arc::new(MysqlTable { store: self.clone(), spec: spec.clone(), shape, capabilities }))
    }

    async fn warnings(&self, table: &TableName) -> Result<Vec<String>, StoreError> {
        schema::warnings(self, table).await
    }
}

#[async_trait]
impl Table for MysqlTable {
    fn spec(&self) -> &TableSpec {
        &self.spec
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn identity(&self) -> Result<Option<TableIdentity>, StoreError> {
        let fail = |e| errors::of(format!("cannot ask which table {} is", self.spec.name), e);
        let mut session = self.store.session().await?;
        // MySQL has a number of its own for each server, MariaDB from 10.11 on; before that, what no two running servers share.
        let own: Vec<(String, String)> = session
            .query("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid')")
            .await
            .map_err(fail)?;
        let place = "SELECT CONCAT_WS(' ', @@hostname, @@port, @@datadir, @@server_id), CONCAT(DATABASE(), ''), CAST(@@lower_case_table_names AS SIGNED)";
        let row: Option<(String, String, i64)> = session.query_first(place).await.map_err(fail)?;
        let Some((place, database, folding)) = row else {
            return Err(StoreError::new(ErrorKind::Protocol, "the server does not say which one it is"));
        };
        let (schema, table) = self.spec.name.parts();
        let name = format!("{}.{table}", schema.unwrap_or(&database));
        let name = if folding == 0 { name } else { name.to_lowercase() };
        let server = own.first().map_or(place, |(_, own)| own.clone());
        Ok(Some(TableIdentity::lasting(format!("mysql {server} {name}"))))
    }

    async fn deletes_cascade(&self) -> Result<bool, StoreError> {
        let (schema, name) = self.spec.name.parts();
        let sql = "SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE UNIQUE_CONSTRAINT_SCHEMA = COALESCE(?, DATABASE()) AND REFERENCED_TABLE_NAME = ? AND DELETE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT')";
        let fail = |e| errors::of(format!("cannot look at the foreign keys of table {}", self.spec.name), e);
        let mut session = self.store.session().await?;
        let found: Option<i64> = session.exec_first(sql, (schema, name)).await.map_err(fail)?;
        Ok(found != Some(0))
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

    async fn open_writes(&self) -> Result<Option<OpenWrites>, StoreError> {
        Ok(Some(OpenWrites(self.open_transactions().await?.join(" "))))
    }

    async fn have_ended(&self, token: &OpenWrites) -> Result<bool, StoreError> {
        let open = self.open_transactions().await?;
        Ok(token.0.split(' ').all(|then| !open.iter().any(|now| now == then)))
    }
}

/// The server looks at its transactions again only when nobody has asked for this long, and answers from memory before.
const LIST_IS_OLD: Duration = Duration::from_millis(110);

impl MysqlTable {
    /// The transactions that may write: connection and second of their beginning. (A transaction gets its own number only when it first
    /// writes.) The server's list may be old, so a transaction of our own is begun first: a list that has it is of a moment after the call.
    async fn open_transactions(&self) -> Result<Vec<String>, StoreError> {
        let fail = |e| match errors::kind(&e) {
            ErrorKind::Denied => StoreError::new(
                ErrorKind::Denied,
                "cannot ask which transactions are open: grant the right PROCESS to the login of the backfill",
            ),
            _ => errors::of("cannot ask which transactions are open", e),
        };
        let mut session = self.store.session().await?;
        session.begin();
        let mine = format!("{}@", session.id());
        let mut begun = false;
        for _ in 0..100 {
            let list: Vec<String> = session
                .query("SELECT CONCAT(trx_mysql_thread_id, '@', DATE_FORMAT(trx_started, '%Y%m%d%H%i%s')) FROM information_schema.INNODB_TRX WHERE trx_is_read_only = 0")
                .await
                .map_err(fail)?;
            let has_mine = list.iter().any(|t| t.starts_with(&mine));
            if begun && has_mine {
                session.query_drop("ROLLBACK").await.map_err(fail)?;
                session.finish();
                return Ok(list.into_iter().filter(|t| !t.starts_with(&mine)).collect());
            }
            // One of ours in a list from before is of an earlier call: wait until it is gone.
            if !begun && !has_mine {
                session.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await.map_err(fail)?;
                begun = true;
            }
            tokio::time::sleep(LIST_IS_OLD).await;
        }
        Err(StoreError::new(
            ErrorKind::Throttled,
            "cannot ask which transactions are open: somebody asks the server so often that its list stays old",
        ))
    }
}
