//! The conformance suite on a real Redis, in both layouts, and what is particular to it.

#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use std::sync::Arc;

use async_trait::async_trait;
use crossfade_stores::{
    Change, ChangeOutcome, ColumnType, ErrorKind, Page, Position, Range, Rest, Row, RowKey, Store, StoreUrl, Table,
    TableName, TableOptions, TableSpec, Value, WantedColumn, conformance, schema::Layout,
};
use redis::{AsyncCommands, aio::MultiplexedConnection};

fn server() -> String {
    std::env::var("CROSSFADE_TEST_REDIS").expect("run ./test, or `eval \"$(./tests/servers start)\"`")
}

/// Keys of its own on the test server, by a prefix, deleted at the end.
struct Lab {
    prefix: String,
    layout: Layout,
    store: Arc<dyn Store>,
    connection: MultiplexedConnection,
}

impl Lab {
    async fn new(name: &str, layout: Layout) -> Lab {
        let url: StoreUrl = server().parse().unwrap();
        let store = crossfade_stores::open(&url).await.unwrap();
        let connection = redis::Client::open(server()).unwrap().get_multiplexed_async_connection().await.unwrap();
        let lab = Lab { prefix: format!("{name}_{}", std::process::id()), layout, store, connection };
        lab.clear().await;
        lab
    }

    async fn clear(&self) {
        let mut connection = self.connection.clone();
        let keys: Vec<String> = connection.keys(format!("{}_*", self.prefix)).await.unwrap();
        for key in keys {
            let _: () = connection.del(key).await.unwrap();
        }
    }

    fn spec(&self, name: &str, columns: &[(&str, ColumnType)], key: &[&str], options: TableOptions) -> TableSpec {
        TableSpec {
            name: TableName::new(format!("{}_{name}", self.prefix)),
            columns: columns
                .iter()
                .map(|(name, ty)| WantedColumn { name: (*name).to_owned(), ty: ty.clone(), accept_loss: false })
                .collect(),
            key: key.iter().map(|k| columns.iter().position(|(c, _)| c == k).unwrap()).collect(),
            options: TableOptions { layout: self.layout, ..options },
        }
    }

    async fn notes(&self) -> Arc<dyn Table> {
        self.store
            .table(&self.spec(
                "notes",
                &[("id", ColumnType::INT64), ("note", ColumnType::TEXT)],
                &["id"],
                TableOptions::default(),
            ))
            .await
            .unwrap()
    }

    fn key(&self, rest: &str) -> String {
        format!("{}_{rest}", self.prefix)
    }
}

fn note(id: i64, text: &str) -> Row {
    Row(vec![Value::Int(id), Value::Text(text.to_owned())])
}

async fn all_of(table: &dyn Table) -> Vec<Row> {
    let (mut rows, mut position) = (Vec::new(), Position::Start);
    loop {
        let Page { rows: more, rest } = table.scan(&Range::ALL, &position, 10).await.unwrap();
        rows.extend(more);
        match rest {
            Rest::More(next) => position = next,
            Rest::End => return rows,
        }
    }
}

#[async_trait]
impl conformance::Lab for Lab {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn make(&self, name: &str, columns: &[(&str, ColumnType)], key: &[&str]) -> TableSpec {
        self.spec(name, columns, key, TableOptions::default())
    }

    fn keeps(&self, _: &ColumnType) -> bool {
        true
    }
}

#[tokio::test]
async fn conforms_with_hashes() {
    let lab = Lab::new("hashes", Layout::Hash).await;
    conformance::run(&lab).await;
    lab.clear().await;
}

#[tokio::test]
async fn conforms_with_json_strings() {
    let lab = Lab::new("strings", Layout::Json).await;
    conformance::run(&lab).await;
    lab.clear().await;
}

