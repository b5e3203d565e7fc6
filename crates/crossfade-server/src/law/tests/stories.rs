//! Stories: what one operator and a few instances go through.

use super::super::evidence::Presence;
use super::super::*;
use super::world::{LATE, SOON, World, at_shadow, mark, table};
use crossfade_api::problem::Code;
use crossfade_api::wire::*;
use crossfade_core::{BackfillState, End, MarkReason, Phase, Pin, PlanSpec, Revision, Share, Side, Stage, Verdict};

#[test]
fn the_whole_story_from_off_to_retired() {
    let mut world = World::at(Stage::Off);
    world.join("a", InstanceKind::Application);
    world.join("b", InstanceKind::Application);
    world.ramp(Stage::DualWrite, "10").unwrap();
    world.finish();
    world.ramp(Stage::DualWrite, "100").unwrap();
    world.finish();
    world.ramp(Stage::Shadow, "100").unwrap();
    world.finish();
    assert_eq!(world.ramp(Stage::Live, "50"), Err(Code::Gate));
    world.converge();
    world.ramp(Stage::Live, "12.5").unwrap();
    world.finish();
    world.ramp(Stage::Live, "100").unwrap();
    world.finish();
    assert_eq!(world.here().plan.position().stage(), Stage::Live);
    world.ramp(Stage::RampDown, "100").unwrap();
    world.finish();
    world.converge();
    world.ramp(Stage::Complete, "100").unwrap();
    world.finish();
    assert_eq!(world.rollback(true), Err(Code::Unlawful), "no way back from complete, not even by force");
    let request = RetireRequest { if_revision: world.here().revision.into(), confirm: "events".into() };
    let decision = world.here().retire(&request, &world.presence);
    world.ask(decision).unwrap();
    assert_eq!(world.ramp(Stage::Complete, "100"), Err(Code::Retired));
    let replayed = world.log.iter().fold(State::default(), |state, entry| state.after(entry));
    assert_eq!(replayed, world.state, "recovery replays the log to the same state");
}

#[test]
fn the_next_revision_waits_for_every_acknowledgement() {
    let mut world = World::at(Stage::Off);
    world.join("a", InstanceKind::Application);
    world.join("b", InstanceKind::Application);
    world.ramp(Stage::DualWrite, "100").unwrap();
    world.ack("a");
    world.go_on(LATE);
    assert!(world.here().step.is_some(), "b has not acknowledged");
    assert_eq!(world.ramp(Stage::Shadow, "100"), Err(Code::StepUnderWay));
    assert_eq!(world.run(InstanceKind::Backfill, Outcome::Complete), Err(Code::StepUnderWay));
    world.ack("b");
    world.go_on(SOON);
    assert!(world.here().step.is_none());
    assert!(world.here().dual_write_since.is_some());
}

#[test]
fn two_operators_at_once_are_told_apart_by_the_revision() {
    let mut world = World::at(Stage::Off);
    let seen = world.here().revision;
    world.ramp(Stage::DualWrite, "100").unwrap();
    world.finish();
    let late =
        RampRequest { stage: Stage::Shadow, percent: Share::ALL, pins: None, if_revision: seen.into(), confirm: None };
    let decision = world.here().ramp(&world.state, &late, &world.presence);
    assert_eq!(world.ask(decision), Err(Code::RevisionChanged));
}

#[test]
fn a_skipped_edge_and_the_same_place_are_unlawful() {
    let mut world = World::at(Stage::Off);
    assert_eq!(world.ramp(Stage::Shadow, "10"), Err(Code::Unlawful));
    assert_eq!(world.ramp(Stage::Off, "100"), Err(Code::Unlawful));
    assert_eq!(world.rollback(false), Err(Code::Unlawful));
    world.ramp(Stage::DualWrite, "100").unwrap();
    world.finish();
    assert_eq!(world.ramp(Stage::DualWrite, "100"), Err(Code::Unlawful));
}

#[test]
fn a_hold_past_its_bound_is_abandoned_with_the_old_roles() {
    let mut world = at_shadow();
    world.ramp(Stage::Live, "100").unwrap();
    assert!(matches!(world.here().plan.phase(), Phase::Hold { .. }));
    world.go_on(LATE);
    assert!(!world.here().is_held(), "old roles while `a` has not acknowledged");
    assert_eq!(world.here().plan.position().stage(), Stage::Shadow);
    assert!(world.here().step.is_some(), "over when the abandoning revision is acknowledged");
    world.finish();
    assert!(world.here().last_step.as_ref().unwrap().abandoned.as_ref().unwrap().contains("no acknowledgement by a"));
    world.ramp(Stage::Live, "100").unwrap();
    world.finish();
    assert_eq!(world.here().plan.position().stage(), Stage::Live);
}

