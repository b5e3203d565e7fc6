//! What has a canonical text, and what has not.

#[derive(crossfade::Key)]
enum Kind {
    A,
}

#[derive(crossfade::Key)]
struct Nothing;

#[derive(crossfade::Key)]
union Both {
    a: u8,
}

#[derive(crossfade::Key)]
struct Weight(f64);

fn main() {}
