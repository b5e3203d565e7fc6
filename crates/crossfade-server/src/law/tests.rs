//! The law of the plane, by stories and by random walks.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::advance::{Elapsed, Next};
use super::decide::Decision;
use super::evidence::Presence;
use super::*;
use crossfade_api::problem::Code;
use crossfade_api::wire::*;
use crossfade_core::{End, MarkReason, Phase, Pin, PlanSpec, Revision, Share, Side, Stage, Verdict};
use proptest::prelude::*;
use std::time::Duration;

const SOON: Elapsed = Elapsed { published: Duration::from_secs(1), held: Some(Duration::from_millis(10)) };
const LATE: Elapsed = Elapsed { published: Duration::from_secs(9), held: Some(Duration::from_secs(9)) };

struct World {
    state: State,
    log: Vec<Entry>,
    presence: Presence,
}

impl World {
    fn at(stage: Stage) -> World {
        let mut world = World { state: State::default(), log: Vec::new(), presence: Presence::default() };
        world.note(vec![Event::Started { restored: false }]);
        let request = CreateRequest { plan: PlanSpec::at("events", stage), bypassing_writers: Vec::new() };
        let made = world.state.create(&request).unwrap();
        world.note(made);
        world
    }

    fn note(&mut self, events: Vec<Event>) {
        for event in events {
            let before = self.state.clone();
            let entry = Entry { tick: Tick(self.state.tick.0 + 1), at_ms: 0, by: "test".into(), event };
            self.state.apply(&entry);
            self.lawful(&before, &entry.event);
            self.log.push(entry);
        }
    }

    /// What every entry has to keep.
    fn lawful(&self, before: &State, event: &Event) {
        let (Some(old), Some(new)) = (before.migrations.get("events"), self.state.migrations.get("events")) else {
            return;
        };
        if old.revision == new.revision {
            assert_eq!(old.plan, new.plan, "a plan changed without a revision");
            return;
        }
        assert!(new.revision > old.revision, "revisions rise");
        match event {
            Event::To { what: Happening::Published { .. }, .. } => {
                assert!(old.unacknowledged.is_empty(), "published before everybody acknowledged (R3)");
                let step = old.plan.admit(&new.plan).unwrap();
                let forced = old.step.as_ref().is_some_and(|step| step.forced);
                if let (crossfade_core::Step::Move { .. }, false) = (step, forced) {
                    assert_eq!(old.marks_moving_to(new.plan.position()), 0, "moved over a mark (R4)");
                }
            }
            Event::To { what: Happening::Abandoned { publication: Some(_), .. }, .. } => {
                assert_eq!(old.plan.admit(&new.plan), Ok(crossfade_core::Step::Abandon));
            }
            Event::To { what: Happening::Restored { .. }, .. } => {
                assert!(new.revision.incarnation > old.revision.incarnation);
            }
            other => panic!("{other:?} published a revision"),
        }
    }

    fn here(&self) -> &Migration {
        &self.state.migrations["events"]
    }

    fn ask(&mut self, decision: Decision) -> Result<(), Code> {
        match decision {
            Ok(events) => {
                self.note(events);
                Ok(())
            }
            Err(problem) => Err(problem.code),
        }
    }

    fn join(&mut self, instance: &str, kind: InstanceKind) {
        let registration = Registration {
            instance: instance.into(),
            kind,
            host: String::new(),
            version: String::new(),
            holding: None,
            seen: None,
        };
        let decision = self.here().register(&self.state, &registration);
        self.ask(decision).unwrap();
    }

    fn ack(&mut self, instance: &str) {
        self.ack_with(instance, MarkChange::default());
    }

    fn ack_with(&mut self, instance: &str, marks: MarkChange) {
        let ack = Acknowledgement { revision: self.here().revision.into(), marks };
        let decision = self.here().acknowledge(instance, &ack);
        self.ask(decision).unwrap();
    }

    fn ramp(&mut self, stage: Stage, percent: &str) -> Result<(), Code> {
        self.ramp_with(stage, percent, None)
    }

