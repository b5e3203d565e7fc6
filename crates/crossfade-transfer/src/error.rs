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
    /// Both sides are one table.
    #[error(
        "table {table}: the source and the target are the same table of the same database: nothing was done; correct `source` or `target` in the file"
    )]
    SameTable {
        /// In the source.
        table: String,
    },
    /// The sides are those of an earlier run, the other way round.
    #[error(
        "table {table}: source and target are swapped: {path} is the progress of a run from what is now the target to what is now the source. Nothing was done. Put `source` and `target` back; if the data shall really move the other way, use another migration id"
    )]
    Swapped {
        /// In the source.
        table: String,
        /// The checkpoint of the earlier run.
        path: String,
    },
    /// The target has rows of its own, and nobody consented to delete them.
    #[error(
        "table {table}: the target has {rows} rows that the source lacks, and no earlier run of this migration put them. Nothing was written. Check that source and target are not mixed up; see what would change with --dry-run; delete these rows with --delete-extra or `extra = \"delete\"` in the file, or leave them with `extra = \"keep\"`"
    )]
    Extra {
        /// In the source.
        table: String,
        /// How many.
        rows: u64,
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
            TransferError::Config(_) | TransferError::SameTable { .. } => Exit::Usage,
            TransferError::Swapped { .. } | TransferError::Extra { .. } => Exit::Refused,
            TransferError::Checkpoint { .. } | TransferError::Rows { .. } => Exit::Failed,
            TransferError::Stopped => Exit::Unknown,
        }
    }
}
