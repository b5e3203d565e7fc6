//! # crossfade-models: the protocol, small enough to be walked through in every order
//!
//! Two databases, one or two rows, up to three instances of the application, a backfill, repairs, a verification and the
//! control plane; calls that fail, that are answered late, twice or never; processes that die. The plans, the steps
//! between them, the routes, the marks and the gates are those of `crossfade-core`: there is no second copy to be right.
//!
//! Each rule of the protocol has switches ([`rules`]). With every rule on, no run within a scope breaks a promise. With a
//! rule off, the shortest run that does is kept in `docs/guarantees/`.
//!
//! | subject | module |
//! |---|---|
//! | the rules and their switches | [`rules`] |
//! | the promises | [`properties`] |
//! | the small worlds | [`scopes`] |
//! | what a state holds | [`state`] |
//! | the databases, and calls that land late | [`store`] |
//! | the plans of a scope, asked of the law | [`plans`] |
//! | the actors | [`application`], [`backfill`], [`repair`], [`verification`], [`control`] |
//! | what can happen next | [`action`] |
//! | all of it as a machine for `stateright` | [`model`] |
//! | walking through it, and telling what was found | [`check`], [`trace`] |

pub mod action;
pub mod application;
pub mod backfill;
pub mod check;
pub mod control;
pub mod model;
pub mod plans;
pub mod properties;
pub mod repair;
pub mod rules;
pub mod scopes;
pub mod state;
pub mod store;
pub mod trace;
pub mod verification;
