//! Row values of reads that differed: they stay in the application unless the plan shares them, and are shown to operators and
//! admins alone. A value is planted on each side, and looked for in everything that anybody gets.

use crate::support::{Bench, Client, bench};
use crossfade::compare::fields;
use crossfade::{Effect, Migration, plan};
use crossfade_api::problem::Code;
use crossfade_api::wire::*;
use crossfade_core::{Options as PlanOptions, PlanSpec, SampleValues, Stage};
use futures::StreamExt;
use reqwest::Method;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

const SOURCE: &str = "planted-in-the-source";
const TARGET: &str = "planted-in-the-target";

fn planted(text: &str) -> bool {
    text.contains("planted")
}

/// Everything that is logged in this process, of every crate and thread, at every level.
fn log() -> &'static Arc<Mutex<Vec<u8>>> {
    static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = log.clone();
        let everything = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Log(writer.clone()));
        tracing::subscriber::set_global_default(everything.finish()).unwrap();
        log
    })
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A plane with one migration at shadow, and an instance of the library whose reads differ.
async fn differing(sample_values: SampleValues) -> (Bench, Migration) {
    let bench = crate::support::bench_with(|options| options.heartbeat = Duration::from_millis(50)).await;
    let options = PlanOptions { sample_values, ..PlanOptions::default() };
    let plan = PlanSpec { options, ..PlanSpec::at("events", Stage::Shadow) };
    let request = CreateRequest { plan, bypassing_writers: Vec::new() };
    let _: Status = bench.admin.post("/v1/migrations", &request).await.unwrap();
    let from = plan::server(&bench.admin.url).token(bench.admin.with_role(Role::Instance).await.token);
    let migration = Migration::builder("events").plan(from).build().await.unwrap();
    read(&migration).await;
    (bench, migration)
}

