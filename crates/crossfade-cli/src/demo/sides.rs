//! The two databases of the demo, opened by URL, each with an empty table of its own.

use super::Args;
use crate::say::Failure;
use anyhow::anyhow;
use crossfade::rows::{Cursor, Page};
use crossfade_api::exit::Exit;
use crossfade_example_events::{
    DynamoEvents, Event, EventDao, EventError, EventId, Line, PostgresEvents, SqliteEvents,
};
use std::path::Path;
use tempfile::TempDir;

/// Events in one of the databases that the demo knows.
#[derive(Debug, Clone)]
pub(crate) enum Events {
    Sqlite(SqliteEvents),
    Postgres(PostgresEvents),
    Dynamo(DynamoEvents),
}

/// One side.
pub(crate) struct Opened {
    /// As the application sees it.
    pub(crate) events: Events,
    /// Where backfill, verification and repair find the same rows.
    pub(crate) place: Place,
    /// The URL as people may see it: without credentials.
    pub(crate) name: String,
}

/// A table that the data side can open.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) table: String,
}

/// Both sides, and what has to live as long as they do.
pub(crate) struct Sides {
    pub(crate) source: Opened,
    pub(crate) target: Opened,
    /// Removed when the story is over.
    pub(crate) folder: TempDir,
}

/// Opens both sides and makes their tables. Nothing is left half-made that was there before: an existing name is refused.
pub(crate) async fn open(args: &Args) -> Result<Sides, Failure> {
    let folder = tempfile::tempdir().map_err(|error| anyhow!(error).context("cannot make a temporary folder"))?;
    let source = match &args.source {
        Some(url) => open_url("source", url, &args.name).await?,
        None => {
            let path = folder.path().join("source.db");
            let events = SqliteEvents::create(&path).map_err(|error| failed("source", "sqlite", &error))?;
            let place = Place { url: format!("sqlite://{}", path.display()), table: SQLITE_TABLE.to_owned() };
            Opened { events: Events::Sqlite(events), place, name: "sqlite (a file in a temporary folder)".to_owned() }
        }
    };
    let target = match &args.target {
        Some(url) => open_url("target", url, &args.name).await?,
        None => embedded(args).await?,
    };
    Ok(Sides { source, target, folder })
}

/// A DynamoDB endpoint inside this process, in memory, spoken to over loopback.
async fn embedded(args: &Args) -> Result<Opened, Failure> {
    let listener = listen(args.port).map_err(|error| {
        Failure::usage(anyhow!(error).context(format!(
            "port {} of this machine is busy: choose another with --port, or 0 for a free one",
            args.port
        )))
    })?;
    let endpoint = format!("http://{}", listener.local_addr().map_err(anyhow::Error::from)?);
    let database =
        dynoxide::Database::memory().map_err(|error| anyhow!("the embedded endpoint does not start: {error}"))?;
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    let client = DynamoEvents::client("local", Some(&endpoint)).await;
    let events =
        DynamoEvents::create(client, &args.name).await.map_err(|error| failed("target", "dynamodb", &error))?;
    Ok(Opened {
        events: Events::Dynamo(events),
        // It does one thing after the other, and the users' writes wait in the same line.
        place: Place { url: format!("dynamodb://local?endpoint={endpoint}&concurrency=4"), table: args.name.clone() },
        name: "dynamodb (embedded, over loopback)".to_owned(),
    })
}

/// What the example calls its table in a file.
const SQLITE_TABLE: &str = "events";

