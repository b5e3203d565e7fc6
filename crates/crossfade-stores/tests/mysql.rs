//! The conformance suite on a real MariaDB, and what is particular to it.

#![cfg(feature = "mysql")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use std::sync::Arc;

use async_trait::async_trait;
use crossfade_stores::{
    Change, ChangeOutcome, ColumnType, ErrorKind, Fit, Position, Range, Row, RowKey, Store, StoreUrl, Table, TableName,
    TableSpec, Value, conformance,
};
use mysql_async::{Conn, Opts, prelude::Queryable};

fn server() -> String {
    std::env::var("CROSSFADE_TEST_MYSQL").expect("run ./test, or `eval \"$(./tests/servers start)\"`")
}

/// A database of its own on the test server, dropped at the end.
struct Lab {
    database: String,
    url: String,
    store: Arc<dyn Store>,
}

impl Lab {
    async fn new(name: &str) -> Lab {
        let database = format!("{name}_{}", std::process::id());
        let mut conn = Conn::new(Opts::from_url(&server()).unwrap()).await.unwrap();
        conn.query_drop(format!("DROP DATABASE IF EXISTS {database}")).await.unwrap();
        conn.query_drop(format!("CREATE DATABASE {database} CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"))
            .await
            .unwrap();
        conn.disconnect().await.unwrap();
        let url = format!("{}/{database}?write_timeout_ms=3000", server().rsplit_once('/').unwrap().0);
        let store = crossfade_stores::open(&url.parse::<StoreUrl>().unwrap()).await.unwrap();
        Lab { database, url, store }
    }

    async fn conn(&self) -> Conn {
        Conn::new(Opts::from_url(self.url.split('?').next().unwrap()).unwrap()).await.unwrap()
    }

    async fn sql(&self, text: &str) {
        let mut conn = self.conn().await;
        for statement in text.split(';').filter(|s| !s.trim().is_empty()) {
            conn.query_drop(statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
        }
        conn.disconnect().await.unwrap();
    }

    async fn table(&self, name: &str) -> Arc<dyn Table> {
        let spec = self.store.describe(&TableName::new(name)).await.unwrap().as_spec();
        self.store.table(&spec).await.unwrap_or_else(|e| panic!("{name}: {e:?}"))
    }

    async fn end(self) {
        self.sql(&format!("DROP DATABASE {}", self.database)).await;
    }
}

#[tokio::test]
async fn a_table_is_the_same_by_every_name_of_its_server() {
    let lab = Lab::new("identity").await;
    lab.sql("CREATE TABLE t (id bigint PRIMARY KEY)").await;
    let other = lab.url.replace("127.0.0.1", "localhost");
    assert_ne!(other, lab.url);
    let other = crossfade_stores::open(&other.parse::<StoreUrl>().unwrap()).await.unwrap();
    let spec = lab.store.describe(&TableName::new("t")).await.unwrap().as_spec();
    let named = TableSpec { name: TableName::new(format!("{}.t", lab.database)), ..spec.clone() };
    let own = lab.store.table(&spec).await.unwrap().identity().await.unwrap();
    for table in [other.table(&spec).await.unwrap(), lab.store.table(&named).await.unwrap()] {
        assert_eq!(table.identity().await.unwrap(), own);
    }
    lab.end().await;
}

fn native(ty: &ColumnType) -> String {
    match ty {
        ColumnType::Bool => "boolean".to_owned(),
        ColumnType::Int { bits: 16 } => "smallint".to_owned(),
        ColumnType::Int { bits: 32 } => "int".to_owned(),
        ColumnType::Int { .. } => "bigint".to_owned(),
        ColumnType::Uint64 => "bigint unsigned".to_owned(),
        ColumnType::Decimal { precision: None } => "longtext".to_owned(),
        ColumnType::Decimal { precision: Some((p, s)) } => format!("decimal({p},{s})"),
        ColumnType::Float32 => "float".to_owned(),
        ColumnType::Float64 => "double".to_owned(),
        ColumnType::Text { max: Some(n) } => format!("varchar({n})"),
        ColumnType::Bytes => "varbinary(300)".to_owned(),
        ColumnType::Uuid => "binary(16)".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Time => "time(6)".to_owned(),
        ColumnType::Timestamp => "datetime(6)".to_owned(),
        ColumnType::TimestampTz => "timestamp(6)".to_owned(),
        ColumnType::Json => "json".to_owned(),
        ColumnType::Enum { labels } => {
            let labels: Vec<String> = labels.iter().map(|l| format!("'{}'", l.replace('\'', "''"))).collect();
            format!("enum({})", labels.join(", "))
        }
        ColumnType::Text { max: None } | ColumnType::Array(_) => "longtext".to_owned(),
        ColumnType::Native { name, .. } => name.clone(),
    }
}

#[async_trait]
impl conformance::Lab for Lab {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn make(&self, name: &str, columns: &[(&str, ColumnType)], key: &[&str]) -> TableSpec {
        let list: Vec<String> = columns
            .iter()
            .map(|(c, ty)| format!("{c} {} {}", native(ty), if key.contains(c) { "NOT NULL" } else { "NULL" }))
            .collect();
        self.sql(&format!("CREATE TABLE {name} ({}, PRIMARY KEY ({}))", list.join(", "), key.join(", "))).await;
        let mut spec = self.store.describe(&TableName::new(name)).await.unwrap().as_spec();
        for (column, (_, ty)) in spec.columns.iter_mut().zip(columns) {
            column.ty = ty.clone();
        }
        spec
    }