#[test]
fn a_move_past_its_bound_goes_back_to_the_old_roles() {
    let mut world = at_shadow();
    world.ramp(Stage::Live, "100").unwrap();
    world.ack("a");
    world.go_on(SOON);
    assert!(matches!(world.here().plan.phase(), Phase::Move { .. }));
    world.go_on(LATE);
    assert_eq!(world.here().plan.position().stage(), Stage::Shadow);
    assert!(world.here().is_held(), "whoever is still at move reads the new authority: writes wait on");
    world.go_on(LATE);
    assert!(world.here().is_held());
    assert_eq!(world.rollback(false), Err(Code::StepUnderWay));
    world.ack("a");
    world.go_on(LATE);
    assert!(!world.here().is_held());
    world.finish();
    assert!(world.here().last_step.as_ref().unwrap().abandoned.as_ref().unwrap().contains("held for 6000 ms"));
}

#[test]
fn marks_that_come_with_the_acknowledgement_of_hold_keep_authority_where_it_is() {
    let mut world = at_shadow();
    world.ramp(Stage::Live, "100").unwrap();
    world.ack_with("a", mark("1", "user-1"));
    let why = world.go_on(SOON);
    assert!(why[0].contains("marked"), "{why:?}");
    assert!(matches!(world.here().plan.phase(), Phase::Hold { .. }));
    let cleared = MarkRef { instance: None, table: "record".into(), row: "1".into(), generation: 1 };
    let cleared = MarkChange { cleared: vec![cleared], ..MarkChange::default() };
    let decision = world.here().report_marks("a", &cleared);
    world.ask(decision).unwrap();
    world.go_on(SOON);
    assert!(matches!(world.here().plan.phase(), Phase::Move { .. }), "repaired in time");
}

#[test]
fn a_hold_begins_over_marks_that_pass_in_it_and_authority_waits_for_the_last_of_them() {
    let mut world = at_shadow();
    let mut busy = mark("1", "user-1");
    busy.set[0].reason = MarkReason::Overlapped;
    let decision = world.here().report_marks("a", &busy);
    world.ask(decision).unwrap();
    world.ramp(Stage::Live, "100").unwrap();
    world.ack("a");
    assert!(world.go_on(SOON)[0].contains("marked"));
    assert!(matches!(world.here().plan.phase(), Phase::Hold { .. }), "not moved over a mark");
    let cleared = MarkRef { instance: None, table: "record".into(), row: "1".into(), generation: 1 };
    let decision = world.here().report_marks("a", &MarkChange { cleared: vec![cleared], ..MarkChange::default() });
    world.ask(decision).unwrap();
    world.go_on(SOON);
    assert!(matches!(world.here().plan.phase(), Phase::Move { .. }));
    world.finish();
    let decision = world.here().report_marks("a", &mark("2", "user-1"));
    world.ask(decision).unwrap();
    assert_eq!(world.rollback(false), Err(Code::Gate), "what may still land keeps writes from waiting for it");
}

#[test]
fn marks_of_keys_that_stay_do_not_block() {
    let mut world = at_shadow();
    let bucket = |n: u32| world.here().bucket_of(&format!("user-{n}")).unwrap().number();
    let high = (0..).find(|n| bucket(*n) > 90_000).unwrap();
    let low = (0..).find(|n| bucket(*n) < 10_000).unwrap();
    let decision = world.here().report_marks("a", &mark("1", &format!("user-{high}")));
    world.ask(decision).unwrap();
    world.ramp(Stage::Live, "10").unwrap();
    world.finish();
    assert!(world.here().last_step.as_ref().unwrap().abandoned.is_none());
    let decision = world.here().report_marks("a", &mark("2", &format!("user-{low}")));
    world.ask(decision).unwrap();
    assert_eq!(world.rollback(false), Err(Code::Gate), "a mark on a moving key blocks the way back");
}

#[test]
fn marks_that_could_not_be_named_block_until_a_verification_passes() {
    let mut world = at_shadow();
    let unlisted = MarkChange { unlisted: 3, ..MarkChange::default() };
    let decision = world.here().report_marks("a", &unlisted);
    world.ask(decision).unwrap();
    assert_eq!(world.ramp(Stage::Live, "1"), Err(Code::Gate));
    world.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified)).unwrap();
    assert!(world.here().doubts.is_empty());
    world.ramp(Stage::Live, "1").unwrap();
}

