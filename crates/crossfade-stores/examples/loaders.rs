//! The DynamoDB store beside bare loops over the SDK, on the embedded emulator (memory, loopback HTTP), in one run:
//! `cargo run --release -p crossfade-stores --features testing --example loaders -- [ROWS] [ROUNDS]`
//!
//! Rows are those of issue 3: bigint, two texts, some 200 bytes of JSON, a time. Each round has a fresh table per subject; ratios are
//! of the same round. What this leaves out: the source, the mapping, and a real service's latency.

#![expect(clippy::unwrap_used, reason = "a measurement may panic")]

#[cfg(feature = "dynamodb")]
mod run {
    use std::{collections::HashMap, sync::Arc, time::Instant};

    use aws_sdk_dynamodb::{
        Client,
        config::{BehaviorVersion, Credentials, Region},
        types::{
            AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PutRequest,
            ScalarAttributeType, WriteRequest,
        },
    };
    use crossfade_stores::{Change, ColumnType, Row, Table, TableName, TableOptions, TableSpec, Value, WantedColumn};
    use futures::StreamExt;

    type Item = HashMap<String, AttributeValue>;

    const AT_ONCE: usize = 64;

    fn item(i: i64, body: &str) -> Item {
        let s = |t: String| AttributeValue::S(t);
        [
            ("id".to_owned(), AttributeValue::N(i.to_string())),
            ("user_id".to_owned(), s(format!("user-{}", i % 5_000))),
            ("kind".to_owned(), s("page_view".to_owned())),
            ("body".to_owned(), s(body.to_owned())),
            ("at".to_owned(), s("2023-11-14 22:13:20.123456Z".to_owned())),
        ]
        .into()
    }

    fn row(i: i64, body: &str) -> Row {
        Row(vec![
            Value::Int(i),
            Value::Text(format!("user-{}", i % 5_000)),
            Value::Text("page_view".to_owned()),
            Value::Json(body.to_owned()),
            Value::TimestampTz(1_700_000_000_123_456),
        ])
    }

    async fn bare_batches(client: &Client, table: &str, rows: i64, body: &str) {
        futures::stream::iter((0..rows).step_by(25))
            .map(|from| async move {
                let requests: Vec<WriteRequest> = (from..rows.min(from + 25))
                    .map(|i| {
                        WriteRequest::builder()
                            .put_request(PutRequest::builder().set_item(Some(item(i, body))).build().unwrap())
                            .build()
                    })
                    .collect();
                let out = client.batch_write_item().request_items(table, requests).send().await.unwrap();
                assert!(out.unprocessed_items().is_none_or(HashMap::is_empty));
            })
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
    }

    async fn bare_puts(client: &Client, table: &str, rows: i64, body: &str) {
        futures::stream::iter(0..rows)
            .map(|i| async move {
                client
                    .put_item()
                    .table_name(table)
                    .set_item(Some(item(i, body)))
                    .condition_expression("attribute_not_exists(id)")
                    .send()
                    .await
                    .unwrap();
            })
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
    }

    async fn ours(table: Arc<dyn Table>, rows: i64, body: &str, bulk: bool) {
        for from in (0..rows).step_by(5_000) {
            let rows: Vec<Row> = (from..rows.min(from + 5_000)).map(|i| row(i, body)).collect();
            if bulk {
                table.load(rows).await.unwrap();
            } else {
                let changes: Vec<Change> = rows.into_iter().map(|row| Change::Insert { row }).collect();
                assert!(table.write(&changes).await.unwrap().iter().all(crossfade_stores::ChangeOutcome::is_applied));
            }
        }
    }

    pub(crate) async fn main(rows: i64, rounds: usize) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(dynoxide::server::serve_on(listener, dynoxide::Database::memory().unwrap()));
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(&endpoint)
            .credentials_provider(Credentials::new("a", "b", None, None, "measurement"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let client = Client::from_conf(config);
        let store = crossfade_stores::open(&format!("dynamodb://eu-west-1?endpoint={endpoint}").parse().unwrap())
            .await
            .unwrap();
        let body = format!("{{\"path\":\"/{}\",\"ms\":12}}", "x".repeat(180));
        let mut ratios: [Vec<f64>; 2] = Default::default();
        for round in 0..rounds {
            let mut speeds = Vec::new();
            for (n, name) in ["bare_batches", "our_load", "bare_puts", "our_writes"].into_iter().enumerate() {
                let table = format!("{name}_{round}");
                client
                    .create_table()
                    .table_name(&table)
                    .billing_mode(BillingMode::PayPerRequest)
                    .key_schema(
                        KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap(),
                    )
                    .attribute_definitions(
                        AttributeDefinition::builder()
                            .attribute_name("id")
                            .attribute_type(ScalarAttributeType::N)
                            .build()
                            .unwrap(),
                    )
                    .send()
                    .await
                    .unwrap();
                let columns = [
                    ("id", ColumnType::INT64),
                    ("user_id", ColumnType::TEXT),
                    ("kind", ColumnType::TEXT),
                    ("body", ColumnType::Json),
                    ("at", ColumnType::TimestampTz),
                ];
                let spec = TableSpec {
                    name: TableName::new(table.clone()),
                    columns: columns
                        .into_iter()
                        .map(|(name, ty)| WantedColumn { name: name.to_owned(), ty, accept_loss: false })
                        .collect(),
                    key: vec![0],
                    options: TableOptions::default(),
                };
                let opened = store.table(&spec).await.unwrap();
                let started = Instant::now();
                match n {
                    0 => bare_batches(&client, &table, rows, &body).await,
                    2 => bare_puts(&client, &table, rows, &body).await,
                    _ => ours(opened.clone(), rows, &body, n == 1).await,
                }
                let speed = rows as f64 / started.elapsed().as_secs_f64();
                assert_eq!(opened.estimate().await.unwrap(), rows.unsigned_abs());
                client.delete_table().table_name(&table).send().await.unwrap();
                println!("{name:14} {speed:8.0} rows/s");
                speeds.push(speed);
            }
            ratios[0].push(speeds[1] / speeds[0]);
            ratios[1].push(speeds[3] / speeds[2]);
        }
        for (name, mut ratios) in
            ["bulk path / bare BatchWriteItem", "conditional path / bare conditional puts"].into_iter().zip(ratios)
        {
            ratios.sort_by(f64::total_cmp);
            println!(
                "{name}: median {:.2} of {} rounds ({:.2} to {:.2})",
                ratios[ratios.len() / 2],
                ratios.len(),
                ratios[0],
                ratios[ratios.len() - 1]
            );
        }
    }
}

#[tokio::main]
async fn main() {
    #[cfg(feature = "dynamodb")]
    {
        let number = |n: usize, default: i64| std::env::args().nth(n).map_or(default, |a| a.parse().unwrap());
        run::main(number(1, 20_000), usize::try_from(number(2, 5)).unwrap()).await;
    }
}
