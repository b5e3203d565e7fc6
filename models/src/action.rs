//! Everything that can happen next, by any actor.

use crate::application::Work;

/// How a call ends, for the one who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done, and the answer arrived.
    Applied,
    /// The store refused it: it was certainly not done.
    Refused,
    /// The answer was lost: it may land now, later, twice or never.
    Lost,
    /// It was never made: the caller went away.
    Dropped,
    /// It was never made: the budget was used up, or its turn came too late.
    Skipped,
    /// A read that was answered by a lagging replica. Only where R22 is dropped.
    Lagging,
}

/// What a verification makes of the row it looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Look {
    /// It reads on.
    Read,
    /// The sides differ: it reads both again.
    Again,
    /// The sides differ, and it counts the row.
    Counts,
    /// Its connection is lost.
    Lost,
}

/// One step of one actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// An operation on a row begins in an instance.
    Begin(u8, u8, Work),
    /// The operation in this slot of the instance takes its next step.
    Step(u8, u8, Outcome),
    /// An instance starts.
    Start(u8),
    /// An instance that got its plan without registering registers.
    Register(u8),
    /// An instance gets the published plan.
    Receive(u8),
    /// An instance acknowledges the plan it has.
    Acknowledge(u8),
    /// An instance dies.
    Crash(u8),
    /// An instance says goodbye to the control plane.
    Leave(u8),
    /// An instance reports that a table became suspect.
    Tell(u8),
    /// An instance loses the plan source and falls back to a default. Only where R11 is dropped.
    FallBack(u8),
    /// The control plane publishes the plan at this place among those that may follow.
    Publish(u8),
    /// The operator forces a rollback past the gate, beginning with the plan at this place.
    Force(u8),
    /// The operator evicts an instance.
    Evict(u8),
    /// The control plane is restored from its backup.
    Restore,
    /// An instance tells a restored control plane what it knows.
    Report(u8),
    /// The backfill begins with a row.
    BackfillBegin(u8),
    /// The backfill takes its next step.
    BackfillStep(Outcome),
    /// The backfill has every row.
    BackfillEnd,
    /// The backfill is killed.
    BackfillKill,
    /// A repair of a row begins, inside an instance or as a process of its own.
    RepairBegin(Option<u8>, u8),
    /// The repair in this place takes its next step.
    RepairStep(u8, Outcome),
    /// A verification begins.
    VerifyBegin,
    /// The verification looks at its row.
    VerifyStep(Look),
    /// A late call lands.
    Land(u8),
    /// A late call will not land any more.
    Vanish(u8),
}
