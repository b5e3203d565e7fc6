//! The HTTP surface: `/v1`, OFREP, streams, metrics. Handlers read a request, ask the plane and write the answer;
//! what is allowed is decided by the law.

pub mod auth;
mod dashboard;
mod instances;
mod limits;
pub mod listen;
mod look;
mod metrics;
mod ofrep;
mod operate;
mod reply;
mod runbooks;
mod stream;
mod tokens;

pub use limits::Limits;
pub use reply::Refusal;

use crate::plane::Plane;
use auth::Sessions;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::IntoResponse;
use axum::routing::get;
use crossfade_api::problem::{Code, Problem};
use limits::Meter;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::WatchStream;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What instances are told, and how the surface behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often instances send a heartbeat.
    pub heartbeat: Duration,
    /// After how long without one an instance counts as silent.
    pub silent_after: Duration,
    /// Every caller is an admin. Only ever on loopback.
    pub open: bool,
    /// The surface is reached by TLS.
    pub tls: bool,
    /// Bounds on what callers may use up.
    pub limits: Limits,
}

/// What every handler can reach. One count to raise for a clone: every request makes a few.
#[derive(Clone)]
pub struct App(Arc<Reach>);

/// What is behind [`App`].
pub struct Reach {
    pub(crate) plane: Plane,
    pub(crate) settings: Settings,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) meter: Meter,
    /// Turns true when the server stops, so that streams end.
    pub(crate) stopping: tokio::sync::watch::Receiver<bool>,
}

impl std::ops::Deref for App {
    type Target = Reach;

    fn deref(&self) -> &Reach {
        &self.0
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl App {
    /// The surface of this plane.
    #[must_use]
    pub fn new(plane: Plane, settings: Settings, stopping: tokio::sync::watch::Receiver<bool>) -> App {
        let meter = Meter::new(settings.limits);
        App(Arc::new(Reach { plane, settings, sessions: Arc::default(), meter, stopping }))
    }

    /// Ends when the server stops.
    pub(crate) fn until_stopped(&self) -> WatchStream<bool> {
        WatchStream::from_changes(self.stopping.clone())
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "crossfade control plane",
        description = "Flags that a whole fleet obeys: acknowledged revisions, held moves, gates. Refusals are RFC 9457 problem documents with stable codes.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "migrations", description = "Where migrations stand"),
        (name = "steps", description = "What operators do"),
        (name = "instances", description = "What instances and runs say"),
        (name = "tokens", description = "Who may do what"),
        (name = "ofrep", description = "The flags, by the OpenFeature Remote Evaluation Protocol 0.3")
    ),
    modifiers(&Security)
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
        components.add_security_scheme("key", key);
    }
}

/// Room for as many marks as a message carries, with as much text of keys, every byte of it escaped; everything that people
/// send is far smaller.
const INSTANCE_BODY: usize = 16 << 20;
const BODY: usize = 64 << 10;

fn described() -> OpenApiRouter<App> {
    let instances = OpenApiRouter::new()
        .routes(routes!(instances::register))
        .routes(routes!(instances::acknowledge))
        .routes(routes!(instances::heartbeat))
        .routes(routes!(instances::goodbye))
        .routes(routes!(instances::begin_run))
        .routes(routes!(instances::end_run))
        .routes(routes!(instances::report_marks))
        .layer(DefaultBodyLimit::max(INSTANCE_BODY));
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(look::list, operate::create))
        .routes(routes!(look::one))
        .routes(routes!(look::plan))
        .routes(routes!(look::instances))
        .routes(routes!(look::history))
        .routes(routes!(look::history_of_all))
        .routes(routes!(look::marks))
        .routes(routes!(stream::statuses))
        .routes(routes!(stream::plans))
        .routes(routes!(operate::ramp))
        .routes(routes!(operate::preview_ramp))
        .routes(routes!(operate::rollback))
        .routes(routes!(operate::preview_rollback))
        .routes(routes!(operate::abandon))
        .routes(routes!(operate::options))
        .routes(routes!(operate::pause))
        .routes(routes!(operate::resume))
        .routes(routes!(operate::auto, operate::end_auto))
        .routes(routes!(operate::writers))
        .routes(routes!(operate::confirm_operations))
        .routes(routes!(operate::evict))
        .routes(routes!(operate::retire))
        .routes(routes!(tokens::list, tokens::issue))
        .routes(routes!(tokens::revoke))
        .routes(routes!(ofrep::one))
        .routes(routes!(ofrep::all))
        .layer(DefaultBodyLimit::max(BODY))
        .merge(instances)
}

/// The OpenAPI document of the surface, generated from the handlers.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().split_for_parts().1
}

/// Every route.
pub fn router(app: App) -> Router {
    let (router, document) = described().split_for_parts();
    let document: Arc<str> = serde_json::to_string_pretty(&document).unwrap_or_default().into();
    let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
    router
        .route("/openapi.json", get(move || std::future::ready((json, document.to_string()))))
        .merge(dashboard::routes())
        .route("/healthz", get(look::healthz))
        .route("/metrics", get(metrics::metrics))
        .fallback(|| async {
            Refusal(Problem::new(Code::NotFound, "there is nothing at this path: /openapi.json lists what there is"))
                .into_response()
        })
        .method_not_allowed_fallback(|| async {
            Refusal(Problem::new(Code::MethodNotAllowed, "/openapi.json lists the methods of every path"))
                .into_response()
        })
        .layer(axum::middleware::from_fn_with_state(app.clone(), limits::meter))
        .with_state(app)
}
