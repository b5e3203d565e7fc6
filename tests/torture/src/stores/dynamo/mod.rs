//! Rows in DynamoDB, by the official SDK.
//!
//! The endpoint of the run never throttles and has no transactions in its way: what a real one answers then, this
//! client answers itself for some of its calls, before anything is sent; it leaves batches unfinished in the same way.

mod batch;

use super::Base;
use crate::dao::{Row, RowError, RowId, Rows, TABLES};
use anyhow::Context;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ReturnValue, ScalarAttributeType,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use crossfade::rows::{Cursor, Page};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

type Item = HashMap<String, AttributeValue>;

/// The items that count the ids of orders.
const IDS: &str = "ids";
/// How long a call may take: then nobody knows what it did.
const PATIENCE: Duration = Duration::from_millis(900);
/// One call in so many is throttled, and as many meet a conflict.
const TROUBLED: u64 = 200;

/// Rows in one of the tables.
#[derive(Clone)]
pub(crate) struct DynamoRows {
    client: Client,
    name: &'static str,
    pub(super) table: &'static str,
    calls: Arc<AtomicU64>,
    batches: Arc<AtomicU64>,
}

/// The endpoint of `dynamodb://HOST:PORT`.
fn client(url: &str) -> anyhow::Result<Client> {
    let endpoint = url.strip_prefix("dynamodb://").context("this is no dynamodb://HOST:PORT")?;
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder().connect_timeout(PATIENCE).operation_timeout(PATIENCE).build();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("local"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(format!("http://{}", endpoint.trim_end_matches('/')))
        // A second try of its own could land long after the first was given up.
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(timeouts)
        .http_client(http)
        .build();
    Ok(Client::from_conf(config))
}

/// Makes the tables, past everything. The ids of orders go up by two from the first.
pub(crate) async fn prepare(url: &str, first_id: u64) -> anyhow::Result<()> {
    for table in TABLES.into_iter().chain([IDS]) {
        create_table(url, table).await?;
    }
    let before = [("id".to_owned(), text("orders")), ("count".to_owned(), number(i64::try_from(first_id)? - 2))];
    let put = client(url)?.put_item().table_name(IDS).set_item(Some(before.into()));
    put.send().await.context("cannot make the ids of orders")?;
    Ok(())
}

async fn create_table(url: &str, table: &str) -> anyhow::Result<()> {
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S).build()?;
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build()?;
    let create = client(url)?.create_table().table_name(table).attribute_definitions(id).key_schema(key);
    create.billing_mode(BillingMode::PayPerRequest).send().await.context("cannot make the table")?;
    Ok(())
}

