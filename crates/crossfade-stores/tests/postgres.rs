//! The conformance suite on a real PostgreSQL, and what is particular to it.

#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use std::sync::Arc;

use async_trait::async_trait;
use crossfade_stores::{
    Change, ChangeOutcome, ColumnType, ErrorKind, Position, Range, Row, RowKey, Store, StoreUrl, TableName, TableSpec,
    Value, conformance, port::RawDump,
};
use futures::StreamExt;

fn server() -> String {
    std::env::var("CROSSFADE_TEST_POSTGRES").expect("run ./test, or `eval \"$(./tests/servers start)\"`")
}

async fn sql(url: &str, text: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let running = tokio::spawn(connection);
    client.batch_execute(text).await.unwrap_or_else(|e| panic!("{text}: {e:?}"));
    drop(client);
    running.await.unwrap().unwrap();
}

/// A schema of its own on the test server, dropped at the end.
struct Lab {
    schema: String,
    url: String,
    store: Arc<dyn Store>,
}

impl Lab {
    async fn new(name: &str) -> Lab {
        let schema = format!("{name}_{}", std::process::id());
        sql(&server(), &format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")).await;
        let server = server();
        let url = format!("{server}{}options=-csearch_path%3D{schema}", if server.contains('?') { '&' } else { '?' });
        let store = crossfade_stores::open(&url.parse::<StoreUrl>().unwrap()).await.unwrap();
        Lab { schema, url, store }
    }

    async fn end(self) {
        sql(&server(), &format!("DROP SCHEMA {} CASCADE", self.schema)).await;
    }
}

fn native(name: &str, ty: &ColumnType) -> (String, String) {
    let mut before = String::new();
    let text = match ty {
        ColumnType::Bool => "bool".to_owned(),
        ColumnType::Int { bits: 16 } => "int2".to_owned(),
        ColumnType::Int { bits: 32 } => "int4".to_owned(),
        ColumnType::Int { .. } => "int8".to_owned(),
        ColumnType::Uint64 => "numeric(20,0)".to_owned(),
        ColumnType::Decimal { precision: None } => "numeric".to_owned(),
        ColumnType::Decimal { precision: Some((p, s)) } => format!("numeric({p},{s})"),
        ColumnType::Float32 => "float4".to_owned(),
        ColumnType::Float64 => "float8".to_owned(),
        ColumnType::Text { max: None } => "text COLLATE \"C\"".to_owned(),
        ColumnType::Text { max: Some(n) } => format!("varchar({n}) COLLATE \"C\""),
        ColumnType::Bytes => "bytea".to_owned(),
        ColumnType::Uuid => "uuid".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Time => "time".to_owned(),
        ColumnType::Timestamp => "timestamp".to_owned(),
        ColumnType::TimestampTz => "timestamptz".to_owned(),
        ColumnType::Json => "jsonb".to_owned(),
        ColumnType::Enum { labels } => {
            let labels: Vec<String> = labels.iter().map(|l| format!("'{}'", l.replace('\'', "''"))).collect();
            before = format!("CREATE TYPE {name}_enum AS ENUM ({});", labels.join(", "));
            format!("{name}_enum")
        }
        ColumnType::Array(of) => format!("{}[]", native("", of).1.replace(" COLLATE \"C\"", "")),
        ColumnType::Native { name, .. } => name.clone(),
    };
    (before, text)
}

#[async_trait]
impl conformance::Lab for Lab {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn make(&self, name: &str, columns: &[(&str, ColumnType)], key: &[&str]) -> TableSpec {
        let mut before = String::new();
        let mut list = Vec::new();
        for (column, ty) in columns {
            let (more, native) = native(&format!("{name}_{column}"), ty);
            before += &more;
            list.push(format!("{column} {native}"));
        }
        sql(
            &self.url,
            &format!("{before} CREATE TABLE {name} ({}, PRIMARY KEY ({}))", list.join(", "), key.join(", ")),
        )
        .await;
        let mut spec = self.store.describe(&TableName::new(name)).await.unwrap().as_spec();
        for (column, (_, ty)) in spec.columns.iter_mut().zip(columns) {
            column.ty = ty.clone();
        }
        spec
    }

