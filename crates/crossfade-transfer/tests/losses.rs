//! What a target cannot hold: refused, rounded or cut, as the file says, and the same when it is verified.

#![cfg(all(feature = "postgres", feature = "sqlite", feature = "mysql", feature = "dynamodb"))]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use common::{
    backfill,
    engines::{Engines, open},
    options, verify,
};
use crossfade_stores::Store;
use crossfade_transfer::{Pair, TransferError, verify::Verdict};

/// Copies, and returns why the first row failed, once for each row that did.
async fn copied(pair: &Pair) -> Vec<String> {
    match backfill(pair, &options()).await {
        Ok(_) => Vec::new(),
        Err(TransferError::Rows { rows, first }) => vec![first; usize::try_from(rows).unwrap()],
        Err(e) => panic!("{e}"),
    }
}

async fn verdict(pair: &Pair) -> Verdict {
    verify(pair).await.report.verdict
}

fn number(item: &std::collections::HashMap<String, AttributeValue>, name: &str) -> String {
    item.get(name).map_or_else(|| "-".to_owned(), |a| a.as_n().unwrap().clone())
}

const NUMBERS: [&str; 5] = [
    "12345678901234567890123456789012345678",    // 38 digits: kept
    "0.10000000000000000000000000000000000007",  // 38 after the point: kept
    "123456789012345678901234567890123456785",   // 39 digits
    "0.123456789012345678901234567890123456789", // 39 after the point
    "-2.50",
];

async fn numerics(engines: &Engines) -> Arc<dyn Store> {
    let rows: Vec<String> = NUMBERS.iter().enumerate().map(|(i, n)| format!("({}, {n})", i + 1)).collect();
    engines
        .postgres(&format!(
            "CREATE TABLE things (id int PRIMARY KEY, n numeric); INSERT INTO things VALUES {}",
            rows.join(", ")
        ))
        .await
}

#[tokio::test]
async fn numeric_to_dynamodb_keeps_38_digits_and_refuses_others_row_by_row() {
    let engines = Engines::new("refuse_dynamo").await;
    let (source, target) = (numerics(&engines).await, engines.dynamodb().await);
    let refused = open(&source, &target, "").await.unwrap_err();
    assert!(refused.contains("lossy = \"refuse\""), "{refused}");
    let pair = open(&source, &target, "map.n = { lossy = \"refuse\" }").await.unwrap();
    let failed = copied(&pair).await;
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed.iter().all(|why| why.contains("`n`") && why.contains("\"round\"")), "{failed:?}");
    for (id, kept) in [(1, NUMBERS[0]), (2, NUMBERS[1]), (5, "-2.5")] {
        assert_eq!(number(&engines.item(id).await, "n"), kept);
    }
    assert!(engines.item(3).await.is_empty() && engines.item(4).await.is_empty());
    engines.postgres("DELETE FROM things WHERE id IN (3, 4)").await;
    assert_eq!(verdict(&pair).await, Verdict::Verified);
    engines.end().await;
}

#[tokio::test]
async fn round_and_truncate_to_dynamodb_are_two_things_and_verify() {
    for (word, third, fourth) in [
        ("round", "123456789012345678901234567890123456790", "0.12345678901234567890123456789012345679"),
        ("truncate", "123456789012345678901234567890123456780", "0.12345678901234567890123456789012345678"),
    ] {
        let engines = Engines::new(&format!("{word}_dynamo")).await;
        let (source, target) = (numerics(&engines).await, engines.dynamodb().await);
        let pair = open(&source, &target, &format!("map.n = {{ lossy = \"{word}\" }}")).await.unwrap();
        assert_eq!(copied(&pair).await, [""; 0], "{word}");
        assert_eq!(number(&engines.item(3).await, "n"), third, "{word}");
        assert_eq!(number(&engines.item(4).await, "n"), fourth, "{word}");
        assert_eq!(number(&engines.item(1).await, "n"), NUMBERS[0], "{word}");
        assert_eq!(verdict(&pair).await, Verdict::Verified, "{word}");
        engines.end().await;
    }
}

