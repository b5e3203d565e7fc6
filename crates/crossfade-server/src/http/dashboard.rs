//! The dashboard: one page, one script, one style sheet, in the binary. It renders what the API says.
//!
//! A token is changed for a session cookie that no script can read and no other site can send.

use super::App;
use super::auth::{COOKIE, session_of};
use super::reply::{Body, Names, Refusal};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use crossfade_api::problem::Code;
use serde::Deserialize;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(|| asset("text/html; charset=utf-8", include_str!("../../assets/index.html"))))
        .route("/assets/app.js", get(|| asset("text/javascript; charset=utf-8", include_str!("../../assets/app.js"))))
        .route("/assets/app.css", get(|| asset("text/css; charset=utf-8", include_str!("../../assets/app.css"))))
        .route("/runbooks/{code}", get(runbook))
        .route("/session", post(begin).delete(end))
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

async fn runbook(Names(code): Names<String>) -> Response {
    match super::runbooks::PAGES.iter().find(|(name, _)| *name == code) {
        Some((_, text)) => asset("text/plain; charset=utf-8", text).await,
        None => Refusal::new(Code::NotFound, "there is no runbook of this name").into_response(),
    }
}

#[derive(Deserialize)]
struct LogIn {
    token: String,
}

async fn begin(
    State(app): State<App>,
    parts: axum::http::request::Parts,
    Body(log_in): Body<LogIn>,
) -> Result<Response, Refusal> {
    let peer = super::limits::peer(&parts.extensions);
    app.meter.may_try(peer)?;
    // JSON cannot be sent by another site's form, and its script is stopped by the browser.
    app.same_origin(&Method::POST, &parts.headers)?;
    if !app.settings.open && app.plane.tokens().caller(&log_in.token).is_none() {
        app.meter.failed(peer);
        return Err(Refusal::new(Code::Unauthenticated, "the token is not known: ask an admin for a new one"));
    }
    let random = || Refusal::new(Code::Unavailable, "no randomness for a session: try again");
    let id = app.sessions.begin(&log_in.token).ok_or_else(random)?;
    let secure = if app.settings.tls { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200{secure}");
    with_cookie(&cookie)
}

async fn end(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refusal> {
    if !headers.contains_key("x-crossfade") {
        return Err(Refusal::new(Code::Forbidden, "an action needs the header x-crossfade"));
    }
    if let Some(id) = session_of(&headers) {
        app.sessions.end(id);
    }
    with_cookie(&format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"))
}

fn with_cookie(cookie: &str) -> Result<Response, Refusal> {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let value = HeaderValue::from_str(cookie).map_err(|_| Refusal::new(Code::Unavailable, "no session: try again"))?;
    response.headers_mut().insert(header::SET_COOKIE, value);
    Ok(response)
}
