//! A histogram of fixed layout, so that any two can be added: 32 steps per doubling, at most 3.2 % wide.
//!
//! Values below 32 have a bucket each. A larger value with its highest bit at `2^o` (o >= 5) falls into bucket
//! `32 * (o - 4) + ((v >> (o - 5)) - 32)`. Another language can reproduce it from this line.

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;

const STEPS: u64 = 32;
const STEP_BITS: u32 = 5;

/// Counts per bucket, of whole microseconds on every surface of crossfade.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Sorted by bucket, no bucket twice, none empty.
    counts: Vec<(u16, u64)>,
}

/// A histogram whose buckets are not in their order, or beyond the layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a histogram is a list of [bucket, count], buckets rising and below {}: sort and merge them",
    Histogram::BUCKETS
)]
pub struct BadHistogram;

impl Histogram {
    /// How many buckets the layout has: enough for every 64-bit value.
    pub const BUCKETS: u16 = 32 * 60;

    /// The bucket of a value.
    #[must_use]
    pub const fn bucket_of(value: u64) -> u16 {
        if value < STEPS {
            return value as u16;
        }
        let octave = 63 - value.leading_zeros();
        let step = (value >> (octave - STEP_BITS)) - STEPS;
        // At most 32 * 59 + 31: far inside 16 bits.
        (STEPS * (octave as u64 - 4) + step) as u16
    }

    /// The largest value of a bucket.
    #[must_use]
    pub const fn upper_bound(bucket: u16) -> u64 {
        let bucket = bucket as u64;
        if bucket < STEPS {
            return bucket;
        }
        let shift = (bucket / STEPS - 1) as u32;
        let step = bucket % STEPS + STEPS;
        (step << shift) + ((1u64 << shift) - 1)
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.add(Histogram::bucket_of(value), 1);
    }

    /// Counts a bucket so many times more.
    pub fn add(&mut self, bucket: u16, count: u64) {
        if count == 0 || bucket >= Histogram::BUCKETS {
            return;
        }
        match self.counts.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(count),
            Err(at) => self.counts.insert(at, (bucket, count)),
        }
    }

    /// Adds all counts of another. Both are sorted: one pass, and nothing moves where the buckets are known already.
    pub fn merge(&mut self, other: &Histogram) {
        let mut at = 0;
        for (place, &(bucket, count)) in other.counts.iter().enumerate() {
            while self.counts.get(at).is_some_and(|(known, _)| *known < bucket) {
                at += 1;
            }
            match self.counts.get_mut(at) {
                Some((known, sum)) if *known == bucket => *sum = sum.saturating_add(count),
                Some(_) => return self.merge_from(at, &other.counts[place..]),
                None => {
                    self.counts.extend_from_slice(&other.counts[place..]);
                    return;
                }
            }
        }
    }

    /// The rest of a merge that brings new buckets: what stands from `at` on is woven together with it.
    fn merge_from(&mut self, at: usize, others: &[(u16, u64)]) {
        let ours = self.counts.split_off(at);
        self.counts.reserve(ours.len() + others.len());
        let (mut ours, mut others) = (ours.into_iter().peekable(), others.iter().copied().peekable());
        while let (Some(our), Some(other)) = (ours.peek(), others.peek()) {
            let next = match our.0.cmp(&other.0) {
                Ordering::Less => ours.next(),
                Ordering::Greater => others.next(),
                Ordering::Equal => {
                    let sum = (our.0, our.1.saturating_add(other.1));
                    ours.next();
                    others.next();
                    Some(sum)
                }
            };
            self.counts.extend(next);
        }
        self.counts.extend(ours);
        self.counts.extend(others);
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The value below or at which this share (0.0 to 1.0) of the values lies, to the layout's 3.2 %; none when empty.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let total = self.count();
        let rank = ((share.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0u64;
        for &(bucket, count) in &self.counts {
            seen = seen.saturating_add(count);
            if seen >= rank {
                return Some(Histogram::upper_bound(bucket));
            }
        }
        None
    }

    /// Bucket and count, buckets rising.
    #[must_use]
    pub fn counts(&self) -> &[(u16, u64)] {
        &self.counts
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.counts.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Histogram, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Histogram;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of [bucket, count]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Histogram, A::Error> {
                // A thousand instances send several of these every second: each takes its memory once.
                let mut counts: Vec<(u16, u64)> = Vec::new();
                while let Some((bucket, count)) = pairs.next_element::<(u16, u64)>()? {
                    let rising = counts.last().is_none_or(|(last, _)| *last < bucket);
                    if !rising || bucket >= Histogram::BUCKETS || count == 0 {
                        return Err(de::Error::custom(BadHistogram));
                    }
                    if counts.is_empty() {
                        counts.reserve(64);
                    }
                    counts.push((bucket, count));
                }
                Ok(Histogram { counts })
            }
        }

        deserializer.deserialize_seq(Pairs)
    }
}

#[cfg(feature = "openapi")]
mod schema {
    use super::Histogram;
    use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};

    impl utoipa::PartialSchema for Histogram {
        fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
            let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
            let pair = ArrayBuilder::new().items(number).min_items(Some(2)).max_items(Some(2));
            ArrayBuilder::new()
                .description(Some("[bucket, count] pairs, buckets rising; 32 buckets per doubling"))
                .items(pair)
                .into()
        }
    }

    impl utoipa::ToSchema for Histogram {}
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_meet_without_a_gap() {
        for bucket in 0..Histogram::BUCKETS - 1 {
            let last = Histogram::upper_bound(bucket);
            assert_eq!(Histogram::bucket_of(last), bucket);
            assert_eq!(Histogram::bucket_of(last + 1), bucket + 1);
        }
        assert_eq!(Histogram::bucket_of(u64::MAX), Histogram::BUCKETS - 1);
        assert_eq!(Histogram::upper_bound(Histogram::BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn quantiles_of_nothing_and_of_one() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        let mut one = Histogram::default();
        one.record(7);
        assert_eq!((one.quantile(0.0), one.quantile(0.99), one.quantile(1.0)), (Some(7), Some(7), Some(7)));
    }

    #[test]
    fn a_histogram_out_of_order_is_refused() {
        for bad in ["[[2,1],[1,1]]", "[[1,1],[1,1]]", "[[1,0]]", "[[1920,1]]"] {
            assert!(serde_json::from_str::<Histogram>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_thirtysecond_wide(value in any::<u64>()) {
            let upper = Histogram::upper_bound(Histogram::bucket_of(value));
            prop_assert!(upper >= value && upper - value <= value / 32);
        }

        #[test]
        fn merging_is_counting_together(a in prop::collection::vec(0u64..1_000_000, 0..50), b in prop::collection::vec(0u64..1_000_000, 0..50)) {
            let of = |values: &[u64]| { let mut h = Histogram::default(); for v in values { h.record(*v); } h };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(&merged, &of(&[a, b].concat()));
            prop_assert_eq!(serde_json::from_str::<Histogram>(&serde_json::to_string(&merged).unwrap()).unwrap(), merged);
        }
    }
}