/// Every row, by a plain scan and past everything that is tested.
pub(crate) async fn dump(url: &str, table: &str) -> anyhow::Result<Vec<Row>> {
    let mut pages = client(url)?.scan().table_name(table).consistent_read(true).into_paginator().send();
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await {
        for item in page.context("cannot read")?.items() {
            rows.push(row(item)?);
        }
    }
    Ok(rows)
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(count: i64) -> AttributeValue {
    AttributeValue::N(count.to_string())
}

fn item(row: &Row) -> Item {
    let attributes = [("id", text(&row.id.0)), ("value", text(&row.value)), ("count", number(row.count))];
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn row(item: &Item) -> Result<Row, RowError> {
    let strange = RowError::Unknown("a row of another shape");
    let string = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
    let count = item.get("count").and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok());
    match (string("id"), string("value"), count) {
        (Some(id), Some(value), Some(count)) => Ok(Row { id: RowId(id), value, count }),
        (_, _, _) => Err(strange),
    }
}

/// The condition that what is stored is `seen`: its expression, names and values.
fn condition(seen: Option<&Row>) -> (&'static str, HashMap<String, String>, Option<Item>) {
    let names = |names: &[&str]| names.iter().map(|name| (format!("#{name}"), (*name).to_owned())).collect();
    match seen {
        None => ("attribute_not_exists(#id)", names(&["id"]), None),
        Some(seen) => {
            let values = [(":value".to_owned(), text(&seen.value)), (":count".to_owned(), number(seen.count))];
            ("#value = :value AND #count = :count", names(&["value", "count"]), Some(values.into()))
        }
    }
}

impl DynamoRows {
    /// Will talk to this endpoint.
    pub(crate) fn new(name: &'static str, url: &str) -> anyhow::Result<DynamoRows> {
        Ok(DynamoRows { client: client(url)?, name, table: TABLES[0], calls: Arc::default(), batches: Arc::default() })
    }

    /// What a real service would answer now and then: nothing was done.
    fn trouble(&self) -> Result<(), RowError> {
        match self.calls.fetch_add(1, Ordering::Relaxed) % TROUBLED {
            17 => Err(RowError::Rejected("throttled")),
            93 => Err(RowError::Rejected("a transaction is under way")),
            _ => Ok(()),
        }
    }

    /// The same for a call that is simply made again, as the SDK would: of its errors crossfade does not know that
    /// nothing was done, and would wait for a linger.
    async fn patiently(&self) {
        if self.trouble().is_err() {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// What the service answered was not done, unless it says that something is wrong with itself; a request without an
    /// answer may have been.
    fn failed<E, R>(&self, error: &SdkError<E, R>) -> RowError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        let broken = error.code().is_some_and(|code| code.starts_with("InternalServerError"));
        let error = match error {
            SdkError::ServiceError(_) if !broken => RowError::Rejected("by the service"),
            SdkError::ConstructionFailure(_) => RowError::Rejected("not sent"),
            _ => RowError::Unknown("no answer"),
        };
        tracing::debug!(side = self.name, %error, "a call failed");
        error
    }

    /// A failed condition is an answer, not an error.
    fn swapped<T, E, R>(&self, answer: Result<T, SdkError<E, R>>) -> Result<bool, RowError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn put_item(&self, row: &Row) -> Result<(), RowError> {
        self.trouble()?;
        let put = self.client.put_item().table_name(self.table).set_item(Some(item(row)));
        put.send().await.map(drop).map_err(|error| self.failed(&error))
    }
}

impl Rows for DynamoRows {
    async fn put(&self, id: &RowId, value: &str) -> Result<(), RowError> {
        self.put_item(&Row { id: id.clone(), value: value.to_owned(), count: 0 }).await
    }

    async fn put_all(&self, rows: &[Row]) -> Result<(), RowError> {
        self.in_time(self.put_batch(rows)).await
    }

    async fn delete(&self, id: &RowId) -> Result<(), RowError> {
        self.trouble()?;
        let delete = self.client.delete_item().table_name(self.table).key("id", text(&id.0));
        delete.send().await.map(drop).map_err(|error| self.failed(&error))
    }

    async fn increment(&self, id: &RowId) -> Result<i64, RowError> {
        self.trouble()?;
        let update = self
            .client
            .update_item()
            .table_name(self.table)
            .key("id", text(&id.0))
            .update_expression("SET #value = if_not_exists(#value, :nothing) ADD #count :one")
            .expression_attribute_names("#value", "value")
            .expression_attribute_names("#count", "count")
            .expression_attribute_values(":nothing", text(""))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew);
        let answer = update.send().await.map_err(|error| self.failed(&error))?;
        let stored = answer.attributes().ok_or(RowError::Unknown("no row came back"))?;
        Ok(row(stored)?.count)
    }

    async fn set(&self, id: &RowId, count: i64) -> Result<(), RowError> {
        self.put_item(&Row { id: id.clone(), value: String::new(), count }).await
    }

    async fn claim(&self, id: &RowId, owner: &str) -> Result<String, RowError> {
        let claim = Row { id: id.clone(), value: owner.to_owned(), count: 0 };
        if self.restore(id, None, Some(&claim)).await? {
            return Ok(claim.value);
        }
        // Claims are never deleted: whoever was there is there.
        let there = self.snapshot(id).await.map_err(|_| RowError::Rejected("somebody has it"))?;
        there.map(|row| row.value).ok_or(RowError::Unknown("the claim was there, and is not"))
    }

    async fn get(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        self.snapshot(id).await
    }

    async fn get_all(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, RowError> {
        Ok(super::aligned(ids, self.in_time(self.get_batch(ids)).await?))
    }

    async fn snapshot(&self, id: &RowId) -> Result<Option<Row>, RowError> {
        self.patiently().await;
        let get = self.client.get_item().table_name(self.table).key("id", text(&id.0)).consistent_read(true);
        get.send().await.map_err(|error| self.failed(&error))?.item().map(row).transpose()
    }

    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError> {
        self.patiently().await;
        let (expression, names, values) = condition(seen);
        match row {
            Some(row) => {
                let put = self.client.put_item().table_name(self.table).set_item(Some(item(row)));
                let put = put.condition_expression(expression).set_expression_attribute_names(Some(names));
                self.swapped(put.set_expression_attribute_values(values).send().await)
            }
            None => {
                let delete = self.client.delete_item().table_name(self.table).key("id", text(&id.0));
                let delete = delete.condition_expression(expression).set_expression_attribute_names(Some(names));
                self.swapped(delete.set_expression_attribute_values(values).send().await)
            }
        }
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError> {
        self.patiently().await;
        let start = after.map(|cursor| Item::from([("id".to_owned(), text(&cursor.0))]));
        let scan = self.client.scan().table_name(self.table).consistent_read(true).set_exclusive_start_key(start);
        let page = scan.limit(i32::try_from(limit).unwrap_or(i32::MAX)).send().await;
        let page = page.map_err(|error| self.failed(&error))?;
        let rows = page.items().iter().map(row).collect::<Result<_, _>>()?;
        let last = page.last_evaluated_key().and_then(|key| key.get("id")?.as_s().ok().cloned());
        Ok(Page { rows, next: last.map(Cursor) })
    }
}

impl Base for DynamoRows {
    async fn store(&self, row: &Row) -> Result<(), RowError> {
        self.put_item(row).await
    }

    /// Two calls: an id that was drawn and not used is lost.
    async fn create(&self, value: &str, count: i64) -> Result<Row, RowError> {
        self.trouble()?;
        let draw = self
            .client
            .update_item()
            .table_name(IDS)
            .key("id", text("orders"))
            .update_expression("ADD #count :two")
            .expression_attribute_names("#count", "count")
            .expression_attribute_values(":two", number(2))
            .return_values(ReturnValue::AllNew);
        let drawn = draw.send().await.map_err(|_| RowError::Rejected("no id"))?;
        let id = drawn.attributes().and_then(|item| item.get("count")?.as_n().ok()).cloned();
        let row = Row { id: RowId(id.ok_or(RowError::Rejected("no id"))?), value: value.to_owned(), count };
        self.put_item(&row).await?;
        Ok(row)
    }

    /// Row by row: after the first nothing is refused any more.
    async fn expire(&self, until: i64) -> Result<(), RowError> {
        self.trouble()?;
        let gone = async {
            let mut after = None;
            loop {
                let page = self.scan(after, 500).await.map_err(|_| RowError::Unknown("it was done in part"))?;
                for row in page.rows.iter().filter(|row| row.count <= until) {
                    let delete = self.client.delete_item().table_name(self.table).key("id", text(&row.id.0));
                    let delete = delete
                        .condition_expression("#count <= :until")
                        .expression_attribute_names("#count", "count")
                        .expression_attribute_values(":until", number(until));
                    match self.swapped(delete.send().await) {
                        Ok(_) => {}
                        Err(_) => return Err(RowError::Unknown("it was done in part")),
                    }
                }
                match page.next {
                    Some(next) => after = Some(next),
                    None => return Ok(()),
                }
            }
        };
        self.in_time(gone).await
    }
}
