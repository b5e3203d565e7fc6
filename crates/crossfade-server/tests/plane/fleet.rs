//! A fleet of real processes under one control plane: increments go on while authority moves over and back between two
//! databases, and none is lost.

use crate::support::bench_with;
use crossfade::rows::RowPair;
use crossfade::{Migration, plan};
use crossfade_api::wire::*;
use crossfade_core::{Effect, Options as PlanOptions, PlanSpec, Side, Stage, Verdict};
use rusqlite::{Connection, OptionalExtension};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

const SERVER: &str = "CROSSFADE_TEST_FLEET_SERVER";
const FOLDER: &str = "CROSSFADE_TEST_FLEET_FOLDER";
const KEYS: i64 = 16;
const TOKEN: &str = "fedcba9876543210fedcba9876543210";

#[derive(Debug, Clone, PartialEq)]
enum CounterError {
    Refused(String),
    Sqlite(String),
}

fn effect(error: &CounterError) -> Effect {
    match error {
        CounterError::Refused(_) => Effect::Refused,
        CounterError::Sqlite(_) => Effect::Unknown,
    }
}

/// Counters in a SQLite file.
#[derive(Clone)]
struct Counters(Arc<Mutex<Connection>>);

fn open(path: &Path) -> Counters {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    Counters(Arc::new(Mutex::new(connection)))
}

impl Counters {
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, CounterError> {
        let connection = self.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&connection.lock().unwrap())).await.unwrap();
        done.map_err(|error| CounterError::Sqlite(error.to_string()))
    }

    /// The authority counts.
    async fn add(self, key: i64) -> Result<i64, CounterError> {
        self.with(move |sql| sql.query_row("UPDATE n SET v = v + 1 WHERE k = ? RETURNING v", [key], |row| row.get(0)))
            .await
    }

    /// The secondary is handed the result (R17).
    async fn set(self, key: i64, count: i64) -> Result<(), CounterError> {
        self.with(move |sql| sql.execute("UPDATE n SET v = ?2 WHERE k = ?1", [key, count]).map(drop)).await
    }
}

struct Pair([Counters; 2]);

impl Pair {
    fn on(&self, side: Side) -> &Counters {
        match side {
            Side::Source => &self.0[0],
            Side::Target => &self.0[1],
        }
    }
}

impl RowPair for Pair {
    type Id = i64;
    type Row = i64;
    type Error = String;

    async fn snapshot(&self, side: Side, id: &i64) -> Result<Option<i64>, String> {
        let id = *id;
        let read =
            move |sql: &Connection| sql.query_row("SELECT v FROM n WHERE k = ?", [id], |row| row.get(0)).optional();
        self.on(side).with(read).await.map_err(|error| format!("{error:?}"))
    }

    async fn restore(&self, side: Side, id: &i64, seen: Option<&i64>, row: Option<&i64>) -> Result<bool, String> {
        let (id, seen, row) = (*id, seen.copied(), row.copied());
        let swap = move |sql: &Connection| match (seen, row) {
            (Some(seen), Some(row)) => sql.execute("UPDATE n SET v = ?3 WHERE k = ?1 AND v = ?2", [id, seen, row]),
            (None, _) | (_, None) => Ok(0),
        };
        self.on(side).with(swap).await.map(|changed| changed == 1).map_err(|error| format!("{error:?}"))
    }
}

fn files(folder: &Path) -> [PathBuf; 2] {
    [folder.join("source.db"), folder.join("target.db")]
}

