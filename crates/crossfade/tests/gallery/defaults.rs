//! Writes whose mark names no mirror: the safe choice, never a replay (R17).

use crate::stages::migration;
use crossfade::{MarkReason, Migration, Position, Refused, Stage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seat {
    number: u32,
    holder: String,
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct SeatError(#[from] Refused);

/// The rows are known, so that they can be copied.
#[crossfade::dao(refused = SeatError)]
pub(crate) trait Seats {
    /// `false` when somebody else has the seat: what it does depends on the state of its side.
    #[write(key = number)]
    async fn claim(&self, number: u32, holder: &str) -> Result<bool, SeatError>;
    /// How many of the seats were free.
    #[write(keys = seats, key = each.number)]
    async fn claim_all(&self, seats: &[Seat]) -> Result<u32, SeatError>;
    #[write(keys = numbers, mirror = snapshot)]
    async fn claim_for(&self, numbers: Vec<u32>, holder: String) -> Result<u32, SeatError>;
    /// The database chooses.
    #[write(key = hall, row = answer)]
    async fn claim_any(&self, hall: u32, holder: &str) -> Result<u32, SeatError>;
    #[snapshot]
    async fn snapshot(&self, number: u32) -> Result<Option<Seat>, SeatError>;
    #[restore]
    async fn restore(&self, number: u32, seen: Option<&Seat>, row: Option<&Seat>) -> Result<bool, SeatError>;
}

/// The same without rows.
#[crossfade::dao(refused = SeatError)]
pub(crate) trait Bare {
    #[write(key = number)]
    async fn claim(&self, number: u32, holder: &str) -> Result<bool, SeatError>;
    #[write(keys = seats, key = each.number)]
    async fn claim_all(&self, seats: &[Seat]) -> Result<u32, SeatError>;
    #[write(whole)]
    async fn clear(&self) -> Result<u32, SeatError>;
    #[write(whole, mirror = replay)]
    async fn clear_again(&self) -> Result<u32, SeatError>;
}

#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<u32, Seat>>);

impl Memory {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<u32, Seat>> {
        self.0.lock().unwrap()
    }

    fn held_by(&self, holder: &str, numbers: impl IntoIterator<Item = u32>) -> u32 {
        let mut rows = self.rows();
        let mut taken = 0;
        for number in numbers {
            rows.entry(number).or_insert_with(|| {
                taken += 1;
                Seat { number, holder: holder.to_owned() }
            });
        }
        taken
    }
}

impl Seats for Memory {
    async fn claim(&self, number: u32, holder: &str) -> Result<bool, SeatError> {
        Ok(self.held_by(holder, [number]) == 1)
    }
    async fn claim_all(&self, seats: &[Seat]) -> Result<u32, SeatError> {
        Ok(seats.iter().map(|seat| self.held_by(&seat.holder, [seat.number])).sum())
    }
    async fn claim_for(&self, numbers: Vec<u32>, holder: String) -> Result<u32, SeatError> {
        Ok(self.held_by(&holder, numbers))
    }
    async fn claim_any(&self, _: u32, holder: &str) -> Result<u32, SeatError> {
        let number = self.rows().keys().last().map_or(0, |last| last + 1);
        self.held_by(holder, [number]);
        Ok(number)
    }
    async fn snapshot(&self, number: u32) -> Result<Option<Seat>, SeatError> {
        Ok(self.rows().get(&number).cloned())
    }
    async fn restore(&self, number: u32, seen: Option<&Seat>, row: Option<&Seat>) -> Result<bool, SeatError> {
        let mut rows = self.rows();
        if rows.get(&number) != seen {
            return Ok(false);
        }
        match row {
            Some(row) => rows.insert(number, row.clone()),
            None => rows.remove(&number),
        };
        Ok(true)
    }
}

impl Bare for Memory {
    async fn claim(&self, number: u32, holder: &str) -> Result<bool, SeatError> {
        Seats::claim(self, number, holder).await
    }
    async fn claim_all(&self, seats: &[Seat]) -> Result<u32, SeatError> {
        Seats::claim_all(self, seats).await
    }
    async fn clear(&self) -> Result<u32, SeatError> {
        let gone = std::mem::take(&mut *self.rows());
        Ok(u32::try_from(gone.len()).unwrap())
    }
    async fn clear_again(&self) -> Result<u32, SeatError> {
        self.clear().await
    }
}

/// Ada has seats 1 and 2, from before the target was written too.
async fn ada_has_seats_1_and_2_in_the_source() -> (Migration, Arc<Memory>, Arc<Memory>) {
    let (migration, control) = migration("seats", false).await;
    let (source, target) = (Arc::new(Memory::default()), Arc::new(Memory::default()));
    source.held_by("ada", [1, 2]);
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    (migration, source, target)
}

#[tokio::test]
async fn a_write_that_answers_false_is_not_done_on_the_other_side() {
    let (migration, source, target) = ada_has_seats_1_and_2_in_the_source().await;
    let dao = MigratingSeats::from_arcs(source.clone(), target.clone(), migration.clone());
    assert!(!dao.claim(1, "grace").await.unwrap(), "ada has it");
    // A replay would have given it to grace, without a mark.
    assert_eq!(target.rows().get(&1), source.rows().get(&1));
    assert_eq!(dao.claim_any(1, "grace").await.unwrap(), 3);
    assert_eq!(target.rows().get(&3).map(|seat| &*seat.holder), Some("grace"));
    assert!(migration.converged(Duration::from_secs(5)).await);
    let seen = migration.observe();
    assert_eq!((seen.total(|seen| seen.marked), seen.everything_suspect), (0, false), "{seen:?}");
}

#[tokio::test]
async fn a_batch_is_copied_row_by_row() {
    let (migration, source, target) = ada_has_seats_1_and_2_in_the_source().await;
    let dao = MigratingSeats::from_arcs(source.clone(), target.clone(), migration.clone());
    let seats = [1, 5, 6].map(|number| Seat { number, holder: "grace".to_owned() });
    assert_eq!(dao.claim_all(&seats).await.unwrap(), 2);
    assert_eq!(dao.claim_for(vec![2, 6, 7], "kay".to_owned()).await.unwrap(), 1);
    assert_eq!(dao.claim_all(&[]).await.unwrap(), 0);
    assert!(migration.converged(Duration::from_secs(5)).await);
    let holders: Vec<(u32, String)> = target.rows().values().map(|seat| (seat.number, seat.holder.clone())).collect();
    let wanted = [(1, "ada"), (2, "ada"), (5, "grace"), (6, "grace"), (7, "kay")];
    assert_eq!(holders, wanted.map(|(number, holder)| (number, holder.to_owned())));
    assert_eq!(*source.rows(), *target.rows());
    let seen = migration.observe();
    assert_eq!((seen.total(|seen| seen.marked), seen.repaired), (0, 0), "the rows were copied, not repaired: {seen:?}");
    // A row that is there twice has no order of its own: it is marked, and repaired.
    let twice = [9, 9].map(|number| Seat { number, holder: "kay".to_owned() });
    assert_eq!(dao.claim_all(&twice).await.unwrap(), 1);
    assert!(migration.converged(Duration::from_secs(5)).await);
    assert_eq!(*source.rows(), *target.rows());
}

#[tokio::test]
async fn without_rows_to_copy_a_write_marks_its_rows_each_time() {
    let (migration, source, target) = ada_has_seats_1_and_2_in_the_source().await;
    let dao = MigratingBare::from_arcs(source, target, migration.clone());
    dao.claim(1, "grace").await.unwrap();
    dao.claim_all(&[Seat { number: 8, holder: "kay".to_owned() }]).await.unwrap();
    migration.converged(Duration::from_millis(50)).await;
    let mut marks: Vec<_> = migration.marks().into_iter().map(|mark| (mark.id.row.clone(), mark.reasons)).collect();
    marks.sort_by(|a, b| a.0.cmp(&b.0));
    let guessed = |row: &str| (row.into(), vec![MarkReason::Replayed]);
    assert_eq!(marks, [guessed("1"), guessed("8")]);
    assert!(!migration.observe().everything_suspect);
}

#[tokio::test]
async fn a_whole_write_leaves_doubt_unless_replay_is_asked_for() {
    let (migration, source, target) = ada_has_seats_1_and_2_in_the_source().await;
    let dao = MigratingBare::from_arcs(source, target, migration.clone());
    dao.clear_again().await.unwrap();
    migration.drain(Duration::from_secs(1)).await;
    assert!(!migration.observe().everything_suspect);
    dao.clear().await.unwrap();
    migration.drain(Duration::from_secs(1)).await;
    assert!(migration.observe().everything_suspect);
}