    fn keeps(&self, ty: &ColumnType) -> bool {
        // No -0.
        !matches!(ty, ColumnType::Float32 | ColumnType::Float64)
    }
}

#[tokio::test]
async fn conforms() {
    let lab = Lab::new("conforms").await;
    conformance::run(&lab).await;
    lab.end().await;
}

fn insert(values: Vec<Value>) -> Change {
    Change::Insert { row: Row(values) }
}

fn text(t: &str) -> Value {
    Value::Text(t.to_owned())
}

#[tokio::test]
async fn the_bulk_path_keeps_every_type_as_the_other_does() {
    let lab = Lab::new("bulk_types").await;
    for (n, ty) in conformance::all_types().into_iter().filter(|ty| conformance::Lab::keeps(&lab, ty)).enumerate() {
        let spec =
            conformance::Lab::make(&lab, &format!("t{n}"), &[("id", ColumnType::INT64), ("v", ty.clone())], &["id"])
                .await;
        let table = lab.store.table(&spec).await.unwrap();
        let mut rows: Vec<Row> = conformance::samples(&ty)
            .into_iter()
            .enumerate()
            .map(|(i, v)| Row(vec![Value::Int(i as i64), v]))
            .collect();
        rows.push(Row(vec![Value::Int(1_000), Value::Null]));
        table.load(rows.clone()).await.unwrap_or_else(|e| panic!("{ty}: {e:?}"));
        assert_eq!(table.scan(&Range::ALL, &Position::Start, 5_000).await.unwrap().rows, rows, "{ty}");
    }
    lab.end().await;
}

#[tokio::test]
async fn a_bulk_load_that_the_server_would_bend_is_undone() {
    let lab = Lab::new("bulk_bends").await;
    lab.sql("CREATE TABLE t (id bigint PRIMARY KEY, note varchar(3), n tinyint)").await;
    let mut spec = lab.store.describe(&TableName::new("t")).await.unwrap().as_spec();
    let table = lab.store.table(&spec).await.unwrap();
    let row = |id: i64, note: &str, n: i64| Row(vec![Value::Int(id), text(note), Value::Int(n)]);
    let long = table.load(vec![row(1, "ok", 1), row(2, "too long", 1)]).await.unwrap_err();
    assert_eq!((long.kind(), long.column()), (ErrorKind::Refused, Some("note")), "{long}");
    assert!(!long.to_string().contains("too long"), "no row values: {long}");
    let large = table.load(vec![row(1, "ok", 1), row(2, "ok", 1_000)]).await.unwrap_err();
    assert_eq!((large.kind(), large.column()), (ErrorKind::Refused, Some("n")), "{large}");
    let twice = table.load(vec![row(1, "ok", 1), row(1, "ok", 2)]).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Refused, "{twice}");
    assert!(table.scan(&Range::ALL, &Position::Start, 9).await.unwrap().rows.is_empty(), "nothing of it is there");
    // The other path refuses the row alone, and the rest goes in.
    let outcomes = table
        .write(&[
            insert(row(1, "ok", 1).0),
            insert(row(2, "too long", 1).0),
            insert(row(3, "ok", 1_000).0),
            insert(row(4, "ok", 2).0),
        ])
        .await
        .unwrap();
    assert!(outcomes[0].is_applied() && outcomes[3].is_applied(), "{outcomes:?}");
    for (outcome, column) in [(&outcomes[1], "note"), (&outcomes[2], "n")] {
        assert!(matches!(outcome, ChangeOutcome::Refused(e) if e.column() == Some(column)), "{outcomes:?}");
    }
    // A narrower column is a declared loss for texts.
    spec.columns[1].ty = ColumnType::Text { max: Some(10) };
    assert_eq!(lab.store.table(&spec).await.unwrap_err().column(), Some("note"));
    lab.end().await;
}

