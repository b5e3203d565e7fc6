//! What a process of the application reports to a real control plane: marks again after a repair, long keys, many keys,
//! doubts, and its goodbye.

use crate::support::{Bench, bench_with};
use crossfade::plan::Membership;
use crossfade::rows::RowPair;
use crossfade::{Effect, Migration, Mirror, Operation, Refused, Side, plan};
use crossfade_api::wire::*;
use crossfade_core::{Options as PlanOptions, PlanSpec, Stage};
use std::time::Duration;

const TOKEN: &str = "fedcba9876543210fedcba9876543210";

async fn member(options: PlanOptions) -> (Bench, Migration, Membership) {
    let mut bench = bench_with(|options| {
        options.heartbeat = Duration::from_millis(50);
        options.silent_after = Duration::from_secs(60);
        options.tokens = crossfade_server::access::Tokens::parse(&format!("admin test {TOKEN}")).unwrap();
    })
    .await;
    bench.admin.token = TOKEN.to_owned();
    let plan = PlanSpec { options, ..PlanSpec::at("events", Stage::DualWrite) };
    let request = CreateRequest { plan, bypassing_writers: Vec::new() };
    let _: Status = bench.admin.post("/v1/migrations", &request).await.unwrap();
    let from = plan::server(&bench.admin.url).token(TOKEN);
    let membership = from.membership();
    let migration = Migration::builder("events").plan(from).build().await.unwrap();
    (bench, migration, membership)
}

/// Rows that can be read and are the same on both sides.
struct Equal;

impl RowPair for Equal {
    type Id = String;
    type Row = u8;
    type Error = String;

    async fn snapshot(&self, _: Side, _: &String) -> Result<Option<u8>, String> {
        Ok(Some(1))
    }

    async fn restore(&self, _: Side, _: &String, _: Option<&u8>, _: Option<&u8>) -> Result<bool, String> {
        Err("both sides are equal".to_owned())
    }
}

/// A dual write whose secondary refuses it: the row stays marked, since nothing can read it.
async fn fail(operation: &Operation, row: &str) {
    let ticket = operation.begin_write(row, row).await.unwrap();
    let effect: fn(&Effect) -> Effect = |effect| *effect;
    let call = std::future::ready(Ok::<(), Effect>(()));
    ticket.mirrored(Mirror::State, effect, call, |(): &(), _| std::future::ready(Err(Effect::Refused))).await.unwrap();
}

/// A write by predicate whose secondary refuses it.
async fn fail_to_purge(operation: &Operation) {
    let ticket = operation.begin_whole_write().await.unwrap();
    let effect: fn(&Effect) -> Effect = |effect| *effect;
    let call = std::future::ready(Ok::<(), Effect>(()));
    ticket.mirrored(Mirror::State, effect, call, |(): &(), _| std::future::ready(Err(Effect::Refused))).await.unwrap();
}

async fn marks(bench: &Bench) -> MarksPage {
    bench.admin.get("/v1/migrations/events/marks").await.unwrap()
}

