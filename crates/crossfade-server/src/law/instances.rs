//! What may be appended when an instance speaks, or somebody speaks of it: it joins, acknowledges, marks, leaves, is evicted, begins and ends
//! a run. Pure, as [`super::decide`].

use super::decide::{Decision, MARKS_AT_ONCE, plain, to};
use super::event::{Event, Happening};
use super::evidence::Presence;
use super::{Migration, State};
use crossfade_api::problem::{Code, Problem};
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::{Acknowledgement, Departure, InstanceKind, MarkChange, Registration, RunEnd};
use crossfade_core::{Checks, Options, Plan, Revision, Stage};

/// Beyond what any plane reaches, and far from where counting on ends: whoever claims more would end the numbering.
const LAST_INCARNATION: u32 = 1 << 30;
const LAST_NUMBER: u64 = 1 << 60;

fn within_bounds(marks: &MarkChange) -> Result<(), Problem> {
    let too_long = |text: &String| text.len() > 1_024;
    let set = marks.set.iter().any(|mark| too_long(&mark.row) || too_long(&mark.cohort) || too_long(&mark.table));
    let cleared = marks.cleared.iter().any(|mark| too_long(&mark.row) || too_long(&mark.table));
    if marks.set.len() + marks.cleared.len() > MARKS_AT_ONCE || set || cleared {
        let detail = format!(
            "a message carries at most {MARKS_AT_ONCE} marks, keys of at most 1024 bytes: send the others in the next, or count them as unlisted"
        );
        return Err(Problem::new(Code::Invalid, detail));
    }
    Ok(())
}

impl Migration {
    /// An instance joins, or joins again.
    ///
    /// # Errors
    /// When its name cannot be used, or the plan it says it holds is no plan of this migration.
    pub fn register(&self, state: &State, registration: &Registration) -> Decision {
        plain("an instance", &registration.instance)?;
        if registration.host.len() > 256 || registration.version.len() > 64 {
            return Err(Problem::new(Code::Invalid, "host has at most 256 bytes, version at most 64"));
        }
        if self.retired {
            return Err(Problem::new(Code::Retired, "it was retired: take the library out of the application"));
        }
        let mut events = Vec::new();
        let mut holding = false;
        if let Some(held) = &registration.holding {
            let unfit = |why: String| Problem::new(Code::Invalid, format!("the plan it holds is unfit: {why}"));
            let plan = Plan::new(held.plan.clone()).map_err(|error| unfit(error.to_string()))?;
            if plan.migration() != self.plan.migration() || plan.salt() != self.plan.salt() {
                return Err(unfit("it is of another migration or has another salt".to_owned()));
            }
            if held.revision.0.incarnation > LAST_INCARNATION || held.revision.0.number > LAST_NUMBER {
                return Err(unfit("no plane has published so many revisions".to_owned()));
            }
            holding = true;
            if outranks(held.revision.0, self.revision) {
                let incarnation = state.incarnation.max(held.revision.0.incarnation) + 1;
                let number = held.revision.0.number.max(self.revision.number).saturating_add(1);
                let revision = Revision { incarnation, number, hash: plan.fingerprint() }.into();
                events.push(to(self, Happening::Restored { seen: held.clone(), revision }));
            }
        }
        // A memory on disk may be of any age: it must not teach, as a running instance does whom the barrier keeps within
        // one revision of all others. It only keeps this plane from handing out what the fleet has left.
        if let Some(seen) = registration.seen
            && !holding
            && outranks(seen.0, self.revision)
        {
            let now = RevisionText(self.revision);
            let detail = format!(
                "revision {seen} was seen where this instance runs, and this plane is at {now}: it was restored from a backup. An instance that still runs teaches it; if none does, see the runbook"
            );
            return Err(Problem::new(Code::Behind, detail));
        }
        let Registration { instance, kind, host, version, holding: _, seen: _ } = registration.clone();
        events.push(to(self, Happening::Registered { instance, kind, host, version, holding }));
        Ok(events)
    }

