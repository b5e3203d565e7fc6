//! The same without a macro: a read or a write of a migration, in closures.

use crate::key::Key;
use crate::migration::Migration;
use crate::operation::Operation;
use crate::read::compare::{Compare, Equality, equality};
use crate::refused::Refused;
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
    pub fn write<'k, K: Key + ?Sized>(&self, key: &'k K) -> Write<'k, K, K, Unset, Unset> {
        Write { operation: self.operation("write"), key, row: key, source: Unset, target: Unset, kind: Mirror::State }
    }

    /// A write inside a transaction of the caller's (R19): `prepare`, commit, then `mirror`.
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
pub struct Write<'k, K: ?Sized, R: ?Sized, S, T> {
    operation: Operation,
    key: &'k K,
    row: &'k R,
    source: S,
    target: T,
    kind: Mirror,
}

impl<'k, K: ?Sized, R: ?Sized, S, T> Write<'k, K, R, S, T> {
    /// The name under which it is observed.
    pub fn operation(mut self, operation: &Operation) -> Self {
        self.operation = operation.clone();
        self
    }

    /// The row that is written, where it is not the cohort key itself.
    pub fn row<Q: ?Sized>(self, row: &'k Q) -> Write<'k, K, Q, S, T> {
        let Write { operation, key, row: _, source, target, kind } = self;
        Write { operation, key, row, source, target, kind }
    }

    /// The call is not blind and deterministic: mark its row every time (R17).
    pub fn guess(mut self) -> Self {
        self.kind = Mirror::Guess;
        self
    }

    /// How the source is written.
    pub fn source<F>(self, source: F) -> Write<'k, K, R, F, T> {
        let Write { operation, key, row, source: _, target, kind } = self;
        Write { operation, key, row, source, target, kind }
    }

    /// How the target is written.
    pub fn target<F>(self, target: F) -> Write<'k, K, R, S, F> {
        let Write { operation, key, row, source, target: _, kind } = self;
        Write { operation, key, row, source, target, kind }
    }
}

impl<K: Key + ?Sized, R: Key + ?Sized, S, T> Write<'_, K, R, S, T> {
    /// Writes. The closure of the secondary gets the authority's answer, so that values which the authority made (ids,
    /// timestamps, the result of an increment) are handed on (R17); that of the authority gets none.
    ///
    /// # Errors
    /// The authority's own, or a refusal (P1).
    pub async fn run<V, E, FS, FT>(self, refused: impl FnOnce(Refused) -> E) -> Result<V, E>
    where
        V: Clone + Send + 'static,
        E: Send + 'static,
        S: FnOnce(Option<V>) -> FS + Send + 'static,
        T: FnOnce(Option<V>) -> FT + Send + 'static,
        FS: Future<Output = Result<V, E>> + Send + 'static,
        FT: Future<Output = Result<V, E>> + Send + 'static,
    {
        self.run_with(refused, unknown_effect).await
    }

    /// As [`Write::run`], with a function that tells what an error says about its write: a definite refusal needs no
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
        V: Clone + Send + 'static,
        E: Send + 'static,
        S: FnOnce(Option<V>) -> FS + Send + 'static,
        T: FnOnce(Option<V>) -> FT + Send + 'static,
        FS: Future<Output = Result<V, E>> + Send + 'static,
        FT: Future<Output = Result<V, E>> + Send + 'static,
    {
        let Write { operation, key, row, source, target, kind } = self;
        let ticket = match operation.begin_write(key, row).await {
            Ok(ticket) => ticket,
            Err(reason) => return Err(refused(reason)),
        };
        match (ticket.authority(), ticket.is_mirrored()) {
            (Side::Source, false) => ticket.single(effect_of, source(None)).await,
            (Side::Target, false) => ticket.single(effect_of, target(None)).await,
            (Side::Source, true) => {
                let mirror = |value: &V, _| {
                    let value = value.clone();
                    async move { target(Some(value)).await.map(drop) }
                };
                ticket.mirrored(kind, effect_of, async { source(None).await }, mirror).await
            }
            (Side::Target, true) => {
                let mirror = |value: &V, _| {
                    let value = value.clone();
                    async move { source(Some(value)).await.map(drop) }
                };
                ticket.mirrored(kind, effect_of, async { target(None).await }, mirror).await
            }
        }
    }
}
