//! One migration in this process: the plan in force, the marks, the observations, and the tasks behind them.

use crate::conduct;
use crate::epoch::Epochs;
use crate::marks::{Marked, Marks, RowId};
use crate::observe::{Observation, OperationStats};
use crate::operation::Operation;
use crate::plan::{PlanSource, PlanSourceError, Steward};
use crate::repair::{ErasedRows, run_repairer};
use crate::rows::RowPair;
use crate::secondary::Budget;
use crate::write::{InFlight, RowOrder};
use crossfade_core::{CohortKey, MissingKey, Phase, Plan, Revision, Stage, Switches};
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// A handle on one migration in this process. Cloning it is cheap; all clones are the same migration.
///
/// When the last handle and the last generated DAO are dropped, its background tasks end; [`Migration::drain`] first,
/// to leave as little as possible undone.
#[derive(Clone)]
pub struct Migration {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

/// Counts that belong to no operation.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) repaired: AtomicU64,
    pub(crate) unchanged: AtomicU64,
    pub(crate) repair_failures: AtomicU64,
    pub(crate) plans_refused: AtomicU64,
    pub(crate) longest_hold_ms: AtomicU64,
    /// Since when writes of moving keys wait under a plan that somebody else conducts.
    held_since: Mutex<Option<tokio::time::Instant>>,
}

impl Totals {
    /// A hold was this long.
    pub(crate) fn held(&self, time: Duration) {
        self.longest_hold_ms.fetch_max(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A plan of this phase came into force from elsewhere: a hold begins, goes on or ends.
    pub(crate) fn phase(&self, phase: &Phase) {
        let mut since = self.held_since.lock().unwrap_or_else(PoisonError::into_inner);
        match phase {
            Phase::Hold { .. } | Phase::Move { .. } => drop(since.get_or_insert_with(tokio::time::Instant::now)),
            Phase::Settled => {
                if let Some(since) = since.take() {
                    self.held(since.elapsed());
                }
            }
        }
    }
}

pub(crate) struct Inner {
    pub(crate) id: String,
    pub(crate) epochs: Epochs,
    pub(crate) marks: Marks,
    pub(crate) order: RowOrder,
    pub(crate) budget: Arc<Budget>,
    pub(crate) in_flight: InFlight,
    /// Set once, by the first DAO that has `#[snapshot]` and `#[restore]`, or by [`Migration::attach_rows`].
    pub(crate) rows: OnceLock<Arc<dyn ErasedRows>>,
    pub(crate) totals: Totals,
    /// Repairs under way.
    pub(crate) repairing: AtomicU32,
    /// Operations that have ended for their caller, but whose effect may still land.
    pub(crate) lingering: AtomicU32,
    pub(crate) runtime: Handle,
    /// What the next secondary writes meet, in tests.
    #[cfg(feature = "testing")]
    pub(crate) faults: crate::testing::Faults,
    operations: Mutex<Vec<Arc<OperationStats>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// Why a migration could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The source of plans has none that can be used. An instance that never had a plan does not guess (R11).
    #[error("migration `{migration}` has no plan")]
    NoPlan {
        /// The id of the migration.
        migration: String,
        /// What the source says.
        #[source]
        source: PlanSourceError,
    },
    /// None came within the time given to it.
    #[error(
        "migration `{migration}` got no plan within {waited:?}: check the plan source, or give it longer with `first_plan_within`"
    )]
    NoPlanYet {
        /// The id of the migration.
        migration: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The source's plan is of another migration.
    #[error("the plan is of migration `{found}`, not of `{migration}`: check the id or the plan source")]
    OtherMigration {
        /// The id of the migration.
        migration: String,
        /// The id in the plan.
        found: String,
    },
    /// The background tasks need a runtime.
    #[error("no tokio runtime here: build the migration inside one")]
    NoRuntime,
}

/// Builds a [`Migration`].
pub struct Builder {
    id: String,
    source: Option<Box<dyn PlanSource>>,
    first_plan_within: Duration,
    publish_every: Option<Duration>,
}

impl Builder {
    /// Where the plan comes from: see [`plan`](crate::plan).
    #[must_use]
    pub fn plan(mut self, source: impl PlanSource) -> Builder {
        self.source = Some(Box::new(source));
        self
    }

    /// How long [`build`](Builder::build) waits for the first plan. Default: 10 s.
    #[must_use]
    pub fn first_plan_within(mut self, wait: Duration) -> Builder {
        self.first_plan_within = wait;
        self
    }

    /// How often the observations go to the `metrics` facade; none: never. Default: every 10 s.
    #[must_use]
    pub fn publish_metrics_every(mut self, interval: Option<Duration>) -> Builder {
        self.publish_every = interval.filter(|interval| !interval.is_zero());
        self
    }

