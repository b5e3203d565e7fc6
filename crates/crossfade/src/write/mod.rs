//! Writes: the authority first, then the secondary, in row order; what is left half-done is marked, never forgotten.

mod in_flight;
mod order;
mod prepared;
mod settle;
mod touched;
mod unnamed;

pub(crate) use in_flight::InFlight;
pub(crate) use order::{Fence, RowOrder};
pub use prepared::{Prepared, PreparedGroup};
pub(crate) use touched::{KeyText, Touched};
pub(crate) use unnamed::Unnamed;

use crate::epoch::Epoch;
use crate::key::Key;
use crate::observe::{Counter, timed_now};
use crate::operation::Operation;
use crossfade_core::{Bucket, Effect, Side, WriteRoute};
use settle::{Ending, Mirroring};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::Instrument;

/// How a write reaches the secondary (R17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirror {
    /// The call carries state, or is blind and deterministic: doing it in the authority's order makes the sides equal.
    State,
    /// The call is repeated though it may come out differently: its row is marked every time.
    Guess,
}

/// The rows that a write touches. What is not known beforehand conflicts with other writes of the table (R24).
#[derive(Debug)]
pub(crate) enum Rows {
    /// One side only: nothing to hold equal.
    NotMirrored,
    One(Touched),
    Many(Vec<Touched>),
    /// The authority makes the keys of its rows (R17): they are known from its answer.
    ToCome {
        key: KeyText,
        bucket: Bucket,
    },
    /// A write that cannot be split by key names no rows (R18).
    Unknown,
}

impl Rows {
    pub(crate) fn touched(&self) -> &[Touched] {
        match self {
            Rows::One(row) => std::slice::from_ref(row),
            Rows::Many(rows) => rows,
            Rows::NotMirrored | Rows::ToCome { .. } | Rows::Unknown => &[],
        }
    }

    fn touched_mut(&mut self) -> &mut [Touched] {
        match self {
            Rows::One(row) => std::slice::from_mut(row),
            Rows::Many(rows) => rows,
            Rows::NotMirrored | Rows::ToCome { .. } | Rows::Unknown => &mut [],
        }
    }
}

/// A write that has taken its decision. Dropping it writes nothing.
#[must_use = "a ticket that is dropped writes nothing"]
pub struct WriteTicket<'a> {
    operation: &'a Operation,
    epoch: Arc<Epoch>,
    route: WriteRoute,
    rows: Rows,
    /// The bucket of its key; none where several keys or none stand for it.
    bucket: Option<Bucket>,
}

impl std::fmt::Debug for WriteTicket<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriteTicket({}, {:?})", self.operation.stats().name, self.route)
    }
}

