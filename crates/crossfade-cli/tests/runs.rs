//! Runs of the data side that a control plane knows of: the binary on both ends, SQLite files between them.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use serde_json::Value as Json;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// A folder with two databases, their `crossfade.toml`, and a control plane that lives as long as it.
struct Home {
    folder: tempfile::TempDir,
    plane: Child,
}

impl Home {
    fn new(rows: u32) -> Home {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let table = "CREATE TABLE events (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, body TEXT)";
        for side in ["source", "target"] {
            rusqlite::Connection::open(path.join(format!("{side}.db"))).unwrap().execute_batch(table).unwrap();
        }
        let fill = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             INSERT INTO events SELECT i, 'u' || i % 50, 'body ' || i FROM n"
        );
        rusqlite::Connection::open(path.join("source.db")).unwrap().execute_batch(&fill).unwrap();
        let [source, target] = ["source", "target"].map(|side| path.join(format!("{side}.db")));
        let migration = format!(
            "[migration.events]\nsource = \"sqlite://{}\"\ntarget = \"sqlite://{}\"\n[migration.events.table.events]\ncohort = [\"user_id\"]\n",
            source.display(),
            target.display()
        );
        std::fs::write(path.join("crossfade.toml"), &migration).unwrap();
        let mut plane = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        plane.current_dir(&path).args(["--json", "serve", "--listen", "127.0.0.1:0", "--first-token-file", "token"]);
        let mut plane = plane.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(plane.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let listening: Json = serde_json::from_str(&line).unwrap();
        // From here on the file names the plane.
        let url = listening["url"].as_str().unwrap();
        let token = path.join("token");
        let server = format!("[server]\nurl = \"{url}\"\ntoken-file = \"{}\"\n", token.display());
        std::fs::write(path.join("crossfade.toml"), format!("{server}{migration}")).unwrap();
        std::fs::write(path.join("url"), url).unwrap();
        Home { folder, plane }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        command.current_dir(self.folder.path()).args(words).env_remove("CROSSFADE_SERVER");
        command
    }

