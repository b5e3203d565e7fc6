//! The demo as machines see it: its last line, its exit codes, and what goes wrong on purpose.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use serde_json::Value;
use std::process::{Command, Output};

fn crossfade(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crossfade")).args(arguments).output().unwrap()
}

fn demo(arguments: &[&str]) -> (i32, Value) {
    let small = if arguments.contains(&"--rows") { &[][..] } else { &["--rows", "1800", "--seconds", "6"] };
    let output = crossfade(&[&["demo", "--json"], small, arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().last().unwrap_or_else(|| panic!("no output; {errors}"));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["event"].is_string()), "every line has an event");
    (output.status.code().unwrap(), serde_json::from_str(last).unwrap())
}

fn assert_nothing_lost(result: &Value) {
    for count in ["lost_writes", "stale_reads", "mismatches", "diverged", "failed_writes", "failed_reads"] {
        assert_eq!(result[count], 0, "{count} in {result}");
    }
    assert_eq!(result["rows_source"], result["rows_target"], "{result}");
    assert!(result["rows_source"].as_u64().unwrap() > 1_000, "{result}");
    assert!(result["acknowledged_writes"].as_u64().unwrap() > 10, "{result}");
    assert!(result["comparisons"].as_u64().unwrap() > 10, "{result}");
    assert_eq!(result["rolled_back"], false, "{result}");
}

#[test]
fn the_story_ends_with_nothing_lost() {
    let (exit, result) = demo(&[]);
    assert_eq!(exit, 0, "{result}");
    assert_nothing_lost(&result);
    let stages: Vec<&str> =
        result["stages"].as_array().unwrap().iter().map(|stop| stop["stage"].as_str().unwrap()).collect();
    for stage in ["off", "dual-write", "shadow", "live", "ramp-down", "complete"] {
        assert!(stages.contains(&stage), "{stage} is missing in {stages:?}");
    }
    for field in ["seconds", "percent", "reads", "writes", "read_p50_us", "read_p99_us", "write_p50_us", "write_p99_us"]
    {
        assert!(result["stages"][0][field].is_number(), "{field} in {result}");
    }
}

#[test]
fn long_history_may_move_before_reads_are_compared() {
    let (exit, result) = demo(&["--order", "classic"]);
    assert_eq!((exit, &result["not_backfilled"]), (0, &Value::from(0)), "{result}");
    assert_nothing_lost(&result);
}

/// However few rows there are, and whether comparisons or the verification after the backfill meet them first.
#[test]
fn long_a_target_that_writes_something_wrong_is_found_in_shadow_and_left() {
    for order in ["seed", "classic"] {
        let (exit, result) = demo(&["--inject", "target-bug", "--order", order]);
        assert_eq!(exit, 4, "{result}");
        assert_eq!((&result["rolled_back"], &result["lost_writes"]), (&Value::Bool(true), &Value::from(0)), "{result}");
        assert!(result["diverged"].as_u64().unwrap() > 0, "{result}");
        let fields = result["differing_fields"].as_array().unwrap();
        assert!(
            !fields.is_empty() && fields.iter().all(|name| name == "arrival_delay" || name == "distance"),
            "{result}"
        );
        let last = result["stages"].as_array().unwrap().last().unwrap();
        assert_eq!(last["stage"], "shadow", "{result}");
    }
}

#[test]
fn long_a_target_that_is_down_for_a_while_loses_nothing() {
    let (exit, result) = demo(&["--inject", "target-down"]);
    assert_eq!(exit, 0, "{result}");
    assert_nothing_lost(&result);
    assert!(result["repaired"].as_u64().unwrap() > 0, "{result}");
}

#[test]
fn long_a_slow_target_loses_nothing() {
    let (exit, result) = demo(&["--inject", "target-slow"]);
    assert_eq!(exit, 0, "{result}");
    assert_nothing_lost(&result);
}

