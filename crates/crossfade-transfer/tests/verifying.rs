//! The verifier, tested by mutation: whatever is changed on either side, it never says "verified".

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Lab, To, backfill, options, verify};
use crossfade_stores::{
    Capabilities, ErrorKind,
    faults::{Fault, Point},
};
use crossfade_transfer::{
    pace::Control,
    progress::{Event, Observer},
    verify::{self, Kind, Verdict},
};

const DDL: &str = "CREATE TABLE t (id int8, part text COLLATE \"C\", n numeric, f float8, b bytea, u uuid, d date, ts timestamptz, j jsonb, ok bool, tags text[], PRIMARY KEY (part, id))";
const SQLITE: &str = "CREATE TABLE t (id INTEGER, part TEXT, n TEXT, f REAL, b BLOB, u TEXT, d TEXT, ts TEXT, j TEXT, ok BOOLEAN, tags TEXT, PRIMARY KEY (part, id))";
const CONFIG: &str = "cohort = [\"part\"]\n[migration.m.table.t.map]\nf = { lossy = \"float\" }";
const ROWS: &str = "INSERT INTO t SELECT i, 'p' || i % 3, i * 1.10, i / 7.0, decode(md5(i::text), 'hex'), md5(i::text)::uuid, date '2020-01-01' + i, timestamptz '2020-01-01' + i * interval '1 microsecond',
    jsonb_build_object('i', i, 't', repeat('x', 20)), i % 2 = 0, ARRAY['a', i::text] FROM generate_series(1, 300) i";

/// The name of a way, and what the tables no longer declare on it.
type Way = (&'static str, fn(&mut Capabilities));

/// The three ways to look, by what the tables declare.
const WAYS: [Way; 3] = [
    ("checksums", |_| {}),
    ("streams", |c| c.checksum = None),
    ("lookups", |c| {
        c.checksum = None;
        c.ordered = false;
    }),
];

async fn equal_lab(name: &str, to: To) -> Lab {
    let (ddl, config) = if to == To::Sqlite { (SQLITE, CONFIG) } else { (DDL, "cohort = [\"part\"]") };
    let lab = Lab::new(name, to, DDL, ddl).await;
    lab.at_source(ROWS).await;
    let (pair, ..) = lab.pair(config, |_| {}).await;
    backfill(&pair, &options()).await.unwrap();
    lab
}

#[tokio::test]
async fn no_mutation_is_verified_between_two_postgres() {
    let mutations = [
        ("UPDATE t SET n = n + 1e-10 WHERE id = 150", Kind::Different, "n"),
        ("UPDATE t SET n = (n::text || '0')::numeric WHERE id = 150", Kind::Different, "n"),
        ("UPDATE t SET f = 0 WHERE id = 150; UPDATE t SET f = '-0' WHERE id = 150", Kind::Different, "f"),
        ("UPDATE t SET f = f + 1e-12 WHERE id = 150", Kind::Different, "f"),
        ("UPDATE t SET b = set_bit(b, 77, 1 - get_bit(b, 77)) WHERE id = 150", Kind::Different, "b"),
        ("UPDATE t SET u = md5('other')::uuid WHERE id = 150", Kind::Different, "u"),
        ("UPDATE t SET d = d + 1 WHERE id = 150", Kind::Different, "d"),
        ("UPDATE t SET ts = ts + interval '1 microsecond' WHERE id = 150", Kind::Different, "ts"),
        ("UPDATE t SET j = jsonb_set(j, '{i}', '151') WHERE id = 150", Kind::Different, "j"),
        // What the engine's own hash takes for the same: equal numbers in json, and the halves of 64 bits that change alike.
        ("UPDATE t SET j = replace(j::text, '150', '150.0')::jsonb WHERE id = 150", Kind::Different, "j"),
        ("UPDATE t SET ts = ts + interval '4294967297 microseconds' WHERE id = 150", Kind::Different, "ts"),
        ("UPDATE t SET ts = ts + interval '8589934594 microseconds' WHERE id = 150", Kind::Different, "ts"),
        ("UPDATE t SET ok = NOT ok WHERE id = 150", Kind::Different, "ok"),
        ("UPDATE t SET ok = NULL WHERE id = 150", Kind::Different, "ok"),
        ("UPDATE t SET tags = ARRAY['a150', NULL] WHERE id = 150", Kind::Different, "tags"),
        ("UPDATE t SET tags = '{}' WHERE id = 150", Kind::Different, "tags"),
        ("DELETE FROM t WHERE id = 150", Kind::MissingInTarget, ""),
        ("INSERT INTO t (id, part) VALUES (0, 'a'), (999, 'z')", Kind::ExtraInTarget, ""),
        ("DELETE FROM t WHERE part = 'p2' AND id > 250", Kind::MissingInTarget, ""),
        ("DELETE FROM t", Kind::MissingInTarget, ""),
    ];
    let lab = equal_lab("mutations_pg", To::Postgres).await;
    for (way, declare) in WAYS {
        let (pair, ..) = lab.pair("cohort = [\"part\"]", declare).await;
        let equal = verify(&pair).await;
        assert_eq!(
            (equal.report.verdict, equal.report.rows_source, equal.report.rows_target),
            (Verdict::Verified, 300, 300),
            "{way}"
        );
        for (mutation, kind, field) in mutations {
            lab.at_target(mutation).await;
            let outcome = verify(&pair).await;
            assert_eq!(outcome.report.verdict, Verdict::Diverged, "{way}: {mutation}");
            assert!(outcome.differences.iter().all(|d| d.kind == kind), "{way}: {mutation}: {:?}", outcome.differences);
            if !field.is_empty() {
                assert_eq!(outcome.differences.len(), 1, "{way}: {mutation}");
                assert_eq!(outcome.differences[0].fields, [field], "{way}: {mutation}");
            }
            let repaired = crossfade_transfer::repair::run(
                &pair,
                &outcome
                    .differences
                    .iter()
                    .map(|d| crossfade_transfer::repair::Named {
                        source_key: d.source_key.clone(),
                        target_key: d.target_key.clone(),
                    })
                    .collect::<Vec<_>>(),
                &crossfade_transfer::retry::Retry::default(),
                &crossfade_transfer::pace::Control::default(),
            )
            .await
            .unwrap();
            assert_eq!(repaired.repaired, outcome.differences.len() as u64, "{way}: {mutation}");
            assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified, "{way}: repaired after {mutation}");
        }
    }
    lab.end().await;
}

