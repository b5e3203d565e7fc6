//! Where every key of a migration stands: a stage, and how far the ramp to the next one is open.

use crate::cohort::{Bucket, CohortKey};
use crate::share::Share;
use crate::stage::{Edge, Stage};
use crate::switches::Side;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Which end of the open ramp a pinned key sits at, whatever its bucket (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The stage that the ramp leaves: "this customer last".
    Earlier,
    /// The stage that the ramp leads to: "our own accounts first".
    Later,
}

/// A key held at one end of the open ramp.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pin {
    /// The canonical text of the cohort key.
    pub key: String,
    /// Where it sits.
    pub end: End,
}

/// A stage, and perhaps a ramp open to the next: a key is at the later stage when its bucket is below the ramp's share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    stage: Stage,
    ramp: Option<Share>,
    /// Sorted by key, each key once.
    pins: Arc<[Pin]>,
}

impl Position {
    /// Every key at one stage.
    #[must_use]
    pub fn at(stage: Stage) -> Position {
        Position { stage, ramp: None, pins: Arc::new([]) }
    }

    /// A ramp open from `edge.earlier()`, with `share` of the keys already at `edge.later()`.
    #[must_use]
    pub fn ramping(edge: Edge, share: Share) -> Position {
        Position { stage: edge.earlier(), ramp: Some(share), pins: Arc::new([]) }
    }

    /// The same place with these pins. Of two pins for one key the first counts.
    #[must_use]
    pub fn with_pins(mut self, mut pins: Vec<Pin>) -> Position {
        pins.sort_by(|a, b| a.key.cmp(&b.key));
        pins.dedup_by(|a, b| a.key == b.key);
        self.pins = pins.into();
        self
    }

    /// The stage of the keys that the ramp has not reached; of all keys when no ramp is open.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The open ramp: its edge and the share of the keys at the later stage.
    #[must_use]
    pub fn ramp(&self) -> Option<(Edge, Share)> {
        Some((self.stage.edge()?, self.ramp?))
    }

    /// The pins, sorted by key. They act only while a ramp is open.
    #[must_use]
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// The stage of one key. Total: every key stands somewhere.
    #[must_use]
    #[inline]
    pub fn stage_of(&self, bucket: Bucket, key: CohortKey<'_>) -> Stage {
        let Some(share) = self.ramp else { return self.stage };
        let later = match self.pin_of(key) {
            Some(End::Later) => true,
            Some(End::Earlier) => false,
            None => bucket.number() < share.buckets(),
        };
        if later { self.stage.next().unwrap_or(self.stage) } else { self.stage }
    }

    /// The stage of the keys of a bucket that no pin names.
    #[must_use]
    pub fn stage_of_bucket(&self, bucket: Bucket) -> Stage {
        match self.ramp {
            Some(share) if bucket.number() < share.buckets() => self.stage.next().unwrap_or(self.stage),
            Some(_) | None => self.stage,
        }
    }

    #[inline]
    fn pin_of(&self, key: CohortKey<'_>) -> Option<End> {
        if self.pins.is_empty() {
            return None;
        }
        let found = self.pins.binary_search_by(|pin| pin.key.as_str().cmp(key.text())).ok()?;
        self.pins.get(found).map(|pin| pin.end)
    }

    /// Both stages at which keys may stand: the same one twice when no ramp is open.
    #[must_use]
    pub fn stages(&self) -> (Stage, Stage) {
        let later = if self.ramp.is_some() { self.stage.next() } else { None };
        (self.stage, later.unwrap_or(self.stage))
    }

    /// The stages at which some key may in fact stand: one end of the ramp alone while it is empty or full and nothing is pinned.
    #[must_use]
    pub fn occupied(&self) -> (Stage, Stage) {
        let (earlier, later) = self.stages();
        match self.ramp {
            Some(Share::NONE) if self.pins.is_empty() => (earlier, earlier),
            Some(Share::ALL) if self.pins.is_empty() => (later, later),
            Some(_) | None => (earlier, later),
        }
    }