#[test]
fn long_from_postgres() {
    let url = std::env::var("CROSSFADE_TEST_POSTGRES")
        .expect("CROSSFADE_TEST_POSTGRES is not set: run ./test, or `eval \"$(./tests/servers start)\"`");
    let name = format!("demo_{}", std::process::id());
    let (exit, result) = demo(&["--source", &url, "--name", &name]);
    assert_eq!(exit, 0, "{result}");
    assert_nothing_lost(&result);
    let password = url.split_once("://").unwrap().1.split_once('@').unwrap().0;
    assert!(!result["source"].as_str().unwrap().contains(password), "credentials are not shown");
    let again = crossfade(&["demo", "--rows", "300", "--seconds", "2", "--source", &url, "--name", &name]);
    assert_eq!(again.status.code(), Some(2), "an existing name is refused");
    assert!(String::from_utf8_lossy(&again.stderr).contains("choose another --name"));
}

#[test]
fn bad_input_is_refused_before_anything_is_done() {
    let busy = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let junk = folder.path().join("junk.csv.zst");
    std::fs::write(&junk, "not zstd").unwrap();
    let junk = junk.to_str().unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["--rows", "0"], "300..=336776"),
        (&["--rows", "400000"], "300..=336776"),
        (&["--order", "sideways"], "classic"),
        (&["--inject", "gremlins"], "target-bug"),
        (&["--data", "/nowhere.csv.zst"], "/nowhere.csv.zst"),
        (&["--data", junk], "zstd-compressed CSV"),
        (&["--port", &port], "choose another with --port"),
        (&["--source", "mongodb://x"], "use sqlite://PATH"),
        (&["--name", "Robert'; DROP"], "no plain name"),
    ];
    for (arguments, says) in cases {
        let output = crossfade(&[&["demo"], arguments].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(says), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let output = crossfade(&["demo", "--source", "postgres://nobody@127.0.0.1:1/none"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{errors}");
    assert!(errors.contains("check the URL"), "{errors}");
}

#[test]
fn long_the_story_is_told_through_a_control_plane_and_seen_in_its_dashboard() {
    use std::io::{BufRead as _, BufReader};
    let mut demo = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    demo.args(["demo", "--json", "--rows", "900", "--seconds", "6", "--serve"]);
    let mut demo = demo.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let serving = lines.by_ref().find(|line| line["event"] == "serving").unwrap();
    let (url, login) = (serving["url"].as_str().unwrap(), serving["login"].as_str().unwrap());
    let (page, code) = login.split_once("/#code=").unwrap();
    assert_eq!(page, url);

    // Whoever opens the link is logged in, and sees what the story is at.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let http = reqwest::Client::new();
    let (status, cookie) = runtime.block_on(async {
        let come = http.post(format!("{url}/session")).json(&serde_json::json!({ "code": code })).send().await.unwrap();
        let cookie = come.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        loop {
            let seen = http.get(format!("{url}/v1/migrations")).header("cookie", &cookie).send().await.unwrap();
            let seen: Value = seen.json().await.unwrap();
            if seen["migrations"][0]["acknowledged"] == 1 {
                return (seen["migrations"][0].clone(), cookie);
            }
        }
    });
    assert_eq!((&status["migration"], &status["instances"]), (&Value::from("events"), &Value::from(1)), "{status}");

    // A pause at the dashboard does not end the story: it waits for its next step, and goes on when it is resumed.
    let act = |what: &'static str| {
        let request = http.post(format!("{url}/v1/migrations/events/{what}")).header("cookie", &cookie);
        let answer = runtime.block_on(request.header("x-crossfade", "1").send()).unwrap();
        assert!(answer.status().is_success(), "{what}: {answer:?}");
    };
    act("pause");
    act("resume");

    let lines: Vec<Value> = lines.collect();
    let result = lines.last().unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(0), "{result}");
    for count in ["lost_writes", "stale_reads", "mismatches", "diverged"] {
        assert_eq!(result[count], 0, "{count} in {result}");
    }
    let stages: Vec<&str> =
        result["stages"].as_array().unwrap().iter().map(|stop| stop["stage"].as_str().unwrap()).collect();
    assert_eq!(stages.last(), Some(&"complete"), "{stages:?}");
}
