//! What a source has and a target has no column for, and columns that a database computes.

#![cfg(all(feature = "postgres", feature = "sqlite", feature = "mysql", feature = "dynamodb"))]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::collections::HashMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue as A};
use common::{
    backfill,
    engines::{Engines, open},
    options, verify,
};
use crossfade_transfer::{TransferError, verify::Verdict};

fn n(text: &str) -> A {
    A::N(text.to_owned())
}

fn s(text: &str) -> A {
    A::S(text.to_owned())
}

/// One row of columns alone, and one with attributes of every type beside them.
async fn items(engines: &Engines) {
    engines.put(&[("id", n("1")), ("name", s("plain"))]).await;
    let inner = HashMap::from([("SS".to_owned(), s("no set"))]);
    engines
        .put(&[
            ("id", n("2")),
            ("name", s("more")),
            ("colour", s("red")),
            ("size", n("12345678901234567890.123456789")),
            ("tags", A::Ss(vec!["b".to_owned(), "a".to_owned()])),
            ("photo", A::B(Blob::new(vec![0xff, 0xfe]))),
            ("deep", A::M(HashMap::from([("list".to_owned(), A::L(vec![A::Null(true), A::Bool(true), A::M(inner)]))]))),
        ])
        .await;
}

const REST: &str = r#"{"colour": "red", "deep": {"list": [null, true, {"M": {"SS": "no set"}}]}, "photo": {"B": "//4="}, "size": 12345678901234567890.123456789, "tags": {"SS": ["a", "b"]}}"#;

#[tokio::test]
async fn attributes_without_a_column_refuse_their_row_by_name() {
    let engines = Engines::new("unmapped").await;
    let source = engines.dynamodb().await;
    items(&engines).await;
    let target = engines.postgres("CREATE TABLE things (id int PRIMARY KEY, name text, colour text)").await;
    let pair = open(&source, &target, "").await.unwrap();
    let Err(TransferError::Rows { rows, first }) = backfill(&pair, &options()).await else { panic!("not refused") };
    assert_eq!(rows, 1);
    for name in ["`deep`", "`photo`", "`size`", "`tags`"] {
        assert!(first.contains(name), "{first}");
    }
    assert!(!first.contains("`colour`") && !first.contains("red"), "{first}");
    assert_eq!(engines.psql("SELECT id FROM things").await, [["1"]], "the other row is copied");
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Diverged);
    // Said to be left out, they are.
    let ignored: String =
        ["deep", "photo", "size", "tags"].iter().map(|a| format!("map.{a} = {{ ignore = \"x\" }}\n")).collect();
    let pair = open(&source, &target, &ignored).await.unwrap();
    backfill(&pair, &options()).await.unwrap();
    assert_eq!(engines.psql("SELECT name, colour FROM things WHERE id = 2").await, [["more", "red"]]);
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    // One that comes later is found.
    engines.put(&[("id", n("1")), ("name", s("plain")), ("late", n("1"))]).await;
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Diverged);
    let first = backfill(&pair, &options()).await.unwrap_err().to_string();
    assert!(first.contains("`late`"), "{first}");
    engines.end().await;
}

#[tokio::test]
async fn attributes_without_a_column_go_into_the_rest_and_lose_nothing() {
    let engines = Engines::new("rest").await;
    let source = engines.dynamodb().await;
    items(&engines).await;
    let columns = "(id int PRIMARY KEY, name text";
    let postgres = engines.postgres(&format!("CREATE TABLE things {columns}, rest json)")).await;
    let mariadb = engines.mysql(&format!("CREATE TABLE things {columns}, rest json NOT NULL)")).await;
    let sqlite = engines.sqlite("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT, rest TEXT)").await;
    for target in [&postgres, &mariadb, &sqlite] {
        let pair = open(&source, target, "rest = \"rest\"").await.unwrap();
        backfill(&pair, &options()).await.unwrap();
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified, "{}", target.kind());
    }
    let ask = "SELECT rest FROM things ORDER BY id";
    let compact = REST.replace(": ", ":").replace(", ", ",");
    assert_eq!(engines.psql(ask).await.concat(), ["-", &compact]);
    assert_eq!(engines.mariadb(ask).await.concat(), ["{}", &compact], "null is not taken there");
    assert_eq!(engines.sqlite3(ask).concat(), ["-", &compact]);
    // A change of one of them is found and copied.
    let pair = open(&source, &postgres, "rest = \"rest\"").await.unwrap();
    engines.put(&[("id", n("1")), ("name", s("plain")), ("late", n("1"))]).await;
    let outcome = verify(&pair).await;
    assert_eq!((outcome.report.verdict, outcome.report.different), (Verdict::Diverged, 1));
    assert_eq!(outcome.differences[0].fields, ["rest"]);
    backfill(&pair, &options()).await.unwrap();
    assert_eq!(engines.psql("SELECT rest FROM things WHERE id = 1").await, [["{\"late\":1}"]]);
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    let refused = open(&postgres, &sqlite, "rest = \"rest\"").await.unwrap_err();
    assert!(refused.contains("DynamoDB"), "{refused}");
    engines.end().await;
}