#[tokio::test]
async fn real_keeps_its_shortest_digits_in_every_target() {
    const FLOATS: &str = "CREATE TABLE things (id int PRIMARY KEY, f real); \
        INSERT INTO things VALUES (1, 9.8), (2, 0.1), (3, 3.4028235e38), (4, 1e-45), (5, 16777216), (6, NULL), (7, -1.1754944e-38)";
    let engines = Engines::new("shortest").await;
    let source = engines.postgres(FLOATS).await;
    let target = engines.sqlite("CREATE TABLE things (id INTEGER PRIMARY KEY, f REAL)").await;
    let pair = open(&source, &target, "map.f = { lossy = \"refuse\" }").await.unwrap();
    assert_eq!(copied(&pair).await, [""; 0]);
    let rows = engines.sqlite3("SELECT f FROM things ORDER BY id");
    assert_eq!(rows.concat(), ["9.8", "0.1", "3.4028235e38", "1e-45", "16777216.0", "-", "-1.1754944e-38"]);
    assert_eq!(verdict(&pair).await, Verdict::Verified);
    // A change is found and put right, also over the long form that other writers may leave.
    engines
        .sqlite_do("UPDATE things SET f = 9.75 WHERE id = 1; UPDATE things SET f = 0.10000000149011612 WHERE id = 2");
    assert_eq!(verdict(&pair).await, Verdict::Diverged);
    assert_eq!(copied(&pair).await, [""; 0]);
    assert_eq!(verdict(&pair).await, Verdict::Verified);
    engines.postgres("UPDATE things SET f = 7.7 WHERE id = 2").await;
    assert_eq!(copied(&pair).await, [""; 0]);
    assert_eq!(engines.sqlite3("SELECT f FROM things WHERE id < 3 ORDER BY id").concat(), ["9.8", "7.7"]);

    // Back, to a real and to a double.
    let back = engines.postgres("CREATE SCHEMA IF NOT EXISTS x; DROP TABLE things; CREATE TABLE things (id bigint PRIMARY KEY, f double precision)").await;
    let pair = open(&target, &back, "").await.unwrap();
    assert_eq!(copied(&pair).await, [""; 0]);
    assert_eq!(engines.psql("SELECT f FROM things WHERE id < 3 ORDER BY id").await.concat(), ["9.8", "7.7"]);
    engines.postgres("DROP TABLE things; DROP SCHEMA x").await;

    let source = engines.postgres(FLOATS).await;
    let target = engines.mysql("CREATE TABLE things (id int PRIMARY KEY, f double)").await;
    let pair = open(&source, &target, "map.f = { lossy = \"refuse\" }").await.unwrap();
    assert_eq!(copied(&pair).await, [""; 0]);
    assert_eq!(
        engines.mariadb("SELECT f FROM things WHERE id IN (1, 2, 4) ORDER BY id").await.concat(),
        ["9.8", "0.1", "1e-45"]
    );
    assert_eq!(verdict(&pair).await, Verdict::Verified);
    engines.end().await;
}

#[tokio::test]
async fn double_to_mariadb_float_is_rounded_and_verifies() {
    for word in ["round", "float"] {
        let engines = Engines::new(&format!("float_{word}")).await;
        let source = engines
            .postgres("CREATE TABLE things (id int PRIMARY KEY, f double precision); INSERT INTO things VALUES (1, 9.8), (2, 0.1234567890123), (3, 16777217), (4, 1e300), (5, -1.5)")
            .await;
        let target = engines.mysql("CREATE TABLE things (id int PRIMARY KEY, f float)").await;
        let refused = open(&source, &target, "").await.unwrap_err();
        assert!(refused.contains("\"round\""), "{refused}");
        let pair = open(&source, &target, &format!("map.f = {{ lossy = \"{word}\" }}")).await.unwrap();
        let failed = copied(&pair).await;
        assert!(failed.len() == 1 && failed[0].contains("`f`"), "1e300 is no float: {failed:?}");
        let rows = engines.mariadb("SELECT f * 1e0 FROM things ORDER BY id").await.concat();
        assert_eq!(rows[2], "16777216", "{rows:?}");
        engines.postgres("DELETE FROM things WHERE id = 4").await;
        assert_eq!(verdict(&pair).await, Verdict::Verified, "{word}");
        engines.postgres("UPDATE things SET f = 9.75 WHERE id = 1").await;
        assert_eq!(verdict(&pair).await, Verdict::Diverged, "{word}");
        assert_eq!(copied(&pair).await, [""; 0], "{word}");
        assert_eq!(verdict(&pair).await, Verdict::Verified, "{word}");
        engines.end().await;
    }
}

