//! Plans as people write them in TOML and as they travel in JSON; shares, stages and revisions as words.
#![no_main]

#[path = "../../crates/crossfade-server/tests/fuzz/text.rs"]
#[expect(dead_code, reason = "the other target of the same file is fuzzed by itself")]
mod text;

libfuzzer_sys::fuzz_target!(|input: &[u8]| text::plan(input));
