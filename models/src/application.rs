//! The application: instances, and the reads and writes in them.

use crate::action::{Action, Outcome};
use crate::model::Protocol;
use crate::plans::Entry;
use crate::rules::Rule;
use crate::state::State;
use crate::store::{Call, Change, Owner, ROWS, Value};
use crossfade_core::{Effect, MarkReason, Revision, Side, Stage};

/// How many operations an instance runs at a time.
pub const SLOTS: usize = 2;

/// A running process of the application, or a place for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Instance {
    /// It runs.
    pub up: bool,
    /// It has registered with the control plane, as far as it knows.
    pub registered: bool,
    /// The plan that it goes by; when it is down, the plan on its disk.
    pub plan: Option<Revision>,
    /// Its operations under way.
    pub operations: [Option<Operation>; SLOTS],
    /// Marks that it has set and not handed over yet.
    pub marks: Marks,
}

/// "These rows may differ."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Marks {
    /// One a row.
    pub rows: [Option<Mark>; ROWS],
    /// The generation of the next mark.
    pub generation: u8,
}

/// "This row may differ", until a repair has begun after what set it and ended before it was set again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Which setting of it this is.
    pub generation: u8,
    /// The operations whose calls may still land, a bit each: the repair waits for their linger.
    pub lingering: u16,
    /// What the write carried. Kept only while "copy the truth" is dropped.
    pub payload: Option<Value>,
}

impl Marks {
    /// Sets a mark, or sets it again.
    pub fn set(&mut self, row: u8, lingering: u16, payload: Option<Value>) {
        let before = self.rows[row as usize].map_or(0, |mark| mark.lingering);
        let mark = Mark { generation: self.generation, lingering: before | lingering, payload };
        self.rows[row as usize] = Some(mark);
        self.generation += 1;
    }

    /// No row is marked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(Option::is_none)
    }
}

/// What an operation is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// Read one row.
    Read,
    /// Read both rows in one call.
    ReadBoth,
    /// Write one row.
    Write(Write),
    /// Write one row in a transaction of the caller's, which commits later.
    Transaction(Write),
    /// Write one row, and say no cohort key.
    Keyless(Write),
}

/// A write of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Write {
    /// Put a value that nobody else puts.
    Put,
    /// Put the value 1, again perhaps.
    PutOne,
    /// Delete the row.
    Delete,
    /// Add one.
    Increment,
}

/// One operation under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Its number.
    pub number: u8,
    /// What it does.
    pub work: Work,
    /// Its row.
    pub row: u8,
    /// The revision under which it began.
    pub revision: Revision,
    /// The stage that it was told.
    pub stage: Stage,
    /// Another write of the row ran in this instance meanwhile.
    pub overlapped: bool,
    /// Where it stands.
    pub at: At,
}

/// Where an operation stands: what it does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// Read at the authority. Writes acknowledged before the read began, one place for each row.
    Read([u8; ROWS]),
    /// Write the authority.
    Authority,
    /// Write the secondary, so that it holds this.
    Secondary(Value),
    /// Read the authority, to check.
    CheckAuthority,
    /// Read the secondary, and compare with this.
    CheckSecondary(Value),
    /// Wait until nothing of it is on its way.
    Linger,
}

impl Operation {
    fn write(&self) -> Option<Write> {
        match self.work {
            Work::Read | Work::ReadBoth => None,
            Work::Write(write) | Work::Transaction(write) | Work::Keyless(write) => Some(write),
        }
    }

    /// What it asks of a store.
    fn change(&self) -> Change {
        match self.write() {
            Some(Write::Put) => Change::Set(Some(self.number + 2)),
            Some(Write::PutOne) => Change::Set(Some(1)),
            Some(Write::Increment) => Change::Add,
            Some(Write::Delete) | None => Change::Set(None),
        }
    }

    fn increments(&self) -> bool {
        self.write() == Some(Write::Increment)
    }
}