#[tokio::test]
async fn numeric_to_a_narrower_decimal_is_refused_rounded_or_cut() {
    for (word, kept, failures) in [
        ("refuse", ["1.25", "-", "-"], 2),
        ("round", ["1.25", "9.88", "-1.24"], 0),
        ("truncate", ["1.25", "9.87", "-1.23"], 0),
    ] {
        let engines = Engines::new(&format!("narrow_{word}")).await;
        let source = engines
            .postgres("CREATE TABLE things (id int PRIMARY KEY, n numeric, at timestamp); INSERT INTO things VALUES (1, 1.25, '2024-01-01'), (2, 9.875, '2024-01-01 10:00:00.1235'), (3, -1.235, '2024-01-01 10:00:00.1239')")
            .await;
        let target = engines.mysql("CREATE TABLE things (id int PRIMARY KEY, n decimal(8,2), at datetime(3))").await;
        let map = format!("map.n = {{ lossy = \"{word}\" }}\nmap.at = {{ lossy = \"{word}\" }}");
        let pair = open(&source, &target, &map).await.unwrap();
        let failed = copied(&pair).await;
        assert_eq!(failed.len(), failures, "{word}: {failed:?}");
        for (id, kept) in (1..).zip(kept) {
            let rows = engines.mariadb(&format!("SELECT n FROM things WHERE id = {id}")).await.concat();
            assert_eq!(rows.first().map_or("-", String::as_str), kept, "{word}");
        }
        if failures == 0 {
            let times = engines.mariadb("SELECT CAST(at AS CHAR) FROM things WHERE id > 1 ORDER BY id").await.concat();
            let expected = if word == "round" { ["124", "124"] } else { ["123", "123"] };
            for (time, end) in times.iter().zip(expected) {
                assert!(time.ends_with(end), "{word}: {times:?}");
            }
            assert_eq!(verdict(&pair).await, Verdict::Verified, "{word}");
        }
        engines.end().await;
    }
}

#[tokio::test]
async fn a_column_of_another_name_is_refused_rounded_or_cut_like_others() {
    let engines = Engines::new("renamed").await;
    let source = engines
        .postgres("CREATE TABLE things (id int PRIMARY KEY, n numeric, s text); INSERT INTO things VALUES (1, 1.005, 'short'), (2, 2.5, 'much longer')")
        .await;
    let target = engines.mysql("CREATE TABLE things (id int PRIMARY KEY, total decimal(10,2), label varchar(7))").await;
    let names = |n: &str, s: &str| format!("map.n = {{ to = \"total\"{n} }}\nmap.s = {{ to = \"label\"{s} }}");
    let refused = open(&source, &target, &names("", "")).await.unwrap_err();
    assert!(refused.contains("map.n = { lossy = \"refuse\", to = \"total\" }"), "{refused}");
    let pair = open(&source, &target, &names(", lossy = \"refuse\"", ", lossy = \"refuse\"")).await.unwrap();
    let failed = copied(&pair).await;
    assert_eq!(failed.len(), 2);
    assert!(failed[0].contains("map.n = { lossy = \"round\", to = \"total\" }"), "{failed:?}");
    let pair = open(&source, &target, &names(", lossy = \"round\"", ", lossy = \"truncate\"")).await.unwrap();
    assert_eq!(copied(&pair).await, [""; 0]);
    let rows = engines.mariadb("SELECT total, label FROM things ORDER BY id").await;
    assert_eq!(rows, [["1.01", "short"], ["2.50", "much lo"]]);
    assert_eq!(verdict(&pair).await, Verdict::Verified);
    engines.end().await;
}

#[tokio::test]
async fn texts_longer_than_the_column_are_refused_or_cut() {
    let engines = Engines::new("texts").await;
    let source = engines
        .postgres("CREATE TABLE things (id int PRIMARY KEY, s text, c character(4)); INSERT INTO things VALUES (1, 'short', 'ab'), (2, 'ünïcode longer', 'abcd')")
        .await;
    let target = engines.mysql("CREATE TABLE things (id int PRIMARY KEY, s varchar(7), c char(4))").await;
    let refused = open(&source, &target, "").await.unwrap_err();
    assert!(refused.contains("\"refuse\"") && refused.contains("\"truncate\""), "{refused}");
    let map = |word: &str| format!("map.s = {{ lossy = \"{word}\" }}\nmap.c = {{ lossy = \"{word}\" }}");
    let failed = copied(&open(&source, &target, &map("refuse")).await.unwrap()).await;
    assert_eq!(failed.len(), 2, "a blank at the end and a text that is too long: {failed:?}");
    let pair = open(&source, &target, &map("truncate")).await.unwrap();
    assert_eq!(copied(&pair).await, [""; 0]);
    let rows = engines.mariadb("SELECT s, c FROM things ORDER BY id").await;
    assert_eq!(rows, [["short", "ab"], ["ünïcode", "abcd"]]);
    assert_eq!(verdict(&pair).await, Verdict::Verified);
    engines.end().await;
}

