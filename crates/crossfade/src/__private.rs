//! What the code made by `#[crossfade::dao]` stands on. Not for people: it changes without notice.

use crate::refused::Refused;
use crate::repair::RepairError;
use crossfade_core::Effect;
use std::borrow::Borrow;
use std::future::Future;

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

/// What a copy that came to no end says about the row.
pub fn copy_effect(error: &RepairError) -> Effect {
    if error.lingers() { Effect::Unknown } else { Effect::Refused }
}

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
