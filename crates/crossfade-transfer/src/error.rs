//! Why a run ended before its end.

use crossfade_api::exit::Exit;
use crossfade_stores::{ErrorKind, StoreError};

/// Why a run ended before its end. Progress up to here is kept.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A database said no, or nothing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configuration does not fit the databases.
    #[error("{0}")]
    Config(String),
    /// The checkpoint cannot be read or written.
    #[error("checkpoint {path}: {what}")]
    Checkpoint {
        /// Which file.
        path: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Rows that could not be made equal; the rest is done.
    #[error("{rows} rows were not copied; the first: {first}")]
    Rows {
        /// How many.
        rows: u64,
        /// Why, for the first of them, with key digest and column.
        first: String,
    },
    /// Somebody asked to stop. The same command goes on where this one ended.
    #[error("stopped; the same command goes on from here")]
    Stopped,
}

impl TransferError {
    /// The exit code of the design.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            TransferError::Store(e) => match e.kind() {
                // Asked again in vain: the server went away.
                ErrorKind::Unreachable | ErrorKind::Lost => Exit::Unreachable,
                ErrorKind::Config | ErrorKind::NoSuchTable => Exit::Usage,
                ErrorKind::Throttled
                | ErrorKind::Conflict
                | ErrorKind::Denied
                | ErrorKind::SchemaChanged
                | ErrorKind::Unrepresentable
                | ErrorKind::Refused
                | ErrorKind::TooLarge
                | ErrorKind::Full
                | ErrorKind::Unsupported
                | ErrorKind::Protocol => Exit::Failed,
            },
            TransferError::Config(_) => Exit::Usage,
            TransferError::Checkpoint { .. } | TransferError::Rows { .. } => Exit::Failed,
            TransferError::Stopped => Exit::Unknown,
        }
    }
}
