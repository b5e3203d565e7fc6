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
             INSERT INTO events SELECT i, 'u' || (i % 50), 'body ' || i FROM n"
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

    let within = home.data(&["repair", "events"]);
    assert_eq!(code(&within), 0, "each row has an authority: {}", errors(&within));
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
    let mark = |table: &str, row: &str| serde_json::json!({ "table": table, "row": row, "cohort": "u7", "reason": "secondary-unknown", "generation": 3 });
    let marks = [mark("events", "7"), mark("", "7"), mark("users", "9")];
    post("/instances/gone/goodbye", serde_json::json!({ "marks": { "set": marks } }));
    home.target("DELETE FROM events WHERE id = 7");
    assert_eq!(home.status()["evidence"]["marks"], 3);

    let one = home.data(&["repair", "events", "--table", "events", "--row", "8"]);
    assert_eq!(
        (code(&one), &home.status()["evidence"]["marks"]),
        (0, &Json::from(3)),
        "one row says nothing of others"
    );
    let all = home.data(&["repair", "events"]);
    assert_eq!(code(&all), 0, "{}", errors(&all));
    assert!(String::from_utf8_lossy(&all.stdout).contains("1 rows repaired"), "{all:?}");
    // Rows of tables that the file does not name were not looked at.
    assert!(errors(&all).contains("2 marks are left") && errors(&all).contains("`users`"), "{}", errors(&all));
    assert_eq!(home.status()["evidence"]["marks"], 2, "{}", errors(&all));
}

impl Home {
    /// The plan in force.
    fn plan(&self) -> crossfade_core::Plan {
        let spec = serde_json::from_value(self.status()["publication"]["plan"].clone()).unwrap();
        crossfade_core::Plan::new(spec).unwrap()
    }

    fn sql(&self, side: &str, sql: &str) {
        rusqlite::Connection::open(self.path(&format!("{side}.db"))).unwrap().execute_batch(sql).unwrap();
    }

