//! A library without one rule, so that the torture test can show that it would notice.
//!
//! Only `--cfg crossfade_broken` compiles it, which no Cargo feature and no dependency can switch on. What a test double
//! outside the library can break has no branch here: see the module `broken` of `tests/torture`.

/// Writes of keys whose authority moves do not wait (R4). The variable `CROSSFADE_BROKEN` of the process names the
/// variant.
#[cfg(crossfade_broken)]
pub(crate) fn holds_are_ignored() -> bool {
    static IGNORED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *IGNORED.get_or_init(|| std::env::var("CROSSFADE_BROKEN").is_ok_and(|name| name == "no-hold"))
}

/// Writes of keys whose authority moves wait (R4).
#[cfg(not(crossfade_broken))]
#[inline(always)]
pub(crate) const fn holds_are_ignored() -> bool {
    false
}
