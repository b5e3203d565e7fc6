//! One migration: who runs under which revision, what may differ, and what has been shown.

use super::event::Happening;
use crossfade_api::wire::{AutoRequest, InstanceKind, MarkChange, Outcome, Publication, SidesDoc, TableDoc};
use crossfade_core::{
    BackfillState, Bucket, Checks, CohortKey, MarkReason, Phase, Plan, PlanSpec, Revision, Stage, Step, Tick, Verdict,
    Verification,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Tables that a migration keeps doubts of, each under its name; those beyond share one without a name.
pub(super) const TABLES: usize = 1_000;

/// More claims of a target than one life of a plane sees, from one restore to the next.
const CLAIMS_OF_A_LIFE: u64 = 1_000_000;

/// Where a migration stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Migration {
    /// The plan in force.
    pub plan: Plan,
    /// Its number.
    pub revision: Revision,
    /// What the configuration file declares.
    pub declared: PlanSpec,
    /// Declared writers that bypass the library, and whether they are paused.
    pub writers: BTreeMap<String, bool>,
    /// Instances and runs, by id.
    pub instances: BTreeMap<String, Instance>,
    /// Of these: who has not acknowledged the revision in force.
    pub unacknowledged: BTreeSet<String>,
    /// Rows that may differ.
    pub marks: BTreeMap<MarkKey, Mark>,
    /// Tables in which rows that nobody can name may differ (R24), by name. Empty: the table is not known either.
    pub doubts: BTreeMap<String, Doubt>,
    /// Hashes of operations that an operator has confirmed to run side by side, by table.
    pub confirmed: BTreeMap<String, BTreeSet<String>>,
    /// Between which tables runs have written, by the name in the source.
    pub sides: BTreeMap<String, KnownSides>,
    /// Who vanished, and when that was stated.
    pub suspects: BTreeMap<String, Tick>,
    /// The step under way.
    pub step: Option<StepUnderWay>,
    /// How the last step ended.
    pub last_step: Option<LastStep>,
    /// Steps begun so far.
    pub steps: u64,
    /// Counts the target's claims (R10).
    pub generation: u64,
    /// In this generation.
    pub backfill: BackfillState,
    /// When the last repair ended.
    pub last_repair: Option<Tick>,
    /// Since when all keys that were brought into dual-write are.
    pub dual_write_since: Option<Tick>,
    /// Since when all dual writes are checked.
    pub full_checks_since: Option<Tick>,
    /// The newest finished verification.
    pub verification: Option<Verification>,
    /// Since when P2 to P4 are waived (R20).
    pub waived_since: Option<Tick>,
    /// Keys were brought into dual-write by the step under way.
    pub entering_dual_write: bool,
    /// Steps are refused.
    pub paused: bool,
    /// It has ended.
    pub retired: bool,
    /// The guarded rollout.
    pub auto: Option<Auto>,
}

/// An instance or a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// What it is.
    pub kind: InstanceKind,
    /// Where it runs.
    pub host: String,
    /// The version of its library.
    pub version: String,
    /// What it has acknowledged.
    pub acknowledged: Option<Revision>,
    /// The work of a run.
    pub run: Option<Run>,
    /// The tables that it writes, as it last reported them; none when it never did (R25).
    pub tables: Option<Vec<TableDoc>>,
    /// The tables that a run works on.
    pub sides: Vec<SidesDoc>,
    /// This control plane came back from a backup since it last reported its tables. It registers again.
    pub registers_again: bool,
}

/// Between which tables runs of a migration have written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSides {
    /// The first run.
    pub first: SidesDoc,
    /// The last run.
    pub newest: SidesDoc,
}

/// Why rows of a table are in doubt without being named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// Events so far.
    pub count: u64,
    /// When the last of them was reported.
    pub last: Tick,
}

/// The work of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When it began.
    pub began: Tick,
    /// For which claim of the target.
    pub generation: u64,
}

/// Which mark: who set it, on which row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkKey {
    /// Who set it.
    pub instance: String,
    /// The table or operation.
    pub table: String,
    /// The row key.
    pub row: String,
}

