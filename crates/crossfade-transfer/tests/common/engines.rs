//! One table `things` on each of two real databases of any two engines, and their own clients for a look from outside.

#![expect(clippy::unwrap_used, clippy::expect_used, unreachable_pub, reason = "tests may panic")]
#![allow(dead_code, reason = "not every test uses all of it")]

use std::sync::Arc;

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType as Scalar,
    },
};
use crossfade_api::config::{Config, TableConfig};
use crossfade_stores::Store;
use crossfade_transfer::{Pair, pair};
use mysql_async::{Conn, Opts, prelude::Queryable};

pub fn config(text: &str) -> TableConfig {
    let text =
        format!("[migration.m]\nsource = \"sqlite://x\"\ntarget = \"sqlite://x\"\n[migration.m.table.things]\n{text}");
    Config::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}")).migration["m"].table["things"].clone()
}

/// A place for tables of its own on each engine; removed by `end`.
pub struct Engines {
    name: String,
    folder: tempfile::TempDir,
    pub dynamo: Client,
    endpoint: String,
    _dynamo: tokio::sync::oneshot::Sender<()>,
}

impl Engines {
    pub async fn new(name: &str) -> Engines {
        let name = format!("{name}_{}", std::process::id());
        let (dynamo, endpoint, _dynamo) = emulator();
        let engines = Engines { name, folder: tempfile::tempdir().unwrap(), dynamo, endpoint, _dynamo };
        super::sql_at(&super::server(), &format!("DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0}", engines.name))
            .await;
        engines
            .mysql_at(
                "",
                &format!(
                    "DROP DATABASE IF EXISTS {0}; CREATE DATABASE {0} CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
                    engines.name
                ),
            )
            .await;
        engines
    }

    pub async fn end(self) {
        super::sql_at(&super::server(), &format!("DROP SCHEMA {} CASCADE", self.name)).await;
        self.mysql_at("", &format!("DROP DATABASE {}", self.name)).await;
    }

    fn mysql_server() -> String {
        std::env::var("CROSSFADE_TEST_MYSQL").expect("run ./test, or `eval \"$(./tests/servers start)\"`")
    }

    pub fn postgres_url(&self) -> String {
        let server = super::server();
        let then = if server.contains('?') { '&' } else { '?' };
        format!("{server}{then}options=-csearch_path%3D{}", self.name)
    }

    fn mysql_url(&self, database: &str) -> String {
        format!("{}/{database}", Self::mysql_server().rsplit_once('/').unwrap().0)
    }

