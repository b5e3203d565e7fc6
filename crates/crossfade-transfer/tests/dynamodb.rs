//! To and from DynamoDB (its embedded emulator, with a real one's moods injected).

#![cfg(feature = "dynamodb")]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod common;

use std::sync::Arc;

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use common::{backfill, options, verify};
use crossfade_api::{
    config::{Config, TableConfig},
    exit::Exit,
};
use crossfade_stores::{
    RowKey, Store, Value,
    dynamodb::{
        Dynamodb,
        faults::{Fault, Faults},
    },
};
use crossfade_transfer::{
    TransferError,
    backfill::{Exclusive, Options},
    pair,
    verify::Verdict,
};

struct Lab {
    client: Client,
    dynamo: Arc<dyn Store>,
    faults: Faults,
    folder: tempfile::TempDir,
    /// Dropped, it ends the server.
    _server: tokio::sync::oneshot::Sender<()>,
}

impl Lab {
    async fn new() -> Lab {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (_server, end) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()) => {}
                    _ = end => {}
                }
            });
        });
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(&endpoint)
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let faults = Faults::new();
        let dynamo = Arc::new(
            Dynamodb::open_with_faults(&format!("dynamodb://eu-west-1?endpoint={endpoint}").parse().unwrap(), &faults)
                .await
                .unwrap(),
        );
        Lab { client: Client::from_conf(config), dynamo, faults, folder: tempfile::tempdir().unwrap(), _server }
    }

    async fn create(&self, name: &str, key: &str, ty: ScalarAttributeType) {
        self.client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .key_schema(KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash).build().unwrap())
            .attribute_definitions(
                AttributeDefinition::builder().attribute_name(key).attribute_type(ty).build().unwrap(),
            )
            .send()
            .await
            .unwrap();
    }

    async fn sqlite(&self, name: &str, sql: &str) -> Arc<dyn Store> {
        let path = self.folder.path().join(name);
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        crossfade_stores::open(&format!("sqlite://{}", path.display()).parse().unwrap()).await.unwrap()
    }
}

fn config(text: &str) -> TableConfig {
    let text =
        format!("[migration.m]\nsource = \"sqlite://x\"\ntarget = \"sqlite://x\"\n[migration.m.table.rows]\n{text}");
    Config::parse(&text).unwrap().migration["m"].table["rows"].clone()
}

const DDL: &str =
    "CREATE TABLE rows (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, note TEXT, at TIMESTAMPTZ, amount TEXT);";
const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600) \
    INSERT INTO rows SELECT i, 'user-' || (i % 7), CASE WHEN i % 5 THEN 'note ' || i END, '2024-01-01 00:00:00.000001Z', '12.50' FROM n;";

#[tokio::test]
async fn rows_go_to_dynamodb_under_a_template_while_it_throttles_and_come_back() {
    let lab = Lab::new().await;
    lab.create("single", "pk", ScalarAttributeType::S).await;
    // Another entity of the same table, which is none of ours.
    lab.client
        .put_item()
        .table_name("single")
        .item("pk", AttributeValue::S("ORDER#1".to_owned()))
        .item("id", AttributeValue::S("x".to_owned()))
        .send()
        .await
        .unwrap();
    let source = lab.sqlite("source.db", &format!("{DDL}{ROWS}")).await;
    let there = pair::open(
        &source,
        &lab.dynamo,
        "rows",
        &config("cohort = [\"user_id\"]\ntarget = \"single\"\nmap.pk = \"USER#{user_id}#{id}\""),
    )
    .await
    .unwrap();
    lab.faults.inject(Some("PutItem"), Fault::Throttle, 25);
    lab.faults.inject(Some("PutItem"), Fault::TransactionConflict, 5);
    lab.faults.inject(Some("BatchGetItem"), Fault::HalfUnprocessed, 3);
    let report = backfill(&there, &options()).await.unwrap();
    assert_eq!((report.rows_read, report.rows_written), (600, 600));
    let outcome = verify(&there).await;
    assert_eq!(
        (outcome.report.verdict, outcome.report.rows_source, outcome.report.rows_target),
        (Verdict::Verified, 600, 600)
    );
    // One changed, one gone, one too many.
    let key = |k: &str| AttributeValue::S(k.to_owned());
    lab.client.delete_item().table_name("single").key("pk", key("USER#user-1#8")).send().await.unwrap();
    lab.client
        .update_item()
        .table_name("single")
        .key("pk", key("USER#user-2#9"))
        .update_expression("SET note = :n")
        .expression_attribute_values(":n", key("note 9 "))
        .send()
        .await
        .unwrap();
    lab.client
        .put_item()
        .table_name("single")
        .item("pk", key("USER#user-9#9999"))
        .item("id", AttributeValue::N("9999".to_owned()))
        .item("user_id", key("user-9"))
        .send()
        .await
        .unwrap();
    let report = verify(&there).await.report;
    assert_eq!(
        (report.verdict, report.missing_in_target, report.different, report.extra_in_target),
        (Verdict::Diverged, 1, 1, 1),
        "{report:?}"
    );
    let report = backfill(&there, &options()).await.unwrap();
    assert_eq!((report.rows_written, report.rows_deleted, report.rows_unchanged), (2, 1, 598), "{report:?}");
    assert_eq!(verify(&there).await.report.verdict, Verdict::Verified);
}

