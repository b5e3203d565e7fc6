//! Connections: a pool whose sessions all speak UTC and exact floats, and a session that never goes back half-used.

use std::{ops::Deref, sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio_postgres::{Config, NoTls};

use super::{WRITE_TIMEOUT, errors};
use crate::{ErrorKind, StoreError, StoreUrl};

/// A PostgreSQL database. Clones share the pool.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    shown: Arc<str>,
    write_timeout: Duration,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postgres({})", self.shown)
    }
}

/// What crossfade itself reads from the URL.
const OWN: [&str; 2] = ["pool", "write_timeout_ms"];

impl Postgres {
    /// Prepares the pool; connects when first used.
    ///
    /// # Errors
    /// `Config` if the URL is none that libpq would take.
    pub fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let number = |name: &str| match url.parameter(name) {
            None => Ok(None),
            Some(text) => text.parse::<u32>().ok().filter(|n| *n > 0).map(Some).ok_or_else(|| {
                StoreError::new(ErrorKind::Config, format!("`{name}` in the url of {url} must be a positive number"))
            }),
        };
        let mut config: Config = url.for_driver(&OWN).parse().map_err(|e| {
            StoreError::new(ErrorKind::Config, format!("the url of {url} is not understood")).caused_by(e)
        })?;
        // With `row_security=off` a query that a policy would filter fails, instead of answering without those rows.
        let session = "-c timezone=UTC -c extra_float_digits=1 -c bytea_output=hex -c datestyle=ISO -c intervalstyle=postgres -c client_encoding=UTF8 -c row_security=off";
        let options = config.get_options().map_or_else(|| session.to_owned(), |own| format!("{own} {session}"));
        config.options(options);
        if config.get_application_name().is_none() {
            config.application_name("crossfade");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        config.keepalives(true).keepalives_idle(Duration::from_secs(15)).tcp_user_timeout(Duration::from_secs(30));
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(number("pool")?.map_or(8, |n| n as usize))
            .wait_timeout(Some(Duration::from_secs(60)))
            .create_timeout(Some(Duration::from_secs(10)))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| StoreError::new(ErrorKind::Config, "cannot make the pool of connections").caused_by(e))?;
        let write_timeout = number("write_timeout_ms")?.map_or(WRITE_TIMEOUT, |n| Duration::from_millis(n.into()));
        Ok(Postgres { pool, shown: url.to_string().into(), write_timeout })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// After this the server ends a write by itself.
    pub(super) fn write_timeout(&self) -> Duration {
        self.write_timeout
    }

    /// A connection from the pool.
    pub(super) async fn client(&self) -> Result<Session, StoreError> {
        match self.pool.get().await {
            Ok(client) => Ok(Session { client: Some(client), in_use: false }),
            Err(PoolError::Backend(e)) => Err(errors::connecting(&self.shown, e)),
            Err(e) => Err(StoreError::new(
                ErrorKind::Unreachable,
                format!("no connection to {}: is it up, and does it take more connections?", self.shown),
            )
            .caused_by(e)),
        }
    }
}

/// A connection. One that is dropped between `begin` and `finish` is closed, so that its transaction or copy ends with it.
pub(super) struct Session {
    client: Option<Object>,
    in_use: bool,
}

impl Session {
    pub(super) fn begin(&mut self) {
        self.in_use = true;
    }

    pub(super) fn finish(&mut self) {
        self.in_use = false;
    }
}

impl Deref for Session {
    type Target = Object;

    #[expect(clippy::expect_used, reason = "taken only in drop")]
    fn deref(&self) -> &Object {
        self.client.as_ref().expect("taken only in drop")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.in_use
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}
