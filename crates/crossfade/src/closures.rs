//! The same without a macro: a read or a write of a migration, in closures.

use crate::key::Key;
use crate::migration::Migration;
use crate::operation::Operation;
use crate::read::compare::{Compare, Equality, equality};
use crate::refused::Refused;
use crate::table::Table;
use crate::write::{Mirror, unknown_effect};
use crossfade_core::{Effect, Side};
use std::future::Future;
use std::sync::Arc;

impl Migration {
    /// A read of one key, in closures; each call of a closure reads its side once.
    ///
    /// ```
    /// # use crossfade::{Migration, Stage, plan, Refused};
    /// # #[derive(Debug, Clone)] enum Error { Refused(Refused) }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let migration = Migration::builder("events").plan(plan::fixed(Stage::Shadow)).build().await?;
    /// let read = migration.read("user-1")
    ///     .source(|| async { Ok::<_, Error>(vec![1]) })
    ///     .target(|| async { Ok(vec![1]) });
    /// let events = read.run(Error::Refused).await.unwrap();
    /// # assert_eq!(events, [1]);
    /// # Ok(()) }
    /// ```
    pub fn read<'k, K: Key + ?Sized>(&self, key: &'k K) -> Read<'k, K, Unset, Unset, Equality> {
        Read { operation: self.operation("read"), key, source: Unset, target: Unset, comparator: equality() }
    }

    /// A write of one key, in closures. The row is the key unless [`Write::row`] says otherwise.
    ///
    /// Each side has two closures: one that writes it while it has authority, and one that mirrors into it what the
    /// authority did. The second gets the authority's answer, so that values which the authority made (ids, timestamps,
    /// the result of an increment) are handed on (R17). There is no `run` before all four are given.
    ///
    /// ```
    /// # use crossfade::{Migration, Stage, plan, Refused};
    /// # #[derive(Debug)] enum Error { Refused(Refused) }
    /// # #[derive(Clone, Default)] struct Counters(std::sync::Arc<std::sync::Mutex<i64>>);
    /// # impl Counters {
    /// #     async fn add(self, by: i64) -> Result<i64, Error> { let mut all = self.0.lock().unwrap(); *all += by; Ok(*all) }
    /// #     async fn set(self, to: i64) -> Result<(), Error> { *self.0.lock().unwrap() = to; Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (postgres, dynamo) = (Counters::default(), Counters::default());
    /// let migration = Migration::builder("counters").plan(plan::fixed(Stage::DualWrite)).build().await?;
    /// let (old, old_mirror, new, new_mirror) = (postgres.clone(), postgres, dynamo.clone(), dynamo.clone());
    /// let count = migration.write("counter-1")
    ///     .source(|| old.add(1))
    ///     .target(|| new.add(1))
    ///     .mirror_to_source(|count| old_mirror.set(count))
    ///     .mirror_to_target(|count| new_mirror.set(count))
    ///     .run(Error::Refused).await.unwrap();
    /// # assert_eq!((count, *dynamo.0.lock().unwrap()), (1, 1));
    /// # Ok(()) }
    /// ```
    ///
    /// A write that is blind and deterministic (a put of a whole row, a delete by key) needs the first two alone:
    /// [`Write::replay`].
    pub fn write<'k, K: Key + ?Sized>(&self, key: &'k K) -> Write<'k, K, K, Unset, Unset> {
        Write::new(self.operation("write"), key)
    }

    /// A write inside a transaction of the caller's (R19): `prepare`, commit, then `mirror`.
    ///
    /// # Errors
    /// [`Refused`]; nothing was written.
    pub async fn prepare(&self, key: &(impl Key + ?Sized)) -> Result<crate::write::Prepared, Refused> {
        self.operation("write").prepare(key, key).await
    }
}

impl Table {
    /// As [`Migration::read`], of this table.
    pub fn read<'k, K: Key + ?Sized>(&self, key: &'k K) -> Read<'k, K, Unset, Unset, Equality> {
        Read { operation: self.operation("read"), key, source: Unset, target: Unset, comparator: equality() }
    }

    /// As [`Migration::write`], of this table.
    pub fn write<'k, K: Key + ?Sized>(&self, key: &'k K) -> Write<'k, K, K, Unset, Unset> {
        Write::new(self.operation("write"), key)
    }

    /// As [`Migration::prepare`], of this table.
    ///
    /// # Errors
    /// [`Refused`]; nothing was written.
    pub async fn prepare(&self, key: &(impl Key + ?Sized)) -> Result<crate::write::Prepared, Refused> {
        self.operation("write").prepare(key, key).await
    }
}

