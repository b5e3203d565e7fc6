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

/// A predicate write may touch any row of its table.
const ANY_ROW: u8 = 1 << 7;

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
    /// How often it has found the table suspect (R24).
    pub raised: u8,
    /// It has said goodbye and runs on all the same. Only where R30 is dropped.
    pub left: bool,
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
    /// The operations on its row that were under way when it was set, a bit each: the repair waits for their end.
    pub under_way: u16,
    /// The row that was written. Another than the marked one only where R23 is dropped.
    pub of: u8,
    /// What the write carried. Kept only while "copy the truth" is dropped.
    pub payload: Option<Value>,
}

impl Marks {
    /// Sets a mark, or sets it again.
    pub fn set(&mut self, row: u8, mark: Mark) {
        let place = &mut self.rows[row as usize];
        let (lingering, under_way) = place.map_or((0, 0), |before| (before.lingering, before.under_way));
        *place = Some(Mark {
            generation: self.generation,
            lingering: lingering | mark.lingering,
            under_way: under_way | mark.under_way,
            ..mark
        });
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
    /// Delete every row by a predicate: which rows that are is not known before (R24).
    Clear,
    /// Insert a row whose id the database makes: the last row, while it has never existed (R24).
    Insert,
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
    /// Another write of the table, whose rows or whose own are not known, ran in this instance meanwhile.
    pub conflicted: bool,
    /// The rows that other writes wrote while its own rows were not known, a bit each.
    pub met: u8,
    /// The rows that the authority's answer named, a bit each; none before, and for writes of a row known beforehand.
    pub named: Option<u8>,
    /// Its place in the order of the row on the authority. Only where secondary writes take turns.
    pub turn: u8,
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
    /// The authority has the write; its answer, which names the row, is on its way.
    Answer,
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
    /// What it writes; none for a read.
    #[must_use]
    pub fn write(&self) -> Option<Write> {
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
            Some(Write::Insert) => Change::Set(self.inserted()),
            Some(Write::Increment) => Change::Add,
            Some(Write::Clear) => Change::Clear,
            Some(Write::Delete) | None => Change::Set(None),
        }
    }

    fn inserted(&self) -> Value {
        Some(self.number + 2)
    }

    /// It deletes by a predicate.
    #[must_use]
    pub fn clears(&self) -> bool {
        self.write() == Some(Write::Clear)
    }

    /// It inserts a row whose id is not known yet.
    fn nameless(&self) -> bool {
        self.write() == Some(Write::Insert) && self.named.is_none()
    }

