//! Where plans come from. A source never blocks an operation, and losing it costs nothing: the last plan stays (R11).
//!
//! | source | acknowledges | for |
//! |---|---|---|
//! | [`fixed()`] | – | tests, and services that are not migrating yet |
//! | [`local()`] | within this process | one process that conducts itself |
//! | `server` (feature `server`) | the whole fleet | several processes under `crossfade serve` |
//! | `openfeature` (feature `openfeature`) | within this process; for a fleet only by a settle time (R12) | a flag service that is there already |
//! | [`file()`] | within this process; for a fleet only by a settle time (R12) | one process, or a mounted file |

mod file;
mod fixed;
mod local;
#[cfg(feature = "openfeature")]
mod openfeature;
#[cfg_attr(not(feature = "server"), expect(dead_code, reason = "only a control plane registers runs"))]
pub(crate) mod runs;
#[cfg(feature = "server")]
mod server;
mod wanted;

pub use file::{FileSource, PlanFile, PlanFileError, file};
pub use fixed::{Fixed, fixed};
pub use local::{Control, LocalSource, local};
#[cfg(feature = "openfeature")]
pub use openfeature::{OpenFeatureSource, openfeature};
pub use runs::RunRegistrar;
#[cfg(feature = "server")]
pub use server::{Membership, ServerSource, server};

use crate::conduct::{self, AdvanceError, Advanced, Goal};
use crate::marks::Marked;
use crate::migration::Inner;
use crate::observe::Observation;
use crossfade_core::{Plan, Revision};
use futures::future::BoxFuture;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// A source of plans.
///
/// [`first`](PlanSource::first) is called once, by `build`, and may be dropped half-way when its time is up;
/// [`follow`](PlanSource::follow) then runs on a task of its own until the migration is dropped, which aborts it.
pub trait PlanSource: Send + 'static {
    /// The plan to begin with. Waits for one as long as there is hope; an error ends the build.
    fn first<'a>(&'a mut self, migration: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>>;

    /// Whether other processes run under the plans of this source. The answer `BySettle` leaves it to the plan: a settle
    /// time says that there are several (R12). A write by predicate of another process is not seen here, so that where
    /// there may be one, each such write puts its table in doubt (R24).
    fn sharing(&self) -> Sharing {
        Sharing::Many
    }

    /// Hands every later plan to the steward. Must not return a default when the source is lost (R11).
    fn follow(self: Box<Self>, steward: Steward) -> BoxFuture<'static, ()>;

    /// Where backfills, verifications and repairs of this migration are registered: the control plane of this source.
    /// `None`, the default, for a source without one; such runs are then registered nowhere. Called once, by `build`.
    fn run_registrar(&self) -> Option<RunRegistrar> {
        None
    }
}

/// Whether several processes run under the plans of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// This process alone.
    One,
    /// Several where the plan has a settle time, otherwise this process alone.
    BySettle,
    /// Several.
    Many,
}

impl PlanSource for Box<dyn PlanSource> {
    fn sharing(&self) -> Sharing {
        (**self).sharing()
    }

    fn first<'a>(&'a mut self, migration: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>> {
        (**self).first(migration)
    }

    fn follow(self: Box<Self>, steward: Steward) -> BoxFuture<'static, ()> {
        (*self).follow(steward)
    }

    fn run_registrar(&self) -> Option<RunRegistrar> {
        (**self).run_registrar()
    }
}

/// Why a source has no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanSourceError {
    /// None was given to the builder.
    #[error("no plan source was given: call `.plan(…)` before `.build()`")]
    Unset,
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] PlanFileError),
    /// Anything else a source has to say.
    #[error("{0}")]
    Other(String),
}

/// What a source may do with its migration. Holds no migration alive.
#[derive(Clone)]
pub struct Steward {
    inner: Weak<Inner>,
}

impl std::fmt::Debug for Steward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steward")
    }
}

impl Steward {
    pub(crate) fn of(inner: &Arc<Inner>) -> Steward {
        Steward { inner: Arc::downgrade(inner) }
    }

