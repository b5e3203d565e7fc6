//! Changes of plan in one process: R1, R3, R4, R11, and the plan file.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use crossfade::core::{Plan, PlanSpec, Revision};
use crossfade::plan::{PlanSource, PlanSourceError, Steward};
use crossfade::{AdvanceError, BuildError, Migration, Options, Position, Refused, Side, Stage, plan};
use futures::future::BoxFuture;
use std::time::Duration;
use support::{Error, Fault, Pair, migration, migration_with};

fn ramping(stage: Stage, percent: &str) -> Position {
    Position::ramping(stage.edge().unwrap(), percent.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_step_is_taken_when_the_operations_before_it_have_ended() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Off).await);
    pair.source.fault(Fault::Slow(Duration::from_secs(3)));
    let slow = pair.write(&migration, 1, "1:a");
    let step = async {
        tokio::task::yield_now().await;
        let began = tokio::time::Instant::now();
        control.advance(Position::at(Stage::DualWrite)).await.unwrap();
        began.elapsed()
    };
    let (written, waited) = tokio::join!(slow, step);
    written.unwrap();
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert_eq!(pair.target.get(1), None, "decided once, at off");
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_may_still_land_holds_up_the_next_step() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Off).await);
    pair.source.fault(Fault::Late(Duration::from_secs(4)));
    assert_eq!(pair.write(&migration, 1, "1:late").await, Err(Error::Lost));
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    assert_eq!(
        pair.source.get(1).as_deref(),
        Some("1:late"),
        "off would write the source alone behind a backfill's back"
    );
}

#[tokio::test(start_paused = true)]
async fn authority_moves_while_writes_of_its_keys_wait() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Shadow).await);
    // An operation of the old roles that takes its time: the hold waits for it, and the new write for the hold.
    pair.source.fault(Fault::Slow(Duration::from_millis(300)));
    let old = pair.write(&migration, 1, "1:old roles");
    let moving = async {
        tokio::task::yield_now().await;
        control.advance(Position::at(Stage::Live)).await.unwrap()
    };
    let new = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!migration.standing().acknowledged);
        let written = pair.write(&migration, 1, "1:new roles").await;
        assert_eq!(migration.stage_of(&1u64).unwrap(), Stage::Live);
        written
    };
    let (old, advanced, new) = tokio::join!(old, moving, new);
    old.unwrap();
    new.unwrap();
    assert!(advanced.held.unwrap() >= Duration::from_millis(299));
    assert_eq!(pair.source.get(1).as_deref(), Some("1:new roles"));
    assert!(pair.equal());
    assert_eq!(migration.observe().total(|seen| seen.held), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_of_several_keys_waits_while_authority_moves_for_some_of_them() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Shadow).await);
    let stays = (0..).find(|key: &u64| !at_first_percent(&migration, *key)).unwrap();
    let moving: Vec<u64> = (0..).filter(|key: &u64| at_first_percent(&migration, *key)).take(2).collect();
    pair.source.fault(Fault::Slow(Duration::from_millis(500)));
    let old = pair.write(&migration, moving[0], "x:old");
    let step = async {
        tokio::task::yield_now().await;
        control.advance(ramping(Stage::Shadow, "20")).await.unwrap();
    };
    let several = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let began = tokio::time::Instant::now();
        let keys = [moving[0], moving[1], stays].map(|key| (key, key));
        let operation = migration.operation("put_all");
        let parts = operation.split_write(keys).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(399), "{:?}", began.elapsed());
        let sides: Vec<_> = parts.iter().map(|part| (part.ticket.authority(), part.places.clone())).collect();
        assert_eq!(sides, [(Side::Target, vec![0, 1]), (Side::Source, vec![2])]);
    };
    let (old, (), ()) = tokio::join!(old, step, several);
    old.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reads_and_keys_that_do_not_move_are_not_held() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Shadow).await);
    let stays = (0..).find(|key: &u64| !at_first_percent(&migration, *key)).unwrap();
    let moves = (0..).find(|key: &u64| at_first_percent(&migration, *key)).unwrap();
    pair.source.fault(Fault::Slow(Duration::from_millis(500)));
    let old = pair.write(&migration, moves, "x:old");
    let step = async {
        tokio::task::yield_now().await;
        control.advance(ramping(Stage::Shadow, "20")).await.unwrap();
    };
    let other = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let began = tokio::time::Instant::now();
        pair.write(&migration, stays, "y:a").await.unwrap();
        pair.read(&migration, moves).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    };
    let (old, (), ()) = tokio::join!(old, step, other);
    old.unwrap();
    assert_eq!(migration.stage_of(&moves).unwrap(), Stage::Live);
    assert_eq!(migration.stage_of(&stays).unwrap(), Stage::Shadow);
}

