//! Events in SQLite.

use crate::dao::{Event, EventDao, EventError, EventId, Line};
use crossfade::rows::{Cursor, Page};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

const COLUMNS: &str =
    "id, line, tail, origin, destination, scheduled, departure_delay, arrival_delay, air_time, distance";

/// Events in a table `events` of a SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteEvents(Arc<Mutex<Connection>>);

impl SqliteEvents {
    /// Opens a file and makes the table in it.
    ///
    /// # Errors
    /// [`EventError::Rejected`] when the file cannot be opened or has such a table already.
    pub fn create(path: &Path) -> Result<SqliteEvents, EventError> {
        let connection = Connection::open(path).map_err(failed)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;
                 CREATE TABLE events (id INTEGER PRIMARY KEY, line TEXT NOT NULL, tail TEXT, origin TEXT NOT NULL,
                   destination TEXT NOT NULL, scheduled TEXT NOT NULL, departure_delay INTEGER, arrival_delay INTEGER,
                   air_time INTEGER, distance INTEGER NOT NULL) STRICT;
                 CREATE INDEX events_by_line ON events (line, id);",
            )
            .map_err(|error| {
                EventError::Rejected(format!("cannot make table events in {}: {error}", path.display()))
            })?;
        Ok(SqliteEvents(Arc::new(Mutex::new(connection))))
    }

    /// Opens a file that has the table, as a further process of the service does.
    ///
    /// # Errors
    /// [`EventError::Rejected`] when the file cannot be opened.
    pub fn open(path: &Path) -> Result<SqliteEvents, EventError> {
        let connection = Connection::open(path).map_err(failed)?;
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;").map_err(failed)?;
        Ok(SqliteEvents(Arc::new(Mutex::new(connection))))
    }

    /// Loads many events at once, as a service's past would have.
    ///
    /// # Errors
    /// When the database fails; then nothing was loaded.
    pub async fn load(&self, events: Vec<Event>) -> Result<(), EventError> {
        self.with(move |connection| {
            let transaction = connection.transaction()?;
            for event in &events {
                put(&transaction, event)?;
            }
            transaction.commit()
        })
        .await
    }

    /// SQLite works on the calling thread: it gets one where waiting harms nobody.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, EventError> {
        let connection = Arc::clone(&self.0);
        let work = move || work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner));
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| EventError::Unavailable(error.to_string()))?.map_err(failed)
    }
}

fn failed(error: rusqlite::Error) -> EventError {
    EventError::Rejected(error.to_string())
}

fn put(connection: &Connection, event: &Event) -> rusqlite::Result<usize> {
    let sql = format!("INSERT OR REPLACE INTO events ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
    connection.prepare_cached(&sql)?.execute(&values(event)[..])
}

fn values(event: &Event) -> [&dyn ToSql; 10] {
    let Event { id, line, tail, origin, destination, scheduled, departure_delay, arrival_delay, air_time, distance } =
        event;
    [id, &line.0, tail, origin, destination, scheduled, departure_delay, arrival_delay, air_time, distance]
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        id: row.get(0)?,
        line: Line(row.get(1)?),
        tail: row.get(2)?,
        origin: row.get(3)?,
        destination: row.get(4)?,
        scheduled: row.get(5)?,
        departure_delay: row.get(6)?,
        arrival_delay: row.get(7)?,
        air_time: row.get(8)?,
        distance: row.get(9)?,
    })
}

fn find(connection: &Connection, id: &EventId) -> rusqlite::Result<Option<Event>> {
    let sql = format!("SELECT {COLUMNS} FROM events WHERE id = ?1 AND line = ?2");
    connection.prepare_cached(&sql)?.query_row(params![id.id, id.line.0], event).optional()
}

fn delete(connection: &Connection, id: &EventId) -> rusqlite::Result<usize> {
    connection.prepare_cached("DELETE FROM events WHERE id = ?1 AND line = ?2")?.execute(params![id.id, id.line.0])
}

impl EventDao for SqliteEvents {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        let event = event.clone();
        self.with(move |connection| put(connection, &event).map(drop)).await
    }

    async fn remove(&self, id: &EventId) -> Result<(), EventError> {
        let id = id.clone();
        self.with(move |connection| delete(connection, &id).map(drop)).await
    }

    async fn events_of(&self, line: &Line) -> Result<Vec<Event>, EventError> {
        let line = line.0.clone();
        self.with(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM events WHERE line = ?1 ORDER BY id");
            connection.prepare_cached(&sql)?.query_map([line], event)?.collect()
        })
        .await
    }

    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError> {
        let id = id.clone();
        self.with(move |connection| find(connection, &id)).await
    }

    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError> {
        let (id, seen, event) = (id.clone(), seen.cloned(), event.cloned());
        self.with(move |connection| {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            if find(&transaction, &id)? != seen {
                return Ok(false);
            }
            match &event {
                Some(event) => put(&transaction, event)?,
                None => delete(&transaction, &id)?,
            };
            transaction.commit().map(|()| true)
        })
        .await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError> {
        self.with(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM events WHERE id > ?1 ORDER BY id LIMIT ?2");
            // Numbers begin at 0; the cursor is the last number seen.
            let after: i64 = after.and_then(|cursor| cursor.0.parse().ok()).unwrap_or(-1);
            let mut statement = connection.prepare_cached(&sql)?;
            let rows: Vec<Event> = statement.query_map(params![after, limit], event)?.collect::<Result<_, _>>()?;
            let next = rows.last().filter(|_| rows.len() == limit).map(|last| Cursor(last.id.to_string()));
            Ok(Page { rows, next })
        })
        .await
    }
}