/// A closure that has not been given yet.
#[derive(Debug, Clone, Copy)]
pub struct Unset;

/// A closure that has been given.
#[derive(Clone, Copy)]
pub struct Given<F>(F);

impl<F> std::fmt::Debug for Given<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

/// A read in closures. See [`Migration::read`].
#[must_use = "nothing is read before `run`"]
#[derive(Debug)]
pub struct Read<'k, K: ?Sized, S, T, C> {
    operation: Operation,
    key: &'k K,
    source: S,
    target: T,
    comparator: C,
}

impl<'k, K: ?Sized, S, T, C> Read<'k, K, S, T, C> {
    /// The name under which it is observed.
    pub fn operation(mut self, operation: &Operation) -> Self {
        self.operation = operation.clone();
        self
    }

    /// How the source is read.
    pub fn source<F>(self, source: F) -> Read<'k, K, F, T, C> {
        let Read { operation, key, source: _, target, comparator } = self;
        Read { operation, key, source, target, comparator }
    }

    /// How the target is read.
    pub fn target<F>(self, target: F) -> Read<'k, K, S, F, C> {
        let Read { operation, key, source, target: _, comparator } = self;
        Read { operation, key, source, target, comparator }
    }

    /// When two answers are the same; `==` by default.
    pub fn compare<D>(self, comparator: D) -> Read<'k, K, S, T, D> {
        let Read { operation, key, source, target, comparator: _ } = self;
        Read { operation, key, source, target, comparator }
    }
}

impl<K: Key + ?Sized, S, T, C> Read<'_, K, S, T, C> {
    /// Reads. `refused` makes the caller's error of a refusal.
    ///
    /// # Errors
    /// The authority's own, or a refusal (P1).
    pub async fn run<V, E, FS, FT>(self, refused: impl FnOnce(Refused) -> E) -> Result<V, E>
    where
        V: Clone + Send + Sync + 'static,
        E: Send + 'static,
        C: Compare<V>,
        S: Fn() -> FS + Send + Sync + 'static,
        T: Fn() -> FT + Send + Sync + 'static,
        FS: Future<Output = Result<V, E>> + Send + 'static,
        FT: Future<Output = Result<V, E>> + Send + 'static,
    {
        let Read { operation, key, source, target, comparator } = self;
        let ticket = match operation.begin_read(key) {
            Ok(ticket) => ticket,
            Err(reason) => return Err(refused(reason)),
        };
        let authority = ticket.authority();
        if !ticket.is_compared() {
            return match authority {
                Side::Source => ticket.single(source()).await,
                Side::Target => ticket.single(target()).await,
            };
        }
        let sides = Arc::new((source, target));
        let again = {
            let sides = Arc::clone(&sides);
            move |side| {
                let sides = Arc::clone(&sides);
                async move {
                    match side {
                        Side::Source => sides.0().await,
                        Side::Target => sides.1().await,
                    }
                }
            }
        };
        let call = async {
            match authority {
                Side::Source => sides.0().await,
                Side::Target => sides.1().await,
            }
        };
        ticket.compared(comparator, call, again).await
    }
}

/// A write in closures. See [`Migration::write`].
#[must_use = "nothing is written before `run`"]
#[derive(Debug)]
pub struct Write<'k, K: ?Sized, R: ?Sized, S, T, MS = Unset, MT = Unset> {
    operation: Operation,
    key: &'k K,
    row: &'k R,
    source: S,
    target: T,
    mirror_to_source: MS,
    mirror_to_target: MT,
    kind: Mirror,
}

impl<'k, K: ?Sized> Write<'k, K, K, Unset, Unset> {
    fn new(operation: Operation, key: &'k K) -> Self {
        Write {
            operation,
            key,
            row: key,
            source: Unset,
            target: Unset,
            mirror_to_source: Unset,
            mirror_to_target: Unset,
            kind: Mirror::State,
        }
    }
}

impl<'k, K: ?Sized, R: ?Sized, S, T, MS, MT> Write<'k, K, R, S, T, MS, MT> {
    /// The name under which it is observed.
    pub fn operation(mut self, operation: &Operation) -> Self {
        self.operation = operation.clone();
        self
    }

