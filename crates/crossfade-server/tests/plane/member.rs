//! A process as a member of the fleet, while one of its databases does not answer.

use crate::support::{Bench, bench_with};
use crossfade::plan::Membership;
use crossfade::rows::RowPair;
use crossfade::{Effect, Migration, Side, plan};
use crossfade_api::wire::*;
use crossfade_core::{Options as PlanOptions, PlanSpec, Stage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

const TOKEN: &str = "fedcba9876543210fedcba9876543210";

async fn member(options: PlanOptions) -> (Bench, Migration, Membership) {
    member_at(Stage::DualWrite, Duration::from_millis(50), options).await
}

async fn member_at(stage: Stage, heartbeat: Duration, options: PlanOptions) -> (Bench, Migration, Membership) {
    let mut bench = bench_with(|options| {
        options.heartbeat = heartbeat;
        options.silent_after = heartbeat * 1_000;
        options.tokens = crossfade_server::access::Tokens::parse(&format!("admin test {TOKEN}")).unwrap();
    })
    .await;
    bench.admin.token = TOKEN.to_owned();
    let plan = PlanSpec { options, ..PlanSpec::at("events", stage) };
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
        .source(|| async { Ok::<(), Effect>(()) })
        .target(|| async { Err(Effect::Unknown) })
        .replay()
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
        .source(|| async { Ok::<(), Effect>(()) })
        .target(move || {
            let (started, gate) = (started.clone(), gate.clone());
            async move {
                started.notify_one();
                gate.notified().await;
                Ok(())
            }
        })
        .replay()
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

/// One row, the same on both sides, that cannot be read while it is closed.
#[derive(Clone, Default)]
struct Shut(Arc<AtomicBool>);

impl RowPair for Shut {
    type Id = i64;
    type Row = i64;
    type Error = String;

    async fn snapshot(&self, _: Side, _: &i64) -> Result<Option<i64>, String> {
        if self.0.load(Ordering::SeqCst) { Err("closed".to_owned()) } else { Ok(Some(1)) }
    }

    async fn restore(&self, _: Side, _: &i64, _: Option<&i64>, _: Option<&i64>) -> Result<bool, String> {
        Err("both sides are equal".to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_mark_of_a_hold_is_told_at_once_and_not_with_the_next_heartbeat() {
    let options = PlanOptions { hold_bound: Duration::from_secs(30), ..PlanOptions::default() };
    let (bench, migration, _membership) = member_at(Stage::Shadow, Duration::from_secs(3_600), options).await;
    let admin = &bench.admin;
    admin.converge(&[]).await;
    let row = Shut::default();
    row.0.store(true, Ordering::SeqCst);
    migration.attach_rows(row.clone());
    let together = Arc::new(tokio::sync::Barrier::new(2));
    let write = || {
        let (migration, together) = (migration.clone(), together.clone());
        async move {
            let written = migration
                .write(&1i64)
                .source(move || {
                    let together = together.clone();
                    async move {
                        together.wait().await;
                        Ok::<(), Effect>(())
                    }
                })
                .target(|| async { Ok(()) })
                .replay()
                .run_with(|refused| panic!("{refused}"), |effect: &Effect| *effect);
            written.await.unwrap();
        }
    };
    tokio::join!(write(), write());
    while migration.marks().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    admin.ramp(Stage::Live, "100").await.unwrap();
    while !admin.status().await.step.unwrap().waiting_also.iter().any(|why| why.contains("marked")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    row.0.store(false, Ordering::SeqCst);
    let mut status = admin.status().await;
    while status.step.is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        status = admin.status().await;
    }
    assert_eq!(status.last_step.unwrap().abandoned, None);
    assert_eq!(status.position, "live");
}