#[tokio::test]
async fn dynamodb_is_a_source_of_the_columns_that_the_target_has() {
    let lab = Lab::new().await;
    lab.create("rows", "id", ScalarAttributeType::N).await;
    let first = lab.sqlite("first.db", &format!("{DDL}{ROWS}")).await;
    let into = pair::open(&first, &lab.dynamo, "rows", &config("cohort = [\"user_id\"]")).await.unwrap();
    backfill(&into, &options()).await.unwrap();
    let second = lab.sqlite("second.db", DDL).await;
    let out = pair::open(&lab.dynamo, &second, "rows", &config("cohort = [\"user_id\"]")).await.unwrap();
    lab.faults.inject(Some("Scan"), Fault::Throttle, 3);
    let report = backfill(&out, &options()).await.unwrap();
    assert_eq!((report.rows_read, report.rows_written), (600, 600));
    assert_eq!(verify(&out).await.report.verdict, Verdict::Verified);
    // The trip there and back changed nothing.
    let whole = pair::open(&first, &second, "rows", &config("cohort = [\"user_id\"]")).await.unwrap();
    let report = verify(&whole).await.report;
    assert_eq!((report.verdict, report.rows_target), (Verdict::Verified, 600));
    // A lost connection is never the end of the table.
    lab.faults.inject(Some("Scan"), Fault::LostAnswer, 1_000);
    let report = verify(&out).await.report;
    assert_eq!(report.verdict, Verdict::Unknown, "{report:?}");
}

#[tokio::test]
async fn an_item_above_400_kb_is_named_with_its_column_and_the_same_command_goes_on() {
    for exclusive in [Exclusive::No, Exclusive::Declared] {
        let lab = Lab::new().await;
        lab.create("rows", "id", ScalarAttributeType::N).await;
        let large = "UPDATE rows SET note = printf('%.*c', 450000, 'x') WHERE id = 77; DELETE FROM rows WHERE id > 90;";
        let source = lab.sqlite("source.db", &format!("{DDL}{ROWS}{large}")).await;
        let pair = pair::open(&source, &lab.dynamo, "rows", &config("cohort = [\"user_id\"]")).await.unwrap();
        let options = Options {
            exclusive,
            chunk_rows: Some(30),
            checkpoint: Some(lab.folder.path().join("rows.backfill")),
            ..options()
        };
        let error = backfill(&pair, &options).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(&error, TransferError::Rows { rows: 1, .. }), "{text}");
        assert!(text.contains("400 KB") && text.contains("(column `note`)"), "{text}");
        assert!(text.contains(&RowKey(vec![Value::Int(77)]).digest()) && !text.contains("xxx"), "{text}");
        assert_eq!(error.exit(), Exit::Failed);
        // Only that chunk is open, and all but that row of it are there.
        let report = verify(&pair).await.report;
        assert_eq!((report.verdict, report.missing_in_target, report.rows_target), (Verdict::Diverged, 1, 89));
        lab.sqlite("source.db", "UPDATE rows SET note = 'shorter' WHERE id = 77").await;
        let report = backfill(&pair, &options).await.unwrap();
        assert_eq!(report.chunks, 1, "{report:?}");
        assert!(exclusive == Exclusive::Declared || report.rows_written == 1, "{report:?}");
        assert_eq!(verify(&pair).await.report.verdict, Verdict::Verified);
    }
}
