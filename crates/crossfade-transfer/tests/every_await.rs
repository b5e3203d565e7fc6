//! Every call that a chunk of a backfill, or a repair, makes to either side meets every fault once: before the effect, after it, late, twice. Beside it, a user
//! deletes a row on both sides. Each time the run, or the same command once more, ends with equal sides, and the deleted row is not back.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::time::Duration;

use common::{COHORT, Lab, To, backfill, options, verify};
use crossfade_stores::{
    ErrorKind, RowKey, Value,
    faults::{Fault, FaultyTable, Point},
};
use crossfade_transfer::{
    Pair, TransferError,
    backfill::{Exclusive, Options},
    pace::Control,
    repair::{self, Named},
    retry::Retry,
    verify::Verdict,
};
use futures::future::BoxFuture;

/// An effect that was not heard of may land until then.
const LINGER: Duration = Duration::from_millis(250);

/// What one call meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Met {
    /// Nothing is done, and asking again helps.
    Refused,
    /// Nothing is done, and the run ends.
    Ended,
    /// Nothing is done, and nobody says so.
    Vanished,
    /// It is done, the user deletes, and the answer is lost.
    AnswerLost,
    /// The answer is lost, the user deletes, and then it is done.
    Late,
    /// It is done, the answer is lost, the user deletes, and then it is done again.
    LateAgain,
    /// It is done, the user deletes, it is done again, and that is heard.
    Twice,
}

const ALL: [Met; 7] = [Met::Refused, Met::Ended, Met::Vanished, Met::AnswerLost, Met::Late, Met::LateAgain, Met::Twice];

fn arm(table: &FaultyTable, nth: usize, met: Met, deletes: BoxFuture<'static, ()>) {
    let late = |deletes: BoxFuture<'static, ()>| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            deletes.await;
            // Well after the linger began, well before it ends.
            tokio::time::sleep(LINGER / 5).await;
        })
    };
    match met {
        Met::Refused => table.at_call(nth, Fault::Refuse(ErrorKind::Unreachable)),
        Met::Ended => table.at_call(nth, Fault::Refuse(ErrorKind::Full)),
        Met::Vanished => table.at_call(nth, Fault::Vanish),
        Met::AnswerLost => {
            table.at_call(nth, Fault::After(deletes));
            table.at_call(nth, Fault::LoseAnswer);
        }
        Met::Late => table.at_call(nth, Fault::LandsLater(late(deletes))),
        Met::LateAgain => table.at_call(nth, Fault::LandsAgain(late(deletes))),
        Met::Twice => table.at_call(nth, Fault::Twice(deletes)),
    }
}

/// Equal, stale, only there, and the one that the user deletes: the only one that is missing, so that a late put of what is missing is refused for no other.
const SOURCE: &str = "TRUNCATE t; INSERT INTO t VALUES (1, 'equal'), (3, 'fresh'), (5, 'doomed')";
const TARGET: &str = "DELETE FROM t; INSERT INTO t VALUES (1, 'equal'), (3, 'stale'), (4, 'only there')";
const DELETE: &str = "DELETE FROM t WHERE id = 5";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Source,
    Target,
}

