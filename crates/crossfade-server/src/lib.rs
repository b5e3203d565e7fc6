//! # crossfade-server: the control plane
//!
//! Flags that a whole fleet obeys: a revision follows only when every instance has acknowledged the one before (R3),
//! authority moves by hold, move and release (R4), and gates ask for evidence (R7). It sees row values only in
//! samples of a migration that shares them, and shows them to operators alone.
//!
//! | subject | module |
//! |---|---|
//! | the law of the plane: state, events, decisions; pure | [`law`] |
//! | the log in one SQLite file | [`log`] |
//! | the one writer | [`plane`] |
//! | what heartbeats say | [`observatory`] |
//! | where a migration stands, for people | [`status`] |
//! | tokens and roles | [`access`] |
//! | the HTTP surface | [`http`] |
//! | a whole server | [`serve`] |

pub mod access;
pub mod http;
pub mod law;
pub mod log;
pub mod observatory;
pub mod plane;
pub mod serve;
pub mod status;
