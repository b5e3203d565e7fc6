//! The guarded rollout: what it does next, given what was seen. It takes the same steps as a person, through the
//! same gates, and never the point of no return.

use super::event::{Event, Happening};
use super::evidence::Presence;
use super::{Migration, State};
use crossfade_api::problem::Problem;
use crossfade_api::wire::{OperationDoc, RampRequest};
use crossfade_core::{Share, Stage};
use std::time::Duration;

/// What the guarded rollout does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Nothing: there is none, or it has ended.
    Idle,
    /// Wait this long, for this reason.
    Wait(Duration, String),
    /// These entries.
    Append(Vec<Event>),
    /// A step is refused for now.
    Refused(Problem),
}

impl Migration {
    /// The next turn, when the revision in force has stood for `stood` and `seen` was seen meanwhile.
    #[must_use]
    pub fn auto_turn(&self, state: &State, presence: &Presence, stood: Duration, seen: &OperationDoc) -> Turn {
        let Some(auto) = self.auto.as_ref().filter(|auto| auto.ended.is_none()) else { return Turn::Idle };
        let end = |why: String| {
            let what = Happening::AutoEnded { why };
            Turn::Append(vec![Event::To { migration: self.plan.migration().to_owned(), what }])
        };
        if self.retired {
            return end("the migration is retired".to_owned());
        }
        if self.paused {
            return Turn::Wait(Duration::from_secs(1), "paused".to_owned());
        }
        if self.step.is_some() {
            return Turn::Wait(Duration::from_secs(1), "a step is under way".to_owned());
        }
        if let Some(last) = &self.last_step
            && let Some(why) = &last.abandoned
            && last.number == self.steps
            && self.steps > 0
        {
            return end(format!("the step to `{}` was given up: {why}", last.goal));
        }
        if let Some(why) = self.broken_guard(auto, seen) {
            return end(why);
        }
        let Some((stage, percent)) = self.next_rung(&auto.request.percents, auto.request.until) else {
            return end(format!("it is at {}", auto.request.until));
        };
        let dwell = Duration::from_millis(auto.request.dwell_ms);
        if stood < dwell {
            let why = format!("{} stands until its time is over", self.plan.position());
            return Turn::Wait(dwell - stood, why);
        }
        let wish = RampRequest { stage, percent, pins: None, if_revision: self.revision.into(), confirm: None };
        match self.ramp(state, &wish, presence) {
            Ok(events) => Turn::Append(events),
            Err(problem) => Turn::Refused(problem),
        }
    }

    fn broken_guard(&self, auto: &super::Auto, seen: &OperationDoc) -> Option<String> {
        let (earlier, later) = self.plan.position().stages();
        if !earlier.is_mirrored() && !later.is_mirrored() {
            return None;
        }
        let authority = earlier.authority();
        let (first, second) = (seen.side(authority), seen.side(authority.other()));
        let mismatched = seen.comparisons.mismatched;
        if mismatched > auto.request.max_mismatched {
            return Some(format!("{mismatched} reads differed, {} are allowed", auto.request.max_mismatched));
        }
        let failed = second.errors.values().fold(0u64, |sum, count| sum.saturating_add(*count));
        let calls = second.latency_us.count().saturating_add(failed);
        if calls >= 100 && failed.saturating_mul(1_000) > calls.saturating_mul(auto.request.max_failing_permille) {
            return Some(format!("{failed} of {calls} calls of the {} failed", authority.other()));
        }
        match (first.latency_us.quantile(0.99), second.latency_us.quantile(0.99)) {
            (Some(fast), Some(slow))
                if calls >= 100
                    && slow.saturating_mul(100) > fast.max(1_000).saturating_mul(auto.request.max_slower_percent) =>
            {
                Some(format!("p99 of the {} is {slow} µs, of the {authority} {fast} µs", authority.other()))
            }
            (Some(_) | None, Some(_) | None) => None,
        }
    }

    /// The next share, then the next edge; none when the goal is reached.
    fn next_rung(&self, percents: &[Share], until: Stage) -> Option<(Stage, Share)> {
        let here = self.plan.position();
        let (stage, _) = here.stages();
        if stage >= until {
            return None;
        }
        let edge = stage.edge()?;
        let share = here.share_on(edge).unwrap_or(Share::NONE);
        let whole = self.plan.whole() && edge.moves_authority();
        let next = percents.iter().copied().find(|percent| !whole && *percent > share).unwrap_or(Share::ALL);
        Some((edge.later(), next))
    }
}
