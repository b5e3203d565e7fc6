//! Plans from the control plane (`crossfade serve`), acknowledged.
//!
//! Registering and getting the first plan is one transaction; every later plan comes by server-sent events, goes into
//! force at once, and is acknowledged when every operation that began earlier has ended, together with the marks those
//! operations left (R3). Losing the server costs nothing: the last plan stays, and the connection is tried again with
//! jitter (R11). Row values leave the process only in samples of reads that differed, and only where the plan
//! shares them (`sample-values`); marks carry the keys that a repair needs.

mod cache;
mod follow;
mod heartbeat;
mod marks;
mod run;
mod wire;

use super::{PlanSource, PlanSourceError, RunRegistrar, Steward};
use cache::{Keeper, Remembered, Unfit};
use crossfade_api::problem::Code;
use crossfade_api::wire::{Publication, Registered};
use crossfade_core::{Plan, Revision};
use follow::Member;
use futures::future::BoxFuture;
use run::Registrar;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use wire::{Silence, Wire};

/// The longest pause between two tries to reach the server.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The plan of a control plane. See [`server()`].
#[derive(Debug)]
pub struct ServerSource {
    url: String,
    token: Token,
    instance: String,
    host: String,
    cache: Option<PathBuf>,
    registered: Option<Registered>,
    leaving: mpsc::Receiver<oneshot::Sender<bool>>,
    membership: Membership,
}

#[derive(Debug, Clone)]
enum Token {
    None,
    Text(String),
    File(PathBuf),
}

/// The plan of the control plane at this URL.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use crossfade::{Migration, plan};
/// let source = plan::server("http://127.0.0.1:7420").token_file("/run/secrets/crossfade");
/// let membership = source.membership();
/// let migration = Migration::builder("events").plan(source).build().await?;
/// // … serve; at SIGTERM, after the last request has been answered:
/// membership.leave(std::time::Duration::from_secs(10)).await;
/// # Ok(()) }
/// ```
#[must_use]
pub fn server(url: impl Into<String>) -> ServerSource {
    let (sender, leaving) = mpsc::channel(1);
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    ServerSource {
        url: url.into().trim_end_matches('/').to_owned(),
        token: Token::None,
        instance: new_instance(&host),
        host,
        cache: None,
        registered: None,
        leaving,
        membership: Membership(sender),
    }
}

/// A name that no other life of any process has: host, process, and the time of its beginning.
fn new_instance(host: &str) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), nanos);
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    let host = if host.is_empty() { "app" } else { &host };
    format!("{host}-{}-{random:012x}", std::process::id())
}

impl ServerSource {
    /// The token to show, of role `instance`.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> ServerSource {
        self.token = Token::Text(token.into());
        self
    }

    /// A file with the token; read again at every connection, so that it can be renewed.
    #[must_use]
    pub fn token_file(mut self, path: impl AsRef<Path>) -> ServerSource {
        self.token = Token::File(path.as_ref().to_owned());
        self
    }

    /// Where it runs, for people. Default: the variable HOSTNAME.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> ServerSource {
        self.host = host.into();
        self.instance = new_instance(&self.host);
        self
    }

    /// A file that keeps the plan in force, one for each migration on a disk that survives a restart. It is never
    /// served: without the control plane a process that starts has no plan, with or without it (R3). It tells the plane
    /// which revision was seen here, so that one restored from an older backup hands nothing out that the fleet has left
    /// (`plane-behind`, R21); and the log says what ran here last. Written in the background; no fault of it, nor of a
    /// file found there, fails or delays anything.
    #[must_use]
    pub fn cache(mut self, path: impl AsRef<Path>) -> ServerSource {
        self.cache = Some(path.as_ref().to_owned());
        self
    }

    /// The name under which this process is waited for.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The hand that takes this process out of the fleet when it ends.
    #[must_use]
    pub fn membership(&self) -> Membership {
        self.membership.clone()
    }

    /// What ran here last; `complained` keeps a file that tells nothing from being reported at every try.
    async fn remembered(&self, migration: &str, complained: &mut bool) -> Option<Remembered> {
        let path = self.cache.clone()?;
        let (file, id) = (path.clone(), migration.to_owned());
        let read = tokio::task::spawn_blocking(move || cache::read(&file, &id)).await;
        match read.unwrap_or_else(|_| Err(Unfit::Damaged("the reading task ended early".to_owned()))) {
            Ok(remembered) => remembered,
            Err(why) => {
                if !std::mem::replace(complained, true) {
                    tracing::warn!(migration, file = %path.display(), %why, "what ran here last is not known");
                }
                None
            }
        }
    }

    fn wire(&self, migration: &str) -> Result<Wire, PlanSourceError> {
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|error| PlanSourceError::Other(format!("no HTTP client: {error}")))?;
        let base = format!("{}/v1/migrations/{migration}/instances", self.url);
        Ok(Wire { http, base, instance: self.instance.clone(), host: self.host.clone(), token: self.token.clone() })
    }
}

