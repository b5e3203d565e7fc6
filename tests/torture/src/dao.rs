//! What the application under torture does: three tables of one migration, each through a DAO of its own.
//!
//! | table | rows | what only it shows |
//! |---|---|---|
//! | `rows` | registers, counters and unique claims, by keys that the application makes | batches, values that the authority makes |
//! | `orders` | by ids that the database makes: the row of a write is not known before its answer | R24 |
//! | `sessions` | some of which expire, and are deleted by a predicate | writes of unknown rows; DAOs that cannot check |
//!
//! Sessions have the ids of registers and of orders: only the table tells their rows apart (R23).

use crossfade::rows::{Cursor, Page};
use crossfade::{Effect, Key, ParseKey, Refused};

/// The tables, by the names that the library, the control plane and the databases know.
pub(crate) const TABLES: [&str; 3] = ["rows", "orders", "sessions"];

/// Names a row: `GROUP.ROW`; the group is the cohort key. The id of an order is a number.
///
/// The databases store this short text. As a key it is longer for some rows: up to four kilobytes, so that the library
/// and the control plane have to carry such keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RowId(pub(crate) String);

/// Between an id and what makes its key long.
const PADDING: char = '~';

impl RowId {
    /// The cohort key.
    pub(crate) fn group(&self) -> &str {
        self.0.split_once('.').map_or(self.0.as_str(), |(group, _)| group)
    }

    /// How long its key is at least: it follows from the id.
    fn length(&self) -> usize {
        let sum = self.0.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        match sum % 29 {
            0 => 4_096,
            1 => 1_500,
            2 | 3 => 500,
            _ => 0,
        }
    }
}

impl Key for RowId {
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        match self.length().checked_sub(self.0.len() + 1) {
            None | Some(0) => use_text(&self.0),
            Some(missing) => use_text(&format!("{}{PADDING}{}", self.0, "k".repeat(missing))),
        }
    }
}

impl ParseKey for RowId {
    fn parse_key(text: &str) -> Option<RowId> {
        let id = text.split_once(PADDING).map_or(text, |(id, _)| id);
        let id = RowId(id.to_owned());
        id.with_text(|whole| whole == text).then_some(id)
    }
}

/// A whole row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: RowId,
    /// A register's value, or the winner of a claim.
    pub(crate) value: String,
    /// A counter's count; whose an order is; when a session expires, in microseconds of [`crate::clock::now`].
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

#[crossfade::dao(refused = RowError::Held, effect = RowError::effect, table = "rows")]
pub(crate) trait Rows: Send + Sync + 'static {
    /// A register takes a value: blind and deterministic, so that it is repeated on the other side.
    #[write(key = id.group(), row = id, mirror = replay)]
    async fn put(&self, id: &RowId, value: &str) -> Result<(), RowError>;

    /// Several registers take a value each, of keys that may go different ways; it may be done in part.
    #[write(keys = rows, key = each.id.group(), row = each.id, mirror = replay)]
    async fn put_all(&self, rows: &[Row]) -> Result<(), RowError>;

    /// A register's row goes; one that is not there is no error.
    #[write(key = id.group(), row = id, mirror = replay)]
    async fn delete(&self, id: &RowId) -> Result<(), RowError>;

    /// A counter counts, the authority alone; the other side is handed the result.
    #[write(key = id.group(), row = id, mirror = value(set(id, *answer)))]
    async fn increment(&self, id: &RowId) -> Result<i64, RowError>;

    /// A counter's count, as the authority has made it.
    #[write(key = id.group(), row = id, mirror = replay)]
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

#[crossfade::dao(refused = RowError::Held, effect = RowError::effect, table = "orders")]
pub(crate) trait Orders: Send + Sync + 'static {
    /// The database makes its id.
    #[write(key = owner, row = answer.id, mirror = value(store(answer)))]
    async fn create(&self, owner: i64, value: &str) -> Result<Row, RowError>;

    /// The order is this one.
    #[write(key = order.count, row = order.id, mirror = replay)]
    async fn store(&self, order: &Row) -> Result<(), RowError>;

    /// The order goes.
    #[write(key = owner, row = id, mirror = replay)]
    async fn cancel(&self, owner: i64, id: &RowId) -> Result<(), RowError>;

    /// An order as the authority has it.
    #[read(key = owner)]
    async fn order(&self, owner: i64, id: &RowId) -> Result<Option<Row>, RowError>;

    #[snapshot]
    async fn snapshot(&self, id: &RowId) -> Result<Option<Row>, RowError>;

    #[restore]
    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError>;

    #[scan(key = row.count, row = row.id)]
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError>;
}

#[crossfade::dao(refused = RowError::Held, effect = RowError::effect, table = "sessions")]
pub(crate) trait Sessions: Send + Sync + 'static {
    /// The session is this one.
    #[write(key = session.id.group(), row = session.id, mirror = replay)]
    async fn open(&self, session: &Row) -> Result<(), RowError>;

    /// The session goes.
    #[write(key = id.group(), row = id, mirror = replay)]
    async fn close(&self, id: &RowId) -> Result<(), RowError>;

    /// A session as the authority has it.
    #[read(key = id.group())]
    async fn session(&self, id: &RowId) -> Result<Option<Row>, RowError>;

    /// Every session goes that expires until then.
    #[write(whole, mirror = replay)]
    async fn expire(&self, until: i64) -> Result<(), RowError>;

    #[snapshot]
    async fn snapshot(&self, id: &RowId) -> Result<Option<Row>, RowError>;

    #[restore]
    async fn restore(&self, id: &RowId, seen: Option<&Row>, row: Option<&Row>) -> Result<bool, RowError>;

    #[scan(key = row.id.group(), row = row.id)]
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Row>, RowError>;
}

/// Sessions in an application that has no rows to give: no dual write can be checked and no row repaired (R25).
#[crossfade::dao(refused = RowError::Held, effect = RowError::effect, table = "sessions")]
pub(crate) trait BareSessions: Send + Sync + 'static {
    /// See [`Sessions`].
    #[write(key = session.id.group(), row = session.id, mirror = replay)]
    async fn open(&self, session: &Row) -> Result<(), RowError>;

    /// See [`Sessions`].
    #[write(key = id.group(), row = id, mirror = replay)]
    async fn close(&self, id: &RowId) -> Result<(), RowError>;

    /// See [`Sessions`].
    #[read(key = id.group())]
    async fn session(&self, id: &RowId) -> Result<Option<Row>, RowError>;

    /// See [`Sessions`].
    #[write(whole, mirror = replay)]
    async fn expire(&self, until: i64) -> Result<(), RowError>;
}

/// How histories name the row of a table.
pub(crate) fn named(table: &str, id: &RowId) -> String {
    if table == TABLES[0] { id.0.clone() } else { format!("{table}/{}", id.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_up_to_four_kilobytes_and_are_read_back() {
        let mut longest = 0;
        for number in 0..200 {
            for id in [RowId(format!("r{number}.0")), RowId(number.to_string())] {
                id.with_text(|text| {
                    longest = longest.max(text.len());
                    assert_eq!(RowId::parse_key(text).as_ref(), Some(&id));
                });
            }
        }
        assert_eq!(longest, 4_096);
        assert_eq!(RowId::parse_key("r1.0~k"), None);
    }
}
