//! Reads: the authority on the caller's task; the other side on a bounded, budgeted, timed task, compared there.

pub mod compare;

use crate::epoch::Epoch;
use crate::migration::Inner;
use crate::observe::{Counter, OperationStats, timed_now};
use crate::operation::Operation;
use crate::secondary::{Outcome, Permit, guarded};
use compare::{Compare, Comparison};
use crossfade_core::{Bucket, History, Revision, SampleValues, Side};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A read that has taken its decision. Dropping it reads nothing.
#[must_use = "a ticket that is dropped reads nothing"]
pub struct ReadTicket<'a> {
    pub(crate) operation: &'a Operation,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) authority: Side,
    pub(crate) compare: Option<Side>,
    pub(crate) digest: KeyDigest,
    pub(crate) freshness: Freshness,
    /// The bucket of the key, where one key stands for the read.
    pub(crate) bucket: Option<Bucket>,
}

/// Names the key of a read in a mismatch, should there be one: only then is it worth a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyDigest {
    Of(u64),
    /// No single key stands for the read.
    Several,
}

impl KeyDigest {
    pub(crate) fn of(text: &str) -> KeyDigest {
        KeyDigest::Of(crate::key::hash(text))
    }

    fn text(self) -> String {
        match self {
            KeyDigest::Of(hash) => crate::key::digest_of_hash(hash),
            KeyDigest::Several => "(several keys)".to_owned(),
        }
    }
}

/// How a method reads (R22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    Linearizable,
    Eventual,
}

/// How long after an eventual read both sides are read for its comparison.
const EVENTUALLY: Duration = Duration::from_secs(1);

impl std::fmt::Debug for ReadTicket<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ReadTicket({} from {}, compared with {:?})",
            self.operation.stats().name,
            self.authority,
            self.compare
        )
    }
}

/// When a mismatch is read again: writes in flight, and the secondary's own delay, have these long to pass.
const GENERATIONS: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// How many comparisons may be under way for each call that may be in flight: the others sleep.
const COMPARISONS_A_CALL: u32 = 8;

/// A difference counts when it was seen in so many generations in a row in which the key stood still.
const CONFIRMED: u32 = 2;

impl ReadTicket<'_> {
    /// The side whose answer is the caller's.
    #[must_use]
    #[inline]
    pub fn authority(&self) -> Side {
        self.authority
    }

    /// The other side is read too: [`ReadTicket::compared`]; otherwise [`ReadTicket::single`].
    #[must_use]
    #[inline]
    pub fn is_compared(&self) -> bool {
        self.compare.is_some()
    }

    /// The method reads eventually: it is outside P2, and both sides are read again, a second later, to be compared
    /// (R22).
    pub fn eventual(mut self) -> Self {
        self.freshness = Freshness::Eventual;
        self
    }

    /// Reads the authority alone. Cancel safe where `call` is.
    ///
    /// # Errors
    /// The authority's own (P1).
    #[inline]
    pub async fn single<T, E>(self, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let stats = self.operation.stats();
        let answer = if timed_now() { timed(stats, self.authority, call).await } else { call.await };
        if answer.is_err() {
            stats.count(Counter::AuthorityErrors);
        }
        answer
    }

    /// Reads the authority for the caller, then the other side in the background, and compares. `again` reads a side
    /// with arguments of its own, as often as it takes to confirm a mismatch. Cancel safe where `call` is.
    ///
    /// # Errors
    /// The authority's own (P1): nothing of the other side reaches the caller.
    pub async fn compared<T, E, S>(
        self,
        comparator: impl Compare<T>,
        call: impl Future<Output = Result<T, E>>,
        again: impl Fn(Side) -> S + Send + Sync + 'static,
    ) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
        E: Send + 'static,
        S: Future<Output = Result<T, E>> + Send + 'static,
    {
        let ReadTicket { operation, epoch, authority, compare, digest, freshness, bucket } = self;
        let answer = timed(operation.stats(), authority, call).await;
        let Some(secondary) = compare else { return answer };
        let value = match &answer {
            Ok(value) => value.clone(),
            Err(_) => {
                operation.stats().count(Counter::AuthorityErrors);
                return answer;
            }
        };
        let options = epoch.plan.options();
        // Most of a comparison's life may be sleep: only its calls take from the budget of calls, and what bounds the
        // sleepers bounds memory.
        let limit = options.secondary_in_flight;
        let comparisons = &operation.inner().comparisons;
        let Some(permit) = comparisons.acquire(limit.saturating_mul(COMPARISONS_A_CALL)) else {
            operation.stats().count(Counter::Skipped);
            return answer;
        };
        let comparing = Comparing {
            inner: Arc::downgrade(operation.inner()),
            stats: Arc::clone(operation.stats()),
            secondary,
            timeout: options.secondary_timeout,
            limit,
            history: options.history,
            sample_values: options.sample_values,
            revision: epoch.revision,
            digest,
            freshness,
            bucket,
            _permit: permit,
        };
        // A comparison has no effect: it does not hold its epoch, and is void when the plan changes under it.
        drop(epoch);
        operation.inner().runtime.spawn(comparing.run(value, comparator, again));
        answer
    }
}

