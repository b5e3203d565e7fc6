//! What a real DynamoDB does and an emulator does not: throttling, items left undone, conflicts, answers that are lost, requests that land later.
//!
//! Sits between the SDK and its connection, and changes requests and answers on the wire, so that all of the store above it is what is tested.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use serde_json::{Value as Json, json};

/// What happens to one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is answered by "slower"; nothing is done.
    Throttle,
    /// It is answered by "the item is part of a transaction under way"; nothing is done.
    TransactionConflict,
    /// Of a batch the first half is done, and the rest handed back.
    HalfUnprocessed,
    /// A batch is handed back whole.
    AllUnprocessed,
    /// The service says that something is wrong with it; nothing is done, but nobody knows.
    InternalError,
    /// The connection breaks before it arrives.
    LostRequest,
    /// It is done; its answer is lost.
    LostAnswer,
    /// It gets no answer in time; it arrives when [`Faults::land`] is called.
    LandsLater,
}

struct Rule {
    operation: Option<&'static str>,
    fault: Fault,
    left: u32,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    late: Vec<(SharedHttpConnector, HttpRequest)>,
    seen: BTreeMap<String, u64>,
}

/// Faults to come. Clones share them.
#[derive(Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}

impl Faults {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next `times` requests of `operation` (`PutItem`, ...; `None` is any) go wrong like this. Rules are used up in the order they were given.
    pub fn inject(&self, operation: Option<&'static str>, fault: Fault, times: u32) {
        self.with(|s| s.rules.push(Rule { operation, fault, left: times }));
    }

    /// Takes back what has not happened yet.
    pub fn clear(&self) {
        self.with(|s| s.rules.clear());
    }

    /// How many requests of an operation were made, those that went wrong included.
    #[must_use]
    pub fn requests(&self, operation: &str) -> u64 {
        self.with(|s| s.seen.get(operation).copied().unwrap_or(0))
    }

    /// Lets the requests of [`Fault::LandsLater`] arrive, in their order; how many there were.
    pub async fn land(&self) -> usize {
        let late = self.with(|s| std::mem::take(&mut s.late));
        let count = late.len();
        for (connector, request) in late {
            // Nobody waits for these answers any more.
            if let Ok(answer) = connector.call(request).await {
                let _ = ByteStream::new(answer.into_body()).collect().await;
            }
        }
        count
    }

    pub(super) fn around(&self, inner: SharedHttpClient) -> SharedHttpClient {
        SharedHttpClient::new(Client { inner, faults: self.clone() })
    }

    fn next(&self, operation: &str) -> Option<Fault> {
        self.with(|s| {
            *s.seen.entry(operation.to_owned()).or_default() += 1;
            let rule = s.rules.iter_mut().find(|r| r.left > 0 && r.operation.is_none_or(|o| o == operation))?;
            rule.left -= 1;
            Some(rule.fault)
        })
    }
}

#[derive(Debug)]
struct Client {
    inner: SharedHttpClient,
    faults: Faults,
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            inner: self.inner.http_connector(settings, components),
            faults: self.faults.clone(),
        })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    faults: Faults,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = request
            .headers()
            .get("x-amz-target")
            .and_then(|t| t.rsplit_once('.'))
            .map(|(_, o)| o.to_owned())
            .unwrap_or_default();
        let (inner, faults) = (self.inner.clone(), self.faults.clone());
        HttpConnectorFuture::new(async move {
            match faults.next(&operation) {
                None => inner.call(request).await,
                Some(Fault::Throttle) => error(400, "ProvisionedThroughputExceededException"),
                Some(Fault::TransactionConflict) => error(400, "TransactionConflictException"),
                Some(Fault::InternalError) => error(500, "InternalServerError"),
                Some(Fault::LostRequest) => Err(ConnectorError::io("the connection was reset (injected)".into())),
                Some(Fault::LostAnswer) => {
                    let answer = inner.call(request).await?;
                    let _ = ByteStream::new(answer.into_body()).collect().await;
                    Err(ConnectorError::io("the connection was reset (injected)".into()))
                }
                Some(Fault::LandsLater) => {
                    faults.with(|s| s.late.push((inner, request)));
                    Err(ConnectorError::timeout("no answer (injected)".into()))
                }
                Some(Fault::HalfUnprocessed) => unprocessed(&inner, request, |n| n / 2).await,
                Some(Fault::AllUnprocessed) => unprocessed(&inner, request, |_| 0).await,
            }
        })
    }
}

fn answer(status: u16, body: &Json) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(status).map_err(|e| ConnectorError::user(e.into()))?;
    let mut response = HttpResponse::new(status, SdkBody::from(body.to_string()));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    Ok(response)
}

fn error(status: u16, code: &str) -> Result<HttpResponse, ConnectorError> {
    answer(status, &json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "injected" }))
}

fn wrong(what: &str) -> ConnectorError {
    ConnectorError::user(format!("a batch that cannot be cut: {what}").into())
}

/// Sends `keep(n)` of the n items of a batch, and hands the others back.
async fn unprocessed(
    inner: &SharedHttpConnector,
    mut request: HttpRequest,
    keep: impl Fn(usize) -> usize,
) -> Result<HttpResponse, ConnectorError> {
    let mut sent: Json =
        serde_json::from_slice(request.body().bytes().unwrap_or_default()).map_err(|_| wrong("no json"))?;
    let mut back = serde_json::Map::new();
    let (mut sent_count, mut keys) = (0, false);
    for (table, items) in sent["RequestItems"].as_object_mut().ok_or_else(|| wrong("no items"))? {
        keys = items.is_object();
        let mut returned = items.clone();
        let list = if keys { &mut items["Keys"] } else { items };
        let list = list.as_array_mut().ok_or_else(|| wrong("no list"))?;
        let rest = list.split_off(keep(list.len()));
        sent_count += list.len();
        if !rest.is_empty() {
            if keys {
                returned["Keys"] = Json::Array(rest);
            } else {
                returned = Json::Array(rest);
            }
            back.insert(table.clone(), returned);
        }
    }
    let name = if keys { "UnprocessedKeys" } else { "UnprocessedItems" };
    if sent_count == 0 {
        return answer(200, &json!({ "Responses": {}, name: back }));
    }
    let body = sent.to_string();
    request.headers_mut().insert("content-length", body.len().to_string());
    *request.body_mut() = SdkBody::from(body);
    let response = inner.call(request).await?;
    let status = response.status().as_u16();
    let bytes =
        ByteStream::new(response.into_body()).collect().await.map_err(|e| ConnectorError::io(e.into()))?.into_bytes();
    let mut body: Json = serde_json::from_slice(&bytes).map_err(|_| wrong("an answer without json"))?;
    if status == 200 {
        body[name] = Json::Object(back);
    }
    answer(status, &body)
}
