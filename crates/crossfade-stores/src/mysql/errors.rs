//! From the driver's errors to ours. The server's messages quote values (`Duplicate entry '…'`), so only their column and code are passed on.

use mysql_async::{Error, ServerError};

use crate::{ErrorKind, StoreError};

pub(super) fn kind(e: &Error) -> ErrorKind {
    match e {
        Error::Server(server) => of_code(server.code),
        Error::Url(_) => ErrorKind::Config,
        Error::Io(_) | Error::Driver(_) | Error::Other(_) => ErrorKind::Lost,
    }
}

fn of_code(code: u16) -> ErrorKind {
    match code {
        1044 | 1045 | 1142 | 1143 | 1227 | 1290 | 1370 | 1698 | 1836 => ErrorKind::Denied,
        1049 => ErrorKind::Config,
        1051 | 1146 => ErrorKind::NoSuchTable,
        1054 | 1136 | 1615 => ErrorKind::SchemaChanged,
        // 1020: a row changed since the transaction's snapshot; 1317, 1969, 3024: the statement took too long and was undone.
        1020 | 1205 | 1213 | 1317 | 1412 | 1969 | 3024 | 3572 => ErrorKind::Conflict,
        1040 | 1203 | 1226 => ErrorKind::Throttled,
        1021 | 1026 | 1114 | 3675 => ErrorKind::Full,
        1118 | 1153 | 1301 => ErrorKind::TooLarge,
        1048 | 1062 | 1216 | 1217 | 1264 | 1265 | 1292 | 1364 | 1366 | 1406 | 1411 | 1451 | 1452 | 1644 | 1690
        | 1761 | 1762 | 3140 | 3819 | 3988 | 4025 => ErrorKind::Refused,
        1053 | 1077 | 1079 | 1080 | 1152..=1161 | 1184 | 1927 | 4031 => ErrorKind::Lost,
        _ => ErrorKind::Protocol,
    }
}

/// Whether a key is there already, and whether it is the primary one.
pub(super) fn is_duplicate(e: &Error) -> bool {
    matches!(e, Error::Server(ServerError { code: 1062, .. }))
}

/// The name behind the last `for column`, as in ``for column `db`.`t`.`c` `` and `for column 'c'`: what stands before may be a value.
fn column(message: &str) -> Option<&str> {
    let rest = &message[message.rfind("for column ")? + 11..];
    let word = rest.split_whitespace().next()?;
    let name = word.rsplit('.').next()?.trim_matches(['`', '\'', ',']);
    (!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')).then_some(name)
}

/// `what` failed.
pub(super) fn of(what: impl Into<String>, e: Error) -> StoreError {
    let (kind, what) = (kind(&e), what.into());
    let Error::Server(server) = &e else { return StoreError::new(kind, what).caused_by(e) };
    let text = match kind {
        ErrorKind::Refused if server.code == 1062 => {
            format!("{what}: another row has the same value in a unique index (1062)")
        }
        ErrorKind::Refused => format!("{what}: the database refuses the value ({})", server.code),
        ErrorKind::TooLarge => format!(
            "{what}: the row is larger than the server takes (`max_allowed_packet`, or the row format; {})",
            server.code
        ),
        ErrorKind::Conflict => format!("{what}: a lock was not to be had ({})", server.code),
        // These messages name tables, users and hosts.
        _ => format!("{what}: {} ({})", server.message, server.code),
    };
    let error = StoreError::new(kind, text);
    match column(&server.message) {
        Some(name) if kind == ErrorKind::Refused && server.code != 1062 => error.in_column(name),
        _ => error,
    }
}

pub(super) fn connecting(shown: &str, e: Error) -> StoreError {
    match &e {
        Error::Server(_) => match kind(&e) {
            ErrorKind::Denied | ErrorKind::Config => of(format!("{shown} refuses the login"), e),
            ErrorKind::Throttled => of(format!("{shown} takes no more connections"), e),
            _ => StoreError::new(ErrorKind::Unreachable, format!("{shown} takes no connection now")),
        },
        _ => StoreError::new(
            ErrorKind::Unreachable,
            format!("cannot reach {shown}: check host, port and that the server is up"),
        )
        .caused_by(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_and_values_are_not() {
        for (message, name) in [
            ("Data too long for column 'note' at row 1", Some("note")),
            ("Incorrect integer value: 'sec ret' for column `db`.`t`.`n` at row 3", Some("n")),
            ("Column 'x' cannot be null", None),
            ("Duplicate entry 'column secret' for key 'PRIMARY'", None),
            ("Incorrect string value: 'for column x' for column 'v' at row 1", Some("v")),
        ] {
            assert_eq!(column(message), name, "{message}");
        }
        let e = |code, message: &str| {
            of(
                "cannot write",
                Error::Server(ServerError { code, message: message.to_owned(), state: "23000".to_owned() }),
            )
        };
        let shown = e(1062, "Duplicate entry 'column secret' for key 'u'").to_string();
        assert!(!shown.contains("secret"), "{shown}");
        let shown = e(1366, "Incorrect integer value: 'sec ret' for column `db`.`t`.`n` at row 3").to_string();
        assert!(!shown.contains("sec") && shown.contains("`n`"), "{shown}");
    }
}
