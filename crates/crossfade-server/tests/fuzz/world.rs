//! A plane and its surface in this process, without a socket.

use axum::Router;
use axum::body::Body;
use crossfade_api::problem::Problem;
use crossfade_server::http::{App, Limits, Settings, router};
use crossfade_server::observatory::Observatory;
use crossfade_server::plane::{Birth, Plane};
use http_body_util::BodyExt;
use hyper::{Method, Request};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tower_service::Service;

pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    router: Router,
    _stop: watch::Sender<bool>,
    folder: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl World {
    pub(crate) fn new() -> World {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let observatory = Arc::new(Observatory::new(Duration::from_secs(20)));
        let (plane, _writer) = Plane::open(&folder.path().join("plane.db"), Birth::default(), observatory).unwrap();
        let (stop, stopping) = watch::channel(false);
        let settings = Settings {
            heartbeat: Duration::from_secs(5),
            silent_after: Duration::from_secs(20),
            open: true,
            tls: false,
            limits: Limits { requests_per_second: u32::MAX, ..Limits::default() },
        };
        let router = router(App::new(plane, settings, stopping));
        let world = World { runtime, router, _stop: stop, folder };
        world.refresh();
        world
    }

    /// What the corpus speaks of is there.
    pub(crate) fn refresh(&self) {
        let plan =
            r#"{"plan":{"migration":"events","position":{"stage":"dual-write"},"phase":"settled","whole":false}}"#;
        let made = self.ask(Method::POST, "/v1/migrations", plan.into()).unwrap();
        assert!(made.status < 300, "nothing gets through: {}", String::from_utf8_lossy(&made.body));
        for (id, kind) in [("app-1", "application"), ("run-1", "verify")] {
            let body = format!(r#"{{"instance":"{id}","kind":"{kind}"}}"#);
            self.ask(Method::POST, "/v1/migrations/events/instances", body.into_bytes()).unwrap();
        }
    }

    /// The one in force; nothing when the migration is not there.
    pub(crate) fn revision(&self) -> String {
        let answer = self.ask(Method::GET, "/v1/migrations/events/plan", Vec::new()).unwrap();
        let publication: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        publication["revision"].as_str().unwrap_or_default().to_owned()
    }

    /// None when it is no request at all.
    pub(crate) fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Option<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("host", "localhost:7420");
        let request = request.body(Body::from(body)).ok()?;
        self.runtime.block_on(async {
            let response = self.router.clone().call(request).await.unwrap_or_else(|never| match never {});
            let (parts, body) = response.into_parts();
            let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            // A stream has no end; that it began is its answer.
            let body = if kind.starts_with("text/event-stream") {
                Vec::new()
            } else {
                body.collect().await.unwrap().to_bytes().to_vec()
            };
            let status = parts.status.as_u16();
            if kind == crossfade_api::problem::MEDIA_TYPE {
                let problem: Problem = serde_json::from_slice(&body).unwrap();
                assert_eq!((problem.status, problem.code.status()), (status, status), "{problem:?}");
            }
            assert!(status < 500, "{path}: {status} {}", String::from_utf8_lossy(&body));
            Some(Answer { status, body })
        })
    }

    /// What was written can be read: the plane starts again from its log.
    pub(crate) fn replays(self) {
        let World { runtime, router, _stop, folder } = self;
        drop(router);
        runtime.shutdown_timeout(Duration::from_secs(10));
        let observatory = Arc::new(Observatory::new(Duration::from_secs(20)));
        Plane::open(&folder.path().join("plane.db"), Birth::default(), observatory).unwrap();
    }
}
