//! Backfill: paths, checkpoints, maps, stops.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use common::{COHORT, Lab, To, backfill, options, silent, verify};
use crossfade_api::exit::Exit;
use crossfade_stores::{
    Capabilities, ErrorKind, Position, Range, RowKey, Value,
    faults::{Fault, Point},
};
use crossfade_transfer::{
    TransferError,
    backfill::{self, Exclusive, Options},
    pace::{Control, Order},
    progress::{Counters, Event},
    verify::Verdict,
};

const DDL: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text)";
const SQLITE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)";
const ROWS: &str = "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 1000) i";

/// Nothing lands after this.
fn shortly(capabilities: &mut Capabilities) {
    capabilities.linger = Duration::from_millis(100);
}

fn kept(folder: &Path) -> Options {
    Options { checkpoint: Some(folder.join("state").join("t.backfill")), ..options() }
}

#[tokio::test]
async fn a_run_that_fails_goes_on_from_its_checkpoint() {
    for to in [To::Postgres, To::Sqlite] {
        let lab = Lab::new("resumes", to, DDL, if to == To::Sqlite { SQLITE } else { DDL }).await;
        lab.at_source(ROWS).await;
        let options = kept(lab.folder());
        let (pair, _, target) = lab.pair(COHORT, shortly).await;
        target.at(Point::Write, 5, Fault::Refuse(ErrorKind::Full));
        let error = backfill(&pair, &options).await.unwrap_err();
        assert!(matches!(&error, TransferError::Store(e) if e.kind() == ErrorKind::Full), "{error}");
        let (pair, source, _) = lab.pair(COHORT, shortly).await;
        let report = backfill(&pair, &options).await.unwrap();
        // Ten full chunks and the open one at the end.
        assert_eq!(report.chunks + report.chunks_resumed, 11);
        assert!(report.chunks_resumed >= 4, "what was done is not done again: {report:?}");
        assert!(report.rows_read <= 1_000 - 100 * (report.chunks_resumed - 1), "{report:?}");
        assert_eq!(source.calls(Point::Split), 0, "the ranges are those of the first run");
        let outcome = verify(&pair).await;
        assert_eq!((outcome.report.verdict, outcome.report.rows_target), (Verdict::Verified, 1_000));
        // A completed checkpoint begins a new generation.
        let report = backfill(&pair, &options).await.unwrap();
        assert_eq!((report.chunks_resumed, report.rows_unchanged, report.rows_written), (0, 1_000, 0));
        lab.end().await;
    }
}

#[tokio::test]
async fn a_torn_line_is_a_chunk_done_again() {
    let lab = Lab::new("torn", To::Postgres, DDL, DDL).await;
    lab.at_source(ROWS).await;
    let options = kept(lab.folder());
    let path = options.checkpoint.clone().unwrap();
    let (pair, _, target) = lab.pair(COHORT, shortly).await;
    target.at(Point::Write, 6, Fault::Refuse(ErrorKind::Full));
    backfill(&pair, &options).await.unwrap_err();
    let whole = std::fs::read_to_string(&path).unwrap();
    let done = whole.matches("done").count();
    let torn = whole.rfind("done").unwrap() + 2;
    std::fs::write(&path, &whole[..torn]).unwrap();
    let (pair, ..) = lab.pair(COHORT, shortly).await;
    let report = backfill(&pair, &options).await.unwrap();
    assert_eq!(report.chunks_resumed as usize, done - 1);
    for line in std::fs::read_to_string(&path).unwrap().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
    // A checkpoint of another configuration is refused, not used.
    std::fs::write(&path, whole.replace("\"fingerprint\":\"", "\"fingerprint\":\"f")).unwrap();
    let error = backfill(&pair, &options).await.unwrap_err();
    assert!(error.to_string().contains("another configuration"), "{error}");
    lab.end().await;
}

#[tokio::test]
async fn put_then_deleted_then_killed_before_any_chunk_was_recorded_stays_deleted() {
    let lab = Lab::new("killed_first", To::Sqlite, DDL, SQLITE).await;
    lab.at_source("INSERT INTO t VALUES (1, 'doomed'), (2, 'stays')").await;
    let options = kept(lab.folder());
    let delete = "DELETE FROM t WHERE id = 1";
    // Ranges that do not merge: nobody looks for rows that only the target has on the way.
    let (pair, source, target) = lab.pair(COHORT, |c| c.ordered = false).await;
    target.at(Point::Write, 0, Fault::Before(lab.on(delete, delete)));
    // The second read does not come: as if the process had died there.
    source.at(Point::Read, 0, Fault::Refuse(ErrorKind::Full));
    backfill(&pair, &options).await.unwrap_err();
    assert_eq!((source.unplayed(), target.unplayed()), (vec![], vec![]));
    let (pair, ..) = lab.pair(COHORT, |c| c.ordered = false).await;
    let report = backfill(&pair, &options).await.unwrap();
    assert_eq!((report.chunks_resumed, report.rows_deleted), (0, 1));
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    lab.end().await;
}

