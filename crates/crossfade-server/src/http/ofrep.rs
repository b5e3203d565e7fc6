//! The flags by OFREP 0.3: six per migration, keyed by `targetingKey`. Such clients cannot acknowledge (R12), and
//! every answer says so in its metadata.

use super::App;
use super::auth::Anyone;
use super::reply::{Names, bytes};
use crate::access::hex;
use crate::plane::Live;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use crossfade_api::revision::RevisionText;
use crossfade_core::{CohortKey, End, Stage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::sync::Arc;

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
    const fn of(self, stage: Stage) -> (FlagValue, &'static str) {
        let switches = stage.switches();
        match self {
            Flag::Stage => (FlagValue::Name(stage.name()), stage.name()),
            Flag::Authority => (FlagValue::Name(switches.authority.name()), switches.authority.name()),
            Flag::WriteSource => switch(switches.write_source),
            Flag::ReadSource => switch(switches.read_source),
            Flag::WriteTarget => switch(switches.write_target),
            Flag::ReadTarget => switch(switches.read_target),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum FlagValue {
    Name(&'static str),
    Switch(bool),
}

const fn switch(on: bool) -> (FlagValue, &'static str) {
    (FlagValue::Switch(on), if on { "on" } else { "off" })
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

/// A body, as far as it is read. `{` is asked for before: to serde an array would do.
#[derive(Deserialize)]
struct GoodBody<'a> {
    #[serde(borrow)]
    context: GoodContext<'a>,
}

/// An object, and the last `targetingKey` in it.
struct GoodContext<'a>(Option<Text<'a>>);

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(field_identifier)]
enum Member {
    #[serde(rename = "targetingKey")]
    TargetingKey,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for GoodContext<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<GoodContext<'a>, D::Error> {
        struct Members;

        impl<'de> serde::de::Visitor<'de> for Members {
            type Value = GoodContext<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<GoodContext<'de>, A::Error> {
                let mut key = None;
                while let Some(member) = map.next_key()? {
                    match member {
                        Member::TargetingKey => key = Some(map.next_value()?),
                        Member::Other => drop(map.next_value::<serde::de::IgnoredAny>()?),
                    }
                }
                Ok(GoodContext(key))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

fn good_key(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let GoodContext(key) = serde_json::from_slice::<GoodBody<'_>>(bytes).ok()?.context;
    key.map(|Text(key)| key).filter(|key| !key.is_empty())
}

/// The targeting key, or code and details of the error.
fn targeting_key(bytes: &[u8]) -> Result<Cow<'_, str>, (&'static str, &'static str)> {
    // Nearly every body is good, and of a good one only the key is kept: whatever else it says is skipped.
    if let Some(key) = good_key(bytes) {
        return Ok(key);
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|_| ("PARSE_ERROR", "the body is no JSON"))?;
    let context = value.get("context").and_then(Value::as_object);
    let context = context.ok_or(("INVALID_CONTEXT", "the body needs an object `context`"))?;
    let missing = ("TARGETING_KEY_MISSING", "the context needs `targetingKey`: the cohort key, never empty");
    match context.get("targetingKey") {
        Some(Value::String(key)) if !key.is_empty() => Ok(Cow::Owned(key.clone())),
        Some(Value::String(_) | Value::Null) | None => Err(missing),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(("INVALID_CONTEXT", "`targetingKey` has to be a string"))
        }
    }
}

/// A flag for a context, as it is answered.
#[derive(Debug, Serialize)]
struct Evaluated<'a> {
    key: &'a str,
    value: FlagValue,
    reason: &'static str,
    variant: &'static str,
    metadata: Metadata,
}

#[derive(Debug, Serialize)]
struct AllEvaluated<'a> {
    flags: Vec<Evaluated<'a>>,
}

#[derive(Debug, Serialize)]
struct Metadata {
    revision: RevisionText,
    held: bool,
    unprotected: bool,
}

