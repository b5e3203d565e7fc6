//! Reads that name no comparator, while the history has yet to be moved (`history = "pending"`): what the target does
//! not have yet is no difference.

use crossfade::plan::fixed;
use crossfade::rows::{Cursor, Page};
use crossfade::{History, Migration, Options, Plan, PlanSpec, Refused, Stage, plan};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct NoteError(#[from] Refused);

/// An alias is no other type.
type Texts = Vec<String>;

/// A page of the service's own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slice {
    texts: Texts,
    more: Option<u64>,
}

#[crossfade::dao(refused = NoteError)]
pub(crate) trait Notes {
    #[read(key = id)]
    async fn note(&self, id: u64) -> Result<Option<String>, NoteError>;
    #[read(key = user)]
    async fn notes_of(&self, user: &str) -> Result<Texts, NoteError>;
    #[read(key = user)]
    async fn by_id(&self, user: &str) -> Result<BTreeMap<u64, String>, NoteError>;
    #[read(key = user)]
    async fn page(&self, user: &str, after: Option<Cursor>) -> Result<Page<String>, NoteError>;
    #[read(key = user, compare = crossfade::compare::rows_of(|slice: &Slice| &slice.texts))]
    async fn slice(&self, user: &str) -> Result<Slice, NoteError>;
    /// No rows are known: `==`.
    #[read(key = user)]
    async fn count(&self, user: &str) -> Result<usize, NoteError>;
}

#[derive(Debug, Clone)]
struct Memory {
    notes: BTreeMap<u64, String>,
    /// Each store has cursors of its own.
    cursor: &'static str,
}

impl Notes for Memory {
    async fn note(&self, id: u64) -> Result<Option<String>, NoteError> {
        Ok(self.notes.get(&id).cloned())
    }
    async fn notes_of(&self, _: &str) -> Result<Texts, NoteError> {
        Ok(self.notes.values().cloned().collect())
    }
    async fn by_id(&self, _: &str) -> Result<BTreeMap<u64, String>, NoteError> {
        Ok(self.notes.clone())
    }
    async fn page(&self, _: &str, _: Option<Cursor>) -> Result<Page<String>, NoteError> {
        Ok(Page { rows: self.notes.values().take(2).cloned().collect(), next: Some(Cursor(self.cursor.to_owned())) })
    }
    async fn slice(&self, _: &str) -> Result<Slice, NoteError> {
        let more = self.cursor.len() as u64;
        Ok(Slice { texts: self.notes.values().take(2).cloned().collect(), more: Some(more) })
    }
    async fn count(&self, _: &str) -> Result<usize, NoteError> {
        Ok(self.notes.len())
    }
}

fn notes(ids: &[u64], cursor: &'static str) -> Memory {
    Memory { notes: ids.iter().map(|id| (*id, format!("note {id}"))).collect(), cursor }
}

/// Reads everything once; what the comparisons of the five reads with rows came to, and what that of the count did.
async fn compared(history: History, source: Memory, target: Memory) -> (u64, u64, u64) {
    let options = Options { history, ..Options::default() };
    let plan = Plan::new(PlanSpec { options, ..PlanSpec::at("notes", Stage::Shadow) }).unwrap();
    let (_control, source_of_plans) = plan::local(plan);
    let migration = Migration::builder("notes").plan(source_of_plans).build().await.unwrap();
    let dao = Arc::new(MigratingNotes::new(source, target, migration.clone()));
    dao.note(1).await.unwrap();
    dao.notes_of("ada").await.unwrap();
    dao.by_id("ada").await.unwrap();
    dao.page("ada", None).await.unwrap();
    dao.slice("ada").await.unwrap();
    // The clock is paused: every comparison has been read again as often as it takes.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let seen = migration.observe();
    let of = |seen: &crossfade::observe::Observation| {
        (seen.total(|seen| seen.matched), seen.total(|seen| seen.not_backfilled), seen.total(|seen| seen.mismatched))
    };
    of(&seen)
}

#[tokio::test(start_paused = true)]
async fn rows_that_the_backfill_has_yet_to_bring_are_no_difference() {
    let found = compared(History::Pending, notes(&[1, 2, 3], "a"), notes(&[2, 3], "bc")).await;
    assert_eq!(found, (0, 5, 0));
    let found = compared(History::Pending, notes(&[1, 2, 3], "a"), notes(&[], "bc")).await;
    assert_eq!(found, (0, 5, 0));
}

#[tokio::test(start_paused = true)]
async fn with_the_history_moved_a_lacking_row_is_a_difference() {
    let found = compared(History::Moved, notes(&[1, 2, 3], "a"), notes(&[2, 3], "bc")).await;
    assert_eq!(found, (0, 0, 5));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_store_is_no_difference() {
    for history in [History::Moved, History::Pending] {
        let found = compared(history, notes(&[1, 2, 3], "a"), notes(&[1, 2, 3], "bc")).await;
        assert_eq!(found, (5, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_only_the_secondary_has_differ_while_the_history_is_pending() {
    let found = compared(History::Pending, notes(&[], "a"), notes(&[1], "a")).await;
    assert_eq!(found, (0, 0, 5));
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_known_rows_is_compared_as_a_whole() {
    let migration = Migration::builder("notes").plan(fixed(Stage::Shadow)).build().await.unwrap();
    let dao = MigratingNotes::new(notes(&[1, 2], "a"), notes(&[1], "a"), migration.clone());
    dao.count("ada").await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(migration.observe().total(|seen| seen.mismatched), 1);
}