fn at_first_percent(migration: &Migration, key: u64) -> bool {
    let text = key.to_string();
    migration.standing().plan.decide(crossfade::core::CohortKey::new(&text).unwrap()).bucket.number() < 20_000
}

#[tokio::test(start_paused = true)]
async fn a_hold_past_its_bound_is_abandoned_with_the_old_roles() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Shadow).await);
    pair.source.fault(Fault::Slow(Duration::from_secs(30)));
    let old = pair.write(&migration, 1, "1:old");
    let step = async {
        tokio::task::yield_now().await;
        control.advance(Position::at(Stage::Live)).await
    };
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        pair.write(&migration, 1, "1:waited").await
    };
    let refused = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        pair.write(&migration, 2, "2:waited").await
    };
    let (old, step, waited, refused) = tokio::join!(old, step, waiting, refused);
    old.unwrap();
    assert!(matches!(step, Err(AdvanceError::Abandoned { .. })), "{step:?}");
    waited.unwrap();
    assert!(matches!(refused, Ok(()) | Err(Error::Refused(Refused::Held { .. }))), "{refused:?}");
    assert_eq!(migration.stage_of(&1u64).unwrap().authority(), Side::Source);
    assert!(matches!(migration.standing().plan.phase(), crossfade::core::Phase::Settled));
}

