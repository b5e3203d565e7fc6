//! A plan in code.

use super::{PlanSource, PlanSourceError, Sharing, Steward};
use crossfade_core::{Plan, PlanSpec, Revision, Stage};
use futures::future::BoxFuture;

/// A plan that never changes. See [`fixed`].
#[derive(Debug, Clone)]
pub struct Fixed(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Stage(Stage),
    Plan(Box<Plan>),
}

impl From<Stage> for Fixed {
    fn from(stage: Stage) -> Fixed {
        Fixed(Kind::Stage(stage))
    }
}

impl From<Plan> for Fixed {
    fn from(plan: Plan) -> Fixed {
        Fixed(Kind::Plan(Box::new(plan)))
    }
}

/// Every key at one stage, or one plan, for as long as the process lives.
pub fn fixed(plan: impl Into<Fixed>) -> Fixed {
    plan.into()
}

impl PlanSource for Fixed {
    fn sharing(&self) -> Sharing {
        Sharing::One
    }

    fn first<'a>(&'a mut self, migration: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>> {
        Box::pin(async move {
            let plan = match &self.0 {
                Kind::Plan(plan) => (**plan).clone(),
                Kind::Stage(stage) => Plan::new(PlanSpec::at(migration, *stage))
                    .map_err(|error| PlanSourceError::Other(error.to_string()))?,
            };
            Ok((plan.clone(), Revision { incarnation: 1, number: 1, hash: plan.fingerprint() }))
        })
    }

    fn follow(self: Box<Self>, _steward: Steward) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}