    async fn mysql_at(&self, database: &str, text: &str) {
        let url = if database.is_empty() { Self::mysql_server() } else { self.mysql_url(database) };
        let mut conn = Conn::new(Opts::from_url(&url).unwrap()).await.unwrap();
        for statement in text.split(';').filter(|s| !s.trim().is_empty()) {
            conn.query_drop(statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
        }
        conn.disconnect().await.unwrap();
    }

    async fn opened(url: &str) -> Arc<dyn Store> {
        crossfade_stores::open(&url.parse().unwrap()).await.unwrap()
    }

    pub async fn postgres(&self, sql: &str) -> Arc<dyn Store> {
        super::sql_at(&self.postgres_url(), sql).await;
        Self::opened(&self.postgres_url()).await
    }

    pub async fn mysql(&self, sql: &str) -> Arc<dyn Store> {
        self.mysql_at(&self.name, sql).await;
        Self::opened(&self.mysql_url(&self.name)).await
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("t.db")
    }

    pub async fn sqlite(&self, sql: &str) -> Arc<dyn Store> {
        rusqlite::Connection::open(self.file()).unwrap().execute_batch(sql).unwrap();
        Self::opened(&format!("sqlite://{}", self.file().display())).await
    }

    /// A table `things` whose key is the number `id`.
    pub async fn dynamodb(&self) -> Arc<dyn Store> {
        let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
        let definition = AttributeDefinition::builder().attribute_name("id").attribute_type(Scalar::N).build().unwrap();
        let made = self.dynamo.create_table().table_name("things").billing_mode(BillingMode::PayPerRequest);
        made.key_schema(key).attribute_definitions(definition).send().await.unwrap();
        Self::opened(&format!("dynamodb://eu-west-1?endpoint={}", self.endpoint)).await
    }

    pub async fn put(&self, attributes: &[(&str, AttributeValue)]) {
        let mut put = self.dynamo.put_item().table_name("things");
        for (name, value) in attributes {
            put = put.item(*name, value.clone());
        }
        put.send().await.unwrap();
    }

    pub async fn delete(&self, id: i64) {
        let delete = self.dynamo.delete_item().table_name("things").key("id", AttributeValue::N(id.to_string()));
        delete.send().await.unwrap();
    }

    /// The attributes of one item; none without it.
    pub async fn item(&self, id: i64) -> std::collections::HashMap<String, AttributeValue> {
        let get = self.dynamo.get_item().table_name("things").key("id", AttributeValue::N(id.to_string()));
        get.send().await.unwrap().item.unwrap_or_default()
    }

    /// The rows of a query, each column as the text that `psql` prints; a null is `-`.
    pub async fn psql(&self, sql: &str) -> Vec<Vec<String>> {
        let (client, connection) = tokio_postgres::connect(&self.postgres_url(), tokio_postgres::NoTls).await.unwrap();
        let running = tokio::spawn(connection);
        let mut out = Vec::new();
        for message in client.simple_query(sql).await.unwrap() {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                out.push((0..row.len()).map(|i| row.get(i).unwrap_or("-").to_owned()).collect());
            }
        }
        drop(client);
        running.await.unwrap().unwrap();
        out
    }

    /// The same from MariaDB.
    pub async fn mariadb(&self, sql: &str) -> Vec<Vec<String>> {
        let mut conn = Conn::new(Opts::from_url(&self.mysql_url(&self.name)).unwrap()).await.unwrap();
        let rows: Vec<mysql_async::Row> = conn.query(sql).await.unwrap();
        conn.disconnect().await.unwrap();
        let text = |value| match value {
            mysql_async::Value::NULL => "-".to_owned(),
            value => mysql_async::from_value::<String>(value),
        };
        rows.into_iter().map(|row| row.unwrap().into_iter().map(text).collect()).collect()
    }

    /// The same from the file.
    pub fn sqlite3(&self, sql: &str) -> Vec<Vec<String>> {
        use rusqlite::types::ValueRef;
        let file = rusqlite::Connection::open(self.file()).unwrap();
        let mut statement = file.prepare(sql).unwrap();
        let width = statement.column_count();
        let text = |value: ValueRef<'_>| match value {
            ValueRef::Null => "-".to_owned(),
            ValueRef::Integer(n) => n.to_string(),
            ValueRef::Real(f) => format!("{f:?}"),
            ValueRef::Text(t) => String::from_utf8(t.to_vec()).unwrap(),
            ValueRef::Blob(b) => format!("{b:02x?}"),
        };
        let rows = statement.query_map([], |row| Ok((0..width).map(|i| text(row.get_ref(i).unwrap())).collect()));
        rows.unwrap().map(Result::unwrap).collect()
    }

    pub fn sqlite_do(&self, sql: &str) {
        rusqlite::Connection::open(self.file()).unwrap().execute_batch(sql).unwrap();
    }
}

fn emulator() -> (Client, String, tokio::sync::oneshot::Sender<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (stop, end) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tokio::select! {
                () = dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()) => {}
                _ = end => {}
            }
        });
    });
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(&endpoint)
        .credentials_provider(Credentials::new("a", "b", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    (Client::from_conf(config), endpoint, stop)
}

pub async fn open(source: &Arc<dyn Store>, target: &Arc<dyn Store>, text: &str) -> Result<Pair, String> {
    pair::open(source, target, "things", &config(&format!("cohort = [\"id\"]\n{text}")))
        .await
        .map_err(|e| e.to_string())
}
