//! Uses of the library that nobody recommends and that must lose nothing all the same.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use crossfade::key::{Key, ParseKey};
use crossfade::plan::{PlanSource, PlanSourceError, Sharing, Steward};
use crossfade::rows::RowPair;
use crossfade::{Migration, Mirror, Operation, Options, Plan, PlanSpec, Position, Revision, Side, Stage};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Error, Fault, Pair, effect, migration, migration_with};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

const LONG: Duration = Duration::from_secs(120);

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// A dual write of row `id`. The row is its own cohort key.
async fn put(operation: &Operation, pair: &Pair, id: u64, value: &str) -> Result<(), Error> {
    let ticket = operation.begin_write(&id, &id).await.map_err(Error::Refused)?;
    let authority = pair.on(ticket.authority());
    let (ours, theirs) = (value.to_owned(), value.to_owned());
    if !ticket.is_mirrored() {
        return ticket.single(effect, authority.put(id, ours)).await;
    }
    let mirror = |(): &(), side| pair.on(side).put(id, theirs);
    ticket.mirrored(Mirror::State, effect, authority.put(id, ours), mirror).await
}

// --------------------------------------------------------------------------------------- the wrong end of a ticket (R5)

#[tokio::test(start_paused = true)]
async fn a_mirrored_ticket_that_writes_one_side_only_leaves_its_row_marked() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    let ticket = operation.begin_write(&1u64, &1u64).await.unwrap();
    assert!(ticket.is_mirrored());
    ticket.single(effect, pair.on(Side::Source).put(1, "1:a".into())).await.unwrap();
    assert_eq!(migration.marks().len(), 1, "the target does not have the row");
    migration.attach_rows(pair.clone());
    assert!(migration.converged(LONG).await);
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn a_mirrored_ticket_that_writes_one_side_and_is_refused_there_marks_nothing() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    pair.source.fault(Fault::RefuseBefore);
    let ticket = operation.begin_write(&1u64, &1u64).await.unwrap();
    let answer = ticket.single(effect, pair.on(Side::Source).put(1, "1:a".into())).await;
    assert_eq!(answer, Err(Error::Definite));
    assert!(migration.marks().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_insert_whose_row_is_never_named_leaves_its_table_suspect() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    migration.attach_rows(pair.clone());
    let (insert, write) = (migration.operation("insert"), migration.operation("put"));
    let ticket = insert.begin_write_of_new(&1u64).await.unwrap();
    pair.target.fault(Fault::Slow(Duration::from_secs(3)));
    // `mirrored` where `mirrored_new` is meant: nobody says which row the database has made.
    let mirror = |(): &(), side| pair.on(side).put(7, "7:first".into());
    ticket.mirrored(Mirror::State, effect, pair.on(Side::Source).put(7, "7:first".into()), mirror).await.unwrap();
    put(&write, &pair, 7, "7:second").await.unwrap();
    sleep(LONG).await;
    assert!(!pair.equal(), "the insert landed on the target after the put");
    assert!(migration.observe().everything_suspect, "and somebody has to know");
}

#[tokio::test(start_paused = true)]
async fn an_insert_that_is_refused_before_its_row_is_named_raises_no_doubt() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let insert = migration.operation("insert");
    let ticket = insert.begin_write_of_new(&1u64).await.unwrap();
    pair.source.fault(Fault::RefuseBefore);
    let mirror = |(): &(), side| pair.on(side).put(7, "7:first".into());
    let call = pair.on(Side::Source).put(7, "7:first".into());
    assert_eq!(ticket.mirrored(Mirror::State, effect, call, mirror).await, Err(Error::Definite));
    drop(insert.begin_write_of_new(&1u64).await.unwrap());
    assert!(!migration.observe().everything_suspect && migration.marks().is_empty());
}

// ------------------------------------------------------------------------------------- marks that must come to an end

