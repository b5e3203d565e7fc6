//! From SQLite's errors to ours.

use rusqlite::{Error, ErrorCode};

use crate::{ErrorKind, StoreError};

pub(super) fn kind(e: &Error) -> ErrorKind {
    let Error::SqliteFailure(failure, message) = e else {
        return match e {
            Error::Utf8Error(_)
            | Error::FromSqlConversionFailure(..)
            | Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..) => ErrorKind::Unrepresentable,
            _ => ErrorKind::Protocol,
        };
    };
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::OperationInterrupted => ErrorKind::Conflict,
        ErrorCode::DiskFull => ErrorKind::Full,
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => ErrorKind::Refused,
        ErrorCode::TooBig => ErrorKind::TooLarge,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            ErrorKind::Denied
        }
        ErrorCode::CannotOpen => ErrorKind::Unreachable,
        ErrorCode::NotADatabase => ErrorKind::Config,
        ErrorCode::SchemaChanged => ErrorKind::SchemaChanged,
        ErrorCode::SystemIoFailure => ErrorKind::Lost,
        _ => match message.as_deref() {
            Some(m) if m.starts_with("no such table") => ErrorKind::NoSuchTable,
            Some(m) if m.starts_with("no such column") || m.contains("has no column") => ErrorKind::SchemaChanged,
            _ => ErrorKind::Protocol,
        },
    }
}

/// `what` failed. SQLite's messages name tables, columns and constraints, not values.
pub(super) fn of(what: impl Into<String>, e: Error) -> StoreError {
    let what = what.into();
    match &e {
        // The driver's own text would carry the SQL.
        Error::SqlInputError { msg, .. } => {
            let kind = match msg {
                m if m.starts_with("no such table") => ErrorKind::NoSuchTable,
                m if m.starts_with("no such column") || m.contains("has no column") => ErrorKind::SchemaChanged,
                _ => ErrorKind::Protocol,
            };
            StoreError::new(kind, format!("{what}: {msg}"))
        }
        _ => StoreError::new(kind(&e), what).caused_by(e),
    }
}
