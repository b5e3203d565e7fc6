//! What a process remembers on disk: told to the plane and to people, never served (R3, R11, R21).

use crate::support::{Bench, bench_with};
use crossfade::{BuildError, Migration, Stage, plan};
use crossfade_api::wire::*;
use std::path::Path;
use std::time::Duration;

const TOKEN: &str = "fedcba9876543210fedcba9876543210";

async fn plane(stage: Stage) -> Bench {
    let mut bench = bench_with(|options| {
        options.heartbeat = Duration::from_millis(50);
        options.tokens = crossfade_server::access::Tokens::parse(&format!("admin test {TOKEN}")).unwrap();
    })
    .await;
    bench.admin.token = TOKEN.to_owned();
    bench.admin.make(stage).await;
    bench
}

/// A process that starts, lives until it has acknowledged whatever is in force, and leaves.
async fn one_life(bench: &Bench, cache: &Path, during: impl AsyncFnOnce()) {
    let from = plan::server(&bench.admin.url).token(TOKEN).cache(cache);
    let membership = from.membership();
    let _migration = Migration::builder("events").plan(from).build().await.unwrap();
    during().await;
    bench.admin.finish(&[]).await;
    assert!(membership.leave(Duration::from_secs(30)).await);
}

fn remembered(cache: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(cache).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cached_plan_is_not_served_while_the_control_plane_is_away() {
    let bench = plane(Stage::DualWrite).await;
    let cache = bench.folder.path().join("events.plan");
    one_life(&bench, &cache, async || {
        bench.admin.ramp(Stage::Shadow, "25").await.unwrap();
    })
    .await;
    let page = remembered(&cache);
    let now = bench.admin.status().await.publication;
    assert_eq!(page["publication"], serde_json::to_value(&now).unwrap(), "what was in force last is on disk");
    // Nothing listens there.
    let from = plan::server("http://127.0.0.1:9").token(TOKEN).cache(&cache);
    let built = Migration::builder("events").plan(from).first_plan_within(Duration::from_millis(300)).build().await;
    assert!(matches!(built, Err(BuildError::NoPlanYet { .. })), "a plan came from somewhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_found_there_fails_a_start() {
    let bench = plane(Stage::Off).await;
    let folder = bench.folder.path();
    let is_folder = folder.join("folder");
    std::fs::create_dir(&is_folder).unwrap();
    for (name, text) in [("empty", ""), ("cut", "{\"format\": \"crossfade-last-pl"), ("other", "[]")] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    for name in ["empty", "cut", "other", "folder", "no/such/folder/file"] {
        one_life(&bench, &folder.join(name), async || {}).await;
    }
    assert_eq!(remembered(&folder.join("cut"))["format"], "crossfade-last-plan-1", "what is damaged is replaced");
    assert_eq!(remembered(&folder.join("other")), serde_json::json!([]), "what is somebody else's is left alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_that_has_forgotten_revisions_gives_no_plan_to_who_remembers_them() {
    let before = plane(Stage::DualWrite).await;
    let cache = before.folder.path().join("events.plan");
    one_life(&before, &cache, async || {
        before.admin.ramp(Stage::Shadow, "100").await.unwrap();
    })
    .await;
    // The plane comes back with what it had at the beginning.
    let after = plane(Stage::DualWrite).await;
    let start = || {
        let from = plan::server(&after.admin.url).token(TOKEN).cache(&cache);
        let membership = from.membership();
        let building = Migration::builder("events").plan(from).first_plan_within(Duration::from_secs(60)).build();
        (tokio::spawn(building), membership)
    };
    let (building, membership) = start();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!building.is_finished(), "it was given the plan that the fleet has left");
    assert_eq!(after.admin.status().await.instances, 0);
    // As the runbook says: nothing runs any more, so a person teaches the plane what the newest file remembers.
    let by_hand = serde_json::json!({
        "instance": "by-hand", "kind": "application", "holding": remembered(&cache)["publication"],
    });
    let _: Registered = after.admin.post("/v1/migrations/events/instances", &by_hand).await.unwrap();
    let goodbye = "/v1/migrations/events/instances/by-hand/goodbye";
    after.admin.post::<()>(goodbye, &serde_json::json!({})).await.unwrap();
    let migration = building.await.unwrap().unwrap();
    assert_eq!(migration.standing().plan.position().stage(), Stage::Shadow);
    assert!(!after.admin.status().await.evidence.suspects.is_empty(), "suspect until verified");
    assert!(membership.leave(Duration::from_secs(30)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_begun_anew_starts_when_its_old_cache_is_removed() {
    let before = plane(Stage::DualWrite).await;
    let cache = before.folder.path().join("events.plan");
    one_life(&before, &cache, async || {
        before.admin.ramp(Stage::Shadow, "100").await.unwrap();
    })
    .await;
    let after = plane(Stage::Off).await;
    let from = plan::server(&after.admin.url).token(TOKEN).cache(&cache);
    let building = Migration::builder("events").plan(from).first_plan_within(Duration::from_secs(60)).build();
    let building = tokio::spawn(building);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!building.is_finished());
    std::fs::remove_file(&cache).unwrap();
    assert_eq!(building.await.unwrap().unwrap().standing().plan.position().stage(), Stage::Off);
}