async fn timed<T>(stats: &OperationStats, side: Side, call: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let answer = call.await;
    stats.latency(side, began.elapsed());
    answer
}

/// The part of a read that the caller does not wait for.
struct Comparing {
    inner: std::sync::Weak<Inner>,
    stats: Arc<OperationStats>,
    secondary: Side,
    timeout: Duration,
    /// How many calls of comparisons may be in flight in this instance.
    limit: u32,
    history: History,
    sample_values: SampleValues,
    revision: Revision,
    digest: KeyDigest,
    freshness: Freshness,
    bucket: Option<Bucket>,
    _permit: Permit,
}

/// There is no answer to compare, and this counts it.
struct NoAnswer(Counter);

/// What a comparison came to.
struct Found {
    comparison: Comparison,
    /// What source and target answered, as text; only of a confirmed difference, and where the plan shares it.
    values: Option<[String; 2]>,
}

impl From<Comparison> for Found {
    fn from(comparison: Comparison) -> Found {
        Found { comparison, values: None }
    }
}

impl Comparing {
    async fn run<T, E, S>(
        self,
        value: T,
        comparator: impl Compare<T>,
        again: impl Fn(Side) -> S + Send + Sync + 'static,
    ) where
        T: Send + Sync + 'static,
        E: Send + 'static,
        S: Future<Output = Result<T, E>> + Send + 'static,
    {
        let counter = match self.judge(value, &comparator, &again).await {
            Ok(Found { comparison: Comparison::Match, .. }) => Counter::Matched,
            Ok(Found { comparison: Comparison::Missing, .. }) if self.history == History::Pending => {
                Counter::NotBackfilled
            }
            Ok(found) => {
                let Some(inner) = self.inner.upgrade() else { return };
                // Keys may have changed sides while it was read again: then the sides may lawfully differ.
                if inner.epochs.peek(|epoch| epoch.revision) != self.revision {
                    Counter::Unknown
                } else {
                    let fields = match found.comparison {
                        Comparison::Differ(fields) => fields,
                        Comparison::Missing => vec!["(missing)".to_owned()],
                        Comparison::Match => Vec::new(),
                    };
                    tracing::warn!(
                        migration = %inner.id,
                        operation = %self.stats.name,
                        key_digest = %self.digest.text(),
                        fields = ?fields,
                        "source and target differ"
                    );
                    self.stats.sample(self.digest.text(), fields, found.values);
                    Counter::Mismatched
                }
            }
            Err(NoAnswer(why)) => why,
        };
        if !matches!(counter, Counter::Unknown | Counter::Skipped) {
            self.stats.count(Counter::Compared);
        }
        self.stats.count(counter);
    }

    /// Nothing that this process knows of explains a difference: no dual write of the key is under way, and no row of
    /// it is marked.
    fn is_quiet(&self) -> bool {
        match (self.bucket, self.inner.upgrade()) {
            (Some(bucket), Some(inner)) => inner.in_flight.is_quiet(bucket) && inner.marks.is_quiet(bucket),
            (None, _) | (_, None) => true,
        }
    }