    /// Waits for the first plan and starts the background tasks, on the tokio runtime that this is called in.
    ///
    /// # Errors
    /// [`BuildError`]; nothing was started then.
    pub async fn build(self) -> Result<Migration, BuildError> {
        let Builder { id, source, first_plan_within, publish_every } = self;
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let none = || BuildError::NoPlan { migration: id.clone(), source: PlanSourceError::Unset };
        let mut source = source.ok_or_else(none)?;
        let (plan, revision) = tokio::time::timeout(first_plan_within, source.first(&id))
            .await
            .map_err(|_| BuildError::NoPlanYet { migration: id.clone(), waited: first_plan_within })?
            .map_err(|source| BuildError::NoPlan { migration: id.clone(), source })?;
        if plan.migration() != id {
            return Err(BuildError::OtherMigration { migration: id, found: plan.migration().to_owned() });
        }
        let inner = Arc::new(Inner {
            id,
            epochs: Epochs::new(plan, revision),
            marks: Marks::new(),
            order: RowOrder::new(),
            budget: Arc::default(),
            in_flight: InFlight::new(),
            rows: OnceLock::new(),
            totals: Totals::default(),
            repairing: AtomicU32::new(0),
            lingering: AtomicU32::new(0),
            runtime: runtime.clone(),
            #[cfg(feature = "testing")]
            faults: crate::testing::Faults::default(),
            operations: Mutex::default(),
            tasks: Mutex::default(),
        });
        let mut tasks = vec![
            runtime.spawn(run_repairer(Arc::downgrade(&inner))).abort_handle(),
            runtime.spawn(source.follow(Steward::of(&inner))).abort_handle(),
        ];
        if let Some(interval) = publish_every {
            let inner = Arc::downgrade(&inner);
            let publish = async move {
                let mut tick = tokio::time::interval(interval);
                loop {
                    tick.tick().await;
                    let Some(inner) = inner.upgrade() else { return };
                    inner.observe().publish();
                }
            };
            tasks.push(runtime.spawn(publish).abort_handle());
        }
        *inner.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(Migration { inner })
    }
}

/// Where a migration stands, as this process knows it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The plan in force.
    pub plan: Plan,
    /// Its revision.
    pub revision: Revision,
    /// Every operation that began under an earlier revision has ended (R3).
    pub acknowledged: bool,
}

impl Migration {
    /// Begins to build the migration with this id.
    #[must_use]
    pub fn builder(id: &str) -> Builder {
        Builder {
            id: id.to_owned(),
            source: None,
            first_plan_within: Duration::from_secs(10),
            publish_every: Some(Duration::from_secs(10)),
        }
    }

    /// The id of the migration.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The plan in force and whether it has been acknowledged.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let acknowledged = self.inner.epochs.is_settled();
        self.inner.epochs.peek(|epoch| Standing { plan: epoch.plan.clone(), revision: epoch.revision, acknowledged })
    }

    /// The stage of one key under the plan in force. For display and tests: an operation decides for itself (R2).
    ///
    /// # Errors
    /// [`MissingKey`] when the key is empty (R13).
    pub fn stage_of(&self, key: &(impl crate::Key + ?Sized)) -> Result<Stage, MissingKey> {
        key.with_text(|text| {
            let key = CohortKey::new(text)?;
            Ok(self.inner.epochs.peek(|epoch| epoch.plan.decide(key).stage))
        })
    }

    /// The switches of one key under the plan in force.
    ///
    /// # Errors
    /// [`MissingKey`] when the key is empty (R13).
    pub fn switches_of(&self, key: &(impl crate::Key + ?Sized)) -> Result<Switches, MissingKey> {
        self.stage_of(key).map(Stage::switches)
    }

    /// A named operation, whose observations are kept apart. Make it once and keep it: a call finds it by name.
    #[must_use]
    pub fn operation(&self, name: &str) -> Operation {
        let mut operations = self.inner.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = match operations.iter().find(|stats| stats.name == name) {
            Some(stats) => Arc::clone(stats),
            None => {
                let stats = Arc::new(OperationStats::new(name));
                operations.push(Arc::clone(&stats));
                stats
            }
        };
        Operation::new(Arc::clone(&self.inner), stats)
    }

    /// Gives repair and checks access to the rows. A generated DAO with `#[snapshot]` and `#[restore]` does it itself;
    /// a second call changes nothing.
    pub fn attach_rows(&self, rows: impl RowPair) {
        // The first one stays: two DAOs of one migration share its rows.
        let _first = self.inner.rows.set(Arc::new(rows));
        self.inner.marks.nudge();
    }

    /// Everything seen so far.
    #[must_use]
    pub fn observe(&self) -> Observation {
        self.inner.observe()
    }

    /// The rows that are marked now.
    #[must_use]
    pub fn marks(&self) -> Vec<Marked> {
        self.inner.marks.list()
    }

    /// Says that a verification of every row, begun after the last write of unknown rows, has passed (R8, R18).
    pub fn verified(&self) {
        self.inner.marks.verified();
    }

    /// Returns when no row is marked, no repair runs and no effect lingers; `false` when `within` passed first. Cancel
    /// safe.
    pub async fn converged(&self, within: Duration) -> bool {
        tokio::time::timeout(within, conduct::quiet(&self.inner, |_| true)).await.is_ok()
    }

    /// Before the process ends: waits up to `within` for secondary writes in flight and for repairs. What is still
    /// marked then is returned, and makes the instance suspect (R8).
    pub async fn drain(&self, within: Duration) -> Vec<Marked> {
        let ends = tokio::time::Instant::now() + within;
        while self.inner.budget.in_flight() > 0 && tokio::time::Instant::now() < ends {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.converged(ends.saturating_duration_since(tokio::time::Instant::now())).await;
        self.marks()
    }
}

impl Inner {
    pub(crate) fn observe(&self) -> Observation {
        let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let get = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Observation {
            migration: self.id.clone(),
            operations: operations.iter().map(|stats| stats.observe()).collect(),
            marked: self.marks.count() as u64,
            everything_suspect: self.marks.everything_suspect(),
            repaired: get(&self.totals.repaired),
            repaired_unchanged: get(&self.totals.unchanged),
            repair_failures: get(&self.totals.repair_failures),
            secondary_in_flight: self.budget.in_flight(),
            plans_refused: get(&self.totals.plans_refused),
            longest_hold_ms: get(&self.totals.longest_hold_ms),
        }
    }

    /// The key of this row changes its authority between the two ends of the move that `plan` is in.
    pub(crate) fn is_moving(from: &Plan, to: &Plan, id: &RowId) -> bool {
        CohortKey::new(&id.key).is_ok_and(|key| from.position().moves(to.position(), id.bucket, key).is_some())
    }
}