#[tokio::test(start_paused = true)]
async fn a_marked_row_keeps_its_authority() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Shadow).await);
    pair.target.fault(Fault::RefuseBefore);
    pair.write(&migration, 1, "1:a").await.unwrap();
    let refused = control.advance(Position::at(Stage::Live)).await;
    assert!(matches!(refused, Err(AdvanceError::NotQuiet { marks: 1, .. })), "{refused:?}");
    migration.attach_rows(pair.clone());
    control.advance(Position::at(Stage::Live)).await.unwrap();
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn forward_and_back_over_every_edge_under_writes() {
    let (pair, (migration, control)) = (Pair::default(), migration(Stage::Off).await);
    migration.attach_rows(pair.clone());
    let mut way = vec![];
    for stage in [Stage::Off, Stage::DualWrite, Stage::Shadow, Stage::Live] {
        way.extend([ramping(stage, "10"), ramping(stage, "60"), Position::at(stage.next().unwrap())]);
    }
    let back: Vec<_> = way.iter().rev().skip(1).cloned().collect();
    let writer = async {
        for n in 0..2_000u64 {
            pair.write(&migration, n % 7, &format!("{}:{n}", n % 7)).await.unwrap();
            assert_eq!(pair.read(&migration, n % 7).await.unwrap().unwrap(), format!("{}:{n}", n % 7));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let walker = async {
        for position in way.iter().chain(&back) {
            control.advance(position.clone()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(migration.standing().plan.position(), position);
        }
    };
    tokio::join!(writer, walker);
    assert_eq!(migration.observe().total(|seen| seen.mismatched), 0);
}

#[tokio::test(start_paused = true)]
async fn a_jump_over_an_edge_changes_nothing() {
    let (migration, control) = migration(Stage::Off).await;
    let before = migration.standing().revision;
    let jump = control.advance(Position::at(Stage::Shadow)).await;
    assert!(matches!(jump, Err(AdvanceError::Step(_))), "{jump:?}");
    assert_eq!(migration.standing().revision, before);
}

#[tokio::test(start_paused = true)]
async fn two_settle_times_have_to_fit_into_a_hold() {
    let options = Options { settle: Duration::from_secs(3), ..Options::default() };
    let (_migration, control) = migration_with(Stage::Shadow, options).await;
    let refused = control.advance(Position::at(Stage::Live)).await;
    assert!(matches!(refused, Err(AdvanceError::SettleTooLong { .. })), "{refused:?}");
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
}

#[tokio::test]
async fn without_a_plan_a_migration_is_not_built() {
    let none = Migration::builder("events").build().await.unwrap_err();
    assert!(matches!(none, BuildError::NoPlan { .. }));
    let missing = Migration::builder("events").plan(plan::file("/nowhere/plan.toml")).build().await.unwrap_err();
    assert!(format!("{:#}", anyhow(missing)).contains("cannot read the plan file /nowhere/plan.toml"));
    let wrong = Migration::builder("Events!").plan(plan::fixed(Stage::Off)).build().await.unwrap_err();
    assert!(format!("{:#}", anyhow(wrong)).contains("no migration id"));
    let (_control, other) = plan::local(crossfade::Plan::new(crossfade::PlanSpec::at("orders", Stage::Off)).unwrap());
    let other = Migration::builder("events").plan(other).build().await.unwrap_err();
    assert!(matches!(other, BuildError::OtherMigration { .. }));
}

/// The whole chain of an error, as a person sees it.
fn anyhow(error: BuildError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_plan_file_is_followed_and_a_bad_edit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.toml");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("stage = \"off\"\n");
    let source = plan::file(&path).every(Duration::from_millis(5));
    let migration = Migration::builder("events").plan(source).build().await.unwrap();
    let stage = || migration.standing().plan.position().to_string();

    write("stage = \"off\"\nramp = { to = \"dual-write\", percent = 25 }\n");
    until(|| stage() == "off, 25 % of keys at dual-write").await;

    write("stage = \"shadow\"\n");
    until(|| migration.observe().plans_refused == 1).await;
    write("stage = \"off\"\nramp = { to = \"dual-write\", percent = 2500 }\n");
    until(|| migration.observe().plans_refused == 2).await;
    write("stage = \"off\"\nsalt = \"another\"\n");
    until(|| migration.observe().plans_refused == 3).await;
    std::fs::remove_file(&path).unwrap();
    until(|| migration.observe().plans_refused == 4).await;
    assert_eq!(stage(), "off, 25 % of keys at dual-write", "the last plan stays");

    write("stage = \"dual-write\"\n");
    until(|| stage() == "dual-write").await;
    write("stage = \"shadow\"\n");
    until(|| stage() == "shadow").await;
    write("stage = \"live\"\n");
    until(|| stage() == "live").await;
}

#[tokio::test]
async fn a_plan_file_whose_step_was_abandoned_is_tried_until_it_is_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.toml");
    let write = |stage: &str| {
        let options = "[options]\nhold-bound-ms = 50\nlinger-ms = 1\n";
        std::fs::write(&path, format!("stage = \"{stage}\"\n{options}")).unwrap();
    };
    write("shadow");
    let source = plan::file(&path).every(Duration::from_millis(5));
    let migration = Migration::builder("events").plan(source).build().await.unwrap();
    // A write of the old authority that takes longer than the bound: the first try is abandoned.
    let operation = migration.operation("put");
    let ticket = operation.begin_write(&1u64, &1u64).await.unwrap();
    write("live");
    until(|| migration.observe().plans_refused > 0).await;
    assert_eq!(migration.stage_of(&1u64).unwrap(), Stage::Shadow);
    drop(ticket);
    until(|| migration.stage_of(&1u64).unwrap() == Stage::Live).await;
}

#[tokio::test(start_paused = true)]
async fn a_doubt_that_comes_up_in_the_hold_keeps_authority_where_it_is() {
    let (migration, control) = migration(Stage::Shadow).await;
    let operation = migration.operation("purge");
    // A write of unknown rows that began before the hold fails on the secondary while writes are held.
    let ticket = operation.begin_whole_write().await.unwrap();
    let lost = |_: &(), _| async { Err(Error::Definite) };
    let slow = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok::<_, Error>(())
    };
    let purge = ticket.mirrored(crossfade::Mirror::State, support::effect, slow, lost);
    let (purged, step) = tokio::join!(purge, control.advance(Position::at(Stage::Live)));
    purged.unwrap();
    assert_eq!(step, Err(AdvanceError::EverythingSuspect));
    assert_eq!(migration.stage_of(&1u64).unwrap(), Stage::Shadow);
    assert!(matches!(migration.standing().plan.phase(), crossfade::core::Phase::Settled));
}

