//! The data side as a person uses it: the binary, a real PostgreSQL, an SQLite file.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value as Json;

fn server() -> String {
    std::env::var("CROSSFADE_TEST_POSTGRES").expect("run ./test, or `eval \"$(./tests/servers start)\"`")
}

/// A folder with a `crossfade.toml`, a schema of the test server and an SQLite file.
struct Home {
    server: String,
    folder: tempfile::TempDir,
    schema: String,
}

impl Home {
    fn new(name: &str, rows: u32) -> Home {
        Home::at(server(), name, rows)
    }

    fn at(server: String, name: &str, rows: u32) -> Home {
        let home =
            Home { server, folder: tempfile::tempdir().unwrap(), schema: format!("cli_{name}_{}", std::process::id()) };
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
        let out = Command::new("psql").args(["-qXv", "ON_ERROR_STOP=1", &self.server, "-c", text]).output().unwrap();
        assert!(out.status.success(), "{text}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn sqlite(&self, text: &str) {
        let c = rusqlite::Connection::open(self.file()).unwrap();
        c.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        c.execute_batch(text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        command.current_dir(self.path()).args(args).env("CROSSFADE_TEST_POSTGRES", &self.server);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Chunks that the backfill's checkpoint has.
    fn done(&self) -> usize {
        let checkpoint = self.path().join(".crossfade").join(format!("events.{}.events.backfill", self.schema));
        std::fs::read_to_string(checkpoint).map_or(0, |text| text.matches("done").count())
    }

    /// A backfill, slow enough to do something to it on the way, of which some chunks are done by now.
    fn on_the_way(&self) -> Child {
        let slow = ["backfill", "events", "--chunk-rows", "500", "--parallel", "2", "--rows-per-second", "8000"];
        let mut child = self.command(&slow).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        while self.done() < 4 {
            assert!(child.try_wait().unwrap().is_none(), "ended before anything was done to it");
            std::thread::yield_now();
        }
        child
    }

    /// How a backfill ends to which something was done, and what it says; its checkpoint is good.
    fn ended(&self, child: Child) -> (i32, String) {
        let out = child.wait_with_output().unwrap();
        assert!(self.done() >= 4, "what was recorded stays recorded");
        (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
    }

    /// The same command goes on, and all is there.
    fn goes_on(&self, rows: u32) {
        let before = self.done() as u64;
        let (code, result) = self.json(&["backfill", "events", "--chunk-rows", "500"]);
        assert_eq!((code, &result["chunks_resumed"]), (0, &Json::from(before)), "{result}");
        let (code, result) = self.json(&["verify", "events"]);
        assert_eq!((code, &result["rows_target"]), (0, &Json::from(rows)), "{result}");
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
            "rows_kept",
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
    let done = || home.done();
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
    std::fs::write(&file, good.replace(".events\"]", ".elsewhere\"]")).unwrap();
    let (code, text) = says(&["backfill", "events"]);
    assert!(code == 2 && text.contains("there is no table") && text.contains("elsewhere"), "{code} {text}");
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

#[test]
fn a_server_that_goes_away_mid_way_is_named_and_the_same_command_goes_on() {
    let script = |args: &[&str]| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers");
        let out = Command::new(script).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let owner = std::process::id().to_string();
    let exports = script(&["start", "--only", "postgres", "--owner", &owner]);
    let of = |name: &str| {
        let found = exports.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
        found.unwrap().replace(['\\', '\''], "")
    };
    let (url, folder) = (of("CROSSFADE_TEST_POSTGRES"), of("CROSSFADE_TEST_SERVERS"));
    let password = url.rsplit_once('@').and_then(|(user, _)| user.rsplit_once(':')).unwrap().1.to_owned();
    {
        let home = Home::at(url, "gone", 20_000);
        let child = home.on_the_way();
        script(&["kill", "postgres", &folder]);
        let (code, text) = home.ended(child);
        assert!(code == 6 && text.contains("127.0.0.1") && !text.contains(&password), "{code} {text}");
        script(&["restart", "postgres", &folder]);
        home.goes_on(20_000);
    }
    script(&["stop", &folder]);
}

#[test]
fn a_schema_that_changes_mid_way_is_named_and_put_back_the_same_command_goes_on() {
    let home = Home::new("changes", 20_000);
    let rename = |from: &str, to: &str| home.psql(&format!("ALTER TABLE {}.events RENAME {from} TO {to}", home.schema));
    let child = home.on_the_way();
    rename("body", "text");
    let (code, text) = home.ended(child);
    assert!(code == 1 && text.contains("body") && text.contains(&home.schema), "{code} {text}");
    rename("text", "body");
    home.goes_on(20_000);
    // The target's.
    let home = Home::new("changes_there", 20_000);
    let child = home.on_the_way();
    home.sqlite("ALTER TABLE events RENAME body TO text");
    let (code, text) = home.ended(child);
    assert!(code == 1 && text.contains("body"), "{code} {text}");
    home.sqlite("ALTER TABLE events RENAME text TO body");
    home.goes_on(20_000);
}

#[test]
fn a_full_disk_is_named_and_with_room_the_same_command_goes_on() {
    for (name, how) in [("full", &[][..]), ("full_bulk", &["--exclusive"])] {
        let home = Home::new(name, 20_000);
        let file = home.path().join("crossfade.toml");
        let roomy = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, roomy.replace("target.db", "target.db?max_pages=150")).unwrap();
        let backfill = ["backfill", "events", "--chunk-rows", "500"];
        let out = home.run(&[&backfill[..], how].concat());
        let (code, text) = (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap());
        assert!(code == 1 && text.contains("full") && text.contains("target.db"), "{name}: {code} {text}");
        assert!(home.done() > 0, "{name}: what fitted in is recorded");
        std::fs::write(&file, roomy).unwrap();
        home.goes_on(20_000);
    }
}