#[tokio::test]
async fn fields_of_others_are_left_alone() {
    for layout in [Layout::Hash, Layout::Json] {
        let lab = Lab::new("others", layout).await;
        let table = lab.notes().await;
        let mut connection = lab.connection.clone();
        let name = lab.key("notes:1");
        match layout {
            Layout::Hash => {
                connection.hset_multiple::<_, _, _, ()>(&name, &[("note", "a"), ("visits", "7")]).await.unwrap()
            }
            Layout::Json => connection.set::<_, _, ()>(&name, "{ \"visits\": 7.00,  \"note\" : \"a\" }").await.unwrap(),
        }
        assert_eq!(all_of(&*table).await, [note(1, "a")]);
        assert!(
            table.write(&[Change::Replace { seen: note(1, "a"), row: note(1, "b") }]).await.unwrap()[0].is_applied(),
            "{layout:?}"
        );
        match layout {
            Layout::Hash => assert_eq!(connection.hget::<_, _, String>(&name, "visits").await.unwrap(), "7"),
            Layout::Json => assert_eq!(
                connection.get::<_, String>(&name).await.unwrap(),
                "{\"id\":1,\"note\":\"b\",\"visits\":7.00}"
            ),
        }
        assert!(
            table
                .write(&[Change::Replace { seen: note(1, "b"), row: Row(vec![Value::Int(1), Value::Null]) }])
                .await
                .unwrap()[0]
                .is_applied()
        );
        assert_eq!(all_of(&*table).await, [Row(vec![Value::Int(1), Value::Null])]);
        lab.clear().await;
    }
}

#[tokio::test]
async fn an_expiry_is_part_of_the_row_and_of_the_comparison() {
    for layout in [Layout::Hash, Layout::Json] {
        let lab = Lab::new("cache", layout).await;
        let columns = [("id", ColumnType::INT64), ("note", ColumnType::TEXT), ("expires", ColumnType::TimestampTz)];
        let options = TableOptions {
            ttl_column: Some("expires".to_owned()),
            key_pattern: Some(lab.key("session:{id}:v1")),
            ..TableOptions::default()
        };
        let table = lab.store.table(&lab.spec("sessions", &columns, &["id"], options)).await.unwrap();
        let row = |expires: Value| Row(vec![Value::Int(7), Value::Text("x".to_owned()), expires]);
        // The year 2100.
        let (soon, later) =
            (row(Value::TimestampTz(4_102_444_800_123_000)), row(Value::TimestampTz(4_102_444_900_000_000)));
        assert!(table.write(&[Change::Insert { row: soon.clone() }]).await.unwrap()[0].is_applied());
        let mut connection = lab.connection.clone();
        let at = |c: &mut MultiplexedConnection| {
            let mut c = c.clone();
            let name = lab.key("session:7:v1");
            async move { redis::cmd("PEXPIRETIME").arg(name).query_async::<i64>(&mut c).await.unwrap() }
        };
        assert_eq!(at(&mut connection).await, 4_102_444_800_123);
        assert_eq!(all_of(&*table).await, std::slice::from_ref(&soon));
        let stale = table.write(&[Change::Replace { seen: later.clone(), row: row(Value::Null) }]).await.unwrap();
        assert!(matches!(stale[0], ChangeOutcome::LostRace), "another expiry is another row: {stale:?}");
        assert!(table.write(&[Change::Replace { seen: soon, row: later.clone() }]).await.unwrap()[0].is_applied());
        assert_eq!(at(&mut connection).await, 4_102_444_900_000);
        assert!(table.write(&[Change::Replace { seen: later, row: row(Value::Null) }]).await.unwrap()[0].is_applied());
        assert_eq!(at(&mut connection).await, -1, "null is never");
        assert!(table.write(&[Change::Delete { seen: row(Value::Null) }]).await.unwrap()[0].is_applied());
        let odd = table.write(&[Change::Insert { row: row(Value::TimestampTz(4_102_444_800_123_456)) }]).await.unwrap();
        assert!(
            matches!(&odd[0], ChangeOutcome::Refused(e) if e.column() == Some("expires")),
            "not rounded in silence: {odd:?}"
        );
        lab.clear().await;
    }
}

