//! Keys that the authority makes (R17): the row is named by its answer.

use crate::stages::{compared, migration, step, walk};
use crossfade::{Effect, Key, Position, Refused, Stage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Key)]
pub(crate) struct TicketId(u64);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ticket {
    id: TicketId,
    user: String,
    text: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TicketError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the connection was lost")]
    Lost,
}

fn effect(error: &TicketError) -> Effect {
    match error {
        TicketError::Refused(_) => Effect::Refused,
        TicketError::Lost => Effect::Unknown,
    }
}

#[crossfade::dao(refused = TicketError::Refused, effect = effect)]
pub(crate) trait Tickets {
    #[write(key = user, row = answer.id, mirror = value(put))]
    async fn open(&self, user: &str, text: &str) -> Result<Ticket, TicketError>;
    #[write(key = user, row = answer, mirror = snapshot)]
    async fn reopen(&self, user: String) -> Result<TicketId, TicketError>;
    #[write(key = ticket.user, row = ticket.id, mirror = replay)]
    async fn put(&self, ticket: &Ticket) -> Result<(), TicketError>;
    #[read(key = user)]
    async fn tickets_of(&self, user: &str) -> Result<Vec<Ticket>, TicketError>;
    #[snapshot]
    async fn snapshot(&self, id: TicketId) -> Result<Option<Ticket>, TicketError>;
    #[restore]
    async fn restore(&self, id: TicketId, seen: Option<&Ticket>, row: Option<&Ticket>) -> Result<bool, TicketError>;
}

#[derive(Debug, Default)]
struct Memory {
    rows: Mutex<BTreeMap<TicketId, Ticket>>,
    next: AtomicU64,
    /// Puts are forgotten, though they answer well.
    forgetful: bool,
    /// An insert that says `slow` announces itself on the first and waits for the second.
    begun: Notify,
    go_on: Notify,
}

impl Memory {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<TicketId, Ticket>> {
        self.rows.lock().unwrap()
    }

    /// The two sides count apart: a replay would make another id.
    fn from(next: u64) -> Memory {
        Memory { next: AtomicU64::new(next), ..Memory::default() }
    }
}

impl Tickets for Memory {
    async fn open(&self, user: &str, text: &str) -> Result<Ticket, TicketError> {
        if text == "lost" {
            return Err(TicketError::Lost);
        }
        assert!(text != "panic", "on purpose");
        if text == "slow" {
            self.begun.notify_one();
            self.go_on.notified().await;
        }
        let id = TicketId(self.next.fetch_add(1, Ordering::Relaxed));
        let ticket = Ticket { id, user: user.to_owned(), text: text.to_owned() };
        self.rows().insert(id, ticket.clone());
        Ok(ticket)
    }
    async fn reopen(&self, user: String) -> Result<TicketId, TicketError> {
        let text = if user == "slow" { "slow" } else { "again" };
        Ok(self.open(&user, text).await?.id)
    }
    async fn put(&self, ticket: &Ticket) -> Result<(), TicketError> {
        if !self.forgetful {
            self.rows().insert(ticket.id, ticket.clone());
        }
        Ok(())
    }
    async fn tickets_of(&self, user: &str) -> Result<Vec<Ticket>, TicketError> {
        Ok(self.rows().values().filter(|ticket| ticket.user == user).cloned().collect())
    }
    async fn snapshot(&self, id: TicketId) -> Result<Option<Ticket>, TicketError> {
        Ok(self.rows().get(&id).cloned())
    }
    async fn restore(&self, id: TicketId, seen: Option<&Ticket>, row: Option<&Ticket>) -> Result<bool, TicketError> {
        let mut rows = self.rows();
        if rows.get(&id) != seen {
            return Ok(false);
        }
        match row {
            Some(row) => rows.insert(id, row.clone()),
            None => rows.remove(&id),
        };
        Ok(true)
    }
}