/// A row that may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The cohort key.
    pub cohort: String,
    /// Its bucket; none for a mark without its cohort key, which is counted in every step.
    pub bucket: Option<Bucket>,
    /// Why.
    pub reason: MarkReason,
    /// Rises each time.
    pub generation: u64,
    /// When it was set.
    pub since: Tick,
}

/// A step that has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct StepUnderWay {
    /// Its number.
    pub number: u64,
    /// Where it leads, in words.
    pub goal: String,
    /// Plans still to publish.
    pub plans: VecDeque<Plan>,
    /// Without the gate.
    pub forced: bool,
    /// Who asked for it.
    pub by: String,
    /// Why it was given up.
    pub abandoned: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastStep {
    /// Its number.
    pub number: u64,
    /// Where it was to lead.
    pub goal: String,
    /// Why it did not get there.
    pub abandoned: Option<String>,
}

/// The guarded rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Auto {
    /// How.
    pub request: AutoRequest,
    /// Who asked for it.
    pub by: String,
    /// Why it ended.
    pub ended: Option<String>,
}

impl Instance {
    /// A process of the application that writes a table which it cannot check, or has not reported its tables (R25).
    #[must_use]
    pub fn writes_unchecked(&self) -> bool {
        let all_checked = |tables: &Vec<TableDoc>| tables.iter().all(|table| table.can_check);
        self.kind == InstanceKind::Application && !self.tables.as_ref().is_some_and(all_checked)
    }
}

impl Migration {
    /// With its first plan; none when that is not valid.
    pub(super) fn created(publication: &Publication, writers: &[String], tick: Tick) -> Option<Migration> {
        let plan = Plan::new(publication.plan.clone()).ok()?;
        let stage = plan.position().stage();
        let dual = (stage != Stage::Off).then_some(tick);
        let full = matches!(plan.options().checks, Checks::Full).then_some(tick);
        Some(Migration {
            plan,
            revision: publication.revision.0,
            declared: publication.plan.clone(),
            writers: writers.iter().map(|name| (name.clone(), false)).collect(),
            instances: BTreeMap::new(),
            unacknowledged: BTreeSet::new(),
            marks: BTreeMap::new(),
            doubts: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            sides: BTreeMap::new(),
            suspects: BTreeMap::new(),
            step: None,
            last_step: None,
            steps: 0,
            generation: 1,
            backfill: BackfillState::NotStarted,
            last_repair: None,
            dual_write_since: dual,
            full_checks_since: full,
            verification: None,
            waived_since: None,
            entering_dual_write: false,
            paused: false,
            retired: false,
            auto: None,
        })
    }

