//! What operators may not do, over HTTP: act on what they no longer see, step during a step, and cross what has no way back without
//! saying its name.

use crate::support::{Bench, Client, bench};
use crossfade_api::problem::{Code, Problem};
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::*;
use crossfade_core::{MarkReason, Options as PlanOptions, Stage, Verdict};
use serde_json::Value;

fn towards(stage: Stage, percent: &str, if_revision: RevisionText, confirm: Option<&str>) -> RampRequest {
    let (percent, confirm) = (percent.parse().unwrap(), confirm.map(str::to_owned));
    RampRequest { stage, percent, pins: None, if_revision, confirm }
}

async fn ramp(client: &Client, wish: &RampRequest) -> Result<StepAnswer, Problem> {
    client.post("/v1/migrations/events/ramp", wish).await
}

async fn steps_begun(admin: &Client) -> usize {
    let history: HistoryPage = admin.get("/v1/migrations/events/history?limit=1000").await.unwrap();
    history.entries.iter().filter(|entry| entry.kind == "step-began").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_operators_at_once_one_steps_and_the_other_is_told_to_look_again() {
    let bench = bench().await;
    bench.admin.make(Stage::Off).await;
    bench.admin.join("a", InstanceKind::Application).await;
    let (ann, bob) = (bench.admin.with_role(Role::Operator).await, bench.admin.with_role(Role::Operator).await);
    for round in 1..=10 {
        // Both look at the same revision, and act at the same time on what they saw.
        let seen = bench.admin.status().await.publication.revision;
        let (up, further) = (format!("{}", round * 5), format!("{}", round * 5 + 1));
        let wishes = [towards(Stage::DualWrite, &up, seen, None), towards(Stage::DualWrite, &further, seen, None)];
        let (one, other) = tokio::join!(ramp(&ann, &wishes[0]), ramp(&bob, &wishes[1]));
        let (won, refused, percent) = match (one, other) {
            (Ok(won), Err(refused)) => (won, refused, up),
            (Err(refused), Ok(won)) => (won, refused, further),
            both => panic!("not one of them: {both:?}"),
        };
        assert_eq!((refused.code, refused.status), (Code::RevisionChanged, 409));
        assert!(refused.detail.contains(&seen.to_string()), "{}", refused.detail);
        assert!(won.status.publication.revision > seen);
        let status = bench.admin.finish(&["a"]).await;
        assert_eq!(status.position, format!("off, {percent} % of keys at dual-write"));
        assert_eq!(steps_begun(&bench.admin).await, round);
    }
}

#[tokio::test]
async fn a_step_during_a_step_is_refused_with_whom_it_waits_for() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::Off).await;
    admin.join("a", InstanceKind::Application).await;
    admin.ramp(Stage::DualWrite, "25").await.unwrap();
    let if_revision = admin.status().await.publication.revision;
    let options = PlanOptions { secondary_in_flight: 7, ..PlanOptions::default() };
    let back = RollbackRequest { if_revision, force: false, confirm: None };
    let forced = RollbackRequest { if_revision, force: true, confirm: Some("events".into()) };
    let retire = RetireRequest { if_revision, confirm: "events".into() };
    let path = |what: &str| format!("/v1/migrations/events/{what}");
    let refusals = [
        admin.post::<Value>(&path("ramp"), &towards(Stage::DualWrite, "50", if_revision, None)).await,
        admin.post::<Value>(&path("rollback"), &back).await,
        admin.post::<Value>(&path("rollback"), &forced).await,
        admin.post::<Value>(&path("options"), &OptionsRequest { options, if_revision }).await,
        admin.post::<Value>(&path("retire"), &retire).await,
    ];
    for refused in refusals {
        let refused = refused.unwrap_err();
        assert_eq!((refused.code, refused.status), (Code::StepUnderWay, 409));
        assert!(refused.detail.contains("off, 25 % of keys at dual-write"), "which step: {}", refused.detail);
        assert_eq!(refused.waiting_for, ["a"], "and for whom it waits");
    }
    assert_eq!(admin.finish(&["a"]).await.position, "off, 25 % of keys at dual-write");
    assert_eq!(steps_begun(admin).await, 1);
}