    /// The row that is written, where it is not the cohort key itself.
    pub fn row<Q: ?Sized>(self, row: &'k Q) -> Write<'k, K, Q, S, T, MS, MT> {
        let Write { operation, key, row: _, source, target, mirror_to_source, mirror_to_target, kind } = self;
        Write { operation, key, row, source, target, mirror_to_source, mirror_to_target, kind }
    }

    /// The mirrored write may come out differently from the authority's: mark its row every time (R17).
    pub fn guess(mut self) -> Self {
        self.kind = Mirror::Guess;
        self
    }

    /// How the source is written while it has authority.
    pub fn source<F, A>(self, source: F) -> Write<'k, K, R, Given<F>, T, MS, MT>
    where
        F: FnOnce() -> A,
    {
        let Write { operation, key, row, source: _, target, mirror_to_source, mirror_to_target, kind } = self;
        let source = Given(source);
        Write { operation, key, row, source, target, mirror_to_source, mirror_to_target, kind }
    }

    /// How the target is written while it has authority.
    pub fn target<F, A>(self, target: F) -> Write<'k, K, R, S, Given<F>, MS, MT>
    where
        F: FnOnce() -> A,
    {
        let Write { operation, key, row, source, target: _, mirror_to_source, mirror_to_target, kind } = self;
        let target = Given(target);
        Write { operation, key, row, source, target, mirror_to_source, mirror_to_target, kind }
    }

    /// How the source gets what the target, which has authority, answered.
    pub fn mirror_to_source<F, V, A>(self, mirror_to_source: F) -> Write<'k, K, R, S, T, Given<F>, MT>
    where
        F: FnOnce(V) -> A,
    {
        let Write { operation, key, row, source, target, mirror_to_source: _, mirror_to_target, kind } = self;
        let mirror_to_source = Given(mirror_to_source);
        Write { operation, key, row, source, target, mirror_to_source, mirror_to_target, kind }
    }

    /// How the target gets what the source, which has authority, answered.
    pub fn mirror_to_target<F, V, A>(self, mirror_to_target: F) -> Write<'k, K, R, S, T, MS, Given<F>>
    where
        F: FnOnce(V) -> A,
    {
        let Write { operation, key, row, source, target, mirror_to_source, mirror_to_target: _, kind } = self;
        let mirror_to_target = Given(mirror_to_target);
        Write { operation, key, row, source, target, mirror_to_source, mirror_to_target, kind }
    }
}

impl<'k, K: ?Sized, R: ?Sized, S, T> Write<'k, K, R, Given<S>, Given<T>> {
    /// Says that both closures are blind and deterministic: each has the same effect on its side whatever the state and
    /// the clock, so that the one of the secondary is its mirror too. Nothing checks this. An increment is not like
    /// that: it would be done twice.
    pub fn replay(self) -> Replay<'k, K, R, S, T> {
        Replay(self)
    }
}

/// A write whose mirror is the same call on the other side. See [`Write::replay`].
#[must_use = "nothing is written before `run`"]
#[derive(Debug)]
pub struct Replay<'k, K: ?Sized, R: ?Sized, S, T>(Write<'k, K, R, Given<S>, Given<T>>);

impl<K: Key + ?Sized, R: Key + ?Sized, S, T> Replay<'_, K, R, S, T> {
    /// Writes, by an error type that says nothing of effects: every error may have left one.
    ///
    /// # Errors
    /// The authority's own, or a refusal (P1).
    pub async fn run<V, E, FS, FT>(self, refused: impl FnOnce(Refused) -> E) -> Result<V, E>
    where
        E: Send + 'static,
        S: FnOnce() -> FS + Send + 'static,
        T: FnOnce() -> FT + Send + 'static,
        FS: Future<Output = Result<V, E>> + Send + 'static,
        FT: Future<Output = Result<V, E>> + Send + 'static,
    {
        self.run_with(refused, unknown_effect).await
    }

    /// As [`Replay::run`], with a function that tells what an error says about its write: a definite refusal needs no
    /// mark.
    ///
    /// # Errors
    /// The authority's own, or a refusal (P1).
    pub async fn run_with<V, E, FS, FT>(
        self,
        refused: impl FnOnce(Refused) -> E,
        effect_of: fn(&E) -> Effect,
    ) -> Result<V, E>
    where
        E: Send + 'static,
        S: FnOnce() -> FS + Send + 'static,
        T: FnOnce() -> FT + Send + 'static,
        FS: Future<Output = Result<V, E>> + Send + 'static,
        FT: Future<Output = Result<V, E>> + Send + 'static,
    {
        let Write { operation, key, row, source: Given(source), target: Given(target), kind, .. } = self.0;
        let ticket = match operation.begin_write(key, row).await {
            Ok(ticket) => ticket,
            Err(reason) => return Err(refused(reason)),
        };
        match (ticket.authority(), ticket.is_mirrored()) {
            (Side::Source, false) => ticket.single(effect_of, source()).await,
            (Side::Target, false) => ticket.single(effect_of, target()).await,
            (Side::Source, true) => {
                let mirror = |_: &V, _| async move { target().await.map(drop) };
                ticket.mirrored(kind, effect_of, async { source().await }, mirror).await
            }
            (Side::Target, true) => {
                let mirror = |_: &V, _| async move { source().await.map(drop) };
                ticket.mirrored(kind, effect_of, async { target().await }, mirror).await
            }
        }
    }
}