#[tokio::test]
async fn what_is_no_row_is_an_error_and_never_skipped() {
    let lab = Lab::new("strange", Layout::Hash).await;
    let table = lab.notes().await;
    let mut connection = lab.connection.clone();
    let scan = async || table.scan(&Range::ALL, &Position::Start, 10_000).await;
    for (name, what) in [("notes:abc", "is no id"), ("notes:007", "is not what crossfade writes")] {
        let name = lab.key(name);
        connection.hset::<_, _, _, ()>(&name, "note", "x").await.unwrap();
        assert_eq!(scan().await.unwrap_err().kind(), ErrorKind::Unrepresentable, "{what}");
        connection.del::<_, ()>(&name).await.unwrap();
    }
    connection.set::<_, _, ()>(lab.key("notes:1"), "a string").await.unwrap();
    let e = scan().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unrepresentable, "{e}");
    assert!(e.to_string().contains("layout"), "{e}");
    // And a write does not touch it.
    let outcomes = table.write(&[Change::Insert { row: note(1, "x") }]).await.unwrap();
    assert!(matches!(outcomes[0], ChangeOutcome::LostRace), "{outcomes:?}");
    connection.del::<_, ()>(lab.key("notes:1")).await.unwrap();
    connection.hset::<_, _, _, ()>(lab.key("notes:2"), "note", b"\xff\xfe").await.unwrap();
    let e = scan().await.unwrap_err();
    assert_eq!((e.kind(), e.column()), (ErrorKind::Unrepresentable, Some("note")));
    assert!(e.to_string().contains(&RowKey(vec![Value::Int(2)]).digest()), "{e}");
    lab.clear().await;
}

#[tokio::test]
async fn keys_that_could_not_be_read_back_are_refused() {
    let lab = Lab::new("composite", Layout::Hash).await;
    let columns = [("tenant", ColumnType::TEXT), ("id", ColumnType::TEXT), ("v", ColumnType::INT64)];
    let table = lab.store.table(&lab.spec("rows", &columns, &["tenant", "id"], TableOptions::default())).await.unwrap();
    let row = |t: &str, i: &str| Row(vec![Value::Text(t.to_owned()), Value::Text(i.to_owned()), Value::Int(1)]);
    let outcomes =
        table.write(&[Change::Insert { row: row("a", "b:c") }, Change::Insert { row: row("a:b", "c") }]).await.unwrap();
    assert!(outcomes[0].is_applied(), "{outcomes:?}");
    assert!(
        matches!(&outcomes[1], ChangeOutcome::Refused(e) if e.kind() == ErrorKind::Unrepresentable),
        "it would be the same key: {outcomes:?}"
    );
    assert_eq!(all_of(&*table).await, [row("a", "b:c")]);
    assert_eq!(table.read(&[row("a:b", "c").key(&[0, 1])]).await.unwrap(), [None]);
    let wrong = TableOptions { key_pattern: Some("x:{tenant}".to_owned()), ..TableOptions::default() };
    assert_eq!(
        lab.store.table(&lab.spec("rows", &columns, &["tenant", "id"], wrong)).await.unwrap_err().kind(),
        ErrorKind::Config
    );
    lab.clear().await;
}

#[tokio::test]
async fn wrong_passwords_and_hosts_say_what_to_do() {
    let url = server();
    let (_, host) = url.rsplit_once('@').unwrap();
    let wrong = crossfade_stores::open(&format!("redis://default:nope@{host}").parse().unwrap()).await.unwrap();
    let e = wrong.ping().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Denied, "{e}");
    assert!(!e.to_string().contains("nope"), "{e}");
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nowhere = crossfade_stores::open(&format!("redis://a:s3cret@{free}/0").parse().unwrap()).await.unwrap();
    let e = nowhere.ping().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unreachable, "{e}");
    assert!(!e.to_string().contains("s3cret"), "{e}");
    assert_eq!(
        crossfade_stores::open(&"redis://h/0?write_timeout_ms=0".parse().unwrap()).await.unwrap_err().kind(),
        ErrorKind::Config
    );
}
