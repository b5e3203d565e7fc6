//! One error type for every store, and one table from its kind to what to do.

use std::{error::Error, fmt};

/// What went wrong, by what can be done about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// The URL or the table's settings cannot work as written.
    Config,
    /// No connection could be made. Nothing was sent.
    Unreachable,
    /// A connection broke or timed out while a request was under way. A read may be repeated; a write's outcome is not known.
    Lost,
    /// The store asks for a slower pace. Nothing was done.
    Throttled,
    /// A transaction conflict, deadlock or lock timeout. Nothing was done.
    Conflict,
    /// The login or a right is missing.
    Denied,
    /// The table, or its primary key, is not there.
    NoSuchTable,
    /// The table is not what it was when it was opened.
    SchemaChanged,
    /// A value cannot be represented on the other side (or read at all).
    Unrepresentable,
    /// The store refuses this row: a constraint, a trigger, a rule of its own.
    Refused,
    /// The row is larger than the store takes.
    TooLarge,
    /// No space left.
    Full,
    /// The store lacks what is asked of it; see [`crate::Capabilities`].
    Unsupported,
    /// An answer that this code does not understand.
    Protocol,
}

/// What to do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// Ask again, with a new connection, a bounded number of times.
    Again,
    /// Ask again, slower.
    Slower,
    /// One row is at fault: name it; the others can go on.
    Row,
    /// Stop, keep the progress, tell the person.
    Stop,
}

impl ErrorKind {
    /// The one table from kind to recovery.
    #[must_use]
    pub fn recovery(self) -> Recovery {
        match self {
            ErrorKind::Lost | ErrorKind::Unreachable => Recovery::Again,
            ErrorKind::Throttled | ErrorKind::Conflict => Recovery::Slower,
            ErrorKind::Unrepresentable | ErrorKind::Refused | ErrorKind::TooLarge => Recovery::Row,
            ErrorKind::Config
            | ErrorKind::Denied
            | ErrorKind::NoSuchTable
            | ErrorKind::SchemaChanged
            | ErrorKind::Full
            | ErrorKind::Unsupported
            | ErrorKind::Protocol => Recovery::Stop,
        }
    }
}

/// What failed, on what, and why. The text names no row value and no credential; a row is named by the digest of its key.
pub struct StoreError {
    kind: ErrorKind,
    what: String,
    column: Option<String>,
    key: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of `kind`; `what` is a lowercase fragment that names the next act where there is one.
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        StoreError { kind, what: what.into(), column: None, key: None, source: None }
    }

    /// With the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Names the column at fault.
    #[must_use]
    pub fn in_column(mut self, column: &str) -> Self {
        self.column = Some(column.to_owned());
        self
    }

    /// Names the row at fault, by the digest of its key ([`crate::RowKey::digest`]).
    #[must_use]
    pub fn at_key(mut self, key: &crate::RowKey) -> Self {
        self.key = Some(key.digest());
        self
    }

    /// A write to a table that was opened with a column in its text form.
    pub(crate) fn read_as_text(shown: &str, column: &str) -> Self {
        StoreError::new(ErrorKind::Unsupported, format!("{shown} was opened with a column as text, and is only read"))
            .in_column(column)
    }

    /// What can be done about it, as a kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.kind.recovery()
    }

    /// The column at fault, where one is.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        self.column.as_deref()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(column) = &self.column {
            write!(f, " (column `{column}`)")?;
        }
        if let Some(key) = &self.key {
            write!(f, " (row {key})")?;
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn Error + 'static))
    }
}
