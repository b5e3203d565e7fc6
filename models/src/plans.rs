//! Every plan that a scope can come to, and which may follow which: asked of `crossfade-core` once, then looked up.

use crate::rules::{Dropped, Rule};
use crate::store::ROWS;
use crossfade_core::plan::{Phase, PlanSpec};
use crossfade_core::position::Position;
use crossfade_core::{Bucket, Checks, CohortKey, Decision, Gate, Options, Plan, Revision, Share, Stage, Step};

/// One plan of the table, by its place. It stands in [`Revision::hash`].
pub type PlanId = u8;

/// What may be published after a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The plan.
    pub plan: PlanId,
    /// What the law calls the way there; none for a way that only a dropped rule allows.
    pub step: Option<Step>,
    /// What has to be shown first.
    pub gate: Gate,
    /// It crosses from off to dual-write, for some row.
    pub enters_dual_write: bool,
}

/// A plan with everything the model asks of it, looked up.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The plan of the law.
    pub plan: Plan,
    /// What it says for each row.
    pub decisions: [Decision; ROWS],
    /// What it says for an operation without a key, where R13 is dropped: bucket 0.
    pub keyless: Decision,
    /// What may follow.
    pub next: Vec<Next>,
}

impl Entry {
    /// Every dual write is checked after the fact.
    #[must_use]
    pub fn full_checks(&self) -> bool {
        matches!(self.plan.options().checks, Checks::Full)
    }

    /// The rows whose keys move on the way to `there`.
    #[must_use]
    pub fn moving(&self, there: &Entry) -> [bool; ROWS] {
        let mut moving = [false; ROWS];
        for (row, moves) in moving.iter_mut().enumerate() {
            *moves = self.decisions[row].stage != there.decisions[row].stage || there.decisions[row].held;
        }
        moving
    }
}

/// The plans of a scope.
#[derive(Debug, Clone)]
pub struct Plans {
    /// The table.
    pub entries: Vec<Entry>,
    /// The place of the plan "every key at off", which nobody publishes: what R11 forbids to fall back to.
    pub default: PlanId,
}

/// Where a scope may lead.
#[derive(Debug, Clone)]
pub struct Ways {
    /// Where it begins.
    pub start: Position,
    /// All dual writes are checked from the beginning.
    pub checked: bool,
    /// The positions that the operator may ask for.
    pub goals: Vec<Position>,
    /// The operator may turn full checks on and off.
    pub toggle: bool,
}

/// The cohort keys of the two rows: one in the lower half of the buckets, one in the upper.
pub const KEYS: [&str; ROWS] = ["eve", "bob"];

/// Half of the keys: row `eve` is there, row `bob` is not.
pub const HALF: &str = "50";

const MIGRATION: &str = "events";
/// A salt under which the two rows change places.
const OTHER_SALT: &str = "swapped";

fn key(row: usize) -> CohortKey<'static> {
    CohortKey::new(KEYS[row]).unwrap_or_else(|_| unreachable!("the keys of the model have text"))
}

fn options(full: bool) -> Options {
    Options { checks: if full { Checks::Full } else { Checks::Sample(Share::NONE) }, ..Options::default() }
}

fn plan(position: &Position, full: bool, salt: &str) -> Plan {
    let spec = PlanSpec { salt: Some(salt.into()), options: options(full), ..PlanSpec::at(MIGRATION, Stage::Off) };
    Plan::new(spec)
        .and_then(|plan| plan.settled_at(position.clone()))
        .unwrap_or_else(|refused| unreachable!("a plan of the model was refused: {refused}"))
}

impl Plans {
    /// Follows the law from the start of a scope as far as its goals lead, and beyond it where a rule is dropped.
    #[must_use]
    pub fn new(ways: &Ways, dropped: Dropped) -> Plans {
        let mut plans = Plans { entries: Vec::new(), default: 0 };
        plans.place(plan(&ways.start, ways.checked, MIGRATION));
        let mut done = 0;
        while done < plans.entries.len() {
            let here = plans.entries[done].plan.clone();
            let next = plans.followers(&here, ways, dropped);
            plans.entries[done].next = next;
            done += 1;
        }
        plans.default = plans.place(plan(&Position::at(Stage::Off), false, MIGRATION));
        plans
    }

    /// The entry of a revision.
    #[must_use]
    pub fn of(&self, revision: Revision) -> &Entry {
        &self.entries[revision.hash as usize]
    }

