//! Which keys have a dual write under way: while one is, the sides may lawfully differ.

use crate::sync::AtomicU32;
use crossfade_core::Bucket;
use std::sync::atomic::Ordering;

const STRIPES: usize = 4_096;

/// Dual writes under way, counted by stripes of buckets. Two keys on one stripe are taken for one, which only delays a
/// verdict.
#[derive(Debug)]
pub(crate) struct InFlight(Box<[AtomicU32]>);

impl InFlight {
    pub(crate) fn new() -> InFlight {
        InFlight((0..STRIPES).map(|_| AtomicU32::new(0)).collect())
    }

    fn stripe(&self, bucket: Bucket) -> &AtomicU32 {
        &self.0[bucket.number() as usize % STRIPES]
    }

    pub(crate) fn begin(&self, bucket: Bucket) {
        self.stripe(bucket).fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end(&self, bucket: Bucket) {
        self.stripe(bucket).fetch_sub(1, Ordering::SeqCst);
    }

    /// No dual write is under way.
    pub(crate) fn none(&self) -> bool {
        self.0.iter().all(|stripe| stripe.load(Ordering::SeqCst) == 0)
    }

    /// No dual write of this bucket is under way.
    pub(crate) fn is_quiet(&self, bucket: Bucket) -> bool {
        self.stripe(bucket).load(Ordering::SeqCst) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_quiet_when_every_write_has_ended() {
        let in_flight = InFlight::new();
        let (one, other) = (Bucket::of_hash(0), Bucket::of_hash(u64::MAX));
        in_flight.begin(one);
        in_flight.begin(one);
        in_flight.end(one);
        assert!(!in_flight.is_quiet(one) && in_flight.is_quiet(other));
        in_flight.end(one);
        assert!(in_flight.is_quiet(one));
    }
}
