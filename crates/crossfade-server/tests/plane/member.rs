//! A process as a member of the fleet, while one of its databases does not answer.

use crate::support::{Bench, bench_with};
use crossfade::plan::Membership;
use crossfade::{Effect, Migration, plan};
use crossfade_api::wire::*;
use crossfade_core::{Options as PlanOptions, PlanSpec, Stage};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const TOKEN: &str = "fedcba9876543210fedcba9876543210";

async fn member(options: PlanOptions) -> (Bench, Migration, Membership) {
    let mut bench = bench_with(|options| {
        options.heartbeat = Duration::from_millis(50);
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

/// A write whose target never says what became of it.
async fn write_into_the_dark(migration: &Migration) {
    let written = migration
        .write("u1")
        .source(|_: Option<()>| async { Ok::<(), Effect>(()) })
        .target(|_: Option<()>| async { Err(Effect::Unknown) })
        .run_with(|refused| panic!("{refused}"), |effect: &Effect| *effect)
        .await;
    written.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_back_is_acknowledged_while_every_write_to_the_target_lingers() {
    let options = PlanOptions { linger: Duration::from_millis(400), ..PlanOptions::default() };
    let (bench, migration, _membership) = member(options).await;
    let writing = tokio::spawn({
        let migration = migration.clone();
        async move {
            loop {
                write_into_the_dark(&migration).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    // There is always something that lingers from here on.
    while migration.marks().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.admin.ramp(Stage::DualWrite, "50").await.unwrap();
    for _ in 0..2_000 {
        let status = bench.admin.status().await;
        if status.step.is_none() {
            assert_eq!(status.position, "off, 50 % of keys at dual-write");
            writing.abort();
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the way back is never acknowledged: {:?}", bench.admin.status().await.step);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goodbye_waits_for_a_secondary_write_that_goes_on_without_its_caller() {
    let (bench, migration, membership) = member(PlanOptions::default()).await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (started, gate) = (begun.clone(), go_on.clone());
    let written = migration
        .write("u1")
        .source(|_: Option<()>| async { Ok::<(), Effect>(()) })
        .target(move |_: Option<()>| {
            let (started, gate) = (started.clone(), gate.clone());
            async move {
                started.notify_one();
                gate.notified().await;
                Ok(())
            }
        })
        .run_with(|refused| panic!("{refused}"), |effect: &Effect| *effect);
    written.await.unwrap();
    begun.notified().await;
    let leaving = tokio::spawn(async move { membership.leave(Duration::from_secs(60)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.admin.status().await.instances, 1, "it said goodbye with a write half done");
    assert!(!leaving.is_finished());
    go_on.notify_one();
    assert!(leaving.await.unwrap());
    let status = bench.admin.status().await;
    assert_eq!((status.instances, status.evidence.marks), (0, 0));
}
