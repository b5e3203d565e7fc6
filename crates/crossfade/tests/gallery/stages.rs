//! The walk that every trait of the gallery takes.

use crossfade::plan::{Control, local};
use crossfade::{Edge, Migration, Options, Plan, PlanSpec, Position, Share, Stage};
use std::time::Duration;

/// Where a migration is left on its way: at every stage, and half-way over every edge that may be ramped.
pub(crate) fn walk() -> Vec<Position> {
    let half = Share::from_percent(50.0).unwrap();
    let mut walk = vec![Position::at(Stage::Off)];
    for edge in Edge::all() {
        walk.push(Position::ramping(edge, half));
        walk.push(Position::at(edge.later()));
    }
    walk
}

/// The same, for a trait with methods that no key can split (R18).
pub(crate) fn walk_whole() -> Vec<Position> {
    walk().into_iter().filter(|position| !position.ramp().is_some_and(|(edge, _)| edge.moves_authority())).collect()
}

/// A migration at `off`, and the hand that moves it. Comparisons are all made; lingers are short, as in memory.
pub(crate) async fn migration(id: &str, whole: bool) -> (Migration, Control) {
    let mut spec = PlanSpec::at(id, Stage::Off);
    spec.whole = whole;
    spec.options = Options { linger: Duration::from_millis(20), ..Options::default() };
    let (control, source) = local(Plan::new(spec).unwrap());
    let migration = Migration::builder(id).plan(source).build().await.unwrap();
    (migration, control)
}

/// Goes on to a position, when every row is the same on both sides.
pub(crate) async fn step(migration: &Migration, control: &Control, to: &Position) {
    assert!(migration.converged(Duration::from_secs(5)).await, "marks are left before {to}: {:?}", migration.marks());
    control.advance(to.clone()).await.unwrap();
}

/// Every comparison that was begun has ended.
pub(crate) async fn compared(migration: &Migration) {
    migration.drain(Duration::from_secs(10)).await;
}
