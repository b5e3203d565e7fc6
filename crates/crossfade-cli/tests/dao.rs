//! A migration of a DAO whose layout only its application knows, by the documented calls and commands alone: created,
//! dual-written, backfilled, verified and taken to live through a real control plane. Judged at the end by reading both
//! files without the library.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use crossfade::core::Verdict;
use crossfade::rows::{Cursor, Page, Run, RunError, with_fields};
use crossfade::{Effect, Key, Migration, Refused, plan};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Key)]
struct EventId(u64);

#[derive(Debug, Clone, PartialEq, serde::Serialize)]
struct Event {
    id: u64,
    user: String,
    note: String,
}

impl Event {
    fn new(id: u64, note: &str) -> Event {
        Event { id, user: format!("user-{}", id % 7), note: note.to_owned() }
    }

    fn key(&self) -> EventId {
        EventId(self.id)
    }
}

#[derive(Debug, Clone, thiserror::Error)]
enum EventError {
    #[error(transparent)]
    Refused(Refused),
    #[error("{0}")]
    Store(String),
}

impl EventError {
    fn effect(&self) -> Effect {
        match self {
            EventError::Refused(_) => Effect::Refused,
            EventError::Store(_) => Effect::Unknown,
        }
    }
}

impl From<rusqlite::Error> for EventError {
    fn from(error: rusqlite::Error) -> EventError {
        EventError::Store(error.to_string())
    }
}

#[crossfade::dao(refused = EventError::Refused, effect = EventError::effect)]
trait EventDao: Send + Sync + 'static {
    #[write(key = event.user, row = event.key())]
    async fn record(&self, event: &Event) -> Result<(), EventError>;
    #[snapshot]
    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError>;
    #[restore]
    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError>;
    #[scan(key = row.user, row = row.key())]
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError>;
}

/// The layout of the source: three columns in one text, under a number.
struct Lines(Mutex<Connection>);

/// The layout of the target: a key that sorts, and a JSON document without the id.
struct Documents(Mutex<Connection>);

fn packed(event: &Event) -> String {
    format!("{}|{}", event.user, event.note)
}

fn unpacked(id: u64, line: &str) -> Event {
    let (user, note) = line.split_once('|').unwrap();
    Event { id, user: user.to_owned(), note: note.to_owned() }
}

fn document_key(id: u64) -> String {
    format!("event/{id:020}")
}

fn document(event: &Event) -> String {
    json!({ "by": event.user, "says": event.note }).to_string()
}

fn from_document(key: &str, text: &str) -> Event {
    let value: Json = serde_json::from_str(text).unwrap();
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    Event { id: key.rsplit('/').next().unwrap().parse().unwrap(), user: text("by"), note: text("says") }
}

impl Lines {
    fn open(path: &Path) -> Lines {
        let file = Connection::open(path).unwrap();
        file.execute_batch("CREATE TABLE IF NOT EXISTS lines (n INTEGER PRIMARY KEY, line TEXT NOT NULL)").unwrap();
        Lines(Mutex::new(file))
    }

    fn all(&self) -> BTreeMap<u64, Event> {
        let file = self.0.lock().unwrap();
        let mut select = file.prepare("SELECT n, line FROM lines").unwrap();
        let rows = select.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?))).unwrap();
        rows.map(|row| row.map(|(n, line)| (n, unpacked(n, &line))).unwrap()).collect()
    }
}

impl Documents {
    fn open(path: &Path) -> Documents {
        let file = Connection::open(path).unwrap();
        file.execute_batch("CREATE TABLE IF NOT EXISTS documents (k TEXT PRIMARY KEY, v TEXT NOT NULL)").unwrap();
        Documents(Mutex::new(file))
    }

    fn all(&self) -> BTreeMap<u64, Event> {
        let file = self.0.lock().unwrap();
        let mut select = file.prepare("SELECT k, v FROM documents").unwrap();
        let rows = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
        rows.map(|row| row.map(|(k, v)| from_document(&k, &v)).map(|event| (event.id, event)).unwrap()).collect()
    }
}

