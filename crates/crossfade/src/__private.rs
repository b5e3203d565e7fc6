//! What the code made by `#[crossfade::dao]` stands on. Not for people: it changes without notice.

use crate::key::{AnyShape, KeyShape, KeyedLike};
use crate::read::compare::{self, ByRows, Equality, KnownRows};
use crate::refused::Refused;
use crate::repair::{RepairError, reconcile};
use crate::rows::RowPair;
use crossfade_core::{Effect, Side};
use futures::StreamExt;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

pub use crate::table::TableSpec;
pub use futures::future::BoxFuture;
pub use std::borrow::ToOwned;
pub use std::string::String;
pub use std::sync::Arc;
pub use std::vec::Vec;

/// The way of a refusal to the caller where `refused = …` is not given.
#[diagnostic::on_unimplemented(
    message = "a refusal has no way into `{Self}`",
    label = "crossfade may refuse an operation, and its caller has to hear of it",
    note = "write `#[crossfade::dao(refused = YourError::Refused)]` with a path to a `fn(crossfade::Refused) -> {Self}`, or implement `From<crossfade::Refused>`"
)]
pub trait FromRefused {
    /// The caller's error.
    fn from_refused(refused: Refused) -> Self;
}

#[diagnostic::do_not_recommend]
impl<E: From<Refused>> FromRefused for E {
    fn from_refused(refused: Refused) -> E {
        refused.into()
    }
}

/// Takes a table of the migration for one DAO.
///
/// # Errors
/// [`TableTaken`](crate::TableTaken) when another DAO of this migration has it.
pub fn claim_table(migration: &crate::Migration, spec: TableSpec<'_>) -> Result<crate::Table, crate::TableTaken> {
    migration.claim(spec)
}

/// The canonical text of a DAO's operations, from a line for each.
pub fn operations(lines: &[&str]) -> String {
    lines.join("\n")
}

/// Panics, for the caller of a constructor that returns no error.
#[track_caller]
pub fn panic_taken(taken: &crate::TableTaken) -> ! {
    panic!("{taken}")
}

/// The type of an answer, for the choice of its comparator.
pub struct Answer<T>(std::marker::PhantomData<fn() -> T>);

/// A call that answers, and the type of its answer. Takes the call and gives it back, since a borrow would keep it alive
/// across the wait for it.
pub fn answer_of<T, E, F: Future<Output = Result<T, E>>>(call: F) -> (Answer<T>, F) {
    (Answer(std::marker::PhantomData), call)
}

/// The comparator of answers whose rows are known. Found before [`ChooseEquality`], which needs one more borrow.
pub trait ChooseRows {
    /// The comparator.
    fn comparator(&self) -> ByRows;
}

impl<T: KnownRows> ChooseRows for Answer<T> {
    fn comparator(&self) -> ByRows {
        compare::rows()
    }
}

/// The comparator of all other answers.
pub trait ChooseEquality {
    /// The comparator.
    fn comparator(&self) -> Equality;
}

impl<T> ChooseEquality for &Answer<T> {
    fn comparator(&self) -> Equality {
        compare::equality()
    }
}

/// The handle of the side that a dual write calls second.
pub enum OneOf<S, T> {
    /// The source.
    Source(S),
    /// The target.
    Target(T),
}

/// An owned copy of a borrowed argument.
pub fn own<T: ToOwned + ?Sized>(argument: &T) -> T::Owned {
    argument.to_owned()
}

/// The argument again.
pub fn lend<T: ToOwned + ?Sized>(owned: &T::Owned) -> &T {
    owned.borrow()
}

/// An owned copy of an argument that may not be there.
pub fn own_option<T: ToOwned + ?Sized>(argument: Option<&T>) -> Option<T::Owned> {
    argument.map(ToOwned::to_owned)
}

/// The argument again.
pub fn lend_option<T: ToOwned + ?Sized>(owned: &Option<T::Owned>) -> Option<&T> {
    owned.as_ref().map(Borrow::borrow)
}

/// A call whose error is made one of the caller's.
pub async fn map_err<T, E, F>(call: impl Future<Output = Result<T, E>>, map: impl FnOnce(E) -> F) -> Result<T, F> {
    call.await.map_err(map)
}

/// A call on the heap. Never inlined: in a build without optimisation the call would take room on the stack of each
/// place that makes one.
#[inline(never)]
pub fn boxed<F: Future>(call: impl FnOnce() -> F) -> std::pin::Pin<Box<F>> {
    Box::pin(call())
}

/// What a copy that came to no end says about the row.
pub fn copy_effect(error: &RepairError) -> Effect {
    if error.lingers() { Effect::Unknown } else { Effect::Refused }
}

/// How many rows of one batch are copied at a time.
const COPIES: usize = 8;

/// Copies the authority's rows to the other side: those of a batch, each once.
///
/// # Errors
/// The first that a row met, or one that may still have an effect, if there is one. The other rows are copied all the same.
pub async fn copy_rows<P: RowPair>(
    pair: P,
    authority: Side,
    ids: Vec<P::Id>,
    timeout: Duration,
) -> Result<(), RepairError> {
    let mut seen = HashSet::new();
    let ids = ids.into_iter().filter(|id| seen.insert(crate::key::text(id)));
    let pair = &pair;
    let copies = ids.map(|id| async move { reconcile(pair, authority, &id, timeout).await });
    let mut copies = futures::stream::iter(copies).buffer_unordered(COPIES);
    let mut worst: Result<(), RepairError> = Ok(());
    while let Some(copied) = copies.next().await {
        match (copied, &worst) {
            (Err(error), Ok(())) => worst = Err(error),
            (Err(error), Err(known)) if error.lingers() && !known.lingers() => worst = Err(error),
            (Ok(_) | Err(_), _) => {}
        }
    }
    worst
}

