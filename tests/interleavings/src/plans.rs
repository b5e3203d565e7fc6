//! Plan swap and grace period (R3): no epoch is said to have ended while an operation of it lives.

use crate::epoch::Epochs;
use crossfade_core::{Plan, PlanSpec, Revision, Stage};
use shuttle::future::block_on;
use shuttle::thread;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

const FIRST: Revision = Revision { incarnation: 1, number: 1, hash: 0 };

pub(crate) fn plan(stage: Stage) -> Plan {
    match Plan::new(PlanSpec::at("events", stage)) {
        Ok(plan) => plan,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn first(stage: Stage) -> Arc<Epochs> {
    Arc::new(Epochs::new(plan(stage), FIRST))
}

/// The operations that live, by their epoch: counted by the scenario itself, without a step between.
#[derive(Debug, Default)]
struct Alive(Mutex<BTreeMap<u64, u32>>);

impl Alive {
    fn change(&self, sequence: u64, by: i32) {
        let mut alive = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = alive.entry(sequence).or_default();
        *count = count.saturating_add_signed(by);
    }

    fn before(&self, sequence: u64) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).range(..sequence).map(|(_, count)| count).sum()
    }
}

/// Operations enter and leave while plans are put into force and waited for, by two conductors at once.
pub fn no_epoch_ends_before_its_operations() {
    let epochs = first(Stage::Off);
    let alive = Arc::new(Alive::default());
    let operations = (0..3).map(|_| {
        let (epochs, alive) = (Arc::clone(&epochs), Arc::clone(&alive));
        thread::spawn(move || {
            for _ in 0..2 {
                let epoch = epochs.enter();
                alive.change(epoch.sequence(), 1);
                crate::sync::step();
                alive.change(epoch.sequence(), -1);
                drop(epoch);
            }
        })
    });
    let conductors = [Stage::DualWrite, Stage::Shadow].map(|stage| {
        let (epochs, alive) = (Arc::clone(&epochs), Arc::clone(&alive));
        thread::spawn(move || {
            let sequence = epochs.install(plan(stage), FIRST.next(1));
            block_on(epochs.grace(sequence));
            assert_eq!(alive.before(sequence), 0, "an operation outlived the grace period of its epoch");
            sequence
        })
    });
    let operations: Vec<_> = operations.collect();
    let mut sequences = conductors.map(|conductor| conductor.join().unwrap_or_default());
    sequences.sort_unstable();
    assert_eq!(sequences, [2, 3], "each plan has a sequence of its own");
    for operation in operations {
        assert!(operation.join().is_ok());
    }
    assert!(epochs.is_settled(), "an epoch without operations never ended");
}

/// The smallest case, under every schedule: one operation, one new plan.
pub fn an_operation_races_with_a_new_plan() {
    let epochs = first(Stage::Off);
    let alive = Arc::new(Alive::default());
    let operation = {
        let (epochs, alive) = (Arc::clone(&epochs), Arc::clone(&alive));
        thread::spawn(move || {
            let epoch = epochs.enter();
            alive.change(epoch.sequence(), 1);
            crate::sync::step();
            alive.change(epoch.sequence(), -1);
        })
    };
    let sequence = epochs.install(plan(Stage::DualWrite), FIRST.next(1));
    block_on(epochs.grace(sequence));
    assert_eq!(alive.before(sequence), 0, "the operation outlived the grace period of its epoch");
    assert!(operation.join().is_ok());
    assert!(epochs.is_settled());
}