/// Until the difference is confirmed: once more than before.
async fn read(migration: &Migration) {
    let before = migration.observe().total(|seen| seen.mismatched);
    let answer = migration
        .read("u1")
        .source(|| async { Ok::<_, Effect>(SOURCE.to_owned()) })
        .target(|| async { Ok(TARGET.to_owned()) })
        .compare(fields())
        .run(|refused| panic!("{refused}"))
        .await;
    assert_eq!(answer.unwrap(), SOURCE);
    while migration.observe().total(|seen| seen.mismatched) == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The status, once it has so many samples.
async fn sampled(client: &Client, samples: usize) -> Status {
    loop {
        let status = client.status().await;
        if status.mismatches.len() == samples {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn text(client: &Client, path: &str) -> String {
    client.request(Method::GET, path).send().await.unwrap().text().await.unwrap()
}

/// The first picture of the live stream.
async fn live(client: &Client) -> String {
    let stream = client.request(Method::GET, "/v1/events").send().await.unwrap();
    let first = stream.bytes_stream().next().await.unwrap().unwrap();
    String::from_utf8(first.to_vec()).unwrap()
}

/// Everything but what is shown to operators: the file, the log, and what the other roles get.
async fn seen_elsewhere(bench: &Bench) -> Vec<&'static str> {
    let [viewer, instance] = [bench.admin.with_role(Role::Viewer).await, bench.admin.with_role(Role::Instance).await];
    let mut seen = Vec::new();
    let mut look = |what, text: String| {
        if planted(&text) {
            seen.push(what);
        }
    };
    for path in
        ["/v1/migrations/events", "/v1/migrations", "/v1/history", "/v1/migrations/events/instances", "/metrics"]
    {
        look("a viewer", text(&viewer, path).await);
        look("an instance", text(&instance, path).await);
    }
    for path in ["/metrics", "/v1/history", "/v1/migrations/events/marks"] {
        look("an admin, beside the status", text(&bench.admin, path).await);
    }
    look("a viewer's stream", live(&viewer).await);
    assert_eq!(instance.get::<Status>("/v1/migrations/events").await.unwrap_err().code, Code::Forbidden);
    for file in std::fs::read_dir(bench.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        look("a file", String::from_utf8_lossy(&bytes).into_owned());
    }
    let logged = String::from_utf8_lossy(&log().lock().unwrap()).into_owned();
    assert!(logged.contains("source and target differ"), "this looks at no log");
    look("the log", logged);
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_a_migration_that_shares_them_are_shown_to_operators_and_admins_alone() {
    log();
    let (bench, _migration) = differing(SampleValues::Shared).await;
    let admin = &bench.admin;
    let values = Some([format!("\"{SOURCE}\""), format!("\"{TARGET}\"")]);
    assert_eq!(sampled(admin, 1).await.mismatches[0].values, values);
    let operator = admin.with_role(Role::Operator).await;
    assert_eq!(operator.status().await.mismatches[0].values, values);
    assert!(planted(&live(&operator).await), "an operator's stream");
    let viewer = admin.with_role(Role::Viewer).await;
    assert_eq!(viewer.status().await.mismatches[0].values, None);
    assert_eq!(viewer.status().await.mismatches[0].fields, ["(value)"], "the sample itself is shown");
    assert_eq!(seen_elsewhere(&bench).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_a_migration_that_did_not_opt_in_stay_in_the_application() {
    log();
    let (bench, migration) = differing(SampleValues::Withheld).await;
    assert_eq!(sampled(&bench.admin, 1).await.mismatches[0].values, None);
    assert_eq!(migration.observe().operations[0].samples[0].values, None, "nor are they kept there");
    assert!(!planted(&live(&bench.admin).await));
    assert_eq!(seen_elsewhere(&bench).await, [""; 0]);
}

async fn share(admin: &Client, sample_values: SampleValues) {
    let options = PlanOptions { sample_values, ..PlanOptions::default() };
    let if_revision = admin.status().await.publication.revision;
    let _: StepAnswer =
        admin.post("/v1/migrations/events/options", &OptionsRequest { options, if_revision }).await.unwrap();
    while admin.status().await.step.is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_forgotten_with_the_plan_that_shared_them() {
    log();
    let (bench, migration) = differing(SampleValues::Shared).await;
    let admin = &bench.admin;
    assert!(sampled(admin, 1).await.mismatches[0].values.is_some());
    assert_eq!(admin.status().await.drift, []);
    share(admin, SampleValues::Withheld).await;
    let status = admin.status().await;
    assert_eq!(status.mismatches[0].values, None, "what was kept went");
    let drift = &status.drift[0];
    assert_eq!(
        (drift.what.as_str(), drift.declared.as_str(), drift.in_force.as_str()),
        ("sample-values", "\"shared\"", "\"withheld\"")
    );
    read(&migration).await;
    assert_eq!(sampled(admin, 2).await.mismatches[1].values, None);
    share(admin, SampleValues::Shared).await;
    read(&migration).await;
    let values: Vec<bool> = sampled(admin, 3).await.mismatches.iter().map(|sample| sample.values.is_some()).collect();
    assert_eq!(values, [false, false, true], "what was withheld stays so");
}

#[tokio::test]
async fn values_that_an_instance_sends_unasked_are_dropped() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::Shadow).await;
    let revision = admin.join("a", InstanceKind::Application).await.publication.revision;
    let values = Some([SOURCE.to_owned(), TARGET.to_owned()]);
    let sample = MismatchSample { operation: "read".into(), values, ..MismatchSample::default() };
    let observations = Observations { mismatches: vec![sample], ..Observations::default() };
    let beat = Heartbeat {
        revision,
        sequence: 1,
        observations: observations.clone(),
        marks: MarkChange::default(),
        progress: None,
        tables: None,
    };
    let _: HeartbeatAnswer = admin.post("/v1/migrations/events/instances/a/heartbeat", &beat).await.unwrap();
    let goodbye = Departure { marks: MarkChange::default(), observations };
    admin.post::<()>("/v1/migrations/events/instances/a/goodbye", &goodbye).await.unwrap();
    let status = admin.status().await;
    assert_eq!(status.mismatches.iter().map(|sample| sample.values.is_some()).collect::<Vec<_>>(), [false, false]);
}