    /// All rows of a side.
    fn rows(&self, side: &str) -> Vec<(i64, String, String)> {
        let connection = rusqlite::Connection::open(self.path(&format!("{side}.db"))).unwrap();
        let mut statement = connection.prepare("SELECT id, user_id, body FROM events ORDER BY id").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Through shadow, with what the gate asks for.
    fn up_to_shadow(&self) {
        for words in [&["ramp", "events", "dual-write"][..], &["ramp", "events", "shadow"]] {
            assert_eq!(code(&self.control(words)), 0);
        }
        for words in [&["backfill", "events"][..], &["verify", "events"]] {
            let out = self.data(words);
            assert_eq!(code(&out), 0, "{}", errors(&out));
        }
    }
}

#[test]
fn a_repair_copies_each_row_from_its_authority_in_the_middle_of_a_cut_over() {
    let home = Home::new(200);
    home.up_to_shadow();
    let open = home.control(&["ramp", "events", "live", "50"]);
    assert_eq!(code(&open), 0, "{}", errors(&open));
    let plan = home.plan();
    let authority = |user: &str| plan.decide(crossfade_core::CohortKey::new(user).unwrap()).stage.authority().name();
    // Each row is written at its authority alone: changed, deleted, or new.
    let mut truth = Vec::new();
    let mut at = std::collections::BTreeMap::new();
    for (id, user, _) in home.rows("source") {
        let side = authority(&user);
        *at.entry(side).or_insert(0) += 1;
        match id % 4 {
            0 => home.sql(side, &format!("DELETE FROM events WHERE id = {id}")),
            1 => {
                home.sql(side, &format!("UPDATE events SET body = 'new' WHERE id = {id}; INSERT INTO events VALUES ({id} + 1000, '{user}', 'new')"));
                truth.extend([(id, user.clone(), "new".to_owned()), (id + 1_000, user, "new".to_owned())]);
            }
            _ => truth.push((id, user, format!("body {id}"))),
        }
    }
    assert!(at.len() == 2 && at.values().all(|rows| *rows > 20), "both sides have authority for some: {at:?}");
    truth.sort();
    let repaired = home.data(&["repair", "events"]);
    assert_eq!(code(&repaired), 0, "{}", errors(&repaired));
    assert_eq!(home.rows("source"), truth);
    assert_eq!(home.rows("target"), truth);
    let named = home.data(&["repair", "events", "--authority", "source"]);
    assert_eq!(code(&named), 2, "the plan says it: {}", errors(&named));
}

#[test]
fn a_repair_works_at_every_mirrored_stage_after_the_cut_over() {
    let home = Home::new(50);
    home.up_to_shadow();
    for stage in ["live", "ramp-down"] {
        assert_eq!(code(&home.data(&["verify", "events"])), 0);
        let out = home.control(&["ramp", "events", stage]);
        assert_eq!(code(&out), 0, "{stage}: {}", errors(&out));
        home.sql("source", "UPDATE events SET body = 'stale' WHERE id = 7; DELETE FROM events WHERE id = 8");
        let truth = home.rows("target");
        let repaired = home.data(&["repair", "events"]);
        assert_eq!(code(&repaired), 0, "{stage}: {}", errors(&repaired));
        assert_eq!((home.rows("source"), home.rows("target")), (truth.clone(), truth), "{stage}");
    }
}

#[test]
fn a_repair_at_live_deletes_rows_of_the_source_only_where_a_complete_backfill_is_recorded() {
    let home = Home::new(50);
    home.up_to_shadow();
    let out = home.control(&["ramp", "events", "live"]);
    assert_eq!(code(&out), 0, "{}", errors(&out));
    home.target("DELETE FROM events WHERE id = 8");
    let before = home.rows("source");
    let kept = home.data(&["repair", "events", "--state", "elsewhere"]);
    assert_eq!(code(&kept), 4, "{}", errors(&kept));
    let text = String::from_utf8_lossy(&kept.stdout).into_owned() + &errors(&kept);
    assert!(text.contains("of the source") && text.contains("--delete-extra"), "{text}");
    assert_eq!(home.rows("source"), before);
    assert_eq!(code(&home.data(&["verify", "events"])), 4, "no gate opens over it");

    // Of a backfill that was not completed, the target may lack rows that it never got.
    let checkpoint = home.path(".crossfade/events.events.1.backfill");
    let complete = std::fs::read_to_string(&checkpoint).unwrap();
    std::fs::write(&checkpoint, complete.replace("{\"complete\":true}\n", "")).unwrap();
    assert_eq!(code(&home.data(&["repair", "events"])), 4);
    assert_eq!(home.rows("source"), before);

    std::fs::write(&checkpoint, complete).unwrap();
    let repaired = home.data(&["repair", "events"]);
    assert_eq!(code(&repaired), 0, "{}", errors(&repaired));
    assert_eq!((home.rows("source").len(), home.rows("source")), (49, home.rows("target")));

    home.target("DELETE FROM events WHERE id = 9");
    let told = home.data(&["repair", "events", "--state", "elsewhere", "--delete-extra"]);
    assert_eq!(code(&told), 0, "{}", errors(&told));
    assert_eq!((home.rows("source").len(), home.rows("source")), (48, home.rows("target")));
}

#[test]
fn a_repair_after_a_forced_rollback_keeps_what_only_the_target_has_until_it_is_told() {
    let home = Home::new(50);
    home.up_to_shadow();
    let out = home.control(&["ramp", "events", "live"]);
    assert_eq!(code(&out), 0, "{}", errors(&out));
    // Acknowledged at live, and not yet in the source.
    home.target("INSERT INTO events VALUES (1001, 'u1', 'acknowledged')");
    let out = home.control(&["rollback", "events", "--force", "--confirm", "events"]);
    assert_eq!(code(&out), 0, "{}", errors(&out));
    let kept = home.data(&["repair", "events"]);
    assert_eq!(code(&kept), 4, "{}", errors(&kept));
    assert!(errors(&kept).contains("forced rollback") && errors(&kept).contains("--delete-extra"), "{}", errors(&kept));
    assert_eq!(home.rows("target").len(), 51);
    let told = home.data(&["repair", "events", "--delete-extra"]);
    assert_eq!(code(&told), 0, "{}", errors(&told));
    assert_eq!(home.rows("target"), home.rows("source"));
}

/// Neither the consent of the file nor the record of the first backfill covers a write that the target alone acknowledged.
#[test]
fn a_backfill_after_a_forced_rollback_keeps_what_only_the_target_has_until_it_is_told() {
    let home = Home::new(50);
    let file = home.path("crossfade.toml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str("extra = \"delete\"\n");
    std::fs::write(&file, text).unwrap();
    home.up_to_shadow();
    let out = home.control(&["ramp", "events", "live"]);
    assert_eq!(code(&out), 0, "{}", errors(&out));
    home.target("INSERT INTO events VALUES (1001, 'u1', 'acknowledged')");
    let out = home.control(&["rollback", "events", "--force", "--confirm", "events"]);
    assert_eq!(code(&out), 0, "{}", errors(&out));

    let kept = home.data(&["backfill", "events", "--restart", "--json"]);
    let text = String::from_utf8_lossy(&kept.stdout).into_owned() + &errors(&kept);
    assert_eq!(code(&kept), 0, "{text}");
    assert!(text.contains("forced rollback") && text.contains("--delete-extra"), "{text}");
    assert!(text.contains("\"rows_kept\":1") && text.contains("\"rows_deleted\":0"), "{text}");
    assert_eq!(home.rows("target").len(), 51);
    assert_eq!(code(&home.data(&["verify", "events"])), 4, "no gate opens over it");

    let told = home.data(&["backfill", "events", "--restart", "--delete-extra"]);
    assert_eq!(code(&told), 0, "{}", errors(&told));
    assert_eq!(home.rows("target"), home.rows("source"));
    assert_eq!(code(&home.data(&["verify", "events"])), 0);
    // From here on what was agreed before is valid again.
    home.target("INSERT INTO events VALUES (1002, 'u1', 'extra')");
    assert_eq!(code(&home.data(&["backfill", "events", "--restart"])), 0);
    assert_eq!(home.rows("target"), home.rows("source"));
}

#[test]
fn a_repair_leaves_rows_alone_whose_key_is_not_mirrored() {
    let home = Home::new(200);
    assert_eq!(code(&home.control(&["ramp", "events", "dual-write", "50"])), 0);
    let plan = home.plan();
    let repaired = home.data(&["repair", "events", "--json"]);
    assert_eq!(code(&repaired), 0, "{}", errors(&repaired));
    let mirrored = |user: &str| plan.decide(crossfade_core::CohortKey::new(user).unwrap()).stage.is_mirrored();
    let (copied, left): (Vec<_>, Vec<_>) = home.rows("source").into_iter().partition(|(_, user, _)| mirrored(user));
    assert!(!copied.is_empty() && !left.is_empty());
    assert_eq!(home.rows("target"), copied);
    let text = String::from_utf8(repaired.stdout).unwrap();
    let result: Json = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&result["repaired"], &result["left_alone"]), (&Json::from(copied.len()), &Json::from(left.len())));
}

