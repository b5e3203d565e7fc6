//! Where an operator's wish leads.

use super::Migration;
use crossfade_api::problem::{Code, Problem};
use crossfade_core::{Pin, Position, Share, Stage};

impl Migration {
    /// The position that `ramp STAGE PERCENT` asks for.
    pub(super) fn ramp_goal(&self, stage: Stage, share: Share, pins: Option<Vec<Pin>>) -> Result<Position, Problem> {
        let here = self.plan.position();
        let pins = pins.unwrap_or_else(|| here.pins().to_vec());
        let edge = match stage.previous().and_then(Stage::edge) {
            Some(edge) => edge,
            None => {
                let detail = "there is no way on to off: use `crossfade rollback`".to_owned();
                return Err(Problem::new(Code::Unlawful, detail));
            }
        };
        let goal = if share == Share::ALL {
            Position::at(edge.later())
        } else if share == Share::NONE && pins.is_empty() {
            Position::at(edge.earlier())
        } else {
            Position::ramping(edge, share)
        };
        Ok(goal.with_pins(pins))
    }

    /// The position that `rollback` asks for: the open ramp emptied, otherwise one edge back.
    pub(super) fn rollback_goal(&self) -> Result<Position, Problem> {
        let here = self.plan.position();
        let stage = match (here.ramp(), here.stage().previous()) {
            (Some(_), _) => here.stage(),
            (None, Some(previous)) => previous,
            (None, None) => {
                return Err(Problem::new(Code::Unlawful, "every key is at off: there is nothing behind it"));
            }
        };
        Ok(Position::at(stage).with_pins(here.pins().to_vec()))
    }
}

/// The share of the keys that stand elsewhere at `goal`, pins apart.
#[must_use]
pub(crate) fn share_moving(here: &Position, goal: &Position) -> Share {
    let share = here.common_edge(goal).map_or(0, |edge| {
        let on = |position: &Position| position.share_on(edge).unwrap_or(Share::NONE).buckets();
        on(here).abs_diff(on(goal))
    });
    Share::from_buckets(share).unwrap_or(Share::ALL)
}