/// R9: the killed run's put lands after the row was deleted on both sides. A run that looked at the row before that would leave it there.
#[tokio::test]
async fn put_under_way_then_killed_then_deleted_then_landed_is_waited_for_and_taken_back() {
    for restart in [false, true] {
        let lab = Lab::new("lands_after_kill", To::Sqlite, DDL, SQLITE).await;
        lab.at_source("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 300) i").await;
        let first = kept(lab.folder());
        // Ranges that do not merge are shuffled: whichever chunk is first has the put.
        let (pair, _, target) = lab.pair(COHORT, |c| c.linger = Duration::from_secs(60)).await;
        let (land, may_land) = tokio::sync::oneshot::channel::<()>();
        target.at(Point::Write, 0, Fault::LandsLater(Box::pin(async move { may_land.await.unwrap() })));
        // The answer never comes, and nobody waits for it any more: as a kill leaves it.
        let run = backfill(&pair, &first);
        assert!(tokio::time::timeout(Duration::from_millis(500), run).await.is_err(), "it waits for the linger");
        // A user deletes every row, on both sides.
        lab.on_both("DELETE FROM t WHERE id <= 300").await;
        let linger = Duration::from_millis(700);
        let (pair, ..) = lab.pair(COHORT, |c| c.linger = linger).await;
        // One that is stopped while it waits changes nothing about that.
        let stopped = Control::default();
        let (counters, nobody) = (Arc::new(Counters::default()), silent());
        let run = backfill::run(&pair, &first, &stopped, &counters, &nobody);
        let stop = async {
            tokio::time::sleep(linger / 4).await;
            stopped.tell(Order::Stop);
        };
        let (run, ()) = futures::join!(run, stop);
        assert!(matches!(run, Err(TransferError::Stopped)), "{run:?}");
        let notes = Arc::new(common::Notes::default());
        let observer: Arc<dyn crossfade_transfer::progress::Observer> = notes.clone();
        let second = Options { restart, ..first };
        let landing = async {
            tokio::time::sleep(linger / 2).await;
            land.send(()).unwrap();
        };
        let counters = Arc::new(Counters::default());
        let control = Control::default();
        let run = backfill::run(&pair, &second, &control, &counters, &observer);
        let (report, ()) = futures::join!(run, landing);
        assert!(report.unwrap().rows_deleted > 0, "restart {restart}: what landed was found and taken back");
        let waited = notes.0.borrow().iter().filter(|e| matches!(e, Event::WaitingForKilledRun { .. })).count();
        assert_eq!(waited, 1, "restart {restart}: and said once");
        let outcome = verify(&pair).await.report;
        assert_eq!((outcome.verdict, outcome.rows_target), (Verdict::Verified, 0), "restart {restart}");
        lab.end().await;
    }
}

#[tokio::test]
async fn two_runs_do_not_share_a_checkpoint() {
    let lab = Lab::new("two_runs", To::Sqlite, DDL, SQLITE).await;
    lab.at_source("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 300) i").await;
    let options = kept(lab.folder());
    let (pair, source, target) = lab.pair(COHORT, shortly).await;
    let (go_on, may_go_on) = tokio::sync::oneshot::channel::<()>();
    target.at(Point::Write, 0, Fault::After(Box::pin(async move { may_go_on.await.unwrap() })));
    let first = backfill(&pair, &options);
    let second = async {
        while target.calls(Point::Write) == 0 {
            tokio::task::yield_now().await;
        }
        let asked = source.calls(Point::Split);
        for restart in [false, true] {
            let options = Options { restart, ..options.clone() };
            let again = tokio::time::timeout(Duration::from_secs(20), backfill(&pair, &options)).await;
            let error = again.unwrap().unwrap_err();
            assert!(matches!(error, TransferError::Checkpoint { .. }), "{error}");
            assert!(error.to_string().contains("another backfill of this table is running"), "{error}");
        }
        assert_eq!(source.calls(Point::Split), asked, "it did nothing");
        go_on.send(()).unwrap();
    };
    let (first, ()) = futures::join!(first, second);
    assert_eq!(first.unwrap().rows_written, 300);
    assert_eq!(backfill(&pair, &options).await.unwrap().rows_unchanged, 300, "the next one may");
    lab.end().await;
}

