//! One connection that many callers share, made again when it breaks. Commands are never repeated behind the caller's back.

use std::{sync::Arc, time::Duration};

use redis::{
    Client, IntoConnectionInfo, Pipeline, Value as Answer,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
};

use super::errors;
use crate::{ErrorKind, StoreError, StoreUrl};

/// How long a command may take when the URL does not say.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// One database of a Redis server. Clones share the connection.
#[derive(Clone)]
pub struct Redis {
    connection: ConnectionManager,
    shown: Arc<str>,
    timeout: Duration,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis({})", self.shown)
    }
}

impl Redis {
    /// Prepares the connection; connects when first used.
    ///
    /// # Errors
    /// `Config` if the URL is none that the client takes.
    pub fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let timeout = match url.parameter("write_timeout_ms") {
            None => WRITE_TIMEOUT,
            Some(text) => match text.parse::<u64>() {
                Ok(n) if n > 0 => Duration::from_millis(n),
                _ => {
                    return Err(StoreError::new(
                        ErrorKind::Config,
                        format!("`write_timeout_ms` in the url of {url} must be a positive number"),
                    ));
                }
            },
        };
        // The client's words may hold parts of the URL, and so the password.
        let wrong = || {
            StoreError::new(
                ErrorKind::Config,
                format!("the url of {url} is not understood: redis://user:password@host:port/DB"),
            )
        };
        let info = url.for_driver(&["write_timeout_ms"]).into_connection_info().map_err(|_| wrong())?;
        let client = Client::open(info).map_err(|_| wrong())?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(Duration::from_secs(3)))
            .set_response_timeout(Some(timeout));
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(|_| wrong())?;
        Ok(Redis { connection, shown: url.to_string().into(), timeout })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// After this a command is given up; its effect may still land.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends all commands at once; an answer each, also where it is an error. The error says whether they may have been done.
    pub(super) async fn send(&self, what: &str, commands: &Pipeline) -> Result<Vec<Answer>, (StoreError, bool)> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self
            .connection
            .clone()
            .req_packed_commands(commands, 0, commands.len())
            .await
            .map_err(|e| errors::of(what, &self.shown, e))?;
        if answers.len() == commands.len() {
            Ok(answers)
        } else {
            Err((
                StoreError::new(
                    ErrorKind::Protocol,
                    format!("{what}: {} answers to {} commands", answers.len(), commands.len()),
                ),
                true,
            ))
        }
    }
}
