//! The conformance suite on DynamoDB's embedded emulator, over loopback HTTP, and what is particular to DynamoDB.

#![cfg(feature = "dynamodb")]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use crossfade_stores::{
    Change, ChangeOutcome, ColumnType, ErrorKind, Fit, Page, Position, Range, Rest, Row, RowKey, Store, StoreUrl,
    Table, TableName, TableOptions, TableSpec, Value, WantedColumn, conformance,
    dynamodb::{
        Dynamodb,
        faults::{Fault, Faults},
    },
};

struct Lab {
    client: Client,
    store: Arc<dyn Store>,
    faults: Faults,
    /// Dropped, it ends the server.
    _server: tokio::sync::oneshot::Sender<()>,
}

impl Lab {
    async fn new() -> Lab {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (_server, end) = tokio::sync::oneshot::channel::<()>();
        // A thread of its own: the emulator reads expressions by recursion, which a test's stack does not bear unoptimised.
        std::thread::Builder::new()
            .stack_size(64 << 20)
            .spawn(move || {
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    tokio::select! {
                        () = dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()) => {}
                        _ = end => {}
                    }
                });
            })
            .unwrap();
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(&endpoint)
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let faults = Faults::new();
        let url: StoreUrl = format!("dynamodb://eu-west-1?endpoint={endpoint}&attempts=8").parse().unwrap();
        let store = Arc::new(Dynamodb::open_with_faults(&url, &faults).await.unwrap());
        Lab { client: Client::from_conf(config), store, faults, _server }
    }

    async fn create(&self, name: &str, key: &[(&str, ScalarAttributeType)]) {
        let mut create = self.client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
        for (n, (name, ty)) in key.iter().enumerate() {
            let role = if n == 0 { KeyType::Hash } else { KeyType::Range };
            create = create
                .key_schema(KeySchemaElement::builder().attribute_name(*name).key_type(role).build().unwrap())
                .attribute_definitions(
                    AttributeDefinition::builder().attribute_name(*name).attribute_type(ty.clone()).build().unwrap(),
                );
        }
        create.send().await.unwrap();
    }

    async fn table(
        &self,
        name: &str,
        columns: &[(&str, ColumnType)],
        key: &[&str],
        options: TableOptions,
    ) -> Arc<dyn Table> {
        self.store.table(&spec(name, columns, key, options)).await.unwrap_or_else(|e| panic!("{name}: {e:?}"))
    }

    /// `id` and `note`, as most tests need.
    async fn notes(&self, name: &str) -> Arc<dyn Table> {
        self.create(name, &[("id", ScalarAttributeType::N)]).await;
        self.table(name, &[("id", ColumnType::INT64), ("note", ColumnType::TEXT)], &["id"], TableOptions::default())
            .await
    }

    async fn put(&self, table: &str, item: &[(&str, AttributeValue)]) {
        let item: HashMap<String, AttributeValue> = item.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        self.client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    async fn get(&self, table: &str, id: i64) -> Option<HashMap<String, AttributeValue>> {
        self.client.get_item().table_name(table).key("id", n(id)).consistent_read(true).send().await.unwrap().item
    }
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn spec(name: &str, columns: &[(&str, ColumnType)], key: &[&str], options: TableOptions) -> TableSpec {
    TableSpec {
        name: TableName::new(name),
        columns: columns
            .iter()
            .map(|(name, ty)| WantedColumn { name: (*name).to_owned(), ty: ty.clone(), accept_loss: true })
            .collect(),
        key: key.iter().map(|k| columns.iter().position(|(c, _)| c == k).unwrap()).collect(),
        options,
    }
}

fn note(id: i64, text: &str) -> Row {
    Row(vec![Value::Int(id), Value::Text(text.to_owned())])
}

async fn all_of(table: &dyn Table, range: &Range, limit: usize) -> Vec<Row> {
    let (mut rows, mut position) = (Vec::new(), Position::Start);
    loop {
        let Page { rows: more, rest } = table.scan(range, &position, limit).await.unwrap();
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
        let keys: Vec<(&str, ScalarAttributeType)> = key
            .iter()
            .map(|k| {
                let (_, ty) = columns.iter().find(|(c, _)| c == k).unwrap();
                let ty = match ty {
                    ColumnType::Int { .. } | ColumnType::Uint64 => ScalarAttributeType::N,
                    ColumnType::Bytes => ScalarAttributeType::B,
                    _ => ScalarAttributeType::S,
                };
                (*k, ty)
            })
            .collect();
        self.create(name, &keys).await;
        spec(name, columns, key, TableOptions::default())
    }

    fn keeps(&self, ty: &ColumnType) -> bool {
        // NaN, -0 and the smallest floats are not kept; all samples of decimals are.
        !matches!(ty, ColumnType::Float32 | ColumnType::Float64)
    }
}

#[tokio::test]
async fn conforms() {
    conformance::run(&Lab::new().await).await;
}

fn insert(row: Row) -> Change {
    Change::Insert { row }
}

#[tokio::test]
async fn throttled_and_conflicting_writes_are_asked_again_until_they_are_done() {
    let lab = Lab::new().await;
    let table = lab.notes("notes").await;
    lab.faults.inject(Some("PutItem"), Fault::Throttle, 3);
    lab.faults.inject(Some("PutItem"), Fault::TransactionConflict, 2);
    let outcomes = table.write(&[insert(note(1, "a"))]).await.unwrap();
    assert!(outcomes[0].is_applied(), "{outcomes:?}");
    assert_eq!(lab.faults.requests("PutItem"), 6);
    lab.faults.inject(Some("UpdateItem"), Fault::TransactionConflict, 1);
    lab.faults.inject(Some("DeleteItem"), Fault::Throttle, 1);
    assert!(table.write(&[Change::Replace { seen: note(1, "a"), row: note(1, "b") }]).await.unwrap()[0].is_applied());
    assert!(table.write(&[Change::Delete { seen: note(1, "b") }]).await.unwrap()[0].is_applied());
    assert_eq!(lab.get("notes", 1).await, None);
}

#[tokio::test]
async fn a_store_that_only_throttles_is_an_error_and_nothing_is_done() {
    let lab = Lab::new().await;
    let table = lab.notes("notes").await;
    lab.faults.inject(Some("PutItem"), Fault::Throttle, 8);
    let e = table.write(&[insert(note(1, "a"))]).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Throttled, "{e}");
    // Where some rows were done, the others say so each.
    lab.faults.clear();
    lab.faults.inject(Some("DeleteItem"), Fault::Throttle, 8);
    let outcomes = table.write(&[insert(note(1, "a")), Change::Delete { seen: note(2, "b") }]).await.unwrap();
    assert!(outcomes[0].is_applied(), "{outcomes:?}");
    assert!(matches!(&outcomes[1], ChangeOutcome::Refused(e) if e.kind() == ErrorKind::Throttled), "{outcomes:?}");
    lab.faults.clear();
    lab.faults.inject(Some("Scan"), Fault::Throttle, 2);
    assert_eq!(
        table.scan(&Range::ALL, &Position::Start, 5).await.unwrap(),
        Page { rows: vec![note(1, "a")], rest: Rest::End }
    );
}