#[test]
fn a_plan_that_a_run_cannot_validate_stops_it_before_it_begins() {
    use std::io::{Read as _, Write as _};
    let home = Home::new(100);
    assert_eq!(code(&home.control(&["ramp", "events", "dual-write"])), 0);
    let mut publication = home.status()["publication"].clone();
    // As of a later version, with a rule that this one does not know.
    publication["plan"]["salt"] = Json::from("x".repeat(200));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut text, mut buffer) = (String::new(), [0; 4096]);
            while !text.contains("\r\n\r\n") {
                let n = stream.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                text.push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
            let line = text.lines().next().unwrap_or_default();
            let revision = publication["revision"].clone();
            let body = match line {
                line if line.contains("/begin") => {
                    serde_json::json!({ "tick": 1, "generation": 1, "publication": publication })
                }
                line if line.contains("/plan") => publication.clone(),
                line if line.contains("/goodbye") || line.contains("/end") => Json::Null,
                line if line.contains("/heartbeat") || line.contains("/acknowledge") => {
                    serde_json::json!({ "revision": revision })
                }
                _ => serde_json::json!({ "publication": publication, "heartbeat-ms": 1000, "silent-after-ms": 5000 }),
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            // A client that is gone wants no answer.
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    for words in [&["backfill", "events"][..], &["verify", "events"], &["repair", "events"]] {
        let out = home.data(&[words, &["--server", &url]].concat());
        assert_eq!(code(&out), 3, "{words:?}: {}", errors(&out));
        assert!(errors(&out).contains("cannot validate the plan"), "{words:?}: {}", errors(&out));
        assert_eq!(home.rows("target"), [], "{words:?}");
    }
}

#[test]
fn sides_that_are_swapped_against_what_the_control_plane_knows_are_refused() {
    let home = Home::new(100);
    assert_eq!(code(&home.control(&["ramp", "events", "dual-write"])), 0);
    // A verification writes nothing, so that a mistaken one teaches nothing.
    let right = std::fs::read_to_string(home.path("crossfade.toml")).unwrap();
    let wrong = right.replace("source.db", "x.db").replace("target.db", "source.db").replace("x.db", "target.db");
    std::fs::write(home.path("crossfade.toml"), &wrong).unwrap();
    assert_eq!(code(&home.data(&["verify", "events"])), 4);
    std::fs::write(home.path("crossfade.toml"), &right).unwrap();
    let out = home.data(&["backfill", "events"]);
    assert_eq!(code(&out), 0, "{}", errors(&out));
    home.sql("source", "INSERT INTO events VALUES (1001, 'u1', 'new')");
    let before = (home.rows("source"), home.rows("target"));

    std::fs::write(home.path("crossfade.toml"), &wrong).unwrap();
    for words in [
        &["backfill", "events", "--state", "elsewhere", "--restart", "--delete-extra"][..],
        &["repair", "events", "--state", "elsewhere", "--delete-extra"],
        &["verify", "events"],
    ] {
        let out = home.data(words);
        assert_eq!(code(&out), 3, "{words:?}: {}", errors(&out));
        assert!(errors(&out).contains("swapped"), "{words:?}: {}", errors(&out));
        assert_eq!((home.rows("source"), home.rows("target")), before, "{words:?}");
    }
    assert_eq!(home.status()["instances"], 0);

    // Another database is no swap: it is said, and is the newest from then on.
    let other = right.replace("target.db", "restored.db");
    std::fs::copy(home.path("target.db"), home.path("restored.db")).unwrap();
    std::fs::write(home.path("crossfade.toml"), &other).unwrap();
    let out = home.data(&["repair", "events", "--state", "elsewhere"]);
    assert_eq!(code(&out), 0, "{}", errors(&out));
    assert!(errors(&out).contains("other databases"), "{}", errors(&out));
    let out = home.data(&["verify", "events"]);
    assert!(code(&out) == 0 && !errors(&out).contains("other databases"), "{}", errors(&out));
    let swapped = other.replace("source.db", "x.db").replace("restored.db", "source.db").replace("x.db", "restored.db");
    for wrong in [swapped, wrong] {
        std::fs::write(home.path("crossfade.toml"), &wrong).unwrap();
        assert_eq!(code(&home.data(&["repair", "events", "--state", "elsewhere", "--delete-extra"])), 3);
    }
}
