//! kill -9 at every append of the log, before the commit and after it: what was answered is never lost (revisions, acknowledgements,
//! marks, runs), what was not answered either happened as a whole or not at all, and the story goes on from there. The application
//! beside it reads and writes on.

mod beside;
mod story;
mod told;

use crate::support::Client;
use beside::{Beside, Door, WentOn};
use crossfade_server::log::{Log, Moment};
use crossfade_server::serve::{Options, Server};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use story::{act, instances, look};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use told::Told;

const DATA: &str = "CROSSFADE_TEST_CRASH_DATA";
const AT: &str = "CROSSFADE_TEST_CRASH_AT";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Crashes at the same time.
const TOGETHER: usize = 8;

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

async fn serve(data: &Path, at: &str, door: &Door) -> Option<Served> {
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
            door.leads_to(address.parse().unwrap());
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

/// What one crash left to look at.
struct Crash {
    /// The story was over before the append came.
    died: bool,
    /// What the application did while the server was dead.
    went_on: WentOn,
    /// Which answers there were to look for.
    looked: BTreeMap<&'static str, u64>,
}

async fn killed_at(number: u64, moment: &str) -> Crash {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("plane.db");
    let door = Door::open().await;
    let (mut application, mut told, mut died): (Option<Beside>, _, _) = (None, Told::default(), true);
    if let Some(mut served) = serve(&data, &format!("{number} {moment}"), &door).await {
        died = act(&served.client, &door, &mut application, &mut told).await.is_err();
        if died {
            served.child.wait().await.unwrap();
        } else {
            served.child.kill().await.unwrap();
        }
    }
    let went_on = match &application {
        Some(application) => application.goes_on().await,
        None => WentOn::NotYet,
    };
    // What is in the file replays, whatever happened to the process.
    let replayed = Log::open(&data, None).unwrap().replay().unwrap();
    told.is_kept_by(replayed.migrations.get("events"));
    // The story goes on to its end.
    let mut served = serve(&data, "0 before", &door).await.unwrap();
    assert!(act(&served.client, &door, &mut application, &mut told).await.is_ok());
    assert_eq!(look(&served.client).await.unwrap().position, "live");
    // The application found its way back: it acknowledges, and follows the plan again.
    let application = application.unwrap();
    let back = |all: Vec<crossfade_api::wire::InstanceDoc>| {
        all.into_iter().any(|known| known.instance == application.instance && known.current && known.connected)
    };
    while !back(instances(&served.client).await.unwrap()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (reads, writes) = application.leave().await;
    assert!(reads > 0 && writes > 0);
    served.child.kill().await.unwrap();
    Crash { died, went_on, looked: told.looked }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_append() {
    let (mut crashes, mut went_on, mut looked) = (0, Vec::new(), BTreeMap::<&str, u64>::new());
    for moment in ["before", "after"] {
        // Most of a story is waiting: several are told at the same time.
        'told: for first in (1..).step_by(TOGETHER) {
            let together = (first..first + TOGETHER as u64).map(|number| killed_at(number, moment));
            for crash in futures::future::join_all(together).await {
                for (what, count) in crash.looked {
                    *looked.entry(what).or_default() += count;
                }
                if !crash.died {
                    break 'told;
                }
                crashes += 1;
                went_on.push(crash.went_on);
            }
        }
    }
    assert!(crashes >= 20, "only {crashes} appends were crashed at");
    println!("{crashes} crashes, {looked:?}, {went_on:?}");
    for what in ["acknowledgements", "marks", "repaired rows", "runs that go on", "runs that ended"] {
        assert!(looked.get(what).is_some_and(|count| *count > 0), "{what} were never there to be lost: {looked:?}");
    }
    for what in [WentOn::All, WentOn::Reads] {
        assert!(went_on.contains(&what), "the application was never in this state: {what:?} of {went_on:?}");
    }
}