#[tokio::test]
async fn a_put_that_times_out_and_lands_later_is_ambiguous_and_never_a_lost_race() {
    let lab = Lab::new().await;
    let table = lab.notes("notes").await;
    lab.faults.inject(Some("PutItem"), Fault::LandsLater, 1);
    let outcomes = table.write(&[insert(note(1, "late")), insert(note(2, "now"))]).await.unwrap();
    assert!(matches!(&outcomes[0], ChangeOutcome::Ambiguous(e) if e.kind() == ErrorKind::Lost), "{outcomes:?}");
    assert!(outcomes[1].is_applied());
    assert_eq!(lab.faults.requests("PutItem"), 2, "an ambiguous put is not repeated behind the caller's back");
    assert_eq!(lab.get("notes", 1).await, None, "not yet");
    assert_eq!(lab.faults.land().await, 1);
    assert!(lab.get("notes", 1).await.is_some(), "within the linger it lands");
    // One that lands after somebody else wrote does nothing: it carries its condition with it.
    lab.faults.inject(Some("UpdateItem"), Fault::LandsLater, 1);
    let outcomes = table.write(&[Change::Replace { seen: note(1, "late"), row: note(1, "stale") }]).await.unwrap();
    assert!(matches!(outcomes[0], ChangeOutcome::Ambiguous(_)), "{outcomes:?}");
    assert!(
        table.write(&[Change::Replace { seen: note(1, "late"), row: note(1, "newer") }]).await.unwrap()[0].is_applied()
    );
    assert_eq!(lab.faults.land().await, 1);
    assert_eq!(lab.get("notes", 1).await.unwrap()["note"], s("newer"));
}