#[tokio::test(start_paused = true)]
async fn marks_that_nobody_can_repair_end_with_the_targets_claim() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    pair.target.fault(Fault::RefuseBefore);
    put(&operation, &pair, 1, "1:a").await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(migration.marks().len(), 1, "no rows are attached");
    control.advance(Position::at(Stage::Off)).await.unwrap();
    assert!(migration.converged(LONG).await, "the rows are not held equal any more");
    assert!(migration.marks().is_empty());
}

/// A row key that cannot be read back.
#[derive(Debug, Clone)]
struct Sullen(u64);

impl Key for Sullen {
    fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        self.0.with_text(use_text)
    }
}

impl ParseKey for Sullen {
    fn parse_key(text: &str) -> Option<Sullen> {
        let number = text.parse().unwrap();
        assert_ne!(number, 13, "on purpose: this one is never read back");
        Some(Sullen(number))
    }
}

/// [`Pair`] with such keys, and with calls that panic before they have made a future.
struct SullenPair {
    pair: Pair,
    panics: Arc<AtomicBool>,
}

impl RowPair for SullenPair {
    type Id = Sullen;
    type Row = String;
    type Error = Error;

    fn snapshot(&self, side: Side, id: &Sullen) -> impl Future<Output = Result<Option<String>, Error>> + Send {
        assert!(!self.panics.load(Ordering::SeqCst), "on purpose");
        self.pair.on(side).read(id.0)
    }

    async fn restore(
        &self,
        side: Side,
        id: &Sullen,
        seen: Option<&String>,
        row: Option<&String>,
    ) -> Result<bool, Error> {
        self.pair.restore(side, &id.0, seen, row).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_key_that_panics_when_it_is_read_back_stops_no_other_repair() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    migration.attach_rows(SullenPair { pair: pair.clone(), panics: Arc::default() });
    let operation = migration.operation("put");
    for row in [13, 14] {
        pair.target.fault(Fault::RefuseBefore);
        put(&operation, &pair, row, "a").await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    sleep(LONG).await;
    assert_eq!(pair.target.get(14).as_deref(), Some("a"), "nothing is repaired any more");
    let left: Vec<String> = migration.marks().iter().map(|marked| marked.id.row.to_string()).collect();
    assert_eq!(left, ["13"]);
}

#[tokio::test(start_paused = true)]
async fn rows_that_panic_for_a_while_are_repaired_when_they_answer_again() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let panics = Arc::new(AtomicBool::new(true));
    migration.attach_rows(SullenPair { pair: pair.clone(), panics: Arc::clone(&panics) });
    pair.target.fault(Fault::RefuseBefore);
    put(&migration.operation("put"), &pair, 1, "1:a").await.unwrap();
    sleep(Duration::from_secs(10)).await;
    panics.store(false, Ordering::SeqCst);
    assert!(migration.converged(LONG).await);
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn with_a_linger_of_zero_a_row_that_cannot_be_read_keeps_nobody_from_running() {
    let options = Options { linger: Duration::ZERO, ..Options::default() };
    let (pair, (migration, _control)) = (Pair::default(), migration_with(Stage::DualWrite, options).await);
    /// No text is a key of this kind.
    #[derive(Debug, Clone)]
    struct Never;
    impl Key for Never {
        fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
            use_text("never")
        }
    }
    static TRIES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    impl ParseKey for Never {
        fn parse_key(_text: &str) -> Option<Never> {
            assert!(TRIES.fetch_add(1, Ordering::SeqCst) < 10_000, "it is tried again and again without a pause");
            None
        }
    }
    struct Unreadable;
    impl RowPair for Unreadable {
        type Id = Never;
        type Row = String;
        type Error = Error;
        async fn snapshot(&self, _side: Side, _id: &Never) -> Result<Option<String>, Error> {
            Err(Error::Definite)
        }
        async fn restore(&self, _: Side, _: &Never, _: Option<&String>, _: Option<&String>) -> Result<bool, Error> {
            Err(Error::Definite)
        }
    }
    migration.attach_rows(Unreadable);
    pair.target.fault(Fault::RefuseBefore);
    put(&migration.operation("put"), &pair, 1, "1:a").await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(migration.marks().len(), 1);
    assert!(TRIES.load(Ordering::SeqCst) < 1_000, "{TRIES:?} tries in ten seconds");
}

// ------------------------------------------------------------------------------------------- no room for another mark

#[tokio::test(start_paused = true)]
async fn without_room_for_a_mark_an_older_mirror_in_flight_raises_the_doubt_again() {
    let options = Options { secondary_in_flight: 1, ..Options::default() };
    let first = Plan::new(PlanSpec { options, ..PlanSpec::at("events", Stage::DualWrite) }).unwrap();
    let (_control, source) = crossfade::plan::local(first);
    let migration = Migration::builder("events").plan(source).marks_at_most(0).build().await.unwrap();
    let (pair, operation) = (Pair::default(), migration.operation("put"));
    pair.target.fault(Fault::Slow(Duration::from_secs(4)));
    put(&operation, &pair, 1, "1:old").await.unwrap();
    put(&operation, &pair, 1, "1:new").await.unwrap();
    assert!(migration.observe().everything_suspect);
    // A verification that repairs what it finds, while the older mirror is still on its way.
    let token = migration.begin_verification();
    pair.target.set(1, "1:new");
    assert!(pair.equal() && token.passed());
    sleep(LONG).await;
    assert!(!pair.equal(), "the older mirror has landed");
    assert!(migration.observe().everything_suspect, "and somebody has to know");
}

// ----------------------------------------------------------------------------- a source of plans that changes its mind

/// A source that gives up a step half-way.
struct Impatient {
    steps: mpsc::Receiver<(Stage, Duration, oneshot::Sender<bool>)>,
}

impl PlanSource for Impatient {
    fn sharing(&self) -> Sharing {
        Sharing::One
    }