    pub(super) fn apply(&mut self, tick: Tick, by: &str, what: &Happening) {
        match what {
            Happening::Declared { plan, writers } => {
                self.declared = (**plan).clone();
                let kept = |name: &String| (name.clone(), self.writers.get(name).copied().unwrap_or(false));
                self.writers = writers.iter().map(kept).collect();
            }
            Happening::Registered { instance, kind, host, version, holding, tables, sides } => {
                let run = self.instances.get(instance).and_then(|known| known.run);
                let acknowledged = if *holding { None } else { Some(self.revision) };
                let (kind, host, version, tables) = (*kind, host.clone(), version.clone(), tables.clone());
                let sides = sides.clone();
                let registered =
                    Instance { kind, host, version, acknowledged, run, tables, sides, registers_again: false };
                self.instances.insert(instance.clone(), registered);
                if *holding {
                    self.unacknowledged.insert(instance.clone());
                } else {
                    self.unacknowledged.remove(instance);
                }
            }
            Happening::Acknowledged { instance, revision, marks } => {
                self.mark(tick, instance, marks);
                if revision.0 == self.revision
                    && let Some(known) = self.instances.get_mut(instance)
                {
                    known.acknowledged = Some(revision.0);
                    self.unacknowledged.remove(instance);
                }
            }
            Happening::Marked { instance, marks } => self.mark(tick, instance, marks),
            Happening::TablesReported { instance, tables } => {
                // What it wrote until now was not checked. An instance that has just joined and now reports for the first
                // time has checked its writes from its first one.
                if self.instances.get(instance).is_some_and(|known| known.tables.is_some() && known.writes_unchecked())
                {
                    self.was_unchecked(tick);
                }
                if let Some(known) = self.instances.get_mut(instance) {
                    known.tables = Some(tables.clone());
                }
            }
            Happening::OperationsConfirmed { table, operations } => {
                self.confirmed.insert(table.clone(), operations.iter().cloned().collect());
            }
            Happening::Left { instance, marks } => {
                self.mark(tick, instance, marks);
                self.end_run(tick, instance, Outcome::Interrupted);
                self.forget(tick, instance);
            }
            Happening::Evicted { instance } => {
                self.end_run(tick, instance, Outcome::Interrupted);
                let writes = |known: &Instance| match known.kind {
                    InstanceKind::Application | InstanceKind::Backfill | InstanceKind::Repair => true,
                    InstanceKind::Verify => false,
                };
                if self.instances.get(instance).is_some_and(writes) {
                    self.suspects.insert(instance.clone(), tick);
                }
                self.forget(tick, instance);
            }
            Happening::StepBegan { goal, plans, forced, waived } => {
                // A forced rollback may take the place of a step that has not ended.
                if let Some(step) = self.step.take() {
                    let why = step.abandoned.unwrap_or_else(|| "a forced rollback took its place".to_owned());
                    self.last_step = Some(LastStep { number: step.number, goal: step.goal, abandoned: Some(why) });
                }
                self.steps += 1;
                self.step = Some(StepUnderWay {
                    number: self.steps,
                    goal: goal.clone(),
                    plans: plans.iter().filter_map(|spec| Plan::new(spec.clone()).ok()).collect(),
                    forced: *forced,
                    by: by.to_owned(),
                    abandoned: None,
                });
                if waived.is_some() {
                    self.waived_since = Some(tick);
                }
            }
            Happening::Published { publication } => {
                self.publish(publication);
                if let Some(step) = &mut self.step {
                    step.plans.pop_front();
                }
            }
            Happening::Abandoned { why, publication } => {
                if let Some(publication) = publication {
                    self.publish(publication);
                }
                if self.step.is_none() {
                    // Held by a life of the plane that this one does not remember (R21).
                    self.steps += 1;
                }
                let (number, goal, by, first) = match &self.step {
                    Some(step) => (step.number, step.goal.clone(), step.by.clone(), step.abandoned.clone()),
                    None => (self.steps, self.plan.position().to_string(), by.to_owned(), None),
                };
                let abandoned = Some(first.unwrap_or_else(|| why.clone()));
                self.step = Some(StepUnderWay { number, goal, plans: VecDeque::new(), forced: false, by, abandoned });
            }
            Happening::StepEnded { reached: _ } => self.end_step(tick),
            Happening::RunBegan { instance } => {
                let generation = self.generation;
                if let Some(known) = self.instances.get_mut(instance) {
                    known.run = Some(Run { began: tick, generation });
                    if known.kind == InstanceKind::Backfill {
                        self.backfill = BackfillState::Unfinished;
                    }
                    // A verification writes nothing: one with mistaken sides must not keep the right ones out.
                    if known.kind != InstanceKind::Verify {
                        let sides = known.sides.clone();
                        sides.into_iter().for_each(|sides| self.writes_between(sides));
                    }
                }
            }
            Happening::RunEnded { instance, outcome, marks } => {
                self.mark(tick, instance, marks);
                self.end_run(tick, instance, *outcome);
            }
            Happening::WriterPaused { writer, paused } => {
                if let Some(known) = self.writers.get_mut(writer) {
                    *known = *paused;
                }
            }
            Happening::Restored { seen, revision } => {
                let publication = Publication { revision: *revision, plan: seen.plan.clone() };
                self.publish(&publication);
                self.full_checks_since = None;
                self.verification = None;
                if self.plan.position().occupied().1 >= Stage::Live {
                    // The only way there is a gate that asked for a complete backfill, and no claim ends there.
                    self.backfill = BackfillState::Complete(tick);
                } else {
                    // Since the backup a claim may have ended, and authority may have come back by force.
                    if self.backfill != BackfillState::NotStarted {
                        self.backfill = BackfillState::Unfinished;
                    }
                    self.waived_since = Some(tick);
                }
                self.entering_dual_write = self.plan.position().occupied().1.is_mirrored();
                // Nothing more to publish but the way out of a held move, once everybody has acknowledged.
                self.steps += 1;
                self.step = Some(StepUnderWay {
                    number: self.steps,
                    goal: self.plan.position().to_string(),
                    plans: VecDeque::new(),
                    forced: false,
                    by: by.to_owned(),
                    abandoned: Some("the control plane was restored from a backup".to_owned()),
                });
                self.suspects.insert("a control plane restored from a backup".to_owned(), tick);
            }
            Happening::Paused => self.paused = true,
            Happening::Resumed => self.paused = false,
            Happening::AutoBegan { request } => {
                self.auto = Some(Auto { request: request.clone(), by: by.to_owned(), ended: None });
            }
            Happening::AutoEnded { why } => {
                if let Some(auto) = &mut self.auto {
                    auto.ended = Some(why.clone());
                }
            }
            Happening::Retired => self.retired = true,
        }
    }