impl EventDao for Lines {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        let put = "INSERT OR REPLACE INTO lines (n, line) VALUES (?1, ?2)";
        self.0.lock().unwrap().execute(put, params![event.id, packed(event)])?;
        Ok(())
    }

    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError> {
        let file = self.0.lock().unwrap();
        let line = file.query_row("SELECT line FROM lines WHERE n = ?1", [id.0], |row| row.get::<_, String>(0));
        Ok(line.optional()?.map(|line| unpacked(id.0, &line)))
    }

    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError> {
        let file = self.0.lock().unwrap();
        let changed = match (seen, event) {
            (None, None) => return Ok(true),
            (None, Some(event)) => {
                file.execute("INSERT OR IGNORE INTO lines (n, line) VALUES (?1, ?2)", params![id.0, packed(event)])?
            }
            (Some(seen), None) => {
                file.execute("DELETE FROM lines WHERE n = ?1 AND line = ?2", params![id.0, packed(seen)])?
            }
            (Some(seen), Some(event)) => {
                let put = "UPDATE lines SET line = ?3 WHERE n = ?1 AND line = ?2";
                file.execute(put, params![id.0, packed(seen), packed(event)])?
            }
        };
        Ok(changed == 1)
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError> {
        let after = after.map_or(-1, |cursor| cursor.0.parse::<i64>().unwrap());
        let file = self.0.lock().unwrap();
        let mut select = file.prepare("SELECT n, line FROM lines WHERE n > ?1 ORDER BY n LIMIT ?2")?;
        let rows = select.query_map(params![after, limit as u64], |row| {
            Ok(unpacked(row.get::<_, u64>(0)?, &row.get::<_, String>(1)?))
        })?;
        let rows: Vec<Event> = rows.collect::<Result<_, _>>()?;
        let next = rows.last().filter(|_| rows.len() == limit).map(|row| Cursor(row.id.to_string()));
        Ok(Page { rows, next })
    }
}

impl EventDao for Documents {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        let put = "INSERT OR REPLACE INTO documents (k, v) VALUES (?1, ?2)";
        self.0.lock().unwrap().execute(put, params![document_key(event.id), document(event)])?;
        Ok(())
    }

    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError> {
        let (file, key) = (self.0.lock().unwrap(), document_key(id.0));
        let found = file.query_row("SELECT v FROM documents WHERE k = ?1", [&key], |row| row.get::<_, String>(0));
        Ok(found.optional()?.map(|text| from_document(&key, &text)))
    }

    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError> {
        let (file, key) = (self.0.lock().unwrap(), document_key(id.0));
        let changed = match (seen, event) {
            (None, None) => return Ok(true),
            (None, Some(event)) => {
                file.execute("INSERT OR IGNORE INTO documents (k, v) VALUES (?1, ?2)", params![key, document(event)])?
            }
            (Some(seen), None) => {
                file.execute("DELETE FROM documents WHERE k = ?1 AND v = ?2", params![key, document(seen)])?
            }
            (Some(seen), Some(event)) => {
                let put = "UPDATE documents SET v = ?3 WHERE k = ?1 AND v = ?2";
                file.execute(put, params![key, document(seen), document(event)])?
            }
        };
        Ok(changed == 1)
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError> {
        let after = after.map_or_else(String::new, |cursor| cursor.0);
        let file = self.0.lock().unwrap();
        let mut select = file.prepare("SELECT k, v FROM documents WHERE k > ?1 ORDER BY k LIMIT ?2")?;
        let rows = select.query_map(params![after, limit as u64], |row| {
            Ok(from_document(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?))
        })?;
        let rows: Vec<Event> = rows.collect::<Result<_, _>>()?;
        let next = rows.last().filter(|_| rows.len() == limit).map(|row| Cursor(document_key(row.id)));
        Ok(Page { rows, next })
    }
}

/// A control plane that knows no migration, and commands against it.
struct Home {
    folder: tempfile::TempDir,
    url: String,
    plane: Child,
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        let mut plane = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        plane.current_dir(folder.path());
        plane.args(["--json", "serve", "--listen", "127.0.0.1:0", "--first-token-file", "token"]);
        let mut plane = plane.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(plane.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let listening: Json = serde_json::from_str(&line).unwrap();
        Home { url: listening["url"].as_str().unwrap().to_owned(), folder, plane }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        let token = std::fs::read_to_string(self.folder.path().join("token")).unwrap();
        command.current_dir(self.folder.path()).args(words);
        command.env("CROSSFADE_SERVER", &self.url).env("CROSSFADE_TOKEN", token.trim()).output().unwrap()
    }

    /// A command off the runtime's threads: the application answers the plane meanwhile.
    async fn command(self: &Arc<Self>, words: &'static [&'static str]) -> Output {
        let home = Arc::clone(self);
        tokio::task::spawn_blocking(move || home.run(words)).await.unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.plane.kill();
        let _ = self.plane.wait();
    }
}

fn code(out: &Output) -> i32 {
    out.status.code().unwrap()
}