/// Runs `work` without a fault, and then with each fault at each of the calls that it made.
async fn at_every_call(
    name: &str,
    to: To,
    target: &str,
    user: bool,
    work: impl AsyncFn(&Lab, &Pair) -> Result<(), TransferError>,
) -> [Vec<Point>; 2] {
    let ddl = "CREATE TABLE t (id int8 PRIMARY KEY, v text)";
    let lab =
        Lab::new(name, to, ddl, if to == To::Sqlite { "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)" } else { ddl })
            .await;
    let mut logs = [Vec::new(), Vec::new()];
    let mut armed: Vec<Option<(Side, usize, Met)>> = vec![None];
    let mut next = 0;
    while let Some(fault) = armed.get(next).copied() {
        next += 1;
        lab.at_source(SOURCE).await;
        lab.at_target(target).await;
        let (pair, from, into) = lab.pair(COHORT, |c| c.linger = LINGER).await;
        let deletes = if user { lab.on_both(DELETE) } else { lab.on("", "") };
        if let Some((side, nth, met)) = fault {
            arm(if side == Side::Source { &from } else { &into }, nth, met, deletes);
        }
        let done = work(&lab, &pair).await;
        let log = [from.log(), into.log()];
        match fault {
            None => {
                done.unwrap();
                for (side, log) in [Side::Source, Side::Target].into_iter().zip(&log) {
                    armed.extend(ALL.iter().flat_map(|met| (0..log.len()).map(move |nth| Some((side, nth, *met)))));
                }
                logs = log;
            }
            Some((side, nth, met)) => {
                let (met_here, usual) = (&log[side as usize], &logs[side as usize]);
                assert_eq!(met_here.get(..=nth), usual.get(..=nth), "{fault:?}: it was that very call that met it");
                match done {
                    Ok(()) => assert_ne!(met, Met::Ended),
                    // The same command once more goes on from there.
                    Err(e) => {
                        assert_eq!(met, Met::Ended, "{fault:?}: {e}");
                        work(&lab, &pair).await.unwrap_or_else(|e| panic!("{fault:?}, once more: {e}"));
                    }
                }
            }
        }
        if matches!(fault, Some((_, _, Met::Late | Met::LateAgain))) {
            // Whatever was not waited for lands by now.
            tokio::time::sleep(LINGER / 2).await;
        }
        let outcome = verify(&pair).await;
        assert_eq!(outcome.report.verdict, Verdict::Verified, "P3 and P4, {fault:?}: {:?}", outcome.differences);
        if !user {
            // Nothing of it may land on what users do when it is over.
            lab.on_both(DELETE).await;
            tokio::time::sleep(LINGER / 4).await;
            assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified, "P4, {fault:?}");
        }
    }
    lab.end().await;
    logs
}

fn one_chunk(lab: &Lab, exclusive: Exclusive) -> Options {
    Options {
        parallel: 1,
        exclusive,
        checkpoint: Some(lab.file.with_file_name("checkpoint")),
        retry: Retry { first: Duration::from_millis(1), ..Retry::default() },
        ..options()
    }
}

#[tokio::test]
async fn a_chunk_of_bytes_ends_equal_whatever_any_call_meets() {
    let [source, target] = at_every_call("await_bytes", To::Postgres, TARGET, true, async |lab, pair| {
        backfill(pair, &one_chunk(lab, Exclusive::No)).await.map(drop)
    })
    .await;
    use Point::{Read, Scan, Split, Write};
    // Ranges; the moment, the bytes, what is newer; the rows that the target has, read, read again, and once more after they were put.
    assert_eq!(source, [Split, Scan, Scan, Scan, Read, Read, Read]);
    assert_eq!(target, [Scan, Scan, Write, Read, Read, Write]);
}

#[tokio::test]
async fn a_chunk_of_rows_ends_equal_whatever_any_call_meets() {
    let [source, target] = at_every_call("await_rows", To::Sqlite, TARGET, true, async |lab, pair| {
        backfill(pair, &one_chunk(lab, Exclusive::No)).await.map(drop)
    })
    .await;
    assert!(source.len() >= 4 && target.iter().filter(|p| **p == Point::Write).count() >= 1, "{source:?} {target:?}");
}

#[tokio::test]
async fn a_chunk_of_the_bulk_path_leaves_nothing_behind_whatever_any_call_meets() {
    for (name, to) in [("await_bulk", To::Postgres), ("await_bulk_rows", To::Sqlite)] {
        let [_, target] = at_every_call(name, to, "DELETE FROM t", false, async |lab, pair| {
            backfill(pair, &one_chunk(lab, Exclusive::Declared)).await.map(drop)
        })
        .await;
        assert_eq!(target, [Point::Scan, Point::Load]);
    }
}

#[tokio::test]
async fn a_repair_ends_equal_whatever_any_call_meets() {
    for (name, to) in [("await_repair", To::Postgres), ("await_repair_rows", To::Sqlite)] {
        let [source, target] = at_every_call(name, to, TARGET, true, async |_, pair| {
            let named = |id: i64| Named { source_key: RowKey(vec![Value::Int(id)]), target_key: None };
            let rows: Vec<Named> = (1..=6).map(named).collect();
            let retry = Retry { first: Duration::from_millis(1), ..Retry::default() };
            let report = repair::run(pair, &rows, &retry, &Control::default()).await?;
            assert_eq!(report.failures, []);
            Ok(())
        })
        .await;
        use Point::{Read, Write};
        assert_eq!((source, target), (vec![Read, Read], vec![Read, Write, Read]));
    }
}
