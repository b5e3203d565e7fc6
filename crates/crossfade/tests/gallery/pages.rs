//! Reads page by page across a cut-over: `docs/guide/paged-reads.md`.
//!
//! The source counts rows, the target remembers the last id that it gave. Each takes the other's cursor for its own.

use crate::stages::{migration, step, walk};
use crossfade::plan::Control;
use crossfade::rows::{Cursor, Page};
use crossfade::{Migration, Position, Refused, Share, Side, Stage};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("this cursor is of the other database: read again from the first page")]
    OtherSide,
}

#[crossfade::dao(refused = PostError::Refused)]
pub(crate) trait Posts {
    /// The store's own cursor. Nothing protects the caller.
    #[read(key = user)]
    async fn opaque(&self, user: u64, after: Option<Cursor>) -> Result<Page<u64>, PostError>;
    /// The last key that the caller has seen: it means the same on both sides.
    #[read(key = user)]
    async fn after_id(&self, user: u64, last: Option<u64>, limit: usize) -> Result<Vec<u64>, PostError>;
    /// The store's own cursor with the name of its side: the other side refuses it.
    #[read(key = user)]
    async fn refusing(&self, user: u64, after: Option<Cursor>) -> Result<Page<u64>, PostError>;
    /// The store's own cursor with the name of its side and the last key: the other side goes on from the key.
    #[read(key = user)]
    async fn either(&self, user: u64, after: Option<Cursor>) -> Result<Page<u64>, PostError>;
}

const IDS: [u64; 6] = [10, 20, 30, 40, 50, 60];
const LIMIT: usize = 2;

#[derive(Debug)]
struct Memory(Side);

impl Memory {
    /// A page from the store's own place on.
    fn page(&self, place: Option<&str>) -> Page<u64> {
        let place: u64 = place.map_or(0, |place| place.parse().unwrap());
        let rows: Vec<u64> = match self.0 {
            Side::Source => IDS.into_iter().skip(place as usize).take(LIMIT).collect(),
            Side::Target => IDS.into_iter().filter(|id| *id > place).take(LIMIT).collect(),
        };
        let next = match self.0 {
            Side::Source => place + rows.len() as u64,
            Side::Target => rows.last().copied().unwrap_or(place),
        };
        Page { next: Some(Cursor(next.to_string())).filter(|_| rows.len() == LIMIT), rows }
    }

    fn place_of(&self, last: u64) -> String {
        match self.0 {
            Side::Source => IDS.into_iter().filter(|id| *id <= last).count().to_string(),
            Side::Target => last.to_string(),
        }
    }
}

impl Posts for Memory {
    async fn opaque(&self, _: u64, after: Option<Cursor>) -> Result<Page<u64>, PostError> {
        Ok(self.page(after.as_ref().map(|cursor| cursor.0.as_str())))
    }
    async fn after_id(&self, _: u64, last: Option<u64>, limit: usize) -> Result<Vec<u64>, PostError> {
        Ok(IDS.into_iter().filter(|id| last.is_none_or(|last| *id > last)).take(limit).collect())
    }
    async fn refusing(&self, _: u64, after: Option<Cursor>) -> Result<Page<u64>, PostError> {
        let place = match &after {
            None => None,
            Some(cursor) => match cursor.0.split_once(':').unwrap() {
                (side, place) if side == self.0.to_string() => Some(place),
                _ => return Err(PostError::OtherSide),
            },
        };
        let page = self.page(place);
        Ok(Page { next: page.next.map(|next| Cursor(format!("{}:{}", self.0, next.0))), ..page })
    }
    async fn either(&self, _: u64, after: Option<Cursor>) -> Result<Page<u64>, PostError> {
        let place = after.as_ref().map(|cursor| {
            let (last, own) = cursor.0.split_once(':').unwrap();
            let (side, place) = own.split_once(':').unwrap();
            if side == self.0.to_string() { place.to_owned() } else { self.place_of(last.parse().unwrap()) }
        });
        let page = self.page(place.as_deref());
        let cursor = |next: Cursor| Cursor(format!("{}:{}:{}", page.rows.last().unwrap(), self.0, next.0));
        Ok(Page { next: page.next.clone().map(cursor), rows: page.rows })
    }
}

async fn posts(stage: Stage) -> (Arc<MigratingPosts<Memory, Memory>>, Migration, Control) {
    let (migration, control) = migration("posts", false).await;
    for position in walk() {
        if migration.stage_of(&1u64) == Ok(stage) && migration.stage_of(&2u64) == Ok(stage) {
            break;
        }
        step(&migration, &control, &position).await;
    }
    let dao = MigratingPosts::new(Memory(Side::Source), Memory(Side::Target), migration.clone());
    (Arc::new(dao), migration, control)
}

