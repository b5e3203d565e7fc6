//! The verification (R14): every row of both sides, mismatches read again, and "unknown" where it could not look.

use crate::action::{Action, Look};
use crate::application::Mark;
use crate::model::Protocol;
use crate::rules::Rule;
use crate::state::State;
use crate::store::Value;
use crossfade_core::{Side, Tick, Verdict, Verification};

/// A verification under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verifying {
    /// When it began.
    pub began: Tick,
    /// The row that it looks at.
    pub row: u8,
    /// What the source held; none before it was read.
    pub seen: Option<Value>,
    /// Rows that differ.
    pub differing: u8,
}

impl Protocol {
    /// What the verification may do next.
    pub fn verification_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Some(verifying) = state.verification else {
            if state.left.verifications > 0 {
                actions.push(Action::VerifyBegin);
            }
            return;
        };
        if state.left.losses > 0 {
            actions.push(Action::VerifyStep(Look::Lost));
        }
        match verifying.seen {
            Some(seen) if self.differs(state, verifying.row, seen) => {
                actions.push(Action::VerifyStep(Look::Again));
                actions.push(Action::VerifyStep(Look::Counts));
            }
            Some(_) | None => actions.push(Action::VerifyStep(Look::Read)),
        }
    }

    fn differs(&self, state: &State, row: u8, source: Value) -> bool {
        let target = state.cell(Side::Target, row);
        let mirrored = self.plans.of(state.control.published).decisions[row as usize].stage.is_mirrored();
        // Rows that the backfill has not reached count apart.
        let ahead = target.is_none() && !state.control.backfilled[row as usize];
        mirrored && !ahead && source != target
    }

    /// A verification begins.
    pub fn verify_begin(&self, state: &mut State) {
        state.left.verifications -= 1;
        let began = state.now();
        state.verification = Some(Verifying { began, row: 0, seen: None, differing: 0 });
    }

    /// The verification looks at its row.
    pub fn verify_step(&self, state: &mut State, look: Look) -> Option<()> {
        let mut verifying = state.verification?;
        match look {
            Look::Read => match verifying.seen {
                None => verifying.seen = Some(state.cell(Side::Source, verifying.row)),
                Some(_) => {
                    verifying.row += 1;
                    verifying.seen = None;
                }
            },
            Look::Again => verifying.seen = None,
            Look::Counts => {
                let mark = Mark { generation: 0, lingering: 0, under_way: 0, of: verifying.row, payload: None };
                state.control.marks.set(verifying.row, mark);
                verifying.differing += 1;
                verifying.row += 1;
                verifying.seen = None;
            }
            Look::Lost => {
                state.left.losses -= 1;
                state.ghost.faulty = true;
                let honest = !self.dropped(Rule::HonestVerification);
                let verdict = if honest { Verdict::Unknown(1) } else { self.verdict(&verifying) };
                self.verified(state, verifying.began, verdict);
                return Some(());
            }
        }
        if (verifying.row as usize) < self.scope.rows {
            state.verification = Some(verifying);
        } else {
            let verdict = self.verdict(&verifying);
            self.verified(state, verifying.began, verdict);
        }
        Some(())
    }

    fn verdict(&self, verifying: &Verifying) -> Verdict {
        match verifying.differing {
            0 => Verdict::Verified,
            rows => Verdict::Diverged(u64::from(rows)),
        }
    }

    fn verified(&self, state: &mut State, began: Tick, verdict: Verdict) {
        state.verification = None;
        let control = &mut state.control;
        control.verification = Some(Verification { began, verdict });
        let after = control.suspected.is_none_or(|since| began > since) || self.dropped(Rule::SuspectSince);
        let later = control.doubted.is_none_or(|since| began > since) || self.dropped(Rule::ClearedLater);
        if verdict == Verdict::Verified && later {
            control.doubted = None;
        }
        if verdict == Verdict::Verified && after && !control.draining {
            control.suspects = 0;
            control.suspected = None;
            if state.ghost.waived && !state.control.forced {
                self.promises_again(state);
            }
        }
    }
}
