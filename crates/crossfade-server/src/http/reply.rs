//! Bodies in and problems out.

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use crossfade_api::problem::{Code, MEDIA_TYPE, Problem};
use serde::de::DeserializeOwned;

/// A problem as an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal(problem)
    }
}

impl Refusal {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Refusal {
        Refusal(Problem::new(code, detail))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        match self.0.code {
            Code::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Code::TooManyRequests | Code::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Code::Malformed
            | Code::Forbidden
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::UnknownInstance
            | Code::RevisionChanged
            | Code::Behind
            | Code::StepUnderWay
            | Code::NoStep
            | Code::Silent
            | Code::Unlawful
            | Code::Gate
            | Code::ConfirmationNeeded
            | Code::Paused
            | Code::Retired
            | Code::NotReady
            | Code::Exists
            | Code::SwappedSides
            | Code::TooLarge
            | Code::NotJson
            | Code::Invalid
            | Code::Storage => {}
        }
        response
    }
}

/// The bytes of a body, or why not.
pub(crate) async fn bytes(request: Request) -> Result<Bytes, Refusal> {
    Bytes::from_request(request, &()).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(failure) => match failure.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(Code::TooLarge, "the body is larger than this path takes"),
            _ => Refusal::new(Code::Malformed, "the body ended early: send it again"),
        },
        _ => Refusal::new(Code::Malformed, "the body could not be read: send it again"),
    })
}

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Body<T>, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        // Asking for it by name keeps plain HTML forms of other sites out.
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Refusal::new(Code::NotJson, "send `content-type: application/json`"));
        }
        let bytes = bytes(request).await?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Body(value)),
            Err(error) if error.is_data() => Err(Refusal::new(Code::Invalid, said(&error))),
            Err(error) => Err(Refusal::new(Code::Malformed, format!("no JSON: {}", said(&error)))),
        }
    }
}

/// Serde repeats what it was given; more than a line of it helps nobody.
fn said(error: &serde_json::Error) -> String {
    error.to_string().chars().take(300).collect()
}

/// Names in the path.
#[derive(Debug)]
pub(crate) struct Names<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Names<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Names<T>, Refusal> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Names(names)),
            Err(_) => Err(Refusal::new(Code::Malformed, "the path is not UTF-8")),
        }
    }
}

/// Parameters after `?`.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Refusal> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Query(value)),
            Err(rejection) => {
                let detail: String = rejection.body_text().chars().take(300).collect();
                Err(Refusal::new(Code::Malformed, detail))
            }
        }
    }
}
