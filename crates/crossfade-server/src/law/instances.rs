//! What may be appended when an instance speaks, or somebody speaks of it: it joins, acknowledges, marks, leaves, is evicted, begins and ends
//! a run. Pure, as [`super::decide`].

use super::decide::{Decision, plain, to};
use super::event::{Event, Happening};
use super::evidence::Presence;
use super::{Migration, State};
use crossfade_api::problem::{Code, Problem};
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::{
    Acknowledgement, Departure, InstanceKind, LONGEST_MARK_KEY, MARKS_AT_ONCE, MarkChange, Registration, RunEnd,
    SidesDoc, TableDoc, TableDoubt,
};
use crossfade_core::{Checks, Options, Plan, Revision, Stage};
use std::collections::{BTreeMap, BTreeSet};

/// Beyond what any plane reaches, and far from where counting on ends: whoever claims more would end the numbering.
const LAST_INCARNATION: u32 = 1 << 30;
const LAST_NUMBER: u64 = 1 << 60;

/// The longest name of a table, in bytes.
const LONGEST_TABLE: usize = 128;
/// The longest identity of a table, in bytes.
const LONGEST_IDENTITY: usize = 1_024;
/// Tables that one instance reports at most, each under its name.
const TABLES_AT_ONCE: usize = 1_000;

/// The change as it is stored. A mark that is too long to be named leaves its table in doubt: refusing it would keep the
/// instance from acknowledging, for ever.
///
/// # Errors
/// When there are more marks than one message carries.
fn within_bounds(marks: &MarkChange) -> Result<MarkChange, Problem> {
    if marks.set.len() + marks.cleared.len() > MARKS_AT_ONCE {
        let detail = format!(
            "a message carries at most {MARKS_AT_ONCE} marks: send the others in the next, or count them as doubts of their table"
        );
        return Err(Problem::new(Code::Invalid, detail));
    }
    let table_fits = |table: &str| table.len() <= LONGEST_TABLE;
    let fits = |table: &str, row: &str| table_fits(table) && row.len() <= LONGEST_MARK_KEY;
    let mut doubts: BTreeMap<String, u64> = BTreeMap::new();
    let mut doubt = |table: &str, count: u64| {
        let known = doubts.len() < TABLES_AT_ONCE || doubts.contains_key(table);
        let table = if known && table_fits(table) { table } else { "" };
        let sum = doubts.entry(table.to_owned()).or_default();
        *sum = sum.saturating_add(count);
    };
    let (set, too_long): (Vec<_>, Vec<_>) =
        marks.set.iter().partition(|mark| fits(&mark.table, &mark.row) && mark.cohort.len() <= LONGEST_MARK_KEY);
    too_long.iter().for_each(|mark| doubt(&mark.table, 1));
    marks.suspect.iter().filter(|told| told.count > 0).for_each(|told| doubt(&told.table, told.count));
    Ok(MarkChange {
        set: set.into_iter().cloned().collect(),
        // Nothing so long was ever stored, so that there is nothing to clear.
        cleared: marks.cleared.iter().filter(|mark| fits(&mark.table, &mark.row)).cloned().collect(),
        unlisted: marks.unlisted,
        suspect: doubts.into_iter().map(|(table, count)| TableDoubt { table, count }).collect(),
    })
}