/// Not a test of its own: a process of the application. Ends when its standard input does, and says what it was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_counts() {
    let (Ok(url), Ok(folder)) = (std::env::var(SERVER), std::env::var(FOLDER)) else { return };
    let [source, target] = files(Path::new(&folder)).map(|path| open(&path));
    let from = plan::server(url).token(TOKEN).host("fleet");
    let membership = from.membership();
    let migration = Migration::builder("events").plan(from).build().await.unwrap();
    migration.attach_rows(Pair([source.clone(), target.clone()]));
    let mut stop = Box::pin(async { tokio::io::stdin().read(&mut [0u8; 1]).await });
    let (mut acknowledged, mut unsure) = (0u64, 0u64);
    for turn in 0i64.. {
        if futures::poll!(stop.as_mut()).is_ready() {
            break;
        }
        let key = (turn * 7 + i64::from(std::process::id())) % KEYS;
        let (one, two) = (source.clone(), target.clone());
        let (one_mirror, two_mirror) = (source.clone(), target.clone());
        let added = migration
            .write(&key)
            .source(move || one.add(key))
            .target(move || two.add(key))
            .mirror_to_source(move |count| one_mirror.set(key, count))
            .mirror_to_target(move |count| two_mirror.set(key, count))
            .run_with(|refused| CounterError::Refused(refused.to_string()), effect)
            .await;
        match added {
            Ok(_) => acknowledged += 1,
            Err(CounterError::Refused(_)) => {}
            Err(CounterError::Sqlite(_)) => unsure += 1,
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let left = membership.leave(Duration::from_secs(20)).await;
    println!("counted {acknowledged} {unsure} {left}");
}

fn start(url: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fleet::child_that_counts", "--nocapture"])
        .env(SERVER, url)
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Waits until no step is under way.
async fn settle(admin: &crate::support::Client) -> Status {
    for _ in 0..3_000 {
        let status = admin.status().await;
        if status.step.is_none() {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the step never ends: {:?}", admin.status().await.step);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authority_moves_under_a_counting_fleet_and_no_increment_is_lost() {
    let bench = bench_with(|options| {
        options.heartbeat = Duration::from_millis(100);
        options.tokens = crossfade_server::access::Tokens::parse(&format!("admin test {TOKEN}")).unwrap();
    })
    .await;
    let mut admin = bench.admin.clone();
    admin.token = TOKEN.to_owned();
    let folder = bench.folder.path();
    for path in files(folder) {
        let sql = Connection::open(path).unwrap();
        sql.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE n (k INTEGER PRIMARY KEY, v INTEGER NOT NULL)")
            .unwrap();
        for key in 0..KEYS {
            sql.execute("INSERT INTO n VALUES (?, 0)", [key]).unwrap();
        }
    }
    let options = PlanOptions { linger: Duration::from_millis(200), ..PlanOptions::default() };
    let plan = PlanSpec { options, ..PlanSpec::at("events", Stage::DualWrite) };
    let _: Status = admin.post("/v1/migrations", &CreateRequest { plan, bypassing_writers: Vec::new() }).await.unwrap();
    let mut fleet: Vec<Child> = (0..3).map(|_| start(&admin.url, folder)).collect();
    while admin.status().await.instances < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    admin.ramp(Stage::Shadow, "100").await.unwrap();
    assert_eq!(settle(&admin).await.position, "shadow");
    admin.report_tables().await;
    // Both sides began with the same rows: there is no history to move, and nothing that differed before.
    for (kind, outcome) in
        [(InstanceKind::Backfill, Outcome::Complete), (InstanceKind::Verify, Outcome::Verdict(Verdict::Verified))]
    {
        let id = kind.name();
        admin.join(id, kind).await;
        let path = |what: &str| format!("/v1/migrations/events/instances/{id}/{what}");
        while admin.post::<RunTicket>(&path("begin"), &()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let end = RunEnd { outcome, marks: MarkChange::default(), progress: None };
        admin.post::<()>(&path("end"), &end).await.unwrap();
        admin.post::<()>(&path("goodbye"), &Departure::default()).await.unwrap();
    }
    let mut moves = 0;
    for (stage, percent, position) in [
        (Stage::Live, "40", "shadow, 40 % of keys at live"),
        (Stage::Live, "100", "live"),
        (Stage::Live, "25", "shadow, 25 % of keys at live"),
        (Stage::Live, "0", "shadow"),
    ] {
        for attempt in 0.. {
            // A mark of the moment refuses or abandons a step: the operator comes again.
            if admin.ramp(stage, percent).await.is_ok() && settle(&admin).await.position == position {
                break;
            }
            assert!(attempt < 200, "{:?}", admin.status().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        moves += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(moves, 4);
    let (mut told, mut unsure) = (0u64, 0u64);
    for child in &mut fleet {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"\n").await.unwrap();
        drop(stdin);
        let counted = loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if let Some((_, counted)) = line.split_once("counted ") {
                break counted.to_owned();
            }
        };
        let words: Vec<&str> = counted.split(' ').collect();
        told += words[0].parse::<u64>().unwrap();
        unsure += words[1].parse::<u64>().unwrap();
        assert_eq!(words[2], "true", "goodbye was heard");
        child.wait().await.unwrap();
    }
    let status = admin.status().await;
    assert_eq!(status.instances, 0, "everybody left in good order");
    assert!(status.evidence.suspects.is_empty());
    let sum: i64 =
        Connection::open(&files(folder)[0]).unwrap().query_row("SELECT sum(v) FROM n", [], |row| row.get(0)).unwrap();
    let sum = u64::try_from(sum).unwrap();
    assert!(told > 100, "only {told} increments");
    assert!((told..=told + unsure).contains(&sum), "{told} increments were acknowledged, {sum} are there");
}