    /// The share of the keys at the later end of `edge`, when this position lies on that edge.
    #[must_use]
    pub fn share_on(&self, edge: Edge) -> Option<Share> {
        match self.ramp {
            Some(share) if self.stage == edge.earlier() => Some(share),
            Some(_) => None,
            None if self.stage == edge.earlier() => Some(Share::NONE),
            None if self.stage == edge.later() => Some(Share::ALL),
            None => None,
        }
    }

    /// The edge on which both positions lie, if one (R1). Of two (the same stage twice) the one that leads on.
    #[must_use]
    pub fn common_edge(&self, other: &Position) -> Option<Edge> {
        Edge::all().into_iter().rev().find(|edge| self.share_on(*edge).is_some() && other.share_on(*edge).is_some())
    }

    /// The key's authority is another at `other`: its writes are held while the migration moves there (R4).
    #[must_use]
    #[inline]
    pub fn moves(&self, other: &Position, bucket: Bucket, key: CohortKey<'_>) -> Option<(Side, Side)> {
        let (from, to) = (self.stage_of(bucket, key).authority(), other.stage_of(bucket, key).authority());
        (from != to).then_some((from, to))
    }

    /// Some key's authority is another at `other`.
    #[must_use]
    pub fn moves_authority(&self, other: &Position) -> bool {
        match self.common_edge(other) {
            Some(edge) if !edge.moves_authority() => false,
            Some(edge) => self.share_on(edge) != other.share_on(edge) || self.pins_differ(other),
            None => self.stages() != other.stages(),
        }
    }

