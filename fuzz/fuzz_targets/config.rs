//! crossfade.toml: read, or refused with a reason.
#![no_main]

#[path = "../../crates/crossfade-server/tests/fuzz/text.rs"]
#[expect(dead_code, reason = "the other target of the same file is fuzzed by itself")]
mod text;

libfuzzer_sys::fuzz_target!(|input: &[u8]| text::config(input));
