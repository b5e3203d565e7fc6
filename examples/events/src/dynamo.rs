//! Events in DynamoDB, by the official SDK. Partition key `line`, sort key `id`; a missing attribute is a null.

use crate::dao::{Event, EventDao, EventError, EventId, Line};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use crossfade::rows::{Cursor, Page};
use std::collections::HashMap;

type Item = HashMap<String, AttributeValue>;

const ATTRIBUTES: [&str; 10] = [
    "line",
    "id",
    "tail",
    "origin",
    "destination",
    "scheduled",
    "departure_delay",
    "arrival_delay",
    "air_time",
    "distance",
];

/// Events in a table of their own.
#[derive(Debug, Clone)]
pub struct DynamoEvents {
    client: Client,
    table: String,
}

impl DynamoEvents {
    /// A client for a region. With an endpoint of its own, such as a local one, the credentials are made up; otherwise
    /// they come from the environment, the profile or the machine, as for every AWS tool.
    pub async fn client(region: &str, endpoint: Option<&str>) -> Client {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = match endpoint {
            Some(endpoint) => aws_sdk_dynamodb::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(region.to_owned()))
                .credentials_provider(Credentials::new("local", "local", None, None, "local"))
                .endpoint_url(endpoint)
                .http_client(http)
                .build(),
            None => {
                let loader = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region.to_owned()));
                (&loader.http_client(http).load().await).into()
            }
        };
        Client::from_conf(config)
    }

    /// Makes the table.
    ///
    /// # Errors
    /// [`EventError::Rejected`] when it exists already, [`EventError::Unavailable`] when the endpoint does not answer.
    pub async fn create(client: Client, table: &str) -> Result<DynamoEvents, EventError> {
        let attribute = |name, kind| AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build();
        let key = |name, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let invalid = |error: aws_sdk_dynamodb::error::BuildError| EventError::Rejected(error.to_string());
        client
            .create_table()
            .table_name(table)
            .attribute_definitions(attribute("line", ScalarAttributeType::S).map_err(invalid)?)
            .attribute_definitions(attribute("id", ScalarAttributeType::N).map_err(invalid)?)
            .key_schema(key("line", KeyType::Hash).map_err(invalid)?)
            .key_schema(key("id", KeyType::Range).map_err(invalid)?)
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .map_err(failed)?;
        Ok(DynamoEvents { client, table: table.to_owned() })
    }
}

