//! `lossy = "text"`: a column arrives as its own database prints it.

#![cfg(all(feature = "postgres", feature = "sqlite", feature = "mysql", feature = "dynamodb"))]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use common::{
    backfill,
    engines::{Engines, open},
    options, verify,
};
use crossfade_transfer::verify::Verdict;

/// Types of PostgreSQL, each with two values.
const POSTGRES: [(&str, &str, &str); 26] = [
    ("interval", "'1 year 2 mons 3 days 04:05:06.789'", "'-1 day'"),
    ("inet", "'10.1.2.3/24'", "'2001:db8::1'"),
    ("cidr", "'10.1.0.0/16'", "'::/0'"),
    ("macaddr", "'08:00:2b:01:02:03'", "'ff:ff:ff:ff:ff:ff'"),
    ("money", "'-12.34'", "'1234567.89'"),
    ("xml", "'<a b=\"1\">x</a>'", "'<b/>'"),
    ("tsvector", "'a:1 fat:2 cat:3'", "'x'"),
    ("tsquery", "'a & b'", "'!c'"),
    ("int4range", "'[1,5)'", "'empty'"),
    ("tstzrange", "'[2024-01-01 00:00:00+00,)'", "'(,)'"),
    ("point", "'(1.5,-2)'", "'(0,0)'"),
    ("box", "'(2,2),(1,1)'", "'(0,0),(0,0)'"),
    ("polygon", "'((0,0),(1,1),(2,0))'", "'((1,1))'"),
    ("circle", "'<(1,2),3>'", "'<(0,0),1>'"),
    ("bit(5)", "'10101'", "'00000'"),
    ("varbit", "'101'", "''"),
    ("timetz", "'04:05:06.7+02'", "'23:59:59-11'"),
    ("int4[]", "'{1,NULL,3}'", "'{{1,2},{3,4}}'"),
    ("text[]", "ARRAY['a,b', 'c\"d', NULL]", "'{}'"),
    ("interval[]", "'{1 day,2 days}'", "'{}'"),
    ("bytea", "'\\x00ff'", "'\\x'"),
    ("timestamptz", "'2024-01-01 12:00:00+02'", "'infinity'"),
    ("numeric", "'1.50'", "'NaN'"),
    ("double precision", "0.1", "'-Infinity'"),
    ("jsonb", "'{\"b\": [1, 2.50], \"a\": null}'", "'1'"),
    ("pg_lsn", "'16/B374D848'", "'0/0'"),
];

#[tokio::test]
async fn types_of_postgres_arrive_as_psql_prints_them_and_verify() {
    let engines = Engines::new("psql_texts").await;
    let columns = |ty: &dyn Fn(&str) -> String| -> String {
        POSTGRES.iter().enumerate().map(|(i, (name, ..))| format!(", c{i} {}", ty(name))).collect()
    };
    let values = |of: &dyn Fn(&(&str, &str, &str)) -> String| POSTGRES.iter().map(of).collect::<String>();
    let source = engines
        .postgres(&format!(
            "CREATE TABLE things (id int PRIMARY KEY{}); INSERT INTO things VALUES (1{}), (2{}), (3{})",
            columns(&|ty| ty.to_owned()),
            values(&|(_, a, _)| format!(", {a}")),
            values(&|(_, _, b)| format!(", {b}")),
            values(&|_| ", NULL".to_owned()),
        ))
        .await;
    let target = engines
        .sqlite(&format!("CREATE TABLE things (id INTEGER PRIMARY KEY{})", columns(&|_| "TEXT".to_owned())))
        .await;
    let map: String = (0..POSTGRES.len()).map(|i| format!("map.c{i} = {{ lossy = \"text\" }}\n")).collect();
    let pair = open(&source, &target, &map).await.unwrap();
    backfill(&pair, &options()).await.unwrap();
    // As in a session of psql in UTC.
    let printed = engines.psql("SET timezone = 'UTC'; SELECT * FROM things ORDER BY id").await;
    assert_eq!(engines.sqlite3("SELECT * FROM things ORDER BY id"), printed);
    assert_eq!(printed[0][1], "1 year 2 mons 3 days 04:05:06.789");
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    for (n, change) in ["c0 = '1 day'", "c14 = '1'", "c17 = NULL", "c20 = '\\x00ff '"].into_iter().enumerate() {
        engines.sqlite_do(&format!("UPDATE things SET {change} WHERE id = {}", n % 2 + 1));
        let outcome = verify(&pair).await;
        assert_eq!(outcome.report.verdict, Verdict::Diverged, "{change}");
        let rows: Vec<_> = outcome
            .differences
            .iter()
            .map(|d| crossfade_transfer::repair::Named {
                source_key: d.source_key.clone(),
                target_key: d.target_key.clone(),
            })
            .collect();
        let (retry, control) = <(crossfade_transfer::retry::Retry, crossfade_transfer::pace::Control)>::default();
        let repaired = crossfade_transfer::repair::run(&pair, &rows, &retry, &control).await.unwrap();
        assert_eq!((repaired.repaired, repaired.failed), (1, 0), "{change}");
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified, "{change}");
    }
    assert_eq!(engines.sqlite3("SELECT * FROM things ORDER BY id"), printed);
    engines.end().await;
}