#[tokio::test]
async fn a_key_that_a_collation_takes_for_another_is_refused_and_not_lost() {
    let lab = Lab::new("collation").await;
    lab.sql("CREATE TABLE t (k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v int, u int UNIQUE)").await;
    let table = lab.table("t").await;
    assert!(!table.capabilities().ordered);
    let row = |k: &str, v: i64, u: i64| vec![text(k), Value::Int(v), Value::Int(u)];
    assert!(table.write(&[insert(row("a", 1, 1))]).await.unwrap()[0].is_applied());
    let outcomes = table
        .write(&[insert(row("A", 2, 2)), insert(row("b", 2, 1)), insert(row("a", 9, 9)), insert(row("c", 3, 3))])
        .await
        .unwrap();
    assert!(matches!(&outcomes[0], ChangeOutcome::Refused(e) if e.to_string().contains("collation")), "{outcomes:?}");
    assert!(matches!(&outcomes[1], ChangeOutcome::Refused(e) if e.to_string().contains("unique")), "{outcomes:?}");
    assert!(matches!(&outcomes[2], ChangeOutcome::LostRace), "the very key is there: {outcomes:?}");
    assert!(outcomes[3].is_applied(), "{outcomes:?}");
    let keys = ["A", "a", "á"].map(|k| RowKey(vec![text(k)]));
    let found: Vec<bool> = table.read(&keys).await.unwrap().iter().map(Option::is_some).collect();
    assert_eq!(found, [false, true, false]);
    let stale = table.write(&[Change::Delete { seen: Row(row("A", 1, 1)) }]).await.unwrap();
    assert!(matches!(stale[0], ChangeOutcome::LostRace), "{stale:?}");
    lab.end().await;
}

#[tokio::test]
async fn an_id_of_zero_and_an_unchanged_row_are_what_they_are() {
    let lab = Lab::new("zero").await;
    lab.sql("CREATE TABLE t (id bigint AUTO_INCREMENT PRIMARY KEY, v varchar(9), at timestamp(6) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(6))").await;
    let table = lab.table("t").await;
    let row = Row(vec![Value::Int(0), text("x"), Value::TimestampTz(1_700_000_000_000_001)]);
    assert!(table.write(&[insert(row.0.clone())]).await.unwrap()[0].is_applied());
    assert_eq!(table.scan(&Range::ALL, &Position::Start, 9).await.unwrap().rows, std::slice::from_ref(&row));
    let same = table.write(&[Change::Replace { seen: row.clone(), row: row.clone() }]).await.unwrap();
    assert!(same[0].is_applied(), "an unchanged row counts as found: {same:?}");
    assert_eq!(table.read(&[row.key(&[0])]).await.unwrap(), [Some(row)], "and its time did not move by itself");
    let warnings = lab.store.warnings(&TableName::new("t")).await.unwrap();
    assert!(
        warnings.iter().any(|w| w.contains("ids"))
            && warnings.iter().any(|w| w.contains("by itself with every update")),
        "{warnings:?}"
    );
    lab.end().await;
}

