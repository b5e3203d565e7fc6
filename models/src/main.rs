//! Walks through the protocol.
use crossfade_models::{check::check, rules::*, scopes};

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for scope in scopes::small() {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == scope.name) { continue; }
        let drop = |d: Dropped, name: &str| {
            let t = std::time::Instant::now();
            let f = check(&scope, d);
            println!("{} {name}: {} states, depth {}, {:?}, unreached {:?} {:?}", scope.name, f.states, f.depth, f.broken.as_ref().map(|b| (b.promise, b.run.len())), f.unreached, t.elapsed());
            if let Some(b) = f.broken {
                if d == Dropped::NOTHING || std::env::var("V").is_ok() {
                for (s, a) in b.run { println!("   {:?} {:?} {:?}", s.stores.map(|s| s.rows), s.control.published, a); }
                }
            }
        };
        drop(Dropped::NOTHING, "all");
        for rule in Rule::ALL { drop(Dropped::only(*rule), &rule.file()); }
    }
}
