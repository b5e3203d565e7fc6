//! The protocol as a machine that `stateright` can walk through.

use crate::action::Action;
use crate::application::{Instance, Marks};
use crate::control::Control;
use crate::plans::Plans;
use crate::properties;
use crate::rules::{Dropped, Rule};
use crate::scopes::Scope;
use crate::state::{Ghost, INSTANCES, State};
use crate::store::{ROWS, Store};
use crossfade_core::{BackfillState, Revision, Side, Tick, Verdict, Verification};
use stateright::{Model, Property};
use std::sync::atomic::AtomicBool;

/// A scope under the rules, or without one of them.
#[derive(Debug)]
pub struct Protocol {
    /// How small the world is.
    pub scope: Scope,
    /// What it does without.
    pub dropped: Dropped,
    /// The plans it can come to.
    pub plans: Plans,
    /// A violation has been found. The checker goes on to the end of its block and keeps the last; the first is the shortest.
    pub(crate) broken: AtomicBool,
}

impl Protocol {
    /// This scope, without these rules.
    #[must_use]
    pub fn new(scope: Scope, dropped: Dropped) -> Protocol {
        let plans = Plans::new(&scope.ways, dropped);
        Protocol { scope, dropped, plans, broken: AtomicBool::new(false) }
    }

    /// The rule is dropped.
    #[must_use]
    pub fn dropped(&self, rule: Rule) -> bool {
        self.dropped.contains(rule)
    }

    fn first(&self) -> State {
        let scope = &self.scope;
        let revision = Revision { incarnation: 1, number: 1, hash: 0 };
        let mut instances = [Instance::default(); INSTANCES];
        for instance in instances.iter_mut().take(scope.up) {
            *instance = Instance { up: true, registered: true, plan: Some(revision), ..Instance::default() };
        }
        let mut stores = [Store::default(); 2];
        let mut ghost = Ghost::default();
        for (row, value) in scope.history.iter().enumerate() {
            stores[Side::Source as usize].rows[row] = *value;
            ghost.values[row][0] = *value;
            if scope.converged {
                stores[Side::Target as usize].rows[row] = *value;
            }
        }
        // A converged scope begins in the quiet after a verification that a gate can rely on.
        let verified = Verification { began: Tick(4), verdict: Verdict::Verified };
        let able = instances.iter().zip(0..).all(|(instance, id)| !instance.up || self.can_check(id));
        let control = Control {
            published: revision,
            incarnation: 1,
            members: instances.map(|instance| instance.plan),
            silent: 0,
            suspects: 0,
            suspected: None,
            reported: [0; INSTANCES],
            doubted: None,
            landing: [0; INSTANCES],
            draining: false,
            marks: Marks::default(),
            backfill: if scope.converged { BackfillState::Complete(Tick(2)) } else { BackfillState::NotStarted },
            backfilled: [scope.converged; ROWS],
            last_repair: None,
            dual_write_since: scope.converged.then_some(Tick(1)),
            entering: false,
            full_checks_since: (scope.ways.checked && able).then_some(Tick(3)),
            verification: (scope.converged && scope.ways.checked).then_some(verified),
            retreating: false,
            forced: false,
            unheard: 0,
        };
        let backup = (scope.budget.restores > 0).then(|| Box::new(control.clone()));
        let mut state = State {
            stores,
            late: Default::default(),
            instances,
            control,
            backup,
            backfill: None,
            repairs: Default::default(),
            verification: None,
            left: scope.budget,
            ghost,
        };
        state.number_ticks();
        state
    }

    fn act(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Begin(id, row, work) => self.begin(state, id, row, work)?,
            Action::Step(id, slot, outcome) => self.step(state, id, slot, outcome)?,
            Action::Start(id) => self.start(state, id)?,
            Action::Register(id) => self.register(state, id),
            Action::Receive(id) => self.receive(state, id),
            Action::Acknowledge(id) => self.acknowledge(state, id),
            Action::Crash(id) => self.crash(state, id),
            Action::Leave(id) => self.leave(state, id),
            Action::Tell(id) => self.tell(state, id),
            Action::FallBack(id) => self.fall_back(state, id),
            Action::Publish(place) => self.publish(state, place)?,
            Action::Force(place) => self.force(state, place)?,
            Action::Evict(id) => self.evict(state, id),
            Action::Restore => self.restore(state)?,
            Action::Report(id) => self.report(state, id)?,
            Action::BackfillBegin(row) => self.backfill_begin(state, row),
            Action::BackfillStep(outcome) => self.backfill_step(state, outcome)?,
            Action::BackfillEnd => self.backfill_end(state),
            Action::BackfillKill => self.backfill_kill(state),
            Action::RepairBegin(home, row) => self.repair_begin(state, home, row)?,
            Action::RepairStep(place, outcome) => self.repair_step(state, place, outcome)?,
            Action::VerifyBegin => self.verify_begin(state),
            Action::VerifyStep(look) => self.verify_step(state, look)?,
            Action::Land(place) => state.land(place as usize, self.dropped(Rule::LinearizableReads)),
            Action::Vanish(place) => state.vanish(place as usize),
        }
        Some(())
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.application_actions(state, actions);
        self.control_actions(state, actions);
        self.backfill_actions(state, actions);
        self.repair_actions(state, actions);
        self.verification_actions(state, actions);
        for place in 0..state.late.iter().flatten().count() as u8 {
            actions.push(Action::Land(place));
            actions.push(Action::Vanish(place));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.act(&mut next, action)?;
        next.number_ticks();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        properties::of(&self.scope)
    }
}
