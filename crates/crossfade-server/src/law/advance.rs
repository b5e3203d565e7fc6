//! What a step under way may do next, now that time has passed or somebody acknowledged. Pure: the time is given.

use super::decide::following;
use super::event::{Event, Happening};
use super::evidence::Presence;
use super::{Migration, State};
use std::time::Duration;

/// How long something has lasted, by a clock outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed {
    /// Since the revision in force was published.
    pub published: Duration,
    /// Since writes are held; none while they are not.
    pub held: Option<Duration>,
}

/// What a step waits for, beside acknowledgements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These entries.
    Append(Vec<Event>),
    /// Ask again when something was heard, or after this time.
    Wait {
        /// When time alone changes the answer.
        at_most: Option<Duration>,
        /// What for, in words.
        why: Vec<String>,
    },
}

impl Migration {
    /// The next thing to append for the step under way.
    #[must_use]
    pub fn advance(&self, state: &State, presence: &Presence, elapsed: Elapsed) -> Next {
        let to = |what| Event::To { migration: self.plan.migration().to_owned(), what };
        let Some(step) = &self.step else { return Next::Wait { at_most: None, why: Vec::new() } };
        let unheard: Vec<&str> =
            presence.unheard.iter().filter(|id| self.instances.contains_key(*id)).map(String::as_str).collect();
        if state.restored && !unheard.is_empty() {
            let why = format!("restored from a backup, the plane waits for the reports of {}", unheard.join(", "));
            return Next::Wait { at_most: None, why: vec![why] };
        }
        let bound = self.plan.options().hold_bound;
        // Given up from move, it is held once more, and that hold is waited for: as long as an instance may still
        // read the new authority, nobody may write the old one (docs/guarantees/R04-abandon-by-hold.md).
        let unwinding = step.abandoned.is_some();
        if let Some(held) = elapsed.held
            && held >= bound
            && self.is_held()
            && !step.forced
            && (!unwinding || self.unacknowledged.is_empty())
        {
            let known = |id: &&String| self.instances.contains_key(*id);
            let absent = presence.absent();
            let waiting: Vec<&str> =
                self.unacknowledged.iter().chain(absent.iter().filter(known)).map(String::as_str).collect();
            let for_whom = match waiting.as_slice() {
                [] => self.refusing_gate(presence).join(", "),
                ids => format!("no acknowledgement by {}", ids.join(", ")),
            };
            let for_whom = if for_whom.is_empty() { "the plane was not running".to_owned() } else { for_whom };
            return self.give_up(state, &format!("writes were held for {} ms: {for_whom}", bound.as_millis()));
        }
        // A forced rollback is not given up: the way forward would lead to the side that is down.
        let bounded = self.is_held() && !unwinding && !step.forced;
        let left = elapsed.held.filter(|_| bounded).map(|held| bound.saturating_sub(held));
        let wait = |why: Vec<String>, until: Option<Duration>| {
            let at_most = [left, until].into_iter().flatten().min();
            Next::Wait { at_most, why }
        };
        if !self.unacknowledged.is_empty() {
            return wait(Vec::new(), None);
        }
        let settle = self.plan.options().settle;
        if elapsed.published < settle {
            let why = format!("every revision stands {} ms (settle-ms)", settle.as_millis());
            return wait(vec![why], Some(settle - elapsed.published));
        }
        let Some(next) = step.plans.front() else {
            if self.is_held() {
                return self.give_up(state, step.abandoned.as_deref().unwrap_or("nothing was left of its step"));
            }
            return Next::Append(vec![to(Happening::StepEnded { reached: step.abandoned.is_none() })]);
        };
        if let Some((_, why)) = self.waits_for_absent(presence) {
            return wait(vec![why], None);
        }
        let blockers = if step.forced { Vec::new() } else { self.refusing_gate(presence) };
        if blockers.is_empty() {
            let publication = following(self, state.incarnation, next);
            return Next::Append(vec![to(Happening::Published { publication })]);
        }
        if self.is_held() {
            return wait(blockers, None);
        }
        self.give_up(state, &format!("the gate refuses: {}", blockers.join(", ")))
    }

    /// What the gate before the next plan of the step says against it, as codes.
    #[must_use]
    pub fn refusing_gate(&self, presence: &Presence) -> Vec<String> {
        let Some(next) = self.step.as_ref().and_then(|step| step.plans.front()) else { return Vec::new() };
        match self.plan.admit(next) {
            Ok(admitted) => {
                let goal = match next.phase() {
                    crossfade_core::Phase::Hold { next } => next,
                    crossfade_core::Phase::Move { .. } | crossfade_core::Phase::Settled => next.position(),
                };
                self.gate(admitted, goal, presence).blockers.into_iter().map(|blocker| blocker.detail).collect()
            }
            Err(error) => vec![error.to_string()],
        }
    }

    fn give_up(&self, state: &State, why: &str) -> Next {
        match self.abandon(state, why) {
            Ok(events) => Next::Append(events),
            Err(_) => Next::Append(vec![Event::To {
                migration: self.plan.migration().to_owned(),
                what: Happening::StepEnded { reached: false },
            }]),
        }
    }
}