    fn place(&mut self, plan: Plan) -> PlanId {
        if let Some(known) = self.entries.iter().position(|entry| entry.plan == plan) {
            return known as PlanId;
        }
        let decisions = [0, 1].map(|row| plan.decide(key(row)));
        let zero = Bucket::of_hash(0);
        let keyless = Decision { stage: plan.position().stage_of(zero, key(0)), bucket: zero, held: false };
        self.entries.push(Entry { plan, decisions, keyless, next: Vec::new() });
        (self.entries.len() - 1) as PlanId
    }

    fn followers(&mut self, here: &Plan, ways: &Ways, dropped: Dropped) -> Vec<Next> {
        let mut next = Vec::new();
        match here.phase() {
            Phase::Settled => {
                for goal in &ways.goals {
                    self.towards(here, goal, dropped, &mut next);
                }
                if ways.toggle {
                    let full = matches!(here.options().checks, Checks::Full);
                    self.lawful(here, plan_with(here, !full), &mut next);
                }
                if dropped.contains(Rule::SameBucket) && here.position().ramp().is_some() {
                    let salted = plan(here.position(), ways.checked, OTHER_SALT);
                    self.lawless(salted, Gate::Open, &mut next);
                }
            }
            // The way on is made from the plan before the hold: the law has no shortcut into a phase.
            Phase::Hold { next: goal } => {
                let before = plan_with_position(here, here.position());
                if let Ok(steps) = before.steps_to(goal.clone()) {
                    for step in steps {
                        if here.admit(&step).is_ok_and(|step| matches!(step, Step::Move { .. })) {
                            self.lawful(here, step, &mut next);
                        }
                    }
                }
                self.abandoned(here, &mut next);
            }
            Phase::Move { previous } => {
                let released = plan_with_position(here, here.position());
                self.lawful(here, released, &mut next);
                if dropped.contains(Rule::AbandonByHold) {
                    let old = plan_with_position(here, previous);
                    self.lawless(old, Gate::Open, &mut next);
                } else {
                    self.abandoned(here, &mut next);
                }
            }
        }
        next
    }

    fn towards(&mut self, here: &Plan, goal: &Position, dropped: Dropped, next: &mut Vec<Next>) {
        if goal == here.position() {
            return;
        }
        match here.steps_to(goal.clone()) {
            Ok(_) if dropped.contains(Rule::Hold) && here.position().moves_authority(goal) => {
                let settled = plan_with_position(here, goal);
                self.lawless(settled, Gate::Converged, next);
            }
            Ok(steps) => {
                if let Some(first) = steps.into_iter().next() {
                    self.lawful(here, first, next);
                }
            }
            Err(_) if dropped.contains(Rule::OneEdge) && here.position().common_edge(goal).is_none() => {
                let settled = plan_with_position(here, goal);
                self.lawless(settled, Gate::Open, next);
            }
            Err(_) => {}
        }
    }

    fn abandoned(&mut self, here: &Plan, next: &mut Vec<Next>) {
        if let Some(old) = here.abandoned() {
            self.lawful(here, old, next);
        }
    }

    fn lawful(&mut self, here: &Plan, there: Plan, next: &mut Vec<Next>) {
        if let Ok(step) = here.admit(&there) {
            let enters_dual_write =
                matches!(step, Step::Ramp { edge, forward: true } if edge.later() == Stage::DualWrite);
            let plan = self.place(there);
            next.push(Next { plan, step: Some(step), gate: Gate::of(step), enters_dual_write });
        }
    }

    fn lawless(&mut self, there: Plan, gate: Gate, next: &mut Vec<Next>) {
        let plan = self.place(there);
        next.push(Next { plan, step: None, gate, enters_dual_write: false });
    }
}

fn plan_with(here: &Plan, full: bool) -> Plan {
    here.with_options(options(full)).unwrap_or_else(|refused| unreachable!("options of the model: {refused}"))
}

fn plan_with_position(here: &Plan, position: &Position) -> Plan {
    here.settled_at(position.clone()).unwrap_or_else(|refused| unreachable!("a position of the model: {refused}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_rows_are_in_different_halves_and_change_places_with_the_salt() {
        let half = Bucket::COUNT / 2;
        let buckets = |salt: &str| {
            let plan = plan(&Position::at(Stage::Off), false, salt);
            [0, 1].map(|row| plan.salt().bucket(key(row)).number() < half)
        };
        assert_eq!(buckets(MIGRATION), [true, false]);
        assert_eq!(buckets(OTHER_SALT), [false, true]);
    }
}
