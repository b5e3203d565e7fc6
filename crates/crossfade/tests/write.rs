//! The write path: P1, P4, R5, R6, R13, R17, R19, within one process.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use crossfade::{Checks, Effect, MarkReason, Migration, Options, Refused, Side, Stage};
use std::sync::Arc;
use std::time::Duration;
use support::{Error, Fault, Pair, effect, migration, migration_with};
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(60);

fn reasons(migration: &Migration) -> Vec<MarkReason> {
    migration.marks().into_iter().flat_map(|marked| marked.reasons).collect()
}

#[tokio::test(start_paused = true)]
async fn each_stage_writes_the_sides_that_its_switches_say() {
    for stage in Stage::ALL {
        let (pair, (migration, _control)) = (Pair::default(), migration(stage).await);
        pair.write(&migration, 1, "1:a").await.unwrap();
        let switches = stage.switches();
        let written = (pair.source.get(1).is_some(), pair.target.get(1).is_some());
        assert_eq!(written, (switches.write_source, switches.write_target), "{stage}");
        assert!(migration.marks().is_empty(), "{stage}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_secondary_is_marked_and_the_caller_never_knows() {
    for (fault, reason) in [
        (Fault::RefuseBefore, MarkReason::SecondaryFailed),
        (Fault::LoseAnswer, MarkReason::SecondaryUnknown),
        (Fault::Panic, MarkReason::SecondaryUnknown),
    ] {
        let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
        pair.target.fault(fault);
        assert_eq!(pair.write(&migration, 1, "1:a").await, Ok(()), "{fault:?}");
        assert_eq!(reasons(&migration), [reason], "{fault:?}");
        migration.attach_rows(pair.clone());
        assert!(migration.converged(LONG).await, "{fault:?}");
        assert!(pair.equal(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_secondary_costs_the_caller_the_stated_bound_and_goes_on() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    pair.target.fault(Fault::Slow(Duration::from_millis(200)));
    let began = Instant::now();
    pair.write(&migration, 1, "1:a").await.unwrap();
    // Paused time moves in whole timers: this is the bound, not a measurement.
    assert!((50..=51).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(pair.target.get(1), None);
    assert!(migration.drain(LONG).await.is_empty());
    assert_eq!(pair.target.get(1).as_deref(), Some("1:a"));
    assert_eq!(migration.observe().operations[0].secondary_late, 1);
}

#[tokio::test(start_paused = true)]
async fn secondary_writes_of_a_row_keep_the_authoritys_order() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    pair.target.fault(Fault::Slow(Duration::from_millis(300)));
    for value in ["1:a", "1:b", "1:c"] {
        pair.write(&migration, 1, value).await.unwrap();
    }
    pair.remove(&migration, 1).await.unwrap();
    pair.write(&migration, 1, "1:d").await.unwrap();
    assert_eq!(pair.target.get(1), None, "the first one is still on its way");
    assert!(migration.drain(LONG).await.is_empty());
    assert_eq!(pair.target.get(1).as_deref(), Some("1:d"));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_secondary_is_given_up_and_marked() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    migration.attach_rows(pair.clone());
    pair.target.fault(Fault::Hang);
    pair.write(&migration, 1, "1:a").await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(reasons(&migration), [MarkReason::SecondaryUnknown]);
    assert!(migration.converged(LONG).await);
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn a_late_secondary_write_is_outwaited_before_its_mark_is_cleared() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    migration.attach_rows(pair.clone());
    pair.target.fault(Fault::Late(Duration::from_millis(4_900)));
    pair.write(&migration, 1, "1:old").await.unwrap();
    pair.write(&migration, 1, "1:new").await.unwrap();
    // At this moment the sides are equal: a repair that did not wait for the linger would clear the mark now.
    assert!(pair.equal());
    assert!(migration.converged(LONG).await);
    assert_eq!(pair.target.get(1).as_deref(), Some("1:new"));
}

#[tokio::test(start_paused = true)]
async fn a_caller_dropped_before_the_answer_leaves_its_row_marked() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    pair.source.fault(Fault::Slow(Duration::from_secs(1)));
    let dropped = tokio::time::timeout(Duration::from_millis(10), pair.write(&migration, 1, "1:a")).await;
    assert!(dropped.is_err());
    assert_eq!(reasons(&migration), [MarkReason::AuthorityUnknown]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_dropped_between_the_writes_changes_nothing() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    pair.target.fault(Fault::Slow(Duration::from_millis(40)));
    let dropped = tokio::time::timeout(Duration::from_millis(10), pair.write(&migration, 1, "1:a")).await;
    assert!(dropped.is_err());
    assert!(migration.drain(LONG).await.is_empty());
    assert_eq!(pair.target.get(1).as_deref(), Some("1:a"));
}

#[tokio::test(start_paused = true)]
async fn an_ambiguous_authority_is_marked_and_a_definite_refusal_is_not() {
    for (fault, error, marks) in [
        (Fault::LoseAnswer, Error::Lost, vec![MarkReason::AuthorityUnknown]),
        (Fault::RefuseBefore, Error::Definite, vec![]),
    ] {
        let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
        pair.source.fault(fault);
        assert_eq!(pair.write(&migration, 1, "1:a").await, Err(error));
        assert_eq!(reasons(&migration), marks);
        assert_eq!(pair.target.calls(), 0, "the secondary is written after a success only");
        migration.attach_rows(pair.clone());
        assert!(migration.converged(LONG).await);
        assert!(pair.equal());
    }
}

#[tokio::test(start_paused = true)]
async fn overlapping_writes_of_a_row_mark_it_and_repair_finds_the_truth() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    pair.source.fault(Fault::Slow(Duration::from_millis(20)));
    pair.source.fault(Fault::Slow(Duration::from_millis(10)));
    let (a, b) = tokio::join!(pair.write(&migration, 1, "1:a"), pair.write(&migration, 1, "1:b"));
    assert_eq!((a, b), (Ok(()), Ok(())));
    assert_eq!(reasons(&migration), [MarkReason::Overlapped]);
    migration.attach_rows(pair.clone());
    assert!(migration.converged(LONG).await);
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn a_repair_copies_the_present_value_and_never_an_old_payload() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    pair.target.fault(Fault::RefuseBefore);
    pair.write(&migration, 1, "1:old").await.unwrap();
    pair.source.set(1, "1:newer");
    migration.attach_rows(pair.clone());
    assert!(migration.converged(LONG).await);
    assert_eq!(pair.target.get(1).as_deref(), Some("1:newer"));
}

#[tokio::test(start_paused = true)]
async fn a_delete_whose_mirror_failed_is_repaired_as_a_delete() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    migration.attach_rows(pair.clone());
    pair.write(&migration, 1, "1:a").await.unwrap();
    pair.target.fault(Fault::RefuseBefore);
    pair.remove(&migration, 1).await.unwrap();
    assert!(migration.converged(LONG).await);
    assert_eq!((pair.source.get(1), pair.target.get(1)), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_repair_put_that_lands_late_is_looked_at_again() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    pair.target.fault(Fault::RefuseBefore);
    pair.write(&migration, 1, "1:a").await.unwrap();
    pair.target.fault(Fault::None);
    pair.target.fault(Fault::Late(Duration::from_secs(3)));
    migration.attach_rows(pair.clone());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(migration.marks().len(), 1, "the put may still land");
    pair.write(&migration, 1, "1:b").await.unwrap();
    assert!(migration.converged(LONG).await);
    assert!(pair.equal());
    assert_eq!(migration.observe().repair_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_budget_rows_are_marked_instead_of_written() {
    let options = Options { secondary_in_flight: 1, ..Options::default() };
    let (pair, (migration, _control)) = (Pair::default(), migration_with(Stage::DualWrite, options).await);
    pair.target.fault(Fault::Slow(Duration::from_secs(1)));
    pair.write(&migration, 1, "1:a").await.unwrap();
    pair.write(&migration, 2, "2:a").await.unwrap();
    assert_eq!(reasons(&migration), [MarkReason::OverBudget]);
    migration.attach_rows(pair.clone());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(migration.converged(LONG).await);
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn full_checks_find_a_secondary_that_says_yes_and_does_nothing() {
    let options = Options { checks: Checks::Full, ..Options::default() };
    let (pair, (migration, _control)) = (Pair::default(), migration_with(Stage::DualWrite, options).await);
    migration.attach_rows(pair.clone());
    let source = Arc::clone(&pair.source);
    let lying = migration
        .write(&1u64)
        .source(move || source.put(1, "1:a".into()))
        .target(|| async { Ok(()) })
        .replay()
        .run_with(Error::Refused, effect)
        .await;
    assert_eq!(lying, Ok(()));
    assert!(migration.converged(LONG).await);
    assert!(pair.equal());
    let seen = migration.observe();
    assert_eq!((seen.operations[0].checked, seen.operations[0].checks_differed, seen.repaired), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn values_that_the_authority_made_are_handed_to_the_secondary() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let (source, target) = (Arc::clone(&pair.source), Arc::clone(&pair.target));
    let made = migration
        .write("counter")
        .source(move || async move {
            source.put(1, "1:made-by-source".into()).await.map(|()| "1:made-by-source".to_owned())
        })
        .target(|| async { Err(Error::Definite) })
        .mirror_to_source(|_| async { Err::<(), _>(Error::Definite) })
        .mirror_to_target(move |made| target.put(1, made))
        .run(Error::Refused)
        .await
        .unwrap();
    assert_eq!(made, "1:made-by-source");
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn a_guess_is_marked_every_time() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let (source, target) = (Arc::clone(&pair.source), Arc::clone(&pair.target));
    let guess = migration
        .write(&1u64)
        .guess()
        .source(move || source.put(1, "1:now".into()))
        .target(move || target.put(1, "1:a moment later".into()));
    guess.replay().run_with(Error::Refused, effect).await.unwrap();
    assert_eq!(reasons(&migration), [MarkReason::Replayed]);
}

#[tokio::test(start_paused = true)]
async fn an_operation_without_its_key_is_refused_before_anything_is_done() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let (source, target) = (Arc::clone(&pair.source), Arc::clone(&pair.target));
    let refused = migration
        .write(&None::<u64>)
        .source(move || source.put(1, "1:a".into()))
        .target(move || target.put(1, "1:a".into()))
        .replay()
        .run(Error::Refused)
        .await;
    assert!(matches!(refused, Err(Error::Refused(Refused::MissingKey(_)))));
    assert_eq!((pair.source.calls(), pair.target.calls()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_write_in_a_transaction_is_mirrored_after_commit_and_marked_between() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::DualWrite).await);
    let write = migration.prepare(&1u64).await.unwrap();
    assert_eq!(write.authority(), Side::Source);
    pair.source.set(1, "1:committed");
    let target = Arc::clone(&pair.target);
    write.mirror(effect, move |_side| target.put(1, "1:committed".into())).await;
    assert!(pair.equal() && migration.marks().is_empty());

    migration.prepare(&2u64).await.unwrap().rolled_back();
    assert!(migration.marks().is_empty());

    drop(migration.prepare(&3u64).await.unwrap());
    assert_eq!(reasons(&migration), [MarkReason::Prepared]);
}

#[tokio::test(start_paused = true)]
async fn several_rows_in_one_call_are_split_by_where_they_stand() {
    use crossfade::{Plan, PlanSpec, Position, plan};
    let half = Position::ramping(Stage::Off.edge().unwrap(), "50".parse().unwrap());
    let first = Plan::new(PlanSpec::at("events", Stage::Off)).unwrap().settled_at(half).unwrap();
    let migration = Migration::builder("events").plan(plan::fixed(first)).build().await.unwrap();
    let operation = migration.operation("many");
    let keys: Vec<u64> = (0..40).collect();
    let parts = operation.split_write(keys.iter().map(|key| (*key, *key))).await.unwrap();
    assert_eq!(parts.len(), 2);
    for part in parts {
        let mirrored = part.ticket.is_mirrored();
        for place in part.places {
            let dual = migration.stage_of(&keys[place]).unwrap() == Stage::DualWrite;
            assert_eq!(mirrored, dual);
        }
    }
    assert!(operation.split_write([(Some(1u64), 1u64), (None, 2)]).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_mirror_failed_marks_each_of_its_rows() {
    let (migration, _control) = migration(Stage::Shadow).await;
    let operation = migration.operation("many");
    let mut parts = operation.split_write([(1u64, 1u64), (2, 2), (3, 3)]).await.unwrap();
    let part = parts.pop().unwrap();
    let answer = part
        .ticket
        .mirrored(crossfade::Mirror::State, effect, async { Ok::<_, Error>(3) }, |_, _| async { Err(Error::Lost) })
        .await;
    assert_eq!(answer, Ok(3));
    assert_eq!(migration.marks().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_met_nobody_leaves_no_mark() {
    let (migration, _control) = migration(Stage::Shadow).await;
    let operation = migration.operation("many");
    let mut parts = operation.split_write([(1u64, 1u64), (2, 2)]).await.unwrap();
    let ticket = parts.pop().unwrap().ticket;
    let done = |(): &(), _| async { Ok::<_, Error>(()) };
    ticket.mirrored(crossfade::Mirror::State, effect, async { Ok::<_, Error>(()) }, done).await.unwrap();
    assert_eq!(reasons(&migration), []);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_panics_while_it_is_made_is_marked_and_the_caller_never_knows() {
    let (migration, _control) = migration(Stage::Shadow).await;
    let operation = migration.operation("record");
    let ticket = operation.begin_write(&1u64, &1u64).await.unwrap();
    #[expect(clippy::panic, reason = "on purpose")]
    let made = |_: &u32, _| -> std::future::Ready<Result<(), Error>> { panic!("on purpose") };
    let answer = ticket.mirrored(crossfade::Mirror::State, effect, async { Ok::<_, Error>(3) }, made).await;
    assert_eq!(answer, Ok(3));
    assert_eq!(reasons(&migration), [MarkReason::SecondaryFailed], "it was never begun");
    assert_eq!(migration.observe().total(|seen| seen.secondary_panics), 1);
}

#[tokio::test(start_paused = true)]
async fn batches_that_share_rows_do_not_wait_for_one_another_for_ever() {
    let (migration, _control) = migration(Stage::Shadow).await;
    let operation = migration.operation("many");
    let batch = async |rows: [u64; 2]| {
        let mut parts = operation.split_write(rows.map(|row| (row, row))).await.unwrap();
        let slow = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok(())
        };
        parts
            .pop()
            .unwrap()
            .ticket
            .mirrored(crossfade::Mirror::State, effect, async { Ok::<_, Error>(()) }, |(), _| slow)
            .await
    };
    let began = Instant::now();
    let (a, b) = tokio::join!(batch([1, 2]), batch([2, 1]));
    assert_eq!((a, b), (Ok(()), Ok(())));
    assert!(began.elapsed() <= Duration::from_millis(51));
    assert!(!migration.marks().is_empty(), "their order is not known");
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_of_unknown_rows_makes_everything_suspect() {
    let (migration, control) = migration(Stage::Shadow).await;
    let operation = migration.operation("purge");
    let ticket = operation.begin_whole_write().await.unwrap();
    let lost = |_: &(), _| async { Err(Error::Lost) };
    ticket.mirrored(crossfade::Mirror::State, effect, async { Ok::<_, Error>(()) }, lost).await.unwrap();
    assert!(migration.observe().everything_suspect);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let to_live = crossfade::Position::at(Stage::Live);
    assert_eq!(control.advance(to_live.clone()).await, Err(crossfade::AdvanceError::EverythingSuspect));
    assert!(migration.begin_verification().passed());
    assert!(control.advance(to_live).await.is_ok());
}

#[test]
fn an_error_that_nobody_knows_more_about_may_have_done_anything() {
    assert_eq!(crossfade::unknown_effect(&()), Effect::Unknown);
}

#[tokio::test(start_paused = true)]
async fn what_is_begun_can_be_shown_and_shows_no_key() {
    let (migration, _control) = migration(Stage::Shadow).await;
    let operation = migration.operation("record");
    let key = "planted-key";
    let (read, write) = (operation.begin_read(key).unwrap(), operation.begin_write(key, key).await.unwrap());
    let shown = [format!("{operation:?}"), format!("{read:?}"), format!("{write:?}")];
    let prepared = format!("{:?}", operation.prepare("other", "other").await.unwrap());
    for shown in &shown {
        assert!(shown.contains("record"), "{shown}");
    }
    assert!(shown[1].contains("source, compared with Some(Target)"), "{}", shown[1]);
    assert!(prepared.contains("authority: Source"), "{prepared}");
    assert!(shown.iter().chain([&prepared]).all(|shown| !shown.contains(key)), "{shown:?}");
}
