//! Values that the authority makes (R17): handed over, copied, or guessed and marked.

use crate::stages::{compared, migration, step, walk};
use crossfade::{Key, MarkReason, Position, Refused, Stage};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Key)]
pub(crate) struct CounterId(u32);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counter {
    id: CounterId,
    value: i64,
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct CounterError(#[from] Refused);

#[crossfade::dao(refused = CounterError)]
pub(crate) trait Counters {
    /// The new value goes to the other side, with the argument that says whose it is.
    #[write(key = id, mirror = value(set(id, *answer)))]
    async fn add(&self, id: CounterId, by: i64) -> Result<i64, CounterError>;
    /// The answer is the whole row.
    #[write(key = id, mirror = value(put))]
    async fn double(&self, id: CounterId) -> Result<Counter, CounterError>;
    #[write(key = id, mirror = value(keep))]
    async fn negate(&self, id: CounterId) -> Result<Counter, CounterError>;
    #[write(key = id, mirror = replay)]
    async fn set(&self, id: CounterId, value: i64) -> Result<(), CounterError>;
    #[write(key = counter.id, mirror = replay)]
    async fn put(&self, counter: &Counter) -> Result<(), CounterError>;
    #[write(key = counter.id, mirror = replay)]
    async fn keep(&self, counter: Counter) -> Result<(), CounterError>;
    #[read(key = id)]
    async fn value(&self, id: CounterId) -> Result<i64, CounterError>;
}

#[derive(Debug, Default)]
struct Memory {
    counters: Mutex<BTreeMap<CounterId, i64>>,
    /// Operations on state that this side made up by itself.
    own: Mutex<u32>,
}

impl Memory {
    fn change(&self, id: CounterId, change: impl Fn(i64) -> i64) -> i64 {
        *self.own.lock().unwrap() += 1;
        let mut counters = self.counters.lock().unwrap();
        let value = counters.entry(id).or_default();
        *value = change(*value);
        *value
    }
}

impl Counters for Memory {
    async fn add(&self, id: CounterId, by: i64) -> Result<i64, CounterError> {
        Ok(self.change(id, |value| value + by))
    }
    async fn double(&self, id: CounterId) -> Result<Counter, CounterError> {
        Ok(Counter { id, value: self.change(id, |value| value * 2) })
    }
    async fn negate(&self, id: CounterId) -> Result<Counter, CounterError> {
        Ok(Counter { id, value: self.change(id, |value| -value) })
    }
    async fn set(&self, id: CounterId, value: i64) -> Result<(), CounterError> {
        self.counters.lock().unwrap().insert(id, value);
        Ok(())
    }
    async fn put(&self, counter: &Counter) -> Result<(), CounterError> {
        self.set(counter.id, counter.value).await
    }
    async fn keep(&self, counter: Counter) -> Result<(), CounterError> {
        self.set(counter.id, counter.value).await
    }
    async fn value(&self, id: CounterId) -> Result<i64, CounterError> {
        Ok(self.counters.lock().unwrap().get(&id).copied().unwrap_or_default())
    }
}

#[tokio::test]
async fn counters_pass_through_every_stage_without_losing_an_increment() {
    let (migration, control) = migration("counters", false).await;
    let dao = MigratingCounters::new(Memory::default(), Memory::default(), migration.clone());
    let mut expected = BTreeMap::new();
    for (place, position) in walk().into_iter().enumerate() {
        step(&migration, &control, &position).await;
        for id in (0..30).map(CounterId) {
            if place == 1 {
                // History: what was counted at `off` comes over with the first write of each counter.
                expected.entry(id).or_insert(0);
            }
            let value: &mut i64 = expected.entry(id).or_default();
            *value += 3;
            assert_eq!(dao.add(id, 3).await.unwrap(), *value, "at {position}");
            *value *= -2;
            assert_eq!(dao.double(id).await.unwrap().value, -*value);
            assert_eq!(dao.negate(id).await.unwrap().value, *value);
            assert_eq!(dao.value(id).await.unwrap(), *value);
        }
        compared(&migration).await;
    }
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
    assert!(seen.total(|operation| operation.matched) > 0);
}

#[tokio::test]
async fn only_the_authority_counts() {
    let (migration, control) = migration("counters", false).await;
    let (source, target) = (std::sync::Arc::new(Memory::default()), std::sync::Arc::new(Memory::default()));
    let dao = MigratingCounters::from_arcs(source.clone(), target.clone(), migration);
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    dao.set(CounterId(1), 5).await.unwrap();
    assert_eq!(dao.add(CounterId(1), 2).await.unwrap(), 7);
    assert_eq!(dao.double(CounterId(1)).await.unwrap().value, 14);
    assert_eq!((*source.own.lock().unwrap(), *target.own.lock().unwrap()), (2, 0));
    assert_eq!(target.value(CounterId(1)).await.unwrap(), 14);
}

#[crossfade::dao(refused = CounterError)]
pub(crate) trait Dice {
    #[write(key = id, mirror = guess)]
    async fn roll(&self, id: CounterId) -> Result<u32, CounterError>;
}

impl Dice for Memory {
    async fn roll(&self, _: CounterId) -> Result<u32, CounterError> {
        *self.own.lock().unwrap() += 1;
        Ok(4)
    }
}

#[tokio::test]
async fn a_guess_leaves_its_row_marked() {
    let (migration, control) = migration("dice", false).await;
    let dao = MigratingDice::new(Memory::default(), Memory::default(), migration.clone());
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    dao.roll(CounterId(6)).await.unwrap();
    migration.converged(Duration::from_millis(50)).await;
    let marks = migration.marks();
    assert_eq!((&*marks[0].id.row, marks[0].reasons.as_slice()), ("6", [MarkReason::Replayed].as_slice()));
}