#[tokio::test]
async fn a_lost_answer_and_an_internal_error_are_ambiguous() {
    let lab = Lab::new().await;
    let table = lab.notes("notes").await;
    lab.faults.inject(Some("PutItem"), Fault::LostAnswer, 1);
    let outcomes = table.write(&[insert(note(1, "a"))]).await.unwrap();
    assert!(matches!(outcomes[0], ChangeOutcome::Ambiguous(_)), "{outcomes:?}");
    assert!(lab.get("notes", 1).await.is_some(), "it was done");
    for fault in [Fault::InternalError, Fault::LostRequest] {
        lab.faults.inject(Some("DeleteItem"), fault, 1);
        let outcomes = table.write(&[Change::Delete { seen: note(1, "a") }]).await.unwrap();
        assert!(matches!(outcomes[0], ChangeOutcome::Ambiguous(_)), "{fault:?}: {outcomes:?}");
        assert!(lab.get("notes", 1).await.is_some(), "it was not done");
    }
    // A read that breaks is an error, never an end or a missing row.
    lab.faults.inject(Some("Scan"), Fault::LostRequest, 1);
    assert_eq!(table.scan(&Range::ALL, &Position::Start, 5).await.unwrap_err().kind(), ErrorKind::Lost);
    lab.faults.inject(Some("BatchGetItem"), Fault::LostAnswer, 1);
    assert_eq!(table.read(&[RowKey(vec![Value::Int(1)])]).await.unwrap_err().kind(), ErrorKind::Lost);
}

#[tokio::test]
async fn what_a_batch_leaves_undone_is_done_later() {
    let lab = Lab::new().await;
    let table = lab.notes("notes").await;
    let rows: Vec<Row> = (0..130).map(|i| note(i, "x")).collect();
    lab.faults.inject(Some("BatchWriteItem"), Fault::HalfUnprocessed, 5);
    lab.faults.inject(Some("BatchWriteItem"), Fault::AllUnprocessed, 2);
    lab.faults.inject(Some("BatchWriteItem"), Fault::Throttle, 1);
    table.load(rows.clone()).await.unwrap();
    assert!(
        lab.faults.requests("BatchWriteItem") >= 6 + 8,
        "every fault costs a request: {}",
        lab.faults.requests("BatchWriteItem")
    );
    let mut there = all_of(&*table, &Range::ALL, 50).await;
    there.sort_by_key(|r| r.key(&[0]));
    assert_eq!(there, rows);
    lab.faults.inject(Some("BatchGetItem"), Fault::HalfUnprocessed, 3);
    lab.faults.inject(Some("BatchGetItem"), Fault::AllUnprocessed, 1);
    let keys: Vec<RowKey> = rows.iter().map(|r| r.key(&[0])).collect();
    assert_eq!(table.read(&keys).await.unwrap().into_iter().flatten().collect::<Vec<_>>(), rows);
    // Undone for ever is an error, and never a missing row.
    lab.faults.inject(Some("BatchGetItem"), Fault::AllUnprocessed, 100);
    assert_eq!(table.read(&keys[..2]).await.unwrap_err().kind(), ErrorKind::Throttled);
    lab.faults.clear();
    lab.faults.inject(Some("BatchWriteItem"), Fault::AllUnprocessed, 100);
    assert_eq!(table.load(rows[..3].to_vec()).await.unwrap_err().kind(), ErrorKind::Throttled);
}

