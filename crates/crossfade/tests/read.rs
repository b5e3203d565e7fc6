//! The read path: P1, comparisons, and what a mismatch takes to be one.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use crossfade::{History, Options, SampleValues, Side, Stage};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Error, Fault, Pair, migration, migration_with};
use tokio::time::Instant;

const AFTER_REREADS: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn each_stage_reads_the_sides_that_its_switches_say() {
    for stage in Stage::ALL {
        let (pair, (migration, _control)) = (Pair::default(), migration(stage).await);
        pair.source.set(1, "1:source");
        pair.target.set(1, "1:target");
        let answer = pair.read(&migration, 1).await.unwrap().unwrap();
        let expected = match stage.authority() {
            Side::Source => "1:source",
            Side::Target => "1:target",
        };
        assert_eq!(answer, expected, "{stage}");
        tokio::time::sleep(AFTER_REREADS).await;
        let switches = stage.switches();
        let read = (pair.source.calls() > 0, pair.target.calls() > 0);
        assert_eq!(read, (switches.read_source, switches.read_target), "{stage}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lasting_difference_is_confirmed_and_names_its_fields() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::Shadow).await);
    pair.source.set(1, "1:a");
    pair.target.set(1, "1:b");
    assert_eq!(pair.read(&migration, 1).await.unwrap().as_deref(), Some("1:a"));
    assert_eq!(migration.observe().total(|seen| seen.mismatched), 0, "not before it was read again");
    tokio::time::sleep(AFTER_REREADS).await;
    let seen = migration.observe();
    assert_eq!((seen.total(|seen| seen.compared), seen.total(|seen| seen.mismatched)), (1, 1));
    let sample = &seen.operations[0].samples[0];
    assert_eq!(sample.fields, ["(value)"]);
    assert_eq!(sample.key_digest, crossfade::key::digest("1"));
}

/// Where a test's log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_difference_is_a_warning_that_names_everything_but_values() {
    let log = Log::default();
    let writer = log.clone();
    let everything =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    let _for_this_thread = tracing::subscriber::set_default(everything.with_ansi(false).finish());
    let shared = Options { sample_values: SampleValues::Shared, ..Options::default() };
    let (pair, (migration, _control)) = (Pair::default(), migration_with(Stage::Shadow, shared).await);
    pair.source.set(1, "1:planted-in-the-source");
    pair.target.set(1, "1:planted-in-the-target");
    pair.read(&migration, 1).await.unwrap();
    tokio::time::sleep(AFTER_REREADS).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let warnings: Vec<&str> = text.lines().filter(|line| line.contains("source and target differ")).collect();
    let [warning] = warnings[..] else { panic!("one warning for one difference: {text}") };
    let digest = crossfade::key::digest("1");
    for part in ["WARN", "migration=events", "operation=read", &format!("key_digest={digest}"), "fields=[\"(value)\"]"]
    {
        assert!(warning.contains(part), "{part} in {warning}");
    }
    assert!(!text.contains("planted"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_sample_has_both_values_only_where_the_plan_shares_them() {
    // Source and target stay in this order when authority has moved.
    for stage in [Stage::Shadow, Stage::Live] {
        for sample_values in [SampleValues::Withheld, SampleValues::Shared] {
            let options = Options { sample_values, ..Options::default() };
            let (pair, (migration, _control)) = (Pair::default(), migration_with(stage, options).await);
            pair.source.set(1, "1:a");
            pair.target.set(1, "1:b");
            pair.read(&migration, 1).await.unwrap();
            tokio::time::sleep(AFTER_REREADS).await;
            let expected = match sample_values {
                SampleValues::Withheld => None,
                SampleValues::Shared => Some(["\"1:a\"".to_owned(), "\"1:b\"".to_owned()]),
            };
            let seen = migration.observe();
            assert_eq!(seen.operations[0].samples[0].values, expected, "{stage} {sample_values:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_passing_difference_is_a_match() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::Shadow).await);
    pair.source.set(1, "1:a");
    pair.read(&migration, 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    pair.target.set(1, "1:a");
    tokio::time::sleep(AFTER_REREADS).await;
    let seen = migration.observe();
    assert_eq!((seen.total(|seen| seen.matched), seen.total(|seen| seen.mismatched)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_secondary_adds_nothing_to_a_read() {
    for fault in
        [Fault::Slow(Duration::from_millis(200)), Fault::Hang, Fault::Panic, Fault::RefuseBefore, Fault::LoseAnswer]
    {
        let (pair, (migration, _control)) = (Pair::default(), migration(Stage::Shadow).await);
        pair.source.set(1, "1:a");
        pair.target.fault(fault);
        let began = Instant::now();
        assert_eq!(pair.read(&migration, 1).await.unwrap().as_deref(), Some("1:a"), "{fault:?}");
        assert_eq!(began.elapsed(), Duration::ZERO, "{fault:?}");
        tokio::time::sleep(Duration::from_secs(9)).await;
        let seen = migration.observe();
        let judged = seen.total(|seen| seen.compared) + seen.total(|seen| seen.unknown);
        assert_eq!((judged, seen.secondary_in_flight), (1, 0), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_authoritys_error_is_the_callers_and_is_not_compared() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::Shadow).await);
    pair.source.fault(Fault::LoseAnswer);
    assert_eq!(pair.read(&migration, 1).await, Err(Error::Lost));
    tokio::time::sleep(AFTER_REREADS).await;
    assert_eq!(pair.target.calls(), 0);
    assert_eq!(migration.observe().total(|seen| seen.authority_errors), 1);
}

#[tokio::test(start_paused = true)]
async fn rows_that_the_backfill_has_not_reached_count_apart() {
    let options = Options { history: History::Pending, ..Options::default() };
    let (pair, (migration, _control)) = (Pair::default(), migration_with(Stage::Shadow, options).await);
    pair.source.set(1, "1:a");
    pair.read(&migration, 1).await.unwrap();
    pair.source.set(2, "2:a");
    pair.target.set(2, "2:b");
    pair.read(&migration, 2).await.unwrap();
    tokio::time::sleep(AFTER_REREADS).await;
    let seen = migration.observe();
    assert_eq!((seen.total(|seen| seen.not_backfilled), seen.total(|seen| seen.mismatched)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_comparator_that_panics_is_an_unknown_comparison() {
    let (migration, _control) = migration(Stage::Shadow).await;
    let read = migration
        .read(&1u64)
        .source(|| async { Ok::<_, Error>(1) })
        .target(|| async { Ok(1) })
        .compare(|_: &i32, _: &i32| -> crossfade::compare::Comparison { panic!("on purpose") });
    assert_eq!(read.run(Error::Refused).await, Ok(1));
    tokio::time::sleep(AFTER_REREADS).await;
    assert_eq!(migration.observe().total(|seen| seen.unknown), 1);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_budget_reads_go_uncompared() {
    let options = Options { secondary_in_flight: 1, ..Options::default() };
    let (pair, (migration, _control)) = (Pair::default(), migration_with(Stage::Shadow, options).await);
    pair.target.fault(Fault::Hang);
    pair.read(&migration, 1).await.unwrap();
    pair.read(&migration, 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(migration.observe().total(|seen| seen.skipped), 1);
}

#[tokio::test(start_paused = true)]
async fn a_comparison_that_sleeps_or_hangs_takes_no_budget_from_a_write() {
    let options = Options { secondary_in_flight: 1, ..Options::default() };
    let (pair, (migration, _control)) = (Pair::default(), migration_with(Stage::Shadow, options).await);
    pair.source.set(1, "1:source");
    pair.target.set(1, "1:target");
    pair.read(&migration, 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    // It differs, and waits until it reads again. Another one has the only call meanwhile.
    pair.read(&migration, 2).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(migration.observe().total(|seen| seen.matched), 1);
    pair.target.fault(Fault::Hang);
    pair.read(&migration, 3).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    pair.write(&migration, 4, "4:a").await.unwrap();
    assert!(migration.marks().is_empty(), "the write was over the budget");
    assert_eq!(migration.observe().total(|seen| seen.skipped), 0);
}

#[tokio::test(start_paused = true)]
async fn a_difference_across_a_change_of_plan_is_unknown() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Shadow).await);
    pair.source.set(1, "1:a");
    pair.read(&migration, 1).await.unwrap();
    control.advance(crossfade::Position::at(Stage::DualWrite)).await.unwrap();
    tokio::time::sleep(AFTER_REREADS).await;
    let seen = migration.observe();
    assert_eq!((seen.total(|seen| seen.unknown), seen.total(|seen| seen.mismatched)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn reads_of_several_keys_are_split_by_where_they_stand() {
    use crossfade::{Migration, Plan, PlanSpec, Position, plan};
    let half = Position::ramping(Stage::Shadow.edge().unwrap(), "50".parse().unwrap());
    let first = Plan::new(PlanSpec::at("events", Stage::Off)).unwrap().settled_at(half).unwrap();
    let migration = Migration::builder("events").plan(plan::fixed(first)).build().await.unwrap();
    let operation = migration.operation("many");
    let parts = operation.split_read(0..40u64).unwrap();
    assert_eq!(parts.len(), 2);
    for part in &parts {
        for place in &part.places {
            let stage = migration.stage_of(&(*place as u64)).unwrap();
            assert_eq!(part.ticket.authority(), stage.authority());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_difference_while_a_dual_write_is_under_way_does_not_count() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::Shadow).await);
    pair.write(&migration, 1, "1:a").await.unwrap();
    // The source has the new value for longer than all rereads of a quiet key take.
    pair.target.fault(Fault::Slow(Duration::from_millis(1_500)));
    pair.write(&migration, 1, "1:b").await.unwrap();
    pair.read(&migration, 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let seen = migration.observe();
    assert_eq!((seen.total(|seen| seen.matched), seen.total(|seen| seen.mismatched)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_difference_of_a_marked_row_is_known_already() {
    let (pair, (migration, _control)) = (Pair::default(), migration(Stage::Shadow).await);
    pair.target.fault(Fault::RefuseBefore);
    pair.write(&migration, 1, "1:a").await.unwrap();
    pair.read(&migration, 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let seen = migration.observe();
    assert_eq!((seen.total(|seen| seen.unknown), seen.total(|seen| seen.mismatched)), (1, 0));
}
