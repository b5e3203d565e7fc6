//! The databases: the application's own code, which crossfade never sees.

pub(crate) mod postgres;
