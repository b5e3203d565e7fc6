//! The events service as a process under a control plane: what a team deploys, here with users of its own.
//!
//! ```sh
//! crossfade serve --first-token-file token &
//! cargo run -p crossfade-example-events --example service -- --server http://127.0.0.1:7420 --token-file token \
//!     --source source.db --target target.db --part 0/2 --load
//! ```
//!
//! Several may run on the same files, each with a part of the flight lines. `--wrong-one-in N` gives the new side a
//! bug, so that there is something to find. Ends at SIGTERM or SIGINT, with a goodbye to the plane.

use crossfade::rows::{Cursor, Page};
use crossfade::{Migration, plan};
use crossfade_example_events::{
    Event, EventDao, EventError, EventId, Flight, Line, MigratingEventDao, SqliteEvents, embedded, flights,
};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const USAGE: &str = "--server URL --token-file FILE --source FILE --target FILE [--migration ID] [--part 0/1] \
    [--rows 6000] [--per-second 100] [--wrong-one-in N] [--host NAME] [--load]";

/// The new implementation, with a bug in one of so many events.
struct New {
    events: SqliteEvents,
    wrong_one_in: Option<u64>,
}

impl EventDao for New {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        if self.wrong_one_in.is_some_and(|n| event.id.is_multiple_of(n)) {
            return self.events.record(&Event { distance: event.distance + 1, tail: None, ..event.clone() }).await;
        }
        self.events.record(event).await
    }

    async fn remove(&self, id: &EventId) -> Result<(), EventError> {
        self.events.remove(id).await
    }

    async fn events_of(&self, line: &Line) -> Result<Vec<Event>, EventError> {
        self.events.events_of(line).await
    }

    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError> {
        self.events.snapshot(id).await
    }

    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError> {
        self.events.restore(id, seen, event).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError> {
        self.events.scan(after, limit).await
    }
}

struct Arguments {
    migration: String,
    server: String,
    token_file: PathBuf,
    source: PathBuf,
    target: PathBuf,
    /// This part of the lines, of so many.
    part: (usize, usize),
    rows: usize,
    per_second: f64,
    wrong_one_in: Option<u64>,
    host: String,
    load: bool,
}

fn arguments() -> Option<Arguments> {
    let mut given = HashMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = if word == "--load" { String::new() } else { words.next()? };
        given.insert(word, value);
    }
    let mut take = |name: &str| given.remove(name);
    let part = take("--part").unwrap_or_else(|| "0/1".to_owned());
    let (part, of) = part.split_once('/')?;
    let arguments = Arguments {
        migration: take("--migration").unwrap_or_else(|| "events".to_owned()),
        server: take("--server")?,
        token_file: take("--token-file")?.into(),
        source: take("--source")?.into(),
        target: take("--target")?.into(),
        part: (part.parse().ok()?, of.parse().ok()?),
        rows: take("--rows").map_or(Some(6_000), |rows| rows.parse().ok())?,
        per_second: take("--per-second").map_or(Some(100.0), |rate| rate.parse().ok())?,
        wrong_one_in: match take("--wrong-one-in") {
            Some(n) => Some(n.parse().ok()?),
            None => None,
        },
        host: take("--host").unwrap_or_default(),
        load: take("--load").is_some(),
    };
    given.is_empty().then_some(arguments)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = arguments().ok_or(USAGE)?;
    let all = flights(embedded(), arguments.rows)?;
    let (source, target) = if arguments.load {
        let source = SqliteEvents::create(&arguments.source)?;
        source.load(all.iter().map(|flight| flight.event.clone()).collect()).await?;
        (source, SqliteEvents::create(&arguments.target)?)
    } else {
        (SqliteEvents::open(&arguments.source)?, SqliteEvents::open(&arguments.target)?)
    };
    let (part, of) = arguments.part;
    let digest = |line: &Line| line.0.bytes().fold(7usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mine: Vec<Flight> = all.into_iter().filter(|flight| digest(&flight.event.line) % of == part).collect();

    let plan = plan::server(&arguments.server).token_file(&arguments.token_file).host(&arguments.host);
    let membership = plan.membership();
    let migration = Migration::builder(&arguments.migration).plan(plan).build().await?;
    let target = New { events: target, wrong_one_in: arguments.wrong_one_in };
    let dao = MigratingEventDao::new(source, target, migration);
    println!("serving");

    let traffic = tokio::spawn(traffic(dao, mine, arguments.per_second));
    stopped().await?;
    // A write that is cut off finishes in the background; the goodbye waits for it.
    traffic.abort();
    let said = membership.leave(Duration::from_secs(10)).await;
    println!("{}", if said { "left in good order" } else { "left without a goodbye" });
    Ok(())
}

/// Users: each round amends an event, and reads the line it belongs to and another.
async fn traffic<D: EventDao>(dao: D, flights: Vec<Flight>, per_second: f64) {
    let dao = Arc::new(dao);
    let mut beat = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut turn = 0usize;
    loop {
        beat.tick().await;
        turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = |shift: u32| (turn >> shift).checked_rem(flights.len()).and_then(|place| flights.get(place));
        let (Some(one), Some(other)) = (place(33), place(20)) else { return };
        let late = i32::try_from((turn >> 40) % 180).unwrap_or_default();
        let event = Event { arrival_delay: Some(late), ..one.event.clone() };
        for done in [
            dao.record(&event).await,
            dao.events_of(&one.event.line).await.map(drop),
            dao.events_of(&other.event.line).await.map(drop),
        ] {
            if let Err(error) = done {
                eprintln!("a user was refused: {error}");
            }
        }
    }
}

/// Returns at SIGINT or SIGTERM.
async fn stopped() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