    fn writes_between(&mut self, sides: SidesDoc) {
        if let Some(known) = self.sides.get_mut(&sides.table) {
            known.newest = sides;
        } else if self.sides.len() < TABLES {
            self.sides.insert(sides.table.clone(), KnownSides { first: sides.clone(), newest: sides });
        }
    }

    fn publish(&mut self, publication: &Publication) {
        let Ok(next) = Plan::new(publication.plan.clone()) else { return };
        if let Ok(step) = self.plan.admit(&next) {
            if step.ends_target_claim() {
                self.generation += 1;
                self.backfill = BackfillState::NotStarted;
                self.dual_write_since = None;
                self.verification = None;
            }
            // A pin may bring keys in while the share lets others out.
            if let Step::Ramp { edge, forward: _ } = step
                && edge.earlier() == Stage::Off
                && next.position().occupied().1 != Stage::Off
            {
                self.entering_dual_write = true;
            }
        }
        match next.options().checks {
            Checks::Full => {}
            Checks::Sample(_) => self.full_checks_since = None,
        }
        self.plan = next;
        self.revision = publication.revision.0;
        // A run that has not begun has no operation under any plan: it has nothing to acknowledge.
        let revision = self.revision;
        self.unacknowledged.clear();
        for (id, instance) in &mut self.instances {
            if instance.kind != InstanceKind::Application && instance.run.is_none() {
                instance.acknowledged = Some(revision);
            } else {
                self.unacknowledged.insert(id.clone());
            }
        }
    }

    fn end_step(&mut self, tick: Tick) {
        if let Some(step) = self.step.take() {
            self.last_step = Some(LastStep { number: step.number, goal: step.goal, abandoned: step.abandoned });
        }
        if self.entering_dual_write {
            self.entering_dual_write = false;
            self.dual_write_since = Some(tick);
        }
        if matches!(self.plan.options().checks, Checks::Full) && self.full_checks_since.is_none() {
            self.full_checks_since = Some(tick);
        }
    }

    fn mark(&mut self, tick: Tick, instance: &str, change: &MarkChange) {
        for set in &change.set {
            let key = MarkKey { instance: instance.to_owned(), table: set.table.clone(), row: set.row.clone() };
            let bucket = CohortKey::new(&set.cohort).ok().map(|cohort| self.plan.salt().bucket(cohort));
            let (cohort, reason, generation) = (set.cohort.clone(), set.reason, set.generation);
            let newer = self.marks.get(&key).is_none_or(|known| known.generation < generation);
            if newer {
                self.marks.insert(key, Mark { cohort, bucket, reason, generation, since: tick });
            }
        }
        for cleared in &change.cleared {
            let owner = cleared.instance.clone().unwrap_or_else(|| instance.to_owned());
            let key = MarkKey { instance: owner, table: cleared.table.clone(), row: cleared.row.clone() };
            if self.marks.get(&key).is_some_and(|known| known.generation <= cleared.generation) {
                self.marks.remove(&key);
            }
        }
        // An older library counts what it cannot name, and does not say in which table.
        if change.unlisted > 0 {
            self.doubt(tick, "", change.unlisted);
        }
        for doubt in &change.suspect {
            self.doubt(tick, &doubt.table, doubt.count);
        }
    }

