//! # crossfade-api: what is promised to stay
//!
//! Types that files, wires and scripts depend on. No runtime, no sockets, no clock: tools of any kind can read them.
//!
//! | subject | module |
//! |---|---|
//! | bodies of the HTTP API | [`wire`] |
//! | why a request was refused | [`problem`] |
//! | what an exit code says | [`exit`] |
//! | histograms that can be added | [`histogram`] |
//! | revisions as text | [`revision`] |
//! | `crossfade.toml` | [`config`] |

pub mod config;
pub mod exit;
pub mod histogram;
pub mod problem;
pub mod revision;
pub mod wire;

pub use exit::Exit;