impl<K: Key + ?Sized, R: Key + ?Sized, S, T, MS, MT> Write<'_, K, R, Given<S>, Given<T>, Given<MS>, Given<MT>> {
    /// Writes, by an error type that says nothing of effects: every error may have left one.
    ///
    /// # Errors
    /// The authority's own, or a refusal (P1).
    pub async fn run<V, E, FS, FT, NS, NT, FMS, FMT>(self, refused: impl FnOnce(Refused) -> E) -> Result<V, E>
    where
        V: Clone + Send + 'static,
        E: Send + 'static,
        S: FnOnce() -> FS + Send + 'static,
        T: FnOnce() -> FT + Send + 'static,
        MS: FnOnce(V) -> FMS + Send + 'static,
        MT: FnOnce(V) -> FMT + Send + 'static,
        FS: Future<Output = Result<V, E>> + Send + 'static,
        FT: Future<Output = Result<V, E>> + Send + 'static,
        FMS: Future<Output = Result<NS, E>> + Send + 'static,
        FMT: Future<Output = Result<NT, E>> + Send + 'static,
    {
        self.run_with(refused, unknown_effect).await
    }

    /// As [`Write::run`], with a function that tells what an error says about its write: a definite refusal needs no
    /// mark.
    ///
    /// # Errors
    /// The authority's own, or a refusal (P1).
    pub async fn run_with<V, E, FS, FT, NS, NT, FMS, FMT>(
        self,
        refused: impl FnOnce(Refused) -> E,
        effect_of: fn(&E) -> Effect,
    ) -> Result<V, E>
    where
        V: Clone + Send + 'static,
        E: Send + 'static,
        S: FnOnce() -> FS + Send + 'static,
        T: FnOnce() -> FT + Send + 'static,
        MS: FnOnce(V) -> FMS + Send + 'static,
        MT: FnOnce(V) -> FMT + Send + 'static,
        FS: Future<Output = Result<V, E>> + Send + 'static,
        FT: Future<Output = Result<V, E>> + Send + 'static,
        FMS: Future<Output = Result<NS, E>> + Send + 'static,
        FMT: Future<Output = Result<NT, E>> + Send + 'static,
    {
        let Write {
            operation,
            key,
            row,
            source: Given(source),
            target: Given(target),
            mirror_to_source: Given(mirror_to_source),
            mirror_to_target: Given(mirror_to_target),
            kind,
        } = self;
        let ticket = match operation.begin_write(key, row).await {
            Ok(ticket) => ticket,
            Err(reason) => return Err(refused(reason)),
        };
        match (ticket.authority(), ticket.is_mirrored()) {
            (Side::Source, false) => ticket.single(effect_of, source()).await,
            (Side::Target, false) => ticket.single(effect_of, target()).await,
            (Side::Source, true) => {
                let mirror = |value: &V, _| {
                    let value = value.clone();
                    async move { mirror_to_target(value).await.map(drop) }
                };
                ticket.mirrored(kind, effect_of, async { source().await }, mirror).await
            }
            (Side::Target, true) => {
                let mirror = |value: &V, _| {
                    let value = value.clone();
                    async move { mirror_to_source(value).await.map(drop) }
                };
                ticket.mirrored(kind, effect_of, async { target().await }, mirror).await
            }
        }
    }
}
