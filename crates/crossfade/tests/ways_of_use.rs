//! Ways to use the library that no promise may depend on: several tables, writes of rows that are not known
//! beforehand, mirrors that lose their turn, default options.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use crossfade::{
    AdvanceError, Checks, Effect, MarkReason, Migration, Mirror, Operation, Options, Position, Side, Stage,
};
use std::sync::Arc;
use std::time::Duration;
use support::{Error, Fault, Pair, effect, migration, migration_with};
use tokio::time::{Instant, sleep};

const LONG: Duration = Duration::from_secs(120);

/// A share of the keys at live, the others at shadow.
fn to_live(percent: &str) -> Position {
    Position::ramping(Stage::Shadow.edge().unwrap(), percent.parse().unwrap())
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// A dual write of row `id` on the table of the operation. The row is its own cohort key.
async fn put(operation: &Operation, pair: &Pair, id: u64, value: &str) -> Result<(), Error> {
    put_of(operation, pair, &id.to_string(), id, value).await
}

/// A dual write of row `id` of the cohort key `key`.
async fn put_of(operation: &Operation, pair: &Pair, key: &str, id: u64, value: &str) -> Result<(), Error> {
    let ticket = operation.begin_write(key, &id).await.map_err(Error::Refused)?;
    let authority = pair.on(ticket.authority());
    let (ours, theirs) = (value.to_owned(), value.to_owned());
    if !ticket.is_mirrored() {
        return ticket.single(effect, authority.put(id, ours)).await;
    }
    let mirror = |(): &(), side| pair.on(side).put(id, theirs);
    ticket.mirrored(Mirror::State, effect, authority.put(id, ours), mirror).await
}

/// Deletes every row whose value is `x` on both sides: a write whose rows are not known beforehand.
async fn delete_x(operation: &Operation, pair: &Pair) -> Result<(), Error> {
    let ticket = operation.begin_whole_write().await.map_err(Error::Refused)?;
    let authority = pair.on(ticket.authority());
    let mirror = |(): &(), side| pair.on(side).delete_value("x");
    ticket.mirrored(Mirror::State, effect, authority.delete_value("x"), mirror).await
}

// ----------------------------------------------------------------------------------------------- several tables (R23)

#[tokio::test(start_paused = true)]
async fn a_failed_mirror_of_one_table_is_not_repaired_by_another_tables_row() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let (users, orders) = (Pair::default(), Pair::default());
    let (user_table, order_table) = (migration.table("users"), migration.table("orders"));
    user_table.attach_rows(users.clone());
    order_table.attach_rows(orders.clone());
    put(&user_table.operation("put_user"), &users, 42, "user").await.unwrap();
    orders.target.fault(Fault::RefuseBefore);
    put(&order_table.operation("put_order"), &orders, 42, "order").await.unwrap();
    assert!(migration.converged(LONG).await);
    assert_eq!(orders.target.get(42).as_deref(), Some("order"), "the acknowledged order reached the target");
    assert!(users.equal() && orders.equal());
}

#[tokio::test(start_paused = true)]
async fn a_mark_of_one_table_does_not_repair_another_table_towards_its_authority() {
    // The customer of the order is at live, the user of the same row key is at shadow.
    let (migration, control) = migration(Stage::Shadow).await;
    control.advance(to_live("50")).await.unwrap();
    let at = |stage| (1000..).map(|n: u64| n.to_string()).find(|key| migration.stage_of(key.as_str()) == Ok(stage));
    let (live, shadow) = (at(Stage::Live).unwrap(), at(Stage::Shadow).unwrap());
    let (users, orders) = (Pair::default(), Pair::default());
    let (user_table, order_table) = (migration.table("users"), migration.table("orders"));
    user_table.attach_rows(users.clone());
    order_table.attach_rows(orders.clone());
    users.target.fault(Fault::Slow(millis(900)));
    put_of(&user_table.operation("put_user"), &users, &shadow, 42, "new").await.unwrap();
    orders.source.fault(Fault::RefuseBefore);
    put_of(&order_table.operation("put_order"), &orders, &live, 42, "order").await.unwrap();
    sleep(millis(100)).await;
    assert_eq!(users.source.get(42).as_deref(), Some("new"), "the acknowledged write of the user was taken back");
    assert!(migration.converged(LONG).await);
    assert!(users.equal() && orders.equal());
    assert_eq!(orders.source.get(42).as_deref(), Some("order"));
}

