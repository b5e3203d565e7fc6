//! What `#[crossfade::dao]` and `#[derive(crossfade::Key)]` say when they are given what they can't take: where, why,
//! and what to write instead.

#[test]
fn long_mistakes_are_told_where_they_are_made() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