#[test]
fn an_old_generation_does_not_clear_a_newer_mark() {
    let mut world = at_shadow();
    let mut newer = mark("1", "u");
    newer.set[0].generation = 5;
    let decision = world.here().report_marks("a", &newer);
    world.ask(decision).unwrap();
    for (generation, left) in [(4, 1), (5, 0)] {
        let cleared = vec![MarkRef { instance: None, table: "record".into(), row: "1".into(), generation }];
        let decision = world.here().report_marks("a", &MarkChange { cleared, ..MarkChange::default() });
        world.ask(decision).unwrap();
        assert_eq!(world.here().marks.len(), left);
    }
}

#[test]
fn the_silent_block_until_they_are_stated_dead_and_then_the_migration_is_suspect() {
    let mut world = at_shadow();
    world.presence.silent.insert("a".into());
    assert_eq!(world.ramp(Stage::Live, "1"), Err(Code::Gate), "a silent instance is suspect");
    assert_eq!(world.rollback(false), Err(Code::Silent), "and blocks even a free step");
    let decision = world.here().evict(&["b".into()], &world.presence);
    assert_eq!(world.ask(decision), Err(Code::NotFound));
    let decision = world.here().evict(&["a".into(), "a".into()], &world.presence);
    world.ask(decision).unwrap();
    assert!(world.here().instances.is_empty() && world.here().suspects.contains_key("a"));
    assert_eq!(world.ramp(Stage::Live, "1"), Err(Code::Gate));
    world.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified)).unwrap();
    world.ramp(Stage::Live, "1").unwrap();
}

#[test]
fn who_was_heard_of_is_not_evicted() {
    let mut world = at_shadow();
    let decision = world.here().evict(&["a".into()], &world.presence);
    assert_eq!(world.ask(decision), Err(Code::NotReady));
}

#[test]
fn without_names_nobody_is_evicted_and_the_names_are_told() {
    let mut world = at_shadow();
    world.join("b", InstanceKind::Application);
    assert_eq!(world.here().evict(&[], &world.presence).unwrap_err().code, Code::NotFound);
    // The server has just begun: `b` was not heard of yet, and `a` is silent.
    world.presence.silent.insert("a".into());
    world.presence.unheard.insert("b".into());
    let refused = world.here().evict(&[], &world.presence).unwrap_err();
    assert_eq!((refused.code, refused.waiting_for.as_slice()), (Code::Silent, &["a".to_owned(), "b".to_owned()][..]));
    assert!(refused.detail.contains("`crossfade instances events evict a b --dead`"), "{}", refused.detail);
    assert!(refused.detail.contains("; b may be alive"), "{}", refused.detail);
    let request = RollbackRequest { if_revision: world.here().revision.into(), force: false, confirm: None };
    let step = world.here().rollback(&world.state, &request, &world.presence).unwrap_err();
    assert_eq!((step.code, step.detail), (Code::Silent, refused.detail), "a step says the same");
    let decision = world.here().evict(&["a".into()], &world.presence);
    world.ask(decision).unwrap();
    assert!(world.here().instances.contains_key("b"));
}

#[test]
fn a_writer_resumed_after_authority_moved_asks_for_the_name() {
    let mut world = at_shadow();
    let plan = PlanSpec { salt: Some("events".into()), ..PlanSpec::at("events", Stage::Off) };
    let request = CreateRequest { plan, bypassing_writers: vec!["cron".into()] };
    let declared = world.state.create(&request).unwrap();
    world.note(declared);
    let ask = |world: &mut World, paused, confirm: Option<&str>| {
        let request = WriterRequest { writer: "cron".into(), paused, confirm: confirm.map(Into::into) };
        let decision = world.here().pause_writer(&request);
        let detail = decision.as_ref().err().map(|problem| problem.detail.clone()).unwrap_or_default();
        world.ask(decision).map_err(|code| (code, detail))
    };
    ask(&mut world, true, None).unwrap();
    ask(&mut world, false, None).unwrap();
    ask(&mut world, true, None).unwrap();
    world.ramp(Stage::Live, "1").unwrap();
    assert!(world.here().is_held());
    assert_eq!(ask(&mut world, false, None).unwrap_err().0, Code::ConfirmationNeeded, "while authority moves");
    world.finish();
    let (code, detail) = ask(&mut world, false, Some("event")).unwrap_err();
    assert_eq!(code, Code::ConfirmationNeeded, "with one key of a hundred at live");
    assert!(detail.contains("the side that has lost authority") && detail.contains("`events`"), "{detail}");
    assert!(world.here().writers["cron"]);
    let (state, log) = (world.state.clone(), world.log.clone());
    let mut restored = World { state, log, presence: Presence::default() };
    restored.note(vec![Event::Started { restored: true }]);
    assert!(!restored.here().writers["cron"], "it may have been resumed since the backup");
    ask(&mut world, false, Some("events")).unwrap();
    assert!(!world.here().writers["cron"]);
    ask(&mut world, true, None).unwrap();
    world.rollback(false).unwrap();
    world.finish();
    ask(&mut world, false, None).unwrap();
}

