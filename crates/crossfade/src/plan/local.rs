//! A plan that this process conducts by itself, step by step, from code.

use super::{PlanSource, PlanSourceError, Sharing, Steward};
use crate::conduct::{AdvanceError, Advanced};
use crossfade_core::{Options, Plan, Position, Revision, StepError};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

type Answer = oneshot::Sender<Result<Advanced, AdvanceError>>;

enum Request {
    Position(Position),
    Options(Options),
}

/// The hand on a [`local`] plan. Steps are taken one after the other, in the order in which they were asked for.
#[derive(Debug, Clone)]
pub struct Control(mpsc::Sender<(Request, Answer)>);

/// The source of a [`local`] plan.
#[derive(Debug)]
pub struct LocalSource {
    first: Plan,
    requests: mpsc::Receiver<(Request, Answer)>,
}

/// A plan to begin with, and the hand that moves it. For one process: nobody else hears of its steps.
#[must_use]
pub fn local(first: Plan) -> (Control, LocalSource) {
    let (sender, requests) = mpsc::channel(16);
    (Control(sender), LocalSource { first, requests })
}

impl Control {
    /// Takes the migration to a position: through hold, move and release where authority moves (R4). Returns when the
    /// last revision is acknowledged (R3). Dropped half-way, the step goes on.
    ///
    /// # Errors
    /// [`AdvanceError`]; the plan from before stays in force.
    pub async fn advance(&self, position: Position) -> Result<Advanced, AdvanceError> {
        self.ask(Request::Position(position)).await
    }

    /// Changes the options, as a revision of its own, and returns when it is acknowledged.
    ///
    /// # Errors
    /// [`AdvanceError`]; the options from before stay in force.
    pub async fn options(&self, options: Options) -> Result<Advanced, AdvanceError> {
        self.ask(Request::Options(options)).await
    }

    async fn ask(&self, request: Request) -> Result<Advanced, AdvanceError> {
        let (answer, answered) = oneshot::channel();
        self.0.send((request, answer)).await.map_err(|_| AdvanceError::Gone)?;
        answered.await.map_err(|_| AdvanceError::Gone)?
    }
}

impl PlanSource for LocalSource {
    fn sharing(&self) -> Sharing {
        Sharing::One
    }

    fn first<'a>(&'a mut self, _migration: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>> {
        let plan = self.first.clone();
        let revision = Revision { incarnation: 1, number: 1, hash: plan.fingerprint() };
        Box::pin(std::future::ready(Ok((plan, revision))))
    }

    fn follow(mut self: Box<Self>, steward: Steward) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            while let Some((request, answer)) = self.requests.recv().await {
                let Some((here, _)) = steward.standing() else { return };
                let goal = match request {
                    Request::Position(position) => here.settled_at(position),
                    Request::Options(options) => here.with_options(options),
                };
                let taken = match goal {
                    Ok(goal) => steward.advance(&goal).await,
                    Err(error) => Err(StepError::from(error).into()),
                };
                // Whoever asked may have left; the step was taken all the same.
                let _left = answer.send(taken);
            }
        })
    }
}
