//! A revision as text, `incarnation.number.hash` with the hash as 16 hex digits: JSON numbers lose bits beyond 2^53.

use crossfade_core::Revision;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A revision on the wire: `1.12.00f3a4b5c6d7e8f9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevisionText(pub Revision);

/// A text that is no revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no revision: copy it from the status, it looks like 1.12.00f3a4b5c6d7e8f9")]
pub struct BadRevision(String);

impl fmt::Display for RevisionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:016x}", self.0.incarnation, self.0.number, self.0.hash)
    }
}

impl FromStr for RevisionText {
    type Err = BadRevision;

    fn from_str(text: &str) -> Result<RevisionText, BadRevision> {
        let bad = || BadRevision(text.chars().take(64).collect());
        let mut parts = text.split('.');
        let (Some(incarnation), Some(number), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
        if hash.len() != 16 || ![incarnation, number, hash].into_iter().all(plain) {
            return Err(bad());
        }
        Ok(RevisionText(Revision {
            incarnation: incarnation.parse().map_err(|_| bad())?,
            number: number.parse().map_err(|_| bad())?,
            hash: u64::from_str_radix(hash, 16).map_err(|_| bad())?,
        }))
    }
}

impl From<Revision> for RevisionText {
    fn from(revision: Revision) -> RevisionText {
        RevisionText(revision)
    }
}

impl Serialize for RevisionText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RevisionText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RevisionText, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod schema {
    use super::RevisionText;
    use utoipa::openapi::schema::{ObjectBuilder, Type};

    impl utoipa::PartialSchema for RevisionText {
        fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[0-9]+[.][0-9]+[.][0-9a-f]{16}$"))
                .examples(["1.12.00f3a4b5c6d7e8f9"])
                .description(Some("incarnation.number.hash"))
                .into()
        }
    }

    impl utoipa::ToSchema for RevisionText {}
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_revision_is_refused() {
        for bad in ["", "1", "1.2", "1.2.3", "1.2.00f3a4b5c6d7e8f9.4", "-1.2.00f3a4b5c6d7e8f9", "1.+2.00f3a4b5c6d7e8f9"]
        {
            assert!(bad.parse::<RevisionText>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_revision_survives_its_text(incarnation in any::<u32>(), number in any::<u64>(), hash in any::<u64>()) {
            let revision = RevisionText(Revision { incarnation, number, hash });
            prop_assert_eq!(revision.to_string().parse::<RevisionText>().unwrap(), revision);
            let json = serde_json::to_string(&revision).unwrap();
            prop_assert_eq!(serde_json::from_str::<RevisionText>(&json).unwrap(), revision);
        }
    }
}