    fn keeps(&self, _: &ColumnType) -> bool {
        true
    }
}

#[tokio::test]
async fn conforms() {
    let lab = Lab::new("conforms").await;
    conformance::run(&lab).await;
    lab.end().await;
}

#[tokio::test]
async fn specials_are_kept_to_the_bit() {
    let lab = Lab::new("specials").await;
    sql(
        &lab.url,
        "CREATE TABLE t (id int8 PRIMARY KEY, f float8, g float4, n numeric, ts timestamptz, d date, ip inet, iv interval, c bool GENERATED ALWAYS AS (id > 2) STORED, j json, v text[][]);
         INSERT INTO t VALUES (1, 'NaN', '-Infinity', 'NaN', 'infinity', '-infinity', '10.0.0.0/8', '1 year 2 days 3.5 s', DEFAULT, '{\"b\":1,  \"a\":2}', NULL),
                              (2, '-0', 'NaN', 'Infinity', '-infinity', 'infinity', '::1', '-1 mon', DEFAULT, 'null', NULL),
                              (3, 1e308, 1e-45, 1e-30, '0001-01-01 BC', '4713-01-01 BC', NULL, NULL, DEFAULT, NULL, NULL)",
    )
    .await;
    let spec = lab.store.describe(&TableName::new("t")).await.unwrap().as_spec();
    assert!(spec.columns.iter().any(|c| c.name == "c"), "a generated column is read");
    let table = lab.store.table(&spec).await.unwrap();
    let page = table.scan(&Range::ALL, &Position::Start, 10).await.unwrap();
    let changes: Vec<Change> = page.rows.iter().map(|r| Change::Delete { seen: r.clone() }).collect();
    assert!(
        table.write(&changes).await.unwrap().iter().all(ChangeOutcome::is_applied),
        "every special value can be compared"
    );
    table.load(page.rows.clone()).await.unwrap();
    let again = table.scan(&Range::ALL, &Position::Start, 10).await.unwrap();
    assert_eq!(again.rows, page.rows);
    let at = |name: &str| spec.columns.iter().position(|c| c.name == name).unwrap();
    assert_eq!(page.rows[0].0[at("j")], Value::Json("{\"b\":1,  \"a\":2}".to_owned()), "json keeps its text");
    assert_eq!(page.rows[0].0[at("ts")], Value::TimestampTz(i64::MAX));
    assert!(matches!(&page.rows[1].0[at("f")], Value::Float64(f) if f.to_bits() == (-0.0_f64).to_bits()));
    // A list of lists has no form here: an error that names row and column, not something near it.
    sql(&lab.url, "UPDATE t SET v = '{{a,b},{c,d}}' WHERE id = 2").await;
    let e = table.scan(&Range::ALL, &Position::Start, 10).await.unwrap_err();
    assert_eq!((e.kind(), e.column()), (ErrorKind::Unrepresentable, Some("v")));
    assert!(e.to_string().contains(&RowKey(vec![Value::Int(2)]).digest()), "{e}");
    lab.end().await;
}

#[tokio::test]
async fn a_refused_row_does_not_stop_the_others() {
    let lab = Lab::new("refused").await;
    sql(&lab.url, "CREATE TABLE t (id int8 PRIMARY KEY, n int4 CHECK (n < 100), u text UNIQUE)").await;
    let table = lab.store.table(&lab.store.describe(&TableName::new("t")).await.unwrap().as_spec()).await.unwrap();
    for many in [3_i64, 60] {
        sql(&lab.url, "TRUNCATE t").await;
        let row = |i: i64| {
            let text = if i == 2 { "secret\0".to_owned() } else { format!("{i}") };
            Row(vec![Value::Int(i), Value::Int(if i == 1 { 100 } else { 1 }), Value::Text(text)])
        };
        let outcomes =
            table.write(&(0..many).map(|i| Change::Insert { row: row(i) }).collect::<Vec<_>>()).await.unwrap();
        for (i, outcome) in outcomes.iter().enumerate() {
            match outcome {
                ChangeOutcome::Applied => assert!(i != 1 && i != 2),
                ChangeOutcome::Refused(e) => {
                    assert!(i == 1 || i == 2, "{e}");
                    assert!(!e.to_string().contains("secret"), "no row values in errors: {e}");
                    assert!(e.to_string().contains(&row(i as i64).key(&[0]).digest()), "the row is named: {e}");
                }
                other => panic!("{other:?}"),
            }
        }
        // Another unique key is a refusal, not a lost race.
        let taken = table
            .write(&[Change::Insert { row: Row(vec![Value::Int(1_000), Value::Int(1), Value::Text("0".to_owned())]) }])
            .await
            .unwrap();
        assert!(matches!(&taken[0], ChangeOutcome::Refused(_)), "{taken:?}");
    }
    lab.end().await;
}

#[tokio::test]
async fn a_dump_that_breaks_loads_nothing() {
    let lab = Lab::new("dumps").await;
    sql(&lab.url, "CREATE TABLE a (id int8 PRIMARY KEY, v text); CREATE TABLE b (LIKE a INCLUDING ALL); INSERT INTO a SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i").await;
    let open = async |name: &str| {
        lab.store.table(&lab.store.describe(&TableName::new(name)).await.unwrap().as_spec()).await.unwrap()
    };
    let (a, b) = (open("a").await, open("b").await);
    let (from, into) = (a.raw().unwrap(), b.raw().unwrap());
    assert_eq!(from.format(), into.format());
    let dump = from.dump(&Range::ALL).await.unwrap();
    let broken: RawDump = Box::pin(
        dump.take(3)
            .chain(futures::stream::once(async { Err(crossfade_stores::StoreError::new(ErrorKind::Lost, "cut")) })),
    );
    into.load(broken).await.unwrap_err();
    // A truncated dump without an error lacks the trailer; PostgreSQL takes that for the end, so a stream may end only by the server's word.
    assert!(
        b.scan(&Range::ALL, &Position::Start, 10).await.unwrap().rows.is_empty(),
        "nothing of a broken dump is there"
    );
    let range = Range::Keys { from: Some(RowKey(vec![Value::Int(10)])), to: Some(RowKey(vec![Value::Int(20)])) };
    assert_eq!(into.load(from.dump(&range).await.unwrap()).await.unwrap(), 10);
    let rows = b.scan(&Range::ALL, &Position::Start, 100).await.unwrap().rows;
    assert_eq!(rows.iter().map(|r| r.0[0].clone()).collect::<Vec<_>>(), (10..20).map(Value::Int).collect::<Vec<_>>());
    lab.end().await;
}

#[tokio::test]
async fn a_late_commit_is_waited_for() {
    let lab = Lab::new("late").await;
    sql(&lab.url, "CREATE TABLE t (id int8 PRIMARY KEY)").await;
    let table = lab.store.table(&lab.store.describe(&TableName::new("t")).await.unwrap().as_spec()).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&lab.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let token = table.open_writes().await.unwrap().unwrap();
    assert!(!table.have_ended(&token).await.unwrap(), "the writer has not committed");
    client.batch_execute("COMMIT").await.unwrap();
    // Other tests' transactions may be open as well: they end by themselves.
    while !table.have_ended(&token).await.unwrap() {
        tokio::task::yield_now().await;
    }
    lab.end().await;
}

#[tokio::test]
async fn bad_tables_and_servers_are_named() {
    let lab = Lab::new("bad").await;
    sql(&lab.url, "CREATE TABLE keyless (a int); CREATE TABLE t (id int8 PRIMARY KEY, v text)").await;
    let e = lab.store.describe(&TableName::new("keyless")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NoSuchTable);
    assert!(e.to_string().contains("primary key"), "{e}");
    let spec = lab.store.describe(&TableName::new("t")).await.unwrap().as_spec();
    let table = lab.store.table(&spec).await.unwrap();
    sql(&lab.url, "ALTER TABLE t DROP COLUMN v").await;
    let e = table.scan(&Range::ALL, &Position::Start, 1).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::SchemaChanged, "{e}");
    let nowhere = crossfade_stores::open(&"postgres://app:hunter2@127.0.0.1:9/x".parse().unwrap()).await.unwrap();
    let e = nowhere.ping().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unreachable);
    assert!(!e.to_string().contains("hunter2"), "{e}");
    lab.end().await;
}

