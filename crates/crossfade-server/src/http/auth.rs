//! Who asks, by bearer token, API key, or the dashboard's session cookie; and whether its role is enough.
//!
//! A cookie counts for reading, and for acting only beside the header `x-crossfade`, which no other site's form or
//! image can send; the cookie is `SameSite=Strict` besides.

use super::App;
use super::reply::Refusal;
use crate::access::{Caller, hex};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use crossfade_api::problem::Code;
use crossfade_api::wire::Role;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a session of the dashboard lasts.
const SESSION: Duration = Duration::from_secs(12 * 3_600);
/// How many there are at most; the oldest goes.
const SESSIONS: usize = 1_000;
/// The cookie.
pub(crate) const COOKIE: &str = "crossfade_session";

/// How long a code of [`Sessions::invite`] is good.
const INVITATION: Duration = Duration::from_secs(3_600);

/// Sessions of the dashboard, in memory: a restart logs everybody out.
#[derive(Default)]
pub struct Sessions {
    /// By the id in the cookie: a token, and since when.
    open: Mutex<HashMap<String, (String, Instant)>>,
    /// By code: the token that it stands for, once, and since when.
    invitations: Mutex<HashMap<String, (String, Instant)>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    /// A new session for a token. None when there is no randomness.
    pub(crate) fn begin(&self, token: &str) -> Option<String> {
        let mut id = [0u8; 32];
        getrandom::fill(&mut id).ok()?;
        let id = hex(&id);
        let mut sessions = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, (_, began)| began.elapsed() < SESSION);
        if sessions.len() >= SESSIONS
            && let Some(oldest) = sessions.iter().min_by_key(|(_, (_, began))| *began).map(|(id, _)| id.clone())
        {
            sessions.remove(&oldest);
        }
        sessions.insert(id.clone(), (token.to_owned(), Instant::now()));
        Some(id)
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// A code that logs in once, in the place of this token. None when there is no randomness.
    pub(crate) fn invite(&self, token: &str) -> Option<String> {
        let mut code = [0u8; 32];
        getrandom::fill(&mut code).ok()?;
        let code = hex(&code);
        let mut invitations = self.invitations.lock().unwrap_or_else(PoisonError::into_inner);
        invitations.retain(|_, (_, made)| made.elapsed() < INVITATION);
        invitations.insert(code.clone(), (token.to_owned(), Instant::now()));
        Some(code)
    }

    /// The token that a code stands for. It is good no second time.
    pub(crate) fn accept(&self, code: &str) -> Option<String> {
        let taken = self.invitations.lock().unwrap_or_else(PoisonError::into_inner).remove(code);
        taken.filter(|(_, made)| made.elapsed() < INVITATION).map(|(token, _)| token)
    }

    fn token(&self, id: &str) -> Option<String> {
        let sessions = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(id).filter(|(_, began)| began.elapsed() < SESSION).map(|(token, _)| token.clone())
    }
}

/// The session cookie of a request.
pub(crate) fn session_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    headers.get("x-api-key").and_then(|value| value.to_str().ok())
}

impl App {
    /// Who asks.
    ///
    /// # Errors
    /// When nobody is known by what was presented.
    pub(crate) fn caller(&self, method: &Method, headers: &HeaderMap) -> Result<Caller, Refusal> {
        self.same_origin(method, headers)?;
        if self.settings.open {
            return Ok(Caller { name: "anybody here".to_owned(), role: Role::Admin });
        }
        let tokens = self.plane.tokens();
        if let Some(token) = presented(headers) {
            let unknown = || Refusal::new(Code::Unauthenticated, "the token is not known: ask an admin for a new one");
            return tokens.caller(token).cloned().ok_or_else(unknown);
        }
        if let Some(token) = session_of(headers).and_then(|id| self.sessions.token(id)) {
            if !method.is_safe() && !headers.contains_key("x-crossfade") {
                let detail = "with a session cookie, an action needs the header x-crossfade";
                return Err(Refusal::new(Code::Forbidden, detail));
            }
            if let Some(caller) = tokens.caller(&token) {
                return Ok(caller.clone());
            }
        }
        let detail = "send `authorization: Bearer TOKEN`; `crossfade serve` printed the first admin's token";
        Err(Refusal::new(Code::Unauthenticated, detail))
    }

    /// Who the dashboard's session belongs to; everybody on an open server.
    pub(crate) fn visitor(&self, headers: &HeaderMap) -> Option<Caller> {
        if self.settings.open {
            return Some(Caller { name: "anybody here".to_owned(), role: Role::Admin });
        }
        let token = session_of(headers).and_then(|id| self.sessions.token(id))?;
        self.plane.tokens().caller(&token).cloned()
    }

    /// A browser says where a request comes from: other sites may not act here, nor reach an open server by a
    /// name that they made point to it.
    pub(crate) fn same_origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if self.settings.open && !is_loopback_name(host) {
            return Err(Refusal::new(Code::Forbidden, "an open server is reached as localhost or 127.0.0.1 only"));
        }
        let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
        let foreign = origin.split_once("://").is_none_or(|(_, authority)| authority != host);
        if foreign && !method.is_safe() && (self.settings.open || session_of(headers).is_some()) {
            return Err(Refusal::new(Code::Forbidden, "another site may not act here"));
        }
        Ok(())
    }
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

macro_rules! needs {
    ($($(#[$doc:meta])+ $name:ident, $role:expr;)+) => {$(
        $(#[$doc])+
        #[derive(Debug, Clone)]
        pub(crate) struct $name(pub(crate) Caller);

        impl FromRequestParts<App> for $name {
            type Rejection = Refusal;

            async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<$name, Refusal> {
                let peer = super::limits::peer(&parts.extensions);
                app.meter.may_try(peer)?;
                let caller = match app.caller(&parts.method, &parts.headers) {
                    Ok(caller) => caller,
                    Err(refusal) => {
                        if refusal.0.code == Code::Unauthenticated {
                            app.meter.failed(peer);
                        }
                        return Err(refusal);
                    }
                };
                let needed: Option<Role> = $role;
                let found = $name(caller);
                match needed {
                    Some(role) if !found.0.role.covers(role) => {
                        let detail = format!("this takes the role {role}, the token has {}: ask an admin", found.0.role);
                        Err(Refusal::new(Code::Forbidden, detail))
                    }
                    Some(_) | None => Ok(found),
                }
            }
        }
    )+};
}

needs! {
    /// Any good token.
    Anyone, None;
    /// May look.
    Viewer, Some(Role::Viewer);
    /// May run under a plan.
    Runner, Some(Role::Instance);
    /// May move migrations.
    Operator, Some(Role::Operator);
    /// May issue tokens.
    Admin, Some(Role::Admin);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_reach_an_open_server() {
        for good in ["localhost", "localhost:7420", "127.0.0.1:1", "[::1]:7420", "127.9.9.9"] {
            assert!(is_loopback_name(good), "{good}");
        }
        for bad in ["", "evil.example", "localhost.evil.example:7420", "127.0.0.1.evil.example", "10.0.0.1"] {
            assert!(!is_loopback_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_session_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::COOKIE,
            "a=b; crossfade_session=xyz ; c=d".parse().unwrap_or(axum::http::HeaderValue::from_static("")),
        );
        assert_eq!(session_of(&headers), Some("xyz"));
    }
}
