//! What the code made by `#[crossfade::dao]` stands on. Not for people: it changes without notice.

pub use futures::future::BoxFuture;
pub use std::sync::Arc;

/// Puts the answers of a split operation together again (R18).
pub trait Merge: Sized {
    /// Of no keys at all.
    fn nothing() -> Self;
    /// Takes in the answer for some more of the keys.
    fn merge(&mut self, other: Self);
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