/// One instance, every key at live, both sides verified.
async fn at_live() -> Bench {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.set_out_for_live().await;
    assert_eq!(admin.finish(&["a"]).await.position, "live");
    bench
}

/// What is refused without the name, and with another one.
const UNCONFIRMED: [Option<&str>; 4] = [None, Some(""), Some("event"), Some("EVENTS")];

#[tokio::test]
async fn the_point_of_no_return_asks_for_the_name() {
    let bench = at_live().await;
    let admin = &bench.admin;
    admin.ramp(Stage::RampDown, "100").await.unwrap();
    assert_eq!(admin.finish(&["a"]).await.position, "ramp-down");
    admin.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified), &["a"]).await;
    let if_revision = admin.status().await.publication.revision;
    let wish = |confirm| towards(Stage::Complete, "1", if_revision, confirm);
    let preview: Preview = admin.post("/v1/migrations/events/ramp/preview", &wish(None)).await.unwrap();
    assert!(preview.gate.go && preview.needs_confirmation && preview.way_back.contains("point of no return"));
    for confirm in UNCONFIRMED {
        let refused = ramp(admin, &wish(confirm)).await.unwrap_err();
        assert_eq!((refused.code, refused.status), (Code::ConfirmationNeeded, 409), "{confirm:?}");
        assert!(refused.detail.contains("no return") && refused.detail.contains("`events`"), "{}", refused.detail);
    }
    assert_eq!(admin.status().await.publication.revision, if_revision, "nothing has moved");
    ramp(admin, &wish(Some("events"))).await.unwrap();
    assert_eq!(admin.finish(&["a"]).await.position, "ramp-down, 1 % of keys at complete");
}

#[tokio::test]
async fn a_forced_rollback_asks_for_the_name_and_writes_down_what_it_waives() {
    let bench = at_live().await;
    let admin = &bench.admin;
    let mark = MarkDoc {
        table: "events".into(),
        row: "row-7".into(),
        cohort: "u1".into(),
        reason: MarkReason::SecondaryUnknown,
        generation: 1,
    };
    let marks = MarkChange { set: vec![mark], ..MarkChange::default() };
    admin.post::<()>("/v1/migrations/events/instances/a/marks", &marks).await.unwrap();
    let if_revision = admin.status().await.publication.revision;
    let back = async |force, confirm: Option<&str>| {
        let wish = RollbackRequest { if_revision, force, confirm: confirm.map(str::to_owned) };
        admin.post::<StepAnswer>("/v1/migrations/events/rollback", &wish).await
    };
    // The name without force is no force.
    for confirm in [None, Some("events")] {
        let refused = back(false, confirm).await.unwrap_err();
        assert_eq!(refused.code, Code::Gate);
        assert!(refused.blockers.iter().any(|blocker| blocker.code == "marks"), "{refused:?}");
    }
    for confirm in UNCONFIRMED {
        let refused = back(true, confirm).await.unwrap_err();
        assert_eq!((refused.code, refused.status), (Code::ConfirmationNeeded, 409), "{confirm:?}");
        assert!(refused.detail.contains("may lose writes"), "{}", refused.detail);
    }
    assert_eq!(admin.status().await.publication.revision, if_revision, "nothing has moved");
    back(true, Some("events")).await.unwrap();
    let status = admin.finish(&["a"]).await;
    assert_eq!(status.position, "shadow");
    assert!(status.evidence.waived_since.is_some(), "until a verification passes");
    let history: HistoryPage = admin.get("/v1/migrations/events/history").await.unwrap();
    let forced = history.entries.iter().find(|entry| entry.kind == "step-began" && entry.text.contains("forced"));
    assert!(forced.is_some_and(|entry| entry.text.contains("1 ") && entry.by == "first-admin"), "{forced:?}");
}