/// Connections inherit the option from their listener; without it every answer in two parts waits 40 ms for an
/// acknowledgement.
fn listen(port: u16) -> std::io::Result<tokio::net::TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.bind((std::net::Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(1_024)
}

async fn open_url(side: &str, url: &str, name: &str) -> Result<Opened, Failure> {
    let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
    let opened = |events, table: String, name| Opened { events, place: Place { url: url.to_owned(), table }, name };
    match scheme {
        "sqlite" if !rest.is_empty() => {
            let events = SqliteEvents::create(Path::new(rest)).map_err(|error| failed(side, scheme, &error))?;
            Ok(opened(Events::Sqlite(events), SQLITE_TABLE.to_owned(), url.to_owned()))
        }
        "postgres" | "postgresql" => {
            let events = PostgresEvents::create(url, name).await.map_err(|error| failed(side, scheme, &error))?;
            let host = rest.rsplit_once('@').map_or(rest, |(_credentials, host)| host);
            let host = host.split_once('?').map_or(host, |(host, _parameters)| host);
            let shown = format!("{scheme}://{host} (schema {name})");
            Ok(opened(Events::Postgres(events), format!("{name}.events"), shown))
        }
        "dynamodb" if !rest.is_empty() => {
            let (region, endpoint) = match rest.split_once('?') {
                None => (rest, None),
                Some((region, query)) => match query.strip_prefix("endpoint=") {
                    Some(endpoint) => (region, Some(endpoint)),
                    None => return Err(Failure::usage(anyhow!("--{side}: after `?` only endpoint=URL is known"))),
                },
            };
            let client = DynamoEvents::client(region, endpoint).await;
            let events = DynamoEvents::create(client, name).await.map_err(|error| failed(side, scheme, &error))?;
            Ok(opened(Events::Dynamo(events), name.to_owned(), format!("{url} (table {name})")))
        }
        _ => Err(Failure::usage(anyhow!(
            "--{side} is no URL that the demo knows: use sqlite://PATH, postgres://USER@HOST/DATABASE or dynamodb://REGION[?endpoint=URL]"
        ))),
    }
}

fn failed(side: &str, scheme: &str, error: &EventError) -> Failure {
    match error {
        EventError::Rejected(reason) if reason.starts_with("no connection") => Failure::new(
            Exit::Unreachable,
            anyhow!("the {side} ({scheme}) cannot be reached: {reason}; check the URL and that the server runs"),
        ),
        EventError::Unavailable(reason) => Failure::new(
            Exit::Unreachable,
            anyhow!("the {side} ({scheme}) cannot be reached: {reason}; check the URL and that the server runs"),
        ),
        EventError::Rejected(reason) => Failure::usage(anyhow!(
            "the {side} ({scheme}) has no room for the demo: {reason}; the demo touches only what it made itself, so choose another --name or file"
        )),
        EventError::Refused(_) | EventError::Corrupt(_) => Failure::new(Exit::Failed, anyhow!("the {side}: {error}")),
    }
}

impl Events {
    /// Puts history into the source, as years of service would have.
    pub(crate) async fn load(&self, events: Vec<Event>) -> Result<(), EventError> {
        match self {
            Events::Sqlite(sqlite) => sqlite.load(events).await,
            Events::Postgres(postgres) => postgres.load(events).await,
            Events::Dynamo(dynamo) => {
                use futures::{StreamExt as _, TryStreamExt as _};
                let put = |event: Event| async move { dynamo.record(&event).await };
                futures::stream::iter(events).map(put).buffer_unordered(32).try_collect().await
            }
        }
    }
}

/// The same method of whichever database it is.
macro_rules! each {
    ($self:ident, $events:ident => $call:expr) => {
        match $self {
            Events::Sqlite($events) => $call,
            Events::Postgres($events) => $call,
            Events::Dynamo($events) => $call,
        }
    };
}

impl EventDao for Events {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        each!(self, events => events.record(event).await)
    }

    async fn remove(&self, id: &EventId) -> Result<(), EventError> {
        each!(self, events => events.remove(id).await)
    }

    async fn events_of(&self, line: &Line) -> Result<Vec<Event>, EventError> {
        each!(self, events => events.events_of(line).await)
    }

    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError> {
        each!(self, events => events.snapshot(id).await)
    }

    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError> {
        each!(self, events => events.restore(id, seen, event).await)
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError> {
        each!(self, events => events.scan(after, limit).await)
    }
}
