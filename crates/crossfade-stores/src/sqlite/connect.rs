//! Connections to the file, used on the blocking pool only.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::errors;
use crate::{ErrorKind, StoreError, StoreUrl};

/// An SQLite file. Clones share its connections.
#[derive(Clone)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    shown: String,
    busy: Duration,
    writer: Mutex<Option<Connection>>,
    /// Idle readers.
    readers: Mutex<Vec<Connection>>,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sqlite({})", self.inner.shown)
    }
}

impl Sqlite {
    /// Names the file; opens it when first used, and never makes one.
    ///
    /// # Errors
    /// `Config` if a setting of the URL is no number.
    pub fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let busy = match url.parameter("busy_timeout_ms") {
            None => 10_000,
            Some(text) => text.parse().map_err(|_| {
                StoreError::new(ErrorKind::Config, format!("`busy_timeout_ms` in the url of {url} must be a number"))
            })?,
        };
        Ok(Sqlite {
            inner: Arc::new(Inner {
                path: PathBuf::from(url.rest()),
                shown: url.to_string(),
                busy: Duration::from_millis(busy),
                writer: Mutex::new(None),
                readers: Mutex::new(Vec::new()),
            }),
        })
    }

    pub(super) fn shown(&self) -> &str {
        &self.inner.shown
    }

    /// Runs `work` with a connection that only reads.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.inner.clone();
        blocking(move || {
            let idle = inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => inner.connect()?,
            };
            let done = work(&connection);
            inner.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            done
        })
        .await
    }

    /// Runs `work` with the connection that writes; one at a time.
    pub(super) async fn writing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.inner.clone();
        blocking(move || {
            let mut writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = match &mut *writer {
                Some(connection) => connection,
                none => none.insert(inner.connect()?),
            };
            work(connection)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(StoreError::new(ErrorKind::Protocol, "the work on the file was ended").caused_by(e)),
    }
}

impl Inner {
    fn connect(&self) -> Result<Connection, StoreError> {
        if !self.path.exists() {
            return Err(StoreError::new(
                ErrorKind::Unreachable,
                format!("there is no file at {}: make it, with its tables, first", self.shown),
            ));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)
            .map_err(|e| errors::of(format!("cannot open {}", self.shown), e))?;
        connection.busy_timeout(self.busy).map_err(|e| errors::of(format!("cannot open {}", self.shown), e))?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }
}
