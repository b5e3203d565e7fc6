//! Walks through the protocol, with every rule and without each.
//!
//! ```text
//! crossfade-models                  every scope with all rules, then each rule dropped in its scope
//! crossfade-models --big            larger scopes with all rules; minutes, and some gigabytes
//! crossfade-models --write-traces   also writes the shortest runs into docs/guarantees
//! crossfade-models NAME...          only scopes and rules whose name contains one of these
//! ```

use crossfade_models::check::{Findings, check, check_big};
use crossfade_models::model::Protocol;
use crossfade_models::rules::{Dropped, Rule};
use crossfade_models::scopes::{self, Scope};
use crossfade_models::trace;
use std::cell::Cell;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

struct Wish {
    big: bool,
    write: bool,
    names: Vec<String>,
}

impl Wish {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| name.contains(wanted.as_str()))
    }
}

fn main() -> ExitCode {
    let (options, names): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    if let Some(unknown) = options.iter().find(|option| !["--big", "--write-traces"].contains(&option.as_str())) {
        eprintln!("unknown option {unknown}: use --big, --write-traces, or names of scopes and rules");
        return ExitCode::from(2);
    }
    let has = |name: &str| options.iter().any(|option| option == name);
    let wish = Wish { big: has("--big"), write: has("--write-traces"), names };
    let mut failures = 0;
    let scopes = if wish.big { scopes::big() } else { scopes::small() };
    for scope in scopes.iter().filter(|scope| wish.wants(scope.name)) {
        failures += u32::from(!holds(scope, wish.big));
    }
    if !wish.big {
        for rule in Rule::ALL.iter().filter(|rule| wish.wants(&rule.file())) {
            failures += u32::from(!needed(*rule, wish.write));
        }
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// With every rule, no run of the scope breaks a promise, and what should be reachable is.
fn holds(scope: &Scope, big: bool) -> bool {
    let began = Instant::now();
    let told = Cell::new(Instant::now());
    let progress = |states: usize| {
        if told.get().elapsed() >= Duration::from_secs(5) {
            told.set(Instant::now());
            eprintln!("{:28} {states:>9} states so far, {:6.1} s", scope.name, began.elapsed().as_secs_f64());
        }
    };
    let found = if big { check_big(scope, progress) } else { check(scope, Dropped::NOTHING) };
    let Findings { states, depth, broken, unreached } = found;
    let time = began.elapsed().as_secs_f64();
    println!("{:28} {states:>9} states, {depth:>3} steps deep, {time:6.1} s", scope.name);
    if let Some(broken) = &broken {
        let protocol = Protocol::new(scope.clone(), Dropped::NOTHING);
        println!("BROKEN with every rule on:\n{}", trace::run(&protocol, broken));
    }
    for name in &unreached {
        println!("NOT REACHED: {name}");
    }
    broken.is_none() && unreached.is_empty()
}

/// Without the rule, a run breaks a promise.
fn needed(rule: Rule, write: bool) -> bool {
    let scope = scopes::of(rule);
    let dropped = Dropped::only(rule);
    let found = check(&scope, dropped);
    let Some(broken) = found.broken else {
        println!("{:40} NOT NEEDED in {}: {} states", rule.file(), scope.name, found.states);
        return false;
    };
    println!("{:40} {} after {} steps in {}", rule.file(), broken.promise, broken.run.len() - 1, scope.name);
    if !write {
        return true;
    }
    let page = trace::page(rule, &Protocol::new(scope, dropped), &broken);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guarantees").join(rule.file()).with_extension("md");
    match std::fs::write(&path, page) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("cannot write {}: {error}", path.display());
            false
        }
    }
}