/// What the service answered was not done; a request without an answer may have been.
fn failed<E: ProvideErrorMetadata + std::error::Error + 'static, R>(error: SdkError<E, R>) -> EventError
where
    R: std::fmt::Debug,
{
    let code = error.code().unwrap_or("no answer").to_owned();
    match &error {
        SdkError::ServiceError(answer) if !code.starts_with("InternalServerError") => {
            EventError::Rejected(format!("{code}: {}", answer.err().message().unwrap_or("no message")))
        }
        SdkError::ConstructionFailure(_) => EventError::Rejected("the request could not be made".to_owned()),
        // A connection that was never made carried no request.
        SdkError::DispatchFailure(failure) if failure.is_user() => EventError::Rejected("not sent".to_owned()),
        _ => EventError::Unavailable(code),
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn key(id: &EventId) -> Item {
    [("line".to_owned(), text(&id.line.0)), ("id".to_owned(), AttributeValue::N(id.id.to_string()))].into()
}

fn item(event: &Event) -> Item {
    let Event {
        id: _,
        line: _,
        tail,
        origin,
        destination,
        scheduled,
        departure_delay,
        arrival_delay,
        air_time,
        distance,
    } = event;
    let number = |value: &Option<i32>| value.map(|value| AttributeValue::N(value.to_string()));
    let rest = [
        ("tail", tail.as_deref().map(text)),
        ("origin", Some(text(origin))),
        ("destination", Some(text(destination))),
        ("scheduled", Some(text(scheduled))),
        ("departure_delay", number(departure_delay)),
        ("arrival_delay", number(arrival_delay)),
        ("air_time", number(air_time)),
        ("distance", number(&Some(*distance))),
    ];
    let rest = rest.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    key(&event.key()).into_iter().chain(rest).collect()
}

fn event(item: &Item) -> Result<Event, EventError> {
    let corrupt = |name: &str| EventError::Corrupt(format!("attribute {name}"));
    let string = |name: &str| item.get(name).map(|value| value.as_s().cloned().map_err(|_| corrupt(name))).transpose();
    let number = |name: &str| -> Result<Option<i64>, EventError> {
        let parse = |value: &AttributeValue| value.as_n().ok().and_then(|digits| digits.parse().ok());
        item.get(name).map(|value| parse(value).ok_or_else(|| corrupt(name))).transpose()
    };
    let small = |name: &str| -> Result<Option<i32>, EventError> {
        number(name)?.map(|value| i32::try_from(value).map_err(|_| corrupt(name))).transpose()
    };
    let needed = |name: &str| string(name)?.ok_or_else(|| corrupt(name));
    Ok(Event {
        id: number("id")?.and_then(|id| u64::try_from(id).ok()).ok_or_else(|| corrupt("id"))?,
        line: Line(needed("line")?),
        tail: string("tail")?,
        origin: needed("origin")?,
        destination: needed("destination")?,
        scheduled: needed("scheduled")?,
        departure_delay: small("departure_delay")?,
        arrival_delay: small("arrival_delay")?,
        air_time: small("air_time")?,
        distance: small("distance")?.ok_or_else(|| corrupt("distance"))?,
    })
}

/// The condition that what is stored is `seen`: its expression, names and values.
fn condition(seen: Option<&Event>) -> (String, HashMap<String, String>, Option<Item>) {
    let Some(seen) = seen else {
        return ("attribute_not_exists(#line)".to_owned(), [("#line".to_owned(), "line".to_owned())].into(), None);
    };
    let (mut terms, mut names, mut values) = (Vec::new(), HashMap::new(), Item::new());
    let stored = item(seen);
    for name in ATTRIBUTES {
        names.insert(format!("#{name}"), name.to_owned());
        match stored.get(name) {
            Some(value) => {
                terms.push(format!("#{name} = :{name}"));
                values.insert(format!(":{name}"), value.clone());
            }
            None => terms.push(format!("attribute_not_exists(#{name})")),
        }
    }
    (terms.join(" AND "), names, Some(values))
}

/// A failed condition is an answer, not an error.
fn swapped<T, E, R>(answer: Result<T, SdkError<E, R>>) -> Result<bool, EventError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

impl EventDao for DynamoEvents {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item(event)));
        put.send().await.map(drop).map_err(failed)
    }

    async fn remove(&self, id: &EventId) -> Result<(), EventError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key(id)));
        delete.send().await.map(drop).map_err(failed)
    }

    async fn events_of(&self, line: &Line) -> Result<Vec<Event>, EventError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#line = :line")
            .expression_attribute_names("#line", "line")
            .expression_attribute_values(":line", text(&line.0))
            .consistent_read(true)
            .into_paginator()
            .send();
        let mut events = Vec::new();
        while let Some(page) = pages.next().await {
            for item in page.map_err(failed)?.items() {
                events.push(event(item)?);
            }
        }
        Ok(events)
    }

    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(id))).consistent_read(true);
        get.send().await.map_err(failed)?.item().map(event).transpose()
    }

    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError> {
        let (expression, names, values) = condition(seen);
        match event {
            Some(event) => {
                let put = self.client.put_item().table_name(&self.table).set_item(Some(item(event)));
                let put = put.condition_expression(expression).set_expression_attribute_names(Some(names));
                swapped(put.set_expression_attribute_values(values).send().await)
            }
            None => {
                let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key(id)));
                let delete = delete.condition_expression(expression).set_expression_attribute_names(Some(names));
                swapped(delete.set_expression_attribute_values(values).send().await)
            }
        }
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError> {
        let start = after.map(|cursor| {
            let (line, id) = cursor.0.rsplit_once(' ').unwrap_or(("", ""));
            key(&EventId { line: Line(line.to_owned()), id: id.parse().unwrap_or(0) })
        });
        let scan = self.client.scan().table_name(&self.table).consistent_read(true).set_exclusive_start_key(start);
        let page = scan.limit(i32::try_from(limit).unwrap_or(i32::MAX)).send().await.map_err(failed)?;
        let rows: Vec<Event> = page.items().iter().map(event).collect::<Result<_, _>>()?;
        let last = |item: &Item| {
            let (line, id) = (item.get("line")?.as_s().ok()?, item.get("id")?.as_n().ok()?);
            Some(Cursor(format!("{line} {id}")))
        };
        let next = match page.last_evaluated_key() {
            None => None,
            Some(item) => Some(last(item).ok_or_else(|| EventError::Corrupt("the place in a scan".to_owned()))?),
        };
        Ok(Page { rows, next })
    }
}
