//! A target that something goes wrong in.

use super::sides::Events;
use crossfade::rows::{Cursor, Page};
use crossfade_example_events::{Event, EventDao, EventError, EventId, Line};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is wrong with the target at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Trouble {
    None = 0,
    /// One field of 1 % of the events is written wrong.
    Bug = 1,
    /// Everything takes 200 ms longer.
    Slow = 2,
    /// Everything is refused.
    Down = 3,
}

/// The hand that lets trouble begin and end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Troubles(Arc<AtomicU64>);

impl Troubles {
    pub(crate) fn set(&self, trouble: Trouble) {
        self.0.store(trouble as u64, Ordering::SeqCst);
    }

    fn is(&self, trouble: Trouble) -> bool {
        self.0.load(Ordering::SeqCst) == trouble as u64
    }
}

/// The target, in trouble or not.
#[derive(Debug, Clone)]
pub(crate) struct Troubled {
    pub(crate) events: Events,
    pub(crate) troubles: Troubles,
}

const SLOW: Duration = Duration::from_millis(200);

impl Troubled {
    async fn meet(&self) -> Result<&Events, EventError> {
        if self.troubles.is(Trouble::Slow) {
            tokio::time::sleep(SLOW).await;
        }
        if self.troubles.is(Trouble::Down) {
            return Err(EventError::Rejected("the target is down, as --inject target-down asked".to_owned()));
        }
        Ok(&self.events)
    }

    /// What the new DAO makes of an event on its way to the database: with the bug, one field of 1 % of them is wrong,
    /// whether a user writes it or a backfill.
    fn translated<'a>(&self, event: &'a Event) -> Cow<'a, Event> {
        if !self.troubles.is(Trouble::Bug) || !event.id.is_multiple_of(100) {
            return Cow::Borrowed(event);
        }
        Cow::Owned(match event.arrival_delay {
            Some(late) => Event { arrival_delay: Some(late + 60), ..event.clone() },
            // Of a flight that has not landed the distance is there to be wrong.
            None => Event { distance: event.distance + 1, ..event.clone() },
        })
    }
}

impl EventDao for Troubled {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        self.meet().await?.record(&self.translated(event)).await
    }

    async fn remove(&self, id: &EventId) -> Result<(), EventError> {
        self.meet().await?.remove(id).await
    }

    async fn events_of(&self, line: &Line) -> Result<Vec<Event>, EventError> {
        self.meet().await?.events_of(line).await
    }

    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError> {
        self.meet().await?.snapshot(id).await
    }

    async fn restore(&self, id: &EventId, seen: Option<&Event>, event: Option<&Event>) -> Result<bool, EventError> {
        let event = event.map(|event| self.translated(event));
        self.meet().await?.restore(id, seen, event.as_deref()).await
    }

    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError> {
        self.meet().await?.scan(after, limit).await
    }
}