/// The tables as they are stored: sorted, each once, names cut. What is cut cannot be told apart, so that it counts as
/// unchecked.
fn tidy(tables: &[TableDoc]) -> Vec<TableDoc> {
    let cut = |text: &str, most: usize| text.char_indices().take_while(|(at, c)| at + c.len_utf8() <= most).count();
    let tidied = |doc: &TableDoc| TableDoc {
        table: doc.table.chars().take(cut(&doc.table, LONGEST_TABLE)).collect(),
        can_check: doc.can_check && doc.table.len() <= LONGEST_TABLE,
        operations: doc.operations.chars().take(cut(&doc.operations, 64)).collect(),
    };
    let mut tidied: Vec<TableDoc> = tables.iter().take(TABLES_AT_ONCE).map(tidied).collect();
    if tables.len() > TABLES_AT_ONCE {
        tidied.push(TableDoc { table: "(others)".to_owned(), can_check: false, operations: String::new() });
    }
    tidied.sort();
    tidied.dedup();
    tidied
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
        if registration.sides.len() > TABLES_AT_ONCE {
            return Err(Problem::new(Code::Invalid, format!("a run works on at most {TABLES_AT_ONCE} tables")));
        }
        // What is longer is not kept, so that it is as a table whose server cannot tell.
        let fits = |sides: &&SidesDoc| {
            sides.table.len() <= LONGEST_TABLE && sides.source.len().max(sides.target.len()) <= LONGEST_IDENTITY
        };
        let sides: Vec<SidesDoc> = registration.sides.iter().filter(fits).cloned().collect();
        self.refuse_swapped(&sides)?;
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
        let Registration { instance, kind, host, version, holding: _, seen: _, tables, sides: _ } =
            registration.clone();
        let tables = tables.as_deref().map(tidy);
        events.push(to(self, Happening::Registered { instance, kind, host, version, holding, tables, sides }));
        Ok(events)
    }

    /// Refuses sides that are those of an earlier run, the other way round. In one table, half of that is enough: what a run has read from, no other may write
    /// into. Other tables of the migration may form a chain.
    fn refuse_swapped(&self, sides: &[SidesDoc]) -> Result<(), Problem> {
        for (name, known) in &self.sides {
            for (known, here) in
                [&known.first, &known.newest].into_iter().flat_map(|k| sides.iter().map(move |s| (k, s)))
            {
                let (from, into) = (here.source == known.target, here.target == known.source);
                if from && into || (from || into) && here.table == *name {
                    let what = if from { "source is the target" } else { "target is the source" };
                    let detail = format!(
                        "source and target of table `{}` are swapped: its {what} of an earlier run of this migration. Nothing was written. Put `source` and `target` in crossfade.toml back; to really move the data back, use another migration id",
                        here.table
                    );
                    return Err(Problem::new(Code::SwappedSides, detail));
                }
            }
        }
        Ok(())
    }

    /// Tables for which the run names other databases than the last one that wrote there.
    #[must_use]
    pub fn other_databases(&self, instance: &str) -> Vec<String> {
        let sides = self.instances.get(instance).map_or(&[][..], |known| &known.sides);
        let differ = |sides: &&SidesDoc| self.sides.get(&sides.table).is_some_and(|known| known.newest != **sides);
        sides.iter().filter(differ).map(|sides| sides.table.clone()).collect()
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
        let known = self.instances.get(instance).ok_or_else(|| {
            Problem::new(Code::UnknownInstance, format!("the plane does not know this instance: {again}"))
        })?;
        if known.registers_again {
            let detail = format!("the control plane was restored from a backup: {again} and its tables");
            return Err(Problem::new(Code::UnknownInstance, detail));
        }
        Ok(known)
    }

    /// An instance acknowledges.
    ///
    /// # Errors
    /// When it has to register again.
    pub fn acknowledge(&self, instance: &str, ack: &Acknowledgement) -> Decision {
        let marks = within_bounds(&ack.marks)?;
        let known = self.known(instance, Some(ack.revision))?;
        let mut events = self.reported(instance, ack.tables.as_deref());
        if ack.revision.0 == self.revision && known.acknowledged != Some(self.revision) {
            let (instance, revision) = (instance.to_owned(), ack.revision);
            events.push(to(self, Happening::Acknowledged { instance, revision, marks }));
        } else {
            events.extend(self.marked(instance, marks));
        }
        Ok(events)
    }

    fn marked(&self, instance: &str, marks: MarkChange) -> Option<Event> {
        if marks.is_empty() {
            return None;
        }
        Some(to(self, Happening::Marked { instance: instance.to_owned(), marks }))
    }

    /// Tables that an instance reports: an entry of the log when they changed.
    fn reported(&self, instance: &str, tables: Option<&[TableDoc]>) -> Vec<Event> {
        let Some(tables) = tables.map(tidy) else { return Vec::new() };
        if self.instances.get(instance).is_some_and(|known| known.tables.as_ref() == Some(&tables)) {
            return Vec::new();
        }
        vec![to(self, Happening::TablesReported { instance: instance.to_owned(), tables })]
    }

    /// An instance reports marks, after a repair.
    ///
    /// # Errors
    /// When it has to register again, or says too much at once.
    pub fn report_marks(&self, instance: &str, marks: &MarkChange) -> Decision {
        self.heartbeat(instance, marks, None)
    }

    /// An instance reports marks in a heartbeat, and its tables when they changed.
    ///
    /// # Errors
    /// When it has to register again, or says too much at once.
    pub fn heartbeat(&self, instance: &str, marks: &MarkChange, tables: Option<&[TableDoc]>) -> Decision {
        let marks = within_bounds(marks)?;
        self.known(instance, None)?;
        let mut events = self.reported(instance, tables);
        events.extend(self.marked(instance, marks));
        Ok(events)
    }

    /// An instance leaves in good order.
    ///
    /// # Errors
    /// When it is not known.
    pub fn leave(&self, instance: &str, departure: &Departure) -> Decision {
        let marks = within_bounds(&departure.marks)?;
        self.known(instance, None)?;
        let instance = instance.to_owned();
        Ok(vec![to(self, Happening::Left { instance, marks })])
    }

    /// An operator asserts that the instances of these names are dead. Nobody is evicted without a name: an instance that
    /// is only cut off, or has only not been heard of since this server began, may still write.
    ///
    /// # Errors
    /// When none is named, or one is not known or was heard of lately.
    pub fn evict(&self, instances: &[String], presence: &Presence) -> Decision {
        let absent = presence.absent();
        if instances.is_empty() {
            let Some((silent, why)) = self.waits_for_absent(presence) else {
                return Err(Problem::new(Code::NotFound, "no instance is silent"));
            };
            return Err(Problem::new(Code::Silent, why).waiting_for(silent));
        }
        let chosen: BTreeSet<&String> = instances.iter().collect();
        for id in &chosen {
            if !self.instances.contains_key(*id) {
                let id: String = id.chars().take(128).collect();
                return Err(Problem::new(Code::NotFound, format!("there is no instance `{id}`")));
            }
            if !absent.contains(*id) {
                let detail = format!("{id} was heard of just now, so it is not dead: stop its process first");
                return Err(Problem::new(Code::NotReady, detail));
            }
        }
        Ok(chosen.into_iter().map(|id| to(self, Happening::Evicted { instance: id.clone() })).collect())
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
        // Another run may have begun since this one has registered.
        if let Err(problem) = self.refuse_swapped(&known.sides) {
            return (Vec::new(), Err(problem));
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
            // A repair goes row by row, and leaves rows alone whose key is not mirrored.
            InstanceKind::Repair if !earlier.is_mirrored() && !later.is_mirrored() => {
                return refuse(
                    Code::NotReady,
                    "no key is written on both sides, so that there is nothing to repair: `crossfade ramp ID dual-write`",
                );
            }
            InstanceKind::Verify if !mirrored => {
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
        let marks = within_bounds(&end.marks)?;
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
        let (instance, outcome) = (instance.to_owned(), end.outcome);
        Ok(vec![to(self, Happening::RunEnded { instance, outcome, marks })])
    }
}

/// Whether an instance has seen something that this plane has not published (R21). Alike numbers with another plan
/// were given by another life of the plane.
fn outranks(seen: Revision, known: Revision) -> bool {
    let (a, b) = ((seen.incarnation, seen.number), (known.incarnation, known.number));
    a > b || a == b && seen.hash != known.hash
}
