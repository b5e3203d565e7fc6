//! From the client's errors to ours.

use redis::{ErrorKind as Kind, RedisError, ServerError};

use crate::{ErrorKind, StoreError};

/// Of a server's answer: it did nothing.
fn of_code(code: &str) -> ErrorKind {
    match code {
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => ErrorKind::Denied,
        // A replica: it would answer, and lose what it is told.
        "READONLY" => ErrorKind::Config,
        "OOM" | "MISCONF" | "NOREPLICAS" => ErrorKind::Full,
        "LOADING" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" => ErrorKind::Throttled,
        "MOVED" | "ASK" | "CROSSSLOT" => ErrorKind::Unsupported,
        "WRONGTYPE" => ErrorKind::Unrepresentable,
        _ => ErrorKind::Protocol,
    }
}

fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Denied => "the login or a right is missing",
        ErrorKind::Config => "this is a replica: give the url of the primary",
        ErrorKind::Full => "the server has no room, or cannot save: see its log",
        ErrorKind::Throttled => "the server is not ready",
        ErrorKind::Unsupported => "redis cluster is not supported: give the url of a single server",
        ErrorKind::Unrepresentable => "a key of another kind has this name",
        _ => "an answer that is not understood",
    }
}

pub(super) fn server(what: &str, e: &ServerError) -> StoreError {
    let kind = of_code(e.code());
    StoreError::new(kind, format!("{what}: {} ({})", advice(kind), e.code()))
}

/// `what` failed; second, whether the commands may have been done.
pub(super) fn of(what: &str, shown: &str, e: RedisError) -> (StoreError, bool) {
    if e.is_connection_refusal() {
        return (
            StoreError::new(
                ErrorKind::Unreachable,
                format!("cannot reach {shown}: check host, port and that the server is up"),
            )
            .caused_by(e),
            false,
        );
    }
    match e.kind() {
        Kind::AuthenticationFailed => {
            (StoreError::new(ErrorKind::Denied, format!("{what}: {shown} refuses the login")), false)
        }
        Kind::InvalidClientConfig => (
            StoreError::new(ErrorKind::Config, format!("{what}: the url of {shown} does not work")).caused_by(e),
            false,
        ),
        _ => match e.code() {
            Some(code) => {
                let kind = of_code(code);
                (StoreError::new(kind, format!("{what}: {} ({code})", advice(kind))), false)
            }
            None => (
                StoreError::new(ErrorKind::Lost, format!("{what}: the connection to {shown} broke or timed out"))
                    .caused_by(e),
                true,
            ),
        },
    }
}
