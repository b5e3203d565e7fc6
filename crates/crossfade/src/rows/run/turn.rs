//! One row under the plan in force: who has authority for it, and how long the plan is held for it.

use crate::epoch::Epoch;
use crate::lingering::{Guard, Reach};
use crate::migration::Inner;
use crossfade_core::{Bucket, CohortKey, MissingKey, Plan, Side, WriteRoute};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What may be done with a row now.
pub(super) enum Allowed {
    /// It is written to both sides, and this side has authority.
    Work(Side, Turn),
    /// Only one side is written for its key: nothing holds the sides equal.
    NotMirrored,
    /// The run may not work under the plan in force, or the process has left the fleet (R30).
    Unfit(&'static str),
}

/// Decides about one row, under the plan in force (R2).
pub(super) fn decide(
    inner: &Arc<Inner>,
    unfit: impl FnOnce(&Plan) -> Option<&'static str>,
    key: &str,
    linger: Duration,
) -> Result<Allowed, MissingKey> {
    let epoch = inner.epochs.enter();
    if epoch.is_closed() {
        return Ok(Allowed::Unfit("this process has left the migration's fleet"));
    }
    if let Some(why) = unfit(&epoch.plan) {
        return Ok(Allowed::Unfit(why));
    }
    let decision = epoch.plan.decide(CohortKey::new(key)?);
    let (stage, bucket) = (decision.stage, decision.bucket);
    if !stage.is_mirrored() {
        return Ok(Allowed::NotMirrored);
    }
    let linger = linger.max(epoch.plan.options().linger);
    let (route, inner) = (stage.write_route(), Arc::clone(inner));
    let turn = Turn { inner, epoch: Some(epoch), bucket, route, linger, put_under_way: false };
    Ok(Allowed::Work(stage.authority(), turn))
}

/// Holds the plan under which a row is worked on. No later plan is acknowledged meanwhile, so that no authority moves
/// under the row (R6). Dropped while a put is under way, it holds the plan until that put can no longer land (R3).
pub(super) struct Turn {
    inner: Arc<Inner>,
    epoch: Option<Arc<Epoch>>,
    bucket: Bucket,
    route: WriteRoute,
    linger: Duration,
    put_under_way: bool,
}

impl Turn {
    /// A put begins. It counts as under way until [`Turn::put_answered`].
    pub(super) fn put_begins(&mut self) {
        self.put_under_way = true;
    }

    /// The outcome of every put is known, or its linger has passed.
    pub(super) fn put_answered(&mut self) {
        self.put_under_way = false;
    }

    /// Waits until a put without an answer can no longer land.
    pub(super) async fn linger(&mut self) {
        tokio::time::sleep(self.linger).await;
        self.put_answered();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(epoch) = self.epoch.take().filter(|_| self.put_under_way) else { return };
        let until = Instant::now() + self.linger;
        let number = self.inner.lingering.begin(Reach::Bucket(self.bucket), self.route, Guard::Wait, until);
        let inner = Arc::downgrade(&self.inner);
        self.inner.runtime.spawn(async move {
            tokio::time::sleep_until(until).await;
            if let Some(inner) = inner.upgrade() {
                inner.lingering.ended(number);
            }
            // A put of a run leaves no mark: the plan itself waits for it.
            drop(epoch);
        });
    }
}