    fn ramp_with(&mut self, stage: Stage, percent: &str, pins: Option<Vec<Pin>>) -> Result<(), Code> {
        let request = RampRequest {
            stage,
            percent: percent.parse().unwrap(),
            pins,
            if_revision: self.here().revision.into(),
            confirm: Some("events".into()),
        };
        let decision = self.here().ramp(&self.state, &request, &self.presence);
        self.ask(decision)
    }

    fn rollback(&mut self, force: bool) -> Result<(), Code> {
        let if_revision = self.here().revision.into();
        let request = RollbackRequest { if_revision, force, confirm: Some("events".into()) };
        let decision = self.here().rollback(&self.state, &request, &self.presence);
        self.ask(decision)
    }

    /// Goes on until it waits.
    fn go_on(&mut self, elapsed: Elapsed) -> Vec<String> {
        for _ in 0..10 {
            match self.here().advance(&self.state, &self.presence, elapsed) {
                Next::Append(events) => self.note(events),
                Next::Wait { why, .. } => return why,
            }
        }
        panic!("it never waits");
    }

    /// Everybody acknowledges until the step is over.
    fn finish(&mut self) {
        for _ in 0..10 {
            self.go_on(SOON);
            if self.here().step.is_none() {
                return;
            }
            for id in self.here().unacknowledged.clone() {
                self.ack(&id);
            }
        }
        panic!("the step never ends: {:?}", self.here().step);
    }

    fn run(&mut self, kind: InstanceKind, outcome: Outcome) -> Result<(), Code> {
        let id = format!("{}-{}", kind.name(), self.log.len());
        self.join(&id, kind);
        loop {
            let (events, verdict) = self.here().begin_run(&self.state, &id, &self.presence);
            let waits = !events.is_empty() && verdict.is_err();
            self.note(events);
            match verdict {
                Ok(()) => break,
                Err(_) if waits => self.finish(),
                Err(problem) => return Err(problem.code),
            }
        }
        let end = RunEnd { outcome, marks: MarkChange::default(), progress: None };
        let decision = self.here().end_run_with(&id, &end);
        self.ask(decision)?;
        let decision = self.here().leave(&id, &Departure::default());
        self.ask(decision)
    }

    fn converge(&mut self) {
        if self.here().plan.position().stage() < Stage::Live {
            self.run(InstanceKind::Backfill, Outcome::Complete).unwrap();
        }
        self.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified)).unwrap();
    }
}

fn mark(row: &str, cohort: &str) -> MarkChange {
    let set = vec![MarkDoc {
        table: "record".into(),
        row: row.into(),
        cohort: cohort.into(),
        reason: MarkReason::SecondaryUnknown,
        generation: 1,
    }];
    MarkChange { set, ..MarkChange::default() }
}

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

