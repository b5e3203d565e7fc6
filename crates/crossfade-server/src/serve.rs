//! A whole server: the plane and its surface, from options to a clean stop.

use crate::access::{self, Tokens};
use crate::http::auth::Sessions;
use crate::http::listen::{self, TlsError, TlsFiles};
use crate::http::{App, Limits, Settings, router};
use crate::law::Event;
use crate::log::{Hook, LogError};
use crate::observatory::Observatory;
use crate::plane::{Birth, PLANE, Plane, Writer};
use crossfade_api::problem::Problem;
use crossfade_api::wire::{CreateRequest, Role};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The port, when none is named.
pub const PORT: u16 = 7420;

/// How to serve.
#[derive(Clone)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The SQLite file.
    pub data: PathBuf,
    /// TLS.
    pub tls: Option<TlsFiles>,
    /// Listen beyond loopback without TLS: something before this server does it.
    pub plain: bool,
    /// Every caller is an admin; loopback only.
    pub open: bool,
    /// Tokens beside those that were issued.
    pub tokens: Tokens,
    /// The file is from a backup (R21).
    pub restored: bool,
    /// Migrations that the configuration declares.
    pub declared: Vec<CreateRequest>,
    /// How often instances send a heartbeat.
    pub heartbeat: Duration,
    /// After how long without one an instance counts as silent.
    pub silent_after: Duration,
    /// Bounds on what callers may use up.
    pub limits: Limits,
    /// Where a test may end the process.
    pub hook: Option<Hook>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("listen", &self.listen).field("data", &self.data).finish_non_exhaustive()
    }
}

impl Options {
    /// As by default, on loopback.
    #[must_use]
    pub fn new(data: PathBuf) -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], PORT)),
            data,
            tls: None,
            plain: false,
            open: false,
            tokens: Tokens::default(),
            restored: false,
            declared: Vec::new(),
            heartbeat: Duration::from_secs(5),
            silent_after: Duration::from_secs(20),
            limits: Limits::default(),
            hook: None,
        }
    }
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Anybody could move databases.
    #[error("{0} is not loopback: an open server is for loopback only, drop --open and use tokens")]
    OpenBeyondLoopback(SocketAddr),
    /// Tokens would travel in the clear.
    #[error(
        "{0} is not loopback: give --tls-cert and --tls-key, or --plain when something before this server does TLS"
    )]
    NoTls(SocketAddr),
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The address.
    #[error("cannot listen on {address}: {source}; is another server there already?")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// No randomness for the first token.
    #[error(transparent)]
    NoRandomness(#[from] access::NoRandomness),
    /// A declared migration.
    #[error("the migration `{id}` of the configuration cannot be made: {detail}")]
    Declared {
        /// Which.
        id: String,
        /// Why not.
        detail: String,
    },
    /// The plane itself.
    #[error("the plane could not begin: {0}")]
    Plane(String),
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The first admin's token; only in the first life of a log, and never stored.
    pub first_token: Option<String>,
    /// Whether it speaks TLS.
    pub tls: bool,
    plane: Plane,
    sessions: Arc<Sessions>,
    writer: Option<Writer>,
    stop: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Opens the log, declares what the configuration declares, and listens.
    ///
    /// # Errors
    /// Why it does not serve.
    pub async fn start(options: Options) -> Result<Server, ServeError> {
        let loopback = options.listen.ip().is_loopback();
        if options.open && !loopback {
            return Err(ServeError::OpenBeyondLoopback(options.listen));
        }
        if !loopback && options.tls.is_none() && !options.plain {
            return Err(ServeError::NoTls(options.listen));
        }
        let tls = options.tls.as_ref().map(listen::tls).transpose()?;
        let bind = |source| ServeError::Bind { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let observatory = Arc::new(Observatory::new(options.silent_after));
        let birth = Birth { restored: options.restored, given: options.tokens, hook: options.hook };
        let path = options.data.clone();
        let opened = tokio::task::spawn_blocking(move || Plane::open(&path, birth, observatory)).await;
        let (plane, writer) = opened.map_err(|error| ServeError::Plane(error.to_string()))??;
        let first_token = if options.open || !plane.tokens().is_empty() {
            None
        } else {
            let (issued, hash) = access::issue("first-admin", Role::Admin)?;
            let event = Event::TokenIssued {
                id: issued.doc.id.clone(),
                name: issued.doc.name.clone(),
                role: Role::Admin,
                hash,
            };
            let failed = |problem: Problem| ServeError::Plane(problem.detail);
            plane.ask(PLANE, move |_| (vec![event], Ok(())), |_, _| Ok(())).await.map_err(failed)?;
            Some(issued.token)
        };
        for declared in options.declared {
            let id = declared.plan.migration.clone();
            let ask = move |state: &crate::law::State| match state.create(&declared) {
                Ok(events) => (events, Ok(())),
                Err(problem) => (Vec::new(), Err(problem)),
            };
            let refused = |problem: Problem| ServeError::Declared { id, detail: problem.detail };
            plane.ask("configuration", ask, |_, _| Ok(())).await.map_err(refused)?;
        }
        let (stop, stopping) = watch::channel(false);
        let settings = Settings {
            heartbeat: options.heartbeat,
            silent_after: options.silent_after,
            open: options.open,
            tls: tls.is_some(),
            limits: options.limits,
        };
        let app = App::new(plane.clone(), settings, stopping.clone());
        let sessions = app.sessions.clone();
        let (speaks_tls, connections) = (tls.is_some(), options.limits.connections);
        let accepting = tokio::spawn(listen::accept(listener, tls, router(app), connections, stopping));
        Ok(Server { address, first_token, tls: speaks_tls, plane, sessions, writer: Some(writer), stop, accepting })
    }

    /// The plane behind the surface.
    #[must_use]
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// A link to the dashboard that logs its first visitor in with this token, within the hour. The code stands after
    /// the `#`, which browsers keep to themselves. None when there is no randomness.
    #[must_use]
    pub fn invitation(&self, token: &str) -> Option<String> {
        let scheme = if self.tls { "https" } else { "http" };
        self.sessions.invite(token).map(|code| format!("{scheme}://{}/#code={code}", self.address))
    }

    /// Ends streams, lets answers finish, and returns when the last entry is stored.
    pub async fn stop(self) {
        let Server { plane, writer, stop, accepting, .. } = self;
        stop.send_replace(true);
        let _ = accepting.await;
        drop(plane);
        if let Some(writer) = writer {
            // The writer ends when the last handle is gone; a connection that was cut off may hold one a moment more.
            let joined = tokio::task::spawn_blocking(move || writer.join());
            let _ = tokio::time::timeout(Duration::from_secs(3), joined).await;
        }
    }
}