/// Takes this process out of the fleet when it ends. Without it the process is missed, blocks the next step until an
/// operator states that it is dead, and leaves the migration suspect.
#[derive(Debug, Clone)]
pub struct Membership(mpsc::Sender<oneshot::Sender<bool>>);

impl Membership {
    /// Begins no operation any more (they answer [`Refused::Left`](crate::Refused::Left)), waits for those in flight and
    /// for effects that may still land, hands the last marks and observations over, and says goodbye. Call it after the
    /// last request was answered.
    ///
    /// Returns whether the control plane heard the goodbye within the time. Otherwise (`false`) the process is silent,
    /// not gone: it blocks the next step until it is heard after all, or until an operator states that it is dead. It goes
    /// on trying for as long as the process and the migration live. The doors stay shut in both cases (R30). Dropping the
    /// future does not stop the goodbye.
    pub async fn leave(&self, within: Duration) -> bool {
        let (sender, said) = oneshot::channel();
        let left = async { self.0.send(sender).await.is_ok() && said.await.unwrap_or(false) };
        tokio::time::timeout(within, left).await.unwrap_or(false)
    }
}

/// Up to half as long again or half as short, so that a fleet does not come back as one.
fn jittered(pause: Duration) -> Duration {
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
    pause / 2 + pause.mul_f64((random % 1_000) as f64 / 1_000.0)
}

fn adopt(publication: &Publication) -> Result<(Plan, Revision), String> {
    let plan = Plan::new(publication.plan.clone()).map_err(|error| error.to_string())?;
    Ok((plan, publication.revision.0))
}

impl PlanSource for ServerSource {
    fn first<'a>(&'a mut self, migration: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>> {
        Box::pin(async move {
            let wire = self.wire(migration)?;
            let (mut pause, mut complained) = (Duration::from_millis(100), false);
            let mut told = None;
            loop {
                // Looked at each time: an operator who removes it need not start the process again.
                let last = self.remembered(migration, &mut complained).await;
                let seen = last.as_ref().map(|last| last.revision);
                if let Some(last) = &last
                    && told.replace(last.revision) != Some(last.revision)
                {
                    tracing::info!(migration, %last, "what ran here last; served is what the control plane says");
                }
                match wire.register(None, seen, None).await {
                    Ok(registered) => {
                        let adopted = adopt(&registered.publication).map_err(PlanSourceError::Other)?;
                        self.registered = Some(registered);
                        return Ok(adopted);
                    }
                    Err(Silence::Refused(problem)) if !waits(problem.code) => {
                        return Err(PlanSourceError::Other(format!(
                            "the control plane refuses this instance: {}",
                            problem.detail
                        )));
                    }
                    Err(silence) => {
                        let last = last.map_or_else(|| "not known".to_owned(), |last| format!("{last}, not served"));
                        tracing::warn!(migration, %silence, %last, "no plan yet: the control plane is asked again");
                    }
                }
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        })
    }

    fn run_registrar(&self) -> Option<RunRegistrar> {
        // Without a client `first` has failed already, and says why.
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build().ok()?;
        let (url, token, host) = (self.url.clone(), self.token.clone(), self.host.clone());
        Some(Registrar { http, url, token, host }.port())
    }

    fn follow(mut self: Box<Self>, steward: Steward) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Some((plan, _)) = steward.standing() else { return };
            let Ok(wire) = self.wire(plan.migration()) else { return };
            let every = self.registered.as_ref().map_or(5_000, |registered| registered.heartbeat_ms.max(50));
            let keeper = self.cache.clone().map(|path| Keeper::new(path, self.instance.clone()));
            if let (Some(keeper), Some(registered)) = (&keeper, &self.registered) {
                keeper.keep(&registered.publication);
            }
            let mut member = Member::new(Arc::new(wire), steward, keeper);
            member.serve(Duration::from_millis(every), &mut self.leaving).await;
        })
    }
}

/// Whether to ask again later, rather than to give up.
fn waits(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Storage | Code::TooManyRequests | Code::Behind)
}
