//! Held writes (R4): while authority moves, a write waits until it is released or refused, and no two sides are
//! authoritative at once.

use crate::epoch::Epochs;
use crate::plans::first;
use crate::sync::step;
use crossfade_core::{CohortKey, Plan, Position, Revision, Side, Stage};
use shuttle::future::{block_on, spawn};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Its bound passed while authority moved: nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused;

/// The authoritative writes under way, on the source and on the target.
#[derive(Debug, Default)]
struct Writing(Mutex<[u32; 2]>);

impl Writing {
    fn change(&self, side: Side, by: i32) -> [u32; 2] {
        let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = &mut writing[usize::from(side == Side::Target)];
        *count = count.saturating_add_signed(by);
        *writing
    }
}

/// As `Operation::begin_write` does, up to the authority's write itself.
async fn write(epochs: Arc<Epochs>, writing: Arc<Writing>) -> Result<Side, Refused> {
    let Ok(key) = CohortKey::new("u1") else { panic!("a key") };
    loop {
        let epoch = epochs.enter();
        let decision = epoch.plan.decide(key);
        if decision.held {
            if epochs.after(epoch, Instant::now).await.is_err() {
                return Err(Refused);
            }
            continue;
        }
        let side = decision.stage.write_route().authority;
        let both = writing.change(side, 1);
        assert!(both.contains(&0), "two authorities at once");
        for _ in 0..3 {
            step();
        }
        writing.change(side, -1);
        return Ok(side);
    }
}

/// Writes one after the other; what one of them has seen, the next does not go behind.
async fn some(epochs: Arc<Epochs>, writing: Arc<Writing>) {
    let mut moved = false;
    for _ in 0..4 {
        if let Ok(side) = write(Arc::clone(&epochs), Arc::clone(&writing)).await {
            assert!(!moved || side == Side::Target, "the old authority was written after the new one");
            moved = side == Side::Target;
        }
    }
}

/// Hold, move, release, each waited for, while writes come.
async fn conduct(epochs: Arc<Epochs>, steps: Vec<Plan>, mut revision: Revision) {
    for plan in steps {
        revision = revision.next(plan.fingerprint());
        let sequence = epochs.install(plan, revision);
        epochs.grace(sequence).await;
    }
}

/// Writes come while authority moves from the source to the target.
pub fn a_held_write_is_released_or_refused() {
    block_on(async {
        let epochs = first(Stage::Shadow);
        let (plan, revision) = epochs.peek(|epoch| (epoch.plan.clone(), epoch.revision));
        let Ok(steps) = plan.steps_to(Position::at(Stage::Live)) else { panic!("a lawful step") };
        assert_eq!(steps.len(), 3, "hold, move and release");
        let writing = Arc::new(Writing::default());
        let moving = spawn(conduct(Arc::clone(&epochs), steps, revision));
        let writers: Vec<_> = (0..3).map(|_| spawn(some(Arc::clone(&epochs), Arc::clone(&writing)))).collect();
        for writer in writers {
            // A write that is lost never comes back: shuttle calls that a deadlock.
            assert!(writer.await.is_ok());
        }
        assert!(moving.await.is_ok());
        assert!(epochs.is_settled());
        let late = write(epochs, writing).await;
        assert_eq!(late, Ok(Side::Target), "after the release nothing waits");
    });
}