#[tokio::test]
async fn fences_drawn_from_pages_leave_no_row_out_of_the_checksums() {
    let lab = Lab::new("drawn_fences").await;
    sql(&lab.url, "CREATE TABLE t (id int8 PRIMARY KEY, at timestamptz, n numeric); INSERT INTO t SELECT i, 'epoch', 1.0 FROM generate_series(1, 20000) i; ANALYZE t").await;
    let table = lab.store.table(&lab.store.describe(&TableName::new("t")).await.unwrap().as_spec()).await.unwrap();
    let fences = table.fences(200).await.unwrap();
    assert!(fences.len() > 10 && fences.is_sorted() && fences.windows(2).all(|w| w[0] != w[1]), "{}", fences.len());
    let before = table.checksums(&fences).await.unwrap();
    assert_eq!((before.len(), before.iter().map(|s| s.rows).sum::<u64>()), (fences.len() + 1, 20_000));
    // Both are the same to the engine's own hashes: 64 bits folded into 32, and a number with one zero more.
    for change in ["at = at + interval '4294967297 microseconds'", "n = 1.00"] {
        sql(&lab.url, &format!("UPDATE t SET {change} WHERE id = 12345")).await;
        let after = table.checksums(&fences).await.unwrap();
        assert_eq!(before.iter().zip(&after).filter(|(a, b)| a != b).count(), 1, "{change}");
        sql(&lab.url, "UPDATE t SET at = 'epoch', n = 1.0 WHERE id = 12345").await;
        assert_eq!(table.checksums(&fences).await.unwrap(), before);
    }
    lab.end().await;
}