/// The words that a text advises: what stands in `lossy = "…"`, or `or "…"` behind it.
fn advised(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once("{ lossy = ") else { return Vec::new() };
    let list = rest.split_once(", or change").map_or(rest, |(list, _)| list);
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A source's column and a value, and the columns of a target that may not hold it.
const SOURCES: [(&str, &str); 16] = [
    ("numeric", "1.5"),
    ("numeric(50,3)", "1.5"),
    ("real", "9.8"),
    ("double precision", "0.125"),
    ("text", "'12'"),
    ("varchar(40)", "'x'"),
    ("timestamp", "'2024-01-01'"),
    ("timestamptz", "'2024-01-01'"),
    ("bytea", "'\\x01'"),
    ("int8", "7"),
    ("bool", "true"),
    ("interval", "'1 day'"),
    ("inet", "'10.0.0.1'"),
    ("int4[]", "'{1,2}'"),
    ("jsonb", "'{}'"),
    ("uuid", "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'"),
];

#[tokio::test]
async fn long_what_a_refusal_advises_opens_the_pair() {
    const SQLITE: [&str; 6] = ["TEXT", "REAL", "INTEGER", "NUMERIC", "BLOB", "TIMESTAMP"];
    const MARIADB: [&str; 10] = [
        "decimal(8,2)",
        "float",
        "double",
        "varchar(10)",
        "char(10)",
        "datetime(3)",
        "timestamp",
        "int",
        "longtext",
        "varbinary(20)",
    ];
    const POSTGRES: [&str; 8] =
        ["numeric(8,2)", "real", "text", "character(9)", "timestamp", "timestamptz", "int4", "bytea"];
    let engines = Engines::new("advice").await;
    let mut targets: Vec<(String, Arc<dyn Store>)> = vec![("dynamodb".to_owned(), engines.dynamodb().await)];
    let made = |prefix: &str, ty: &str| {
        let name = format!("{prefix}_{}", ty.to_lowercase().replace(['(', ')', ','], "_"));
        let ddl = format!("CREATE TABLE {name} (id int PRIMARY KEY, v {ty})");
        (name, ddl)
    };
    for ty in SQLITE {
        let (name, ddl) = made("s", ty);
        targets.push((name, engines.sqlite(&ddl.replace("id int", "id INTEGER")).await));
    }
    for ty in MARIADB {
        let (name, ddl) = made("m", ty);
        targets.push((name, engines.mysql(&ddl).await));
    }
    for ty in POSTGRES {
        let (name, ddl) = made("p", ty);
        targets.push((name, engines.postgres(&ddl).await));
    }
    let mut advice = 0;
    for (source_type, value) in SOURCES {
        let source = engines
            .postgres(&format!("DROP TABLE IF EXISTS things; CREATE TABLE things (id int PRIMARY KEY, v {source_type}); INSERT INTO things VALUES (1, {value})"))
            .await;
        for (table, target) in &targets {
            let name = if *table == "dynamodb" { "things" } else { table.as_str() };
            let with = |map: &str| format!("target = \"{name}\"\n{map}");
            let Err(refused) = open(&source, target, &with("")).await else { continue };
            let words = advised(&refused);
            for word in &words {
                let opened = open(&source, target, &with(&format!("map.v = {{ lossy = \"{word}\" }}"))).await;
                let pair = opened.unwrap_or_else(|e| panic!("{source_type} to {table}: {refused}: {word}: {e}"));
                if word != "refuse" {
                    let empty = format!("DELETE FROM {name}");
                    match table.split_at(2).0 {
                        "s_" => engines.sqlite_do(&empty),
                        "m_" => drop(engines.mysql(&empty).await),
                        "p_" => drop(engines.postgres(&empty).await),
                        _ => engines.delete(1).await,
                    }
                    let refused = copied(&pair).await;
                    // A text form that is longer than the column is refused as a row.
                    let expected = if refused.is_empty() { Verdict::Verified } else { Verdict::Diverged };
                    assert_eq!(verdict(&pair).await, expected, "{source_type} to {table} by {word}: {refused:?}");
                }
                advice += 1;
            }
            assert!(refused.contains("{ ignore = "), "{source_type} to {table}: {refused}");
            open(&source, target, &with("map.v = { ignore = \"x\" }")).await.unwrap();
            // A word that the column has not is answered with those that it has.
            for word in ["refuse", "round", "truncate", "float", "utc", "text"] {
                if let Err(e) = open(&source, target, &with(&format!("map.v = {{ lossy = \"{word}\" }}"))).await {
                    assert!(!words.iter().any(|w| w == word), "{source_type} to {table} by {word}: {e}");
                    assert_eq!(advised(&e), words, "{source_type} to {table} by {word}: {e}");
                }
            }
        }
    }
    assert!(advice > 100, "{advice}");
    engines.end().await;
}