/// Plans that somebody else conducts, as they come.
struct Elsewhere(Plan, tokio::sync::mpsc::Receiver<Plan>);

impl PlanSource for Elsewhere {
    fn first<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>> {
        let revision = Revision { incarnation: 1, number: 1, hash: self.0.fingerprint() };
        Box::pin(std::future::ready(Ok((self.0.clone(), revision))))
    }

    fn follow(mut self: Box<Self>, steward: Steward) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let (Some(plan), Some((_, last))) = (self.1.recv().await, steward.standing()) {
                let revision = last.next(plan.fingerprint());
                steward.install(plan, revision);
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_a_control_plane_conducts_is_measured_too() {
    let shadow = Plan::new(PlanSpec::at("held", Stage::Shadow)).unwrap();
    let (plans, coming) = tokio::sync::mpsc::channel(1);
    let migration = Migration::builder("held").plan(Elsewhere(shadow.clone(), coming)).build().await.unwrap();
    for plan in shadow.steps_to(Position::at(Stage::Live)).unwrap() {
        plans.send(plan).await.unwrap();
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    assert_eq!(migration.stage_of(&1u64).unwrap(), Stage::Live);
    assert_eq!(migration.observe().longest_hold_ms, 140, "through hold and move");
}

/// Installs plans as they come and hands out the revisions that were acknowledged.
struct Acknowledging {
    first: Plan,
    plans: tokio::sync::mpsc::Receiver<Plan>,
    acknowledged: tokio::sync::mpsc::Sender<u64>,
}

impl PlanSource for Acknowledging {
    fn first<'a>(&'a mut self, _: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>> {
        let revision = Revision { incarnation: 1, number: 1, hash: self.first.fingerprint() };
        Box::pin(std::future::ready(Ok((self.first.clone(), revision))))
    }

    fn follow(mut self: Box<Self>, steward: Steward) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let (Some(plan), Some((_, last))) = (self.plans.recv().await, steward.standing()) {
                steward.install(plan.clone(), last.next(plan.fingerprint()));
                let Some((revision, _)) = steward.acknowledged().await else { return };
                self.acknowledged.send(revision.number).await.unwrap();
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_forced_rollback_is_acknowledged_while_writes_hang_on_the_dead_side() {
    let live = Plan::new(PlanSpec::at("events", Stage::Live)).unwrap();
    let (plans, coming) = tokio::sync::mpsc::channel(1);
    let (acknowledged, mut told) = tokio::sync::mpsc::channel(9);
    let source = Acknowledging { first: live.clone(), plans: coming, acknowledged };
    let (pair, migration) = (Pair::default(), Migration::builder("events").plan(source).build().await.unwrap());
    pair.target.fault(Fault::Hang);
    let hanging = pair.write(&migration, 1, "1:lost");
    let back = async {
        tokio::task::yield_now().await;
        let steps = live.steps_to(Position::at(Stage::Shadow)).unwrap();
        for (plan, number) in steps.iter().zip(2..).take(2) {
            let forced = Plan::new(PlanSpec { forced: true, ..plan.spec() }).unwrap();
            plans.send(forced).await.unwrap();
            assert_eq!(told.recv().await, Some(number), "nothing is waited for");
        }
        plans.send(steps[2].clone()).await.unwrap();
        while migration.standing().plan.position().stage() != Stage::Shadow {
            tokio::task::yield_now().await;
        }
        pair.write(&migration, 2, "2:a").await.unwrap();
        assert_eq!(pair.source.get(2).as_deref(), Some("2:a"), "users write the source again");
        assert!(told.try_recv().is_err(), "the last revision waits for the write that hangs");
    };
    tokio::select! {
        _ = hanging => panic!("it hangs"),
        () = back => {}
    }
    assert_eq!(told.recv().await, Some(4), "given up by its caller, it has ended");
}
