//! The DynamoDB emulator in memory, and loaders with nothing around them.

use anyhow::Context as _;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PutRequest, ScalarAttributeType,
    WriteRequest,
};
use futures::{StreamExt, TryStreamExt};
use std::collections::HashMap;
use std::time::Instant;
use tokio_postgres::NoTls;

/// DynamoDB knows no names of one letter.
pub(crate) const TABLE: &str = "events";

/// One emulator with an empty table, on a thread of its own. Dropped, it ends.
pub(crate) struct Emulator {
    endpoint: String,
    _end: tokio::sync::oneshot::Sender<()>,
}

/// Requests at a time: as many as make the emulator busy.
const AT_ONCE: usize = 8;
/// Items of a batch: as many as DynamoDB takes.
const BATCH: usize = 25;

impl Emulator {
    pub(crate) fn start() -> anyhow::Result<Emulator> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let runtime = runtime()?;
        let database = dynoxide::Database::memory().map_err(|error| anyhow::anyhow!("{error}"))?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = dynoxide::server::serve_on(listener, database) => {}
                    _ = ended => {}
                }
            });
        });
        let emulator = Emulator { endpoint, _end: end };
        let runtime = crate::transfer::dynamo::runtime()?;
        runtime.block_on(async {
            let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build()?;
            let id =
                AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::N).build()?;
            let table = emulator.client().create_table().table_name(TABLE).billing_mode(BillingMode::PayPerRequest);
            table.key_schema(key).attribute_definitions(id).send().await?;
            anyhow::Ok(())
        })?;
        Ok(emulator)
    }

    /// As the command takes it.
    pub(crate) fn url(&self) -> String {
        format!("dynamodb://eu-west-1?endpoint={}", self.endpoint)
    }

    fn client(&self) -> Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(&self.endpoint)
            .credentials_provider(Credentials::new("a", "b", None, None, "bench"))
            .http_client(aws_smithy_http_client::Builder::new().build_http());
        Client::from_conf(config.build())
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

type Item = HashMap<String, AttributeValue>;

/// Loads the rows of PostgreSQL with nothing around it: no second read, no checkpoint, no retry; seconds.
pub(crate) fn bare(emulator: &Emulator, source: &str, bulk: bool) -> anyhow::Result<f64> {
    let began = Instant::now();
    runtime()?.block_on(async {
        let (postgres, connection) = tokio_postgres::connect(source, NoTls).await?;
        tokio::spawn(connection);
        let sql = "SELECT id::text, user_id, kind, body::text, at::text FROM t";
        let rows = postgres.query_raw(sql, Vec::<String>::new()).await?;
        let client = emulator.client();
        let items = rows.map(|row| anyhow::Ok(item(&row?)));
        if bulk {
            let batches = items.chunks(BATCH).map(|batch| batch.into_iter().collect::<anyhow::Result<Vec<Item>>>());
            batches.try_for_each_concurrent(AT_ONCE, |batch| put_batch(&client, batch)).await
        } else {
            items.try_for_each_concurrent(AT_ONCE * 2, |item| put(&client, item)).await
        }
    })?;
    Ok(began.elapsed().as_secs_f64())
}

fn item(row: &tokio_postgres::Row) -> Item {
    let text = |place: usize| row.get::<_, String>(place);
    let mut item: Item = [("user_id", 1), ("kind", 2), ("body", 3), ("at", 4)]
        .map(|(name, place)| (name.to_owned(), AttributeValue::S(text(place))))
        .into();
    item.insert("id".to_owned(), AttributeValue::N(text(0)));
    item
}

async fn put(client: &Client, item: Item) -> anyhow::Result<()> {
    let put = client.put_item().table_name(TABLE).set_item(Some(item));
    put.condition_expression("attribute_not_exists(id)").send().await?;
    Ok(())
}

async fn put_batch(client: &Client, batch: Vec<Item>) -> anyhow::Result<()> {
    let puts = batch.into_iter().map(|item| {
        let put = PutRequest::builder().set_item(Some(item)).build()?;
        anyhow::Ok(WriteRequest::builder().put_request(put).build())
    });
    let puts = puts.collect::<anyhow::Result<Vec<_>>>().context("an item without attributes")?;
    client.batch_write_item().request_items(TABLE, puts).send().await?;
    Ok(())
}
