//! Every race of R9, forced on real databases: each test is named after its interleaving.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{COHORT, Lab, Notes, To, backfill, options, verify};
use crossfade_stores::{
    Position, Range, Row, Value,
    faults::{Fault, Point},
};
use crossfade_transfer::{
    Pair,
    pace::Control,
    progress::{Counters, Event, Observer},
    verify::Verdict,
};

const DDL: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text)";
const SQLITE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)";

async fn lab(name: &str, to: To) -> Lab {
    Lab::new(name, to, DDL, if to == To::Sqlite { SQLITE } else { DDL }).await
}

async fn target_rows(pair: &Pair) -> Vec<(i64, String)> {
    let page = pair.target.scan(&Range::ALL, &Position::Start, 1_000).await.unwrap();
    page.rows
        .into_iter()
        .map(|Row(v)| match &v[..] {
            [Value::Int(id), Value::Text(t)] => (*id, t.clone()),
            other => panic!("{other:?}"),
        })
        .collect()
}

async fn ends_as(pair: &Pair, rows: &[(i64, &str)]) {
    let rows: Vec<(i64, String)> = rows.iter().map(|(i, t)| (*i, (*t).to_owned())).collect();
    assert_eq!(target_rows(pair).await, rows);
    assert_eq!(verify(pair).await.report.verdict, Verdict::Verified);
}

/// Both targets: one whose rows merge with the source's, and one of another engine.
const BOTH: [To; 2] = [To::Postgres, To::Sqlite];

