//! Batches whose ids the authority makes (R17, R24): the rows are named by its answer, however many there are.

use crate::stages::{compared, migration, step, walk};
use crossfade::plan::Control;
use crossfade::{Effect, Key, Migration, Position, Refused, Side, Stage};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Key)]
pub(crate) struct OrderId(u64);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft(&'static str);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    id: OrderId,
    user: String,
    text: String,
}

/// An answer that holds its rows beside something else.
#[derive(Debug, Clone)]
pub(crate) struct Created {
    ids: Vec<OrderId>,
    left_out: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the row was refused")]
    Definite,
    #[error("the connection was lost")]
    Lost,
}

fn effect(error: &OrderError) -> Effect {
    match error {
        OrderError::Refused(_) | OrderError::Definite => Effect::Refused,
        OrderError::Lost => Effect::Unknown,
    }
}

#[crossfade::dao(refused = OrderError::Refused, effect = effect)]
pub(crate) trait Orders {
    #[write(key = user, rows = answer, row = each.id, mirror = value(put_all))]
    async fn create_many(&self, user: &str, drafts: &[Draft]) -> Result<Vec<Order>, OrderError>;
    #[write(key = user, rows = answer, row = each.id, mirror = value(put_with(each, note)))]
    async fn create_noted(&self, user: &str, drafts: &[Draft], note: String) -> Result<Vec<Order>, OrderError>;
    #[write(key = user, rows = answer.ids)]
    async fn create_some(&self, user: &str, drafts: &[Draft], at_most: usize) -> Result<Created, OrderError>;
    #[write(keys = orders, key = each.user, row = each.id, mirror = replay)]
    async fn put_all(&self, orders: &[Order]) -> Result<(), OrderError>;
    #[write(key = order.user, row = order.id, mirror = replay)]
    async fn put_with(&self, order: &Order, note: String) -> Result<(), OrderError>;
    #[write(whole, mirror = replay)]
    async fn delete_all(&self, text: &str) -> Result<u64, OrderError>;
    #[read(key = user)]
    async fn orders_of(&self, user: &str) -> Result<Vec<Order>, OrderError>;
    #[snapshot]
    async fn snapshot(&self, id: OrderId) -> Result<Option<Order>, OrderError>;
    #[restore]
    async fn restore(&self, id: OrderId, seen: Option<&Order>, row: Option<&Order>) -> Result<bool, OrderError>;
}

#[derive(Debug, Default)]
struct Memory {
    rows: Mutex<BTreeMap<OrderId, Order>>,
    next: AtomicU64,
    /// A put of a row with this text is refused, or forgotten though it answers well.
    refuses: AtomicBool,
    forgets: AtomicBool,
    /// An insert of `slow` announces itself on the first and waits for the second.
    begun: Notify,
    go_on: Notify,
}

impl Memory {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<OrderId, Order>> {
        self.rows.lock().unwrap()
    }

    /// The two sides count apart: a replay would make other ids.
    fn from(next: u64) -> Arc<Memory> {
        Arc::new(Memory { next: AtomicU64::new(next), ..Memory::default() })
    }

    fn put(&self, order: &Order) -> Result<(), OrderError> {
        if order.text == "bad" && self.refuses.load(Ordering::SeqCst) {
            return Err(OrderError::Definite);
        }
        if order.text != "bad" || !self.forgets.load(Ordering::SeqCst) {
            self.rows().insert(order.id, order.clone());
        }
        Ok(())
    }
}