#[tokio::test]
async fn what_mysql_would_round_is_refused_and_named() {
    let lab = Lab::new("rounds").await;
    lab.sql("CREATE TABLE t (id int PRIMARY KEY, d decimal(6,2), at datetime(3), f double)").await;
    let mut spec = lab.store.describe(&TableName::new("t")).await.unwrap().as_spec();
    let row = |id: i64, d: &str, at: i64, f: f64| {
        vec![Value::Int(id), Value::Decimal(d.parse().unwrap()), Value::Timestamp(at), Value::Float64(f)]
    };
    let table = lab.store.table(&spec).await.unwrap();
    let outcomes = table
        .write(&[
            insert(row(1, "1.50", 1_000, 0.5)),
            insert(row(2, "1.505", 0, 0.5)),
            insert(row(3, "1.50", 1, 0.5)),
            insert(row(4, "1.50", 0, f64::NAN)),
            insert(row(5, "99999", 0, 0.5)),
        ])
        .await
        .unwrap();
    assert!(outcomes[0].is_applied(), "{outcomes:?}");
    for (outcome, column) in outcomes[1..].iter().zip(["d", "at", "f", "d"]) {
        assert!(
            matches!(outcome, ChangeOutcome::Refused(e) if e.column() == Some(column) && e.kind() == ErrorKind::Unrepresentable),
            "{column}: {outcomes:?}"
        );
    }
    spec.columns[1].ty = ColumnType::Decimal { precision: Some((8, 4)) };
    assert_eq!(lab.store.table(&spec).await.unwrap_err().column(), Some("d"), "a declared loss that was not accepted");
    spec.columns[1].accept_loss = true;
    let rounding = lab.store.table(&spec).await.unwrap();
    assert!(rounding.write(&[insert(row(6, "1.5050", 0, 0.5))]).await.unwrap()[0].is_applied());
    assert!(matches!(lab.store.fit(&ColumnType::Float64, None), Fit::Lossy(_)));
    lab.end().await;
}

#[tokio::test]
async fn a_transaction_that_has_not_committed_is_waited_for() {
    let lab = Lab::new("late").await;
    lab.sql("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)").await;
    let table = lab.table("t").await;
    let before = table.open_writes().await.unwrap().unwrap();
    assert!(table.have_ended(&before).await.unwrap());
    let mut late = lab.conn().await;
    late.query_drop("START TRANSACTION").await.unwrap();
    late.query_drop("UPDATE t SET v = 2 WHERE id = 1").await.unwrap();
    let token = table.open_writes().await.unwrap().unwrap();
    assert!(!table.have_ended(&token).await.unwrap());
    // A lock that is not to be had in time: nothing was done, ask again.
    let e = table.write(&[Change::Delete { seen: Row(vec![Value::Int(1), Value::Int(1)]) }]).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    late.query_drop("COMMIT").await.unwrap();
    assert!(table.have_ended(&token).await.unwrap(), "at once: the answer is never of a moment before the question");
    assert_eq!(
        table.read(&[RowKey(vec![Value::Int(1)])]).await.unwrap(),
        [Some(Row(vec![Value::Int(1), Value::Int(2)]))]
    );
    late.disconnect().await.unwrap();
    lab.end().await;
}

#[tokio::test]
async fn wrong_passwords_hosts_and_tables_say_what_to_do() {
    let url = server();
    let (_, host) = url.rsplit_once('@').unwrap();
    let wrong = crossfade_stores::open(&format!("mysql://crossfade:nope@{host}").parse().unwrap()).await.unwrap();
    let e = wrong.ping().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied, "{e}");
    assert!(!e.to_string().contains("nope"), "{e}");
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nowhere = crossfade_stores::open(&format!("mysql://a:s3cret@{free}/x").parse().unwrap()).await.unwrap();
    let e = nowhere.ping().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unreachable, "{e}");
    assert!(!e.to_string().contains("s3cret"), "{e}");
    for url in ["mysql://a@b", "mysql://a@b/c?pool=0"] {
        assert_eq!(crossfade_stores::open(&url.parse().unwrap()).await.unwrap_err().kind(), ErrorKind::Config, "{url}");
    }
    let lab = Lab::new("keyless").await;
    lab.sql("CREATE TABLE t (v int)").await;
    let e = lab.store.describe(&TableName::new("t")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NoSuchTable);
    assert!(e.to_string().contains("no primary key"), "{e}");
    assert_eq!(lab.store.tables().await.unwrap(), [TableName::new("t")]);
    lab.end().await;
}
