//! Streams of server-sent events: plans for instances, statuses for people.

use super::App;
use super::auth::{Runner, Viewer};
use super::reply::{Names, Query, Refusal};
use crate::law::State as Plane;
use crate::observatory::Observatory;
use crate::plane::Live;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use crossfade_api::problem::{Code, Problem};
use crossfade_api::revision::RevisionText;
use futures::StreamExt;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A comment, so that a connection that is gone is noticed and one that lives is not closed by a proxy.
const KEEP: Bytes = Bytes::from_static(b": still here\n\n");
const KEEP_EVERY: Duration = Duration::from_secs(10);

fn events(stream: impl futures::Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(stream.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Keeps the observatory told that a stream is open.
struct Open {
    observatory: Arc<Observatory>,
    migration: String,
    instance: String,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.observatory.stream(&self.migration, &self.instance, false);
    }
}

/// What the instance holds already.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(crate) struct Holds {
    /// The revision that the instance runs under.
    #[param(value_type = Option<String>)]
    holds: Option<RevisionText>,
}

/// Every plan from now on, the one in force first.
#[utoipa::path(get, path = "/v1/migrations/{id}/instances/{instance}/plans", tag = "instances", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration"), ("instance" = String, Path, description = "The instance"), Holds),
    responses((status = 200, description = "events `plan`, each a Publication", content_type = "text/event-stream"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn plans(
    State(app): State<App>,
    Runner(_): Runner,
    Names((id, instance)): Names<(String, String)>,
    Query(Holds { holds }): Query<Holds>,
) -> Result<Response, Refusal> {
    let (name, who) = (id.clone(), instance.clone());
    let known = move |state: &Plane, _: &crate::log::Log| state.migration(&name)?.known(&who, holds).map(|_| ());
    app.plane.read(known).await?;
    let plans = app.plane.plans();
    let live: watch::Receiver<Arc<Live>> =
        plans.get(&id).cloned().ok_or_else(|| Refusal::new(Code::NotFound, "there is no such migration"))?;
    let observatory = app.plane.observatory().clone();
    observatory.stream(&id, &instance, true);
    let open = Open { observatory, migration: id, instance };
    let stopping = app.stopping.clone();
    let stream =
        futures::stream::unfold((live, stopping, open, true), |(mut live, mut stopping, open, first)| async move {
            let event = if first {
                live.borrow_and_update().event.clone()
            } else {
                tokio::select! {
                    changed = live.changed() => {
                        changed.ok()?;
                        live.borrow_and_update().event.clone()
                    }
                    _ = stopping.changed() => return None,
                    () = tokio::time::sleep(KEEP_EVERY) => KEEP,
                }
            };
            Some((event, (live, stopping, open, false)))
        });
    Ok(events(stream))
}

/// Which migration.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(crate) struct Which {
    /// This one only; all when it is left out.
    migration: Option<String>,
}

/// Where migrations stand, at once and whenever something changed; at least every two seconds, as numbers move.
#[utoipa::path(get, path = "/v1/events", tag = "migrations", security(("bearer" = [])), params(Which),
    responses((status = 200, description = "events `status`, each a MigrationList", content_type = "text/event-stream"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn statuses(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Query(Which { migration }): Query<Which>,
) -> Result<Response, Refusal> {
    let changes = app.plane.changes();
    let stopped = app.until_stopped();
    let stream = futures::stream::unfold((app, changes, true), move |(app, mut changes, first)| {
        let only = migration.clone();
        async move {
            if !first {
                tokio::select! {
                    // A burst of acknowledgements is one picture.
                    changed = changes.changed() => {
                        changed.ok()?;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    () = tokio::time::sleep(Duration::from_secs(2)) => {}
                }
            }
            changes.mark_unchanged();
            let migrations = super::look::statuses(&app, only, caller.role).await.ok()?;
            let json = serde_json::to_string(&crossfade_api::wire::MigrationList { migrations }).ok()?;
            Some((Bytes::from(format!("event: status\ndata: {json}\n\n")), (app, changes, false)))
        }
    });
    Ok(events(stream.take_until(stopped.into_future())))
}