#[tokio::test]
async fn tickets_whose_ids_the_database_makes_pass_through_every_stage() {
    let (migration, control) = migration("tickets", false).await;
    let (source, target) = (Arc::new(Memory::from(1)), Arc::new(Memory::from(1_000_000)));
    let dao = MigratingTickets::from_arcs(source.clone(), target.clone(), migration.clone());
    for (place, position) in walk().into_iter().enumerate() {
        step(&migration, &control, &position).await;
        for user in (0..20).map(|user| format!("{place}-{user}")) {
            let opened = dao.open(&user, "help").await.unwrap();
            let reopened = dao.reopen(user.clone()).await.unwrap();
            let ids: Vec<TicketId> = dao.tickets_of(&user).await.unwrap().iter().map(|ticket| ticket.id).collect();
            assert_eq!(ids, [opened.id, reopened], "at {position}");
            if migration.stage_of(&user).unwrap().is_mirrored() {
                assert_eq!(source.tickets_of(&user).await.unwrap(), target.tickets_of(&user).await.unwrap());
            }
        }
        compared(&migration).await;
    }
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
    assert!(!seen.everything_suspect);
}

#[tokio::test]
async fn a_new_row_is_checked_every_time_and_repaired() {
    let (migration, control) = migration("tickets", false).await;
    let target = Arc::new(Memory { forgetful: true, ..Memory::default() });
    let dao = MigratingTickets::from_arcs(Arc::new(Memory::from(7)), target.clone(), migration.clone());
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    let ticket = dao.open("ada", "help").await.unwrap();
    assert!(migration.converged(Duration::from_secs(5)).await);
    let seen = migration.observe();
    assert_eq!((seen.total(|seen| seen.checks_differed), seen.repaired), (1, 1), "{seen:?}");
    assert_eq!(target.snapshot(ticket.id).await.unwrap(), Some(ticket));
}

#[tokio::test]
async fn an_id_that_was_never_learnt_makes_everything_suspect() {
    let (migration, control) = migration("tickets", false).await;
    let dao = MigratingTickets::new(Memory::default(), Memory::default(), migration.clone());
    dao.open("ada", "lost").await.unwrap_err();
    assert!(!migration.observe().everything_suspect, "one side alone has nothing to differ from");
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    dao.open("ada", "lost").await.unwrap_err();
    assert!(migration.observe().everything_suspect);
    assert_eq!(migration.marks(), []);
}

#[tokio::test]
async fn a_caller_that_goes_away_during_the_insert_leaves_no_doubt() {
    let (migration, control) = migration("tickets", false).await;
    let (source, target) = (Arc::new(Memory::from(7)), Arc::new(Memory::default()));
    let dao = MigratingTickets::from_arcs(source.clone(), target.clone(), migration.clone());
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    // The request is cancelled while the database makes the id: once by a mirrored value, once by a copy.
    for (place, begin) in [true, false].into_iter().enumerate() {
        let call = async {
            if begin { drop(dao.open("ada", "slow").await) } else { drop(dao.reopen("slow".to_owned()).await) }
        };
        tokio::select! {
            biased;
            () = call => panic!("nothing lets it go on"),
            () = source.begun.notified() => {}
        }
        source.go_on.notify_one();
        let inserted = async {
            while source.rows().len() == place {
                tokio::task::yield_now().await;
            }
        };
        assert!(
            tokio::time::timeout(Duration::from_secs(5), inserted).await.is_ok(),
            "the insert went with its caller"
        );
        migration.drain(Duration::from_secs(5)).await;
        let seen = migration.observe();
        assert_eq!((seen.everything_suspect, seen.total(|seen| seen.marked)), (false, 0), "{seen:?}");
        assert_eq!(*source.rows(), *target.rows());
    }
}

#[tokio::test]
async fn a_panic_of_the_authority_during_the_insert_reaches_the_caller() {
    let (migration, control) = migration("tickets", false).await;
    let dao = MigratingTickets::new(Memory::from(7), Memory::default(), migration.clone());
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    let open = std::panic::AssertUnwindSafe(dao.open("ada", "panic"));
    let panic = futures::FutureExt::catch_unwind(open).await.map(drop).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    assert!(migration.observe().everything_suspect, "an id may have been made");
}
