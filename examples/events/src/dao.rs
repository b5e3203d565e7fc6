//! The service's own interface to its data, and the one line that makes it migrate.

use crossfade::rows::{Cursor, Page};
use crossfade::{Effect, Refused};
use serde::{Deserialize, Serialize};

/// A flight line such as `UA1545`, carrier and flight number: who an event belongs to, and so the cohort key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, crossfade::Key)]
pub struct Line(pub String);

/// What identifies an event: the row key. The cohort key follows from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, crossfade::Key)]
pub struct EventId {
    /// Whose event it is.
    pub line: Line,
    /// Its number.
    pub id: u64,
}

/// A flight: recorded when it is scheduled, amended when it has landed, removed when it is cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub id: u64,
    /// Whose event it is.
    pub line: Line,
    /// The plane, once known.
    pub tail: Option<String>,
    /// Airport of departure.
    pub origin: String,
    /// Airport of arrival.
    pub destination: String,
    /// The hour of the scheduled departure, RFC 3339, UTC.
    pub scheduled: String,
    /// Minutes late at departure; negative when early.
    pub departure_delay: Option<i32>,
    /// Minutes late at arrival.
    pub arrival_delay: Option<i32>,
    /// Minutes in the air.
    pub air_time: Option<i32>,
    /// Miles.
    pub distance: i32,
}

impl Event {
    /// Its row key.
    pub fn key(&self) -> EventId {
        EventId { line: self.line.clone(), id: self.id }
    }
}

/// What can go wrong with an event.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EventError {
    /// crossfade did not begin the operation.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The database said no: nothing was changed.
    #[error("the database refused: {0}")]
    Rejected(String),
    /// No answer, or none that says what happened.
    #[error("the database did not answer: {0}")]
    Unavailable(String),
    /// A stored row is not an event.
    #[error("a stored event cannot be read: {0}")]
    Corrupt(String),
}

impl EventError {
    /// What the error says about its write.
    fn effect(&self) -> Effect {
        match self {
            EventError::Refused(_) | EventError::Rejected(_) => Effect::Refused,
            EventError::Unavailable(_) | EventError::Corrupt(_) => Effect::Unknown,
        }
    }
}

/// The events of flight lines.
#[crossfade::dao(refused = EventError::Refused, effect = EventError::effect)]
pub trait EventDao: Send + Sync + 'static {
    /// Records an event, or puts it in the place of the one with its number.
    #[write(key = event.line, row = event.key(), mirror = replay)]
    async fn record(&self, event: &Event) -> Result<(), EventError>;

    /// Removes an event; one that is not there is no error.
    #[write(key = id.line, row = id, mirror = replay)]
    async fn remove(&self, id: &EventId) -> Result<(), EventError>;

    /// The events of a line, by number.
    #[read(key = line, compare = crossfade::compare::fields().unordered_by("id"))]
    async fn events_of(&self, line: &Line) -> Result<Vec<Event>, EventError>;

    /// One event as it is now. Lets crossfade look after rows by itself.
    #[snapshot]
    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError>;

    /// Puts `event` (none: removes it) if what is stored still is `seen` (none: nothing).
    #[restore]
    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError>;

    /// Every event, page by page.
    #[scan(key = row.line, row = row.key())]
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError>;
}
