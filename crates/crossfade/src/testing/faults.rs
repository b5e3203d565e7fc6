//! What the next secondary writes meet: "refused before the effect" apart from "effect happened, answer lost".

use crate::migration::Migration;
use crossfade_core::Effect;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// What a secondary write meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused, certainly without effect.
    Refused,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is not done, and nobody says so.
    Vanished,
    /// It is done after so long.
    Slow(Duration),
    /// Its answer is lost at once, and it is done so much later.
    Late(Duration),
    /// It panics.
    Panic,
}

impl Fault {
    /// One of each kind, with times that fit a plan whose time-outs are in the tens of milliseconds.
    pub const ALL: [Fault; 6] = [
        Fault::Refused,
        Fault::AnswerLost,
        Fault::Vanished,
        Fault::Slow(Duration::from_millis(20)),
        Fault::Late(Duration::from_millis(20)),
        Fault::Panic,
    ];
}

/// A queue of faults: each is met by one secondary write, in their order.
#[derive(Debug, Default)]
pub struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    /// Runs a call as the next fault has it.
    pub(crate) fn meet<E, S>(
        &self,
        runtime: &Handle,
        call: S,
    ) -> impl Future<Output = Result<Result<(), E>, Effect>> + Send + use<E, S>
    where
        S: Future<Output = Result<(), E>> + Send + 'static,
    {
        let fault = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let runtime = runtime.clone();
        async move {
            match fault {
                None => Ok(call.await),
                Some(Fault::Refused) => Err(Effect::Refused),
                Some(Fault::AnswerLost) => {
                    drop(call.await);
                    Err(Effect::Unknown)
                }
                Some(Fault::Vanished) => Err(Effect::Unknown),
                Some(Fault::Slow(wait)) => {
                    tokio::time::sleep(wait).await;
                    Ok(call.await)
                }
                Some(Fault::Late(wait)) => {
                    runtime.spawn(async move {
                        tokio::time::sleep(wait).await;
                        drop(call.await);
                    });
                    Err(Effect::Unknown)
                }
                Some(Fault::Panic) => panic!("a fault on purpose"),
            }
        }
    }
}

impl Migration {
    /// The next secondary write meets this fault.
    pub fn fault(&self, fault: Fault) {
        self.inner.faults.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }
}