    /// A command of the data side: the file names the plane.
    fn data(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// A command of the control side.
    fn control(&self, words: &[&str]) -> Output {
        let url = std::fs::read_to_string(self.path("url")).unwrap();
        self.command(&[words, &["--server", &url, "--token-file", "token"]].concat()).output().unwrap()
    }

    fn status(&self) -> Json {
        let out = self.control(&["--json", "status", "events"]);
        serde_json::from_slice::<Json>(&out.stdout).unwrap()["migrations"][0].clone()
    }

    fn target(&self, sql: &str) {
        rusqlite::Connection::open(self.path("target.db")).unwrap().execute_batch(sql).unwrap();
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

#[test]
fn gates_know_what_runs_have_done() {
    let home = Home::new(2_000);
    let early = home.data(&["backfill", "events"]);
    assert_eq!(code(&early), 3, "{}", errors(&early));
    assert!(errors(&early).contains("crossfade ramp ID dual-write"), "{}", errors(&early));
    assert_eq!(home.status()["instances"], 0, "a run that may not begin leaves");

    assert_eq!(code(&home.control(&["ramp", "events", "dual-write"])), 0);
    assert_eq!(code(&home.control(&["ramp", "events", "shadow"])), 0);
    let shut = home.control(&["ramp", "events", "live"]);
    assert_eq!(code(&shut), 3);
    assert!(errors(&shut).contains("backfill-not-started"), "{}", errors(&shut));

    let moved = home.data(&["backfill", "events"]);
    assert_eq!(code(&moved), 0, "{}", errors(&moved));
    assert!(home.status()["evidence"]["backfill"]["state"]["complete"].is_u64(), "{}", home.status());

    home.target("UPDATE events SET body = 'wrong' WHERE id = 7; DELETE FROM events WHERE id = 8");
    let diverged = home.data(&["verify", "events"]);
    assert_eq!(code(&diverged), 4, "{}", errors(&diverged));
    assert_eq!(home.status()["evidence"]["verification"]["verdict"]["diverged"], 2, "{}", home.status());
    assert_eq!(home.status()["publication"]["plan"]["options"]["checks"], "full", "turned on before the verification");
    let shut = home.control(&["ramp", "events", "live"]);
    assert!(code(&shut) == 3 && errors(&shut).contains("diverged"), "{}", errors(&shut));

    assert_eq!(code(&home.data(&["repair", "events"])), 0);
    assert!(home.status()["evidence"]["last-repair"].is_u64());
    let stale = home.control(&["ramp", "events", "live"]);
    assert_eq!(code(&stale), 3, "the verification is older than the repair");
    assert_eq!(code(&home.data(&["verify", "events"])), 0);
    assert_eq!(home.status()["evidence"]["verification"]["verdict"], "verified");
    let open = home.control(&["ramp", "events", "live", "50"]);
    assert_eq!(code(&open), 0, "{}", errors(&open));

    let backwards = home.data(&["repair", "events"]);
    assert_eq!(code(&backwards), 3, "the source is not the authority of every key: {}", errors(&backwards));
    assert_eq!(home.status()["instances"], 0, "runs left in good order");
    assert_eq!(home.status()["evidence"]["suspects"].as_array().unwrap().len(), 0);
}

#[test]
fn a_step_that_a_backfill_cannot_live_with_stops_it_first() {
    let home = Home::new(20_000);
    assert_eq!(code(&home.control(&["ramp", "events", "dual-write"])), 0);
    let slow = ["backfill", "events", "--rows-per-second", "500", "--chunk-rows", "50", "--json"];
    let mut run = home.command(&slow).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    // A table begins: the run is under way.
    assert!(lines.by_ref().any(|line| line.unwrap().contains("\"table\"")));
    while home.status()["runs"][0]["progress"]["done"].as_u64().unwrap_or(0) == 0 {
        std::thread::yield_now();
    }
    let status = home.status();
    assert_eq!(status["evidence"]["backfill"]["state"], "unfinished", "{status}");
    let total = status["runs"][0]["progress"]["total"].as_u64().unwrap();
    assert!(total >= 20_000 && status["runs"][0]["kind"] == "backfill", "{status}");
    let back = home.control(&["rollback", "events"]);
    assert_eq!(code(&back), 0, "{}", errors(&back));
    assert_eq!(run.wait().unwrap().code(), Some(5), "stopped, to be run again");
    assert!(lines.any(|line| line.unwrap().contains("the migration moves on")));
    assert_eq!(home.status()["position"], "off");

    // The next claim of the target begins anew: nothing of the first counts (R10).
    assert_eq!(code(&home.control(&["ramp", "events", "dual-write"])), 0);
    let anew = home.data(&["backfill", "events", "--json"]);
    let text = String::from_utf8(anew.stdout).unwrap();
    let result: Json = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&result["rows_read"], &result["chunks_resumed"]), (&Json::from(20_000), &Json::from(0)), "{result}");
}

#[test]
fn one_table_of_several_is_no_evidence_of_the_migration() {
    let home = Home::new(100);
    let toml = std::fs::read_to_string(home.path("crossfade.toml")).unwrap();
    for side in ["source", "target"] {
        let other = "CREATE TABLE other (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL)";
        rusqlite::Connection::open(home.path(&format!("{side}.db"))).unwrap().execute_batch(other).unwrap();
    }
    let more = format!("{toml}[migration.events.table.other]\ncohort = [\"user_id\"]\n");
    std::fs::write(home.path("crossfade.toml"), more).unwrap();
    assert_eq!(code(&home.control(&["ramp", "events", "dual-write"])), 0);
    assert_eq!(code(&home.data(&["backfill", "events", "--table", "events"])), 0);
    assert_eq!(home.status()["evidence"]["backfill"]["state"], "unfinished");
    assert_eq!(code(&home.data(&["verify", "events", "--table", "events"])), 0);
    assert_eq!(home.status()["evidence"]["verification"], Json::Null);
}

#[test]
fn a_plane_that_is_not_there_is_said_before_anything_is_moved() {
    let home = Home::new(100);
    let out = home.data(&["backfill", "events", "--server", "http://127.0.0.1:1"]);
    assert_eq!(code(&out), 6, "{}", errors(&out));
    let target = rusqlite::Connection::open(home.path("target.db")).unwrap();
    let rows: i64 = target.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}

#[test]
fn watching_is_a_picture_at_a_terminal_and_plain_lines_in_a_pipe() {
    use std::io::{Read as _, Write as _};
    let home = Home::new(1);
    let url = std::fs::read_to_string(home.path("url")).unwrap();
    let words = ["status", "events", "--watch", "--server", &url, "--token-file", "token"];
    let mut piped = home.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(piped.stdout.take().unwrap()).lines();
    // The second time shows that it goes on.
    for _ in 0..2 {
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("events  off")).unwrap();
        assert!(!line.contains('\x1b'), "{line:?}");
    }
    piped.kill().unwrap();
    piped.wait().unwrap();

