//! What instances and runs say.

use super::App;
use super::auth::Runner;
use super::reply::{Body, Names, Refusal};
use crate::law::decide::Decision;
use crate::law::{Migration, State as Plane};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use crossfade_api::problem::{Code, Problem};
use crossfade_api::wire::{
    Acknowledgement, Departure, Heartbeat, HeartbeatAnswer, MarkChange, Publication, Registered, Registration, RunEnd,
    RunTicket,
};

async fn decide<T: Send + 'static>(
    app: &App,
    by: String,
    id: String,
    wish: impl FnOnce(&Plane, &Migration) -> Decision + Send + 'static,
    answer: impl FnOnce(&Migration) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let name = id.clone();
    let ask = move |state: &Plane| match state.migration(&id).and_then(|migration| wish(state, migration)) {
        Ok(events) => (events, Ok(())),
        Err(problem) => (Vec::new(), Err(problem)),
    };
    let answer = move |state: &Plane, _: &crate::log::Log| Ok(answer(state.migration(&name)?));
    app.plane.ask(&by, ask, answer).await.map_err(Refusal)
}

fn publication(migration: &Migration) -> Publication {
    Publication { revision: migration.revision.into(), plan: migration.plan.spec() }
}

/// An instance joins; the plan it gets and the fact that it is waited for are one transaction (R3).
#[utoipa::path(post, path = "/v1/migrations/{id}/instances", tag = "instances", security(("bearer" = [])), request_body = Registration,
    params(("id" = String, Path, description = "The migration")),
    responses((status = 201, body = Registered), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn register(
    State(app): State<App>,
    Runner(_): Runner,
    Names(id): Names<String>,
    Body(request): Body<Registration>,
) -> Result<(StatusCode, Json<Registered>), Refusal> {
    let (instance, migration, who) = (request.instance.clone(), id.clone(), request.instance.clone());
    let wish = move |state: &Plane, migration: &Migration| migration.register(state, &request);
    let answer = move |migration: &Migration| (publication(migration), migration.other_databases(&who));
    let (publication, other_databases) = decide(&app, instance.clone(), id, wish, answer).await?;
    app.plane.observatory().heard(&migration, &instance);
    let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (heartbeat_ms, silent_after_ms) = (millis(app.settings.heartbeat), millis(app.settings.silent_after));
    Ok((StatusCode::CREATED, Json(Registered { publication, heartbeat_ms, silent_after_ms, other_databases })))
}

/// Every operation of the instance under other revisions has ended (R3).
#[utoipa::path(post, path = "/v1/migrations/{id}/instances/{instance}/acknowledge", tag = "instances", security(("bearer" = [])), request_body = Acknowledgement,
    params(("id" = String, Path, description = "The migration"), ("instance" = String, Path, description = "The instance")),
    responses((status = 200, body = HeartbeatAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn acknowledge(
    State(app): State<App>,
    Runner(_): Runner,
    Names((id, instance)): Names<(String, String)>,
    Body(request): Body<Acknowledgement>,
) -> Result<Json<HeartbeatAnswer>, Refusal> {
    let (by, migration, who) = (instance.clone(), id.clone(), instance.clone());
    let wish = move |_: &Plane, migration: &Migration| migration.acknowledge(&instance, &request);
    let revision = decide(&app, by, id, wish, |migration| migration.revision.into()).await?;
    app.plane.observatory().heard(&migration, &who);
    Ok(Json(HeartbeatAnswer { revision }))
}

/// The instance lives, and this is what it saw.
#[utoipa::path(post, path = "/v1/migrations/{id}/instances/{instance}/heartbeat", tag = "instances", security(("bearer" = [])), request_body = Heartbeat,
    params(("id" = String, Path, description = "The migration"), ("instance" = String, Path, description = "The instance")),
    responses((status = 200, body = HeartbeatAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn heartbeat(
    State(app): State<App>,
    Runner(_): Runner,
    Names((id, instance)): Names<(String, String)>,
    Body(request): Body<Heartbeat>,
) -> Result<Json<HeartbeatAnswer>, Refusal> {
    let plans = app.plane.plans();
    let current = match plans.get(&id) {
        Some(live) => live.borrow().publication.revision,
        None => return Err(Refusal::new(Code::NotFound, "there is no such migration")),
    };
    let observatory = app.plane.observatory();
    let Heartbeat { revision, sequence, observations, marks, progress, tables } = request;
    let count = || observatory.heartbeat(&id, &instance, sequence, &observations, progress.as_ref());
    // Ten thousand instances send these: only what the log has to know goes to its writer.
    let ahead = revision.0 > current.0;
    if ahead || !marks.is_empty() || tables.is_some() || !count() {
        let (by, who) = (instance.clone(), instance.clone());
        let wish = move |_: &Plane, migration: &Migration| {
            migration.known(&who, Some(revision))?;
            migration.heartbeat(&who, &marks, tables.as_deref())
        };
        decide(&app, by, id.clone(), wish, |_| ()).await?;
        observatory.heard(&id, &instance);
        // Counted already when it was heard of before: the sequence number tells.
        let _ = count();
    }
    Ok(Json(HeartbeatAnswer { revision: current }))
}

/// The instance leaves in good order: no operation of it is in flight any more.
#[utoipa::path(post, path = "/v1/migrations/{id}/instances/{instance}/goodbye", tag = "instances", security(("bearer" = [])), request_body = Departure,
    params(("id" = String, Path, description = "The migration"), ("instance" = String, Path, description = "The instance")),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn goodbye(
    State(app): State<App>,
    Runner(_): Runner,
    Names((id, instance)): Names<(String, String)>,
    Body(request): Body<Departure>,
) -> Result<StatusCode, Refusal> {
    let (by, migration, seen) = (instance.clone(), id.clone(), request.observations.clone());
    decide(&app, by, id, move |_, migration| migration.leave(&instance, &request), |_| ()).await?;
    app.plane.observatory().observe(&migration, &seen);
    Ok(StatusCode::NO_CONTENT)
}

/// Marks that were set or cleared, by an instance or for others by a repair.
#[utoipa::path(post, path = "/v1/migrations/{id}/instances/{instance}/marks", tag = "instances", security(("bearer" = [])), request_body = MarkChange,
    params(("id" = String, Path, description = "The migration"), ("instance" = String, Path, description = "The instance")),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn report_marks(
    State(app): State<App>,
    Runner(_): Runner,
    Names((id, instance)): Names<(String, String)>,
    Body(request): Body<MarkChange>,
) -> Result<StatusCode, Refusal> {
    let by = instance.clone();
    decide(&app, by, id, move |_, migration| migration.report_marks(&instance, &request), |_| ()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A run begins its work, or is told what to wait for. A verification turns full checks on first.
#[utoipa::path(post, path = "/v1/migrations/{id}/instances/{instance}/begin", tag = "instances", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration"), ("instance" = String, Path, description = "The run")),
    responses((status = 200, body = RunTicket), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn begin_run(
    State(app): State<App>,
    Runner(_): Runner,
    Names((id, instance)): Names<(String, String)>,
) -> Result<Json<RunTicket>, Refusal> {
    let observatory = app.plane.observatory().clone();
    let (by, name, who) = (instance.clone(), id.clone(), instance.clone());
    let ask = move |state: &Plane| match state.migration(&id) {
        Ok(migration) => migration.begin_run(state, &instance, &observatory.presence(&id, migration)),
        Err(problem) => (Vec::new(), Err(problem)),
    };
    let answer = move |state: &Plane, _: &crate::log::Log| {
        let migration = state.migration(&name)?;
        let run = migration.known(&who, None)?.run;
        let gone = || Problem::new(Code::NotReady, "the run has ended already");
        let run = run.ok_or_else(gone)?;
        Ok(RunTicket { tick: run.began.0, generation: run.generation, publication: publication(migration) })
    };
    app.plane.ask(&by, ask, answer).await.map(Json).map_err(Refusal)
}

/// A run ends its work.
#[utoipa::path(post, path = "/v1/migrations/{id}/instances/{instance}/end", tag = "instances", security(("bearer" = [])), request_body = RunEnd,
    params(("id" = String, Path, description = "The migration"), ("instance" = String, Path, description = "The run")),
    responses((status = 204), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn end_run(
    State(app): State<App>,
    Runner(_): Runner,
    Names((id, instance)): Names<(String, String)>,
    Body(request): Body<RunEnd>,
) -> Result<StatusCode, Refusal> {
    let by = instance.clone();
    decide(&app, by, id, move |_, migration| migration.end_run_with(&instance, &request), |_| ()).await?;
    Ok(StatusCode::NO_CONTENT)
}
