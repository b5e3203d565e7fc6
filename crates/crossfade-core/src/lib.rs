//! # crossfade-core: the law
//!
//! What a migration may do, as pure and total functions over closed enums. Nothing here waits, reads a clock,
//! draws a random number or does I/O: whoever holds a value of this crate can replay every decision made with it.
//!
//! | subject | module |
//! |---|---|
//! | the two databases and the four switches | [`switches`] |
//! | the six stages and the edges between them | [`stage`] |
//! | which keys are where: salt, key, bucket | [`cohort`] |
//! | shares in thousandths of a percent | [`share`] |
//! | where every key of a migration stands | [`position`] |
//! | what operators may ask for, validated | [`plan`], [`options`] |
//! | from one plan to the next: R1, R3, R4 | [`step`] |
//! | numbered, immutable versions of a plan | [`revision`] |
//! | what one operation does at a stage | [`route`] |
//! | what an outcome obliges us to remember: R5 | [`mark`] |
//! | what must be shown before authority moves: R7 | [`evidence`], [`gate`] |

mod canonical;
pub mod cohort;
pub mod evidence;
pub mod gate;
pub mod mark;
pub mod options;
pub mod plan;
pub mod position;
pub mod revision;
pub mod route;
pub mod share;
pub mod stage;
pub mod step;
pub mod switches;

pub use cohort::{Bucket, CohortKey, MissingKey, Salt};
pub use evidence::{
    BackfillState, DifferentOperations, Evidence, TableInDoubt, Tick, UncheckedWriter, Verdict, Verification,
};
pub use gate::{Answer, Blocker, Gate};
pub use mark::{Effect, MarkReason};
pub use options::{Checks, History, Options, SampleValues};
pub use plan::{Decision, Phase, Plan, PlanError, PlanSpec};
pub use position::{End, Pin, Position};
pub use revision::Revision;
pub use route::{ReadRoute, WriteRoute};
pub use share::{Share, ShareError};
pub use stage::{Edge, Stage, UnknownStage};
pub use step::{Step, StepError};
pub use switches::{Side, Switches};
