//! Which bucket a cohort key falls into.
//!
//! `h = xxh3_64(salt ‖ 0x00 ‖ key)` over the UTF-8 text of the key, `bucket = (h as u128 * 100_000) >> 64`.
//! The vectors in `docs/reference/buckets.md` let any language reproduce it.

use std::fmt;
use std::sync::Arc;

/// The part of the data that decides the rollout, as canonical text: a user id, not who is asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CohortKey<'a>(&'a str);

/// An operation came without its cohort key (R13): never bucket 0, always an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cohort key is missing or empty: pass the key of the row's owner")]
pub struct MissingKey;

impl<'a> CohortKey<'a> {
    /// The key with this text.
    ///
    /// # Errors
    /// [`MissingKey`] when the text is empty (R13).
    #[inline]
    pub const fn new(text: &'a str) -> Result<CohortKey<'a>, MissingKey> {
        if text.is_empty() { Err(MissingKey) } else { Ok(CohortKey(text)) }
    }

    /// The canonical text.
    #[must_use]
    #[inline]
    pub const fn text(self) -> &'a str {
        self.0
    }
}

/// Mixed into the hash, so that two migrations do not move the same users first. Fixed for the whole migration.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Salt {
    text: Arc<str>,
    /// The salt and the zero byte after it, ready to be followed by a key.
    head: [u8; HEAD],
}

/// A salt that leaves the zero byte room here is copied whole, which takes one instruction or two.
const HEAD: usize = 32;
/// Salts and keys up to this length together are hashed on the stack in one call.
const SHORT: usize = 128;

impl Salt {
    /// The salt with this text; a migration's own id by default.
    #[must_use]
    pub fn new(text: &str) -> Salt {
        let mut head = [0; HEAD];
        if text.len() < HEAD {
            head[..text.len()].copy_from_slice(text.as_bytes());
        }
        Salt { text: text.into(), head }
    }

    /// The text of the salt.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The full 64-bit hash of a key under this salt.
    #[must_use]
    #[inline]
    pub fn hash(&self, key: CohortKey<'_>) -> u64 {
        let (salt, key) = (self.text.as_bytes(), key.0.as_bytes());
        let length = salt.len() + 1 + key.len();
        if salt.len() < HEAD && length <= SHORT {
            let mut buffer = [0u8; SHORT];
            buffer[..HEAD].copy_from_slice(&self.head);
            buffer[salt.len() + 1..length].copy_from_slice(key);
            xxhash_rust::xxh3::xxh3_64(&buffer[..length])
        } else {
            let mut hasher = xxhash_rust::xxh3::Xxh3::new();
            hasher.update(salt);
            hasher.update(&[0]);
            hasher.update(key);
            hasher.digest()
        }
    }

    /// The bucket of a key under this salt.
    #[must_use]
    #[inline]
    pub fn bucket(&self, key: CohortKey<'_>) -> Bucket {
        Bucket::of_hash(self.hash(key))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salt({:?})", &*self.text)
    }
}

/// One of the 100,000 shares that a ramp moves one by one: 0..=99,999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(u32);

impl Bucket {
    /// How many there are.
    pub const COUNT: u32 = 100_000;

    /// The bucket of a hash: its place on the line of all hashes, in 100,000ths.
    #[must_use]
    #[inline]
    pub const fn of_hash(hash: u64) -> Bucket {
        // Below 100,000 by construction, so that the cast is exact.
        Bucket(((hash as u128 * Bucket::COUNT as u128) >> 64) as u32)
    }

    /// The bucket with this number; none when there are not so many.
    #[must_use]
    pub const fn new(number: u32) -> Option<Bucket> {
        if number < Bucket::COUNT { Some(Bucket(number)) } else { None }
    }

    /// Its number, 0..=99,999.
    #[must_use]
    #[inline]
    pub const fn number(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_reference_page_holds_what_the_code_does() {
        let page = include_str!("../../../docs/reference/buckets.md");
        let rows: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect::<Vec<_>>())
            .collect();
        assert!(rows.len() >= 8, "the vectors are gone from the page");
        for row in rows {
            let key = row[2].replace("(200 × a)", &"a".repeat(200)).replace('␟', "\u{1f}");
            let salt = Salt::new(row[1]);
            let hash = salt.hash(CohortKey::new(&key).unwrap());
            assert_eq!(format!("{hash:016x}"), row[3], "hash of {row:?}");
            assert_eq!(salt.bucket(CohortKey::new(&key).unwrap()).number().to_string(), row[4], "bucket of {row:?}");
        }
    }

    #[test]
    fn an_empty_key_is_refused() {
        assert_eq!(CohortKey::new(""), Err(MissingKey));
    }

    #[test]
    fn the_line_of_hashes_is_cut_evenly() {
        assert_eq!(Bucket::of_hash(0).number(), 0);
        assert_eq!(Bucket::of_hash(u64::MAX).number(), 99_999);
        assert_eq!(Bucket::of_hash(u64::MAX / 2).number(), 49_999);
        assert_eq!(Bucket::new(100_000), None);
        assert_eq!(format!("{:?}", Salt::new("x")), "Salt(\"x\")");
    }

    #[test]
    fn the_way_of_hashing_changes_at_no_length() {
        let text = "0123456789abcdef".repeat(9);
        for salt in (0..=HEAD + 2).map(|length| &text[..length]) {
            for key in (1..=SHORT + 2).map(|length| &text[..length]) {
                let whole = [salt.as_bytes(), &[0], key.as_bytes()].concat();
                let hash = Salt::new(salt).hash(CohortKey::new(key).unwrap());
                assert_eq!(hash, xxhash_rust::xxh3::xxh3_64(&whole), "{} and {}", salt.len(), key.len());
            }
        }
    }

    proptest! {
        #[test]
        fn short_and_long_ways_of_hashing_agree(salt in ".{0,120}", key in ".{1,200}") {
            let mut whole = salt.clone().into_bytes();
            whole.push(0);
            whole.extend_from_slice(key.as_bytes());
            prop_assert_eq!(
                Salt::new(&salt).hash(CohortKey::new(&key).unwrap()),
                xxhash_rust::xxh3::xxh3_64(&whole)
            );
        }
    }
}
