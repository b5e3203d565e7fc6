//! kill -9 at every append of the log, before the commit and after it: what was answered is never lost, what was not
//! answered either happened as a whole or not at all, and the story goes on from there.

use crate::support::Client;
use crossfade_api::problem::Problem;
use crossfade_api::wire::*;
use crossfade_core::{PlanSpec, Stage, Verdict};
use crossfade_server::log::{Log, Moment};
use crossfade_server::serve::{Options, Server};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const DATA: &str = "CROSSFADE_TEST_CRASH_DATA";
const AT: &str = "CROSSFADE_TEST_CRASH_AT";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Not a test of its own: the process that [`killed_at_every_append`] starts and that kills itself.
#[tokio::test]
async fn child_that_serves() {
    let Ok(data) = std::env::var(DATA) else { return };
    let at = std::env::var(AT).unwrap();
    let (number, moment) = at.split_once(' ').unwrap();
    let number: u64 = number.parse().unwrap();
    let moment = if moment == "before" { Moment::Before } else { Moment::After };
    let mut options = Options::new(data.into());
    options.listen = "127.0.0.1:0".parse().unwrap();
    options.tokens = crossfade_server::access::Tokens::parse(&format!("admin test {TOKEN}")).unwrap();
    options.hook = Some(Arc::new(move |now, appends| {
        if appends == number && now == moment {
            // As by kill -9: no destructor, no flush.
            let _ = std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
            loop {
                std::thread::park();
            }
        }
    }));
    let server = Server::start(options).await.unwrap();
    println!("listening {}", server.address);
    std::future::pending::<()>().await;
}

struct Served {
    child: Child,
    client: Client,
}

async fn serve(data: &Path, at: &str) -> Option<Served> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_serves", "--nocapture"])
        .env(DATA, data)
        .env(AT, at)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, address)) = line.split_once("listening ") {
            let client =
                Client { http: reqwest::Client::new(), url: format!("http://{address}"), token: TOKEN.to_owned() };
            // The pipe stays open, or the child would die of it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(Served { child, client });
        }
    }
    // It died before it listened.
    child.wait().await.unwrap();
    None
}

/// What a client knows after asking: an answer, or nothing.
enum Heard<T> {
    Yes(T),
    No(Problem),
    Nothing,
}

async fn ask<T: DeserializeOwned>(client: &Client, path: &str, body: &impl Serialize) -> Heard<T> {
    let request = client.request(reqwest::Method::POST, path).json(body).timeout(Duration::from_secs(20));
    let Ok(response) = request.send().await else { return Heard::Nothing };
    let good = response.status().is_success();
    let Ok(bytes) = response.bytes().await else { return Heard::Nothing };
    let bytes = if bytes.is_empty() { &b"null"[..] } else { &bytes };
    if good {
        Heard::Yes(serde_json::from_slice(bytes).unwrap())
    } else {
        Heard::No(serde_json::from_slice(bytes).unwrap())
    }
}

async fn look(client: &Client) -> Option<Status> {
    let request = client.request(reqwest::Method::GET, "/v1/migrations/events").timeout(Duration::from_secs(20));
    let response = request.send().await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    serde_json::from_slice(&response.bytes().await.ok()?).ok()
}

