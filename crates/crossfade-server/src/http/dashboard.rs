//! The dashboard: one page, its scripts, one style sheet, in the binary. It renders what the API says.
//!
//! A token is changed for a session cookie that no script can read and no other site can send.

use super::App;
use super::auth::{COOKIE, session_of};
use super::reply::{Body, Names, Refusal};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use crossfade_api::problem::Code;
use serde::Deserialize;
use serde_json::json;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

macro_rules! assets {
    ($($path:literal: $kind:literal, $file:literal;)+) => {
        /// Path, media type, text.
        const ASSETS: &[(&str, &str, &str)] = &[$(($path, $kind, include_str!(concat!("../../assets/", $file)))),+];
    };
}

assets! {
    "/": "text/html; charset=utf-8", "index.html";
    "/assets/app.css": "text/css; charset=utf-8", "app.css";
    "/assets/app.js": "text/javascript; charset=utf-8", "app.js";
    "/assets/dom.js": "text/javascript; charset=utf-8", "dom.js";
    "/assets/view.js": "text/javascript; charset=utf-8", "view.js";
    "/assets/ladder.js": "text/javascript; charset=utf-8", "ladder.js";
    "/assets/charts.js": "text/javascript; charset=utf-8", "charts.js";
    "/assets/icon.svg": "image/svg+xml", "icon.svg";
}

pub(super) fn routes() -> Router<App> {
    let pages = ASSETS
        .iter()
        .fold(Router::new(), |router, (path, kind, text)| router.route(path, get(move || asset(kind, text))));
    pages.route("/runbooks/{code}", get(runbook)).route("/session", get(look).post(begin).delete(end))
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

/// By a token, or by a code that stands for one and is good once.
#[derive(Deserialize)]
#[serde(untagged)]
enum LogIn {
    Token { token: String },
    Code { code: String },
}

/// Who is logged in; nobody is no error, so that a page may ask before it shows a log-in.
async fn look(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refusal> {
    app.same_origin(&Method::GET, &headers)?;
    let visitor = app.visitor(&headers);
    let (name, role) = visitor.map(|caller| (caller.name, caller.role)).unzip();
    let mut response = axum::Json(json!({ "name": name, "role": role })).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
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
    let token = match log_in {
        LogIn::Token { token } => Some(token),
        LogIn::Code { code } => app.sessions.accept(&code),
    };
    let known = |token: &String| app.settings.open || app.plane.tokens().caller(token).is_some();
    let Some(token) = token.filter(known) else {
        app.meter.failed(peer);
        let detail = "the token is not known, or the link was used before: ask an admin for a new one";
        return Err(Refusal::new(Code::Unauthenticated, detail));
    };
    let random = || Refusal::new(Code::Unavailable, "no randomness for a session: try again");
    let id = app.sessions.begin(&token).ok_or_else(random)?;
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
