//! The DAO that everything is measured over: it costs next to nothing, so that what is left is the machinery around it.

use crate::measure::used;
use crossfade::{Effect, Refused};
use std::hint::black_box;
use std::time::Duration;

/// A row. Copying it allocates nothing: copies of a user's own rows are not the machinery's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) user_id: u64,
    pub(crate) amount: u64,
}

impl Event {
    /// The event with this number; users come back every 50,000 events.
    pub(crate) fn numbered(id: u64) -> Event {
        Event { id, user_id: user_of(id), amount: id }
    }
}

/// The user of the operation with this number.
pub(crate) fn user_of(number: u64) -> u64 {
    1_000_000 + number.wrapping_mul(7_919) % 50_000
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum EventError {
    #[error(transparent)]
    Refused(Refused),
}

impl EventError {
    fn effect(&self) -> Effect {
        match self {
            EventError::Refused(_) => Effect::Refused,
        }
    }
}

/// With everything that a user gives: error effects, and what repair and checks need.
#[crossfade::dao(refused = EventError::Refused, effect = EventError::effect)]
pub(crate) trait EventDao {
    /// Writes an event.
    #[write(key = event.user_id, row = event.id, mirror = replay)]
    async fn record(&self, event: &Event) -> Result<(), EventError>;
    /// A number that belongs to a user.
    #[read(key = user_id)]
    async fn total_of(&self, user_id: u64) -> Result<u64, EventError>;
    /// The row as it is.
    #[snapshot]
    async fn snapshot(&self, id: &u64) -> Result<Option<Event>, EventError>;
    /// Puts the row where it is still as it was seen.
    #[restore]
    async fn restore(&self, id: &u64, seen: Option<&Event>, row: Option<&Event>) -> Result<bool, EventError>;
}

/// When a DAO answers.
pub(crate) trait Pace: Send + Sync + 'static {
    fn pass() -> impl Future<Output = ()> + Send;
}

/// At once: never pending.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtOnce;
/// After having been pending once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct YieldsOnce;
/// After 200 ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slow;

/// What the slow target takes.
pub(crate) const SLOW: Duration = Duration::from_millis(200);

impl Pace for AtOnce {
    async fn pass() {}
}

impl Pace for YieldsOnce {
    async fn pass() {
        tokio::task::yield_now().await;
    }
}

impl Pace for Slow {
    async fn pass() {
        tokio::time::sleep(SLOW).await;
    }
}

/// A database that knows everything and keeps nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dao<P>(pub(crate) P);

impl<P: Pace> EventDao for Dao<P> {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        P::pass().await;
        used(event.amount);
        Ok(())
    }

    async fn total_of(&self, user_id: u64) -> Result<u64, EventError> {
        P::pass().await;
        Ok(black_box(user_id))
    }

    async fn snapshot(&self, id: &u64) -> Result<Option<Event>, EventError> {
        P::pass().await;
        Ok(Some(Event::numbered(*id)))
    }

    async fn restore(&self, _: &u64, _: Option<&Event>, _: Option<&Event>) -> Result<bool, EventError> {
        P::pass().await;
        Ok(true)
    }
}
