//! A plane without a server: what is decided is noted at once, and replayed by rule.

use super::super::advance::{Elapsed, Next};
use super::super::decide::Decision;
use super::super::evidence::Presence;
use super::super::*;
use crossfade_api::problem::Code;
use crossfade_api::wire::*;
use crossfade_core::{MarkReason, Pin, PlanSpec, Position, Stage, Verdict};
use std::time::Duration;

pub(super) const SOON: Elapsed = Elapsed { published: Duration::from_secs(1), held: Some(Duration::from_millis(10)) };
pub(super) const LATE: Elapsed = Elapsed { published: Duration::from_secs(9), held: Some(Duration::from_secs(9)) };

pub(super) struct World {
    pub(super) state: State,
    pub(super) log: Vec<Entry>,
    pub(super) presence: Presence,
}

impl World {
    pub(super) fn at(stage: Stage) -> World {
        let mut world = World { state: State::default(), log: Vec::new(), presence: Presence::default() };
        world.note(vec![Event::Started { restored: false }]);
        let request = CreateRequest { plan: PlanSpec::at("events", stage), bypassing_writers: Vec::new() };
        let made = world.state.create(&request).unwrap();
        world.note(made);
        world
    }

    pub(super) fn note(&mut self, events: Vec<Event>) {
        for event in events {
            let before = self.state.clone();
            let entry = Entry { tick: Tick(self.state.tick.0 + 1), at_ms: 0, by: "test".into(), event };
            self.state.apply(&entry);
            self.lawful(&before, &entry.event);
            self.log.push(entry);
        }
    }

    /// What every entry has to keep.
    pub(super) fn lawful(&self, before: &State, event: &Event) {
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
                let step = old.plan.admit(&new.plan).unwrap();
                let forced = old.step.as_ref().is_some_and(|step| step.forced);
                // The first plan of a forced rollback waits for nothing; its move and its release wait for its hold (R20).
                let at_live = new.plan.position() == &Position::at(Stage::Live);
                let at_once = forced && !old.plan.forced() && (new.plan.forced() || at_live);
                assert!(at_once || old.unacknowledged.is_empty(), "published before everybody acknowledged (R3)");
                assert!(forced || !new.plan.forced(), "a forced plan without a forced step");
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

    pub(super) fn here(&self) -> &Migration {
        &self.state.migrations["events"]
    }

    pub(super) fn ask(&mut self, decision: Decision) -> Result<(), Code> {
        match decision {
            Ok(events) => {
                self.note(events);
                Ok(())
            }
            Err(problem) => Err(problem.code),
        }
    }

    pub(super) fn join(&mut self, instance: &str, kind: InstanceKind) {
        self.join_with(instance, kind, Some(vec![table("record", true, "")]));
    }

    pub(super) fn join_with(&mut self, instance: &str, kind: InstanceKind, tables: Option<Vec<TableDoc>>) {
        let registration = Registration {
            instance: instance.into(),
            kind,
            host: String::new(),
            version: String::new(),
            holding: None,
            seen: None,
            tables,
            sides: Vec::new(),
        };
        let decision = self.here().register(&self.state, &registration);
        self.ask(decision).unwrap();
    }

    pub(super) fn ack(&mut self, instance: &str) {
        self.ack_with(instance, MarkChange::default());
    }

    pub(super) fn ack_with(&mut self, instance: &str, marks: MarkChange) {
        let ack = Acknowledgement { revision: self.here().revision.into(), marks, tables: None };
        let decision = self.here().acknowledge(instance, &ack);
        self.ask(decision).unwrap();
    }

    pub(super) fn ramp(&mut self, stage: Stage, percent: &str) -> Result<(), Code> {
        self.ramp_with(stage, percent, None)
    }

    pub(super) fn ramp_with(&mut self, stage: Stage, percent: &str, pins: Option<Vec<Pin>>) -> Result<(), Code> {
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

    pub(super) fn rollback(&mut self, force: bool) -> Result<(), Code> {
        let if_revision = self.here().revision.into();
        let request = RollbackRequest { if_revision, force, confirm: Some("events".into()) };
        let decision = self.here().rollback(&self.state, &request, &self.presence);
        self.ask(decision)
    }

    pub(super) fn tell(&mut self, instance: &str, marks: MarkChange) {
        let decision = self.here().report_marks(instance, &marks);
        self.ask(decision).unwrap();
    }

    pub(super) fn tell_tables(&mut self, instance: &str, tables: &[TableDoc]) {
        let decision = self.here().heartbeat(instance, &MarkChange::default(), Some(tables));
        self.ask(decision).unwrap();
    }

    /// The codes and details of what the gate before the cut-over of all keys says.
    pub(super) fn blockers(&self) -> Vec<(String, String)> {
        let goal = Position::at(Stage::Live);
        let gate = self.here().gate(crossfade_core::Step::Hold { forward: true }, &goal, &self.presence);
        gate.blockers.into_iter().map(|blocker| (blocker.code, blocker.detail)).collect()
    }

    /// Goes on until it waits.
    pub(super) fn go_on(&mut self, elapsed: Elapsed) -> Vec<String> {
        for _ in 0..10 {
            match self.here().advance(&self.state, &self.presence, elapsed) {
                Next::Append(events) => self.note(events),
                Next::Wait { why, .. } => return why,
            }
        }
        panic!("it never waits");
    }

    /// Everybody acknowledges until the step is over.
    pub(super) fn finish(&mut self) {
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

    pub(super) fn run(&mut self, kind: InstanceKind, outcome: Outcome) -> Result<(), Code> {
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

    pub(super) fn converge(&mut self) {
        if self.here().plan.position().stage() < Stage::Live {
            self.run(InstanceKind::Backfill, Outcome::Complete).unwrap();
        }
        self.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified)).unwrap();
    }
}

pub(super) fn table(name: &str, can_check: bool, operations: &str) -> TableDoc {
    TableDoc { table: name.into(), can_check, operations: operations.into() }
}

pub(super) fn mark(row: &str, cohort: &str) -> MarkChange {
    let set = vec![MarkDoc {
        table: "record".into(),
        row: row.into(),
        cohort: cohort.into(),
        reason: MarkReason::SecondaryUnknown,
        generation: 1,
    }];
    MarkChange { set, ..MarkChange::default() }
}

pub(super) fn at_shadow() -> World {
    let mut world = World::at(Stage::Off);
    world.join("a", InstanceKind::Application);
    for stage in [Stage::DualWrite, Stage::Shadow] {
        world.ramp(stage, "100").unwrap();
        world.finish();
    }
    world.converge();
    world
}
