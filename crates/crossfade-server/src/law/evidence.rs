//! What a gate is shown: the facts of the log, and who is silent.

use super::Migration;
use crossfade_api::wire::{BlockerDoc, GateDoc, InstanceKind};
use crossfade_core::{
    Answer, Bucket, CohortKey, DifferentOperations, Evidence, Gate, MarkReason, Position, Step, TableInDoubt,
    UncheckedWriter,
};
use std::collections::{BTreeMap, BTreeSet};

/// Instances that a gate names at most for one reason: a fleet of thousands would fill every status.
const NAMED: usize = 100;

/// What the log cannot know: who was heard of lately. Gathered from heartbeats; here it is only data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presence {
    /// Instances of which nothing was heard for too long.
    pub silent: BTreeSet<String>,
    /// Instances of which nothing was heard since this life of the plane began.
    pub unheard: BTreeSet<String>,
    /// Flags were evaluated over OFREP lately: such readers cannot acknowledge (R12).
    pub unacknowledged_clients: bool,
}

impl Presence {
    /// For whom the next revision waits, whatever they acknowledged.
    #[must_use]
    pub fn absent(&self) -> BTreeSet<String> {
        self.silent.union(&self.unheard).cloned().collect()
    }
}

impl Migration {
    /// Marked rows whose keys stand elsewhere at `goal`.
    #[must_use]
    pub fn marks_moving_to(&self, goal: &Position) -> u64 {
        self.marks_among(goal, |_| true)
    }

    /// Those of them that a hold to `goal` would wait for in vain. A busy row is marked all the time, and rid of its mark
    /// only when its writes wait: the move is what must not find it (R4).
    fn marks_keeping_off_a_hold(&self, goal: &Position) -> u64 {
        self.marks_among(goal, |reason| !reason.passes_in_a_hold())
    }

    fn marks_among(&self, goal: &Position, counts: impl Fn(MarkReason) -> bool) -> u64 {
        let here = self.plan.position();
        let moving = self.marks.values().filter(|mark| match (mark.bucket, CohortKey::new(&mark.cohort)) {
            (Some(bucket), Ok(key)) => here.stage_of(bucket, key) != goal.stage_of(bucket, key),
            // Of a mark without its key nobody knows that it stays.
            (None, _) | (_, Err(_)) => true,
        });
        moving.filter(|mark| counts(mark.reason)).count() as u64
    }