#[tokio::test(start_paused = true)]
async fn writes_of_one_row_key_in_two_tables_have_no_order_between_them() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let (users, orders) = (Pair::default(), Pair::default());
    users.target.fault(Fault::Slow(Duration::from_secs(4)));
    put(&migration.table("users").operation("put_user"), &users, 42, "user").await.unwrap();
    put(&migration.table("orders").operation("put_order"), &orders, 42, "order").await.unwrap();
    assert!(orders.equal(), "the order waits for no user");
}

// ------------------------------------------------------------- a mark outlives every effect that was under way (R6)

/// The row's mirrors so far are slow; the mark of the last write must not be cleared while they can still land.
async fn settles_on(migration: &Migration, pair: &Pair, row: u64, value: &str) {
    migration.attach_rows(pair.clone());
    assert!(migration.converged(LONG).await);
    // Whatever was on its way when the last mark was cleared has landed by now.
    sleep(LONG).await;
    assert_eq!(pair.source.get(row).as_deref(), Some(value));
    assert_eq!(pair.target.get(row).as_deref(), Some(value), "an older mirror landed on a repaired row");
}

#[tokio::test(start_paused = true)]
async fn over_a_budget_of_one_an_older_mirror_in_flight_is_waited_for() {
    let options = Options { secondary_in_flight: 1, ..Options::default() };
    let (pair, (migration, _control)) = (Pair::default(), migration_with(Stage::DualWrite, options).await);
    let operation = migration.operation("put");
    pair.target.fault(Fault::Slow(Duration::from_secs(3)));
    put(&operation, &pair, 1, "1:old").await.unwrap();
    put(&operation, &pair, 1, "1:new").await.unwrap();
    settles_on(&migration, &pair, 1, "1:new").await;
}

#[tokio::test(start_paused = true)]
async fn over_the_default_budget_an_older_mirror_in_flight_is_waited_for() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    for row in 1..=u64::from(Options::default().secondary_in_flight) {
        pair.target.fault(Fault::Slow(Duration::from_secs(4)));
        let write = put(&operation, &pair, row, "old");
        assert!(tokio::time::timeout(millis(1), write).await.is_err());
    }
    put(&operation, &pair, 1, "new").await.unwrap();
    settles_on(&migration, &pair, 1, "new").await;
}

#[tokio::test(start_paused = true)]
async fn behind_a_full_row_queue_an_older_mirror_in_flight_is_waited_for() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    // The first is slow, 32 wait behind it, and the last finds no place to wait.
    pair.target.fault(Fault::Slow(Duration::from_secs(4)));
    for n in 0..34 {
        let value = format!("1:{n}");
        let write = put(&operation, &pair, 1, &value);
        // Given up by its caller after the authority has answered: the mirror goes on.
        let _answer = tokio::time::timeout(millis(1), write).await;
    }
    settles_on(&migration, &pair, 1, "1:33").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_turn_that_did_not_come_an_older_mirror_is_waited_for() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    for _ in 0..2 {
        pair.target.fault(Fault::Slow(millis(4_900)));
    }
    for n in 0..3 {
        put(&operation, &pair, 1, &format!("1:{n}")).await.unwrap();
    }
    // The turn of the third is given up after five seconds, in the middle of the second.
    sleep(millis(5_200)).await;
    settles_on(&migration, &pair, 1, "1:2").await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_goes_at_once_waits_for_older_mirrors_before_it_is_clean() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let (operation, batch) = (migration.operation("put"), migration.operation("put_all"));
    pair.target.fault(Fault::Slow(Duration::from_secs(3)));
    put(&operation, &pair, 1, "1:old").await.unwrap();
    let part = batch.split_write([(1u64, 1u64), (2, 2)]).await.unwrap().pop().unwrap();
    let (source, target) = (pair.on(Side::Source), pair.on(Side::Target));
    let all = |store: Arc<support::Store>| async move {
        Arc::clone(&store).put(1, "1:new".to_owned()).await?;
        store.put(2, "2:new".to_owned()).await
    };
    part.ticket.mirrored(Mirror::State, effect, all(source), |(): &(), _| all(target)).await.unwrap();
    settles_on(&migration, &pair, 1, "1:new").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_mirror_that_panics_an_older_mirror_is_waited_for() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    pair.target.fault(Fault::Slow(Duration::from_secs(3)));
    put(&operation, &pair, 1, "1:old").await.unwrap();
    let ticket = operation.begin_write(&1u64, &1u64).await.unwrap();
    #[expect(clippy::panic, reason = "on purpose")]
    let made = |(): &(), _| -> std::future::Ready<Result<(), Error>> { panic!("on purpose") };
    ticket.mirrored(Mirror::State, effect, pair.on(Side::Source).put(1, "1:new".into()), made).await.unwrap();
    settles_on(&migration, &pair, 1, "1:new").await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_authority_waits_for_two_older_mirrors_longer_than_its_linger() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    for n in 0..2 {
        pair.target.fault(Fault::Slow(millis(4_900)));
        put(&operation, &pair, 1, &format!("1:{n}")).await.unwrap();
    }
    pair.source.fault(Fault::LoseAnswer);
    assert_eq!(put(&operation, &pair, 1, "1:lost").await, Err(Error::Lost));
    settles_on(&migration, &pair, 1, "1:lost").await;
}