    /// The instance, or that it has to register again.
    ///
    /// # Errors
    /// When it is not known, or has seen a revision that this plane does not know (R21).
    pub fn known(&self, instance: &str, holds: Option<RevisionText>) -> Result<&super::Instance, Problem> {
        let again = "register again, with the plan that it holds";
        if holds.is_some_and(|seen| outranks(seen.0, self.revision)) {
            let detail = format!("it has seen a revision that this plane has not published: {again}");
            return Err(Problem::new(Code::UnknownInstance, detail));
        }
        self.instances.get(instance).ok_or_else(|| {
            Problem::new(Code::UnknownInstance, format!("the plane does not know this instance: {again}"))
        })
    }

    /// An instance acknowledges.
    ///
    /// # Errors
    /// When it has to register again.
    pub fn acknowledge(&self, instance: &str, ack: &Acknowledgement) -> Decision {
        within_bounds(&ack.marks)?;
        let known = self.known(instance, Some(ack.revision))?;
        if ack.revision.0 == self.revision && known.acknowledged != Some(self.revision) {
            let (instance, revision, marks) = (instance.to_owned(), ack.revision, ack.marks.clone());
            return Ok(vec![to(self, Happening::Acknowledged { instance, revision, marks })]);
        }
        Ok(self.marked(instance, &ack.marks))
    }

    fn marked(&self, instance: &str, marks: &MarkChange) -> Vec<Event> {
        if marks.is_empty() {
            return Vec::new();
        }
        vec![to(self, Happening::Marked { instance: instance.to_owned(), marks: marks.clone() })]
    }

    /// An instance reports marks, in a heartbeat or after a repair.
    ///
    /// # Errors
    /// When it has to register again, or says too much at once.
    pub fn report_marks(&self, instance: &str, marks: &MarkChange) -> Decision {
        within_bounds(marks)?;
        self.known(instance, None)?;
        Ok(self.marked(instance, marks))
    }

    /// An instance leaves in good order.
    ///
    /// # Errors
    /// When it is not known.
    pub fn leave(&self, instance: &str, departure: &Departure) -> Decision {
        within_bounds(&departure.marks)?;
        self.known(instance, None)?;
        let (instance, marks) = (instance.to_owned(), departure.marks.clone());
        Ok(vec![to(self, Happening::Left { instance, marks })])
    }

    /// An operator asserts that instances are dead.
    ///
    /// # Errors
    /// When one is not known or was heard of lately.
    pub fn evict(&self, instances: &[String], presence: &Presence) -> Decision {
        let absent = presence.absent();
        let chosen: Vec<String> = if instances.is_empty() {
            absent.iter().filter(|id| self.instances.contains_key(*id)).cloned().collect()
        } else {
            instances.to_vec()
        };
        for id in &chosen {
            if !self.instances.contains_key(id) {
                let id: String = id.chars().take(128).collect();
                return Err(Problem::new(Code::NotFound, format!("there is no instance `{id}`")));
            }
            if !absent.contains(id) {
                let detail = format!("{id} was heard of just now, so it is not dead: stop its process first");
                return Err(Problem::new(Code::NotReady, detail));
            }
        }
        if chosen.is_empty() {
            return Err(Problem::new(Code::NotFound, "no instance is silent"));
        }
        Ok(chosen.into_iter().map(|instance| to(self, Happening::Evicted { instance })).collect())
    }