    /// Compares. A difference counts only when it is there in two generations in a row in which the key stood still:
    /// the authority answered the same before and after, and nothing of the key was under way or marked. A key that
    /// never stands still has no answer.
    async fn judge<T, E, S>(
        &self,
        value: T,
        comparator: &impl Compare<T>,
        again: &(impl Fn(Side) -> S + Send + Sync + 'static),
    ) -> Result<Found, NoAnswer>
    where
        S: Future<Output = Result<T, E>> + Send + 'static,
    {
        let value = match self.freshness {
            Freshness::Linearizable => value,
            Freshness::Eventual => {
                tokio::time::sleep(EVENTUALLY).await;
                self.read(self.secondary.other(), again, false).await?
            }
        };
        match self.compare(comparator, &value, &self.read(self.secondary, again, true).await?)? {
            Comparison::Match => return Ok(Comparison::Match.into()),
            // Rows that the backfill has yet to bring do not come by waiting: reading again would only be load.
            Comparison::Missing if self.history == History::Pending => return Ok(Comparison::Missing.into()),
            Comparison::Missing | Comparison::Differ(_) => {}
        }
        let mut confirmed = 0;
        for wait in GENERATIONS {
            tokio::time::sleep(wait).await;
            let quiet = self.is_quiet();
            let before = self.read(self.secondary.other(), again, false).await?;
            let other = self.read(self.secondary, again, false).await?;
            let found = self.compare(comparator, &before, &other)?;
            if found == Comparison::Match {
                return Ok(found.into());
            }
            let after = self.read(self.secondary.other(), again, false).await?;
            let still = self.compare(comparator, &before, &after)? == Comparison::Match;
            confirmed = if quiet && still && self.is_quiet() { confirmed + 1 } else { 0 };
            if confirmed == CONFIRMED {
                let values = self.show(comparator, &before, &other);
                return Ok(Found { comparison: found, values });
            }
        }
        Err(NoAnswer(Counter::Unknown))
    }

    /// A comparator is user code: its panic is an unknown comparison.
    fn compare<T>(&self, comparator: &impl Compare<T>, ours: &T, theirs: &T) -> Result<Comparison, NoAnswer> {
        let compared = std::panic::AssertUnwindSafe(|| comparator.compare(ours, theirs));
        std::panic::catch_unwind(compared).map_err(|_| {
            self.stats.count(Counter::SecondaryPanics);
            NoAnswer(Counter::Unknown)
        })
    }

    /// Both answers as text, where the plan shares them. A comparator is user code: after its panic there is nothing to show.
    fn show<T>(&self, comparator: &impl Compare<T>, authority: &T, secondary: &T) -> Option<[String; 2]> {
        match self.sample_values {
            SampleValues::Withheld => return None,
            SampleValues::Shared => {}
        }
        let (source, target) = match self.secondary {
            Side::Target => (authority, secondary),
            Side::Source => (secondary, authority),
        };
        let shown = || Some([comparator.show(source)?, comparator.show(target)?].map(compare::cut));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(shown)).ok().flatten()
    }

    async fn read<T, E, S>(
        &self,
        side: Side,
        again: &(impl Fn(Side) -> S + Send + Sync + 'static),
        first: bool,
    ) -> Result<T, NoAnswer>
    where
        S: Future<Output = Result<T, E>> + Send + 'static,
    {
        // Held for the call alone. Comparisons have a budget of their own: writes never wait for them.
        let Some(_permit) = self.inner.upgrade().and_then(|inner| inner.comparing.acquire(self.limit)) else {
            return Err(NoAnswer(Counter::Skipped));
        };
        let began = Instant::now();
        let counter = match guarded(async { again(side).await }, self.timeout).await {
            Outcome::Answered(Ok(value)) => {
                if first {
                    self.stats.latency(side, began.elapsed());
                }
                return Ok(value);
            }
            Outcome::Answered(Err(_)) => Counter::SecondaryErrors,
            Outcome::TimedOut => Counter::SecondaryTimeouts,
            Outcome::Panicked => Counter::SecondaryPanics,
        };
        self.stats.count(counter);
        Err(NoAnswer(Counter::Unknown))
    }
}