#[tokio::test(start_paused = true)]
async fn a_write_accepted_while_a_lost_one_may_still_land_is_repaired_too() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    migration.attach_rows(pair.clone());
    // An older mirror keeps the row's queue for nearly five seconds.
    pair.target.fault(Fault::Slow(millis(4_900)));
    put(&operation, &pair, 1, "1:first").await.unwrap();
    // The answer of this one is lost, and it lands on the authority four seconds later.
    pair.source.fault(Fault::Late(millis(4_000)));
    assert_eq!(put(&operation, &pair, 1, "1:late").await, Err(Error::Lost));
    // This one is accepted in between. Its mirror lands after the mark of the lost one was cleared.
    pair.target.fault(Fault::Slow(millis(4_900)));
    put(&operation, &pair, 1, "1:between").await.unwrap();
    sleep(LONG).await;
    assert!(migration.converged(LONG).await);
    assert_eq!(pair.source.get(1).as_deref(), Some("1:late"));
    assert!(pair.equal(), "a mirror landed after the repair, and nothing was marked");
}

// ------------------------------------------------------------------------- rows that are not known beforehand (R24)

#[tokio::test(start_paused = true)]
async fn where_other_processes_write_a_delete_by_predicate_puts_its_table_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.toml");
    for (settle, doubt) in [(0, false), (100, true)] {
        std::fs::write(&file, format!("stage = \"shadow\"\nwhole = true\n[options]\nsettle-ms = {settle}\n")).unwrap();
        let migration = Migration::builder("events").plan(crossfade::plan::file(&file)).build().await.unwrap();
        let pair = Pair::default();
        let delete = migration.operation("delete_x");
        pair.source.fault(Fault::RefuseBefore);
        assert_eq!(delete_x(&delete, &pair).await, Err(Error::Definite));
        assert!(!migration.observe().everything_suspect, "it did nothing");
        delete_x(&delete, &pair).await.unwrap();
        assert!(migration.converged(LONG).await);
        assert_eq!(migration.observe().everything_suspect, doubt, "settle-ms = {settle}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_by_predicate_beside_a_put_leaves_its_table_suspect() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Shadow).await);
    migration.attach_rows(pair.clone());
    let (delete, write) = (migration.operation("delete_x"), migration.operation("put"));
    put(&write, &pair, 1, "x").await.unwrap();
    // The clearing goes on in the background, longer than its caller waits.
    pair.target.fault(Fault::Slow(millis(500)));
    delete_x(&delete, &pair).await.unwrap();
    put(&write, &pair, 1, "x").await.unwrap();
    sleep(LONG).await;
    assert!(!pair.equal(), "the sides saw the two writes in different orders");
    assert!(migration.observe().everything_suspect, "and somebody has to know");
    assert_eq!(control.advance(Position::at(Stage::Live)).await, Err(AdvanceError::EverythingSuspect));
}

#[tokio::test(start_paused = true)]
async fn two_deletes_by_predicate_that_overlap_leave_their_table_suspect() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::Shadow).await);
    let delete = migration.operation("delete_x");
    pair.target.fault(Fault::Slow(millis(500)));
    delete_x(&delete, &pair).await.unwrap();
    assert!(!migration.observe().everything_suspect);
    delete_x(&delete, &pair).await.unwrap();
    sleep(LONG).await;
    assert!(migration.observe().everything_suspect);
}

