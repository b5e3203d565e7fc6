//! Backfill, verification and repair through an application's own rows: registered, waited for, and told to gates.

use crate::support::*;
use crossfade::rows::{Cursor, Extra, Page, RowPair, Run, RunError, ScanRows};
use crossfade::{Migration, Side, plan};
use crossfade_api::wire::*;
use crossfade_core::{BackfillState, Options as PlanOptions, PlanSpec, Stage, Verdict};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// Two sides in memory. The call that reaches `gate` says so, and waits until it is opened.
#[derive(Clone, Default)]
struct Sides {
    rows: Arc<[Mutex<BTreeMap<u64, String>>; 2]>,
    gate: Arc<Mutex<Option<u64>>>,
    reached: Arc<Notify>,
    open: Arc<Notify>,
}

impl Sides {
    fn on(&self, side: Side) -> std::sync::MutexGuard<'_, BTreeMap<u64, String>> {
        self.rows[usize::from(side == Side::Target)].lock().unwrap()
    }

    fn filled(rows: u64) -> Sides {
        let sides = Sides::default();
        sides.on(Side::Source).extend((0..rows).map(|id| (id, format!("{id}:a"))));
        sides
    }

    fn close_at(&self, id: u64) {
        *self.gate.lock().unwrap() = Some(id);
    }

    fn equal(&self) -> bool {
        *self.on(Side::Source) == *self.on(Side::Target)
    }
}

impl RowPair for Sides {
    type Id = u64;
    type Row = String;
    type Error = String;

    async fn snapshot(&self, side: Side, id: &u64) -> Result<Option<String>, String> {
        Ok(self.on(side).get(id).cloned())
    }

    async fn restore(&self, side: Side, id: &u64, seen: Option<&String>, row: Option<&String>) -> Result<bool, String> {
        let closed = self.gate.lock().unwrap().take_if(|gate| *gate == *id).is_some();
        if closed {
            self.reached.notify_one();
            self.open.notified().await;
        }
        let mut rows = self.on(side);
        if rows.get(id) != seen {
            return Ok(false);
        }
        match row {
            Some(row) => drop(rows.insert(*id, row.clone())),
            None => drop(rows.remove(id)),
        }
        Ok(true)
    }
}

impl ScanRows for Sides {
    async fn scan(&self, side: Side, after: Option<Cursor>, limit: usize) -> Result<Page<String>, String> {
        let after = after.map(|cursor| cursor.0.parse::<u64>().unwrap());
        let rows = self.on(side);
        let found: Vec<(&u64, &String)> =
            rows.iter().filter(|(id, _)| after.is_none_or(|after| **id > after)).take(limit).collect();
        let next = found.last().filter(|_| found.len() == limit).map(|(id, _)| Cursor(id.to_string()));
        Ok(Page { rows: found.into_iter().map(|(_, row)| row.clone()).collect(), next })
    }

    fn id_of(&self, row: &String) -> u64 {
        row.split(':').next().unwrap().parse().unwrap()
    }

    fn key_of(&self, row: &String) -> String {
        self.id_of(row).to_string()
    }
}

/// A plane, and an application of its migration, at this stage. The linger is short: two tests wait it out.
async fn application(stage: Stage) -> (Bench, Migration) {
    let (bench, migration, _membership) = member(stage).await;
    (bench, migration)
}

/// The same, with what says goodbye.
async fn member(stage: Stage) -> (Bench, Migration, plan::Membership) {
    let bench = bench_with(|options| options.heartbeat = Duration::from_millis(50)).await;
    let options = PlanOptions { linger: Duration::from_millis(100), ..PlanOptions::default() };
    let plan = PlanSpec { options, ..PlanSpec::at("events", stage) };
    let request = CreateRequest { plan, bypassing_writers: Vec::new() };
    let _: Status = bench.admin.post("/v1/migrations", &request).await.unwrap();
    let instance = bench.admin.with_role(Role::Instance).await;
    let source = plan::server(&bench.admin.url).token(&instance.token);
    let membership = source.membership();
    let migration = Migration::builder("events").plan(source).build().await.unwrap();
    (bench, migration, membership)
}

/// A run whose own linger is no longer than the plan's.
fn run(migration: &Migration, sides: &Sides) -> Run {
    let pace = crossfade::rows::Pace { page: 7, at_once: 3, linger: Duration::ZERO, ..Default::default() };
    Run::new(migration).rows(sides.clone()).pace(pace)
}

async fn kinds(bench: &Bench) -> Vec<InstanceKind> {
    let page: Instances = bench.admin.get("/v1/migrations/events/instances").await.unwrap();
    let mut kinds: Vec<InstanceKind> = page.instances.iter().map(|known| known.kind).collect();
    kinds.sort();
    kinds
}

