//! The conformance suite on SQLite files.

#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use crossfade_stores::{
    Change, ChangeOutcome, ColumnType, ErrorKind, Position, Range, Row, RowKey, Store, StoreUrl, TableName, TableSpec,
    Value, conformance,
};

struct Lab {
    path: PathBuf,
    store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

impl Lab {
    async fn new() -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.db");
        rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA journal_mode = wal").unwrap();
        let url: StoreUrl = format!("sqlite://{}?busy_timeout_ms=3000", path.display()).parse().unwrap();
        Lab { path, store: crossfade_stores::open(&url).await.unwrap(), _folder: folder }
    }

    fn sql(&self, text: &str) {
        rusqlite::Connection::open(&self.path).unwrap().execute_batch(text).unwrap();
    }
}

#[tokio::test]
async fn a_table_is_the_same_behind_a_link_to_its_file() {
    let lab = Lab::new().await;
    lab.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    let link = lab.path.with_file_name("link.db");
    std::os::unix::fs::symlink(&lab.path, &link).unwrap();
    let url: StoreUrl = format!("sqlite://{}", link.display()).parse().unwrap();
    let other = crossfade_stores::open(&url).await.unwrap();
    let spec = lab.store.describe(&TableName::new("t")).await.unwrap().as_spec();
    let own = lab.store.table(&spec).await.unwrap().identity().await.unwrap();
    assert_eq!(other.table(&spec).await.unwrap().identity().await.unwrap(), own);
}

fn native(ty: &ColumnType) -> &'static str {
    match ty {
        ColumnType::Bool => "BOOLEAN",
        ColumnType::Int { .. } => "INTEGER",
        ColumnType::Float32 | ColumnType::Float64 => "REAL",
        ColumnType::Bytes => "BLOB",
        ColumnType::TimestampTz => "TIMESTAMPTZ",
        _ => "TEXT",
    }
}

#[async_trait]
impl conformance::Lab for Lab {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn make(&self, name: &str, columns: &[(&str, ColumnType)], key: &[&str]) -> TableSpec {
        let list: Vec<String> = columns.iter().map(|(column, ty)| format!("{column} {}", native(ty))).collect();
        self.sql(&format!("CREATE TABLE {name} ({}, PRIMARY KEY ({}))", list.join(", "), key.join(", ")));
        let mut spec = self.store.describe(&TableName::new(name)).await.unwrap().as_spec();
        for (column, (_, ty)) in spec.columns.iter_mut().zip(columns) {
            column.ty = ty.clone();
        }
        spec
    }

    fn keeps(&self, ty: &ColumnType) -> bool {
        // A REAL column does not keep -0 and NaN.
        !matches!(ty, ColumnType::Float32 | ColumnType::Float64)
    }
}

#[tokio::test]
async fn conforms() {
    conformance::run(&Lab::new().await).await;
}

#[tokio::test]
async fn what_a_file_does_not_keep_is_refused_and_named() {
    let lab = Lab::new().await;
    lab.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, f REAL, d NUMERIC, j JSON)");
    let spec = lab.store.describe(&TableName::new("t")).await.unwrap().as_spec();
    let mut decimal = spec.clone();
    decimal.columns.truncate(3);
    decimal.columns.remove(1);
    decimal.columns[1].ty = ColumnType::Decimal { precision: Some((12, 2)) };
    let e = lab.store.table(&decimal).await.unwrap_err();
    assert_eq!((e.kind(), e.column()), (ErrorKind::Unrepresentable, Some("d")), "{e}");
    let mut float = spec;
    float.columns.truncate(2);
    let table = lab.store.table(&float).await.unwrap();
    let row = |id: i64, f: f64| Row(vec![Value::Int(id), Value::Float64(f)]);
    let outcomes = table
        .write(&[
            Change::Insert { row: row(1, 0.1) },
            Change::Insert { row: row(2, f64::NAN) },
            Change::Insert { row: row(3, 2.0) },
        ])
        .await
        .unwrap();
    assert!(outcomes[0].is_applied() && outcomes[2].is_applied(), "{outcomes:?}");
    assert!(
        matches!(&outcomes[1], ChangeOutcome::Refused(e) if e.column() == Some("f")),
        "NaN is not silently null: {outcomes:?}"
    );
    assert_eq!(table.scan(&Range::ALL, &Position::Start, 9).await.unwrap().rows, [row(1, 0.1), row(3, 2.0)]);
}

#[tokio::test]
async fn text_that_is_no_unicode_is_an_error_with_its_row() {
    let lab = Lab::new().await;
    lab.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'nul' || char(0) || 'inside'), (2, CAST(x'ff61' AS TEXT))");
    let table = lab.store.table(&lab.store.describe(&TableName::new("t")).await.unwrap().as_spec()).await.unwrap();
    let key = |id: i64| RowKey(vec![Value::Int(id)]);
    assert_eq!(table.read(&[key(1)]).await.unwrap()[0].as_ref().unwrap().0[1], Value::Text("nul\0inside".to_owned()));
    let e = table.scan(&Range::ALL, &Position::Start, 9).await.unwrap_err();
    assert_eq!((e.kind(), e.column()), (ErrorKind::Unrepresentable, Some("v")));
    assert!(e.to_string().contains(&key(2).digest()), "{e}");
}

#[tokio::test]
async fn a_writer_that_has_not_committed_is_seen() {
    let lab = Lab::new().await;
    lab.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    let url: StoreUrl = format!("sqlite://{}?busy_timeout_ms=1", lab.path.display()).parse().unwrap();
    let store = crossfade_stores::open(&url).await.unwrap();
    let table = store.table(&store.describe(&TableName::new("t")).await.unwrap().as_spec()).await.unwrap();
    let token = table.open_writes().await.unwrap().unwrap();
    let other = rusqlite::Connection::open(&lab.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
    assert!(!table.have_ended(&token).await.unwrap());
    let e = table.write(&[Change::Insert { row: Row(vec![Value::Int(2)]) }]).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "nothing was done, ask again: {e}");
    other.execute_batch("COMMIT").unwrap();
    assert!(table.have_ended(&token).await.unwrap());
}

#[tokio::test]
async fn a_missing_file_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nope.db");
    let store = crossfade_stores::open(&format!("sqlite://{}", path.display()).parse().unwrap()).await.unwrap();
    let e = store.ping().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unreachable, "{e}");
    assert!(!path.exists());
}

#[tokio::test]
async fn of_loads_that_share_a_transaction_a_refused_one_is_undone_alone() {
    let lab = Lab::new().await;
    lab.sql("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    let table = lab.store.table(&lab.store.describe(&TableName::new("t")).await.unwrap().as_spec()).await.unwrap();
    let rows = |ids: &[i64]| ids.iter().map(|id| Row(vec![Value::Int(*id)])).collect::<Vec<_>>();
    let other = rusqlite::Connection::open(&lab.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The first waits for the other writer, the next ones for the first.
    let (first, second, refused, last, ()) = futures::join!(
        table.load(rows(&[1, 2])),
        table.load(rows(&[3, 4])),
        table.load(rows(&[5, 6, 5])),
        table.load(rows(&[7])),
        async { other.execute_batch("COMMIT").unwrap() }
    );
    assert!(first.is_ok() && second.is_ok() && last.is_ok(), "{first:?} {second:?} {last:?}");
    let e = refused.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused, "{e}");
    assert!(e.to_string().contains(&RowKey(vec![Value::Int(5)]).digest()), "{e}");
    assert_eq!(table.scan(&Range::ALL, &Position::Start, 99).await.unwrap().rows, rows(&[1, 2, 3, 4, 7]));
}