#[tokio::test]
async fn no_mutation_is_verified_between_postgres_and_sqlite() {
    let mutations = [
        "UPDATE t SET n = n || '1' WHERE id = 150",
        "UPDATE t SET f = f + 1e-12 WHERE id = 150",
        "UPDATE t SET b = x'00' WHERE id = 150",
        "UPDATE t SET d = '2019-01-01' WHERE id = 150",
        "UPDATE t SET ts = replace(ts, 'Z', '') || 'Z' WHERE id = 150; UPDATE t SET ts = '2020-01-01 00:00:00.000151Z' WHERE id = 150",
        "UPDATE t SET j = replace(j, 'x', 'y') WHERE id = 150",
        "UPDATE t SET ok = 1 - ok WHERE id = 150",
        "UPDATE t SET tags = '[\"a\",\"151\"]' WHERE id = 150",
        "DELETE FROM t WHERE id = 300",
        "INSERT INTO t (id, part) VALUES (301, 'p9')",
    ];
    let lab = equal_lab("mutations_lite", To::Sqlite).await;
    for (way, declare) in &WAYS[1..] {
        let (pair, ..) = lab.pair(CONFIG, declare).await;
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified, "{way}");
        // Between two engines, numbers and JSON count by value: this is how another program may write the same.
        lab.at_target("UPDATE t SET n = n || '0', j = replace(j, ' ', '') WHERE id = 151").await;
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified, "{way}: another spelling");
        for mutation in mutations {
            lab.at_target(mutation).await;
            let outcome = verify(&pair).await;
            assert_eq!(
                (outcome.report.verdict, outcome.differences.len()),
                (Verdict::Diverged, 1),
                "{way}: {mutation}"
            );
            let report = backfill(&pair, &options()).await.unwrap();
            assert_eq!(report.rows_written + report.rows_deleted, 1, "{way}: a backfill repairs {mutation}");
        }
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified, "{way}: after all");
    }
    lab.end().await;
}

#[tokio::test]
async fn a_lost_connection_is_unknown_and_never_an_end() {
    let lab = equal_lab("lost", To::Postgres).await;
    for (way, declare) in WAYS {
        let (pair, source, target) = lab.pair("cohort = [\"part\"]", declare).await;
        let point = if way == "checksums" { Point::Checksums } else { Point::Scan };
        let side = if way == "checksums" { &source } else { &target };
        // Longer than it is asked again.
        for n in 1..40 {
            side.at(point, n - usize::from(way == "checksums"), Fault::Refuse(ErrorKind::Lost));
        }
        let outcome = verify(&pair).await;
        assert_eq!(outcome.report.verdict, Verdict::Unknown, "{way}");
        assert!(outcome.report.unknown_ranges[0].why.contains("refused by the test"), "{way}: {:?}", outcome.report);
    }
    lab.end().await;
}

