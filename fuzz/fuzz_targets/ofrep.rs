//! Contexts of OFREP: one flag and all flags read them alike, and no context is an error of the server.
#![no_main]

#[path = "../../crates/crossfade-server/tests/fuzz/ofrep.rs"]
mod ofrep;
#[path = "../../crates/crossfade-server/tests/fuzz/world.rs"]
#[expect(dead_code, reason = "no context is written to the log")]
mod world;

use libfuzzer_sys::fuzz_target;
use world::World;

thread_local! {
    static WORLD: World = World::new();
}

fuzz_target!(|input: &[u8]| WORLD.with(|world| ofrep::run(world, input)));
