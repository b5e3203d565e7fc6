//! What the application under torture does: registers, counters and unique claims, as rows of one table.

use crossfade::rows::{Cursor, Page};
use crossfade::{Effect, Key, ParseKey, Refused};

/// Names a row: `GROUP.ROW`; the group is the cohort key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Key)]
pub(crate) struct RowId(pub(crate) String);

impl RowId {
    /// The cohort key.
    pub(crate) fn group(&self) -> &str {
        self.0.split_once('.').map_or(self.0.as_str(), |(group, _)| group)
    }
}

/// A whole row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: RowId,
    /// A register's value, or the winner of a claim.
    pub(crate) value: String,
    /// A counter's count.
    pub(crate) count: i64,
}

/// What can go wrong. No text of a store: it may quote values.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RowError {
    /// crossfade did not begin the operation.
    #[error(transparent)]
    Held(#[from] Refused),
    /// The database said no, or was never asked: nothing was changed.
    #[error("refused: {0}")]
    Rejected(&'static str),
    /// Nobody knows.
    #[error("no answer: {0}")]
    Unknown(&'static str),
}

impl RowError {
    /// What the error says about its write.
    pub(crate) fn effect(&self) -> Effect {
        match self {
            RowError::Held(_) | RowError::Rejected(_) => Effect::Refused,
            RowError::Unknown(_) => Effect::Unknown,
        }
    }
}

#[crossfade::dao(refused = RowError::Held, effect = RowError::effect)]
pub(crate) trait Rows: Send + Sync + 'static {
    /// A register takes a value: blind and deterministic, so that it is repeated on the other side.
    #[write(key = id.group(), row = id)]
    async fn put(&self, id: &RowId, value: &str) -> Result<(), RowError>;

    /// Several registers take a value each, of keys that may go different ways; it may be done in part.
    #[write(keys = rows, key = each.id.group(), row = each.id)]
    async fn put_all(&self, rows: &[Row]) -> Result<(), RowError>;

    /// A register's row goes; one that is not there is no error.
    #[write(key = id.group(), row = id)]
    async fn delete(&self, id: &RowId) -> Result<(), RowError>;

    /// A counter counts, the authority alone; the other side is handed the result.
    #[write(key = id.group(), row = id, mirror = value(set(id, *answer)))]
    async fn increment(&self, id: &RowId) -> Result<i64, RowError>;

    /// A counter's count, as the authority has made it.
    #[write(key = id.group(), row = id)]
    async fn set(&self, id: &RowId, count: i64) -> Result<(), RowError>;

    /// Claims a name that nobody has yet; answers who has it.
    #[write(key = id.group(), row = id, mirror = snapshot)]
    async fn claim(&self, id: &RowId, owner: &str) -> Result<String, RowError>;

    /// A row as the authority has it.
    #[read(key = id.group())]
    async fn get(&self, id: &RowId) -> Result<Option<Row>, RowError>;

    /// Several rows, each as its authority has it.
    #[read(keys = ids, key = each.group(), aligned)]
    async fn get_all(&self, ids: &[RowId]) -> Result<Vec<Option<Row>>, RowError>;

    #[snapshot]
    async fn snapshot(&self, id: &RowId) -> Result<Option<Row>, RowError>;

    #[restore]
    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError>;

    #[scan(key = row.id.group(), row = row.id)]
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError>;
}

/// The row of a mark's text.
pub(crate) fn row_of(text: &str) -> Option<RowId> {
    RowId::parse_key(text)
}
