//! The service's own pairs, through every stage, edge and fault: what a team runs in its own test suite.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use crossfade::Migration;
use crossfade::testing::{Visit, Walked, walk};
use crossfade_example_events::{DynamoEvents, Event, EventDao, Line, MigratingEventDao, PostgresEvents, SqliteEvents};
use std::sync::Arc;

fn event(number: u64) -> Event {
    Event {
        id: number % 9,
        line: Line(format!("UA{}", number % 3)),
        tail: number.is_multiple_of(2).then(|| "N14228".to_owned()),
        origin: "EWR".to_owned(),
        destination: "IAH".to_owned(),
        scheduled: "2013-01-01T10:00:00Z".to_owned(),
        departure_delay: Some(number as i32),
        arrival_delay: (!number.is_multiple_of(4)).then_some(-3),
        air_time: None,
        distance: 1_400,
    }
}

/// A user who records an event, sees it, and sometimes removes it and sees that too.
async fn user<D: EventDao>(dao: Arc<D>, visit: Visit) -> Result<(), String> {
    let event = event(visit.number);
    let seen = async |expected: Option<&Event>| {
        let events = dao.events_of(&event.line).await.map_err(|error| error.to_string())?;
        let found = events.iter().find(|found| found.id == event.id);
        if found == expected { Ok(()) } else { Err(format!("expected {expected:?}, read {found:?}")) }
    };
    dao.record(&event).await.map_err(|error| error.to_string())?;
    seen(Some(&event)).await?;
    if visit.number.is_multiple_of(3) {
        dao.remove(&event.key()).await.map_err(|error| error.to_string())?;
        seen(None).await?;
    }
    Ok(())
}

async fn through<S: EventDao + Clone, T: EventDao + Clone>(source: S, target: T) -> Walked {
    let make = |migration: Migration| MigratingEventDao::new(source.clone(), target.clone(), migration);
    walk("events", make, |dao| dao.rows(), user).await.unwrap()
}

fn assert_whole(walked: Walked) {
    assert!(walked.visits > 200 && walked.verifications > 20 && walked.repaired > 20, "{walked:?}");
}

fn sqlite(folder: &tempfile::TempDir, name: &str) -> SqliteEvents {
    SqliteEvents::create(&folder.path().join(name)).unwrap()
}

/// DynamoDB inside the test, spoken to by the official SDK over loopback.
async fn dynamo() -> DynamoEvents {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // Connections inherit it: otherwise answers in two parts wait 40 ms for an acknowledgement.
    socket.set_nodelay(true).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(64).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()));
    DynamoEvents::create(DynamoEvents::client("local", Some(&endpoint)).await, "events").await.unwrap()
}

async fn postgres(schema: &str) -> PostgresEvents {
    let url = std::env::var("CROSSFADE_TEST_POSTGRES")
        .expect("CROSSFADE_TEST_POSTGRES is not set: run ./test, or `eval \"$(./tests/servers start)\"`");
    PostgresEvents::create(&url, &format!("{schema}_{}", std::process::id())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_sqlite_to_dynamodb() {
    let folder = tempfile::tempdir().unwrap();
    assert_whole(through(sqlite(&folder, "source.db"), dynamo().await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_postgres_to_dynamodb() {
    assert_whole(through(postgres("walk_source").await, dynamo().await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_dynamodb_to_postgres() {
    assert_whole(through(dynamo().await, postgres("walk_target").await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_sqlite_to_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    assert_whole(through(sqlite(&folder, "source.db"), sqlite(&folder, "target.db")).await);
}