impl Protocol {
    /// What the application may do next.
    pub fn application_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (i, instance) in state.instances.iter().enumerate().take(self.scope.instances) {
            let id = i as u8;
            if !instance.up {
                if state.left.starts > 0 {
                    actions.push(Action::Start(id));
                }
                continue;
            }
            if let Some(revision) = instance.plan
                && (instance.registered || self.serves_unregistered())
            {
                let free = instance.operations.iter().take(self.scope.slots).any(Option::is_none);
                if free {
                    self.beginnings(state, id, self.plans.of(revision), actions);
                }
            }
            for (slot, operation) in instance.operations.iter().enumerate() {
                if let Some(operation) = operation {
                    self.step_actions(state, id, slot as u8, operation, actions);
                }
            }
            if state.left.crashes > 0 {
                actions.push(Action::Crash(id));
            }
        }
    }

    fn serves_unregistered(&self) -> bool {
        [Rule::RegisterWithPlan, Rule::NoCachedPlan, Rule::WaitForPlan].into_iter().any(|rule| self.dropped(rule))
    }

    fn beginnings(&self, state: &State, id: u8, plan: &Entry, actions: &mut Vec<Action>) {
        for row in 0..self.scope.rows as u8 {
            let held = plan.decisions[row as usize].held
                && !(self.dropped(Rule::HoldThroughMove)
                    && matches!(plan.plan.phase(), crossfade_core::Phase::Move { .. }));
            if state.left.writes > 0 {
                for &work in &self.scope.writes {
                    // R13: without a key there is no decision, only an error.
                    let keyless = matches!(work, Work::Keyless(_));
                    if !held && (!keyless || self.dropped(Rule::KeyNeeded)) {
                        actions.push(Action::Begin(id, row, work));
                    }
                }
            }
            if state.left.reads > 0 && self.scope.reads.contains(&Work::Read) {
                actions.push(Action::Begin(id, row, Work::Read));
            }
        }
        if state.left.reads > 0 && self.scope.reads.contains(&Work::ReadBoth) {
            actions.push(Action::Begin(id, 0, Work::ReadBoth));
        }
    }

    fn step_actions(&self, state: &State, id: u8, slot: u8, operation: &Operation, actions: &mut Vec<Action>) {
        let mut push = |outcome| actions.push(Action::Step(id, slot, outcome));
        match operation.at {
            At::Read(_) | At::CheckAuthority | At::CheckSecondary(_) => push(Outcome::Applied),
            At::Authority | At::Secondary(_) => {
                push(Outcome::Applied);
                if state.left.refusals > 0 {
                    push(Outcome::Refused);
                }
                if state.left.losses > 0 {
                    push(Outcome::Lost);
                }
                if matches!((operation.work, operation.at), (Work::Transaction(_), At::Secondary(_))) {
                    push(Outcome::Dropped);
                }
            }
            At::Linger => {
                if state.linger_passed(Owner::Operation(operation.number)) {
                    push(Outcome::Applied);
                }
            }
        }
    }

    /// An operation begins: it takes its decision (R2).
    pub fn begin(&self, state: &mut State, id: u8, row: u8, work: Work) -> Option<()> {
        let revision = state.instances[id as usize].plan?;
        let plan = self.plans.of(revision);
        let decision = match work {
            Work::Keyless(_) => plan.keyless,
            Work::Read | Work::ReadBoth | Work::Write(_) | Work::Transaction(_) => plan.decisions[row as usize],
        };
        let number = state.ghost.operations;
        state.ghost.operations += 1;
        let mut operation =
            Operation { number, work, row, revision, stage: decision.stage, overlapped: false, at: At::Authority };
        if operation.write().is_some() {
            state.left.writes -= 1;
        } else {
            state.left.reads -= 1;
            operation.at = At::Read(state.ghost.acknowledged);
        }
        let instance = &mut state.instances[id as usize];
        for other in instance.operations.iter_mut().flatten() {
            if other.row == row && other.write().is_some() && operation.write().is_some() {
                other.overlapped = true;
                operation.overlapped = true;
            }
        }
        let free = instance.operations.iter_mut().take(self.scope.slots).find(|slot| slot.is_none())?;
        *free = Some(operation);
        Some(())
    }

    /// An operation takes its next step.
    pub fn step(&self, state: &mut State, id: u8, slot: u8, outcome: Outcome) -> Option<()> {
        let mut operation = state.instances[id as usize].operations[slot as usize]?;
        if self.dropped(Rule::DecideOnce) {
            let plan = self.plans.of(state.instances[id as usize].plan?);
            operation.stage = plan.decisions[operation.row as usize].stage;
        }
        let route = operation.stage.write_route();
        let next = match operation.at {
            At::Read(since) => {
                self.read(state, &operation, since);
                None
            }
            At::Authority => self.write_authority(state, id, &operation, outcome)?,
            At::Secondary(value) => match route.secondary {
                // Only an operation that decides anew finds no secondary here.
                None => None,
                Some(side) => self.write_secondary(state, id, &operation, side, value, outcome)?,
            },
            At::CheckAuthority => Some(At::CheckSecondary(state.cell(route.authority, operation.row))),
            At::CheckSecondary(seen) => {
                if seen != state.cell(route.authority.other(), operation.row) {
                    self.mark(state, id, &operation, Some(MarkReason::CheckDiffered), None);
                }
                None
            }
            At::Linger => None,
        };
        if next.is_none() && operation.overlapped && route.secondary.is_some() && !self.dropped(Rule::MarkOverlap) {
            self.mark(state, id, &operation, Some(MarkReason::Overlapped), None);
        }
        let slot = &mut state.instances[id as usize].operations[slot as usize];
        *slot = next.map(|at| Operation { at, ..operation });
        Some(())
    }

    fn read(&self, state: &mut State, operation: &Operation, since: [u8; ROWS]) {
        let rows = match operation.work {
            Work::ReadBoth => 0..ROWS as u8,
            Work::Read | Work::Write(_) | Work::Transaction(_) | Work::Keyless(_) => operation.row..operation.row + 1,
        };
        let plan = self.plans.of(operation.revision);
        for row in rows {
            let stage = match operation.work {
                Work::ReadBoth if !self.dropped(Rule::SplitKeys) => plan.decisions[row as usize].stage,
                _ => operation.stage,
            };
            let value = state.cell(stage.read_route().authority, row);
            if !state.ghost.waived && !state.ghost.regular(row, since[row as usize], value) {
                state.ghost.stale_read = true;
            }
        }
    }

    fn write_authority(
        &self,
        state: &mut State,
        id: u8,
        operation: &Operation,
        outcome: Outcome,
    ) -> Option<Option<At>> {
        let route = operation.stage.write_route();
        let call = Call {
            owner: Owner::Operation(operation.number),
            side: route.authority,
            row: operation.row,
            change: operation.change(),
            expected: None,
            authoritative: true,
        };
        let effect = self.call(state, call, outcome)?;
        Some(match effect {
            Effect::Applied => {
                // The caller is answered here: the earliest answer is the hardest to keep.
                state.ghost.acknowledge(operation.row, operation.increments());
                route.secondary.map(|_| At::Secondary(state.cell(route.authority, operation.row)))
            }
            Effect::Refused => None,
            Effect::Unknown => {
                if route.secondary.is_some() && !self.dropped(Rule::MarkAuthority) {
                    self.mark(state, id, operation, effect.mark_of_authority(), None);
                }
                self.lingering()
            }
        })
    }

    fn write_secondary(
        &self,
        state: &mut State,
        id: u8,
        operation: &Operation,
        side: Side,
        value: Value,
        outcome: Outcome,
    ) -> Option<Option<At>> {
        if outcome == Outcome::Dropped {
            if !self.dropped(Rule::TransactionMark) {
                self.mark(state, id, operation, Some(MarkReason::Prepared), Some(value));
            }
            return Some(None);
        }
        let replay = operation.increments() && self.dropped(Rule::CarryState);
        let call = Call {
            owner: Owner::Operation(operation.number),
            side,
            row: operation.row,
            change: if replay { Change::Add } else { Change::Set(value) },
            expected: None,
            authoritative: false,
        };
        let effect = self.call(state, call, outcome)?;
        let (rule, next) = match effect {
            Effect::Applied => (None, self.check(operation)),
            Effect::Refused => (Some(Rule::MarkFailed), None),
            Effect::Unknown => (Some(Rule::MarkUnknown), self.lingering()),
        };
        if rule.is_some_and(|rule| !self.dropped(rule)) {
            self.mark(state, id, operation, effect.mark_of_secondary(), Some(value));
        }
        Some(next)
    }

    /// Makes a call with this outcome. None when the model cannot hold another late call.
    pub fn call(&self, state: &mut State, call: Call, outcome: Outcome) -> Option<Effect> {
        match outcome {
            Outcome::Applied | Outcome::Dropped | Outcome::Lagging => {
                state.apply(call, self.dropped(Rule::LinearizableReads));
                Some(Effect::Applied)
            }
            Outcome::Refused => {
                state.left.refusals -= 1;
                state.ghost.faulty = true;
                Some(Effect::Refused)
            }
            Outcome::Lost => {
                state.left.losses -= 1;
                state.ghost.faulty = true;
                state.lose(call, self.scope.lands).then_some(Effect::Unknown)
            }
        }
    }

    fn check(&self, operation: &Operation) -> Option<At> {
        let full = self.plans.of(operation.revision).full_checks();
        (full && !self.dropped(Rule::FullChecks)).then_some(At::CheckAuthority)
    }

    fn lingering(&self) -> Option<At> {
        (!self.dropped(Rule::Linger)).then_some(At::Linger)
    }

    fn mark(
        &self,
        state: &mut State,
        id: u8,
        operation: &Operation,
        reason: Option<MarkReason>,
        payload: Option<Value>,
    ) {
        if let Some(reason) = reason {
            let lingering = if reason.lingers() { 1 << operation.number } else { 0 };
            let payload = payload.filter(|_| self.dropped(Rule::CopyTruth));
            state.instances[id as usize].marks.set(operation.row, lingering, payload);
        }
    }

    /// Every operation that an acknowledgement of `revision` has to wait for has ended (R3).
    #[must_use]
    pub fn drained(&self, state: &State, id: u8, revision: Revision) -> bool {
        if self.repairs_hold(state, Some(id), revision) {
            return false;
        }
        if self.dropped(Rule::Drain) || self.dropped(Rule::DecideOnce) {
            return true;
        }
        state.instances[id as usize].operations.iter().flatten().all(|operation| {
            let prepared = matches!((operation.work, operation.at), (Work::Transaction(_), At::Authority));
            let checking = matches!(operation.at, At::CheckAuthority | At::CheckSecondary(_));
            operation.revision == revision
                || (prepared && self.dropped(Rule::TransactionOpen))
                || (checking && self.dropped(Rule::CheckOwned))
        })
    }

    /// A process dies: what it had in memory is gone, what it had sent is on its way.
    pub fn crash(&self, state: &mut State, id: u8) {
        state.left.crashes -= 1;
        state.ghost.faulty = true;
        let instance = &mut state.instances[id as usize];
        *instance = Instance { plan: instance.plan, ..Instance::default() };
        for repair in &mut state.repairs {
            if repair.is_some_and(|repair| repair.home == Some(id)) {
                *repair = None;
            }
        }
        if state.control.members[id as usize].is_some() {
            state.control.members[id as usize] = None;
            state.control.silent |= 1 << id;
        }
    }
}