/// One pass of the story, as a client that never assumes: looks where things stand, does the next thing, and stops
/// when the server is gone. Returns the newest revision that it was told of, and whether the story is at its end.
async fn act(client: &Client, newest: &mut u64) -> bool {
    for _ in 0..2_000 {
        let Some(status) = look(client).await else {
            let make = CreateRequest { plan: PlanSpec::at("events", Stage::DualWrite), bypassing_writers: Vec::new() };
            match ask::<Status>(client, "/v1/migrations", &make).await {
                Heard::Yes(status) => *newest = status.publication.revision.0.number,
                Heard::No(problem) => panic!("{problem:?}"),
                Heard::Nothing => return false,
            }
            continue;
        };
        let number = status.publication.revision.0.number;
        assert!(number >= *newest, "revision {newest} was answered, {number} is in force");
        *newest = number;
        if status.instances == 0 {
            let join = Registration {
                instance: "a".into(),
                kind: InstanceKind::Application,
                host: String::new(),
                version: String::new(),
                holding: None,
                seen: None,
            };
            match ask::<Registered>(client, "/v1/migrations/events/instances", &join).await {
                Heard::Yes(_) => continue,
                Heard::No(problem) => panic!("{problem:?}"),
                Heard::Nothing => return false,
            }
        }
        let revision = status.publication.revision;
        // After a restart the plane waits for everybody it knows to be heard of again.
        let step = status.step.iter().flat_map(|step| &step.waiting_for);
        if let Some(id) = step.chain(&status.waiting_for).next() {
            let path = format!("/v1/migrations/events/instances/{id}/acknowledge");
            let ack = Acknowledgement { revision, marks: MarkChange::default() };
            match ask::<HeartbeatAnswer>(client, &path, &ack).await {
                Heard::Yes(_) | Heard::No(_) => continue,
                Heard::Nothing => return false,
            }
        }
        if status.step.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let missing = |code: &str| status.gate.blockers.iter().any(|blocker| blocker.code == code);
        let run = if missing("backfill-not-started") || missing("backfill-unfinished") {
            Some((InstanceKind::Backfill, Outcome::Complete))
        } else if !status.gate.go {
            Some((InstanceKind::Verify, Outcome::Verdict(Verdict::Verified)))
        } else {
            None
        };
        if let Some((kind, outcome)) = run
            && status.authority == Some(crossfade_core::Side::Source)
        {
            let id = kind.name();
            let join = Registration {
                instance: id.into(),
                kind,
                host: String::new(),
                version: String::new(),
                holding: None,
                seen: None,
            };
            let path = |what: &str| format!("/v1/migrations/events/instances/{id}/{what}");
            match ask::<Registered>(client, "/v1/migrations/events/instances", &join).await {
                Heard::Yes(_) => {}
                Heard::No(problem) => panic!("{problem:?}"),
                Heard::Nothing => return false,
            }
            match ask::<RunTicket>(client, &path("begin"), &()).await {
                Heard::Yes(_) => {}
                Heard::No(_) => continue,
                Heard::Nothing => return false,
            }
            let end = RunEnd { outcome, marks: MarkChange::default(), progress: None };
            match ask::<()>(client, &path("end"), &end).await {
                Heard::Yes(()) | Heard::No(_) => {}
                Heard::Nothing => return false,
            }
            match ask::<()>(client, &path("goodbye"), &Departure::default()).await {
                Heard::Yes(()) | Heard::No(_) => continue,
                Heard::Nothing => return false,
            }
        }
        let to = match (status.position.as_str(), number) {
            ("dual-write", _) => Stage::Shadow,
            ("shadow", _) => Stage::Live,
            _ => return true,
        };
        let wish = RampRequest {
            stage: to,
            percent: "100".parse().unwrap(),
            pins: None,
            if_revision: revision,
            confirm: None,
        };
        match ask::<StepAnswer>(client, "/v1/migrations/events/ramp", &wish).await {
            Heard::Yes(answer) => *newest = answer.status.publication.revision.0.number,
            Heard::No(_) => {}
            Heard::Nothing => return false,
        }
    }
    panic!(
        "the story does not end: {:?}",
        look(client).await.map(|status| (status.position, status.step, status.gate))
    );
}

#[tokio::test]
async fn killed_at_every_append() {
    let mut crashes = 0;
    for moment in ["before", "after"] {
        for number in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let data = folder.path().join("plane.db");
            let mut newest = 0;
            let mut died = true;
            if let Some(mut served) = serve(&data, &format!("{number} {moment}")).await {
                died = !act(&served.client, &mut newest).await;
                if died {
                    served.child.wait().await.unwrap();
                } else {
                    served.child.kill().await.unwrap();
                }
            }
            // What is in the file replays, whatever happened to the process.
            let replayed = Log::open(&data, None).unwrap().replay().unwrap();
            if let Some(migration) = replayed.migrations.get("events") {
                assert!(migration.revision.number >= newest, "an answered revision is lost");
                assert!(migration.step.is_some() || !migration.is_held());
            } else {
                assert_eq!(newest, 0, "an answered creation is lost");
            }
            // The story goes on to its end.
            let mut served = serve(&data, "0 before").await.unwrap();
            assert!(act(&served.client, &mut newest).await);
            let status = look(&served.client).await.unwrap();
            assert_eq!(status.position, "live");
            served.child.kill().await.unwrap();
            if !died {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes >= 20, "only {crashes} appends were crashed at");
}
