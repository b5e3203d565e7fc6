//! What a gate is shown: the facts of the log, and who is silent.

use super::Migration;
use crossfade_api::wire::{BlockerDoc, GateDoc, InstanceKind};
use crossfade_core::{Answer, Bucket, CohortKey, Evidence, Gate, MarkReason, Position, Step};
use std::collections::BTreeSet;

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
        (moving.filter(|mark| counts(mark.reason)).count() as u64).saturating_add(self.unlisted)
    }

    /// Everything that a gate before a step to `goal` looks at.
    #[must_use]
    pub fn evidence(&self, goal: &Position, presence: &Presence) -> Evidence {
        let running = |known: &&super::Instance| known.kind == InstanceKind::Repair && known.run.is_some();
        let mut suspects: Vec<String> = self.suspects.keys().cloned().collect();
        suspects.extend(presence.silent.iter().filter(|who| self.instances.contains_key(*who)).cloned());
        Evidence {
            marks: self.marks_moving_to(goal),
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

    /// What the gate before this step says.
    #[must_use]
    pub fn gate(&self, step: Step, goal: &Position, presence: &Presence) -> GateDoc {
        let gate = Gate::of(step);
        let converged = match gate {
            Gate::Open => false,
            Gate::Converged => true,
        };
        let mut evidence = self.evidence(goal, presence);
        if matches!(step, Step::Hold { .. }) {
            evidence.marks = self.marks_keeping_off_a_hold(goal);
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