/// Asks until it is so. Bounded by the time that a test may take.
async fn until(bench: &Bench, so: impl Fn(&MarksPage) -> bool) -> MarksPage {
    loop {
        let page = marks(bench).await;
        if so(&page) {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_marked_again_after_an_operators_repair_is_reported_again() {
    let (bench, migration, _membership) = member(PlanOptions::default()).await;
    let orders = migration.table("orders").operation("put");
    fail(&orders, "42").await;
    let page = until(&bench, |page| page.total == 1).await;
    assert_eq!(page.marks[0].mark.table, "orders");
    for _ in 0..2 {
        // A repair that has looked at the row clears the mark at the control plane.
        let page = until(&bench, |page| page.total == 1).await;
        let OwnedMark { instance, mark, gone: _ } = page.marks[0].clone();
        let (table, row, generation) = (mark.table, mark.row, mark.generation);
        let cleared = vec![MarkRef { instance: Some(instance.clone()), table, row, generation }];
        let change = MarkChange { cleared, ..MarkChange::default() };
        let path = format!("/v1/migrations/events/instances/{instance}/marks");
        bench.admin.post::<()>(&path, &change).await.unwrap();
        assert_eq!(marks(&bench).await.total, 0);
        fail(&orders, "42").await;
    }
    until(&bench, |page| page.total == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_doubt_of_a_table_is_reported_and_counted() {
    let (bench, migration, _membership) = member(PlanOptions::default()).await;
    let purge = migration.table("orders").operation("purge");
    for count in 1..=3 {
        fail_to_purge(&purge).await;
        // The failure counts once for the refusal of the secondary, and once since other processes may write the table.
        let page = until(&bench, |page| page.suspect.iter().map(|doubt| doubt.count).sum::<u64>() >= count * 2).await;
        assert_eq!(page.suspect, [TableDoubt { table: "orders".into(), count: count * 2 }]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_too_long_for_a_message_freezes_nothing() {
    let (bench, migration, _membership) = member(PlanOptions::default()).await;
    let operation = migration.operation("put");
    fail(&operation, &"k".repeat(4_096)).await;
    until(&bench, |page| page.total == 1 && page.suspect.is_empty()).await;
    fail(&operation, &"k".repeat(5_000)).await;
    fail(&operation, "short").await;
    let page = until(&bench, |page| page.total == 2 && !page.suspect.is_empty()).await;
    assert_eq!(page.suspect[0].table, "events");
    bench.admin.ramp(Stage::DualWrite, "50").await.unwrap();
    while bench.admin.status().await.step.is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_thousand_marks_of_long_keys_are_reported_in_messages_that_fit() {
    let (bench, migration, _membership) = member(PlanOptions::default()).await;
    let operation = migration.operation("put");
    let long = "k".repeat(990);
    for row in 0..6_000 {
        fail(&operation, &format!("{row:010}{long}")).await;
    }
    while bench.admin.status().await.evidence.marks < 6_000 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bench.admin.ramp(Stage::DualWrite, "50").await.unwrap();
    while bench.admin.status().await.step.is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_hands_over_every_mark_and_nothing_begins_after_it() {
    let (bench, migration, membership) = member(PlanOptions::default()).await;
    let operation = migration.operation("put");
    for row in 0..12_000 {
        fail(&operation, &row.to_string()).await;
    }
    assert!(membership.leave(Duration::from_secs(60)).await);
    let page = marks(&bench).await;
    assert_eq!((page.total, bench.admin.status().await.instances), (12_000, 0));
    assert_eq!(operation.begin_write("u1", "u1").await.map(drop), Err(Refused::Left));
    assert_eq!(operation.begin_read("u1").map(drop), Err(Refused::Left));
    assert_eq!(migration.prepare_all([operation.row("u1", "u1").unwrap()]).await.map(drop), Err(Refused::Left));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_that_was_not_heard_is_not_reported_as_one() {
    let (bench, migration, membership) = member(PlanOptions::default()).await;
    let operation = migration.operation("put");
    let Bench { folder, server, admin: _ } = bench;
    server.stop().await;
    assert!(!membership.leave(Duration::from_millis(300)).await);
    assert_eq!(operation.begin_write("u1", "u1").await.map(drop), Err(Refused::Left), "it may have been heard");
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_was_never_acknowledged_is_left_when_the_control_plane_is_gone() {
    let options = PlanOptions {
        hold_bound: Duration::from_millis(200),
        linger: Duration::from_millis(50),
        ..PlanOptions::default()
    };
    let (bench, migration, _membership) = member(options).await;
    let orders = migration.table("orders");
    orders.attach_rows(Equal);
    let operation = orders.operation("put");
    bench.admin.ramp(Stage::Shadow, "100").await.unwrap();
    while bench.admin.status().await.step.is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.admin.converge(&[]).await;
    // An operation that has begun keeps the hold from being acknowledged.
    let begun = operation.begin_write("u1", "u1").await.unwrap();
    bench.admin.ramp(Stage::Live, "100").await.unwrap();
    while matches!(migration.standing().plan.phase(), crossfade::core::Phase::Settled) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let Bench { folder, server, admin: _ } = bench;
    server.stop().await;
    while !matches!(migration.standing().plan.phase(), crossfade::core::Phase::Settled) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(migration.stage_of("u1").unwrap(), Stage::Shadow);
    assert!(operation.begin_write("u1", "u1").await.is_ok(), "writes go on without the control plane");
    drop((begun, folder));
}
