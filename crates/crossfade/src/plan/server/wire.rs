//! What is said to the control plane, and how its silence is told from its refusal.

use super::Token;
use crossfade_api::problem::Problem;
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::{
    Acknowledgement, Departure, Heartbeat, HeartbeatAnswer, InstanceKind, MarkChange, Publication, Registered,
    Registration, TableDoc,
};
use crossfade_core::Revision;
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::sync::mpsc;

/// A stream on which nothing comes for so long is dead: the server sends a comment every ten seconds.
const STREAM_SILENCE: Duration = Duration::from_secs(30);

/// Why the server gave no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It said no.
    Refused(Box<Problem>),
    /// It said nothing.
    Lost(String),
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Silence::Refused(problem) => {
                write!(f, "{}: {} (the server's page {})", problem.code.name(), problem.detail, problem.kind)
            }
            Silence::Lost(why) => f.write_str(why),
        }
    }
}

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) http: reqwest::Client,
    pub(super) base: String,
    pub(super) instance: String,
    pub(super) host: String,
    pub(super) token: Token,
}

impl Wire {
    async fn authorised(&self, request: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder, Silence> {
        match &self.token {
            Token::None => Ok(request),
            Token::Text(text) => Ok(request.bearer_auth(text)),
            Token::File(path) => {
                let read = tokio::task::spawn_blocking({
                    let path = path.clone();
                    move || std::fs::read_to_string(path)
                });
                match read.await {
                    Ok(Ok(text)) => Ok(request.bearer_auth(text.trim())),
                    Ok(Err(_)) | Err(_) => Err(Silence::Lost(format!("cannot read the token in {}", path.display()))),
                }
            }
        }
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Silence> {
        let body = serde_json::to_vec(body).map_err(|error| Silence::Lost(error.to_string()))?;
        let request = self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        Wire::answer(self.authorised(request.body(body).timeout(Duration::from_secs(10))).await?).await
    }

    /// Asks about the migration, beside its instances.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Silence> {
        let migration = self.base.trim_end_matches("/instances");
        let request = self.http.get(format!("{migration}{path}")).timeout(Duration::from_secs(10));
        Wire::answer(self.authorised(request).await?).await
    }

    async fn answer<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, Silence> {
        let lost = |error: reqwest::Error| Silence::Lost(error.without_url().to_string());
        let response = request.send().await.map_err(lost)?;
        let good = response.status().is_success();
        let bytes = response.bytes().await.map_err(lost)?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        if good {
            return serde_json::from_slice(bytes).map_err(|error| Silence::Lost(error.to_string()));
        }
        match serde_json::from_slice(bytes) {
            Ok(problem) => Err(Silence::Refused(Box::new(problem))),
            Err(_) => Err(Silence::Lost("what answers there is no control plane".to_owned())),
        }
    }

    pub(super) async fn register(
        &self,
        holding: Option<Publication>,
        seen: Option<RevisionText>,
        tables: Option<Vec<TableDoc>>,
    ) -> Result<Registered, Silence> {
        let registration = Registration {
            instance: self.instance.clone(),
            kind: InstanceKind::Application,
            host: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            holding,
            seen,
            tables,
            sides: Vec::new(),
        };
        self.post("", &registration).await
    }

    pub(super) async fn acknowledge(
        &self,
        revision: Revision,
        marks: MarkChange,
        tables: Option<Vec<TableDoc>>,
    ) -> Result<HeartbeatAnswer, Silence> {
        let body = Acknowledgement { revision: revision.into(), marks, tables };
        self.post(&format!("/{}/acknowledge", self.instance), &body).await
    }

    pub(super) async fn heartbeat(&self, beat: &Heartbeat) -> Result<HeartbeatAnswer, Silence> {
        self.post(&format!("/{}/heartbeat", self.instance), beat).await
    }

    pub(super) async fn marks(&self, change: &MarkChange) -> Result<(), Silence> {
        self.post(&format!("/{}/marks", self.instance), change).await
    }

    pub(super) async fn goodbye(&self, departure: &Departure) -> Result<(), Silence> {
        self.post(&format!("/{}/goodbye", self.instance), departure).await
    }

    /// Follows the plan stream and hands every publication over, until the stream ends.
    pub(super) async fn follow(&self, holds: Revision, plans: &mpsc::Sender<Publication>) -> Silence {
        let url = format!("{}/{}/plans?holds={}", self.base, self.instance, RevisionText(holds));
        let lost = |error: reqwest::Error| Silence::Lost(error.without_url().to_string());
        let request = match self.authorised(self.http.get(url)).await {
            Ok(request) => request,
            Err(silence) => return silence,
        };
        let response = match tokio::time::timeout(Duration::from_secs(10), request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return lost(error),
            Err(_) => return Silence::Lost("the plan stream did not begin in time".to_owned()),
        };
        if !response.status().is_success() {
            let bytes = match response.bytes().await {
                Ok(bytes) => bytes,
                Err(error) => return lost(error),
            };
            return match serde_json::from_slice(&bytes) {
                Ok(problem) => Silence::Refused(Box::new(problem)),
                Err(_) => Silence::Lost("what answers there is no control plane".to_owned()),
            };
        }
        let mut stream = response.bytes_stream();
        let mut pending = Vec::new();
        loop {
            match tokio::time::timeout(STREAM_SILENCE, stream.next()).await {
                Ok(Some(Ok(bytes))) => pending.extend_from_slice(&bytes),
                Ok(Some(Err(error))) => return lost(error),
                Ok(None) => return Silence::Lost("the plan stream ended".to_owned()),
                Err(_) => return Silence::Lost("the plan stream fell silent".to_owned()),
            }
            while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = pending.drain(..end + 2).collect();
                let text = String::from_utf8_lossy(&event);
                let Some(data) = text.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
                match serde_json::from_str(data) {
                    Ok(publication) => {
                        if plans.send(publication).await.is_err() {
                            return Silence::Lost("the migration is gone".to_owned());
                        }
                    }
                    Err(error) => return Silence::Lost(format!("a plan that cannot be read: {error}")),
                }
            }
        }
    }
}
