//! Looking: where migrations stand, who runs them, what happened.

use super::App;
use super::auth::{Anyone, Viewer};
use super::reply::{Names, Query, Refusal};
use crate::status;
use axum::Json;
use axum::extract::State;
use crossfade_api::problem::{Code, Problem};
use crossfade_api::wire::{
    HistoryPage, Instances, MarkDoc, MarksPage, MigrationList, OwnedMark, Publication, Role, Status, TableDoubt,
};
use crossfade_core::Tick;
use serde::Deserialize;

/// The server lives: it answers, and its log could be written last time.
pub(crate) async fn healthz(State(app): State<App>) -> Result<&'static str, Refusal> {
    app.plane.read(|_, _| Ok("ok\n")).await.map_err(Refusal)
}

/// Values of samples are for operators and admins only.
fn for_eyes_of(role: Role, mut status: Status) -> Status {
    if !role.covers(Role::Operator) {
        for sample in &mut status.mismatches {
            sample.values = None;
        }
    }
    status
}

/// All migrations.
#[utoipa::path(get, path = "/v1/migrations", tag = "migrations", security(("bearer" = [])),
    responses((status = 200, body = MigrationList), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list(State(app): State<App>, Viewer(caller): Viewer) -> Result<Json<MigrationList>, Refusal> {
    statuses(&app, None, caller.role).await.map(|migrations| Json(MigrationList { migrations }))
}

/// Where these migrations stand.
pub(crate) async fn statuses(app: &App, only: Option<String>, role: Role) -> Result<Vec<Status>, Refusal> {
    let observatory = app.plane.observatory().clone();
    let look = move |state: &crate::law::State, _: &crate::log::Log| {
        let chosen = state.migrations.iter().filter(|(id, _)| only.as_ref().is_none_or(|only| only == *id));
        Ok(chosen.map(|(_, migration)| for_eyes_of(role, status::status(state, migration, &observatory))).collect())
    };
    app.plane.read(look).await.map_err(Refusal)
}

/// One migration.
#[utoipa::path(get, path = "/v1/migrations/{id}", tag = "migrations", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Status), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn one(
    State(app): State<App>,
    Viewer(caller): Viewer,
    Names(id): Names<String>,
) -> Result<Json<Status>, Refusal> {
    let observatory = app.plane.observatory().clone();
    let look = move |state: &crate::law::State, _: &crate::log::Log| {
        Ok(for_eyes_of(caller.role, status::status(state, state.migration(&id)?, &observatory)))
    };
    app.plane.read(look).await.map(Json).map_err(Refusal)
}

/// The plan in force, without joining: whoever reads it so is not waited for.
#[utoipa::path(get, path = "/v1/migrations/{id}/plan", tag = "migrations", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Publication), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn plan(
    State(app): State<App>,
    Anyone(_): Anyone,
    Names(id): Names<String>,
) -> Result<Json<Publication>, Refusal> {
    let plans = app.plane.plans();
    let live = plans.get(&id).ok_or_else(|| Refusal::new(Code::NotFound, "there is no such migration"))?;
    Ok(Json(live.borrow().publication.clone()))
}

/// Who runs a migration.
#[utoipa::path(get, path = "/v1/migrations/{id}/instances", tag = "migrations", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = Instances), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn instances(
    State(app): State<App>,
    Viewer(_): Viewer,
    Names(id): Names<String>,
) -> Result<Json<Instances>, Refusal> {
    let observatory = app.plane.observatory().clone();
    let look = move |state: &crate::law::State, _: &crate::log::Log| {
        Ok(status::all_instances(state.migration(&id)?, &observatory))
    };
    app.plane.read(look).await.map(Json).map_err(Refusal)
}

/// A page.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::IntoParams)]
pub(crate) struct Page {
    /// Entries before this place in the log.
    before: Option<u64>,
    /// How many, 1 to 1000; 100 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

async fn page(app: App, migration: Option<String>, page: Page) -> Result<Json<HistoryPage>, Refusal> {
    let limit = page.limit.unwrap_or(100).clamp(1, 1_000) as usize;
    let look = move |state: &crate::law::State, log: &crate::log::Log| {
        if let Some(id) = &migration {
            state.migration(id)?;
        }
        let entries = log.history(migration.as_deref(), page.before.map(Tick), limit).map_err(|error| {
            tracing::error!(%error, "the history cannot be read");
            Problem::new(Code::Storage, "the log cannot be read: check the disk")
        })?;
        let before = (entries.len() == limit).then(|| entries.last().map(|entry| entry.tick.0)).flatten();
        Ok(HistoryPage { entries: entries.iter().map(status::history).collect(), before })
    };
    app.plane.read(look).await.map(Json).map_err(Refusal)
}

/// What happened to a migration, newest first.
#[utoipa::path(get, path = "/v1/migrations/{id}/history", tag = "migrations", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration"), Page),
    responses((status = 200, body = HistoryPage), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn history(
    State(app): State<App>,
    Viewer(_): Viewer,
    Names(id): Names<String>,
    Query(query): Query<Page>,
) -> Result<Json<HistoryPage>, Refusal> {
    page(app, Some(id), query).await
}

/// What happened to the plane and all migrations, newest first: the audit log.
#[utoipa::path(get, path = "/v1/history", tag = "migrations", security(("bearer" = [])), params(Page),
    responses((status = 200, body = HistoryPage), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn history_of_all(
    State(app): State<App>,
    Viewer(_): Viewer,
    Query(query): Query<Page>,
) -> Result<Json<HistoryPage>, Refusal> {
    page(app, None, query).await
}

/// Rows that may differ: their keys, for repairs. Not for viewers: keys may name people.
#[utoipa::path(get, path = "/v1/migrations/{id}/marks", tag = "instances", security(("bearer" = [])),
    params(("id" = String, Path, description = "The migration")),
    responses((status = 200, body = MarksPage), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn marks(
    State(app): State<App>,
    super::auth::Runner(_): super::auth::Runner,
    Names(id): Names<String>,
) -> Result<Json<MarksPage>, Refusal> {
    let look = move |state: &crate::law::State, _: &crate::log::Log| {
        let migration = state.migration(&id)?;
        let marks = migration.marks.iter().take(crossfade_api::wire::MARKS_AT_ONCE).map(|(key, mark)| OwnedMark {
            instance: key.instance.clone(),
            mark: MarkDoc {
                table: key.table.clone(),
                row: key.row.clone(),
                cohort: mark.cohort.clone(),
                reason: mark.reason,
                generation: mark.generation,
            },
            gone: !migration.instances.contains_key(&key.instance),
        });
        let doubts = migration.doubts.iter();
        let suspect: Vec<TableDoubt> =
            doubts.map(|(table, doubt)| TableDoubt { table: table.clone(), count: doubt.count }).collect();
        let unlisted = suspect.iter().fold(0u64, |sum, doubt| sum.saturating_add(doubt.count));
        Ok(MarksPage { marks: marks.collect(), total: migration.marks.len() as u64, unlisted, suspect })
    };
    app.plane.read(look).await.map(Json).map_err(Refusal)
}