/// All further rows, by the cursors of the pages.
async fn rest<E>(
    mut after: Option<Cursor>,
    page: impl AsyncFn(Option<Cursor>) -> Result<Page<u64>, E>,
) -> Result<Vec<u64>, E> {
    let mut rows = Vec::new();
    while after.is_some() {
        let next = page(after).await?;
        rows.extend(next.rows);
        after = next.next;
    }
    Ok(rows)
}

/// The clock is paused: every comparison has been read again as often as it takes.
async fn compared() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_the_old_side_makes_the_new_one_repeat_or_skip_rows() {
    let (dao, migration, control) = posts(Stage::Shadow).await;
    let first = dao.opaque(1, None).await.unwrap();
    assert_eq!(first.rows, [10, 20]);
    step(&migration, &control, &Position::at(Stage::Live)).await;
    let second = dao.opaque(1, first.next).await.unwrap();
    assert_eq!(second.rows, [10, 20], "the target takes the count for an id: rows are repeated");
    step(&migration, &control, &Position::at(Stage::Shadow)).await;
    assert_eq!(dao.opaque(1, second.next).await.unwrap().rows, [] as [u64; 0], "the way back: rows are skipped");
}

#[tokio::test(start_paused = true)]
async fn at_shadow_the_second_page_shows_that_the_sides_cursors_differ() {
    let (dao, migration, _control) = posts(Stage::Shadow).await;
    let first = dao.opaque(1, None).await.unwrap();
    compared().await;
    assert_eq!(migration.observe().total(|seen| seen.mismatched), 0, "the first page has no cursor");
    assert_eq!(dao.opaque(1, first.next).await.unwrap().rows, [30, 40], "the caller has the authority's answer");
    compared().await;
    assert_eq!(migration.observe().total(|seen| seen.mismatched), 1);
}

#[tokio::test(start_paused = true)]
async fn pages_by_the_last_key_give_every_row_once_whenever_authority_moves() {
    for moved_after in 0..3 {
        for (from, to) in [(Stage::Shadow, Stage::Live), (Stage::Live, Stage::Shadow)] {
            let (dao, migration, control) = posts(from).await;
            let mut rows: Vec<u64> = Vec::new();
            for page in 0.. {
                let next = dao.after_id(1, rows.last().copied(), LIMIT).await.unwrap();
                if next.is_empty() {
                    break;
                }
                rows.extend(next);
                if page == moved_after {
                    step(&migration, &control, &Position::at(to)).await;
                }
            }
            assert_eq!(rows, IDS);
            compared().await;
            assert_eq!(migration.observe().total(|seen| seen.mismatched), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_with_its_side_and_its_last_key_goes_on_at_the_other_side() {
    for (from, to) in [(Stage::Shadow, Stage::Live), (Stage::Live, Stage::Shadow)] {
        let (dao, migration, control) = posts(from).await;
        let first = dao.either(1, None).await.unwrap();
        step(&migration, &control, &Position::at(to)).await;
        let others = rest(first.next, async |after| dao.either(1, after).await).await.unwrap();
        assert_eq!([first.rows, others].concat(), IDS);
        compared().await;
        assert_eq!(migration.observe().total(|seen| seen.mismatched), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_names_its_side_is_refused_by_the_other_and_begun_again() {
    let (dao, migration, control) = posts(Stage::Shadow).await;
    let first = dao.refusing(1, None).await.unwrap();
    let second = dao.refusing(1, first.next).await.unwrap();
    assert_eq!(second.rows, [30, 40]);
    compared().await;
    let seen = migration.observe();
    let counts = (seen.total(|seen| seen.matched), seen.total(|seen| seen.mismatched), seen.total(|seen| seen.unknown));
    assert_eq!(counts, (1, 0, 1), "later pages cannot be compared");
    step(&migration, &control, &Position::at(Stage::Live)).await;
    assert!(matches!(dao.refusing(1, second.next).await, Err(PostError::OtherSide)), "no row is repeated or skipped");
    let first = dao.refusing(1, None).await.unwrap();
    let others = rest(first.next, async |after| dao.refusing(1, after).await).await.unwrap();
    assert_eq!([first.rows, others].concat(), IDS);
}

#[tokio::test(start_paused = true)]
async fn in_a_standing_ramp_all_pages_of_one_key_are_of_one_side() {
    let (dao, migration, control) = posts(Stage::Shadow).await;
    let half = Position::ramping(Stage::Shadow.edge().unwrap(), Share::from_percent(50.0).unwrap());
    step(&migration, &control, &half).await;
    for user in 0..50u64 {
        let first = dao.opaque(user, None).await.unwrap();
        let others = rest(first.next, async |after| dao.opaque(user, after).await).await.unwrap();
        assert_eq!([first.rows, others].concat(), IDS, "user {user}");
    }
}