#[tokio::test]
async fn source_is_read_then_update_on_both_then_copy_keeps_the_update() {
    for to in BOTH {
        let lab = lab("update_both", to).await;
        lab.at_source("INSERT INTO t VALUES (1, 'v1')").await;
        let (pair, _, target) = lab.pair(COHORT, |_| {}).await;
        target.at(Point::Write, 0, Fault::Before(lab.on("UPDATE t SET v = 'v2'", "INSERT INTO t VALUES (1, 'v2')")));
        let report = backfill(&pair, &options()).await.unwrap();
        assert_eq!((target.unplayed(), report.rows_written, report.rows_unchanged), (vec![], 0, 1));
        ends_as(&pair, &[(1, "v2")]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn source_is_read_then_update_by_an_instance_still_at_off_then_copy_takes_the_update() {
    for to in BOTH {
        let lab = lab("update_off", to).await;
        lab.at_source("INSERT INTO t VALUES (1, 'v1')").await;
        let (pair, _, target) = lab.pair(COHORT, |_| {}).await;
        // Between the read and the put, on the source alone.
        target.at(Point::Write, 0, Fault::Before(lab.on("UPDATE t SET v = 'v2'", "")));
        backfill(&pair, &options()).await.unwrap();
        assert!(target.unplayed().is_empty());
        ends_as(&pair, &[(1, "v2")]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn dual_written_once_then_overwritten_by_an_instance_still_at_off_is_not_left_stale() {
    for to in BOTH {
        let lab = lab("stale_off", to).await;
        lab.at_source("INSERT INTO t VALUES (1, 'v2')").await;
        lab.at_target("INSERT INTO t VALUES (1, 'v1')").await;
        let (pair, ..) = lab.pair(COHORT, |_| {}).await;
        let report = backfill(&pair, &options()).await.unwrap();
        assert_eq!(report.rows_written, 1);
        ends_as(&pair, &[(1, "v2")]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn a_row_that_only_the_target_has_goes_though_every_other_row_is_put_at_once() {
    for to in BOTH {
        let lab = lab("extra", to).await;
        lab.at_source("INSERT INTO t VALUES (1, 'v'), (3, 'v')").await;
        lab.at_target("INSERT INTO t VALUES (2, 'of an earlier claim')").await;
        let (pair, ..) = lab.pair(COHORT, |_| {}).await;
        let report = backfill(&pair, &options()).await.unwrap();
        assert_eq!((report.rows_written, report.rows_deleted), (2, 1));
        ends_as(&pair, &[(1, "v"), (3, "v")]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn read_then_delete_on_both_then_copy_stays_deleted() {
    for to in BOTH {
        let lab = lab("deleted", to).await;
        lab.at_source("INSERT INTO t VALUES (1, 'v'), (2, 'stays')").await;
        let (pair, _, target) = lab.pair(COHORT, |_| {}).await;
        target.at(Point::Write, 0, Fault::Before(lab.on_both("DELETE FROM t WHERE id = 1")));
        let report = backfill(&pair, &options()).await.unwrap();
        assert!(target.unplayed().is_empty());
        assert_eq!(
            (report.rows_written, report.rows_deleted),
            (1, 1),
            "the copy was put, and taken back by the second read"
        );
        ends_as(&pair, &[(2, "stays")]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn read_then_copy_then_delete_on_both_before_the_second_read_stays_deleted() {
    for to in BOTH {
        let lab = lab("deleted_after", to).await;
        lab.at_source("INSERT INTO t VALUES (1, 'v')").await;
        let (pair, _, target) = lab.pair(COHORT, |_| {}).await;
        target.at(Point::Write, 0, Fault::After(lab.on_both("DELETE FROM t WHERE id = 1")));
        backfill(&pair, &options()).await.unwrap();
        assert!(target.unplayed().is_empty());
        ends_as(&pair, &[]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn read_then_delete_then_copy_then_insert_again_keeps_the_new_row() {
    for to in BOTH {
        let lab = lab("again", to).await;
        lab.at_source("INSERT INTO t VALUES (1, 'old')").await;
        let (pair, source, target) = lab.pair(COHORT, |_| {}).await;
        target.at(Point::Write, 0, Fault::Before(lab.on_both("DELETE FROM t WHERE id = 1")));
        // The copy put `old` back; now the live write finds a row in the target, and overwrites it.
        target.at(
            Point::Write,
            0,
            Fault::After(lab.on(
                "INSERT INTO t VALUES (1, 'new')",
                "INSERT INTO t VALUES (1, 'new') ON CONFLICT (id) DO UPDATE SET v = 'new'",
            )),
        );
        backfill(&pair, &options()).await.unwrap();
        assert!(target.unplayed().is_empty() && source.unplayed().is_empty());
        ends_as(&pair, &[(1, "new")]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn there_only_while_the_bytes_were_read_is_taken_back() {
    let lab = lab("only_while", To::Postgres).await;
    lab.at_source("INSERT INTO t VALUES (1, 'v')").await;
    let (pair, source, target) = lab.pair(COHORT, |_| {}).await;
    // By an instance still at off, between the moment and the read of the bytes; and gone again before the second read.
    source.at(Point::Scan, 0, Fault::After(lab.on("INSERT INTO t VALUES (2, 'ghost')", "")));
    target.at(Point::Write, 0, Fault::Before(lab.on("DELETE FROM t WHERE id = 2", "")));
    let report = backfill(&pair, &options()).await.unwrap();
    assert_eq!((source.unplayed(), target.unplayed()), (vec![], vec![]));
    assert_eq!((report.rows_written, report.rows_deleted), (1, 1), "nothing is new, but one was put that is not there");
    ends_as(&pair, &[(1, "v")]).await;
    lab.end().await;
}

#[tokio::test]
async fn moment_taken_then_update_by_an_instance_still_at_off_then_bytes_read_takes_the_update() {
    let lab = lab("versions_off", To::Postgres).await;
    lab.at_source("INSERT INTO t VALUES (1, 'v1'), (2, 'still')").await;
    let (pair, source, _) = lab.pair(COHORT, |_| {}).await;
    source.at(Point::Scan, 0, Fault::After(lab.on("UPDATE t SET v = 'v2' WHERE id = 1", "")));
    // After the second read has begun it is as good as before: put, and written over by nobody.
    source.at(Point::Scan, 1, Fault::After(lab.on("UPDATE t SET v = 'v3' WHERE id = 1", "")));
    backfill(&pair, &options()).await.unwrap();
    assert!(source.unplayed().is_empty());
    ends_as(&pair, &[(1, "v3"), (2, "still")]).await;
    lab.end().await;
}

#[tokio::test]
async fn a_transaction_that_was_open_at_the_moment_and_commits_after_the_bytes_were_read_is_not_missed() {
    let lab = lab("open_at_moment", To::Postgres).await;
    lab.at_source("INSERT INTO t VALUES (1, 'v1'), (2, 'still')").await;
    let (pair, source, _) = lab.pair(COHORT, |_| {}).await;
    let (client, connection) = tokio_postgres::connect(&lab.source_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let client = Arc::new(client);
    // It has its number before the moment, and others take theirs and end meanwhile: only the oldest open one is a moment.
    let (begins, commits) = (client.clone(), client);
    let another = lab.on("INSERT INTO t VALUES (3, 'soon gone'); DELETE FROM t WHERE id = 3", "");
    source.at(
        Point::Scan,
        0,
        Fault::Before(Box::pin(async move {
            begins.batch_execute("BEGIN; UPDATE t SET v = 'v2' WHERE id = 1").await.unwrap();
            another.await;
        })),
    );
    source.at(Point::Scan, 1, Fault::After(Box::pin(async move { commits.batch_execute("COMMIT").await.unwrap() })));
    backfill(&pair, &options()).await.unwrap();
    assert!(source.unplayed().is_empty());
    ends_as(&pair, &[(1, "v2"), (2, "still")]).await;
    lab.end().await;
}

#[tokio::test]
async fn bytes_read_then_one_deleted_another_updated_and_a_third_born_before_the_second_read() {
    let lab = lab("one_of_each", To::Postgres).await;
    lab.at_source("INSERT INTO t VALUES (1, 'deleted'), (2, 'v'), (3, 'still')").await;
    let (pair, source, target) = lab.pair(COHORT, |_| {}).await;
    // As many rows as before, and as many new versions as old ones that are gone: the sums alone would not tell.
    target.at(
        Point::Write,
        0,
        Fault::After(lab.on(
            "DELETE FROM t WHERE id = 1; UPDATE t SET v = 'v2' WHERE id = 2; INSERT INTO t VALUES (4, 'born')",
            "",
        )),
    );
    let report = backfill(&pair, &options()).await.unwrap();
    assert_eq!((source.unplayed(), target.unplayed()), (vec![], vec![]));
    assert_eq!((report.rows_written, report.rows_deleted), (3, 1));
    ends_as(&pair, &[(2, "v2"), (3, "still"), (4, "born")]).await;
    lab.end().await;
}

#[tokio::test]
async fn put_by_a_live_write_between_the_read_of_the_target_and_the_put_of_the_bytes_is_not_put_twice() {
    let lab = lab("put_between", To::Postgres).await;
    lab.at_source("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 20) i").await;
    let (pair, _, target) = lab.pair(COHORT, |_| {}).await;
    // The bytes are refused as a whole, and go without that row.
    target.at(
        Point::Write,
        0,
        Fault::Before(lab.on_both("INSERT INTO t VALUES (7, 'live') ON CONFLICT (id) DO UPDATE SET v = 'live'")),
    );
    let report = backfill(&pair, &options()).await.unwrap();
    assert!(target.unplayed().is_empty());
    assert_eq!(
        (report.rows_read, report.rows_written, report.rows_unchanged, target.calls(Point::Write)),
        (20, 19, 1, 2)
    );
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    lab.end().await;
}

#[tokio::test]
async fn delete_seen_then_insert_again_on_both_before_the_delete_is_not_deleted() {
    for to in BOTH {
        let lab = lab("not_deleted", to).await;
        // Only the target has it: the backfill will delete it.
        lab.at_target("INSERT INTO t VALUES (1, 'ghost')").await;
        let (pair, _, target) = lab.pair(COHORT, |_| {}).await;
        // The row is born on both sides, with another value, between the read and the delete.
        target.at(
            Point::Write,
            0,
            Fault::Before(lab.on("INSERT INTO t VALUES (1, 'born')", "UPDATE t SET v = 'born' WHERE id = 1")),
        );
        backfill(&pair, &options()).await.unwrap();
        assert!(target.unplayed().is_empty());
        ends_as(&pair, &[(1, "born")]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn delete_seen_then_the_same_value_born_on_both_before_the_delete_is_put_back() {
    for to in BOTH {
        let lab = lab("put_back", to).await;
        lab.at_target("INSERT INTO t VALUES (1, 'same')").await;
        let (pair, _, target) = lab.pair(COHORT, |_| {}).await;
        // The very value that was seen: compare-and-set cannot tell, the second read does.
        target.at(Point::Write, 0, Fault::Before(lab.on("INSERT INTO t VALUES (1, 'same')", "")));
        backfill(&pair, &options()).await.unwrap();
        assert!(target.unplayed().is_empty());
        ends_as(&pair, &[(1, "same")]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn toggled_there_and_back_between_read_and_put() {
    for to in BOTH {
        let lab = lab("toggled", to).await;
        lab.at_source("INSERT INTO t VALUES (1, 'on')").await;
        lab.at_target("INSERT INTO t VALUES (1, 'was')").await;
        let (pair, _, target) = lab.pair(COHORT, |_| {}).await;
        // The target goes was -> off -> was while the source goes on -> off: compare-and-set is fooled into putting `on`.
        target.at(
            Point::Write,
            0,
            Fault::Before(lab.on("UPDATE t SET v = 'off'", "UPDATE t SET v = 'off'; UPDATE t SET v = 'was'")),
        );
        backfill(&pair, &options()).await.unwrap();
        assert!(target.unplayed().is_empty());
        ends_as(&pair, &[(1, "off")]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn a_source_transaction_that_commits_late_is_not_missed() {
    let lab = lab("late_commit", To::Postgres).await;
    lab.at_source("INSERT INTO t VALUES (5, 'early')").await;
    let (pair, ..) = lab.pair(COHORT, |_| {}).await;
    let (client, connection) = tokio_postgres::connect(&lab.source_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; INSERT INTO t VALUES (1, 'late')").await.unwrap();
    let notes = Arc::new(Notes::default());
    let mut waiting = notes.0.subscribe();
    let running = tokio::spawn({
        let (pair, notes) = (pair.clone(), notes.clone());
        async move {
            let observer: Arc<dyn Observer> = notes;
            crossfade_transfer::backfill::run(
                &pair,
                &options(),
                &Control::default(),
                &Arc::new(Counters::default()),
                &observer,
            )
            .await
        }
    });
    // It says for what it waits, before it reads anything.
    let seen = waiting.wait_for(|events| !events.is_empty()).await.unwrap().clone();
    assert_eq!(seen, [Event::WaitingForOlderWriters]);
    client.batch_execute("COMMIT").await.unwrap();
    running.await.unwrap().unwrap();
    ends_as(&pair, &[(1, "late"), (5, "early")]).await;
    lab.end().await;
}

#[tokio::test]
async fn a_put_that_times_out_and_lands_after_a_delete_is_taken_back() {
    for to in BOTH {
        let lab = lab("lands_later", to).await;
        lab.at_source("INSERT INTO t VALUES (1, 'v')").await;
        let linger = Duration::from_millis(900);
        let (pair, source, target) = lab.pair(COHORT, |c| c.linger = linger).await;
        // The row is deleted on both sides while the put is under way; then the put lands, well within the linger.
        let delete = lab.on_both("DELETE FROM t WHERE id = 1");
        target.at(
            Point::Write,
            0,
            Fault::LandsLater(Box::pin(async move {
                delete.await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            })),
        );
        let report = backfill(&pair, &options()).await.unwrap();
        assert!(target.unplayed().is_empty() && source.unplayed().is_empty());
        assert_eq!(report.rows_deleted, 1, "the late row was seen and deleted");
        ends_as(&pair, &[]).await;
        lab.end().await;
    }
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_counted_once() {
    for to in BOTH {
        let lab = lab("answer_lost", to).await;
        lab.at_source("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 50) i").await;
        let (pair, _, target) = lab.pair(COHORT, |c| c.linger = Duration::from_millis(1)).await;
        target.at(Point::Write, 0, Fault::LoseAnswer);
        let report = backfill(&pair, &options()).await.unwrap();
        assert!(target.unplayed().is_empty());
        assert_eq!((report.rows_read, report.rows_written + report.rows_unchanged), (50, 50));
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
        lab.end().await;
    }
}

#[tokio::test]
async fn throttled_and_conflicting_puts_are_asked_again() {
    for to in BOTH {
        let lab = lab("throttled", to).await;
        lab.at_source("INSERT INTO t SELECT i, 'v' FROM generate_series(1, 50) i").await;
        let (pair, source, target) = lab.pair(COHORT, |_| {}).await;
        for (n, kind) in [
            crossfade_stores::ErrorKind::Throttled,
            crossfade_stores::ErrorKind::Conflict,
            crossfade_stores::ErrorKind::Unreachable,
        ]
        .into_iter()
        .enumerate()
        {
            target.at(Point::Write, n, Fault::Refuse(kind));
            source.at(Point::Scan, n, Fault::Refuse(kind));
            // Between two PostgreSQL the second read is one of when rows were written.
            if to == To::Sqlite {
                source.at(Point::Read, n, Fault::Refuse(kind));
            }
        }
        let report = backfill(&pair, &options()).await.unwrap();
        assert_eq!((target.unplayed(), source.unplayed()), (vec![], vec![]));
        assert_eq!(report.rows_written, 50);
        lab.end().await;
    }
}
