//! The plan that a source without acknowledgements wants in force, tried until it is (R12).
//!
//! Several processes follow such a source, each by itself. One that gives up a step while the others take it is the worst
//! place to stay: it writes the side that has lost authority. So a step that failed for a reason that passes is tried
//! again, and the log says what it means until it is in force.

use super::Steward;
use crate::conduct::AdvanceError;
use crossfade_core::Plan;
use std::time::Duration;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The plan that is to be in force, while it is not.
#[derive(Debug, Default)]
pub(super) struct Wanted(Option<Trying>);

#[derive(Debug)]
struct Trying {
    plan: Plan,
    next: Instant,
    pause: Duration,
}

/// A step that was not taken, and whether it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotInForce {
    /// It will never be taken.
    #[error(transparent)]
    Never(AdvanceError),
    /// It is tried again.
    #[error(
        "{why}. This process stays under the old plan and tries again until the new one is in force; other processes may have taken the step, and then write another side than this one: put the old plan back if this message goes on"
    )]
    NotYet {
        /// Why it was not taken.
        why: AdvanceError,
    },
}

impl Wanted {
    /// Another plan is wanted from now on.
    pub(super) fn set(&mut self, plan: Plan) {
        self.0 = Some(Trying { plan, next: Instant::now(), pause: FIRST_PAUSE });
    }

    /// Nothing is wanted any more.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Takes the step to the wanted plan, if there is one and its time has come.
    pub(super) async fn try_now(&mut self, steward: &Steward) -> Result<(), NotInForce> {
        let Some(trying) = &mut self.0 else { return Ok(()) };
        if trying.next > Instant::now() {
            return Ok(());
        }
        match steward.advance(&trying.plan).await {
            Ok(_) => {
                self.0 = None;
                Ok(())
            }
            Err(
                why
                @ (AdvanceError::NotQuiet { .. } | AdvanceError::Abandoned { .. } | AdvanceError::EverythingSuspect),
            ) => {
                trying.next = Instant::now() + trying.pause;
                trying.pause = (trying.pause * 2).min(LONGEST_PAUSE);
                Err(NotInForce::NotYet { why })
            }
            Err(error @ (AdvanceError::Step(_) | AdvanceError::SettleTooLong { .. } | AdvanceError::Gone)) => {
                self.0 = None;
                Err(NotInForce::Never(error))
            }
        }
    }
}
