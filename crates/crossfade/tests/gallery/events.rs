//! The trait of the guide: rows of a user, with everything that repair and backfill need.

use crate::stages::{compared, migration, step, walk};
use crossfade::rows::{Cursor, Page, RowPair, ScanRows};
use crossfade::{Effect, Key, Refused, Side};
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Key)]
pub(crate) struct UserId(pub(crate) String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Key)]
pub(crate) struct EventId(pub(crate) u64);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: EventId,
    pub(crate) user_id: UserId,
    pub(crate) text: String,
}

#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum EventError {
    #[error(transparent)]
    Refused(Refused),
    #[error("there is no such event")]
    Absent,
}

impl EventError {
    fn effect(&self) -> Effect {
        match self {
            EventError::Refused(_) | EventError::Absent => Effect::Refused,
        }
    }
}

#[crossfade::dao(refused = EventError::Refused, effect = EventError::effect)]
pub(crate) trait EventDao {
    /// Writes an event, new or known.
    #[write(key = event.user_id, row = event.id, mirror = replay)]
    async fn record(&self, event: &Event) -> Result<(), EventError>;
    #[write(key = user_id, row = id)]
    async fn amend(&self, user_id: &UserId, id: EventId, text: &str) -> Result<(), EventError>;
    #[write(key = user_id, row = id, mirror = snapshot)]
    async fn shout(&self, user_id: &UserId, id: &EventId) -> Result<(), EventError>;
    #[write(key = user_id, row = id, mirror = replay)]
    async fn remove(&self, user_id: &UserId, id: EventId) -> Result<(), EventError>;
    #[read(key = user_id, compare = crossfade::compare::unordered(|event: &Event| event.id))]
    async fn events_of(&self, user_id: &UserId) -> Result<Vec<Event>, EventError>;
    #[snapshot]
    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError>;
    #[restore]
    async fn restore(&self, id: &EventId, seen: Option<&Event>, row: Option<&Event>) -> Result<bool, EventError>;
    #[scan(key = row.user_id, row = row.id)]
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError>;
}

#[derive(Debug, Default)]
pub(crate) struct Memory(pub(crate) Mutex<BTreeMap<EventId, Event>>);

impl EventDao for Memory {
    async fn record(&self, event: &Event) -> Result<(), EventError> {
        tokio::task::yield_now().await;
        self.0.lock().unwrap().insert(event.id, event.clone());
        Ok(())
    }
    async fn amend(&self, _: &UserId, id: EventId, text: &str) -> Result<(), EventError> {
        let mut rows = self.0.lock().unwrap();
        text.clone_into(&mut rows.get_mut(&id).ok_or(EventError::Absent)?.text);
        Ok(())
    }
    async fn shout(&self, _: &UserId, id: &EventId) -> Result<(), EventError> {
        let mut rows = self.0.lock().unwrap();
        rows.get_mut(id).ok_or(EventError::Absent)?.text.push('!');
        Ok(())
    }
    async fn remove(&self, _: &UserId, id: EventId) -> Result<(), EventError> {
        self.0.lock().unwrap().remove(&id);
        Ok(())
    }
    async fn events_of(&self, user_id: &UserId) -> Result<Vec<Event>, EventError> {
        Ok(self.0.lock().unwrap().values().filter(|event| event.user_id == *user_id).cloned().collect())
    }
    async fn snapshot(&self, id: &EventId) -> Result<Option<Event>, EventError> {
        Ok(self.0.lock().unwrap().get(id).cloned())
    }
    async fn restore(&self, id: &EventId, seen: Option<&Event>, row: Option<&Event>) -> Result<bool, EventError> {
        let mut rows = self.0.lock().unwrap();
        if rows.get(id) != seen {
            return Ok(false);
        }
        match row {
            Some(row) => drop(rows.insert(*id, row.clone())),
            None => drop(rows.remove(id)),
        }
        Ok(true)
    }
    async fn scan(&self, after: Option<Cursor>, limit: usize) -> Result<Page<Event>, EventError> {
        let after = after.map_or(0, |after| after.0.parse::<u64>().unwrap() + 1);
        let rows: Vec<Event> =
            self.0.lock().unwrap().range(EventId(after)..).take(limit).map(|(_, event)| event.clone()).collect();
        let next = rows.last().map(|last| Cursor(last.id.0.to_string())).filter(|_| rows.len() == limit);
        Ok(Page { rows, next })
    }
}

fn event(id: u64, user: u64) -> Event {
    Event { id: EventId(id), user_id: UserId(format!("user-{user}")), text: "hello".to_owned() }
}

#[tokio::test]
async fn events_pass_through_every_stage() {
    let (migration, control) = migration("events", false).await;
    let dao = MigratingEventDao::new(Memory::default(), Memory::default(), migration.clone());
    let mut expected: BTreeMap<EventId, Event> = BTreeMap::new();
    let mut next = 0;
    for position in walk() {
        step(&migration, &control, &position).await;
        for user in 0..20 {
            next += 1;
            let mut new = event(next, user);
            dao.record(&new).await.unwrap();
            dao.amend(&new.user_id, new.id, "amended").await.unwrap();
            dao.shout(&new.user_id, &new.id).await.unwrap();
            new.text = "amended!".to_owned();
            let removed = next % 5 == 0;
            if removed {
                dao.remove(&new.user_id, new.id).await.unwrap();
            } else {
                expected.insert(new.id, new.clone());
            }
            let seen = dao.events_of(&new.user_id).await.unwrap();
            let wanted: Vec<Event> = expected.values().filter(|event| event.user_id == new.user_id).cloned().collect();
            // Rows from before dual-write are not backfilled here: only the source has them, and only there are they missed.
            if position.stages().1.authority() == Side::Source {
                assert_eq!(seen, wanted, "at {position}");
            } else {
                assert!(removed || seen.contains(&new), "at {position}");
            }
        }
        compared(&migration).await;
    }
    let seen = migration.observe();
    assert_eq!(seen.marked, 0);
    assert!(seen.total(|operation| operation.compared) > 0, "{seen:?}");
}

#[tokio::test]
async fn the_rows_of_both_sides_are_read_and_put_one_by_one() {
    let (migration, _control) = migration("events", false).await;
    let dao = MigratingEventDao::new(Memory::default(), Memory::default(), migration);
    let (rows, first) = (dao.rows(), event(1, 1));
    dao.record(&first).await.unwrap();
    assert_eq!(rows.snapshot(Side::Source, &first.id).await.unwrap().as_ref(), Some(&first));
    assert_eq!(rows.snapshot(Side::Target, &first.id).await.unwrap(), None);
    assert!(rows.restore(Side::Target, &first.id, None, Some(&first)).await.unwrap());
    assert!(!rows.restore(Side::Target, &first.id, None, Some(&first)).await.unwrap());
    let page = rows.scan(Side::Target, None, 10).await.unwrap();
    assert_eq!(page, Page { rows: vec![first.clone()], next: None });
    assert_eq!((rows.id_of(&first), rows.key_of(&first)), (EventId(1), "user-1".to_owned()));
}

#[tokio::test]
async fn a_row_method_on_both_sides_at_once_is_refused() {
    let (migration, _control) = migration("events", false).await;
    let dao = MigratingEventDao::new(Memory::default(), Memory::default(), migration);
    let refused = dao.snapshot(&EventId(1)).await.unwrap_err();
    assert!(matches!(refused, EventError::Refused(Refused::OneSide { method: "snapshot" })));
}
