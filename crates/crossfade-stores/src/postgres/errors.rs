//! From the driver's errors to ours. Messages of the server may quote values (`invalid input syntax for type integer: "…"`), so only
//! its condition and constraint names are passed on for errors about data.

use tokio_postgres::Error;

use crate::{ErrorKind, StoreError};

pub(super) fn kind(e: &Error) -> ErrorKind {
    let Some(db) = e.as_db_error() else {
        return ErrorKind::Lost;
    };
    let code = db.code().code();
    match code {
        "42501" | "28000" | "28P01" => ErrorKind::Denied,
        "3D000" => ErrorKind::Config,
        "42P01" => ErrorKind::NoSuchTable,
        "42703" | "42704" | "42804" | "42846" => ErrorKind::SchemaChanged,
        "0A000" if db.message().contains("cached plan") => ErrorKind::SchemaChanged,
        // `COPY` into a table with row level security, for one.
        "0A000" => ErrorKind::Unsupported,
        "40001" | "40P01" | "55P03" | "57014" | "55006" => ErrorKind::Conflict,
        "53100" => ErrorKind::Full,
        "53200" | "53300" => ErrorKind::Throttled,
        "54000" | "54001" => ErrorKind::TooLarge,
        _ => match &code[..2.min(code.len())] {
            "08" | "57" => ErrorKind::Lost,
            "22" | "23" | "P0" | "44" => ErrorKind::Refused,
            "53" => ErrorKind::Full,
            _ => ErrorKind::Protocol,
        },
    }
}

/// `what` failed.
pub(super) fn of(what: impl Into<String>, e: Error) -> StoreError {
    let kind = kind(&e);
    let Some(db) = e.as_db_error() else {
        return StoreError::new(kind, what).caused_by(e);
    };
    let text = match (kind, db.constraint()) {
        (ErrorKind::Refused, Some(constraint)) => {
            format!("{}: refused by constraint `{constraint}` ({})", what.into(), db.code().code())
        }
        (ErrorKind::Refused, None) => format!("{}: the database refuses the value ({})", what.into(), db.code().code()),
        _ => format!("{}: {} ({})", what.into(), db.message(), db.code().code()),
    };
    let error = StoreError::new(kind, text);
    match db.column() {
        Some(column) => error.in_column(column),
        None => error,
    }
}

pub(super) fn connecting(shown: &str, e: Error) -> StoreError {
    match e.as_db_error() {
        Some(_) => match kind(&e) {
            ErrorKind::Lost => {
                StoreError::new(ErrorKind::Unreachable, format!("{shown} takes no connection now")).caused_by(e)
            }
            _ => of(format!("{shown} refuses the login"), e),
        },
        None => StoreError::new(
            ErrorKind::Unreachable,
            format!("cannot reach {shown}: check host, port and that the server is up"),
        )
        .caused_by(e),
    }
}
