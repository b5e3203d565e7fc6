//! Effects whose outcome was not learnt and that may still land (R3, R26).
//!
//! Each is kept with the buckets that it can touch and the way its write was routed. A plan that routes one of these
//! buckets another way is acknowledged only when the effect can land no more; a plan that leaves them where they are does
//! not wait for it, and neither does a hold of other buckets. Where the effect has left a mark, the mark guards the row
//! until its linger has passed. Where its rows are not known there is no mark: then every hold waits for it, so that the
//! acknowledgement carries the doubt that it leaves at its end.

use crate::sync::Mutex;
use crossfade_core::{Bucket, Phase, Plan, Position, WriteRoute};
use std::collections::HashMap;
use std::sync::PoisonError;
use tokio::time::Instant;

/// Which rows an effect can touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Rows of this bucket.
    Bucket(Bucket),
    /// Rows of any bucket, under a plan with this position.
    Any(Position),
}

#[derive(Debug)]
struct Effect {
    reach: Reach,
    route: WriteRoute,
    guard: Guard,
    until: Instant,
}

/// What keeps authority off the rows that an effect can touch, until it can land no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// A mark, or that its key is not mirrored and does not move.
    Row,
    /// Nothing but the wait: its rows are not known.
    Wait,
}

/// The lingering effects of one migration in this process.
#[derive(Debug, Default)]
pub(crate) struct Lingering {
    effects: Mutex<(HashMap<u64, Effect>, u64)>,
}

impl Lingering {
    /// An effect may land until then. The number is for [`Lingering::ended`].
    pub(crate) fn begin(&self, reach: Reach, route: WriteRoute, guard: Guard, until: Instant) -> u64 {
        let mut effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.1 += 1;
        let number = effects.1;
        effects.0.insert(number, Effect { reach, route, guard, until });
        number
    }

    /// The effect can land no more.
    pub(crate) fn ended(&self, number: u64) {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner).0.remove(&number);
    }

    fn latest(&self, counts: impl Fn(&Effect) -> bool) -> Option<Instant> {
        let effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.0.values().filter(|effect| counts(effect)).map(|effect| effect.until).max()
    }

    /// Until when an effect may land for which this plan has to wait before it is acknowledged; none when there is no such
    /// effect. These are effects that the plan routes another way, and in a hold those that only the wait guards. A bucket
    /// with a pinned key counts as routed another way: the effect may be one of that key.
    pub(crate) fn delaying(&self, plan: &Plan) -> Option<Instant> {
        let routes = BucketRoutes::of(plan);
        let holds = !matches!(plan.phase(), Phase::Settled);
        self.latest(|effect| {
            let rerouted = match &effect.reach {
                Reach::Bucket(bucket) => !routes.is_routed(*bucket, effect.route),
                Reach::Any(position) => position != plan.position(),
            };
            rerouted || (holds && effect.guard == Guard::Wait)
        })
    }

    /// Until when an effect may land in one of these buckets.
    pub(crate) fn in_buckets(&self, among: impl Fn(Bucket) -> bool) -> Option<Instant> {
        self.latest(|effect| match &effect.reach {
            Reach::Bucket(bucket) => among(*bucket),
            Reach::Any(_) => true,
        })
    }
}

/// How a plan routes the writes of whole buckets.
struct BucketRoutes<'a> {
    plan: &'a Plan,
    pinned: Vec<Bucket>,
}

impl BucketRoutes<'_> {
    fn of(plan: &Plan) -> BucketRoutes<'_> {
        BucketRoutes { plan, pinned: pinned_buckets(plan, plan.position()) }
    }

    /// Writes of every key of this bucket go this way.
    fn is_routed(&self, bucket: Bucket, route: WriteRoute) -> bool {
        !self.pinned.contains(&bucket) && self.plan.position().stage_of_bucket(bucket).write_route() == route
    }
}

/// The buckets of the keys that a position pins.
pub(crate) fn pinned_buckets(plan: &Plan, position: &Position) -> Vec<Bucket> {
    let key =
        |pin: &crossfade_core::Pin| crossfade_core::CohortKey::new(&pin.key).ok().map(|key| plan.salt().bucket(key));
    position.pins().iter().filter_map(key).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crossfade_core::{End, Pin, PlanSpec, Stage};

    fn plan(position: Position) -> Plan {
        Plan::new(PlanSpec::at("events", Stage::Off)).unwrap().settled_at(position).unwrap()
    }

    fn half(stage: Stage) -> Position {
        Position::ramping(stage.edge().unwrap(), "50".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_effect_is_waited_for_where_its_bucket_is_routed_another_way() {
        let lingering = Lingering::default();
        let until = Instant::now() + std::time::Duration::from_secs(5);
        let (low, high) = (Bucket::new(1).unwrap(), Bucket::new(99_999).unwrap());
        let number = lingering.begin(Reach::Bucket(high), Stage::Off.write_route(), Guard::Row, until);
        assert_eq!(lingering.delaying(&plan(Position::at(Stage::Off))), None);
        assert_eq!(lingering.delaying(&plan(half(Stage::Off))), None, "the other half moves");
        assert_eq!(lingering.delaying(&plan(Position::at(Stage::DualWrite))), Some(until));
        assert_eq!(lingering.in_buckets(|bucket| bucket == low), None);
        assert_eq!(lingering.in_buckets(|bucket| bucket == high), Some(until));
        lingering.ended(number);
        assert_eq!(lingering.delaying(&plan(Position::at(Stage::DualWrite))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mirrored_write_is_routed_alike_from_dual_write_to_shadow() {
        let lingering = Lingering::default();
        let until = Instant::now();
        lingering.begin(Reach::Bucket(Bucket::of_hash(0)), Stage::DualWrite.write_route(), Guard::Row, until);
        assert_eq!(lingering.delaying(&plan(Position::at(Stage::Shadow))), None);
        assert_eq!(lingering.delaying(&plan(Position::at(Stage::Off))), Some(until));
    }

    #[tokio::test(start_paused = true)]
    async fn an_effect_that_may_touch_any_row_is_in_every_bucket_and_waited_for_at_every_move() {
        let lingering = Lingering::default();
        let until = Instant::now();
        lingering.begin(Reach::Any(Position::at(Stage::Shadow)), Stage::Shadow.write_route(), Guard::Wait, until);
        assert_eq!(lingering.delaying(&plan(Position::at(Stage::Shadow))), None);
        assert_eq!(lingering.delaying(&plan(Position::at(Stage::DualWrite))), Some(until));
        assert_eq!(lingering.in_buckets(|_| false), Some(until));
        let shadow = plan(Position::at(Stage::Shadow));
        let hold = shadow.steps_to(Position::at(Stage::Live)).unwrap().remove(0);
        assert_eq!(lingering.delaying(&hold), Some(until), "nothing but the wait guards its rows");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_with_a_pinned_key_counts_as_routed_another_way() {
        let lingering = Lingering::default();
        let until = Instant::now();
        let pinned = half(Stage::Off).with_pins(vec![Pin { key: "u1".to_owned(), end: End::Later }]);
        let plan = plan(pinned);
        let bucket = pinned_buckets(&plan, plan.position())[0];
        let route = plan.position().stage_of_bucket(bucket).write_route();
        lingering.begin(Reach::Bucket(bucket), route, Guard::Row, until);
        assert_eq!(lingering.delaying(&plan), Some(until));
    }
}