#[test]
fn leaving_in_good_order_leaves_nobody_suspect_but_its_marks() {
    let mut world = at_shadow();
    let decision = world.here().leave("a", &Departure { marks: mark("1", "u"), ..Departure::default() });
    world.ask(decision).unwrap();
    assert!(world.here().suspects.is_empty());
    assert_eq!(world.here().marks.len(), 1);
}

#[test]
fn no_authority_moves_while_a_repair_runs() {
    let mut world = at_shadow();
    world.join("r", InstanceKind::Repair);
    let (events, verdict) = world.here().begin_run(&world.state, "r", &world.presence);
    world.note(events);
    verdict.unwrap();
    assert_eq!(world.ramp(Stage::Live, "1"), Err(Code::Gate));
    let end = RunEnd { outcome: Outcome::Complete, marks: MarkChange::default(), progress: None };
    let decision = world.here().end_run_with("r", &end);
    world.ask(decision).unwrap();
    assert_eq!(world.ramp(Stage::Live, "1"), Err(Code::Gate), "a verification has to follow the repair");
    world.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified)).unwrap();
    world.ramp(Stage::Live, "1").unwrap();
}

#[test]
fn a_verification_turns_full_checks_on_and_waits_for_them() {
    let mut world = World::at(Stage::Off);
    world.join("a", InstanceKind::Application);
    world.ramp(Stage::DualWrite, "100").unwrap();
    world.finish();
    world.join("v", InstanceKind::Verify);
    let (events, verdict) = world.here().begin_run(&world.state, "v", &world.presence);
    assert_eq!(verdict.unwrap_err().code, Code::NotReady);
    world.note(events);
    assert_eq!(
        world.here().unacknowledged.iter().collect::<Vec<_>>(),
        ["a"],
        "a run without work acknowledges by itself"
    );
    let (_, verdict) = world.here().begin_run(&world.state, "v", &world.presence);
    assert_eq!(verdict.unwrap_err().code, Code::StepUnderWay);
    world.finish();
    let (events, verdict) = world.here().begin_run(&world.state, "v", &world.presence);
    verdict.unwrap();
    world.note(events);
    let began = world.here().instances["v"].run.unwrap().began;
    assert!(world.here().full_checks_since.unwrap() < began);
}

#[test]
fn a_backfill_waits_for_dual_write_of_every_key() {
    let mut world = World::at(Stage::Off);
    assert_eq!(world.run(InstanceKind::Backfill, Outcome::Complete), Err(Code::NotReady));
    world.ramp(Stage::DualWrite, "50").unwrap();
    world.finish();
    assert_eq!(world.run(InstanceKind::Backfill, Outcome::Complete), Err(Code::NotReady));
    world.ramp(Stage::DualWrite, "100").unwrap();
    world.finish();
    world.run(InstanceKind::Backfill, Outcome::Complete).unwrap();
}

#[test]
fn leaving_dual_write_backwards_begins_a_new_generation() {
    let mut world = World::at(Stage::Off);
    world.ramp(Stage::DualWrite, "100").unwrap();
    world.finish();
    world.join("old", InstanceKind::Backfill);
    let (events, _) = world.here().begin_run(&world.state, "old", &world.presence);
    world.note(events);
    world.rollback(false).unwrap();
    for id in world.here().unacknowledged.clone() {
        world.ack(&id);
    }
    world.finish();
    assert_eq!(world.here().generation, 2);
    let end = RunEnd { outcome: Outcome::Complete, marks: MarkChange::default(), progress: None };
    let decision = world.here().end_run_with("old", &end);
    world.ask(decision).unwrap();
    assert_eq!(world.here().backfill, BackfillState::NotStarted, "work of another generation");
}