    /// Everything that a gate before a step to `goal` looks at.
    #[must_use]
    pub fn evidence(&self, goal: &Position, presence: &Presence) -> Evidence {
        let running = |known: &&super::Instance| known.kind == InstanceKind::Repair && known.run.is_some();
        let mut suspects: Vec<String> = self.suspects.keys().cloned().collect();
        suspects.extend(presence.silent.iter().filter(|who| self.instances.contains_key(*who)).cloned());
        Evidence {
            marks: self.marks_moving_to(goal),
            tables_in_doubt: self.tables_in_doubt(),
            unchecked_writers: self.unchecked_writers(),
            different_operations: self
                .operations_by_table()
                .into_iter()
                .filter_map(|(table, found)| self.unconfirmed(table, &found))
                .collect(),
            suspects,
            repairs_running: self.instances.values().filter(running).count() as u64,
            backfill: self.backfill,
            last_repair: self.last_repair,
            dual_write_since: self.dual_write_since,
            full_checks_since: self.full_checks_since,
            // What was equal before a forced rollback proves nothing after it (R20).
            verification: self.verification.filter(|seen| self.waived_since.is_none_or(|since| seen.began >= since)),
            bypassing_writers: self
                .writers
                .iter()
                .filter(|(_, paused)| !**paused)
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }

    /// Tables in which rows that nobody can name may differ (R24).
    #[must_use]
    pub fn tables_in_doubt(&self) -> Vec<TableInDoubt> {
        let known = self.doubts.iter();
        known.map(|(table, doubt)| TableInDoubt { table: table.clone(), events: doubt.count }).collect()
    }

    /// Instances of the application that cannot check a table that they write (R25), at most [`NAMED`]. Runs of the
    /// data side read both sides by themselves.
    fn unchecked_writers(&self) -> Vec<UncheckedWriter> {
        let applications = self.instances.iter().filter(|(_, known)| known.kind == InstanceKind::Application);
        let unchecked = applications.flat_map(|(id, known)| {
            let tables: Vec<Option<String>> = match &known.tables {
                None => vec![None],
                Some(tables) => {
                    let blind = tables.iter().filter(|table| !table.can_check);
                    blind.map(|table| Some(table.table.clone())).collect()
                }
            };
            tables.into_iter().map(|table| UncheckedWriter { instance: id.clone(), table })
        });
        unchecked.take(NAMED).collect()
    }

    /// The operations that instances of the application report for each table: a hash, and the first instance with it.
    #[must_use]
    pub fn operations_by_table(&self) -> BTreeMap<&str, BTreeMap<&str, &str>> {
        let mut found: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for (id, known) in self.instances.iter().filter(|(_, known)| known.kind == InstanceKind::Application) {
            for table in known.tables.iter().flatten().filter(|table| !table.operations.is_empty()) {
                found.entry(&table.table).or_default().entry(&table.operations).or_insert(id);
            }
        }
        found
    }

    /// The difference on a table, unless an operator has confirmed every one of its hashes.
    fn unconfirmed(&self, table: &str, found: &BTreeMap<&str, &str>) -> Option<DifferentOperations> {
        let confirmed = |hash: &str| self.confirmed.get(table).is_some_and(|known| known.contains(hash));
        let (new, new_id) = found.iter().find(|(hash, _)| !confirmed(hash))?;
        let (_, other_id) = found.iter().find(|(hash, _)| *hash != new)?;
        let mut instances = [(*new_id).to_owned(), (*other_id).to_owned()];
        instances.sort();
        Some(DifferentOperations { table: table.to_owned(), instances })
    }

    /// What the gate before this step says.
    #[must_use]
    pub fn gate(&self, step: Step, goal: &Position, presence: &Presence) -> GateDoc {
        let gate = Gate::of(step);
        let converged = match gate {
            Gate::Open => false,
            Gate::Converged => true,
        };
        let mut evidence = self.evidence(goal, presence);
        match step {
            Step::Hold { .. } => evidence.marks = self.marks_keeping_off_a_hold(goal),
            Step::Move { .. } => {}
            // Whatever an instance takes for the key: no authority moves with it.
            Step::Stay | Step::Ramp { .. } | Step::Release | Step::Abandon => evidence.different_operations.clear(),
        }
        let mut blockers: Vec<BlockerDoc> = match gate.answer(&evidence) {
            Answer::Go => Vec::new(),
            Answer::NoGo(blockers) => blockers.iter().map(BlockerDoc::from).collect(),
        };
        if converged {
            blockers.extend(self.instances.iter().filter(|(_, known)| is_verifying(known)).map(|(id, _)| BlockerDoc {
                code: "run-under-way".to_owned(),
                detail: format!("verification {id} is running: let it end"),
                runbook: crossfade_api::problem::runbook("run-under-way"),
            }));
        }
        GateDoc { converged, go: blockers.is_empty(), blockers, cautions: self.cautions(presence) }
    }

    /// What no gate of this migration can see (R12, R20).
    #[must_use]
    pub fn cautions(&self, presence: &Presence) -> Vec<String> {
        let mut cautions = Vec::new();
        if presence.unacknowledged_clients {
            let settle = self.plan.options().settle.as_millis();
            cautions.push(format!(
                "unprotected: flags are evaluated over OFREP, and such clients cannot acknowledge; every revision stands {settle} ms before the next (settle-ms), longer than their caches, or two authorities may accept writes"
            ));
        }
        let options = self.plan.options();
        if !options.hold_outlasts_linger() {
            cautions.push(format!(
                "hold-bound-ms is {} and linger-ms is {}: one write without an answer, on any key, makes a move of authority pass its bound, and it is given up; make hold-bound-ms the longer one",
                options.hold_bound.as_millis(),
                options.linger.as_millis()
            ));
        }
        if self.waived_since.is_some() {
            cautions.push(
                "after a forced rollback, freshness, convergence and losslessness are waived: run `crossfade verify`"
                    .to_owned(),
            );
        }
        cautions
    }

    /// The bucket of a key, when it has one.
    #[must_use]
    pub fn bucket_of(&self, key: &str) -> Option<Bucket> {
        CohortKey::new(key).ok().map(|key| self.plan.salt().bucket(key))
    }
}

fn is_verifying(known: &super::Instance) -> bool {
    known.kind == InstanceKind::Verify && known.run.is_some()
}
