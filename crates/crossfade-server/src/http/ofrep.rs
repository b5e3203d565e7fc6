//! The flags by OFREP 0.3: six per migration, keyed by `targetingKey`. Such clients cannot acknowledge (R12), and
//! every answer says so in its metadata.

use super::App;
use super::auth::Anyone;
use super::reply::{Names, bytes};
use crate::access::hex;
use crate::plane::Live;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use crossfade_core::{CohortKey, End, Stage};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The flags of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    Stage,
    Authority,
    WriteSource,
    ReadSource,
    WriteTarget,
    ReadTarget,
}

impl Flag {
    const ALL: [Flag; 6] =
        [Flag::Stage, Flag::Authority, Flag::WriteSource, Flag::ReadSource, Flag::WriteTarget, Flag::ReadTarget];

    const fn name(self) -> &'static str {
        match self {
            Flag::Stage => "stage",
            Flag::Authority => "authority",
            Flag::WriteSource => "write-source",
            Flag::ReadSource => "read-source",
            Flag::WriteTarget => "write-target",
            Flag::ReadTarget => "read-target",
        }
    }

    /// The value and its variant.
    fn of(self, stage: Stage) -> (Value, &'static str) {
        let switches = stage.switches();
        let switch = |on: bool| (json!(on), if on { "on" } else { "off" });
        match self {
            Flag::Stage => (json!(stage.name()), stage.name()),
            Flag::Authority => (json!(switches.authority.name()), switches.authority.name()),
            Flag::WriteSource => switch(switches.write_source),
            Flag::ReadSource => switch(switches.read_source),
            Flag::WriteTarget => switch(switches.write_target),
            Flag::ReadTarget => switch(switches.read_target),
        }
    }
}

/// A request of OFREP.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only its schema is used: a body that does not fit has an OFREP error of its own")]
pub(crate) struct Evaluation {
    /// Has a `targetingKey`: the cohort key.
    #[schema(value_type = Object, example = json!({"targetingKey": "user-123"}))]
    context: serde_json::Map<String, Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    error_code: &'a str,
    error_details: &'a str,
}

fn failure(status: StatusCode, key: Option<&str>, error_code: &str, error_details: &str) -> Response {
    (status, Json(Failure { key, error_code, error_details })).into_response()
}

/// The targeting key, or code and details of the error.
fn targeting_key(bytes: &[u8]) -> Result<String, (&'static str, &'static str)> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| ("PARSE_ERROR", "the body is no JSON"))?;
    let context = value.get("context").and_then(Value::as_object);
    let context = context.ok_or(("INVALID_CONTEXT", "the body needs an object `context`"))?;
    let missing = ("TARGETING_KEY_MISSING", "the context needs `targetingKey`: the cohort key, never empty");
    match context.get("targetingKey") {
        Some(Value::String(key)) if !key.is_empty() => Ok(key.clone()),
        Some(Value::String(_) | Value::Null) | None => Err(missing),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(("INVALID_CONTEXT", "`targetingKey` has to be a string"))
        }
    }
}

fn evaluated(live: &Live, flag: Flag, key: CohortKey<'_>) -> Value {
    let (plan, position) = (&live.plan, live.plan.position());
    let decision = plan.decide(key);
    let (value, variant) = flag.of(decision.stage);
    let pin = position.pins().iter().find(|pin| pin.key == key.text());
    let reason = match (position.ramp(), pin.map(|pin| pin.end)) {
        (None, _) => "STATIC",
        (Some(_), Some(End::Earlier | End::Later)) => "TARGETING_MATCH",
        (Some(_), None) => "SPLIT",
    };
    json!({
        "key": format!("{}.{}", plan.migration(), flag.name()),
        "value": value,
        "reason": reason,
        "variant": variant,
        "metadata": {
            "revision": live.publication.revision.to_string(),
            "held": decision.held,
            "unprotected": true,
        }
    })
}

