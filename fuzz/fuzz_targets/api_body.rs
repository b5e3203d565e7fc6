//! Every request of `/v1` through the real router, without a network: method and path in the first line, the body below.
//! No answer is an error of the server, and what was written can be read again.
#![no_main]

#[path = "../../crates/crossfade-server/tests/fuzz/api.rs"]
#[expect(dead_code, reason = "the paths are words for the blind mutations")]
mod api;
#[path = "../../crates/crossfade-server/tests/fuzz/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use world::World;

/// Requests that one world gets, before its log is read again and another begins: a log that only grows slows the fuzzer down.
const LIFE: u32 = 20_000;

thread_local! {
    static WORLD: RefCell<Option<(World, u32)>> = const { RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    WORLD.with_borrow_mut(|slot| {
        let (world, age) = slot.take().unwrap_or_else(|| (World::new(), 0));
        api::run(&world, input);
        if age < LIFE {
            *slot = Some((world, age + 1));
        } else {
            world.replays();
        }
    });
});