#[tokio::test]
async fn a_run_that_was_told_to_stop_is_followed_at_once() {
    let lab = Lab::new("stopped_clean", To::Sqlite, DDL, SQLITE).await;
    lab.at_source("INSERT INTO t SELECT i * 10, 'v' || i FROM generate_series(1, 1000) i").await;
    let options = kept(lab.folder());
    let (pair, source, target) = lab.pair(COHORT, |c| c.linger = Duration::from_secs(600)).await;
    // Chunks that have grown since they were cut have several pages: one ends between two of them.
    let grow = "INSERT INTO t SELECT i * 10 + 5, 'w' || i FROM generate_series(1, 1000) i";
    source.at(Point::Split, 0, Fault::After(lab.on(grow, "")));
    let control = Control::default();
    let stop = control.clone();
    target.at(Point::Write, 8, Fault::After(Box::pin(async move { stop.tell(Order::Stop) })));
    let counters = Arc::new(Counters::default());
    let stopped = backfill::run(&pair, &options, &control, &counters, &silent()).await;
    assert!(matches!(stopped, Err(TransferError::Stopped)));
    let again = tokio::time::timeout(Duration::from_secs(60), backfill(&pair, &options)).await;
    assert!(again.unwrap().unwrap().chunks_resumed > 0, "it waits for nobody");
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    lab.end().await;
}

#[tokio::test]
async fn the_bulk_path_wants_a_declaration_and_an_empty_target() {
    for to in [To::Postgres, To::Sqlite] {
        let lab = Lab::new("bulk", to, DDL, if to == To::Sqlite { SQLITE } else { DDL }).await;
        lab.at_source(ROWS).await;
        let (pair, source, target) = lab.pair(COHORT, |_| {}).await;
        let exclusive = Options { exclusive: Exclusive::Declared, ..options() };
        let report = backfill(&pair, &exclusive).await.unwrap();
        assert_eq!((report.rows_read, report.rows_written), (1_000, 1_000));
        assert_eq!(
            (source.calls(Point::Read), target.calls(Point::Write)),
            (0, 0),
            "{to:?}: no second read, no conditional put"
        );
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
        // Again: the target is not empty, so every row is reconciled.
        lab.at_target("UPDATE t SET v = 'other' WHERE id = 5").await;
        let report = backfill(&pair, &exclusive).await.unwrap();
        assert_eq!((report.rows_written, report.rows_unchanged), (1, 999), "{to:?}");
        lab.end().await;
    }
}

#[tokio::test]
async fn a_bulk_run_killed_between_load_and_checkpoint_goes_on() {
    for to in [To::Postgres, To::Sqlite] {
        let lab = Lab::new("bulk_killed", to, DDL, if to == To::Sqlite { SQLITE } else { DDL }).await;
        lab.at_source(ROWS).await;
        let options = Options { exclusive: Exclusive::Declared, parallel: 1, ..kept(lab.folder()) };
        let path = options.checkpoint.clone().unwrap();
        let (pair, ..) = lab.pair(COHORT, shortly).await;
        backfill(&pair, &options).await.unwrap();
        // As a kill leaves it: the rows of three more chunks are there than the file says, the first of them begun, and half of another.
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        std::fs::write(&path, lines[..lines.len() - 7].join("\n") + "\n").unwrap();
        lab.at_target("DELETE FROM t WHERE id % 100 < 50 AND id > 700").await;
        let report = backfill(&pair, &options).await.unwrap();
        assert_eq!(report.chunks, 3, "{to:?}");
        // Chunks that the file calls done are not looked at: put back what this test took from them.
        backfill(&pair, &common::options()).await.unwrap();
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified, "{to:?}");
        lab.end().await;
    }
}

#[tokio::test]
async fn keys_made_from_templates_are_found_again_from_both_sides() {
    let lab = Lab::new(
        "templates",
        To::Sqlite,
        "CREATE TABLE t (id int8 PRIMARY KEY, user_id text NOT NULL, amount numeric(12,2), note text)",
        "CREATE TABLE t (pk TEXT, sk TEXT, id INTEGER, user_id TEXT, amount REAL, PRIMARY KEY (pk, sk))",
    )
    .await;
    lab.at_source("INSERT INTO t SELECT i, 'u' || i % 7, i * 1.5, 'n' FROM generate_series(1, 400) i").await;
    let config = "cohort = [\"user_id\"]\n[migration.m.table.t.map]\npk = \"USER#{user_id}\"\nsk = \"EVENT#{id}\"\nnote = { ignore = \"not needed\" }\namount = { lossy = \"float\" }";
    let (pair, ..) = lab.pair(config, |_| {}).await;
    assert!(!pair.mergeable(), "another key: no merging");
    let report = backfill(&pair, &options()).await.unwrap();
    assert_eq!(report.rows_written, 400);
    let row = pair.target.scan(&Range::ALL, &Position::Start, 1).await.unwrap().rows.remove(0);
    assert!(row.0.contains(&Value::Text("USER#u0".to_owned())) && row.0.contains(&Value::Float64(157.5)), "{row:?}");
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    lab.at_target("UPDATE t SET amount = 1 WHERE id = 8; DELETE FROM t WHERE id = 9; INSERT INTO t (pk, sk, id, user_id) VALUES ('USER#u9', 'EVENT#999', 999, 'u9')").await;
    let outcome = verify(&pair).await;
    assert_eq!((outcome.report.different, outcome.report.missing_in_target, outcome.report.extra_in_target), (1, 1, 1));
    // A second backfill looks for rows that only the target has.
    let report = backfill(&pair, &options()).await.unwrap();
    assert_eq!((report.rows_written, report.rows_deleted), (2, 1));
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    lab.end().await;
}

