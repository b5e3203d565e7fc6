//! A write in closures whose mirror would be the authority's write again.

use crossfade::{Migration, Refused};

async fn add(_: i64) -> Result<i64, Refused> {
    Ok(1)
}

async fn a_closure_that_ignores_its_role_would_count_twice(migration: &Migration) {
    let _ = migration
        .write("counter")
        .source(|_: Option<i64>| add(1))
        .target(|_: Option<i64>| add(1))
        .run(std::convert::identity)
        .await;
}

async fn no_mirror_is_given(migration: &Migration) {
    let _ = migration.write("counter").source(|| add(1)).target(|| add(1)).run(std::convert::identity).await;
}

async fn a_mirror_takes_what_the_authority_answered(migration: &Migration) {
    let _ = migration
        .write("counter")
        .source(|| add(1))
        .target(|| add(1))
        .mirror_to_source(|| add(1))
        .mirror_to_target(|| add(1))
        .run(std::convert::identity)
        .await;
}

fn main() {}
