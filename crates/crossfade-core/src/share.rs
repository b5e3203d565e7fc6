//! A share of the buckets, in thousandths of a percent.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How many of the 100,000 buckets: one bucket is 0.001 %. Written as a percentage with at most three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Share(u32);

impl Share {
    /// No bucket.
    pub const NONE: Share = Share(0);
    /// Every bucket.
    pub const ALL: Share = Share(100_000);

    /// A share of `buckets` out of 100,000; none when there are not so many.
    #[must_use]
    pub const fn from_buckets(buckets: u32) -> Option<Share> {
        if buckets <= Share::ALL.0 { Some(Share(buckets)) } else { None }
    }

    /// The share of so many percent, 0.0 to 100.0.
    ///
    /// # Errors
    /// When it is not a number from 0 to 100, or has more than three decimals.
    pub fn from_percent(percent: f64) -> Result<Share, ShareError> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(ShareError::OutOfRange(percent.to_string()));
        }
        let buckets = (percent * 1_000.0).round();
        if (buckets / 1_000.0 - percent).abs() > 1e-9 {
            return Err(ShareError::TooFine(percent.to_string()));
        }
        // In range by the check above, so that the cast is exact.
        Ok(Share(buckets as u32))
    }

    /// The number of buckets, 0..=100,000.
    #[must_use]
    pub const fn buckets(self) -> u32 {
        self.0
    }

    /// In percent, 0.0 to 100.0.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent())
    }
}

/// Why a text or number is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Below 0, above 100, or no number at all.
    #[error("`{0}` is no percentage: give a number from 0 to 100")]
    OutOfRange(String),
    /// Finer than one bucket.
    #[error("`{0}` is too fine: a percentage has at most three decimals")]
    TooFine(String),
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Share, ShareError> {
        let number = text.trim().trim_end_matches('%').trim_end();
        let percent: f64 = number.parse().map_err(|_| ShareError::OutOfRange(text.to_owned()))?;
        Share::from_percent(percent)
    }
}

impl Serialize for Share {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.percent())
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Share, D::Error> {
        Share::from_percent(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentages_have_at_most_three_decimals() {
        assert_eq!("12.5".parse::<Share>().unwrap().buckets(), 12_500);
        assert_eq!(" 0.001 %".parse::<Share>().unwrap().buckets(), 1);
        assert_eq!("100".parse::<Share>().unwrap(), Share::ALL);
        assert!(matches!("0.0001".parse::<Share>(), Err(ShareError::TooFine(_))));
        for bad in ["100.001", "-1", "NaN", "inf", "", "half"] {
            assert!(matches!(bad.parse::<Share>(), Err(ShareError::OutOfRange(_))), "{bad}");
        }
        assert_eq!(Share::from_buckets(100_001), None);
    }

    proptest! {
        #[test]
        fn every_share_survives_its_text_and_its_json(buckets in 0u32..=100_000) {
            let share = Share::from_buckets(buckets).unwrap();
            prop_assert_eq!(share.to_string().parse::<Share>().unwrap(), share);
            let json = serde_json::to_string(&share).unwrap();
            prop_assert_eq!(serde_json::from_str::<Share>(&json).unwrap(), share);
        }
    }
}
