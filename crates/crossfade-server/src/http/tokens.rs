//! Tokens: issued once, listed without their secrets, revoked.

use super::App;
use super::auth::Admin;
use super::reply::{Body, Names, Refusal};
use crate::access;
use crate::law::{Event, State as Plane};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use crossfade_api::problem::{Code, Problem};
use crossfade_api::wire::{IssuedToken, TokenDoc, TokenList, TokenRequest};

/// All tokens, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", security(("bearer" = [])),
    responses((status = 200, body = TokenList), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(State(app): State<App>, Admin(_): Admin) -> Result<Json<TokenList>, Refusal> {
    let look = |state: &Plane, _: &crate::log::Log| {
        let doc = |(id, record): (&String, &crate::law::TokenRecord)| TokenDoc {
            id: id.clone(),
            name: record.name.clone(),
            role: record.role,
        };
        Ok(TokenList { tokens: state.tokens.iter().map(doc).collect() })
    };
    app.plane.read(look).await.map(Json).map_err(Refusal)
}

/// A new token. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", security(("bearer" = [])), request_body = TokenRequest,
    responses((status = 201, body = IssuedToken), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn issue(
    State(app): State<App>,
    Admin(caller): Admin,
    Body(request): Body<TokenRequest>,
) -> Result<(StatusCode, Json<IssuedToken>), Refusal> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if request.name.is_empty() || request.name.len() > 64 || !request.name.chars().all(fine) {
        let detail = "a name has 1 to 64 of a-z, A-Z, 0-9, `-`, `_`, `.` and `@`";
        return Err(Refusal::new(Code::Invalid, detail));
    }
    let random = |error: access::NoRandomness| Refusal::new(Code::Unavailable, error.to_string());
    let (issued, hash) = access::issue(&request.name, request.role).map_err(random)?;
    let TokenDoc { id, name, role } = issued.doc.clone();
    let ask = move |_: &Plane| (vec![Event::TokenIssued { id, name, role, hash }], Ok(()));
    app.plane.ask(&caller.name, ask, |_, _| Ok(())).await?;
    Ok((StatusCode::CREATED, Json(issued)))
}

/// A token is no longer good.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", security(("bearer" = [])),
    params(("id" = String, Path, description = "The public part of the token")),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Admin(caller): Admin,
    Names(id): Names<String>,
) -> Result<StatusCode, Refusal> {
    let ask = move |state: &Plane| {
        if state.tokens.contains_key(&id) {
            (vec![Event::TokenRevoked { id }], Ok(()))
        } else {
            (Vec::new(), Err(Problem::new(Code::NotFound, "there is no such token: list them")))
        }
    };
    app.plane.ask(&caller.name, ask, |_, _| Ok(())).await?;
    Ok(StatusCode::NO_CONTENT)
}
