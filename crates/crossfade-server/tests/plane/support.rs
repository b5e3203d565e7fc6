//! A server in this process, on a port of its own and a file of its own, and somebody who talks to it.

use crossfade_api::problem::Problem;
use crossfade_api::wire::*;
use crossfade_core::{PlanSpec, Stage, Verdict};
use crossfade_server::serve::{Options, Server};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: Server,
    pub(crate) admin: Client,
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) token: String,
}

pub(crate) async fn bench() -> Bench {
    bench_with(|_| {}).await
}

pub(crate) async fn bench_with(change: impl FnOnce(&mut Options)) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path().join("plane.db"));
    options.listen = "127.0.0.1:0".parse().unwrap();
    change(&mut options);
    let server = Server::start(options).await.unwrap();
    let admin = Client {
        http: reqwest::Client::new(),
        url: format!("http://{}", server.address),
        token: server.first_token.clone().unwrap_or_default(),
    };
    Bench { folder, server, admin }
}

/// One table, which the instance can check.
fn checked() -> Vec<TableDoc> {
    vec![TableDoc { table: "events".into(), can_check: true, operations: String::new() }]
}

impl Client {
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    async fn answer<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, Problem> {
        let response = request.send().await.unwrap();
        let status = response.status();
        let body = response.bytes().await.unwrap();
        if status == StatusCode::NO_CONTENT {
            return Ok(serde_json::from_str("null").unwrap());
        }
        let shown = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            Ok(serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {shown}")))
        } else {
            Err(serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{status} {error}: {shown}")))
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        Client::answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Problem> {
        Client::answer(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn make(&self, stage: Stage) -> Status {
        let request = CreateRequest { plan: PlanSpec::at("events", stage), bypassing_writers: Vec::new() };
        self.post("/v1/migrations", &request).await.unwrap()
    }

    pub(crate) async fn with_role(&self, role: Role) -> Client {
        let request = TokenRequest { name: role.name().into(), role };
        let issued: IssuedToken = self.post("/v1/tokens", &request).await.unwrap();
        Client { token: issued.token, ..self.clone() }
    }

    pub(crate) async fn status(&self) -> Status {
        self.get("/v1/migrations/events").await.unwrap()
    }

    pub(crate) async fn join(&self, instance: &str, kind: InstanceKind) -> Registered {
        let request = Registration {
            instance: instance.into(),
            kind,
            host: "here".into(),
            version: "0".into(),
            holding: None,
            seen: None,
            tables: (kind == InstanceKind::Application).then(checked),
            sides: Vec::new(),
        };
        self.post("/v1/migrations/events/instances", &request).await.unwrap()
    }

    /// Instances that do not report their tables report that they check the table `events`.
    pub(crate) async fn report_tables(&self) {
        let all: Instances = self.get("/v1/migrations/events/instances").await.unwrap();
        let silent = |doc: &&InstanceDoc| doc.kind == InstanceKind::Application && doc.tables.is_none();
        for doc in all.instances.iter().filter(silent) {
            let beat = Heartbeat {
                revision: all.revision,
                sequence: 0,
                observations: Observations::default(),
                marks: MarkChange::default(),
                progress: None,
                tables: Some(checked()),
            };
            let path = format!("/v1/migrations/events/instances/{}/heartbeat", doc.instance);
            let _: HeartbeatAnswer = self.post(&path, &beat).await.unwrap();
        }
    }

    pub(crate) async fn ack(&self, instance: &str, marks: MarkChange) -> Result<HeartbeatAnswer, Problem> {
        let revision = self.status().await.publication.revision;
        let path = format!("/v1/migrations/events/instances/{instance}/acknowledge");
        self.post(&path, &Acknowledgement { revision, marks, tables: None }).await
    }

    pub(crate) async fn ramp(&self, stage: Stage, percent: &str) -> Result<StepAnswer, Problem> {
        let if_revision = self.status().await.publication.revision;
        let request = RampRequest {
            stage,
            percent: percent.parse().unwrap(),
            pins: None,
            if_revision,
            confirm: Some("events".into()),
        };
        self.post("/v1/migrations/events/ramp", &request).await
    }

    /// What a gate wants to see before authority moves: history moved, then both sides verified.
    pub(crate) async fn converge(&self, acks: &[&str]) {
        self.report_tables().await;
        self.run(InstanceKind::Backfill, Outcome::Complete, acks).await;
        self.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified), acks).await;
    }

    /// Makes the migration at shadow, with instance `a`, converges, and steps towards live.
    pub(crate) async fn set_out_for_live(&self) {
        self.make(Stage::Shadow).await;
        self.join("a", InstanceKind::Application).await;
        self.converge(&["a"]).await;
        self.ramp(Stage::Live, "100").await.unwrap();
    }

    /// A run from its begin to its end, waiting for full checks with `acks` acknowledging.
    pub(crate) async fn run(&self, kind: InstanceKind, outcome: Outcome, acks: &[&str]) {
        let id = format!("{}-run", kind.name());
        self.join(&id, kind).await;
        let path = |what: &str| format!("/v1/migrations/events/instances/{id}/{what}");
        loop {
            match self.post::<RunTicket>(&path("begin"), &()).await {
                Ok(_) => break,
                Err(problem) => {
                    use crossfade_api::problem::Code;
                    assert!(matches!(problem.code, Code::NotReady | Code::StepUnderWay), "{problem:?}");
                    for instance in acks {
                        self.ack(instance, MarkChange::default()).await.unwrap();
                    }
                }
            }
        }
        let end = RunEnd { outcome, marks: MarkChange::default(), progress: None };
        self.post::<()>(&path("end"), &end).await.unwrap();
        self.post::<()>(&path("goodbye"), &Departure::default()).await.unwrap();
    }

    /// Acknowledges for these instances until no step is under way.
    pub(crate) async fn finish(&self, acks: &[&str]) -> Status {
        for _ in 0..200 {
            let status = self.status().await;
            let Some(step) = &status.step else { return status };
            for instance in acks {
                if step.waiting_for.iter().any(|waiting| waiting == instance) {
                    let _ = self.ack(instance, MarkChange::default()).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the step never ends: {:?}", self.status().await.step);
    }
}