impl<'a> WriteTicket<'a> {
    pub(crate) fn new(
        operation: &'a Operation,
        epoch: Arc<Epoch>,
        route: WriteRoute,
        rows: Rows,
        bucket: Option<Bucket>,
    ) -> WriteTicket<'a> {
        WriteTicket { operation, epoch, route, rows, bucket }
    }

    /// The side whose answer is the caller's.
    #[must_use]
    #[inline]
    pub fn authority(&self) -> Side {
        self.route.authority
    }

    /// The other side is written too: [`WriteTicket::mirrored`]; otherwise [`WriteTicket::single`].
    #[must_use]
    #[inline]
    pub fn is_mirrored(&self) -> bool {
        self.route.secondary.is_some()
    }

    /// How long a secondary call may take in all.
    #[must_use]
    pub fn secondary_timeout(&self) -> std::time::Duration {
        self.epoch.plan.options().secondary_timeout
    }

    /// Writes the authority alone. Where the other side ought to be written too ([`WriteTicket::is_mirrored`]), its rows are
    /// marked, and a repair copies them. Dropped half-way, or failed without a definite refusal, its effect may still land
    /// until its linger has passed: no plan that routes its key another way is acknowledged before (R3).
    ///
    /// # Errors
    /// The authority's own (P1).
    #[inline]
    pub async fn single<T, E>(
        self,
        effect_of: fn(&E) -> Effect,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let WriteTicket { operation, epoch, route, rows, bucket } = self;
        // The wrong call for a ticket that is mirrored: its rows are marked as if the secondary's write had failed.
        let unmirrored = if route.secondary.is_some() {
            Some(Box::new(Mirroring::begin(operation, Arc::clone(&epoch), rows, route)))
        } else {
            None
        };
        let ending = Ending::new(operation, epoch, route, bucket);
        let answer = if timed_now() {
            let began = Instant::now();
            let answer = call.await;
            operation.stats().latency(route.authority, began.elapsed());
            answer
        } else {
            call.await
        };
        match &answer {
            Ok(_) => {
                ending.known();
                if let Some(unmirrored) = unmirrored {
                    unmirrored.left_out();
                }
            }
            Err(error) => {
                operation.stats().count(Counter::AuthorityErrors);
                let effect = effect_of(error);
                match effect {
                    Effect::Applied | Effect::Refused => ending.known(),
                    Effect::Unknown => drop(ending),
                }
                if let Some(unmirrored) = unmirrored {
                    unmirrored.failed(effect);
                }
            }
        }
        answer
    }

    /// Writes the authority, and after its success the secondary, in the order in which the authority accepted the
    /// row's writes. The caller waits for the secondary up to the plan's `secondary_wait`; then it goes on in the
    /// background. `mirror` makes the secondary's call from the authority's answer, with arguments of its own.
    ///
    /// A caller that is dropped before the authority has answered leaves the row marked; after that the secondary
    /// write goes on without it.
    ///
    /// # Errors
    /// The authority's own (P1): nothing of the secondary reaches the caller.
    pub async fn mirrored<T, E, S>(
        self,
        kind: Mirror,
        effect_of: fn(&E) -> Effect,
        call: impl Future<Output = Result<T, E>>,
        mirror: impl FnOnce(&T, Side) -> S,
    ) -> Result<T, E>
    where
        E: 'static,
        S: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.mirrored_by(kind, effect_of, call, effect_of, mirror).await
    }

    /// As [`WriteTicket::mirrored`], where the secondary's write has an error type of its own.
    ///
    /// # Errors
    /// The authority's own (P1).
    pub async fn mirrored_by<T, E, M, S>(
        self,
        kind: Mirror,
        effect_of: fn(&E) -> Effect,
        call: impl Future<Output = Result<T, E>>,
        mirror_effect_of: fn(&M) -> Effect,
        mirror: impl FnOnce(&T, Side) -> S,
    ) -> Result<T, E>
    where
        M: 'static,
        S: Future<Output = Result<(), M>> + Send + 'static,
    {
        self.both(kind, effect_of, call, |_, _| {}, mirror_effect_of, mirror).await
    }

    /// As [`WriteTicket::mirrored_by`], for a ticket of [`Operation::begin_write_of_new`]: `row` finds the row's key in
    /// the authority's answer. Should the answer never come, nobody knows the row, and everything is suspect until a
    /// verification passes: a key made by the caller is worth having.
    ///
    /// # Errors
    /// The authority's own (P1).
    pub async fn mirrored_new<T, E, R, M, S>(
        self,
        kind: Mirror,
        effect_of: fn(&E) -> Effect,
        call: impl Future<Output = Result<T, E>>,
        row: impl FnOnce(&T) -> R,
        mirror_effect_of: fn(&M) -> Effect,
        mirror: impl FnOnce(&T, Side) -> S,
    ) -> Result<T, E>
    where
        R: Key,
        M: 'static,
        S: Future<Output = Result<(), M>> + Send + 'static,
    {
        let name = |value: &T, writing: &mut Mirroring| writing.name(&row(value));
        self.both(kind, effect_of, call, name, mirror_effect_of, mirror).await
    }

    /// As [`WriteTicket::mirrored_new`], for a call that makes any number of rows of one cohort key: `rows` finds the keys of
    /// all of them in the authority's answer. When the answer names none, the secondary is not called.
    ///
    /// # Errors
    /// The authority's own (P1).
    pub async fn mirrored_new_rows<T, E, I, M, S>(
        self,
        kind: Mirror,
        effect_of: fn(&E) -> Effect,
        call: impl Future<Output = Result<T, E>>,
        rows: impl FnOnce(&T) -> I,
        mirror_effect_of: fn(&M) -> Effect,
        mirror: impl FnOnce(&T, Side) -> S,
    ) -> Result<T, E>
    where
        I: IntoIterator<Item: Key>,
        M: 'static,
        S: Future<Output = Result<(), M>> + Send + 'static,
    {
        let name = |value: &T, writing: &mut Mirroring| writing.name_all(rows(value));
        self.both(kind, effect_of, call, name, mirror_effect_of, mirror).await
    }

    /// As [`WriteTicket::mirrored_new`], with the authority's call on a task of its own: a caller that goes away before the
    /// answer does not take it along, so that the row's key is always learnt. It runs in the caller's tracing span, and
    /// without the caller's task-locals. A panic of the call is the caller's, as if it had made the call itself.
    ///
    /// # Errors
    /// The authority's own (P1).
    ///
    /// # Panics
    /// When the runtime of the migration ends before the answer: the write may have been done or not.
    pub async fn mirrored_new_detached<T, E, R, M, S>(
        self,
        kind: Mirror,
        effect_of: fn(&E) -> Effect,
        call: impl Future<Output = Result<T, E>> + Send + 'static,
        row: impl FnOnce(&T) -> R + Send + 'static,
        mirror_effect_of: fn(&M) -> Effect,
        mirror: impl FnOnce(&T, Side) -> S + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        R: Key,
        M: 'static,
        S: Future<Output = Result<(), M>> + Send + 'static,
    {
        let WriteTicket { operation, epoch, route, rows, bucket } = self;
        let runtime = operation.inner().runtime.clone();
        let operation = operation.clone();
        let write = async move {
            let ticket = WriteTicket { operation: &operation, epoch, route, rows, bucket };
            ticket.mirrored_new(kind, effect_of, call, row, mirror_effect_of, mirror).await
        };
        detached(&runtime, write).await
    }

    /// As [`WriteTicket::mirrored_new_rows`], with the authority's call on a task of its own: see
    /// [`WriteTicket::mirrored_new_detached`].
    ///
    /// # Errors
    /// The authority's own (P1).
    ///
    /// # Panics
    /// When the runtime of the migration ends before the answer: the write may have been done or not.
    pub async fn mirrored_new_rows_detached<T, E, I, M, S>(
        self,
        kind: Mirror,
        effect_of: fn(&E) -> Effect,
        call: impl Future<Output = Result<T, E>> + Send + 'static,
        named: impl FnOnce(&T) -> I + Send + 'static,
        mirror_effect_of: fn(&M) -> Effect,
        mirror: impl FnOnce(&T, Side) -> S + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        I: IntoIterator<Item: Key>,
        M: 'static,
        S: Future<Output = Result<(), M>> + Send + 'static,
    {
        let WriteTicket { operation, epoch, route, rows, bucket } = self;
        let runtime = operation.inner().runtime.clone();
        let operation = operation.clone();
        let write = async move {
            let ticket = WriteTicket { operation: &operation, epoch, route, rows, bucket };
            ticket.mirrored_new_rows(kind, effect_of, call, named, mirror_effect_of, mirror).await
        };
        detached(&runtime, write).await
    }

    async fn both<T, E, M, S>(
        self,
        kind: Mirror,
        effect_of: fn(&E) -> Effect,
        call: impl Future<Output = Result<T, E>>,
        name: impl FnOnce(&T, &mut Mirroring),
        mirror_effect_of: fn(&M) -> Effect,
        mirror: impl FnOnce(&T, Side) -> S,
    ) -> Result<T, E>
    where
        M: 'static,
        S: Future<Output = Result<(), M>> + Send + 'static,
    {
        let WriteTicket { operation, epoch, route, rows, bucket } = self;
        let Some(secondary) = route.secondary else {
            let ticket = WriteTicket { operation, epoch, route, rows: Rows::NotMirrored, bucket };
            return ticket.single(effect_of, call).await;
        };
        let mut writing = Mirroring::begin(operation, epoch, rows, route);
        let began = writing.clock();
        let answer = call.await;
        if let Some(began) = began {
            operation.stats().latency(route.authority, began.elapsed());
        }
        match &answer {
            Ok(value) => {
                // Making the call is user code too: a panic there must not reach the caller, whose write was accepted.
                let made = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    name(value, &mut writing);
                    (!writing.wrote_no_row()).then(|| mirror(value, secondary))
                }));
                match made {
                    Ok(Some(call)) => writing.mirror(operation, kind, mirror_effect_of, call).within(operation).await,
                    Ok(None) => writing.nothing_written(),
                    Err(_panic) => writing.not_begun(),
                }
            }
            Err(error) => {
                operation.stats().count(Counter::AuthorityErrors);
                writing.failed(effect_of(error));
            }
        }
        answer
    }

    pub(crate) fn prepared(self) -> Prepared {
        let WriteTicket { operation, epoch, route, rows, bucket } = self;
        Prepared::new(operation, epoch, route, rows, bucket)
    }
}

/// The answer of a write that runs on a task of its own. A panic of it is the caller's.
async fn detached<A: Send + 'static>(runtime: &Handle, write: impl Future<Output = A> + Send + 'static) -> A {
    match runtime.spawn(write.in_current_span()).await {
        Ok(answer) => answer,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => panic!("the runtime of the migration has ended during a write"),
        },
    }
}

/// What an error says about its write when nobody knows better: anything may have happened.
pub fn unknown_effect<E>(_error: &E) -> Effect {
    Effect::Unknown
}
