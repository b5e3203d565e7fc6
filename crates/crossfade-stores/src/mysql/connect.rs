//! Connections: a pool whose sessions speak UTC, are strict, and count rows that were found; and a session that never goes back half-used.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts};

use super::errors;
use crate::{ErrorKind, StoreError, StoreUrl};

/// How long a write may wait for a lock or run when the URL does not say.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A MySQL or MariaDB database. Clones share the pool.
#[derive(Clone)]
pub struct Mysql {
    pool: Pool,
    shown: Arc<str>,
    write_timeout: Duration,
}

impl std::fmt::Debug for Mysql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mysql({})", self.shown)
    }
}

/// What crossfade itself reads from the URL.
const OWN: [&str; 2] = ["pool", "write_timeout_ms"];

impl Mysql {
    /// Prepares the pool; connects when first used.
    ///
    /// # Errors
    /// `Config` if the URL is none that the driver takes.
    pub fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let number = |name: &str| match url.parameter(name) {
            None => Ok(None),
            Some(text) => text.parse::<u32>().ok().filter(|n| *n > 0).map(Some).ok_or_else(|| {
                StoreError::new(ErrorKind::Config, format!("`{name}` in the url of {url} must be a positive number"))
            }),
        };
        let opts = Opts::from_url(&url.for_driver(&OWN))
            // The driver's words may hold parts of the URL, and so the password.
            .map_err(|_| {
                StoreError::new(
                    ErrorKind::Config,
                    format!("the url of {url} is not understood: mysql://user:password@host:port/database"),
                )
            })?;
        if opts.db_name().is_none_or(str::is_empty) {
            return Err(StoreError::new(
                ErrorKind::Config,
                format!("the url of {url} names no database: end it with /DATABASE"),
            ));
        }
        let write_timeout = number("write_timeout_ms")?.map_or(WRITE_TIMEOUT, |n| Duration::from_millis(n.into()));
        let most = number("pool")?.map_or(8, |n| n as usize);
        let constraints = PoolConstraints::new(0, most).ok_or_else(|| {
            StoreError::new(ErrorKind::Config, format!("`pool` in the url of {url} must be a positive number"))
        })?;
        let seconds = write_timeout.as_secs().max(1);
        let setup = vec![
            // An id of 0 is an id of 0, and what does not fit is an error.
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'".to_owned(),
            format!("SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = {seconds}"),
            "SET NAMES utf8mb4".to_owned(),
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned(),
        ];
        let opts = OptsBuilder::from_opts(opts)
            .setup(setup)
            .client_found_rows(true)
            .prefer_socket(false)
            .stmt_cache_size(256)
            // What a session sets stays: it is the same for all, and statements stay prepared.
            .pool_opts(PoolOpts::default().with_constraints(constraints).with_reset_connection(false));
        Ok(Mysql { pool: Pool::new(opts), shown: url.to_string().into(), write_timeout })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// After this a write is given up.
    pub(super) fn write_timeout(&self) -> Duration {
        self.write_timeout
    }

    /// A connection from the pool.
    pub(super) async fn session(&self) -> Result<Session, StoreError> {
        match tokio::time::timeout(Duration::from_secs(20), self.pool.get_conn()).await {
            Ok(Ok(conn)) => Ok(Session { conn: Some(conn), in_use: false }),
            Ok(Err(e)) => Err(errors::connecting(&self.shown, e)),
            Err(_) => Err(StoreError::new(
                ErrorKind::Unreachable,
                format!("no connection to {} in time: is it up, and does it take more connections?", self.shown),
            )),
        }
    }
}

/// A connection. One that is dropped between `begin` and `finish` is closed, so that its transaction ends with it.
pub(super) struct Session {
    conn: Option<Conn>,
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
    type Target = Conn;

    #[expect(clippy::expect_used, reason = "taken only in drop")]
    fn deref(&self) -> &Conn {
        self.conn.as_ref().expect("taken only in drop")
    }
}

impl DerefMut for Session {
    #[expect(clippy::expect_used, reason = "taken only in drop")]
    fn deref_mut(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("taken only in drop")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.in_use
            && let Some(conn) = self.conn.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                // A connection that does not even take its end in time is dropped all the same.
                let _ = tokio::time::timeout(Duration::from_secs(5), conn.disconnect()).await;
            });
        }
    }
}
