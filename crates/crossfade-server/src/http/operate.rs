//! What operators do. Each handler carries a wish to the law and brings its answer back.

use super::App;
use super::auth::{Operator, Viewer};
use super::reply::{Body, Names, Query, Refusal};
use crate::law::decide::Decision;
use crate::law::evidence::Presence;
use crate::law::{Migration, State as Plane};
use crate::status;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use crossfade_api::problem::Problem;
use crossfade_api::wire::{
    AutoRequest, ConfirmOperationsRequest, CreateRequest, EvictRequest, OptionsRequest, Preview, RampRequest,
    RetireRequest, RollbackRequest, Status, StepAnswer, WriterRequest,
};
use serde::Deserialize;
use utoipa::IntoParams;

/// Decides, and answers with the status after it.
async fn decide(
    app: &App,
    by: String,
    id: String,
    wish: impl FnOnce(&Plane, &Migration, &Presence) -> Decision + Send + 'static,
) -> Result<Status, Refusal> {
    let (observatory, after) = (app.plane.observatory().clone(), app.plane.observatory().clone());
    let name = id.clone();
    let ask = move |state: &Plane| {
        let decided = state.migration(&id).and_then(|migration| {
            let presence = observatory.presence(&id, migration);
            wish(state, migration, &presence)
        });
        match decided {
            Ok(events) => (events, Ok(())),
            Err(problem) => (Vec::new(), Err(problem)),
        }
    };
    let answer = move |state: &Plane, _: &crate::log::Log| {
        let migration = state.migration(&name)?;
        Ok(status::status(state, migration, &after))
    };
    app.plane.ask(&by, ask, answer).await.map_err(Refusal)
}

async fn step(
    app: &App,
    by: String,
    id: String,
    wish: impl FnOnce(&Plane, &Migration, &Presence) -> Decision + Send + 'static,
) -> Result<Json<StepAnswer>, Refusal> {
    let status = decide(app, by, id, wish).await?;
    let under_way = status.step.as_ref().map(|step| step.step);
    let step = under_way.or(status.last_step.as_ref().map(|last| last.step)).unwrap_or_default();
    Ok(Json(StepAnswer { step, status }))
}

/// How a migration is made.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Creation {
    /// Refuses, with `exists`, where there is a migration of this name with another declaration.
    #[serde(default)]
    new: bool,
}

/// Makes a migration, or declares it anew: what differs is shown as drift, never overwritten.
#[utoipa::path(post, path = "/v1/migrations", tag = "migrations", security(("bearer" = [])), request_body = CreateRequest, params(Creation),
    responses((status = 201, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn create(
    State(app): State<App>,
    Operator(caller): Operator,
    Query(Creation { new }): Query<Creation>,
    Body(request): Body<CreateRequest>,
) -> Result<(StatusCode, Json<Status>), Refusal> {
    let observatory = app.plane.observatory().clone();
    let id = request.plan.migration.clone();
    let decide = move |state: &Plane| if new { state.create_new(&request) } else { state.create(&request) };
    let ask = move |state: &Plane| match decide(state) {
        Ok(events) => (events, Ok(())),
        Err(problem) => (Vec::new(), Err(problem)),
    };
    let answer =
        move |state: &Plane, _: &crate::log::Log| Ok(status::status(state, state.migration(&id)?, &observatory));
    let status = app.plane.ask(&caller.name, ask, answer).await?;
    Ok((StatusCode::CREATED, Json(status)))
}

/// Begins a step towards a stage.
#[utoipa::path(post, path = "/v1/migrations/{id}/ramp", tag = "steps", security(("bearer" = [])), request_body = RampRequest,
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = StepAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn ramp(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
    Body(request): Body<RampRequest>,
) -> Result<Json<StepAnswer>, Refusal> {
    step(&app, caller.name, id, move |state, migration, presence| migration.ramp(state, &request, presence)).await
}

/// Begins a step back: the open ramp emptied, otherwise one edge.
#[utoipa::path(post, path = "/v1/migrations/{id}/rollback", tag = "steps", security(("bearer" = [])), request_body = RollbackRequest,
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = StepAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn rollback(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
    Body(request): Body<RollbackRequest>,
) -> Result<Json<StepAnswer>, Refusal> {
    step(&app, caller.name, id, move |state, migration, presence| migration.rollback(state, &request, presence)).await
}

/// Gives up the step under way.
#[utoipa::path(post, path = "/v1/migrations/{id}/abandon", tag = "steps", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = StepAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn abandon(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
) -> Result<Json<StepAnswer>, Refusal> {
    step(&app, caller.name, id, |state, migration, _| migration.abandon(state, "an operator gave it up")).await
}

/// Publishes other options.
#[utoipa::path(post, path = "/v1/migrations/{id}/options", tag = "steps", security(("bearer" = [])), request_body = OptionsRequest,
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = StepAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn options(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
    Body(request): Body<OptionsRequest>,
) -> Result<Json<StepAnswer>, Refusal> {
    step(&app, caller.name, id, move |state, migration, presence| migration.set_options(state, &request, presence))
        .await
}

async fn preview(app: App, id: String, request: Option<RampRequest>) -> Result<Json<Preview>, Refusal> {
    let observatory = app.plane.observatory().clone();
    let look = move |state: &Plane, _: &crate::log::Log| {
        let migration = state.migration(&id)?;
        migration.preview(request.as_ref(), &observatory.presence(&id, migration))
    };
    app.plane.read(look).await.map(Json).map_err(Refusal)
}

/// What a step towards a stage would do. Changes nothing.
#[utoipa::path(post, path = "/v1/migrations/{id}/ramp/preview", tag = "steps", security(("bearer" = [])), request_body = RampRequest,
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Preview), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn preview_ramp(
    State(app): State<App>,
    Viewer(_): Viewer,
    Names(id): Names<String>,
    Body(request): Body<RampRequest>,
) -> Result<Json<Preview>, Refusal> {
    preview(app, id, Some(request)).await
}