#[test]
fn a_key_that_its_pin_alone_takes_back_to_off_begins_a_new_generation_too() {
    let mut world = World::at(Stage::Off);
    let mut ramp = |percent, end| {
        world.ramp_with(Stage::DualWrite, percent, Some(vec![Pin { key: "us".into(), end }])).unwrap();
        world.finish();
        (world.here().generation, world.here().dual_write_since)
    };
    let (first, entered) = ramp("50", End::Later);
    let (raised, later) = ramp("60", End::Later);
    assert_eq!(raised, first, "nobody went back");
    assert!(later > entered);
    // Raised, and yet one key is written to the source alone from here on.
    let (second, again) = ramp("70", End::Earlier);
    assert_eq!(second, first + 1);
    assert!(again > later, "others came in");
}

#[test]
fn a_forced_rollback_asks_for_the_name_and_says_what_it_waives() {
    let mut world = at_shadow();
    world.ramp(Stage::Live, "100").unwrap();
    world.finish();
    let decision = world.here().report_marks("a", &mark("1", "u"));
    world.ask(decision).unwrap();
    assert_eq!(world.rollback(false), Err(Code::Gate));
    let request =
        RollbackRequest { if_revision: world.here().revision.into(), force: true, confirm: Some("event".into()) };
    let decision = world.here().rollback(&world.state, &request, &world.presence);
    assert_eq!(world.ask(decision), Err(Code::ConfirmationNeeded));
    world.rollback(true).unwrap();
    world.finish();
    assert_eq!(world.here().plan.position().stage().authority(), Side::Source);
    assert!(world.here().waived_since.is_some());
    let seen_by_the_gate =
        |world: &World| world.here().evidence(&crossfade_core::Position::at(Stage::Live), &world.presence).verification;
    assert_eq!(seen_by_the_gate(&world), None, "the verification before it is of no use any more");
    world.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified)).unwrap();
    assert_eq!(world.here().waived_since, None);
    assert!(seen_by_the_gate(&world).is_some());
}

#[test]
fn a_rollback_during_a_hold_gives_it_up() {
    let mut world = at_shadow();
    world.ramp(Stage::Live, "100").unwrap();
    world.rollback(false).unwrap();
    assert!(!world.here().is_held());
}

#[test]
fn an_instance_that_has_seen_more_teaches_a_restored_plane() {
    let mut ahead = at_shadow();
    ahead.ramp(Stage::Live, "100").unwrap();
    ahead.finish();
    let holding = Publication { revision: ahead.here().revision.into(), plan: ahead.here().plan.spec() };
    let mut world = at_shadow();
    world.note(vec![Event::Started { restored: true }]);
    assert!(world.here().suspects.len() == 1);
    assert_eq!(world.here().known("a", Some(holding.revision)).unwrap_err().code, Code::UnknownInstance);
    world.presence.unheard.insert("a".into());
    assert_eq!(world.rollback(false), Err(Code::Silent), "publishes nothing until the known have reported");
    let registration = Registration {
        instance: "a".into(),
        kind: InstanceKind::Application,
        host: String::new(),
        version: String::new(),
        holding: Some(holding.clone()),
        seen: None,
        tables: None,
        sides: Vec::new(),
    };
    let decision = world.here().register(&world.state, &registration);
    world.ask(decision).unwrap();
    world.presence.unheard.clear();
    assert_eq!(world.here().plan.position().stage(), Stage::Live, "the higher revision wins");
    assert!(world.here().revision > holding.revision.0);
    assert!(world.here().unacknowledged.contains("a"));
    world.finish();
    assert_eq!(world.rollback(false), Err(Code::Gate), "suspect until verified");
}

/// The backup, of which the caller makes what it wants, is restored beside an instance that holds the plan of `ahead`.
fn restored(mut world: World, ahead: &World) -> World {
    let holding = Publication { revision: ahead.here().revision.into(), plan: ahead.here().plan.spec() };
    world.note(vec![Event::Started { restored: true }]);
    let registration = Registration {
        instance: "a".into(),
        kind: InstanceKind::Application,
        host: String::new(),
        version: String::new(),
        holding: Some(holding),
        seen: None,
        tables: Some(vec![table("record", true, "")]),
        sides: Vec::new(),
    };
    let decision = world.here().register(&world.state, &registration);
    world.ask(decision).unwrap();
    world.finish();
    world
}

