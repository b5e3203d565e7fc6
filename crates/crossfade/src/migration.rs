//! One migration in this process: the plan in force, the marks, the observations, and the tasks behind them.

use crate::conduct;
use crate::epoch::Epochs;
use crate::lingering::{Lingering, pinned_buckets};
use crate::marks::{self, Marked, Marks};
use crate::observe::{Observation, OperationStats};
use crate::operation::Operation;
use crate::plan::{PlanSource, PlanSourceError, RunRegistrar, Sharing, Steward};
use crate::repair::{Repairs, run_repairer};
use crate::rows::RowPair;
use crate::secondary::Budget;
use crate::table::{TableState, Tables};
use crate::write::InFlight;
use crossfade_core::{Bucket, CohortKey, MissingKey, Phase, Plan, Revision, Stage, Switches};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    pub(crate) tables: Tables,
    /// The table whose name is the migration's id.
    default_table: Arc<TableState>,
    /// Secondary writes in flight.
    pub(crate) budget: Arc<Budget>,
    /// Calls of comparisons in flight: apart from the writes, which must not wait for reads.
    pub(crate) comparing: Arc<Budget>,
    /// Comparisons that have begun and not ended, whether they call or sleep.
    pub(crate) comparisons: Arc<Budget>,
    pub(crate) in_flight: InFlight,
    pub(crate) totals: Totals,
    /// Repairs under way.
    pub(crate) repairs: Repairs,
    /// Effects that may still land, of operations that have ended for their caller.
    pub(crate) lingering: Lingering,
    pub(crate) runtime: Handle,
    /// Whether other processes write under the same plans.
    pub(crate) sharing: Sharing,
    /// Where runs over the rows of this migration are registered; none without a control plane.
    pub(crate) run_registrar: Option<RunRegistrar>,
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
    most_marks: usize,
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

    /// How many rows may be marked at once in this process; a mark takes about 150 bytes and its keys. Beyond, a row that
    /// may differ makes its table suspect, until a verification passes. Default: 1,000,000.
    #[must_use]
    pub fn marks_at_most(mut self, marks: usize) -> Builder {
        self.most_marks = marks;
        self
    }

    /// Waits for the first plan and starts the background tasks, on the tokio runtime that this is called in.
    ///
    /// # Errors
    /// [`BuildError`]; nothing was started then.
    pub async fn build(self) -> Result<Migration, BuildError> {
        let Builder { id, source, first_plan_within, publish_every, most_marks } = self;
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
        let tables = Tables::default();
        let inner = Arc::new(Inner {
            epochs: Epochs::new(plan, revision),
            marks: Marks::new(most_marks),
            default_table: tables.named(&id),
            tables,
            id,
            budget: Arc::default(),
            comparing: Arc::default(),
            comparisons: Arc::default(),
            in_flight: InFlight::new(),
            totals: Totals::default(),
            repairs: Repairs::default(),
            lingering: Lingering::default(),
            runtime: runtime.clone(),
            run_registrar: source.run_registrar(),
            sharing: source.sharing(),
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
            most_marks: marks::MOST,
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

    /// A named operation on the table that has the migration's id as its name; of other tables, see [`Migration::table`].
    /// Its observations are kept apart. Make it once and keep it: a call finds it by name.
    #[must_use]
    pub fn operation(&self, name: &str) -> Operation {
        self.table(self.id()).operation(name)
    }

    /// An operation of this name on this table. Operations of another table than the default one are observed under
    /// `TABLE.NAME`: two tables may have operations of the same name.
    pub(crate) fn operation_on(&self, table: &Arc<TableState>, name: &str) -> Operation {
        let qualified;
        let name = if Arc::ptr_eq(table, &self.inner.default_table) {
            name
        } else {
            qualified = format!("{}.{name}", table.name);
            &qualified
        };
        let mut operations = self.inner.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = match operations.iter().find(|stats| stats.name == name) {
            Some(stats) => Arc::clone(stats),
            None => {
                let stats = Arc::new(OperationStats::new(name));
                operations.push(Arc::clone(&stats));
                stats
            }
        };
        Operation::new(Arc::clone(&self.inner), Arc::clone(table), stats)
    }

    /// Gives repair and checks access to the rows of the table that has the migration's id as its name; see
    /// [`Table::attach_rows`](crate::Table::attach_rows).
    pub fn attach_rows(&self, rows: impl RowPair) {
        self.table(self.id()).attach_rows(rows);
    }

    /// Everything seen so far.
    #[must_use]
    pub fn observe(&self) -> Observation {
        self.inner.observe()
    }

    /// The rows that are marked now.
    #[must_use]
    pub fn marks(&self) -> Vec<Marked> {
        self.inner.marked()
    }

    /// Returns when no dual write is under way, no row is marked, no repair runs and no effect lingers; `false` when
    /// `within` passed first. Cancel safe.
    pub async fn converged(&self, within: Duration) -> bool {
        let converged = async {
            loop {
                conduct::quiet(&self.inner, |_| true).await;
                if self.inner.in_flight.none() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(within, converged).await.is_ok()
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
            everything_suspect: self.tables.any_doubt(),
            suspect_tables: self.suspect_tables(),
            repaired: get(&self.totals.repaired),
            repaired_unchanged: get(&self.totals.unchanged),
            repair_failures: get(&self.totals.repair_failures),
            secondary_in_flight: self.budget.in_flight(),
            plans_refused: get(&self.totals.plans_refused),
            longest_hold_ms: get(&self.totals.longest_hold_ms),
        }
    }

    /// Every mark.
    pub(crate) fn marked(&self) -> Vec<Marked> {
        let tables = self.tables.all();
        let name =
            |place: u32| tables.get(place as usize).map_or_else(|| Arc::from(""), |table| Arc::clone(&table.name));
        self.marks.list(name)
    }

    /// Tables in which rows without a mark may differ, by name.
    fn suspect_tables(&self) -> Vec<String> {
        let tables = self.tables.all();
        tables.iter().filter(|table| table.doubt.is_raised()).map(|table| table.name.to_string()).collect()
    }

    /// Returns when every operation that began before epoch `sequence` has ended, and no effect may land any more that the
    /// plan in force routes another way (R3, R26). A plan of a forced rollback is acknowledged at once: what the operations
    /// in flight may still do is what the operator has waived (R20). Cancel safe.
    pub(crate) async fn acknowledged(&self, sequence: u64) {
        if self.epochs.peek(|epoch| epoch.plan.forced()) {
            return;
        }
        self.epochs.grace(sequence).await;
        while let Some(until) = self.epochs.peek(|epoch| self.lingering.delaying(&epoch.plan)) {
            // A moment later: the task that waits for the end of the linger takes it out of the list.
            tokio::time::sleep_until(until.max(tokio::time::Instant::now()) + Duration::from_millis(1)).await;
        }
    }
}

/// The buckets in which some key has another authority in `to` than in `from`. A bucket with a pinned key counts.
pub(crate) fn moving_buckets(from: &Plan, to: &Plan) -> impl Fn(Bucket) -> bool + use<> {
    let (here, there) = (from.position().clone(), to.position().clone());
    let mut pinned = pinned_buckets(from, &here);
    pinned.extend(pinned_buckets(to, &there));
    move |bucket| {
        let (from, to) = (here.stage_of_bucket(bucket), there.stage_of_bucket(bucket));
        from.authority() != to.authority() || pinned.contains(&bucket)
    }
}
