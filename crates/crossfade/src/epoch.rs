//! The plan in force, and the grace period after a change (R3, as in RCU).
//!
//! An operation holds the [`Epoch`] under which it began. Dropping the last hold of an epoch tells [`Epochs`], so
//! that "every operation that began under an earlier revision has ended" is "no earlier epoch is alive". There is no
//! counter to forget and no window between reading the plan and being counted.

use crate::sync::{ArcSwap, Mutex, timeout_at, watch};
use crossfade_core::{Plan, Revision};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use tokio::time::Instant;

/// One plan while it is, or was, in force.
#[derive(Debug)]
pub(crate) struct Epoch {
    /// The plan.
    pub(crate) plan: Plan,
    /// Its revision.
    pub(crate) revision: Revision,
    /// Counts the plans of this process, from 1.
    sequence: u64,
    /// No operation may begin under it: the process has left the fleet (R30).
    closed: bool,
    registry: Arc<Registry>,
}

impl Epoch {
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// No operation may begin: the process has left the fleet (R30).
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.registry.ended(self.sequence);
    }
}

/// Which epochs some operation still holds.
#[derive(Debug)]
struct Registry {
    alive: Mutex<BTreeSet<u64>>,
    /// The oldest epoch that is alive.
    oldest: watch::Sender<u64>,
}

impl Registry {
    fn began(&self, sequence: u64) {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).insert(sequence);
    }

    fn ended(&self, sequence: u64) {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.remove(&sequence);
        let oldest = alive.first().copied().unwrap_or(sequence);
        self.oldest.send_if_modified(|known| std::mem::replace(known, oldest) != oldest);
    }
}