#[tokio::test(start_paused = true)]
async fn a_delete_by_predicate_alone_leaves_nothing_suspect() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::Shadow).await);
    let (delete, write) = (migration.operation("delete_x"), migration.operation("put"));
    put(&write, &pair, 1, "x").await.unwrap();
    delete_x(&delete, &pair).await.unwrap();
    put(&write, &pair, 1, "y").await.unwrap();
    sleep(LONG).await;
    assert!(pair.equal() && !migration.observe().everything_suspect);
}

// ------------------------------------------------------------------------------------------ answers and their marks

#[tokio::test(start_paused = true)]
async fn an_error_after_an_applied_write_leaves_its_row_marked() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    let ticket = operation.begin_write(&1u64, &1u64).await.unwrap();
    pair.source.fault(Fault::LoseAnswer);
    let applied: fn(&Error) -> Effect = |_| Effect::Applied;
    let mirror = |(): &(), _: Side| std::future::ready(Ok(()));
    let answer = ticket.mirrored(Mirror::State, applied, pair.on(Side::Source).put(1, "1:a".into()), mirror).await;
    assert_eq!(answer, Err(Error::Lost));
    assert_eq!(migration.marks().len(), 1, "the source has the row, the target does not");
    settles_on(&migration, &pair, 1, "1:a").await;
}

#[tokio::test(start_paused = true)]
async fn converged_is_false_while_a_secondary_write_runs() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    pair.target.fault(Fault::Slow(Duration::from_secs(3)));
    put(&migration.operation("put"), &pair, 1, "1:a").await.unwrap();
    assert!(!migration.converged(Duration::from_secs(1)).await);
    assert!(migration.converged(LONG).await);
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn under_full_checks_the_caller_goes_when_the_secondary_has_answered() {
    let options = Options { checks: Checks::Full, ..Options::default() };
    let (pair, (migration, _control)) = (Pair::default(), migration_with(Stage::DualWrite, options).await);
    migration.attach_rows(pair.clone());
    // The put of the authority is quick, the reads of the check are slow.
    pair.source.fault(Fault::None);
    pair.source.fault(Fault::Slow(millis(40)));
    let began = Instant::now();
    put(&migration.operation("put"), &pair, 1, "1:a").await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(migration.converged(LONG).await);
    assert_eq!(migration.observe().total(|seen| seen.checked), 1);
}

// ----------------------------------------------------------------------------------------- default options (R26)

#[tokio::test(start_paused = true)]
async fn at_default_options_an_ambiguous_write_of_one_key_dooms_no_move_of_others() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Shadow).await);
    let operation = migration.operation("put");
    let number = |key: u64| {
        let text = key.to_string();
        migration.standing().plan.decide(crossfade::core::CohortKey::new(&text).unwrap()).bucket.number()
    };
    let stays = (0..).find(|key| number(*key) >= 20_000).unwrap();
    let ambiguous = async {
        // One every second, on a key that does not move: some effect always lingers.
        for _ in 0..30 {
            pair.target.fault(Fault::LoseAnswer);
            put(&operation, &pair, stays, "s").await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
    };
    let step = async {
        sleep(Duration::from_secs(3)).await;
        control.advance(to_live("20")).await
    };
    let ((), step) = tokio::join!(ambiguous, step);
    step.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_write_of_a_moving_key_is_waited_for() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Shadow).await);
    migration.attach_rows(pair.clone());
    let operation = migration.operation("put");
    pair.target.fault(Fault::Late(millis(4_000)));
    put(&operation, &pair, 1, "1:old").await.unwrap();
    put(&operation, &pair, 1, "1:new").await.unwrap();
    control.advance(Position::at(Stage::Live)).await.unwrap();
    sleep(LONG).await;
    assert_eq!(pair.target.get(1).as_deref(), Some("1:new"), "the late write landed on the new authority");
}

#[tokio::test(start_paused = true)]
async fn a_single_write_that_may_land_late_delays_the_way_into_dual_write() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Off).await);
    let operation = migration.operation("put");
    pair.source.fault(Fault::Late(millis(4_000)));
    assert_eq!(put(&operation, &pair, 1, "1:a").await, Err(Error::Lost));
    let began = Instant::now();
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(4), "the backfill would have missed it");
}