async fn until(bench: &Bench, what: impl Fn(&Status) -> bool) -> Status {
    for _ in 0..2_000 {
        let status = bench.admin.status().await;
        if what(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never comes to that: {:?}", bench.admin.status().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dao_passes_the_gate_by_its_own_backfill_and_verification() {
    let (bench, migration) = application(Stage::Shadow).await;
    let admin = &bench.admin;
    let sides = Sides::filled(30);
    // The first heartbeat reports the tables of the instance.
    until(&bench, |status| status.evidence.cannot_check.is_empty()).await;
    let shut = admin.ramp(Stage::Live, "100").await.unwrap_err();
    let codes: Vec<&str> = shut.blockers.iter().map(|blocker| blocker.code.as_str()).collect();
    assert_eq!(codes, ["backfill-not-started", "not-verified", "checks-not-full"]);

    // While it works the plane has it beside the application, with its progress.
    sides.close_at(20);
    let backfill = run(&migration, &sides).expecting(30);
    let handle = backfill.handle();
    let moving = tokio::spawn(backfill.backfill());
    sides.reached.notified().await;
    let status = until(&bench, |status| {
        status.runs.first().and_then(|run| run.progress.as_ref()).is_some_and(|progress| progress.done >= 20)
    })
    .await;
    let progress = status.runs[0].progress.clone().unwrap();
    assert_eq!((progress.total, progress.note.as_str()), (Some(60), "events"));
    assert_eq!(kinds(&bench).await, [InstanceKind::Application, InstanceKind::Backfill]);
    assert_eq!(status.evidence.backfill.state, BackfillState::Unfinished);
    sides.open.notify_one();
    let moved = moving.await.unwrap().unwrap();
    assert_eq!((moved.copied, handle.done()), (30, 60));
    assert!(matches!(admin.status().await.evidence.backfill.state, BackfillState::Complete(_)));

    // A divergence is told, and keeps the gate shut; then a repair, and a verification that began after it.
    sides.on(Side::Target).insert(3, "3:wrong".to_owned());
    let found = run(&migration, &sides).verify().await.unwrap();
    assert_eq!(found.verdict(), Verdict::Diverged(1));
    let status = admin.status().await;
    assert_eq!(status.evidence.verification.unwrap().verdict, Verdict::Diverged(1));
    assert_eq!(status.publication.plan.options.checks, crossfade_core::Checks::Full, "turned on before it began");
    assert!(admin.ramp(Stage::Live, "100").await.is_err());
    assert_eq!(run(&migration, &sides).repair().await.unwrap().copied, 1);
    assert!(admin.status().await.evidence.last_repair.is_some());
    assert_eq!(run(&migration, &sides).verify().await.unwrap().verdict(), Verdict::Verified);
    admin.ramp(Stage::Live, "100").await.unwrap();
    let status = until(&bench, |status| status.step.is_none()).await;
    assert_eq!((status.position.as_str(), status.last_step.unwrap().abandoned), ("live", None));
    assert_eq!(kinds(&bench).await, [InstanceKind::Application], "runs left in good order");

    // At live, the source is the side without authority.
    sides.on(Side::Source).insert(5, "5:stale".to_owned());
    assert_eq!(run(&migration, &sides).repair().await.unwrap().copied, 1);
    assert_eq!(sides.on(Side::Source).get(&5).unwrap(), "5:a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_may_not_begin_says_why_and_leaves() {
    let (bench, migration) = application(Stage::Off).await;
    let sides = Sides::filled(3);
    let early = run(&migration, &sides).backfill().await;
    assert!(matches!(&early, Err(RunError::NotNow { why, .. }) if why.contains("dual-write")), "{early:?}");
    until(&bench, |status| status.instances == 1).await;
    assert!(sides.on(Side::Target).is_empty());
    assert_eq!(bench.admin.status().await.evidence.backfill.state, BackfillState::NotStarted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_until_every_instance_has_acknowledged_dual_write() {
    let (bench, migration) = application(Stage::Off).await;
    bench.admin.join("slow", InstanceKind::Application).await;
    bench.admin.ramp(Stage::DualWrite, "100").await.unwrap();
    let sides = Sides::filled(3);
    let moving = tokio::spawn(run(&migration, &sides).backfill());
    until(&bench, |status| status.instances == 3).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(sides.on(Side::Target).is_empty(), "`slow` may still write the source alone");
    bench.admin.ack("slow", MarkChange::default()).await.unwrap();
    moving.await.unwrap().unwrap();
    assert!(sides.equal());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_waits_for_the_row_under_way_and_stops_the_backfill() {
    let (bench, migration) = application(Stage::DualWrite).await;
    let sides = Sides::filled(30);
    sides.close_at(20);
    let moving = tokio::spawn(run(&migration, &sides).backfill());
    sides.reached.notified().await;
    // Back to off: the target's claim ends, and with it the backfill.
    let if_revision = bench.admin.status().await.publication.revision;
    let back = RollbackRequest { if_revision, force: false, confirm: None };
    let _: StepAnswer = bench.admin.post("/v1/migrations/events/rollback", &back).await.unwrap();
    until(&bench, |status| status.step.as_ref().is_some_and(|step| !step.waiting_for.is_empty())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let step = bench.admin.status().await.step.unwrap();
    assert_eq!(step.waiting_for.len(), 2, "the application holds the row's plan, and the run works: {step:?}");
    sides.open.notify_one();
    let stopped = moving.await.unwrap();
    assert!(matches!(&stopped, Err(RunError::Stopped { why, .. }) if why.contains("dual-write")), "{stopped:?}");
    let status = until(&bench, |status| status.step.is_none()).await;
    assert_eq!((status.position.as_str(), status.instances), ("off", 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_a_backfill_can_live_with_is_acknowledged_by_it() {
    let (bench, migration) = application(Stage::DualWrite).await;
    let sides = Sides::filled(30);
    sides.close_at(20);
    let moving = tokio::spawn(run(&migration, &sides).backfill());
    sides.reached.notified().await;
    bench.admin.ramp(Stage::Shadow, "100").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(bench.admin.status().await.step.is_some(), "the row under way holds the plan under which it began");
    sides.open.notify_one();
    moving.await.unwrap().unwrap();
    let status = until(&bench, |status| status.step.is_none()).await;
    assert_eq!(status.position, "shadow");
    assert!(sides.equal() && matches!(status.evidence.backfill.state, BackfillState::Complete(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_authority_moves_while_a_repair_through_a_dao_runs() {
    let (bench, migration) = application(Stage::Shadow).await;
    let sides = Sides::filled(30);
    run(&migration, &sides).backfill().await.unwrap();
    run(&migration, &sides).verify().await.unwrap();
    sides.on(Side::Target).insert(20, "20:wrong".to_owned());
    sides.close_at(20);
    let repair = tokio::spawn(run(&migration, &sides).repair());
    sides.reached.notified().await;
    let shut = bench.admin.ramp(Stage::Live, "100").await.unwrap_err();
    assert!(shut.blockers.iter().any(|blocker| blocker.code == "repair-running"), "{shut:?}");
    sides.open.notify_one();
    assert_eq!(repair.await.unwrap().unwrap().copied, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_run_ends_as_interrupted_once_its_put_cannot_land() {
    let (bench, migration) = application(Stage::DualWrite).await;
    let sides = Sides::filled(30);
    sides.close_at(20);
    let moving = tokio::spawn(run(&migration, &sides).backfill());
    sides.reached.notified().await;
    moving.abort();
    let status = until(&bench, |status| status.instances == 1).await;
    assert_eq!(status.evidence.backfill.state, BackfillState::Unfinished);
    assert_eq!(status.evidence.suspects, Vec::<String>::new(), "it did not vanish");
    run(&migration, &sides).backfill().await.unwrap();
    assert!(matches!(bench.admin.status().await.evidence.backfill.state, BackfillState::Complete(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_left_in_the_target_alone_leave_the_backfill_unfinished() {
    let (bench, migration) = application(Stage::DualWrite).await;
    let sides = Sides::filled(3);
    sides.on(Side::Target).insert(9, "9:somebody's".to_owned());
    let refused = run(&migration, &sides).backfill().await;
    assert_eq!(refused, Err(RunError::Extra { side: Side::Target, rows: 1 }));
    assert_eq!(bench.admin.status().await.evidence.backfill.state, BackfillState::Unfinished);
    run(&migration, &sides).extra(Extra::Delete).backfill().await.unwrap();
    assert!(sides.equal());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_table_of_several_is_no_evidence_of_the_migration() {
    let (bench, migration) = application(Stage::DualWrite).await;
    let _tables = (migration.table("events"), migration.table("orders"));
    let sides = Sides::filled(3);
    assert_eq!(run(&migration, &sides).backfill().await.unwrap().left_out, ["orders"]);
    run(&migration, &sides).verify().await.unwrap();
    let evidence = bench.admin.status().await.evidence;
    assert_eq!((evidence.backfill.state, evidence.verification), (BackfillState::Unfinished, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_of_every_row_clears_the_marks_of_instances_that_are_gone() {
    let (bench, migration) = application(Stage::DualWrite).await;
    let sides = Sides::filled(10);
    run(&migration, &sides).backfill().await.unwrap();
    let mark = |row: &str| MarkDoc {
        table: "events".into(),
        row: row.into(),
        cohort: row.into(),
        reason: crossfade_core::MarkReason::SecondaryUnknown,
        generation: 3,
    };
    for (instance, row) in [("gone", "7"), ("alive", "8")] {
        bench.admin.join(instance, InstanceKind::Application).await;
        let marks = MarkChange { set: vec![mark(row)], ..MarkChange::default() };
        bench.admin.ack(instance, marks).await.unwrap();
    }
    let path = "/v1/migrations/events/instances/gone/goodbye";
    bench.admin.post::<()>(path, &Departure::default()).await.unwrap();
    sides.on(Side::Target).remove(&7);
    run(&migration, &sides).repair().await.unwrap();
    assert!(sides.equal());
    let left: MarksPage = bench.admin.get("/v1/migrations/events/marks").await.unwrap();
    let left: Vec<_> = left.marks.iter().map(|owned| (owned.instance.as_str(), owned.gone)).collect();
    assert_eq!(left, [("alive", false)], "only the instance knows whether a write of its row is under way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_the_plane_does_not_know_any_more_stops_and_counts_for_nothing() {
    let (bench, migration) = application(Stage::DualWrite).await;
    let sides = Sides::filled(30);
    sides.close_at(20);
    let moving = tokio::spawn(run(&migration, &sides).backfill());
    sides.reached.notified().await;
    let page: Instances = bench.admin.get("/v1/migrations/events/instances").await.unwrap();
    let id = &page.instances.iter().find(|known| known.kind == InstanceKind::Backfill).unwrap().instance;
    let path = format!("/v1/migrations/events/instances/{id}/goodbye");
    bench.admin.post::<()>(&path, &Departure::default()).await.unwrap();
    // Its next heartbeat tells it.
    tokio::time::sleep(Duration::from_millis(700)).await;
    sides.open.notify_one();
    let stopped = moving.await.unwrap();
    assert!(matches!(&stopped, Err(RunError::Stopped { why, .. }) if why.contains("does not know")), "{stopped:?}");
    assert_eq!(bench.admin.status().await.evidence.backfill.state, BackfillState::Unfinished);
}

#[tokio::test]
async fn a_name_that_is_taken_by_another_declaration_is_refused_where_a_new_one_is_asked_for() {
    let bench = bench().await;
    let plan = PlanSpec::at("events", Stage::Off);
    let request = CreateRequest { plan, bypassing_writers: vec!["cron".into()] };
    let path = "/v1/migrations?new=true";
    let _: Status = bench.admin.post(path, &request).await.unwrap();
    let _: Status = bench.admin.post(path, &request).await.unwrap();
    let other = CreateRequest { bypassing_writers: Vec::new(), ..request };
    let refused = bench.admin.post::<Status>(path, &other).await.unwrap_err();
    assert_eq!(refused.code, crossfade_api::problem::Code::Exists);
    assert_eq!(bench.admin.status().await.evidence.bypassing_writers, ["cron"], "nothing was declared anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_run_begins_after_goodbye() {
    let (bench, migration, membership) = member(Stage::DualWrite).await;
    let sides = Sides::filled(3);
    assert!(membership.leave(Duration::from_secs(60)).await);
    assert_eq!(run(&migration, &sides).backfill().await, Err(RunError::Left { run: "backfill" }));
    assert_eq!(run(&migration, &sides).verify().await.map(drop), Err(RunError::Left { run: "verification" }));
    assert_eq!(run(&migration, &sides).repair().await, Err(RunError::Left { run: "repair" }));
    assert_eq!(run(&migration, &sides).repair_rows([1u64]).await, Err(RunError::Left { run: "repair" }));
    assert!(sides.on(Side::Target).is_empty());
    assert_eq!(bench.admin.status().await.instances, 0, "none of them has registered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_under_way_at_goodbye_ends_with_its_row_and_stops() {
    let (bench, migration, membership) = member(Stage::DualWrite).await;
    let sides = Sides::filled(30);
    sides.close_at(20);
    let moving = tokio::spawn(run(&migration, &sides).backfill());
    sides.reached.notified().await;
    let leaving = tokio::spawn(async move { membership.leave(Duration::from_secs(60)).await });
    let closed = async {
        while migration.operation("get").begin_read("u1").is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), closed).await.is_ok(), "the goodbye has not begun");
    sides.open.notify_one();
    let stopped = moving.await.unwrap();
    assert!(matches!(&stopped, Err(RunError::Stopped { why, .. }) if why.contains("left")), "{stopped:?}");
    assert!(leaving.await.unwrap(), "the row under way has ended");
    until(&bench, |status| status.instances == 0).await;
}