impl Orders for Memory {
    async fn create_many(&self, user: &str, drafts: &[Draft]) -> Result<Vec<Order>, OrderError> {
        let mut made = Vec::new();
        for Draft(text) in drafts {
            if *text == "slow" {
                self.begun.notify_one();
                self.go_on.notified().await;
            }
            if *text == "lost" {
                return Err(OrderError::Lost);
            }
            let id = OrderId(self.next.fetch_add(1, Ordering::SeqCst));
            let order = Order { id, user: user.to_owned(), text: (*text).to_owned() };
            self.rows().insert(id, order.clone());
            made.push(order);
        }
        Ok(made)
    }
    async fn create_noted(&self, user: &str, drafts: &[Draft], note: String) -> Result<Vec<Order>, OrderError> {
        let made = self.create_many(user, drafts).await?;
        self.rows().values_mut().filter(|order| made.contains(order)).for_each(|order| order.text += &note);
        Ok(made)
    }
    async fn create_some(&self, user: &str, drafts: &[Draft], at_most: usize) -> Result<Created, OrderError> {
        let made = self.create_many(user, &drafts[..at_most.min(drafts.len())]).await?;
        let ids: Vec<OrderId> = made.iter().map(|order| order.id).collect();
        Ok(Created { left_out: drafts.len() - ids.len(), ids })
    }
    async fn put_all(&self, orders: &[Order]) -> Result<(), OrderError> {
        assert!(!orders.is_empty(), "there is nothing to put");
        // As a store that takes what it can of a batch.
        orders.iter().map(|order| self.put(order)).fold(Ok(()), Result::and)
    }
    async fn put_with(&self, order: &Order, note: String) -> Result<(), OrderError> {
        let text = order.text.clone() + &note;
        self.put(&Order { text, ..order.clone() })
    }
    async fn delete_all(&self, text: &str) -> Result<u64, OrderError> {
        let mut rows = self.rows();
        let before = rows.len();
        rows.retain(|_, order| order.text != text);
        Ok((before - rows.len()) as u64)
    }
    async fn orders_of(&self, user: &str) -> Result<Vec<Order>, OrderError> {
        Ok(self.rows().values().filter(|order| order.user == user).cloned().collect())
    }
    async fn snapshot(&self, id: OrderId) -> Result<Option<Order>, OrderError> {
        Ok(self.rows().get(&id).cloned())
    }
    async fn restore(&self, id: OrderId, seen: Option<&Order>, row: Option<&Order>) -> Result<bool, OrderError> {
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

/// A migration at a stage, and its two sides by role: the authority first.
struct World {
    migration: Migration,
    dao: MigratingOrders<Memory, Memory>,
    authority: Arc<Memory>,
    secondary: Arc<Memory>,
    _control: Control,
}

async fn world(stage: Stage) -> World {
    let (migration, control) = migration("orders", true).await;
    let (source, target) = (Memory::from(1), Memory::from(1_000_000));
    let dao = MigratingOrders::from_arcs(source.clone(), target.clone(), migration.clone());
    for position in walk().into_iter().filter(|position| position.ramp().is_none()) {
        step(&migration, &control, &position).await;
        if position == Position::at(stage) {
            break;
        }
    }
    let (authority, secondary) = if stage.authority() == Side::Source { (source, target) } else { (target, source) };
    World { migration, dao, authority, secondary, _control: control }
}

/// Every mirrored stage of either authority.
const STAGES: [Stage; 2] = [Stage::DualWrite, Stage::Live];

fn drafts(texts: &[&'static str]) -> Vec<Draft> {
    texts.iter().map(|text| Draft(text)).collect()
}

#[tokio::test]
async fn batches_whose_ids_the_database_makes_pass_through_every_stage() {
    let (migration, control) = migration("orders", false).await;
    let (source, target) = (Memory::from(1), Memory::from(1_000_000));
    let dao = MigratingOrders::from_arcs(source.clone(), target.clone(), migration.clone());
    for (place, position) in walk().into_iter().enumerate() {
        step(&migration, &control, &position).await;
        for user in (0..20).map(|user| format!("{place}-{user}")) {
            let mut made: Vec<OrderId> = Vec::new();
            let many = dao.create_many(&user, &drafts(&["a", "b", "c"])).await.unwrap();
            made.extend(many.iter().map(|order| order.id));
            let noted = dao.create_noted(&user, &drafts(&["d", "e"]), "!".to_owned()).await.unwrap();
            made.extend(noted.iter().map(|order| order.id));
            let some = dao.create_some(&user, &drafts(&["f", "g", "h"]), 2).await.unwrap();
            assert_eq!(some.left_out, 1);
            made.extend(&some.ids);
            assert_eq!(dao.create_many(&user, &[]).await.unwrap(), []);
            let orders = dao.orders_of(&user).await.unwrap();
            assert_eq!(orders.iter().map(|order| order.id).collect::<Vec<_>>(), made, "at {position}");
            let texts: Vec<&str> = orders.iter().map(|order| &*order.text).collect();
            assert_eq!(texts, ["a", "b", "c", "d!", "e!", "f", "g"], "at {position}");
            if migration.stage_of(&user).unwrap().is_mirrored() {
                assert_eq!(source.orders_of(&user).await.unwrap(), target.orders_of(&user).await.unwrap());
            }
        }
        compared(&migration).await;
    }
    let seen = migration.observe();
    assert_eq!((seen.total(|operation| operation.mismatched), seen.marked), (0, 0), "{seen:?}");
    assert!(!seen.everything_suspect);
}

#[tokio::test]
async fn a_secondary_that_refuses_one_row_of_a_batch_leaves_it_marked_and_repaired() {
    for stage in STAGES {
        for each in [false, true] {
            let World { migration, dao, authority, secondary, .. } = world(stage).await;
            secondary.refuses.store(true, Ordering::SeqCst);
            let texts = drafts(&["a", "bad", "c"]);
            let made = if each {
                dao.create_noted("ada", &texts, String::new()).await.unwrap()
            } else {
                dao.create_many("ada", &texts).await.unwrap()
            };
            // The rows before and after it are there all the same.
            let there = |place: usize| secondary.rows().contains_key(&made[place].id);
            assert_eq!(migration.observe().total(|seen| seen.secondary_errors), 1);
            assert!(there(0) && there(2), "at {stage}");
            assert!(migration.converged(Duration::from_secs(5)).await);
            let seen = migration.observe();
            assert_eq!((seen.repaired, seen.everything_suspect), (1, false), "at {stage}: {seen:?}");
            assert_eq!(*authority.rows(), *secondary.rows());
        }
    }
}

#[tokio::test]
async fn every_row_of_a_batch_is_checked() {
    for stage in STAGES {
        let World { migration, dao, authority, secondary, .. } = world(stage).await;
        secondary.forgets.store(true, Ordering::SeqCst);
        dao.create_many("ada", &drafts(&["a", "b", "bad"])).await.unwrap();
        migration.drain(Duration::from_secs(5)).await;
        assert!(migration.converged(Duration::from_secs(5)).await);
        let seen = migration.observe();
        assert_eq!((seen.total(|seen| seen.checked), seen.total(|seen| seen.checks_differed)), (3, 1), "{seen:?}");
        assert_eq!(*authority.rows(), *secondary.rows());
    }
}

#[tokio::test]
async fn a_batch_whose_ids_were_never_learnt_makes_its_table_suspect() {
    for stage in STAGES {
        let World { migration, dao, authority, secondary, .. } = world(stage).await;
        // One row was made before the connection was lost.
        dao.create_many("ada", &drafts(&["a", "lost"])).await.unwrap_err();
        assert_ne!(*authority.rows(), *secondary.rows());
        assert!(migration.observe().everything_suspect, "at {stage}");
        assert_eq!(migration.marks(), []);
    }
}

#[tokio::test]
async fn a_request_that_is_cancelled_during_a_batch_leaves_no_doubt() {
    for stage in STAGES {
        let World { migration, dao, authority, secondary, .. } = world(stage).await;
        for (place, copied) in [false, true].into_iter().enumerate() {
            let texts = drafts(&["a", "slow", "c"]);
            let call = async {
                if copied {
                    drop(dao.create_some("ada", &texts, 3).await);
                } else {
                    drop(dao.create_many("ada", &texts).await);
                }
            };
            tokio::select! {
                biased;
                () = call => panic!("nothing lets it go on"),
                () = authority.begun.notified() => {}
            }
            authority.go_on.notify_one();
            let inserted = async {
                while authority.rows().len() < (place + 1) * 3 {
                    tokio::task::yield_now().await;
                }
            };
            assert!(tokio::time::timeout(Duration::from_secs(5), inserted).await.is_ok(), "it went with its caller");
            migration.drain(Duration::from_secs(5)).await;
            let seen = migration.observe();
            assert_eq!((seen.everything_suspect, seen.total(|seen| seen.marked)), (false, 0), "at {stage}: {seen:?}");
            assert_eq!(*authority.rows(), *secondary.rows());
        }
    }
}

#[tokio::test]
async fn a_predicate_write_beside_a_batch_makes_its_table_suspect() {
    for stage in STAGES {
        let World { migration, dao, authority, .. } = world(stage).await;
        let texts = drafts(&["old", "slow", "old"]);
        let batch = dao.create_many("ada", &texts);
        let during = async {
            authority.begun.notified().await;
            dao.delete_all("old").await.unwrap();
            authority.go_on.notify_one();
        };
        let (made, ()) = tokio::join!(batch, during);
        made.unwrap();
        migration.drain(Duration::from_secs(5)).await;
        assert!(migration.observe().everything_suspect, "at {stage}");
    }
}

#[tokio::test]
async fn a_write_of_a_row_that_a_batch_is_about_to_name_marks_it() {
    for stage in STAGES {
        let World { migration, dao, authority, secondary, .. } = world(stage).await;
        let batch_of = drafts(&["a", "slow", "c"]);
        let batch = dao.create_many("ada", &batch_of);
        let during = async {
            authority.begun.notified().await;
            // Somebody has seen the first row of the batch, and changes it.
            let first = authority.rows().values().next().unwrap().clone();
            dao.put_with(&first, " changed".to_owned()).await.unwrap();
            authority.go_on.notify_one();
        };
        let (made, ()) = tokio::join!(batch, during);
        made.unwrap();
        migration.drain(Duration::from_secs(5)).await;
        let seen = migration.observe();
        let (marked, differed) = (seen.total(|seen| seen.marked), seen.total(|seen| seen.checks_differed));
        assert_eq!((marked, differed), (1, 0), "at {stage}: the overlap is known, and no check has to find it");
        assert!(migration.converged(Duration::from_secs(5)).await);
        assert_eq!(*authority.rows(), *secondary.rows());
        assert!(!migration.observe().everything_suspect);
    }
}

#[tokio::test]
async fn a_row_of_a_batch_without_a_key_leaves_its_table_suspect_to_the_end() {
    let (migration, control) = migration("orders", false).await;
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    let operation = migration.operation("create");
    let go_on = Arc::new(Notify::new());
    let ticket = operation.begin_write_of_new("ada").await.unwrap();
    let call = async { Ok::<_, OrderError>(vec![Some(7u64), None]) };
    let mirror = |_: &Vec<Option<u64>>, _| {
        let go_on = Arc::clone(&go_on);
        async move {
            go_on.notified().await;
            Ok(())
        }
    };
    let made = ticket.mirrored_new_rows(crossfade::Mirror::State, effect, call, Clone::clone, effect, mirror);
    let during = async {
        let suspected = async {
            while !migration.observe().everything_suspect {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(5), suspected).await.is_ok(), "nobody suspects the table");
        // A verification passes before the secondary has the row.
        assert!(migration.begin_verification().passed());
        go_on.notify_one();
    };
    let (made, ()) = tokio::join!(made, during);
    made.unwrap();
    migration.drain(Duration::from_secs(5)).await;
    assert!(migration.observe().everything_suspect, "that verification has not seen it");
}