#[tokio::test(start_paused = true)]
async fn marks_have_one_reason_each_time() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let operation = migration.operation("put");
    pair.target.fault(Fault::RefuseBefore);
    put(&operation, &pair, 1, "1:a").await.unwrap();
    pair.target.fault(Fault::LoseAnswer);
    put(&operation, &pair, 1, "1:b").await.unwrap();
    let reasons: Vec<MarkReason> = migration.marks().into_iter().flat_map(|marked| marked.reasons).collect();
    assert_eq!(reasons, [MarkReason::SecondaryFailed, MarkReason::SecondaryUnknown]);
}

// ------------------------------------------------------------------------------- one transaction over several rows (R19)

#[tokio::test(start_paused = true)]
async fn a_transaction_over_two_tables_is_decided_once_and_stalls_no_move() {
    let (migration, control) = migration(Stage::Shadow).await;
    let (orders, stock) = (Pair::default(), Pair::default());
    let (order_table, stock_table) = (migration.table("orders"), migration.table("stock"));
    order_table.attach_rows(orders.clone());
    stock_table.attach_rows(stock.clone());
    let (place, take) = (order_table.operation("place"), stock_table.operation("take"));
    let transaction = async |n: u64| {
        let rows = [place.row("u1", &n).unwrap(), take.row("u1", &n).unwrap()];
        let group = migration.prepare_all(rows).await.unwrap();
        let pairs = [orders.clone(), stock.clone()];
        sleep(millis(20)).await;
        for pair in &pairs {
            pair.on(group.authority()).put(n, "row".into()).await.unwrap();
        }
        group.mirror(effect, |row, side| pairs[row].on(side).put(n, "row".into())).await;
    };
    let traffic = async {
        for n in 0..50 {
            transaction(n).await;
        }
    };
    let step = async {
        sleep(millis(105)).await;
        control.advance(Position::at(Stage::Live)).await.unwrap()
    };
    let ((), step) = tokio::join!(traffic, step);
    assert!(step.held.is_some_and(|held| held < millis(100)), "{step:?}");
    assert!(migration.converged(LONG).await);
    assert!(orders.equal() && stock.equal() && orders.get_count() == 50);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_dropped_leaves_every_row_of_its_tables_marked() {
    let (migration, _control) = migration(Stage::Shadow).await;
    let (orders, stock) = (migration.table("orders").operation("place"), migration.table("stock").operation("take"));
    let group = migration.prepare_all([orders.row("u1", &1).unwrap(), stock.row("u1", &1).unwrap()]).await.unwrap();
    drop(group);
    let mut tables: Vec<String> = migration.marks().iter().map(|marked| marked.id.table.to_string()).collect();
    tables.sort();
    assert_eq!(tables, ["orders", "stock"]);
    let group = migration.prepare_all([orders.row("u2", &2).unwrap()]).await.unwrap();
    group.rolled_back();
    assert_eq!(migration.marks().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_across_a_half_open_cut_over_is_refused() {
    let (migration, control) = migration(Stage::Shadow).await;
    control.advance(to_live("50")).await.unwrap();
    let at =
        |stage| (0..).map(|n: u64| n.to_string()).find(|key| migration.stage_of(key.as_str()) == Ok(stage)).unwrap();
    let operation = migration.operation("place");
    let rows =
        [operation.row(at(Stage::Live).as_str(), &1).unwrap(), operation.row(at(Stage::Shadow).as_str(), &2).unwrap()];
    assert_eq!(migration.prepare_all(rows).await.map(drop), Err(crossfade::Refused::Straddling));
    assert!(migration.marks().is_empty());
}

#[tokio::test]
async fn a_dao_that_blocks_its_thread_is_noticed() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let operation = migration.operation("put");
    let ticket = operation.begin_write(&1u64, &1u64).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "it blocks its thread on purpose")]
    let blocking = |(): &(), _: Side| async {
        std::thread::sleep(millis(150));
        Ok(())
    };
    ticket.mirrored(Mirror::State, effect, async { Ok::<_, Error>(()) }, blocking).await.unwrap();
    assert!(migration.converged(LONG).await);
    assert_eq!(migration.observe().total(|seen| seen.blocked), 1);
}