async fn key_of(request: Request) -> Result<(HeaderMap, String), Response> {
    let headers = request.headers().clone();
    let bytes = match bytes(request).await {
        Ok(bytes) => bytes,
        Err(refusal) => return Err(refusal.into_response()),
    };
    match targeting_key(&bytes) {
        Ok(key) => Ok((headers, key)),
        Err((code, details)) => Err(failure(StatusCode::BAD_REQUEST, None, code, details)),
    }
}

/// One flag.
#[utoipa::path(post, path = "/ofrep/v1/evaluate/flags/{key}", tag = "ofrep", security(("bearer" = []), ("key" = [])),
    request_body = Evaluation, params(("key" = String, Path, description = "ID.stage, ID.authority, ID.write-source, ID.read-source, ID.write-target or ID.read-target")),
    responses((status = 200, description = "the evaluated flag"), (status = 400, description = "an invalid context"), (status = 404, description = "no such flag"),
        (status = "default", description = "a problem document", content_type = "application/problem+json")))]
pub(crate) async fn one(
    State(app): State<App>,
    Anyone(_): Anyone,
    Names(flag): Names<String>,
    request: Request,
) -> Response {
    let bytes = match bytes(request).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal.into_response(),
    };
    let key = match targeting_key(&bytes) {
        Ok(key) => key,
        Err((code, details)) => return failure(StatusCode::BAD_REQUEST, Some(&flag), code, details),
    };
    let plans = app.plane.plans();
    let found = flag.rsplit_once('.').and_then(|(id, name)| {
        let flag = Flag::ALL.into_iter().find(|flag| flag.name() == name)?;
        Some((id, plans.get(id)?, flag))
    });
    let Some((id, live, known)) = found else {
        return failure(StatusCode::NOT_FOUND, Some(&flag), "FLAG_NOT_FOUND", "no migration has this flag");
    };
    let live = live.borrow().clone();
    match CohortKey::new(&key) {
        Ok(key) => {
            app.plane.observatory().evaluated(id);
            Json(evaluated(&live, known, key)).into_response()
        }
        Err(_) => failure(StatusCode::BAD_REQUEST, Some(&flag), "TARGETING_KEY_MISSING", "the key is empty"),
    }
}

/// All flags.
#[utoipa::path(post, path = "/ofrep/v1/evaluate/flags", tag = "ofrep", security(("bearer" = []), ("key" = [])),
    request_body = Evaluation,
    responses((status = 200, description = "every flag, with an ETag"), (status = 304, description = "nothing changed for this context"), (status = 400, description = "an invalid context"),
        (status = "default", description = "a problem document", content_type = "application/problem+json")))]
pub(crate) async fn all(State(app): State<App>, Anyone(_): Anyone, request: Request) -> Response {
    let (headers, key) = match key_of(request).await {
        Ok(read) => read,
        Err(response) => return response,
    };
    let Ok(key) = CohortKey::new(&key) else {
        return failure(StatusCode::BAD_REQUEST, None, "TARGETING_KEY_MISSING", "the key is empty");
    };
    let plans = app.plane.plans();
    let mut flags = Vec::with_capacity(plans.len() * Flag::ALL.len());
    for (id, live) in plans.iter() {
        let live = live.borrow().clone();
        flags.extend(Flag::ALL.into_iter().map(|flag| evaluated(&live, flag, key)));
        app.plane.observatory().evaluated(id);
    }
    let body = json!({ "flags": flags }).to_string();
    let tag = format!("\"{}\"", hex(&Sha256::digest(body.as_bytes())[..16]));
    let Ok(tag) = HeaderValue::from_str(&tag) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let matches = |known: &str| {
        let bare = known.trim().trim_start_matches("W/");
        bare == "*" || tag.to_str().is_ok_and(|tag| tag == bare || tag.trim_matches('"') == bare)
    };
    if known.flat_map(|line| line.split(',')).any(matches) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    ([(header::ETAG, tag), (header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