#[tokio::test]
async fn ranges_drawn_from_a_large_table_hold_every_row_once_and_few_are_long() {
    let lab = Lab::new("drawn_ranges").await;
    sql(&lab.url, "CREATE TABLE t (a int8, b text, v text, PRIMARY KEY (a, b)); INSERT INTO t SELECT i * 7919 % 250007, 'k' || i, repeat('x', i % 90) FROM generate_series(1, 250000) i; ANALYZE t").await;
    let table = lab.store.table(&lab.store.describe(&TableName::new("t")).await.unwrap().as_spec()).await.unwrap();
    for asked in [5_000, 100] {
        let ranges = table.split(asked).await.unwrap();
        let fences: Vec<RowKey> = ranges
            .windows(2)
            .map(|w| match (&w[0], &w[1]) {
                (Range::Keys { to: Some(to), .. }, Range::Keys { from: Some(from), .. }) if to == from => to.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(
            matches!(ranges.first(), Some(Range::Keys { from: None, .. }))
                && matches!(ranges.last(), Some(Range::Keys { to: None, .. }))
        );
        assert!(fences.windows(2).all(|w| w[0] < w[1]), "sorted, and none is empty");
        if asked == 5_000 {
            let sums = table.checksums(&fences).await.unwrap();
            let rows: Vec<u64> = sums.iter().map(|s| s.rows).collect();
            assert_eq!(rows.iter().sum::<u64>(), 250_000);
            assert!((30..90).contains(&rows.len()) && rows.iter().all(|n| *n < 20_000), "{rows:?}");
        }
    }
    lab.end().await;
}