#[tokio::test]
async fn a_row_stored_in_another_form_is_replaced_by_what_was_seen_and_by_nothing_else() {
    let lab = Lab::new().await;
    lab.create("forms", &[("id", ScalarAttributeType::N)]).await;
    let columns = [
        ("id", ColumnType::INT64),
        ("at", ColumnType::TimestampTz),
        ("tags", ColumnType::Array(Box::new(ColumnType::TEXT))),
        ("body", ColumnType::Json),
        ("gone", ColumnType::TEXT),
    ];
    let table = lab.table("forms", &columns, &["id"], TableOptions::default()).await;
    let item = |id: i64, at: &str| {
        vec![
            ("id", n(id)),
            ("at", s(at)),
            ("tags", AttributeValue::Ss(vec!["b".to_owned(), "a".to_owned()])),
            (
                "body",
                AttributeValue::M(HashMap::from([(
                    "k".to_owned(),
                    AttributeValue::L(vec![n(1), AttributeValue::Null(true)]),
                )])),
            ),
            ("gone", AttributeValue::Null(true)),
            ("other", s("not mine")),
        ]
    };
    for id in [1, 2, 3] {
        lab.put("forms", &item(id, "2023-11-14T22:13:20Z")).await;
    }
    let key = |id: i64| RowKey(vec![Value::Int(id)]);
    let seen = table.read(&[key(1)]).await.unwrap().remove(0).unwrap();
    let text = |t: &str| Value::Text(t.to_owned());
    assert_eq!(
        seen,
        Row(vec![
            Value::Int(1),
            Value::TimestampTz(1_700_000_000_000_000),
            Value::Array(vec![text("a"), text("b")]),
            Value::Json("{\"k\":[1,null]}".to_owned()),
            Value::Null
        ])
    );
    let mut new = seen.clone();
    new.0[4] = text("here");
    assert!(table.write(&[Change::Replace { seen: seen.clone(), row: new.clone() }]).await.unwrap()[0].is_applied());
    assert_eq!(table.read(&[key(1)]).await.unwrap(), [Some(new)]);
    assert_eq!(lab.get("forms", 1).await.unwrap()["other"], s("not mine"), "what is not in the spec is left alone");
    let with_id = |id: i64| {
        let mut row = seen.clone();
        row.0[0] = Value::Int(id);
        row
    };
    assert!(table.write(&[Change::Delete { seen: with_id(2) }]).await.unwrap()[0].is_applied());
    // One changed field in another form is another value.
    lab.put("forms", &item(3, "2023-11-14T22:13:21Z")).await;
    let outcomes = table.write(&[Change::Delete { seen: with_id(3) }]).await.unwrap();
    assert!(matches!(outcomes[0], ChangeOutcome::LostRace), "{outcomes:?}");
}

#[tokio::test]
async fn a_single_table_is_scanned_for_its_own_rows() {
    let lab = Lab::new().await;
    lab.create("single", &[("pk", ScalarAttributeType::S), ("sk", ScalarAttributeType::S)]).await;
    for user in 0..30 {
        lab.put("single", &[("pk", s(&format!("USER#{user}"))), ("sk", s("PROFILE")), ("at", s("no time"))]).await;
        lab.put(
            "single",
            &[
                ("pk", s(&format!("USER#{user}"))),
                ("sk", s(&format!("EVENT#{user}"))),
                ("at", s("2024-01-01 00:00:00Z")),
            ],
        )
        .await;
        lab.put("single", &[("pk", s(&format!("ORDER#{user}"))), ("sk", s("EVENT#x")), ("at", n(7))]).await;
    }
    let columns = [("pk", ColumnType::TEXT), ("sk", ColumnType::TEXT), ("at", ColumnType::TimestampTz)];
    let prefix = |c: &str, p: &str| (c.to_owned(), p.to_owned());
    let options =
        TableOptions { only_prefixes: vec![prefix("pk", "USER#"), prefix("sk", "EVENT#")], ..TableOptions::default() };
    let table = lab.table("single", &columns, &["pk", "sk"], options).await;
    for range in [vec![Range::ALL], table.split(9).await.unwrap()] {
        let mut rows = Vec::new();
        for range in &range {
            rows.extend(all_of(&*table, range, 7).await);
        }
        let keys: std::collections::BTreeSet<RowKey> = rows.iter().map(|r| r.key(&[0, 1])).collect();
        assert_eq!((rows.len(), keys.len()), (30, 30), "{} ranges", range.len());
    }
    // Without saying so, a row of another entity is an error and not a row.
    let all = lab.table("single", &columns, &["pk", "sk"], TableOptions::default()).await;
    let e = all.scan(&Range::ALL, &Position::Start, 100).await.unwrap_err();
    assert_eq!((e.kind(), e.column()), (ErrorKind::Unrepresentable, Some("at")), "{e}");
}

