//! The append-only log in one SQLite file. An entry is durable before anybody sees its effect.
//!
//! The file is held exclusively: a second server on it is refused. Nothing is ever updated or deleted.

use crate::law::{Entry, Event, State};
use crossfade_core::Tick;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use std::path::Path;
use std::sync::Arc;

/// Raised with every change of the schema; older files are migrated when they are opened, newer ones refused.
pub const SCHEMA: i32 = 1;

/// "cxfd", so that another program's database is not taken for a log.
const APPLICATION: i32 = 0x6378_6664;

/// A moment around one append, at which a test may end the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The entries are about to be committed.
    Before,
    /// The entries are durable; nobody has seen their effect yet.
    After,
}

/// Called around every append with the number of appends so far. The seam by which tests crash at the nth append.
pub type Hook = Arc<dyn Fn(Moment, u64) + Send + Sync>;

/// The log.
pub struct Log {
    connection: Connection,
    appends: u64,
    hook: Option<Hook>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("appends", &self.appends).finish_non_exhaustive()
    }
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// SQLite said no.
    #[error("the log could not be {doing}: check the file's disk, rights and that no other server has it open")]
    Sqlite {
        /// What was tried.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is something else.
    #[error("the file is a database of another program: name another file with --data")]
    Foreign,
    /// The file is from the future.
    #[error("the log has schema {0}, this server knows up to {SCHEMA}: use the newer server")]
    Newer(i32),
    /// An entry cannot be read.
    #[error("entry {0} of the log cannot be read: restore the file from a backup, and start with --restored")]
    Unreadable(u64, #[source] serde_json::Error),
}

fn failed(doing: &'static str) -> impl Fn(rusqlite::Error) -> LogError {
    move |source| LogError::Sqlite { doing, source }
}

impl Log {
    /// Opens or makes the log of this file.
    ///
    /// # Errors
    /// When it cannot be opened, or is no log that this server knows.
    pub fn open(path: &Path, hook: Option<Hook>) -> Result<Log, LogError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed("opened"))?;
        let open = failed("opened");
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(&open)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(&open)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(&open)?;
        let begin = connection.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(&open)?;
        let pragma = |name| begin.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(&open);
        let (application, schema) = (pragma("application_id")?, pragma("user_version")?);
        let tables: i64 = begin.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(&open)?;
        match (application, schema) {
            (0, 0) if tables == 0 => {
                begin
                    .execute_batch(
                        "CREATE TABLE log (
                            tick INTEGER PRIMARY KEY,
                            at_ms INTEGER NOT NULL,
                            by TEXT NOT NULL,
                            migration TEXT,
                            event TEXT NOT NULL
                        ) STRICT;
                        CREATE INDEX log_of_migration ON log (migration, tick);",
                    )
                    .map_err(&open)?;
                begin.pragma_update(None, "application_id", APPLICATION).map_err(&open)?;
                begin.pragma_update(None, "user_version", SCHEMA).map_err(&open)?;
            }
            (APPLICATION, SCHEMA) => {}
            (APPLICATION, newer) => return Err(LogError::Newer(newer)),
            (_, _) => return Err(LogError::Foreign),
        }
        begin.commit().map_err(&open)?;
        Ok(Log { connection, appends: 0, hook })
    }

    /// The state after every entry.
    ///
    /// # Errors
    /// When an entry cannot be read.
    pub fn replay(&self) -> Result<State, LogError> {
        let read = failed("read");
        let mut statement =
            self.connection.prepare("SELECT tick, at_ms, by, event FROM log ORDER BY tick").map_err(&read)?;
        let mut rows = statement.query([]).map_err(&read)?;
        let mut state = State::default();
        while let Some(row) = rows.next().map_err(&read)? {
            state.apply(&entry(row)?);
        }
        Ok(state)
    }

    /// Appends all of these or none; when it returns they are durable.
    ///
    /// # Errors
    /// When they could not be made durable: then it is not known whether they are, and the state must be replayed.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), LogError> {
        self.appends += 1;
        let appending = failed("appended to");
        let transaction = self.connection.transaction().map_err(&appending)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO log (tick, at_ms, by, migration, event) VALUES (?, ?, ?, ?, ?)")
                .map_err(&appending)?;
            for entry in entries {
                let event = serde_json::to_string(&entry.event).map_err(|e| LogError::Unreadable(entry.tick.0, e))?;
                let (tick, at) = (entry.tick.0.cast_signed(), entry.at_ms.cast_signed());
                insert.execute(params![tick, at, entry.by, migration_of(&entry.event), event]).map_err(&appending)?;
            }
        }
        if let Some(hook) = &self.hook {
            hook(Moment::Before, self.appends);
        }
        transaction.commit().map_err(&appending)?;
        if let Some(hook) = &self.hook {
            hook(Moment::After, self.appends);
        }
        Ok(())
    }

    /// Entries before a place, newest first: of a migration, or of the plane itself and all migrations.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn history(&self, migration: Option<&str>, before: Option<Tick>, limit: usize) -> Result<Vec<Entry>, LogError> {
        let read = failed("read");
        let before = before.map_or(i64::MAX, |tick| tick.0.cast_signed());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (condition, name) = match migration {
            Some(name) => ("migration = ?3 AND", name),
            None => ("?3 = '' AND", ""),
        };
        let query =
            format!("SELECT tick, at_ms, by, event FROM log WHERE {condition} tick < ?1 ORDER BY tick DESC LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&query).map_err(&read)?;
        let mut rows = statement.query(params![before, limit, name]).map_err(&read)?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next().map_err(&read)? {
            entries.push(entry(row)?);
        }
        Ok(entries)
    }
}

