//! Talks to the control plane; a problem document becomes a failure with its exit code.

use crate::say::Failure;
use anyhow::{Context as _, anyhow};
use crossfade_api::exit::Exit;
use crossfade_api::problem::Problem;
use crossfade_api::wire::Status;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;

/// A control plane and a token.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(url: &str, token_file: Option<&Path>) -> Result<Client, Failure> {
        let token = match token_file {
            Some(path) => {
                let read = std::fs::read_to_string(path);
                let read = read.with_context(|| format!("cannot read the token file {}", path.display()));
                Some(read.map_err(Failure::usage)?.trim().to_owned())
            }
            None => std::env::var("CROSSFADE_TOKEN").ok().map(|token| token.trim().to_owned()),
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Failure::usage(anyhow!(
                "`{url}` is no URL of a control plane: write http:// or https:// first"
            )));
        }
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build();
        let http = http.context("no HTTP client").map_err(|error| Failure::new(Exit::Failed, error))?;
        Ok(Client { http, url: url.trim_end_matches('/').to_owned(), token })
    }

    /// A control plane in this process, whose token is at hand.
    pub(crate) fn with_token(url: &str, token: &str) -> Result<Client, Failure> {
        Ok(Client { token: Some(token.to_owned()), ..Client::new(url, None)? })
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<T, Refused> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let unreachable = |error: reqwest::Error| {
            let error = anyhow::Error::from(error.without_url());
            Refused::Failure(Failure::new(
                Exit::Unreachable,
                error.context(format!("cannot reach the control plane at {}: is it running? (--server)", self.url)),
            ))
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(unreachable)?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        if status.is_success() {
            let read = serde_json::from_slice(bytes).context("the control plane answered in words of another version");
            return read.map_err(|error| Refused::Failure(Failure::new(Exit::Failed, error)));
        }
        match serde_json::from_slice::<Problem>(bytes) {
            Ok(problem) => Err(Refused::Problem(Box::new(problem))),
            Err(_) => Err(Refused::Failure(Failure::new(
                Exit::Unreachable,
                anyhow!("{} answered {status} and is no control plane of crossfade: check --server", self.url),
            ))),
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refused> {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Refused> {
        self.send(Method::DELETE, path, None).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Refused> {
        let body = serde_json::to_vec(body).context("the request cannot be written");
        let body = body.map_err(|error| Refused::Failure(Failure::new(Exit::Failed, error)))?;
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn status(&self, id: &str) -> Result<Status, Refused> {
        self.get(&path(id, "")).await
    }
}

/// The path of a migration; an id has no characters that a path would read otherwise, or the server says so.
pub(crate) fn path(id: &str, rest: &str) -> String {
    let plain: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '?' }).collect();
    format!("/v1/migrations/{}{rest}", plain.replace('?', "%3F"))
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The control plane says no.
    Problem(Box<Problem>),
    /// There is nothing to say no.
    Failure(Failure),
}

impl Refused {
    /// Says why: blockers and waiting instances each on a line of its own, in JSON as fields.
    pub(super) fn end(self, out: super::Out) -> Result<Exit, Failure> {
        match self {
            Refused::Failure(failure) => Err(failure),
            Refused::Problem(problem) => {
                let value = serde_json::to_value(&*problem).unwrap_or_default();
                let mut text = format!("refused: {}", problem.detail);
                for blocker in &problem.blockers {
                    text.push_str(&format!("\n  - {}: {}", blocker.code, blocker.detail));
                }
                if !problem.waiting_for.is_empty() {
                    text.push_str(&format!("\n  waiting for: {}", problem.waiting_for.join(", ")));
                }
                text.push_str(&format!("\n  what to do: docs{}.md", problem.kind));
                if out.json {
                    out.result(value, "");
                } else {
                    eprintln!("{text}");
                }
                Ok(problem.code.exit())
            }
        }
    }
}