fn evaluated<'a>(live: &Live, name: &'a str, flag: Flag, key: CohortKey<'_>) -> Evaluated<'a> {
    let (plan, position) = (&live.plan, live.plan.position());
    let decision = plan.decide(key);
    let (value, variant) = flag.of(decision.stage);
    let pin = position.pins().iter().find(|pin| pin.key == key.text());
    let reason = match (position.ramp(), pin.map(|pin| pin.end)) {
        (None, _) => "STATIC",
        (Some(_), Some(End::Earlier | End::Later)) => "TARGETING_MATCH",
        (Some(_), None) => "SPLIT",
    };
    let metadata = Metadata { revision: live.publication.revision, held: decision.held, unprotected: true };
    Evaluated { key: name, value, reason, variant, metadata }
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
        Some((plans.get(id)?, flag))
    });
    let Some((live, known)) = found else {
        return failure(StatusCode::NOT_FOUND, Some(&flag), "FLAG_NOT_FOUND", "no migration has this flag");
    };
    let live = live.borrow().clone();
    match CohortKey::new(&key) {
        Ok(key) => {
            live.evaluated.now();
            Json(evaluated(&live, &flag, known, key)).into_response()
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
    let headers = request.headers().clone();
    let bytes = match bytes(request).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal.into_response(),
    };
    let key = match targeting_key(&bytes) {
        Ok(key) => key,
        Err((code, details)) => return failure(StatusCode::BAD_REQUEST, None, code, details),
    };
    let Ok(key) = CohortKey::new(&key) else {
        return failure(StatusCode::BAD_REQUEST, None, "TARGETING_KEY_MISSING", "the key is empty");
    };
    let plans = app.plane.plans();
    let names: Vec<(String, Flag, Arc<Live>)> = plans
        .iter()
        .flat_map(|(id, live)| {
            let live = live.borrow().clone();
            live.evaluated.now();
            Flag::ALL.into_iter().map(move |flag| (format!("{id}.{}", flag.name()), flag, live.clone()))
        })
        .collect();
    let flags = names.iter().map(|(name, flag, live)| evaluated(live, name, *flag, key)).collect();
    // Strings, switches and numbers: writing them cannot fail.
    let body = serde_json::to_string(&AllEvaluated { flags }).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_read_wherever_it_stands_and_nothing_else_passes_for_it() {
        for (body, key) in [
            (r#"{"context":{"targetingKey":"u1"}}"#, "u1"),
            (r#" {"a":[1,{"context":2}],"context":{"x":{"targetingKey":"no"},"targetingKey":"u2","y":null}} "#, "u2"),
            (r#"{"context":{"targetingKey":"a\u00e9\"b"}}"#, "a\u{e9}\"b"),
            (r#"{"context":{"targetingKey":"first","targetingKey":"last"}}"#, "last"),
            (r#"{"context":{"targetingKey":1},"context":{"targetingKey":"again"}}"#, "again"),
        ] {
            assert_eq!(targeting_key(body.as_bytes()).as_deref(), Ok(key), "{body}");
        }
        for (body, code) in [
            ("{", "PARSE_ERROR"),
            (r#"{"context":{"targetingKey":"u1"}"#, "PARSE_ERROR"),
            (r#"[{"targetingKey":"u1"}]"#, "INVALID_CONTEXT"),
            (r#"{"context":["u1"]}"#, "INVALID_CONTEXT"),
            (r#"{"context":"u1"}"#, "INVALID_CONTEXT"),
            (r#"{"context":{"targetingKey":1}}"#, "INVALID_CONTEXT"),
            (r#"{"context":{"targetingKey":["u1"]}}"#, "INVALID_CONTEXT"),
            (r#"{"context":{"targetingKey":""}}"#, "TARGETING_KEY_MISSING"),
            (r#"{"context":{"targetingKey":null}}"#, "TARGETING_KEY_MISSING"),
            (r#"{"context":{"targetingkey":"u1"}}"#, "TARGETING_KEY_MISSING"),
        ] {
            assert_eq!(targeting_key(body.as_bytes()).map_err(|(code, _)| code), Err(code), "{body}");
        }
    }
}