    /// A run begins its work. For a verification the answer may be "not yet": full checks are turned on first (R5).
    ///
    /// # Errors
    /// Why not, or why not yet; the entries beside a problem are to be appended all the same.
    pub fn begin_run(&self, state: &State, instance: &str, presence: &Presence) -> (Vec<Event>, Result<(), Problem>) {
        let refuse = |code, detail: &str| (Vec::new(), Err(Problem::new(code, detail)));
        let known = match self.known(instance, None) {
            Ok(known) => known,
            Err(problem) => return (Vec::new(), Err(problem)),
        };
        if known.run.is_some() {
            return (Vec::new(), Ok(()));
        }
        if self.retired {
            return refuse(Code::Retired, "it was retired");
        }
        if let Some(step) = &self.step {
            let detail = format!("the step to `{}` has not ended: runs wait for it", step.goal);
            let waiting = self.unacknowledged.iter().cloned().collect();
            return (Vec::new(), Err(Problem::new(Code::StepUnderWay, detail).waiting_for(waiting)));
        }
        if !self.unacknowledged.is_empty() {
            let waiting = self.unacknowledged.iter().cloned().collect();
            let problem =
                Problem::new(Code::NotReady, "the revision in force is not acknowledged everywhere: ask again");
            return (Vec::new(), Err(problem.waiting_for(waiting)));
        }
        let (earlier, later) = self.plan.position().occupied();
        let mirrored = earlier.is_mirrored() && later.is_mirrored();
        match known.kind {
            InstanceKind::Application => return refuse(Code::NotReady, "an application does no run: register one"),
            InstanceKind::Backfill if !mirrored || earlier >= Stage::Live => {
                return refuse(
                    Code::NotReady,
                    "a backfill begins when every key is at dual-write or shadow, acknowledged everywhere: `crossfade ramp ID dual-write`",
                );
            }
            InstanceKind::Verify | InstanceKind::Repair if !mirrored => {
                return refuse(
                    Code::NotReady,
                    "both sides are held equal only while every key is dual-written: `crossfade ramp ID dual-write`",
                );
            }
            InstanceKind::Verify if self.full_checks_since.is_none() => {
                let options = Options { checks: Checks::Full, ..self.plan.options().clone() };
                return match self.publish_options(state, options, presence) {
                    Ok(events) => {
                        let detail = "every dual write is to be checked from before the verification on, which is being acknowledged: ask again";
                        (events, Err(Problem::new(Code::NotReady, detail)))
                    }
                    Err(problem) => (Vec::new(), Err(problem)),
                };
            }
            InstanceKind::Backfill | InstanceKind::Verify | InstanceKind::Repair => {}
        }
        (vec![to(self, Happening::RunBegan { instance: instance.to_owned() })], Ok(()))
    }

    /// A run ends its work.
    ///
    /// # Errors
    /// When there is no such run, or it cannot end so.
    pub fn end_run_with(&self, instance: &str, end: &RunEnd) -> Decision {
        use crossfade_api::wire::Outcome;
        within_bounds(&end.marks)?;
        let known = self.known(instance, None)?;
        if known.run.is_none() {
            return Err(Problem::new(Code::NotReady, "the run has not begun, or has ended already"));
        }
        match (known.kind, end.outcome) {
            (InstanceKind::Verify, Outcome::Complete) => {
                return Err(Problem::new(Code::Invalid, "a verification ends with its verdict"));
            }
            (InstanceKind::Backfill | InstanceKind::Repair | InstanceKind::Application, Outcome::Verdict(_)) => {
                return Err(Problem::new(Code::Invalid, "only a verification has a verdict"));
            }
            (InstanceKind::Verify, Outcome::Interrupted | Outcome::Verdict(_))
            | (
                InstanceKind::Application | InstanceKind::Backfill | InstanceKind::Repair,
                Outcome::Complete | Outcome::Interrupted,
            ) => {}
        }
        let (instance, outcome, marks) = (instance.to_owned(), end.outcome, end.marks.clone());
        Ok(vec![to(self, Happening::RunEnded { instance, outcome, marks })])
    }
}

/// Whether an instance has seen something that this plane has not published (R21). Alike numbers with another plan
/// were given by another life of the plane.
fn outranks(seen: Revision, known: Revision) -> bool {
    let (a, b) = ((seen.incarnation, seen.number), (known.incarnation, known.number));
    a > b || a == b && seen.hash != known.hash
}