#[tokio::test]
async fn two_rows_that_would_be_one_in_the_target_are_named() {
    let lab = Lab::new(
        "collide",
        To::Sqlite,
        "CREATE TABLE t (a text COLLATE \"C\", b text COLLATE \"C\", v text, PRIMARY KEY (a, b))",
        "CREATE TABLE t (pk TEXT PRIMARY KEY, a TEXT, b TEXT, v TEXT)",
    )
    .await;
    lab.at_source("INSERT INTO t VALUES ('x', 'y#z', 'one'), ('x#y', 'z', 'two'), ('p', 'q', 'three')").await;
    let (pair, ..) = lab.pair("cohort = [\"a\"]\n[migration.m.table.t.map]\npk = \"{a}#{b}\"", |_| {}).await;
    let error = backfill(&pair, &options()).await.unwrap_err();
    assert!(matches!(&error, TransferError::Rows { rows: 1, first } if first.contains("tell them apart")), "{error}");
    assert!(!error.to_string().contains("y#z"), "no row values: {error}");
    let digests =
        [("x", "y#z"), ("x#y", "z")].map(|(a, b)| RowKey([a, b].map(|v| Value::Text(v.to_owned())).to_vec()).digest());
    assert!(digests.iter().any(|digest| error.to_string().contains(digest)), "which row: {error}");
    assert_eq!(error.exit(), Exit::Failed);
    let outcome = verify(&pair).await;
    assert_eq!(outcome.report.verdict, Verdict::Diverged);
    lab.end().await;
}

#[tokio::test]
async fn a_row_that_the_target_refuses_is_named_and_the_others_are_copied() {
    let lab =
        Lab::new("refuses", To::Postgres, DDL, "CREATE TABLE t (id int8 PRIMARY KEY, v text CHECK (v <> 'v77'))").await;
    lab.at_source(ROWS).await;
    let options = kept(lab.folder());
    let (pair, ..) = lab.pair(COHORT, |_| {}).await;
    let error = backfill(&pair, &options).await.unwrap_err();
    assert!(matches!(&error, TransferError::Rows { rows: 1, first } if first.contains("t_v_check")), "{error}");
    assert!(!error.to_string().contains("v77"), "{error}");
    // Repaired by hand, the same command does that chunk alone.
    lab.at_target("ALTER TABLE t DROP CONSTRAINT t_v_check").await;
    let report = backfill(&pair, &options).await.unwrap();
    assert_eq!((report.chunks, report.chunks_resumed, report.rows_written), (1, 10, 1));
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    lab.end().await;
}

#[tokio::test]
async fn paused_then_resumed_then_stopped_then_gone_on() {
    let lab = Lab::new("paused", To::Postgres, DDL, DDL).await;
    lab.at_source(ROWS).await;
    let options = Options { parallel: 1, ..kept(lab.folder()) };
    let (pair, _, target) = lab.pair(COHORT, |_| {}).await;
    let control = Control::default();
    let pause = control.clone();
    target.at(Point::Write, 3, Fault::After(Box::pin(async move { pause.tell(Order::Pause) })));
    let stop = control.clone();
    target.at(Point::Write, 6, Fault::After(Box::pin(async move { stop.tell(Order::Stop) })));
    let counters = Arc::new(Counters::default());
    let running = tokio::spawn({
        let (pair, options, control, counters) = (pair.clone(), options.clone(), control.clone(), counters.clone());
        async move { backfill::run(&pair, &options, &control, &counters, &silent()).await }
    });
    while target.calls(Point::Write) < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It stands still: nobody resumes it but us.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(target.calls(Point::Write), 4);
    }
    control.tell(Order::Run);
    assert!(matches!(running.await.unwrap(), Err(TransferError::Stopped)));
    assert_eq!(target.calls(Point::Write), 7, "no chunk began after the stop");
    let report = backfill(&pair, &options).await.unwrap();
    assert!(report.chunks_resumed >= 7, "{report:?}");
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    lab.end().await;
}