/// A backup from before the end of the backfill: without this, no way leads from live, since a backfill cannot run there.
#[test]
fn a_restored_plane_knows_by_the_stage_that_history_was_moved() {
    let mut ahead = at_shadow();
    ahead.ramp(Stage::Live, "100").unwrap();
    ahead.finish();
    let mut backup = World::at(Stage::Off);
    backup.join("a", InstanceKind::Application);
    let mut world = restored(backup, &ahead);
    assert!(matches!(world.here().backfill, BackfillState::Complete(_)));
    assert!(world.here().dual_write_since.is_some());
    assert_eq!(world.rollback(false), Err(Code::Gate), "suspect until verified");
    world.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified)).unwrap();
    world.rollback(false).unwrap();
}

/// Below live the claim of the backup may have ended, and authority may have come back by force.
#[test]
fn a_restored_plane_believes_no_earlier_backfill_below_live() {
    let mut ahead = at_shadow();
    ahead.ramp(Stage::Shadow, "10").unwrap();
    ahead.finish();
    let backup = at_shadow();
    let before = backup.here().generation;
    let mut world = restored(backup, &ahead);
    let here = world.here();
    assert_eq!(here.backfill, BackfillState::Unfinished);
    assert!(here.generation > before + 100_000, "no checkpoint is of this claim");
    assert!(here.waived_since.is_some());
    world.run(InstanceKind::Backfill, Outcome::Complete).unwrap();
    world.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified)).unwrap();
    world.ramp(Stage::Shadow, "100").unwrap();
    world.finish();
    world.ramp(Stage::Live, "100").unwrap();
}

#[test]
fn a_plane_that_forgot_what_a_disk_remembers_hands_nothing_out_and_learns_nothing_from_it() {
    let mut ahead = at_shadow();
    ahead.ramp(Stage::Live, "100").unwrap();
    ahead.finish();
    let seen = ahead.here().revision;
    let mut world = at_shadow();
    world.note(vec![Event::Started { restored: true }]);
    let with = |seen: Option<Revision>, holding: Option<Publication>| Registration {
        instance: "b".into(),
        kind: InstanceKind::Application,
        host: String::new(),
        version: String::new(),
        holding,
        seen: seen.map(Into::into),
        tables: None,
        sides: Vec::new(),
    };
    let before = world.state.clone();
    let decision = world.here().register(&world.state, &with(Some(seen), None));
    assert_eq!(world.ask(decision), Err(Code::Behind));
    assert_eq!(world.state, before, "a memory of any age teaches nothing");
    // What is as old as the plane, or older, is no news; nor is anything when an instance has taught it.
    let now = world.here().revision;
    for old in [now, Revision { number: 1, ..now }] {
        assert!(world.here().register(&world.state, &with(Some(old), None)).is_ok());
    }
    let alike = Revision { hash: !now.hash, ..now };
    assert!(world.here().register(&world.state, &with(Some(alike), None)).is_err(), "another life numbered alike");
    let holding = Publication { revision: seen.into(), plan: ahead.here().plan.spec() };
    let decision = world.here().register(&world.state, &with(None, Some(holding)));
    world.ask(decision).unwrap();
    let decision = world.here().register(&world.state, &with(Some(seen), None));
    world.ask(decision).unwrap();
    assert_eq!(world.here().plan.position().stage(), Stage::Live);
}

#[test]
fn a_plane_restored_into_a_hold_takes_the_old_roles() {
    let mut ahead = at_shadow();
    ahead.ramp(Stage::Live, "100").unwrap();
    let holding = Publication { revision: ahead.here().revision.into(), plan: ahead.here().plan.spec() };
    let mut world = at_shadow();
    world.note(vec![Event::Started { restored: true }]);
    let registration = Registration {
        instance: "a".into(),
        kind: InstanceKind::Application,
        host: String::new(),
        version: String::new(),
        holding: Some(holding),
        seen: None,
        tables: None,
        sides: Vec::new(),
    };
    let decision = world.here().register(&world.state, &registration);
    world.ask(decision).unwrap();
    assert!(world.here().is_held());
    world.ack("a");
    world.finish();
    assert_eq!(world.here().plan.position().stage(), Stage::Shadow);
    assert!(!world.here().is_held());
}

#[test]
fn paused_means_no_steps() {
    let mut world = at_shadow();
    let decision = world.here().pause(true);
    world.ask(decision).unwrap();
    assert_eq!(world.rollback(false), Err(Code::Paused));
    let decision = world.here().pause(false);
    world.ask(decision).unwrap();
    world.rollback(false).unwrap();
}