    let command = format!("stty rows 30 cols 100; {} {}", env!("CARGO_BIN_EXE_crossfade"), words.join(" "));
    let mut terminal = Command::new("script");
    terminal.current_dir(home.folder.path()).args(["-qec", &command, "/dev/null"]).env("TERM", "xterm");
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut seen, mut buffer) = (String::new(), [0u8; 4096]);
    let mut out = terminal.stdout.take().unwrap();
    while !seen.contains("enough") {
        let n = out.read(&mut buffer).unwrap();
        assert!(n > 0, "it ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    terminal.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    out.read_to_string(&mut seen).unwrap();
    assert_eq!(terminal.wait().unwrap().code(), Some(0), "{seen}");
    assert!(seen.contains("\x1b[?1049h") && seen.contains("\x1b[?1049l"), "the screen is given back: {seen:?}");
}

#[test]
fn a_repair_of_every_row_settles_what_a_dead_instance_left_marked() {
    let home = Home::new(100);
    let url = std::fs::read_to_string(home.path("url")).unwrap();
    let token = std::fs::read_to_string(home.path("token")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let http = reqwest::Client::new();
    let post = |path: &str, body: Json| {
        let request = http.post(format!("{url}/v1/migrations/events{path}")).bearer_auth(token.trim()).json(&body);
        let answer = runtime.block_on(request.send()).unwrap();
        assert!(answer.status().is_success(), "{path}: {}", runtime.block_on(answer.text()).unwrap());
    };
    assert_eq!(code(&home.control(&["ramp", "events", "dual-write"])), 0);
    let revision = home.status()["publication"]["revision"].clone();
    post("/options", serde_json::json!({ "if-revision": revision, "options": { "linger-ms": 50 } }));
    assert_eq!(code(&home.data(&["backfill", "events"])), 0);
    post("/instances", serde_json::json!({ "instance": "gone", "kind": "application" }));
    let mark =
        serde_json::json!({ "table": "", "row": "7", "cohort": "u7", "reason": "secondary-unknown", "generation": 3 });
    post("/instances/gone/goodbye", serde_json::json!({ "marks": { "set": [mark] } }));
    home.target("DELETE FROM events WHERE id = 7");
    assert_eq!(home.status()["evidence"]["marks"], 1);

    let one = home.data(&["repair", "events", "--table", "events", "--row", "8"]);
    assert_eq!(
        (code(&one), &home.status()["evidence"]["marks"]),
        (0, &Json::from(1)),
        "one row says nothing of others"
    );
    let all = home.data(&["repair", "events"]);
    assert_eq!(code(&all), 0, "{}", errors(&all));
    assert!(String::from_utf8_lossy(&all.stdout).contains("1 rows repaired"), "{all:?}");
    assert_eq!(home.status()["evidence"]["marks"], 0, "{}", errors(&all));
}