    fn first<'a>(&'a mut self, migration: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>> {
        let plan = Plan::new(PlanSpec::at(migration, Stage::Off)).unwrap();
        let revision = Revision { incarnation: 1, number: 1, hash: plan.fingerprint() };
        Box::pin(std::future::ready(Ok((plan, revision))))
    }

    fn follow(mut self: Box<Self>, steward: Steward) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some((stage, patience, answer)) = self.steps.recv().await {
                let Some((here, _)) = steward.standing() else { return };
                let goal = here.settled_at(Position::at(stage)).unwrap();
                let taken = timeout(patience, steward.advance(&goal)).await;
                answer.send(taken.is_ok_and(|taken| taken.is_ok())).unwrap();
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_given_up_half_way_and_asked_for_again_waits_for_older_writes() {
    let (ask, steps) = mpsc::channel(1);
    let migration = Migration::builder("events").plan(Impatient { steps }).build().await.unwrap();
    let step = async |stage, patience| {
        let (answer, answered) = oneshot::channel();
        ask.send((stage, patience, answer)).await.unwrap();
        answered.await.unwrap()
    };
    let pair = Pair::default();
    let operation = migration.operation("put");
    // A write that began at off reaches the source alone, three seconds later.
    pair.source.fault(Fault::Slow(Duration::from_secs(3)));
    let write = put(&operation, &pair, 1, "1:a");
    let steps = async {
        sleep(millis(10)).await;
        assert!(!step(Stage::DualWrite, millis(100)).await);
        assert!(step(Stage::DualWrite, LONG).await);
        assert_eq!(pair.source.get(1).as_deref(), Some("1:a"), "a backfill that begins now would miss this row");
    };
    let (written, ()) = tokio::join!(write, steps);
    written.unwrap();
}

// ---------------------------------------------------------------------------------------------------- odd arguments

#[tokio::test(start_paused = true)]
async fn keys_and_names_of_ten_kilobytes_are_marked_and_repaired_like_others() {
    /// Rows by their text.
    #[derive(Clone, Default)]
    struct Texts(Arc<std::sync::Mutex<[std::collections::BTreeMap<String, u64>; 2]>>);
    impl RowPair for Texts {
        type Id = String;
        type Row = u64;
        type Error = Error;
        async fn snapshot(&self, side: Side, id: &String) -> Result<Option<u64>, Error> {
            Ok(self.0.lock().unwrap()[side as usize].get(id).copied())
        }
        async fn restore(&self, side: Side, id: &String, _: Option<&u64>, row: Option<&u64>) -> Result<bool, Error> {
            match row {
                Some(row) => drop(self.0.lock().unwrap()[side as usize].insert(id.clone(), *row)),
                None => drop(self.0.lock().unwrap()[side as usize].remove(id)),
            }
            Ok(true)
        }
    }
    let (migration, _control) = migration(Stage::DualWrite).await;
    let texts = Texts::default();
    for name in [String::new(), "t".repeat(10_240), "with \u{1f} and\nline\u{0}".to_owned()] {
        let table = migration.table(&name);
        table.attach_rows(texts.clone());
        let operation = table.operation(&name);
        for row in ["r".repeat(10_240), "\u{0}".to_owned(), "\u{1f}".to_owned()] {
            let put = {
                let (texts, row) = (texts.clone(), row.clone());
                async move { texts.restore(Side::Source, &row, None, Some(&7)).await.map(drop) }
            };
            let ticket = operation.begin_write(&"k".repeat(10_240), &row).await.unwrap();
            let refuse = |(): &(), _: Side| std::future::ready(Err(Error::Definite));
            ticket.mirrored(Mirror::State, effect, put, refuse).await.unwrap();
        }
        assert!(migration.converged(LONG).await);
        let sides = texts.0.lock().unwrap();
        assert!(sides[0] == sides[1] && sides[0].len() == 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_transaction_and_an_empty_batch_do_nothing() {
    let (migration, control) = migration(Stage::Shadow).await;
    let group = migration.prepare_all([]).await.unwrap();
    assert_eq!(group.authority(), Side::Source);
    group.mirror(effect, |_, _| std::future::ready(Err(Error::Lost))).await;
    let batch = migration.operation("put_all");
    assert!(batch.split_write(Vec::<(u64, u64)>::new()).await.unwrap().is_empty());
    drop(migration.prepare_all([]).await.unwrap());
    control.advance(Position::at(Stage::Live)).await.unwrap();
    assert_eq!(migration.prepare_all([]).await.unwrap().authority(), Side::Target);
    assert!(migration.marks().is_empty() && !migration.observe().everything_suspect);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_with_rows_of_another_migration_is_refused_and_counts_nothing() {
    let (ours, _ours) = migration(Stage::Shadow).await;
    let (theirs, _theirs) = migration(Stage::Shadow).await;
    let rows = [ours.operation("put").row("u", &1).unwrap(), theirs.operation("put").row("u", &2).unwrap()];
    assert_eq!(ours.prepare_all(rows).await.map(drop), Err(crossfade::Refused::OtherMigration));
    assert!(ours.marks().is_empty() && theirs.marks().is_empty());
    assert!(ours.standing().acknowledged && ours.operation("put").row("", &1).is_err());
}

// ------------------------------------------------------------------------------------------- one row twice in one call

#[tokio::test(start_paused = true)]
async fn a_batch_with_one_row_twice_ends_and_is_repaired() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    migration.attach_rows(pair.clone());
    let batch = migration.operation("put_all");
    let part = batch.split_write([(1u64, 1u64), (1, 1)]).await.unwrap().pop().unwrap();
    let put_all = |store: Arc<support::Store>| async move {
        Arc::clone(&store).put(1, "1:a".into()).await?;
        store.put(1, "1:b".into()).await
    };
    let (source, target) = (pair.on(Side::Source), pair.on(Side::Target));
    part.ticket.mirrored(Mirror::State, effect, put_all(source), |(): &(), _| put_all(target)).await.unwrap();
    assert!(migration.converged(LONG).await);
    put(&migration.operation("put"), &pair, 1, "1:c").await.unwrap();
    assert!(pair.equal() && migration.marks().is_empty(), "the row has its order again");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_with_one_row_twice_ends_and_is_repaired() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    migration.attach_rows(pair.clone());
    let operation = migration.operation("put");
    let rows = [operation.row(&1u64, &1u64).unwrap(), operation.row(&1u64, &1u64).unwrap()];
    let group = migration.prepare_all(rows).await.unwrap();
    pair.source.set(1, "1:b");
    // The later place first: the mirrors of one row go one after the other, in whatever order.
    pair.target.fault(Fault::Slow(millis(900)));
    group.mirror(effect, |place, side| pair.on(side).put(1, ["1:a", "1:b"][place].into())).await;
    assert!(migration.converged(LONG).await);
    assert!(pair.equal());
    put(&operation, &pair, 1, "1:c").await.unwrap();
    assert!(pair.equal() && migration.marks().is_empty(), "the row has its order again");
}

// ------------------------------------------------------------------------------------------ a caller that goes half-way

#[tokio::test(start_paused = true)]
async fn a_transaction_dropped_while_its_rows_are_mirrored_loses_none_of_them() {
    for after in [0, 10, 500, 1_500] {
        let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
        migration.attach_rows(pair.clone());
        let operation = migration.operation("put");
        let group = migration.prepare_all((0..4u64).map(|n| operation.row(&n, &n).unwrap())).await.unwrap();
        for row in 0..4 {
            pair.source.set(row, "row");
            pair.target.fault(Fault::Slow(Duration::from_secs(1)));
        }
        let mirror = group.mirror(effect, |place, side| pair.on(side).put(place as u64, "row".into()));
        let _given_up = timeout(millis(after), mirror).await;
        assert!(migration.converged(LONG).await);
        assert!(pair.equal(), "given up after {after} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_mirror_is_never_polled_leaves_its_rows_marked() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    let group = migration.prepare_all([operation.row(&1u64, &1u64).unwrap()]).await.unwrap();
    pair.source.set(1, "1:a");
    drop(group.mirror(effect, |_, side| pair.on(side).put(1, "1:a".into())));
    assert_eq!(migration.marks().len(), 1);
    let prepared = operation.prepare(&2u64, &2u64).await.unwrap();
    pair.source.set(2, "2:a");
    drop(prepared.mirror(effect, |side| pair.on(side).put(2, "2:a".into())));
    assert_eq!(migration.marks().len(), 2);
    migration.attach_rows(pair.clone());
    assert!(migration.converged(LONG).await);
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waits_in_a_hold_and_is_dropped_holds_no_later_plan() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Shadow).await);
    migration.attach_rows(pair.clone());
    let operation = migration.operation("put");
    // An authority that is slow keeps the hold open.
    pair.source.fault(Fault::Slow(Duration::from_secs(1)));
    let slow = put(&operation, &pair, 1, "1:a");
    let others = async {
        sleep(millis(100)).await;
        let step = control.advance(Position::at(Stage::Live));
        let waiting = async {
            sleep(millis(10)).await;
            let group = migration.prepare_all([operation.row(&2u64, &2u64).unwrap()]);
            assert!(timeout(millis(100), group).await.is_err(), "it waits for the move");
            assert!(timeout(millis(100), put(&operation, &pair, 3, "3:a")).await.is_err());
            assert!(timeout(millis(100), operation.begin_whole_write()).await.is_err());
            assert!(timeout(millis(100), operation.split_write([(4u64, 4u64)])).await.is_err());
        };
        let (step, ()) = tokio::join!(step, waiting);
        step.unwrap();
    };
    let (slow, ()) = tokio::join!(slow, others);
    slow.unwrap();
    assert!(migration.standing().acknowledged && migration.marks().is_empty());
    assert!(pair.equal() && pair.target.get(3).is_none());
}
