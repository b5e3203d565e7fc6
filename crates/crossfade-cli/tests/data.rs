//! The data side as a person uses it: the binary, a real PostgreSQL, an SQLite file.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value as Json;

fn server() -> String {
    std::env::var("CROSSFADE_TEST_POSTGRES").expect("run ./test, or `eval \"$(./tests/servers start)\"`")
}

/// A folder with a `crossfade.toml`, a schema of the test server and an SQLite file.
struct Home {
    folder: tempfile::TempDir,
    schema: String,
}

impl Home {
    fn new(name: &str, rows: u32) -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap(), schema: format!("cli_{name}_{}", std::process::id()) };
        home.psql(&format!(
            "DROP SCHEMA IF EXISTS {0} CASCADE; CREATE SCHEMA {0}; CREATE TABLE {0}.events (id int8 PRIMARY KEY, user_id text NOT NULL, body jsonb, at timestamptz);
             INSERT INTO {0}.events SELECT i, 'u' || i % 50, jsonb_build_object('n', i), now() FROM generate_series(1, {rows}) i",
            home.schema
        ));
        home.sqlite("CREATE TABLE events (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, body TEXT, at TEXT)");
        let text = format!(
            "[migration.events]\nsource = \"${{CROSSFADE_TEST_POSTGRES}}\"\ntarget = \"sqlite://{}\"\n[migration.events.table.\"{}.events\"]\ncohort = [\"user_id\"]\ntarget = \"events\"\n",
            home.file().display(),
            home.schema
        );
        std::fs::write(home.path().join("crossfade.toml"), text).unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join("target.db")
    }

    fn psql(&self, text: &str) {
        let out = Command::new("psql").args(["-qXv", "ON_ERROR_STOP=1", &server(), "-c", text]).output().unwrap();
        assert!(out.status.success(), "{text}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn sqlite(&self, text: &str) {
        let c = rusqlite::Connection::open(self.file()).unwrap();
        c.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        c.execute_batch(text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        command.current_dir(self.path()).args(args).env("CROSSFADE_TEST_POSTGRES", server());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The exit code and the last line of `--json`.
    fn json(&self, args: &[&str]) -> (i32, Json) {
        let out = self.run(&[args, &["--json"]].concat());
        let text = String::from_utf8(out.stdout).unwrap();
        for line in text.lines() {
            let line: Json = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert!(line["event"].is_string(), "{line}");
        }
        let last: Json = text.lines().last().map(|l| serde_json::from_str(l).unwrap()).unwrap_or_default();
        (out.status.code().unwrap(), last)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.psql(&format!("DROP SCHEMA {} CASCADE", self.schema));
    }
}

fn keys(object: &Json) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_whole_way_with_its_exit_codes() {
    let home = Home::new("way", 12_000);
    let (code, result) = home.json(&["check"]);
    assert_eq!((code, &result["event"], &result["refused"]), (0, &Json::from("result"), &Json::from(0)), "{result}");

    let (code, result) = home.json(&["verify", "events"]);
    assert_eq!(
        (code, &result["verdict"], &result["missing_in_target"]),
        (4, &Json::from("diverged"), &Json::from(12_000))
    );
    assert_eq!(
        keys(&result),
        [
            "different",
            "event",
            "extra_in_target",
            "missing_in_target",
            "rows_source",
            "rows_target",
            "seconds",
            "unknown_ranges",
            "verdict"
        ]
    );

    let (code, result) = home.json(&["backfill", "events"]);
    assert_eq!((code, &result["rows_read"], &result["rows_written"]), (0, &Json::from(12_000), &Json::from(12_000)));
    assert_eq!(
        keys(&result),
        [
            "chunks",
            "chunks_resumed",
            "event",
            "rows_deleted",
            "rows_per_second",
            "rows_read",
            "rows_unchanged",
            "rows_written",
            "seconds"
        ]
    );
    assert_eq!(home.json(&["verify", "events"]).0, 0);

    home.sqlite("UPDATE events SET user_id = 'other' WHERE id = 77; DELETE FROM events WHERE id = 78; INSERT INTO events VALUES (99999, 'ghost', NULL, NULL)");
    let (code, _) = home.json(&["verify", "events", "--keys", "differ.jsonl"]);
    assert_eq!(code, 4);
    let lines: Vec<Json> = std::fs::read_to_string(home.path().join("differ.jsonl"))
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let mut kinds: Vec<(i64, &str, usize)> = lines
        .iter()
        .map(|l| (l["key"][0].as_i64().unwrap(), l["kind"].as_str().unwrap(), l["fields"].as_array().unwrap().len()))
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [(77, "different", 1), (78, "missing_in_target", 0), (99_999, "extra_in_target", 0)]);

    let (code, result) = home.json(&["repair", "events", "--keys", "differ.jsonl"]);
    assert_eq!(
        (code, &result["repaired"], &result["unchanged"], &result["failed"]),
        (0, &Json::from(3), &Json::from(0), &Json::from(0))
    );
    assert_eq!(home.json(&["verify", "events"]).0, 0);

    home.sqlite("UPDATE events SET user_id = 'other' WHERE id = 5");
    let table = format!("{}.events", home.schema);
    let (code, result) = home.json(&["repair", "events", "--table", &table, "--row", "5"]);
    assert_eq!((code, &result["repaired"]), (0, &Json::from(1)));
    home.sqlite("DELETE FROM events WHERE id < 4");
    let (code, result) = home.json(&["repair", "events"]);
    assert_eq!((code, &result["repaired"]), (0, &Json::from(3)));
}

#[test]
fn killed_at_any_instant_the_same_command_goes_on() {
    let home = Home::new("killed", 60_000);
    let checkpoint = home.path().join(".crossfade").join(format!("events.{}.events.backfill", home.schema));
    let done = || std::fs::read_to_string(&checkpoint).map_or(0, |t| t.matches("done").count());
    let mut before = 0;
    for _ in 0..3 {
        let mut child = home
            .command(&["backfill", "events", "--chunk-rows", "1000", "--parallel", "2", "--rows-per-second", "20000"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Some chunks further than the last time, and then the plug is pulled, wherever it is.
        while done() < before + 4 {
            assert!(child.try_wait().unwrap().is_none(), "ended before it could be killed");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(done() >= before + 4, "what was recorded stays recorded");
        before = done();
    }
    let (code, result) = home.json(&["backfill", "events", "--chunk-rows", "1000"]);
    assert_eq!(code, 0, "{result}");
    // The line that a kill tore may be one of them.
    assert!(result["chunks_resumed"].as_u64().unwrap() + 1 >= before as u64, "{result} after {before}");
    assert_eq!(result["chunks"].as_u64().unwrap() + result["chunks_resumed"].as_u64().unwrap(), 61);
    let (code, result) = home.json(&["verify", "events"]);
    assert_eq!((code, &result["rows_target"]), (0, &Json::from(60_000)), "{result}");
}

#[test]
fn mistakes_have_their_exit_codes_and_say_what_to_do() {
    let home = Home::new("wrong", 3);
    let says = |args: &[&str]| {
        let out = home.run(args);
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, text) = says(&["verify", "nope"]);
    assert!(code == 2 && text.contains("it has events"), "{code} {text}");
    let (code, text) = says(&["verify", "events", "--table", "nope"]);
    assert!(code == 2 && text.contains("no table `nope`"), "{code} {text}");
    let (code, text) = says(&["--config", "other.toml", "check"]);
    assert!(code == 2 && text.contains("crossfade init"), "{code} {text}");
    let (code, _) = says(&["init"]);
    assert_eq!(code, 2, "init writes over nothing");

    let file = home.path().join("crossfade.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("${CROSSFADE_TEST_POSTGRES}", "postgres://app:hunter2@127.0.0.1:9/x")).unwrap();
    for args in [&["verify", "events"][..], &["backfill", "events"], &["repair", "events"], &["check"]] {
        let (code, text) = says(args);
        assert!(code == 6 && text.contains("127.0.0.1:9") && !text.contains("hunter2"), "{args:?}: {code} {text}");
    }
    assert_eq!(says(&["check", "--offline"]).0, 0);
    std::fs::write(&file, good.replace("target = \"events\"", "target = \"elsewhere\"")).unwrap();
    let (code, text) = says(&["backfill", "events"]);
    assert!(code == 2 && text.contains("there is no table elsewhere"), "{code} {text}");
    std::fs::write(&file, good.replace("cohort =", "cohrot =")).unwrap();
    let (code, text) = says(&["check"]);
    assert!(code == 2 && text.contains("cohrot") && text.contains("line 5"), "{code} {text}");
}

#[test]
fn init_asks_the_source_and_check_reads_what_it_wrote() {
    let home = Home::new("init", 1);
    let source = format!(
        "{}{}options=-csearch_path%3D{}",
        server(),
        if server().contains('?') { '&' } else { '?' },
        home.schema
    );
    let (code, _) = home.json(&[
        "--config",
        "new.toml",
        "init",
        "--id",
        "moved",
        "--source",
        &source,
        "--target",
        &format!("sqlite://{}", home.file().display()),
    ]);
    assert_eq!(code, 0);
    let text = std::fs::read_to_string(home.path().join("new.toml")).unwrap();
    assert!(text.contains("[migration.moved.table.events]") && text.contains("cohort = [\"user_id\"]"), "{text}");
    assert_eq!(home.json(&["--config", "new.toml", "check", "--offline"]).0, 0);
}