    fn pins_differ(&self, other: &Position) -> bool {
        (self.ramp.is_some() || other.ramp.is_some())
            && (self.ramp.is_some() != other.ramp.is_some() || self.pins != other.pins)
            && !(self.pins.is_empty() && other.pins.is_empty())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ramp() {
            Some((edge, share)) => write!(f, "{}, {share} of keys at {}", edge.earlier(), edge.later()),
            None => write!(f, "{}", self.stage),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn positions() -> impl Strategy<Value = Position> {
        let pins = prop::collection::vec(("[a-e]", prop_oneof![Just(End::Earlier), Just(End::Later)]), 0..3);
        (0usize..6, prop::option::of(prop_oneof![Just(0), Just(100_000), 0u32..=100_000]), pins).prop_map(
            |(stage, share, pins)| {
                let pins = pins.into_iter().map(|(key, end)| Pin { key, end }).collect();
                let stage = Stage::ALL[stage];
                match (stage.edge(), share) {
                    (Some(edge), Some(share)) => Position::ramping(edge, Share::from_buckets(share).unwrap()),
                    _ => Position::at(stage),
                }
                .with_pins(pins)
            },
        )
    }

    fn key() -> impl Strategy<Value = (Bucket, String)> {
        (0u32..100_000, "[a-h]").prop_map(|(bucket, key)| (Bucket::new(bucket).unwrap(), key))
    }

    proptest! {
        #[test]
        fn a_raised_ramp_never_moves_a_key_back(edge in 0usize..5, a in 0u32..=100_000, b in 0u32..=100_000, (bucket, key) in key()) {
            let edge = Edge::all()[edge];
            let (low, high) = (a.min(b), a.max(b));
            let key = CohortKey::new(&key).unwrap();
            let at = |share| Position::ramping(edge, Share::from_buckets(share).unwrap()).stage_of(bucket, key);
            prop_assert!(at(low) <= at(high));
        }

        #[test]
        fn an_empty_and_a_full_ramp_are_the_stages_at_its_ends(edge in 0usize..5, (bucket, key) in key()) {
            let edge = Edge::all()[edge];
            let key = CohortKey::new(&key).unwrap();
            prop_assert_eq!(Position::ramping(edge, Share::NONE).stage_of(bucket, key), edge.earlier());
            prop_assert_eq!(Position::ramping(edge, Share::ALL).stage_of(bucket, key), edge.later());
        }

        #[test]
        fn no_key_moves_authority_unseen(a in positions(), b in positions(), (bucket, key) in key()) {
            let key = CohortKey::new(&key).unwrap();
            if a.moves(&b, bucket, key).is_some() && a.common_edge(&b).is_some() {
                prop_assert!(a.moves_authority(&b), "{:?} -> {:?}", a, b);
            }
        }

        #[test]
        fn staying_moves_nothing(a in positions()) {
            prop_assert!(!a.moves_authority(&a));
            prop_assert!(a.common_edge(&a).is_some());
        }
    }

    #[test]
    fn the_key_at_the_ramps_edge_is_not_over_it() {
        let stage_of = |share, bucket| {
            let at = Position::ramping(Stage::DualWrite.edge().unwrap(), Share::from_buckets(share).unwrap());
            at.stage_of(Bucket::new(bucket).unwrap(), CohortKey::new("u1").unwrap())
        };
        assert_eq!((stage_of(7, 6), stage_of(7, 7)), (Stage::Shadow, Stage::DualWrite));
        assert_eq!((stage_of(0, 0), stage_of(1, 0)), (Stage::DualWrite, Stage::Shadow));
        assert_eq!((stage_of(99_999, 99_999), stage_of(100_000, 99_999)), (Stage::DualWrite, Stage::Shadow));
    }

    #[test]
    fn keys_stand_at_one_end_of_an_empty_or_full_ramp_unless_some_are_pinned() {
        let edge = Stage::DualWrite.edge().unwrap();
        let (earlier, later) = (Stage::DualWrite, Stage::Shadow);
        for (share, alone) in [(Share::NONE, earlier), (Share::ALL, later)] {
            let at = Position::ramping(edge, share);
            assert_eq!(at.occupied(), (alone, alone));
            for end in [End::Earlier, End::Later] {
                let pinned = at.clone().with_pins(vec![Pin { key: "us".into(), end }]);
                assert_eq!(pinned.occupied(), (earlier, later));
            }
        }
        let half = Position::ramping(edge, Share::from_buckets(50_000).unwrap());
        assert_eq!(half.occupied(), (earlier, later));
        assert_eq!(Position::at(earlier).occupied(), (earlier, earlier));
    }

    #[test]
    fn pins_sit_at_their_end_while_the_ramp_is_open() {
        let edge = Stage::DualWrite.edge().unwrap();
        let pins = vec![
            Pin { key: "us".into(), end: End::Later },
            Pin { key: "bank".into(), end: End::Earlier },
            Pin { key: "us".into(), end: End::Earlier },
        ];
        let open = Position::ramping(edge, Share::from_buckets(50_000).unwrap()).with_pins(pins.clone());
        let (low, high) = (Bucket::new(0).unwrap(), Bucket::new(99_999).unwrap());
        assert_eq!(open.pins().len(), 2);
        assert_eq!(open.stage_of(high, CohortKey::new("us").unwrap()), Stage::Shadow);
        assert_eq!(open.stage_of(low, CohortKey::new("bank").unwrap()), Stage::DualWrite);
        let closed = Position::at(Stage::DualWrite).with_pins(pins);
        assert_eq!(closed.stage_of(high, CohortKey::new("us").unwrap()), Stage::DualWrite);
    }

    #[test]
    fn positions_say_where_they_are() {
        let edge = Stage::DualWrite.edge().unwrap();
        assert_eq!(Position::ramping(edge, "25".parse().unwrap()).to_string(), "dual-write, 25 % of keys at shadow");
        assert_eq!(Position::at(Stage::Live).to_string(), "live");
        assert_eq!(Position::at(Stage::Off).common_edge(&Position::at(Stage::Shadow)), None);
        assert!(Position::at(Stage::Off).moves_authority(&Position::at(Stage::Live)));
        assert_eq!(Position::ramping(edge, Share::ALL).share_on(Stage::Off.edge().unwrap()), None);
    }

    #[test]
    fn a_new_pin_on_the_cut_over_moves_authority() {
        let edge = Stage::Shadow.edge().unwrap();
        let open = Position::ramping(edge, Share::NONE);
        let pinned = open.clone().with_pins(vec![Pin { key: "us".into(), end: End::Later }]);
        assert!(open.moves_authority(&pinned));
        assert!(Position::at(Stage::Shadow).moves_authority(&pinned));
        assert!(!Position::at(Stage::Shadow).moves_authority(&open));
    }
}
