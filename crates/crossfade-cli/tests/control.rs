//! Commands of the control plane that ask for a name, and what they say without it.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use serde_json::{Value as Json, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

/// A control plane that asks for no token, and lives as long as it.
struct Plane {
    _folder: tempfile::TempDir,
    serve: Child,
    url: String,
}

impl Plane {
    fn new(words: &[&str]) -> Plane {
        let folder = tempfile::tempdir().unwrap();
        let mut serve = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        serve.current_dir(folder.path()).args(["--json", "serve", "--open", "--listen", "127.0.0.1:0"]).args(words);
        let mut serve = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(serve.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let listening: Json = serde_json::from_str(&line).unwrap();
        let url = listening["url"].as_str().unwrap().to_owned();
        Plane { _folder: folder, serve, url }
    }

    fn post(&self, path: &str, body: &Json) {
        let address = self.url.trim_start_matches("http://");
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
        command.args(words).env("CROSSFADE_SERVER", &self.url).env_remove("CROSSFADE_TOKEN");
        command.output().unwrap()
    }

    fn register(&self, instance: &str, operations: &str) {
        let tables = json!([{ "table": "orders", "can-check": operations != "cccc", "operations": operations }]);
        let body = json!({ "instance": instance, "kind": "application", "tables": tables });
        self.post("/v1/migrations/events/instances", &body);
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.serve.kill();
        let _ = self.serve.wait();
    }
}

/// The exit code, and everything that was said.
fn said(out: &Output) -> (i32, String) {
    let text = [&out.stdout[..], &out.stderr[..]].concat();
    (out.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

fn create(plane: &Plane, stage: &str) {
    let plan = json!({ "migration": "events", "position": { "stage": stage } });
    plane.post("/v1/migrations", &json!({ "plan": plan, "bypassing-writers": ["cron"] }));
}

#[test]
fn instances_show_their_tables_and_confirm_takes_what_is_reported() {
    let plane = Plane::new(&[]);
    create(&plane, "shadow");
    plane.register("app-1", "aaaa");
    plane.register("app-2", "cccc");
    let (code, text) = said(&plane.run(&["instances", "events"]));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("table orders: checked, operations aaaa"), "{text}");
    assert!(text.contains("table orders: CANNOT CHECK its writes, operations cccc"), "{text}");
    let (_, text) = said(&plane.run(&["--json", "instances", "events"]));
    let all: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(all["instances"][1]["tables"][0]["can-check"], false, "{text}");
    let (_, text) = said(&plane.run(&["status", "events"]));
    assert!(text.contains("gate: cannot-check: instance app-2"), "{text}");
    assert!(
        text.contains("different operations on table orders (not confirmed): aaaa in app-1 cccc in app-2"),
        "{text}"
    );
    let (code, text) = said(&plane.run(&["instances", "events", "confirm", "users"]));
    assert_eq!(code, 2, "{text}");
    let (code, text) = said(&plane.run(&["instances", "events", "confirm", "orders"]));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("operations aaaa, cccc"), "{text}");
    let (_, text) = said(&plane.run(&["status", "events"]));
    assert!(text.contains("orders (confirmed)") && !text.contains("operations-differ"), "{text}");
}

#[test]
fn evict_without_names_evicts_nobody_and_says_which_command_does() {
    let plane = Plane::new(&["--silent-after", "100"]);
    create(&plane, "off");
    plane.register("app-1", "aaaa");
    let refused = loop {
        // Silent after a tenth of a second: asked until then.
        let (code, text) = said(&plane.run(&["instances", "events", "evict", "--dead"]));
        if code == 3 {
            break text;
        }
        assert!(code == 2 && text.contains("no instance is silent"), "{code}: {text}");
    };
    assert!(refused.contains("`crossfade instances events evict app-1 --dead`"), "{refused}");
    let (_, text) = said(&plane.run(&["instances", "events"]));
    assert!(text.contains("app-1"), "{text}");
    let (code, text) = said(&plane.run(&["instances", "events", "evict", "app-1", "--dead"]));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("suspect until a verification passes: app-1"), "{text}");
}

#[test]
fn a_writer_that_writes_again_at_live_asks_for_the_name() {
    let plane = Plane::new(&[]);
    create(&plane, "live");
    let (code, text) = said(&plane.run(&["writers", "events"]));
    assert_eq!((code, text.trim()), (0, "not paused: cron"));
    assert_eq!(said(&plane.run(&["writers", "events", "pause", "cron"])).0, 0);
    for confirm in [&[][..], &["--confirm", "other"]] {
        let (code, text) = said(&plane.run(&[&["writers", "events", "resume", "cron"][..], confirm].concat()));
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("the side that has lost authority") && text.contains("`events`"), "{text}");
    }
    let (code, text) = said(&plane.run(&["writers", "events", "resume", "cron", "--confirm", "events"]));
    assert_eq!((code, text.trim()), (0, "not paused: cron"));
}