#[tokio::test]
async fn a_number_of_dynamodb_arrives_as_text_where_the_file_says_so() {
    let engines = Engines::new("dynamo_text").await;
    let source = engines.dynamodb().await;
    engines.put(&[("id", n("1")), ("v", n("1.50"))]).await;
    engines.put(&[("id", n("2")), ("v", s("x"))]).await;
    engines.put(&[("id", n("3")), ("v", A::Bool(true))]).await;
    engines.put(&[("id", n("4"))]).await;
    let target = engines.postgres("CREATE TABLE things (id int PRIMARY KEY, v text)").await;
    let pair = open(&source, &target, "map.v = { lossy = \"text\" }").await.unwrap();
    backfill(&pair, &options()).await.unwrap();
    assert_eq!(engines.psql("SELECT v FROM things ORDER BY id").await.concat(), ["1.5", "x", "true", "-"]);
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    engines.end().await;
}

#[tokio::test]
async fn computed_columns_are_copied_from_a_source_never_into_a_target() {
    let engines = Engines::new("computed").await;
    let source = engines
        .postgres("CREATE TABLE things (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO things SELECT i, i * 10 FROM generate_series(1, 60) i")
        .await;
    let plain = engines.sqlite("CREATE TABLE things (id INTEGER PRIMARY KEY, a INTEGER, twice INTEGER)").await;
    let mariadb = engines.mysql("CREATE TABLE things (id int PRIMARY KEY, a int, twice int AS (a * 2) STORED)").await;
    let lacking = engines.mysql("CREATE TABLE lacking (id int PRIMARY KEY, a int)").await;
    let refused = open(&source, &lacking, "target = \"lacking\"").await.unwrap_err();
    assert!(refused.contains("`twice`"), "{refused}");
    for target in [&plain, &mariadb] {
        let pair = open(&source, target, "").await.unwrap();
        backfill(&pair, &options()).await.unwrap();
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified, "{}", target.kind());
    }
    let ask = "SELECT sum(twice), count(*) FROM things";
    assert_eq!(engines.sqlite3(ask), [["36600", "60"]]);
    assert_eq!(engines.mariadb(ask).await, [["36600", "60"]]);
    // Updates and deletes leave them out, too.
    engines.mysql("UPDATE things SET a = 7 WHERE id = 3; INSERT INTO things (id, a) VALUES (99, 1)").await;
    let pair = open(&source, &mariadb, "").await.unwrap();
    backfill(&pair, &options()).await.unwrap();
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);

    // Between two of PostgreSQL, and one that computes something else is found.
    let (a, b) = (
        "CREATE SCHEMA IF NOT EXISTS computed_x; DROP TABLE IF EXISTS computed_x.things; CREATE TABLE computed_x.things",
        "(id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS",
    );
    for (expression, verdict) in [("a * 2", Verdict::Verified), ("a * 3", Verdict::Diverged)] {
        let target = engines.postgres(&format!("{a} {b} ({expression}) STORED)")).await;
        let pair = open(&source, &target, "target = \"computed_x.things\"").await.unwrap();
        backfill(&pair, &options()).await.ok();
        let outcome = verify(&pair).await;
        assert_eq!(outcome.report.verdict, verdict, "{expression}");
        assert!(outcome.differences.iter().all(|d| d.fields == ["twice"]), "{expression}");
    }
    engines.postgres("DROP SCHEMA computed_x CASCADE").await;
    engines.end().await;
}