fn entry(row: &rusqlite::Row<'_>) -> Result<Entry, LogError> {
    let read = failed("read");
    let tick = row.get::<_, i64>(0).map_err(&read)?.cast_unsigned();
    let event: String = row.get(3).map_err(&read)?;
    let event = serde_json::from_str(&event).map_err(|error| LogError::Unreadable(tick, error))?;
    let at_ms = row.get::<_, i64>(1).map_err(&read)?.cast_unsigned();
    Ok(Entry { tick: Tick(tick), at_ms, by: row.get(2).map_err(&read)?, event })
}

fn migration_of(event: &Event) -> Option<&str> {
    match event {
        Event::Started { .. } | Event::TokenIssued { .. } | Event::TokenRevoked { .. } => None,
        Event::Created { publication, .. } => Some(&publication.plan.migration),
        Event::To { migration, .. } => Some(migration),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn entry(tick: u64) -> Entry {
        Entry { tick: Tick(tick), at_ms: 7, by: "ann".into(), event: Event::TokenRevoked { id: "x".into() } }
    }

    #[test]
    fn what_was_appended_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plane.db");
        {
            let mut log = Log::open(&path, None).unwrap();
            log.append(&[entry(1), entry(2)]).unwrap();
        }
        let log = Log::open(&path, None).unwrap();
        assert_eq!(log.history(None, None, 10).unwrap(), [entry(2), entry(1)]);
        assert_eq!(log.history(None, Some(Tick(2)), 10).unwrap(), [entry(1)]);
        assert_eq!(log.replay().unwrap().tick, Tick(2));
    }

    #[test]
    fn an_append_is_all_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(&folder.path().join("plane.db"), None).unwrap();
        log.append(&[entry(1)]).unwrap();
        assert!(log.append(&[entry(2), entry(1)]).is_err(), "a place in the log is taken once");
        assert_eq!(log.replay().unwrap().tick, Tick(1));
    }

    #[test]
    fn a_second_server_and_a_foreign_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plane.db");
        let first = Log::open(&path, None).unwrap();
        assert!(matches!(Log::open(&path, None), Err(LogError::Sqlite { .. })));
        drop(first);
        let other = folder.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(matches!(Log::open(&other, None), Err(LogError::Foreign)));
        let newer = Connection::open(&path).unwrap();
        newer.pragma_update(None, "user_version", 99).unwrap();
        drop(newer);
        assert!(matches!(Log::open(&path, None), Err(LogError::Newer(99))));
    }
}