#[tokio::test]
async fn what_dynamodb_does_not_take_is_refused_and_named() {
    let lab = Lab::new().await;
    lab.create("limits", &[("id", ScalarAttributeType::S)]).await;
    let columns = [
        ("id", ColumnType::TEXT),
        ("note", ColumnType::TEXT),
        ("amount", ColumnType::DECIMAL),
        ("rate", ColumnType::Float64),
    ];
    let table = lab.table("limits", &columns, &["id"], TableOptions::default()).await;
    let row = |id: &str, note: usize, amount: &str, rate: f64| {
        Row(vec![
            Value::Text(id.to_owned()),
            Value::Text("x".repeat(note)),
            Value::Decimal(amount.parse().unwrap()),
            Value::Float64(rate),
        ])
    };
    let nines = "9".repeat(39);
    let cases = [
        (row("large", 400 * 1024, "1", 1.0), ErrorKind::TooLarge, "note"),
        (row("", 1, "1", 1.0), ErrorKind::Unrepresentable, "id"),
        (row(&"k".repeat(2_049), 1, "1", 1.0), ErrorKind::TooLarge, "id"),
        (row("nines", 1, &nines, 1.0), ErrorKind::Unrepresentable, "amount"),
        (row("nan", 1, "1", f64::NAN), ErrorKind::Unrepresentable, "rate"),
    ];
    let mut changes: Vec<Change> = cases.iter().map(|(row, ..)| insert(row.clone())).collect();
    changes.push(insert(row("good", 400 * 1024 - 60, "1", 1.0)));
    let outcomes = table.write(&changes).await.unwrap();
    for ((row, kind, column), outcome) in cases.iter().zip(&outcomes) {
        let ChangeOutcome::Refused(e) = outcome else { panic!("{kind:?}: {outcome:?}") };
        assert_eq!((e.kind(), e.column()), (*kind, Some(*column)), "{e}");
        assert!(e.to_string().contains(&row.key(&[0]).digest()), "the row is named: {e}");
        let e = table.load(vec![row.clone()]).await.unwrap_err();
        assert_eq!((e.kind(), e.column()), (*kind, Some(*column)), "bulk: {e}");
    }
    assert!(outcomes[5].is_applied(), "up to the limit it is taken: {:?}", outcomes[5]);
    assert_eq!(all_of(&*table, &Range::ALL, 100).await.len(), 1);
    // A key that cannot be is not there.
    assert_eq!(table.read(&[RowKey(vec![Value::Text(String::new())])]).await.unwrap(), [None]);
}