    /// Reported again is counted again, at its own place in the log: a verification that began before does not clear it.
    fn doubt(&mut self, tick: Tick, table: &str, count: u64) {
        let table = if self.doubts.len() < TABLES || self.doubts.contains_key(table) { table } else { "" };
        let doubt = self.doubts.entry(table.to_owned()).or_insert(Doubt { count: 0, last: tick });
        doubt.count = doubt.count.saturating_add(count);
        doubt.last = tick;
    }

    /// After a restore. What instances had reported since the backup is not known, and they report only what changes.
    /// Nor is it known how often the target was claimed since: the progress of earlier backfills is of no claim that this
    /// plane will count, whatever numbers the lost ones had.
    pub(super) fn forget_since_backup(&mut self, incarnation: u32) {
        self.generation = self.generation.max(u64::from(incarnation) * CLAIMS_OF_A_LIFE) + 1;
        // A writer that was paused then may have been let go since.
        self.writers.values_mut().for_each(|paused| *paused = false);
        for known in self.instances.values_mut().filter(|known| known.kind == InstanceKind::Application) {
            known.tables = None;
            known.registers_again = true;
        }
    }

    /// An interrupted repair counts as one: it may have changed rows.
    fn end_run(&mut self, tick: Tick, instance: &str, outcome: Outcome) {
        let generation = self.generation;
        let Some(known) = self.instances.get_mut(instance) else { return };
        let Some(run) = known.run.take() else { return };
        match (known.kind, outcome) {
            (InstanceKind::Backfill, Outcome::Complete) if run.generation == generation => {
                self.backfill = BackfillState::Complete(tick);
            }
            (InstanceKind::Verify, Outcome::Verdict(verdict)) if run.generation == generation => {
                self.verification = Some(Verification { began: run.began, verdict });
                if verdict == Verdict::Verified {
                    self.suspects.retain(|_, since| *since >= run.began);
                    self.waived_since = self.waived_since.filter(|since| *since >= run.began);
                    self.doubts.retain(|_, doubt| doubt.last >= run.began);
                }
            }
            (InstanceKind::Repair, Outcome::Complete | Outcome::Interrupted | Outcome::Verdict(_)) => {
                self.last_repair = Some(self.last_repair.map_or(tick, |last| last.max(tick)));
            }
            (InstanceKind::Application | InstanceKind::Backfill | InstanceKind::Verify, _) => {}
        }
        self.acknowledge_without_work(instance);
    }

    /// What has no work has no operation under an older plan.
    fn acknowledge_without_work(&mut self, instance: &str) {
        let revision = self.revision;
        if let Some(known) = self.instances.get_mut(instance)
            && known.kind != InstanceKind::Application
        {
            known.acknowledged = Some(revision);
            self.unacknowledged.remove(instance);
        }
    }

    /// Until now a dual write may have gone unchecked: a verification that began before proves nothing (R25).
    fn was_unchecked(&mut self, tick: Tick) {
        self.full_checks_since = self.full_checks_since.map(|since| since.max(tick));
    }

    fn forget(&mut self, tick: Tick, instance: &str) {
        if self.instances.get(instance).is_some_and(Instance::writes_unchecked) {
            self.was_unchecked(tick);
        }
        self.instances.remove(instance);
        self.unacknowledged.remove(instance);
    }

    /// Writes of some keys wait.
    #[must_use]
    pub fn is_held(&self) -> bool {
        match self.plan.phase() {
            Phase::Settled => false,
            Phase::Hold { .. } | Phase::Move { .. } => true,
        }
    }
}