/// What a step back would do. Changes nothing.
#[utoipa::path(get, path = "/v1/migrations/{id}/rollback/preview", tag = "steps", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Preview), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn preview_rollback(
    State(app): State<App>,
    Viewer(_): Viewer,
    Names(id): Names<String>,
) -> Result<Json<Preview>, Refusal> {
    preview(app, id, None).await
}

/// Steps are refused until it is resumed; the guarded rollout waits.
#[utoipa::path(post, path = "/v1/migrations/{id}/pause", tag = "steps", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn pause(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
) -> Result<Json<Status>, Refusal> {
    decide(&app, caller.name, id, |_, migration, _| migration.pause(true)).await.map(Json)
}

/// Steps may be taken again.
#[utoipa::path(post, path = "/v1/migrations/{id}/resume", tag = "steps", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn resume(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
) -> Result<Json<Status>, Refusal> {
    decide(&app, caller.name, id, |_, migration, _| migration.pause(false)).await.map(Json)
}

/// Sets the guarded rollout out.
#[utoipa::path(post, path = "/v1/migrations/{id}/auto", tag = "steps", security(("bearer" = [])), request_body = AutoRequest,
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn auto(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
    Body(request): Body<AutoRequest>,
) -> Result<Json<Status>, Refusal> {
    decide(&app, caller.name, id, move |_, migration, _| migration.begin_auto(&request)).await.map(Json)
}

/// Ends the guarded rollout where it is.
#[utoipa::path(delete, path = "/v1/migrations/{id}/auto", tag = "steps", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn end_auto(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
) -> Result<Json<Status>, Refusal> {
    decide(&app, caller.name, id, |_, migration, _| Ok(migration.end_auto("an operator ended it"))).await.map(Json)
}

/// Confirms that a declared writer which bypasses the library is paused, or that it writes again. Where authority has moved
/// the latter asks for the migration's name.
#[utoipa::path(post, path = "/v1/migrations/{id}/writers", tag = "steps", security(("bearer" = [])), request_body = WriterRequest,
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn writers(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
    Body(request): Body<WriterRequest>,
) -> Result<Json<Status>, Refusal> {
    let wish = move |_: &Plane, migration: &Migration, _: &Presence| migration.pause_writer(&request);
    decide(&app, caller.name, id, wish).await.map(Json)
}

/// Confirms that the operations which instances report on a table may run side by side while authority moves. It has to
/// name exactly those that are reported.
#[utoipa::path(post, path = "/v1/migrations/{id}/operations", tag = "steps", security(("bearer" = [])), request_body = ConfirmOperationsRequest,
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn confirm_operations(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
    Body(request): Body<ConfirmOperationsRequest>,
) -> Result<Json<Status>, Refusal> {
    let wish = move |_: &Plane, migration: &Migration, _: &Presence| migration.confirm_operations(&request);
    decide(&app, caller.name, id, wish).await.map(Json)
}

/// Asserts that the named silent instances are dead and reach neither database (R8). The migration is suspect afterwards.
#[utoipa::path(post, path = "/v1/migrations/{id}/evict", tag = "steps", security(("bearer" = [])), request_body = EvictRequest,
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn evict(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
    Body(request): Body<EvictRequest>,
) -> Result<Json<Status>, Refusal> {
    if !request.dead {
        let detail = "evicting asserts that the processes are dead and reach neither database: say `dead`";
        return Err(Refusal::new(crossfade_api::problem::Code::ConfirmationNeeded, detail));
    }
    let wish =
        move |_: &Plane, migration: &Migration, presence: &Presence| migration.evict(&request.instances, presence);
    decide(&app, caller.name, id, wish).await.map(Json)
}

/// Ends a migration, once every instance runs at complete.
#[utoipa::path(post, path = "/v1/migrations/{id}/retire", tag = "steps", security(("bearer" = [])), request_body = RetireRequest,
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn retire(
    State(app): State<App>,
    Operator(caller): Operator,
    Names(id): Names<String>,
    Body(request): Body<RetireRequest>,
) -> Result<Json<Status>, Refusal> {
    let wish = move |_: &Plane, migration: &Migration, presence: &Presence| migration.retire(&request, presence);
    decide(&app, caller.name, id, wish).await.map(Json)
}