/// The errors of a batch that was mirrored one row at a time: the one that says most about what may still land.
pub struct Worst<E> {
    effect_of: fn(&E) -> Effect,
    error: Option<E>,
}

impl<E> Worst<E> {
    /// None yet.
    pub fn new(effect_of: fn(&E) -> Effect) -> Worst<E> {
        Worst { effect_of, error: None }
    }

    /// Takes in how the write of one row ended.
    pub fn add(&mut self, ended: Result<(), E>) {
        let Err(error) = ended else { return };
        let weight = |error: &E| match (self.effect_of)(error) {
            Effect::Applied => 0,
            Effect::Refused => 1,
            Effect::Unknown => 2,
        };
        if self.error.as_ref().is_none_or(|known| weight(known) < weight(&error)) {
            self.error = Some(error);
        }
    }

    /// How the batch ended.
    ///
    /// # Errors
    /// The worst.
    pub fn done(self) -> Result<(), E> {
        self.error.map_or(Ok(()), Err)
    }
}

/// The type of a key, without the key.
pub struct TypeOf<K: ?Sized>(PhantomData<K>);

/// The shape of a key, without the key.
pub struct ShapeOf<S>(PhantomData<S>);

/// The type of this key.
pub const fn type_of<K: ?Sized>(_key: &K) -> TypeOf<K> {
    TypeOf(PhantomData)
}

/// `(&type_of(key)).shape()`: this one where the shape is known, since it needs one borrow less.
pub trait HasShape {
    /// The shape.
    type Shape;
    /// It, by name.
    fn shape(&self) -> ShapeOf<Self::Shape> {
        ShapeOf(PhantomData)
    }
}

impl<K: KeyShape + ?Sized> HasShape for TypeOf<K> {
    type Shape = K::Shape;
}

/// The other one.
pub trait HasNoShape {
    /// Of which nothing is known.
    fn shape(&self) -> ShapeOf<AnyShape> {
        ShapeOf(PhantomData)
    }
}

impl<K: ?Sized> HasNoShape for &TypeOf<K> {}

/// A compile error unless both are keyed alike.
pub const fn keyed_like<Key: KeyedLike<Other>, Other>(_key: &ShapeOf<Key>, _other: &ShapeOf<Other>) {}

/// The text of a key made of several parts; a missing part makes the whole key missing (R13).
pub fn join_parts(parts: &[String]) -> String {
    if parts.iter().any(String::is_empty) { String::new() } else { parts.join("\u{1f}") }
}

/// Puts the answers of a split operation together again (R18).
pub trait Merge: Sized {
    /// Of no keys at all.
    fn nothing() -> Self;
    /// Takes in the answer for some more of the keys.
    fn merge(&mut self, other: Self);
}

/// The answers of a split operation so far.
pub struct Merged<T>(Option<T>);

impl<T: Merge> Merged<T> {
    /// None yet.
    #[expect(clippy::new_without_default, reason = "generated code calls it by name")]
    pub fn new() -> Merged<T> {
        Merged(None)
    }

    /// The answer for the keys at these places.
    pub fn add(&mut self, _places: &[usize], answer: T) {
        match &mut self.0 {
            Some(all) => all.merge(answer),
            None => self.0 = Some(answer),
        }
    }

    /// The answer for all keys.
    pub fn done(self) -> T {
        self.0.unwrap_or_else(T::nothing)
    }
}

/// The answers of a split operation that has one value for each key, in the order of the keys.
pub struct Aligned<T>(Vec<(usize, T)>);

impl<T> Aligned<T> {
    /// None yet.
    #[expect(clippy::new_without_default, reason = "generated code calls it by name")]
    pub fn new() -> Aligned<T> {
        Aligned(Vec::new())
    }

    /// The values for the keys at these places. What a side answers beyond them goes to the end.
    pub fn add(&mut self, places: &[usize], answer: Vec<T>) {
        let places = places.iter().copied().chain(std::iter::repeat(usize::MAX));
        self.0.extend(places.zip(answer));
    }

    /// The values for all keys.
    pub fn done(mut self) -> Vec<T> {
        self.0.sort_by_key(|(place, _)| *place);
        self.0.into_iter().map(|(_, value)| value).collect()
    }
}

impl Merge for () {
    fn nothing() -> Self {}
    fn merge(&mut self, (): ()) {}
}

impl<T> Merge for Vec<T> {
    fn nothing() -> Self {
        Vec::new()
    }
    fn merge(&mut self, other: Self) {
        self.extend(other);
    }
}

impl<K: Ord, V> Merge for std::collections::BTreeMap<K, V> {
    fn nothing() -> Self {
        Self::new()
    }
    fn merge(&mut self, other: Self) {
        self.extend(other);
    }
}

impl<K: Eq + std::hash::Hash, V, S: std::hash::BuildHasher + Default> Merge for std::collections::HashMap<K, V, S> {
    fn nothing() -> Self {
        Self::default()
    }
    fn merge(&mut self, other: Self) {
        self.extend(other);
    }
}

macro_rules! counts {
    ($($count:ty),*) => {$(
        impl Merge for $count {
            fn nothing() -> Self {
                0
            }
            fn merge(&mut self, other: Self) {
                *self += other;
            }
        }
    )*};
}
counts!(u32, u64, usize, i32, i64);