    /// The plan in force; none when the migration is gone.
    #[must_use]
    pub fn standing(&self) -> Option<(Plan, Revision)> {
        Some(self.inner.upgrade()?.epochs.peek(|epoch| (epoch.plan.clone(), epoch.revision)))
    }

    /// Puts a plan into force that somebody else conducts, as a control plane does. Returns at once: see
    /// [`Steward::acknowledged`].
    pub fn install(&self, plan: Plan, revision: Revision) {
        if let Some(inner) = self.inner.upgrade() {
            inner.epochs.install(plan.clone(), revision);
            inner.totals.phase(plan.phase());
        }
    }

    /// Returns when every operation that began under an earlier plan has ended, with the plan in force then and the
    /// marks that the operations left (R3). None when the migration is gone. Cancel safe.
    pub async fn acknowledged(&self) -> Option<(Revision, Vec<Marked>)> {
        loop {
            let inner = self.inner.upgrade()?;
            let sequence = *inner.epochs.watch().borrow();
            inner.acknowledged(sequence).await;
            if *inner.epochs.watch().borrow() == sequence {
                return Some((inner.epochs.peek(|epoch| epoch.revision), inner.marked()));
            }
        }
    }

    /// What it holds; none when the migration is gone.
    #[cfg(feature = "server")]
    pub(crate) fn inner(&self) -> Option<Arc<Inner>> {
        self.inner.upgrade()
    }

    /// As [`Steward::acknowledged`], without a copy of every mark.
    #[cfg(feature = "server")]
    pub(crate) async fn acknowledged_revision(&self) -> Option<Revision> {
        loop {
            let inner = self.inner.upgrade()?;
            let sequence = *inner.epochs.watch().borrow();
            inner.acknowledged(sequence).await;
            if *inner.epochs.watch().borrow() == sequence {
                return Some(inner.epochs.peek(|epoch| epoch.revision));
            }
        }
    }

    /// Takes the migration to a plan that nobody else conducts: R1, R3 and R4 within this process.
    ///
    /// # Errors
    /// [`AdvanceError`]; the plan from before stays in force.
    pub async fn advance(&self, plan: &Plan) -> Result<Advanced, AdvanceError> {
        let inner = self.inner.upgrade().ok_or(AdvanceError::Gone)?;
        let settled = plan.settled_at(plan.position().clone()).map_err(crossfade_core::StepError::from)?;
        inner.epochs.peek(|epoch| fixed_parts_agree(&epoch.plan, &settled))?;
        conduct::advance(&inner, Goal { position: plan.position().clone(), options: plan.options().clone() }).await
    }

    /// Counts a plan that was refused, and says so in the log. The last plan stays.
    pub fn refused(&self, reason: &dyn std::fmt::Display) {
        if let Some(inner) = self.inner.upgrade() {
            inner.totals.plans_refused.fetch_add(1, Ordering::Relaxed);
            tracing::error!(migration = %inner.id, %reason, "a plan was refused; the last one stays");
        }
    }

    /// The marks, the evidence that an acknowledgement carries.
    #[must_use]
    pub fn marks(&self) -> Vec<Marked> {
        self.inner.upgrade().map(|inner| inner.marked()).unwrap_or_default()
    }

    /// Everything seen so far; none when the migration is gone.
    #[must_use]
    pub fn observe(&self) -> Option<Observation> {
        Some(self.inner.upgrade()?.observe())
    }

    /// Tells of every change of the plan in force; none when the migration is gone.
    #[cfg(feature = "server")]
    pub(crate) fn watch_plan(&self) -> Option<watch::Receiver<u64>> {
        Some(self.inner.upgrade()?.epochs.watch())
    }

    /// Tells of every change of the marks; none when the migration is gone.
    #[must_use]
    pub fn watch_marks(&self) -> Option<watch::Receiver<()>> {
        Some(self.inner.upgrade()?.marks.watch())
    }
}

/// Migration, salt and `whole` never change; the law says so with the words that a person needs.
fn fixed_parts_agree(here: &Plan, next: &Plan) -> Result<(), AdvanceError> {
    match here.admit(next) {
        Err(
            error @ (crossfade_core::StepError::OtherMigration { .. }
            | crossfade_core::StepError::Salt
            | crossfade_core::StepError::Whole),
        ) => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}
