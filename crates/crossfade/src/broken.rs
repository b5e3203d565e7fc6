//! Variants of the library that break one rule each, so that the torture test can show that it would notice.
//!
//! Without the feature `broken` all of this is the constant `false`. With it, the variable `CROSSFADE_BROKEN` of the
//! process names the variant.

/// A rule that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A plan is acknowledged when it comes, and goes into force later (R3).
    NoBarrier,
    /// Writes of keys whose authority moves do not wait (R4).
    NoHold,
    /// A repair puts the value that it has read a while ago, whatever is there by now (R6).
    ReplayRepair,
    /// The backfill inserts what is missing, and reads nothing again (R9).
    InsertIfAbsent,
    /// A plan is acknowledged before the operations of the one before it have ended (R3).
    EarlyAck,
    /// Marks are cleared before the effects that set them have landed (R5, R6).
    EarlyClear,
}

#[cfg(feature = "broken")]
impl Broken {
    const fn name(self) -> &'static str {
        match self {
            Broken::NoBarrier => "no-barrier",
            Broken::NoHold => "no-hold",
            Broken::ReplayRepair => "replay-repair",
            Broken::InsertIfAbsent => "insert-if-absent",
            Broken::EarlyAck => "early-ack",
            Broken::EarlyClear => "early-clear",
        }
    }
}

/// Whether this process runs the variant.
#[cfg(feature = "broken")]
pub(crate) fn is(variant: Broken) -> bool {
    static NAME: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    NAME.get_or_init(|| std::env::var("CROSSFADE_BROKEN").ok()).as_deref() == Some(variant.name())
}

/// Whether this process runs the variant: never, without the feature.
#[cfg(not(feature = "broken"))]
#[inline(always)]
pub(crate) const fn is(_variant: Broken) -> bool {
    false
}