#[tokio::test]
async fn comparisons_too_wide_for_a_condition_want_a_version_column() {
    let lab = Lab::new().await;
    lab.create("wide", &[("id", ScalarAttributeType::N)]).await;
    let names: Vec<String> = (0..250).map(|i| format!("column_{i}")).collect();
    let columns: Vec<(&str, ColumnType)> = std::iter::once(("id", ColumnType::INT64))
        .chain(names.iter().map(|c| (c.as_str(), ColumnType::INT64)))
        .collect();
    let table = lab.table("wide", &columns, &["id"], TableOptions::default()).await;
    let full = Row((0..=250).map(Value::Int).collect());
    let holes = Row((0..=250).map(|i| if i == 0 || i == 250 { Value::Int(i) } else { Value::Null }).collect());
    assert!(table.write(&[insert(full.clone())]).await.unwrap()[0].is_applied());
    let outcomes = table.write(&[Change::Replace { seen: full.clone(), row: holes.clone() }]).await.unwrap();
    assert!(outcomes[0].is_applied(), "250 values fit: {outcomes:?}");
    let e = table.write(&[Change::Replace { seen: holes.clone(), row: full.clone() }]).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported, "250 absences do not: {e}");
    assert!(e.to_string().contains("version column"), "{e}");
    let versioned = lab
        .table(
            "wide",
            &columns,
            &["id"],
            TableOptions { version_column: Some("column_249".to_owned()), ..TableOptions::default() },
        )
        .await;
    let mut stale = holes.clone();
    stale.0[250] = Value::Int(249);
    assert!(matches!(
        versioned.write(&[Change::Replace { seen: stale, row: full.clone() }]).await.unwrap()[0],
        ChangeOutcome::LostRace
    ));
    assert!(versioned.write(&[Change::Replace { seen: holes, row: full.clone() }]).await.unwrap()[0].is_applied());
    assert_eq!(versioned.read(&[RowKey(vec![Value::Int(0)])]).await.unwrap(), [Some(full)]);
}

#[tokio::test]
async fn documents_and_expiries_are_kept_as_dynamodb_wants_them() {
    let lab = Lab::new().await;
    lab.create("sessions", &[("id", ScalarAttributeType::N)]).await;
    let columns = [("id", ColumnType::INT64), ("body", ColumnType::Json), ("expires", ColumnType::TimestampTz)];
    let options = TableOptions {
        documents: vec!["body".to_owned()],
        ttl_column: Some("expires".to_owned()),
        ..TableOptions::default()
    };
    let table = lab.table("sessions", &columns, &["id"], options).await;
    let row = Row(vec![
        Value::Int(1),
        Value::Json("{\"b\": 1.50, \"a\": [\"x\"]}".to_owned()),
        Value::TimestampTz(1_700_000_000_000_000),
    ]);
    assert!(table.write(&[insert(row.clone())]).await.unwrap()[0].is_applied());
    let item = lab.get("sessions", 1).await.unwrap();
    assert_eq!(item["expires"], n(1_700_000_000));
    assert_eq!(item["body"].as_m().unwrap()["a"], AttributeValue::L(vec![s("x")]));
    let back = table.read(&[row.key(&[0])]).await.unwrap().remove(0).unwrap();
    assert!(back.same(&row, crossfade_stores::value::Closeness::ByValue), "{back:?}");
    assert!(!table.capabilities().keeps_json_text);
    assert!(table.write(&[Change::Delete { seen: back }]).await.unwrap()[0].is_applied());
}

#[tokio::test]
async fn a_wrong_key_and_an_unreachable_endpoint_say_what_to_do() {
    let lab = Lab::new().await;
    lab.create("keyed", &[("pk", ScalarAttributeType::S)]).await;
    let e = lab
        .store
        .table(&spec(
            "keyed",
            &[("id", ColumnType::INT64), ("user_id", ColumnType::TEXT)],
            &["id"],
            TableOptions::default(),
        ))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
    assert!(e.to_string().contains("(pk)") && e.to_string().contains("template"), "{e}");
    let schema = lab.store.describe(&TableName::new("keyed")).await.unwrap();
    assert!(schema.open && schema.key == [0] && schema.columns[0].ty == ColumnType::TEXT);
    assert!(matches!(lab.store.fit(&ColumnType::Json, schema.columns.first()), Fit::Refused(_)));
    assert_eq!(lab.store.tables().await.unwrap(), [TableName::new("keyed")]);
    lab.store.ping().await.unwrap();
    // A port that was free a moment ago.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nowhere =
        crossfade_stores::open(&format!("dynamodb://eu-west-1?endpoint=http://{free}").parse().unwrap()).await.unwrap();
    let e = nowhere.ping().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unreachable, "{e}");
    for wrong in ["dynamodb://x?endpoint=nowhere", "dynamodb://x?concurrency=0", "dynamodb://x?speed=1"] {
        assert_eq!(
            crossfade_stores::open(&wrong.parse().unwrap()).await.unwrap_err().kind(),
            ErrorKind::Config,
            "{wrong}"
        );
    }
}