/// The plan in force and the grace periods of the ones before it.
#[derive(Debug)]
pub(crate) struct Epochs {
    current: ArcSwap<Epoch>,
    registry: Arc<Registry>,
    /// The sequence of the epoch in force: wakes held writes.
    changed: watch::Sender<u64>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl Epochs {
    pub(crate) fn new(plan: Plan, revision: Revision) -> Epochs {
        let registry = Arc::new(Registry { alive: Mutex::new(BTreeSet::from([1])), oldest: watch::Sender::new(1) });
        let first = Epoch { plan, revision, sequence: 1, closed: false, registry: Arc::clone(&registry) };
        Epochs {
            current: ArcSwap::from_pointee(first),
            registry,
            changed: watch::Sender::new(1),
            changing: Mutex::new(()),
        }
    }

    /// The epoch in force; an operation keeps it to its end.
    #[inline]
    pub(crate) fn enter(&self) -> Arc<Epoch> {
        self.current.load_full()
    }

    /// Looks at the plan in force without entering.
    #[inline]
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&Epoch) -> R) -> R {
        look(&self.current.load())
    }

    /// Puts a plan into force and returns its sequence, to be waited for with [`Epochs::grace`].
    ///
    /// After [`Epochs::close`] the plan may change, but no operation begins under it.
    pub(crate) fn install(&self, plan: Plan, revision: Revision) -> u64 {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = self.current.load().closed;
        self.swap(plan, revision, closed)
    }

    /// From now on no operation begins. Returns the sequence to be waited for with [`Epochs::grace`]: then every
    /// operation that had begun has ended.
    pub(crate) fn close(&self) -> u64 {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (plan, revision) = self.peek(|epoch| (epoch.plan.clone(), epoch.revision));
        self.swap(plan, revision, true)
    }

    fn swap(&self, plan: Plan, revision: Revision, closed: bool) -> u64 {
        let sequence = *self.changed.borrow() + 1;
        self.registry.began(sequence);
        let epoch = Epoch { plan, revision, sequence, closed, registry: Arc::clone(&self.registry) };
        // The old epoch lives on in the operations that hold it; with none left it is dropped, and counted, here.
        drop(self.current.swap(Arc::new(epoch)));
        self.changed.send_replace(sequence);
        sequence
    }

    /// Returns when every operation that began before epoch `sequence` has ended. Cancel safe.
    pub(crate) async fn grace(&self, sequence: u64) {
        let mut oldest = self.registry.oldest.subscribe();
        // The sender lives in the registry that `self` holds: waiting cannot fail.
        let _ended = oldest.wait_for(|oldest| *oldest >= sequence).await;
    }

    /// Waits for a plan after this epoch's. The epoch is let go first: nobody has to wait for who only waits. `until` is asked only
    /// where there is something to wait for. Cancel safe.
    pub(crate) async fn after(&self, epoch: Arc<Epoch>, until: impl FnOnce() -> Instant) -> Result<(), StillInForce> {
        let mut changed = self.changed.subscribe();
        let seen = *changed.borrow_and_update();
        // A plan that is in force and not yet announced is waited for like the next: asking again and again would only
        // keep the one that announces it from running.
        if seen > epoch.sequence() {
            return Ok(());
        }
        drop(epoch);
        // The sender lives in `self`: waiting ends by a change or in time.
        timeout_at(until(), changed.changed()).await.map(drop).map_err(|_| StillInForce)
    }

    /// Every operation that began under an earlier plan has ended.
    pub(crate) fn is_settled(&self) -> bool {
        *self.registry.oldest.borrow() >= *self.changed.borrow()
    }

    /// Tells of every change of the plan in force.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// No later plan came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StillInForce;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crossfade_core::{PlanSpec, Stage};
    use std::time::Duration;

    fn plan(stage: Stage) -> Plan {
        Plan::new(PlanSpec::at("events", stage)).unwrap()
    }

    const FIRST: Revision = Revision { incarnation: 1, number: 1, hash: 0 };

    #[tokio::test(start_paused = true)]
    async fn grace_ends_with_the_last_operation_of_an_earlier_epoch() {
        let epochs = Epochs::new(plan(Stage::Off), FIRST);
        let (slow, quick) = (epochs.enter(), epochs.enter());
        let sequence = epochs.install(plan(Stage::DualWrite), FIRST.next(1));
        drop(quick);
        assert!(tokio::time::timeout(Duration::from_secs(9), epochs.grace(sequence)).await.is_err());
        assert!(!epochs.is_settled());
        let late = epochs.enter();
        assert_eq!(late.plan.position().stage(), Stage::DualWrite);
        drop(slow);
        epochs.grace(sequence).await;
        assert!(epochs.is_settled());
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_operation_delays_every_later_epoch() {
        let epochs = Epochs::new(plan(Stage::Off), FIRST);
        let old = epochs.enter();
        epochs.install(plan(Stage::DualWrite), FIRST.next(1));
        let third = epochs.install(plan(Stage::DualWrite), FIRST.next(2));
        assert!(tokio::time::timeout(Duration::from_secs(9), epochs.grace(third)).await.is_err());
        drop(old);
        epochs.grace(third).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_next_plan_waits_for_no_plan_that_came_before() {
        let epochs = Epochs::new(plan(Stage::Off), FIRST);
        let soon = || Instant::now() + Duration::from_secs(9);
        assert_eq!(epochs.after(epochs.enter(), soon).await, Err(StillInForce));
        let old = epochs.enter();
        epochs.install(plan(Stage::DualWrite), FIRST.next(1));
        // It came before anybody waited: there is nothing to wait for, and no time is asked.
        assert_eq!(epochs.after(old, || unreachable!("nobody waits")).await, Ok(()));
        assert!(epochs.is_settled(), "who waits holds no epoch");
    }

    #[test]
    fn once_closed_every_later_plan_is_closed_too() {
        let epochs = Epochs::new(plan(Stage::Off), FIRST);
        assert!(!epochs.enter().is_closed());
        epochs.close();
        assert!(epochs.enter().is_closed());
        epochs.install(plan(Stage::DualWrite), FIRST.next(1));
        assert!(epochs.enter().is_closed());
    }

    #[test]
    fn peeking_does_not_enter() {
        let epochs = Epochs::new(plan(Stage::Off), FIRST);
        assert_eq!(epochs.peek(|epoch| epoch.revision), FIRST);
        epochs.install(plan(Stage::DualWrite), FIRST.next(1));
        assert!(epochs.is_settled());
    }
}