fn errors(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn result(out: &Output) -> Json {
    let text = String::from_utf8_lossy(&out.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{text}{}", errors(out)))
}

#[test]
fn creating_a_migration_again_changes_nothing_and_another_of_its_name_is_refused() {
    let home = Home::new();
    let words = ["--json", "create", "events", "--salt", "s1", "--whole", "--writer", "cron", "--writer", "trigger"];
    let made = home.run(&words);
    assert_eq!(code(&made), 0, "{}", errors(&made));
    let made = result(&made);
    let expected = json!({
        "event": "result", "migration": "events", "created": true, "position": "off", "salt": "s1", "whole": true,
        "bypassing-writers": ["cron", "trigger"], "revision": made["revision"],
    });
    assert_eq!(made, expected);
    let again = home.run(&words);
    assert_eq!((code(&again), &result(&again)["created"]), (0, &Json::Bool(false)));
    assert_eq!(result(&again)["revision"], made["revision"]);

    // The declared writers would be forgotten, and a gate with them.
    let other = home.run(&["--json", "create", "events", "--salt", "s1", "--whole"]);
    assert_eq!((code(&other), &result(&other)["code"]), (3, &json!("exists")), "{}", errors(&other));
    let status = result(&home.run(&["--json", "status", "events"]));
    assert_eq!(status["migrations"][0]["evidence"]["bypassing-writers"], json!(["cron", "trigger"]));
    assert_eq!(status["migrations"][0]["publication"]["revision"], made["revision"]);

    let wrong = home.run(&["create", "No Good"]);
    assert_eq!(code(&wrong), 2, "{}", errors(&wrong));
    let nowhere = Command::new(env!("CARGO_BIN_EXE_crossfade"))
        .args(["create", "events", "--server", "http://127.0.0.1:1"])
        .env_remove("CROSSFADE_TOKEN")
        .output()
        .unwrap();
    assert_eq!(code(&nowhere), 6, "{}", errors(&nowhere));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dao_that_only_its_application_understands_is_taken_to_live() {
    let home = Arc::new(Home::new());
    let [source, target] = ["lines.db", "documents.db"].map(|name| home.folder.path().join(name));
    let before = Lines::open(&source);
    for id in 1..=500 {
        before.record(&Event::new(id, "of old")).await.unwrap();
    }
    drop(before);

    let made = home.command(&["create", "events"]).await;
    assert_eq!(code(&made), 0, "{}", errors(&made));
    let issued = home.command(&["--json", "token", "issue", "app", "instance"]).await;
    let token = result(&issued)["token"].as_str().unwrap().to_owned();
    let migration = Migration::builder("events").plan(plan::server(&home.url).token(token)).build().await.unwrap();
    let dao = MigratingEventDao::new(Lines::open(&source), Documents::open(&target), migration.clone());
    let rows = || with_fields(dao.rows(), crossfade::compare::fields());
    let progress = home.folder.path().join("events.progress");

    let early = Run::new(&migration).rows(rows()).checkpoint(&progress).backfill().await;
    assert!(matches!(&early, Err(RunError::NotNow { .. })), "{early:?}");
    assert_eq!(code(&home.command(&["ramp", "events", "dual-write"]).await), 0);
    for id in 480..=520 {
        dao.record(&Event::new(id, "of dual-write")).await.unwrap();
    }
    let moved = Run::new(&migration).rows(rows()).checkpoint(&progress).backfill().await.unwrap();
    assert!(moved.copied >= 479, "{moved:?}");
    assert_eq!(code(&home.command(&["ramp", "events", "shadow"]).await), 0);
    let shut = home.command(&["ramp", "events", "live"]).await;
    assert!(code(&shut) == 3 && errors(&shut).contains("not-verified"), "{}", errors(&shut));

    // Somebody wrote to the target beside the library: the verification names the row and its field.
    let beside = Documents::open(&target);
    beside.record(&Event::new(7, "of somebody else")).await.unwrap();
    let found = Run::new(&migration).rows(rows()).with_keys().verify().await.unwrap();
    assert_eq!(found.verdict(), Verdict::Diverged(1));
    assert_eq!(
        (found.differences[0].key.as_deref(), found.differences[0].fields.as_slice()),
        (Some("7"), &["note".to_owned()][..])
    );
    let shut = home.command(&["ramp", "events", "live"]).await;
    assert!(code(&shut) == 3 && errors(&shut).contains("diverged"), "{}", errors(&shut));
    assert_eq!(Run::new(&migration).rows(rows()).repair().await.unwrap().copied, 1);

    dao.record(&Event::new(3, "of full checks")).await.unwrap();
    assert_eq!(Run::new(&migration).rows(rows()).verify().await.unwrap().verdict(), Verdict::Verified);
    let live = home.command(&["ramp", "events", "live"]).await;
    assert_eq!(code(&live), 0, "{}", errors(&live));
    for id in 515..=530 {
        dao.record(&Event::new(id, "of live")).await.unwrap();
    }
    assert!(migration.drain(std::time::Duration::from_secs(30)).await.is_empty());

    let expected: BTreeMap<u64, Event> = (1..=530)
        .map(|id| {
            let note = match id {
                3 => "of full checks",
                515.. => "of live",
                480.. => "of dual-write",
                _ => "of old",
            };
            (id, Event::new(id, note))
        })
        .collect();
    assert_eq!(Lines::open(&source).all(), expected);
    assert_eq!(Documents::open(&target).all(), expected);
}