#[tokio::test]
async fn an_answer_that_is_lost_once_is_asked_for_again() {
    let lab = equal_lab("lost_once", To::Postgres).await;
    for (way, declare) in WAYS {
        let (pair, source, target) = lab.pair("cohort = [\"part\"]", declare).await;
        for side in [&source, &target] {
            side.at(if way == "checksums" { Point::Checksums } else { Point::Scan }, 0, Fault::LoseAnswer);
        }
        let outcome = verify(&pair).await;
        assert_eq!(outcome.report.verdict, Verdict::Verified, "{way}");
        assert!(source.unplayed().is_empty() && target.unplayed().is_empty(), "{way}");
    }
    lab.end().await;
}

#[tokio::test]
async fn a_row_in_flight_is_no_divergence() {
    let lab = equal_lab("in_flight", To::Postgres).await;
    for (way, declare) in WAYS {
        lab.at_source("UPDATE t SET ok = true WHERE id = 7").await;
        lab.at_target("UPDATE t SET ok = true WHERE id = 7").await;
        let (pair, _, target) = lab.pair("cohort = [\"part\"]", declare).await;
        // The dual write has reached the source when the walk passes, and the target before the second look.
        lab.at_source("UPDATE t SET ok = false WHERE id = 7").await;
        let reads = target.calls(Point::Read);
        for n in reads..reads + 40 {
            target.at(Point::Read, n, Fault::Before(lab.on("", "UPDATE t SET ok = false WHERE id = 7")));
        }
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified, "{way}");
    }
    lab.end().await;
}

#[tokio::test]
async fn a_row_that_keeps_changing_is_unknown() {
    let lab = equal_lab("restless", To::Postgres).await;
    let (pair, _, target) = lab.pair("cohort = [\"part\"]", |c| c.checksum = None).await;
    lab.at_source("UPDATE t SET f = -1 WHERE id = 7").await;
    for n in 0..60 {
        target.at(Point::Read, n, Fault::Before(lab.on(&format!("UPDATE t SET f = -2 - {n} WHERE id = 7"), "")));
    }
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Unknown);
    lab.end().await;
}

#[tokio::test]
async fn a_schema_changed_mid_way_is_unknown_with_its_reason() {
    let lab = equal_lab("schema", To::Postgres).await;
    let (pair, _, target) = lab.pair("cohort = [\"part\"]", |c| c.checksum = None).await;
    target.at(Point::Scan, 2, Fault::Before(lab.on("", "ALTER TABLE t DROP COLUMN tags")));
    let outcome = verify(&pair).await;
    assert_eq!(outcome.report.verdict, Verdict::Unknown);
    assert!(
        outcome.report.unknown_ranges.iter().any(|u| u.why.contains("tags")),
        "{:?}",
        outcome.report.unknown_ranges
    );
    lab.end().await;
}

/// How many generations a verification needs for a difference, when the checksums take longer than all generations would, and `first` happens before them.
async fn generations_after(name: &str, mutation: &str, first: &str) -> usize {
    let lab = equal_lab(name, To::Postgres).await;
    lab.at_target(mutation).await;
    let (pair, source, _) = lab.pair("cohort = [\"part\"]", |_| {}).await;
    let (wait, meanwhile) = (Duration::from_millis(50), lab.on(first, ""));
    source.at(
        Point::Checksums,
        0,
        Fault::Before(Box::pin(async move {
            meanwhile.await;
            tokio::time::sleep(wait * 4).await;
        })),
    );
    let options = verify::Options { part_rows: 20, generations: vec![wait; 3], ..verify::Options::default() };
    let notes = Arc::new(common::Notes::default());
    let observer: Arc<dyn Observer> = notes.clone();
    let outcome = verify::run(&pair, &options, &Control::default(), &Arc::default(), &observer).await.unwrap();
    assert_eq!(outcome.report.verdict, Verdict::Diverged, "{:?}", outcome.report);
    assert_eq!(outcome.differences.len(), 1, "{:?}", outcome.differences);
    lab.end().await;
    notes.0.borrow().iter().filter(|e| matches!(e, Event::Generation { .. })).count()
}

#[tokio::test]
async fn a_difference_older_than_the_verification_is_read_again_once() {
    assert_eq!(generations_after("old_difference", "UPDATE t SET f = -1 WHERE id = 150", "").await, 1);
}

#[tokio::test]
async fn a_difference_that_may_be_in_flight_is_waited_for() {
    // Of one that was written meanwhile, the other side may be on its way.
    let written = generations_after(
        "newer_difference",
        "UPDATE t SET f = -1 WHERE id = 150",
        "UPDATE t SET f = -2 WHERE id = 150",
    );
    assert_eq!(written.await, 3);
    // Nobody says when a row went away.
    assert_eq!(generations_after("missing_difference", "DELETE FROM t WHERE id = 150", "").await, 3);
}