    fn bit(&self) -> u8 {
        1 << self.row
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
                if free && (!instance.left || self.dropped(Rule::NoOperation)) {
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
                    if !held && (!keyless || self.dropped(Rule::KeyNeeded)) && self.exists(state, row, work) {
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

    /// Where the database makes ids, a write names only rows that have one; predicates go by the whole table.
    fn exists(&self, state: &State, row: u8, work: Work) -> bool {
        let inserts = self.scope.writes.contains(&Work::Write(Write::Insert));
        let last = row as usize + 1 == self.scope.rows;
        let made = state.ghost.newest[row as usize] > 0;
        match work {
            Work::Write(Write::Clear) => row == 0,
            Work::Write(Write::Insert) => {
                let running = state.instances.iter().flat_map(|i| i.operations).flatten().any(|o| o.work == work);
                last && !made && !running
            }
            Work::Write(_) | Work::Transaction(_) | Work::Keyless(_) => !(inserts && last) || made,
            Work::Read | Work::ReadBoth => true,
        }
    }

    fn step_actions(&self, state: &State, id: u8, slot: u8, operation: &Operation, actions: &mut Vec<Action>) {
        let mut push = |outcome| actions.push(Action::Step(id, slot, outcome));
        match operation.at {
            At::Read(_) | At::Answer => push(Outcome::Applied),
            At::CheckAuthority | At::CheckSecondary(_) => {
                push(Outcome::Applied);
                if self.scope.checks_fail && state.left.losses > 0 {
                    push(Outcome::Lost);
                }
            }
            At::Authority | At::Secondary(_) => {
                if matches!(operation.at, At::Secondary(_)) && state.left.skips > 0 {
                    push(Outcome::Skipped);
                }
                if matches!(operation.at, At::Secondary(_)) && self.waits_for_turn(state, id, operation) {
                    return;
                }
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

    /// Secondary writes of a row take turns, and an earlier one has not ended.
    fn waits_for_turn(&self, state: &State, id: u8, operation: &Operation) -> bool {
        let earlier = |other: &Operation| other.row == operation.row && other.turn < operation.turn;
        let mut others = state.instances[id as usize].operations.iter().flatten();
        self.scope.turns && others.any(|other| matches!(other.at, At::Secondary(_)) && earlier(other))
    }

    /// Two writes of one instance run at the same time.
    fn meet(&self, other: &mut Operation, new: &mut Operation) {
        if other.clears() || new.clears() {
            self.meet_clear(other, new);
        } else if other.nameless() || new.nameless() {
            other.met |= new.bit();
            new.met |= other.bit();
        } else if other.row == new.row && self.overlaps(other) {
            other.overlapped = true;
            new.overlapped = true;
        }
    }

    fn meet_clear(&self, other: &mut Operation, new: &mut Operation) {
        let refined = self.dropped(Rule::WholeToTheEnd);
        let conflict = match other.named {
            Some(rows) if refined && other.clears() => rows & new.bit() != 0,
            _ if refined => {
                other.met |= new.bit();
                new.met |= other.bit();
                false
            }
            _ => !self.dropped(Rule::WholeOverlap),
        };
        other.conflicted |= conflict;
        new.conflicted |= conflict;
    }

    /// With turns, only writes that are at the authority at the same time have no order.
    fn overlaps(&self, other: &Operation) -> bool {
        let at_authority = match other.at {
            At::Authority | At::Answer => true,
            At::Linger => other.turn == 0 && !self.dropped(Rule::LateOverlap),
            At::Read(_) | At::Secondary(_) | At::CheckAuthority | At::CheckSecondary(_) => false,
        };
        !self.scope.turns || at_authority
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
        let mut operation = Operation {
            number,
            work,
            row,
            revision,
            stage: decision.stage,
            overlapped: false,
            conflicted: false,
            met: 0,
            named: None,
            turn: 0,
            at: At::Authority,
        };
        if operation.write().is_some() {
            state.left.writes -= 1;
        } else {
            state.left.reads -= 1;
            operation.at = At::Read(state.ghost.acknowledged);
        }
        let instance = &mut state.instances[id as usize];
        for other in instance.operations.iter_mut().flatten() {
            if other.write().is_some() && operation.write().is_some() {
                self.meet(other, &mut operation);
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
            At::Authority => self.write_authority(state, id, &mut operation, outcome)?,
            At::Answer => self.answer(state, id, &mut operation),
            At::Secondary(value) => match route.secondary {
                // Only an operation that decides anew finds no secondary here.
                None => None,
                Some(side) => self.write_secondary(state, id, &mut operation, side, value, outcome)?,
            },
            At::CheckAuthority | At::CheckSecondary(_) if outcome == Outcome::Lost => {
                state.left.losses -= 1;
                state.ghost.faulty = true;
                if !self.dropped(Rule::DoubtIsMark) {
                    self.mark(state, id, &operation, Some(MarkReason::CheckDiffered), None);
                }
                None
            }
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
        if next.is_none() && route.secondary.is_some() && self.conflicts(&operation, outcome) {
            state.instances[id as usize].raised += 1;
        }
        let slot = &mut state.instances[id as usize].operations[slot as usize];
        *slot = next.map(|at| Operation { at, ..operation });
        Some(())
    }

    /// An operation that ends now leaves its table suspect (R24).
    fn conflicts(&self, operation: &Operation, outcome: Outcome) -> bool {
        let refused = operation.at == At::Authority && outcome == Outcome::Refused;
        let elsewhere = self.scope.instances > 1 && operation.clears() && !self.dropped(Rule::WholeElsewhere);
        operation.conflicted || (elsewhere && !refused)
    }

    /// The authority's answer names the row that was inserted.
    fn answer(&self, state: &mut State, id: u8, operation: &mut Operation) -> Option<At> {
        operation.named = Some(operation.bit());
        if operation.met & operation.bit() != 0 && !self.dropped(Rule::RowsMeanwhile) {
            operation.overlapped = true;
        }
        for other in state.instances[id as usize].operations.iter_mut().flatten() {
            if other.number != operation.number && other.row == operation.row && other.write().is_some() {
                other.overlapped = true;
                operation.overlapped = true;
            }
        }
        state.ghost.acknowledge(operation.row, false);
        operation.stage.write_route().secondary.map(|_| At::Secondary(operation.inserted()))
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
        operation: &mut Operation,
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
        let deleted = (0..ROWS as u8).filter(|row| state.cell(route.authority, *row).is_some());
        let deleted = deleted.fold(0, |rows, row| rows | 1 << row);
        let effect = self.call(state, call, outcome)?;
        Some(match effect {
            Effect::Applied if operation.nameless() => Some(At::Answer),
            Effect::Applied if operation.clears() => {
                (0..ROWS as u8).for_each(|row| state.ghost.acknowledge(row, false));
                operation.named = Some(deleted);
                operation.conflicted |= self.dropped(Rule::WholeToTheEnd) && deleted & operation.met != 0;
                route.secondary.map(|_| At::Secondary(None))
            }
            Effect::Applied => {
                if self.scope.turns {
                    operation.turn = state.ghost.newest[operation.row as usize];
                }
                // The caller is answered here: the earliest answer is the hardest to keep.
                state.ghost.acknowledge(operation.row, operation.increments());
                route.secondary.map(|_| At::Secondary(state.cell(route.authority, operation.row)))
            }
            Effect::Refused => None,
            Effect::Unknown if operation.clears() || operation.nameless() => {
                operation.conflicted = true;
                self.suspect_the_table(state, id, route.secondary.is_some());
                self.lingering()
            }
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
        operation: &mut Operation,
        side: Side,
        value: Value,
        outcome: Outcome,
    ) -> Option<Option<At>> {
        if outcome == Outcome::Skipped {
            state.left.skips -= 1;
            self.mark(state, id, operation, Some(MarkReason::OverBudget), Some(value));
            return Some(None);
        }
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
            change: match replay || operation.clears() {
                true => operation.change(),
                false => Change::Set(value),
            },
            expected: None,
            authoritative: false,
        };
        let effect = self.call(state, call, outcome)?;
        if operation.clears() {
            return Some(self.cleared(state, id, operation, effect));
        }
        let (rule, next) = match effect {
            Effect::Applied => (None, self.check(id, operation)),
            Effect::Refused => (Some(Rule::MarkFailed), None),
            Effect::Unknown => (Some(Rule::MarkUnknown), self.lingering()),
        };
        if rule.is_some_and(|rule| !self.dropped(rule)) {
            self.mark(state, id, operation, effect.mark_of_secondary(), Some(value));
        }
        Some(next)
    }

    /// A predicate write has been sent to the secondary: what it did there cannot be checked row by row.
    fn cleared(&self, state: &mut State, id: u8, operation: &mut Operation, effect: Effect) -> Option<At> {
        if effect == Effect::Applied {
            return None;
        }
        let forgotten = self.dropped(Rule::WholeFailed);
        self.suspect_the_table(state, id, !forgotten);
        operation.conflicted |= effect == Effect::Unknown && !forgotten;
        (effect == Effect::Unknown).then(|| self.lingering()).flatten()
    }

    fn suspect_the_table(&self, state: &mut State, id: u8, mirrored: bool) {
        state.instances[id as usize].raised += u8::from(mirrored);
    }

    /// Makes a call with this outcome. None when the model cannot hold another late call.
    pub fn call(&self, state: &mut State, call: Call, outcome: Outcome) -> Option<Effect> {
        match outcome {
            Outcome::Applied | Outcome::Dropped | Outcome::Skipped | Outcome::Lagging => {
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

    /// The instance can read the rows that it writes on both sides (R25).
    #[must_use]
    pub fn can_check(&self, id: u8) -> bool {
        self.scope.cannot_check & 1 << id == 0
    }

    fn check(&self, id: u8, operation: &Operation) -> Option<At> {
        let full = self.plans.of(operation.revision).full_checks();
        (full && self.can_check(id) && !self.dropped(Rule::FullChecks)).then_some(At::CheckAuthority)
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
            let instance = &mut state.instances[id as usize];
            let others = instance.operations.iter().flatten().filter(|other| {
                other.number != operation.number && other.row == operation.row && other.write().is_some()
            });
            let counts = self.scope.turns && !self.dropped(Rule::EffectsUnderWay);
            let under_way = others.filter(|_| counts).fold(0, |bits, other| bits | 1 << other.number);
            // R23: without tables there is one list of marks, and the rows of the table that was attached first.
            let mixed = self.dropped(Rule::Tables) || self.dropped(Rule::TablesHalfOpen);
            let row = if mixed { ROWS as u8 - 1 } else { operation.row };
            instance.marks.set(row, Mark { generation: 0, lingering, under_way, of: operation.row, payload });
        }
    }

    /// Every operation that an acknowledgement of `revision` has to wait for has ended (R3).
    #[must_use]
    pub fn drained(&self, state: &State, id: u8, revision: Revision) -> bool {
        // R20: its first revisions wait for nothing that the waiver covers; the last one is waited for like any other.
        if state.control.forced {
            return true;
        }
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
                || (operation.at == At::Linger && self.lingers_on(operation, revision))
                || (prepared && self.dropped(Rule::TransactionOpen))
                || (checking && self.dropped(Rule::CheckOwned))
        })
    }

    /// R26: an effect that may still land holds up only the revisions that change the route of its rows.
    fn lingers_on(&self, operation: &Operation, revision: Revision) -> bool {
        let route = operation.stage.write_route();
        let forgotten = match route.secondary {
            None => Rule::SingleLinger,
            Some(_) => Rule::SecondaryLinger,
        };
        let decisions = &self.plans.of(revision).decisions;
        let mut touched = (0..self.scope.rows).filter(|row| operation.clears() || *row == operation.row as usize);
        self.dropped(forgotten) || touched.all(|row| decisions[row].stage.write_route() == route)
    }

    /// The rows on which effects of an instance may still land, a bit each; the highest bit stands for predicates (R26).
    #[must_use]
    pub fn landing(&self, instance: &Instance) -> u8 {
        let lingering = instance.operations.iter().flatten().filter(|operation| operation.at == At::Linger);
        lingering.fold(0, |rows, operation| rows | if operation.clears() { ANY_ROW } else { operation.bit() })
    }

    /// An effect of an operation may still land on a row whose authority is to move (R26).
    #[must_use]
    pub fn may_land_on(&self, state: &State, moving: [bool; ROWS]) -> bool {
        let reports = state.control.landing.into_iter().zip(&state.instances);
        let mut rows = reports.map(|(reported, instance)| match self.dropped(Rule::ReportTogether) {
            true => self.landing(instance),
            false => reported,
        });
        rows.any(|rows| {
            let row = (0..ROWS).any(|row| moving[row] && rows & 1 << row != 0);
            (row && !self.dropped(Rule::MoveWaits)) || (rows & ANY_ROW != 0 && !self.dropped(Rule::MoveWaitsWhole))
        })
    }

    /// A process dies: what it had in memory is gone, what it had sent is on its way.
    pub fn crash(&self, state: &mut State, id: u8) {
        state.left.crashes -= 1;
        state.ghost.faulty = true;
        let instance = &mut state.instances[id as usize];
        *instance = Instance { plan: instance.plan, ..Instance::default() };
        state.control.reported[id as usize] = 0;
        state.control.landing[id as usize] = 0;
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