fn at_shadow() -> World {
    let mut world = World::at(Stage::Off);
    world.join("a", InstanceKind::Application);
    for stage in [Stage::DualWrite, Stage::Shadow] {
        world.ramp(stage, "100").unwrap();
        world.finish();
    }
    world.converge();
    world
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
    assert!(world.here().last_step.as_ref().unwrap().abandoned.as_ref().unwrap().contains("held for 2000 ms"));
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
    assert_eq!(world.here().unlisted, 0);
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
    let decision = world.here().evict(&[], &world.presence);
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
    assert_eq!(world.here().backfill, crossfade_core::BackfillState::NotStarted, "work of another generation");
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

#[derive(Debug, Clone)]
enum Act {
    Join(u8, InstanceKind),
    Ack(u8, Option<u8>),
    Leave(u8),
    Silent(u8),
    Evict,
    Ramp(usize, u32),
    Rollback(bool),
    Begin(u8),
    End(u8, Outcome),
    Clear(u8),
    Time(bool),
    Restart(bool),
}

fn acts() -> impl Strategy<Value = Act> {
    let kind = prop_oneof![
        4 => Just(InstanceKind::Application),
        1 => Just(InstanceKind::Backfill),
        1 => Just(InstanceKind::Verify),
        1 => Just(InstanceKind::Repair)
    ];
    let outcome = prop_oneof![
        2 => Just(Outcome::Complete),
        1 => Just(Outcome::Interrupted),
        3 => Just(Outcome::Verdict(Verdict::Verified)),
        1 => Just(Outcome::Verdict(Verdict::Diverged(1)))
    ];
    prop_oneof![
        2 => (0u8..4, kind).prop_map(|(who, kind)| Act::Join(who, kind)),
        8 => (0u8..4, prop::option::weighted(0.2, 0u8..3)).prop_map(|(who, row)| Act::Ack(who, row)),
        1 => (0u8..4).prop_map(Act::Leave),
        1 => (0u8..4).prop_map(Act::Silent),
        1 => Just(Act::Evict),
        6 => (1usize..6, prop_oneof![Just(100_000u32), 0u32..=100_000]).prop_map(|(stage, share)| Act::Ramp(stage, share)),
        2 => any::<bool>().prop_map(Act::Rollback),
        3 => (0u8..4).prop_map(Act::Begin),
        3 => (0u8..4, outcome).prop_map(|(who, outcome)| Act::End(who, outcome)),
        2 => (0u8..4).prop_map(Act::Clear),
        8 => prop::bool::weighted(0.2).prop_map(Act::Time),
        1 => prop::bool::weighted(0.2).prop_map(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_walk_breaks_a_rule_and_every_log_replays(acts in prop::collection::vec(acts(), 1..120)) {
        let mut world = World::at(Stage::Off);
        for act in acts {
            let name = |who: u8| format!("i{who}");
            match act {
                Act::Join(who, kind) => {
                    if !world.here().instances.contains_key(&name(who)) {
                        world.join(&name(who), kind);
                    }
                }
                Act::Ack(who, row) => {
                    let marks = row.map(|row| mark(&row.to_string(), &format!("user-{row}"))).unwrap_or_default();
                    let ack = Acknowledgement { revision: world.here().revision.into(), marks };
                    let decision = world.here().acknowledge(&name(who), &ack);
                    let _ = world.ask(decision);
                }
                Act::Leave(who) => {
                    let decision = world.here().leave(&name(who), &Departure::default());
                    let _ = world.ask(decision);
                }
                Act::Silent(who) => {
                    if !world.presence.silent.remove(&name(who)) {
                        world.presence.silent.insert(name(who));
                    }
                }
                Act::Evict => {
                    let decision = world.here().evict(&[], &world.presence);
                    let _ = world.ask(decision);
                }
                Act::Ramp(stage, share) => {
                    let percent = Share::from_buckets(share).unwrap().percent().to_string();
                    let _ = world.ramp(Stage::ALL[stage], &percent);
                }
                Act::Rollback(force) => {
                    let _ = world.rollback(force);
                }
                Act::Begin(who) => {
                    let (events, _) = world.here().begin_run(&world.state, &name(who), &world.presence);
                    world.note(events);
                }
                Act::End(who, outcome) => {
                    let end = RunEnd { outcome, marks: MarkChange::default(), progress: None };
                    let decision = world.here().end_run_with(&name(who), &end);
                    let _ = world.ask(decision);
                }
                Act::Clear(who) => {
                    let cleared = world.here().marks.keys().filter(|key| key.instance == name(who)).map(|key| MarkRef {
                        instance: None, table: key.table.clone(), row: key.row.clone(), generation: 9,
                    }).collect();
                    let decision = world.here().report_marks(&name(who), &MarkChange { cleared, ..MarkChange::default() });
                    let _ = world.ask(decision);
                }
                Act::Time(late) => drop(world.go_on(if late { LATE } else { SOON })),
                Act::Restart(restored) => world.note(vec![Event::Started { restored }]),
            }
            let here = world.here();
            prop_assert!(here.unacknowledged.iter().all(|id| here.instances.contains_key(id)));
            prop_assert!(here.step.is_some() || !here.is_held(), "held without a step that ends it");
        }
        let replayed = world.log.iter().fold(State::default(), |state, entry| {
            // As it comes back from the file.
            let json = serde_json::to_string(&entry).unwrap();
            state.after(&serde_json::from_str(&json).unwrap())
        });
        prop_assert_eq!(replayed, world.state);
    }
}
