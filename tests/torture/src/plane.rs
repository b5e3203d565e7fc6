//! Talks to the control plane, as an operator or as a run of the data side.

use crossfade_api::problem::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The one migration of the run.
pub(crate) const MIGRATION: &str = "torture";

#[derive(Debug, Clone)]
pub(crate) struct Plane {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// No answer that helps.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// It said no.
    #[error("{}: {}", .0.code.name(), .0.detail)]
    Refused(Box<Problem>),
    /// It said nothing, or something that is no answer.
    #[error("no answer: {0}")]
    Lost(String),
}

impl Plane {
    pub(crate) fn new(url: &str, token: &str) -> Plane {
        // Without a pool: a killed server leaves dead connections behind.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(5)).build();
        Plane { http: http.unwrap_or_default(), url: url.to_owned(), token: token.to_owned() }
    }

    fn path(&self, path: &str) -> String {
        format!("{}/v1/migrations{path}", self.url)
    }

    async fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, Trouble> {
        let lost = |error: reqwest::Error| Trouble::Lost(error.without_url().to_string());
        let response = request.bearer_auth(&self.token).send().await.map_err(lost)?;
        let good = response.status().is_success();
        let bytes = response.bytes().await.map_err(lost)?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        if good {
            return serde_json::from_slice(bytes).map_err(|error| Trouble::Lost(error.to_string()));
        }
        match serde_json::from_slice(bytes) {
            Ok(problem) => Err(Trouble::Refused(Box::new(problem))),
            Err(error) => Err(Trouble::Lost(error.to_string())),
        }
    }

    /// `path` is what follows `/v1/migrations`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        self.ask(self.http.get(self.path(path))).await
    }

    /// `path` is what follows `/v1/migrations`.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Trouble> {
        self.ask(self.http.post(self.path(path)).json(body)).await
    }
}