const MARIADB: [(&str, &str, &str, &str); 14] = [
    ("inet6", "'2001:db8::ff00:42:8329'", "SELECT c0", "2001:db8::ff00:42:8329"),
    ("set('a','b','c')", "'a,c'", "SELECT c1", "a,c"),
    ("point", "ST_GeomFromText('POINT(1.5 -2)')", "SELECT ST_AsText(c2)", "POINT(1.5 -2)"),
    ("bit(5)", "b'10101'", "SELECT LPAD(BIN(c3), 5, '0')", "10101"),
    ("time(3)", "'-100:59:59.125'", "SELECT c4", "-100:59:59.125"),
    ("year", "2024", "SELECT c5", "2024"),
    ("datetime(3)", "'2024-01-01 10:00:00.5'", "SELECT c6", "2024-01-01 10:00:00.500"),
    ("uuid", "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'", "SELECT c7", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    ("decimal(10,3)", "1.5", "SELECT c8", "1.500"),
    ("double", "0.1", "SELECT c9", "0.1"),
    ("float", "9.8", "SELECT c10", "9.8"),
    ("enum('x','y z')", "'y z'", "SELECT c11", "y z"),
    ("polygon", "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')", "SELECT ST_AsText(c12)", "POLYGON((0 0,1 0,1 1,0 0))"),
    ("bigint unsigned", "18446744073709551615", "SELECT c13", "18446744073709551615"),
];

#[tokio::test]
async fn types_of_mariadb_arrive_as_mariadb_prints_them_and_verify() {
    let engines = Engines::new("mariadb_texts").await;
    let columns: String = MARIADB.iter().enumerate().map(|(i, (ty, ..))| format!(", c{i} {ty} NULL")).collect();
    let values: String = MARIADB.iter().map(|(_, value, ..)| format!(", {value}")).collect();
    let nulls = ", NULL".repeat(MARIADB.len());
    let source = engines
        .mysql(&format!(
            "CREATE TABLE things (id int PRIMARY KEY{columns}); INSERT INTO things VALUES (1{values}), (2{nulls})"
        ))
        .await;
    let columns: String = (0..MARIADB.len()).map(|i| format!(", c{i} text")).collect();
    let target = engines.postgres(&format!("CREATE TABLE things (id int PRIMARY KEY{columns})")).await;
    let map: String = (0..MARIADB.len()).map(|i| format!("map.c{i} = {{ lossy = \"text\" }}\n")).collect();
    let pair = open(&source, &target, &map).await.unwrap();
    backfill(&pair, &options()).await.unwrap();
    let arrived = engines.psql("SELECT * FROM things ORDER BY id").await;
    for (i, (ty, _, _, text)) in MARIADB.iter().enumerate() {
        assert_eq!(arrived[0][i + 1], *text, "{ty}");
        assert_eq!(arrived[1][i + 1], "-", "{ty}");
    }
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    engines.mysql("UPDATE things SET c1 = 'b', c3 = b'11', c4 = '00:00:01' WHERE id = 1").await;
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Diverged);
    backfill(&pair, &options()).await.unwrap();
    assert_eq!(
        engines.psql("SELECT c1, c3, c4 FROM things WHERE id = 1").await.concat(),
        ["b", "00011", "00:00:01.000"]
    );
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    engines.end().await;
}

#[tokio::test]
async fn values_of_sqlite_arrive_as_they_are_stored() {
    let engines = Engines::new("sqlite_texts").await;
    let source = engines
        .sqlite("CREATE TABLE things (id INTEGER PRIMARY KEY, at TIMESTAMP, n NUMERIC); INSERT INTO things VALUES (1, '2024-01-01T10:00', 1.5), (2, 'soon', 7), (3, NULL, x'00ff')")
        .await;
    let target = engines.postgres("CREATE TABLE things (id bigint PRIMARY KEY, at text, n text)").await;
    let pair = open(&source, &target, "map.at = { lossy = \"text\" }\nmap.n = { lossy = \"text\" }").await.unwrap();
    backfill(&pair, &options()).await.unwrap();
    let rows = engines.psql("SELECT at, n FROM things ORDER BY id").await;
    assert_eq!(rows, [["2024-01-01T10:00", "1.5"], ["soon", "7"], ["-", "00ff"]]);
    assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    engines.end().await;
}
