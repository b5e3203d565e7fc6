//! What comes from outside, mutated: bodies of the API, contexts of OFREP, plans and configurations.
//!
//! Each target takes bytes and panics where a promise breaks. The short form, part of every test run, drives it with the
//! checked-in corpus and a fixed number of mutations from a fixed seed. The long form goes on for as long as it is told,
//! from a new seed that it prints: `CROSSFADE_FUZZ_SECONDS=600 cargo test -p crossfade-server --test fuzz -- --nocapture`.
//! An input that broke something stays in the corpus.
//!
//! Mutation is blind: nothing here measures which code an input reaches.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod api;
mod mutate;
mod ofrep;
mod text;
mod world;

use mutate::Mutator;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut found: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no corpus in {}", folder.display());
    found
}

fn drive(target: &str, cases: u64, words: &[&str], mut run: impl FnMut(&[u8])) {
    let seeds = corpus(target);
    let long = std::env::var("CROSSFADE_FUZZ_SECONDS").ok().map(|text| Duration::from_secs(text.parse().unwrap()));
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), target);
    let seed = if long.is_some() { random } else { 0x00C0_FFEE };
    let mut mutator = Mutator::new(seed, words);
    let mut one = |name: &str, input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(input))) {
            let kept = std::env::temp_dir().join(format!("crossfade-fuzz-{target}-{seed:x}"));
            let _ = std::fs::write(&kept, input);
            eprintln!("{target}: {name} breaks it; kept as {}:\n{}", kept.display(), String::from_utf8_lossy(input));
            std::panic::resume_unwind(panic);
        }
    };
    for (name, input) in &seeds {
        one(name, input);
    }
    let inputs: Vec<Vec<u8>> = seeds.into_iter().map(|(_, input)| input).collect();
    let (began, mut done) = (Instant::now(), 0u64);
    while long.map_or(done < cases, |long| began.elapsed() < long) {
        let input = mutator.next(&inputs);
        one("a mutation", &input);
        done += 1;
    }
    println!("{target}: {} inputs of the corpus, {done} mutations, seed {seed:#x}", inputs.len());
}

#[test]
fn no_body_of_the_api_breaks_the_plane() {
    let world = world::World::new();
    let paths = api::paths();
    let words: Vec<&str> = paths.iter().map(String::as_str).chain(mutate::WORDS.iter().copied()).collect();
    drive("api", 3_000, &words, |input| api::run(&world, input));
    world.replays();
}

#[test]
fn no_context_breaks_the_flags() {
    let world = world::World::new();
    drive("ofrep", 6_000, mutate::WORDS, |input| ofrep::run(&world, input));
}

#[test]
fn no_plan_breaks_the_law() {
    drive("plan", 10_000, mutate::WORDS, text::plan);
}

#[test]
fn no_configuration_breaks_its_reader() {
    drive("config", 10_000, mutate::WORDS, text::config);
}
