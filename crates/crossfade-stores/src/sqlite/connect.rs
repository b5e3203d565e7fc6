//! Connections to the file, used on the blocking pool only.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::{
    errors,
    schema::Shape,
    write::{self, Load},
};
use crate::{ErrorKind, Row, StoreError, StoreUrl};

/// Pages of the log, where the file has one, before they are moved into the file.
const LOG_PAGES: i64 = 8_000;

/// An SQLite file. Clones share its connections.
#[derive(Clone)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    shown: String,
    busy: Duration,
    most_pages: Option<u32>,
    writer: Mutex<Option<Connection>>,
    /// Rows that wait for the writer.
    loads: Mutex<Vec<Load>>,
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
        let number = |name: &str| match url.parameter(name) {
            None => Ok(None),
            Some(text) => text.parse::<u32>().map(Some).map_err(|_| {
                StoreError::new(ErrorKind::Config, format!("`{name}` in the url of {url} must be a number"))
            }),
        };
        let busy = number("busy_timeout_ms")?.unwrap_or(10_000);
        let most_pages = number("max_pages")?;
        Ok(Sqlite {
            inner: Arc::new(Inner {
                path: PathBuf::from(url.rest()),
                shown: url.to_string(),
                busy: Duration::from_millis(busy.into()),
                most_pages,
                writer: Mutex::new(None),
                loads: Mutex::default(),
                readers: Mutex::new(Vec::new()),
            }),
        })
    }

    pub(super) fn shown(&self) -> &str {
        &self.inner.shown
    }

    /// Loads rows. Who becomes the writer loads what all others wait for too, in one transaction: the disk is waited for once.
    pub(super) async fn loading(&self, shape: Arc<Shape>, rows: Vec<Row>) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.loads().push(Load { shape, rows, answer });
        let store = self.clone();
        self.writing(move |c| {
            let loads = std::mem::take(&mut *store.loads());
            write::load(c, loads);
            Ok(())
        })
        .await?;
        let ended = || StoreError::new(ErrorKind::Protocol, "the work on the file was ended");
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    fn loads(&self) -> MutexGuard<'_, Vec<Load>> {
        self.inner.loads.lock().unwrap_or_else(PoisonError::into_inner)
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
                none => {
                    let connection = inner.connect()?;
                    // Of this connection alone. Every page that is moved from the log into the file is waited for.
                    let fail = |e| errors::of(format!("cannot open {}", inner.shown), e);
                    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES).map_err(fail)?;
                    if let Some(most) = inner.most_pages {
                        connection.pragma_update(None, "max_page_count", most).map_err(fail)?;
                    }
                    none.insert(connection)
                }
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
