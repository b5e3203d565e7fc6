//! Backfill and verification through a DAO's rows: R9 and R14, their races named and forced.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use crossfade::core::Verdict;
use crossfade::rows::{Cursor, Pace, Page, Progress, RowPair, RowsError, ScanRows, backfill, verify};
use crossfade::{Side, Stage};
use std::sync::Mutex;
use std::time::Duration;
use support::{Error, Fault, Pair, migration};

fn filled(rows: u64) -> Pair {
    let pair = Pair::default();
    for id in 0..rows {
        pair.source.set(id, &format!("{id}:a"));
    }
    pair
}

fn small() -> Pace {
    Pace { page: 3, at_once: 2, ..Pace::default() }
}

#[tokio::test(start_paused = true)]
async fn history_is_moved_and_moving_it_again_changes_nothing() {
    let pair = filled(10);
    pair.target.set(4, "4:stale");
    pair.target.set(77, "77:of an earlier claim");
    let progress = Progress::default();
    backfill(&pair, Side::Source, &small(), &progress).await.unwrap();
    assert!(pair.equal());
    assert_eq!((progress.copied(), progress.deleted(), progress.unchanged()), (10, 1, 0));
    let again = Progress::default();
    backfill(&pair, Side::Source, &small(), &again).await.unwrap();
    assert_eq!((again.copied(), again.deleted(), again.unchanged()), (0, 0, 10));
}

/// Does something to the stores just before the first `restore` on the target, or just after it.
struct Meddled<F> {
    pair: Pair,
    meddle: Mutex<Option<F>>,
    after: bool,
}

impl<F: FnOnce(&Pair) + Send + 'static> Meddled<F> {
    fn before(pair: Pair, meddle: F) -> Self {
        Meddled { pair, meddle: Mutex::new(Some(meddle)), after: false }
    }

    fn after(pair: Pair, meddle: F) -> Self {
        Meddled { pair, meddle: Mutex::new(Some(meddle)), after: true }
    }

    fn meddle(&self, now: bool) {
        if now && let Some(meddle) = self.meddle.lock().unwrap().take() {
            meddle(&self.pair);
        }
    }
}

impl<F: FnOnce(&Pair) + Send + 'static> RowPair for Meddled<F> {
    type Id = u64;
    type Row = String;
    type Error = Error;

    async fn snapshot(&self, side: Side, id: &u64) -> Result<Option<String>, Error> {
        self.pair.snapshot(side, id).await
    }

    async fn restore(&self, side: Side, id: &u64, seen: Option<&String>, row: Option<&String>) -> Result<bool, Error> {
        self.meddle(!self.after);
        let done = self.pair.restore(side, id, seen, row).await;
        self.meddle(self.after);
        done
    }
}

impl<F: FnOnce(&Pair) + Send + 'static> ScanRows for Meddled<F> {
    async fn scan(&self, side: Side, after: Option<Cursor>, limit: usize) -> Result<Page<String>, Error> {
        self.pair.scan(side, after, limit).await
    }

    fn id_of(&self, row: &String) -> u64 {
        self.pair.id_of(row)
    }

    fn key_of(&self, row: &String) -> String {
        self.pair.key_of(row)
    }
}

async fn settles_as(meddled: &Meddled<impl FnOnce(&Pair) + Send + 'static>, expected: Option<&str>) {
    backfill(meddled, Side::Source, &small(), &Progress::default()).await.unwrap();
    assert_eq!(meddled.pair.target.get(0).as_deref(), expected);
    assert!(meddled.pair.equal());
}

/// A target whose `restore` writes something else than it is given.
struct Twisting(Pair);

impl RowPair for Twisting {
    type Id = u64;
    type Row = String;
    type Error = Error;

    async fn snapshot(&self, side: Side, id: &u64) -> Result<Option<String>, Error> {
        self.0.snapshot(side, id).await
    }

    async fn restore(&self, side: Side, id: &u64, seen: Option<&String>, row: Option<&String>) -> Result<bool, Error> {
        let twisted = row.map(|row| format!("{row} twisted")).filter(|_| id % 2 == 1);
        self.0.restore(side, id, seen, twisted.as_ref().or(row)).await
    }
}

impl ScanRows for Twisting {
    async fn scan(&self, side: Side, after: Option<Cursor>, limit: usize) -> Result<Page<String>, Error> {
        self.0.scan(side, after, limit).await
    }

    fn id_of(&self, row: &String) -> u64 {
        self.0.id_of(row)
    }

    fn key_of(&self, row: &String) -> String {
        self.0.key_of(row)
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_keeps_another_row_than_it_is_given_is_named_and_does_not_stop_the_others() {
    let twisting = Twisting(filled(6));
    twisting.0.target.set(1, "1:wrong already");
    let progress = Progress::default();
    let moved = backfill(&twisting, Side::Source, &small(), &progress).await;
    assert_eq!(moved, Err(RowsError::NotKept { side: Side::Target, rows: 1 }));
    assert_eq!((progress.copied(), progress.not_kept()), (5, 1));
    // Those that were put blindly are found by whoever reads them.
    let found = verify(&twisting, Side::Source, &small(), &Progress::default()).await.unwrap();
    assert_eq!(found.verdict, Verdict::Diverged(3));
}

#[tokio::test(start_paused = true)]
async fn update_on_both_sides_between_read_and_put_stays_updated() {
    let update = |pair: &Pair| {
        pair.source.set(0, "0:new");
        pair.target.set(0, "0:new");
    };
    settles_as(&Meddled::before(filled(1), update), Some("0:new")).await;
}

#[tokio::test(start_paused = true)]
async fn delete_on_both_sides_between_read_and_put_stays_deleted() {
    let delete = |pair: &Pair| {
        pair.source.rows.lock().unwrap().remove(&0);
        pair.target.rows.lock().unwrap().remove(&0);
    };
    settles_as(&Meddled::before(filled(1), delete), None).await;
}

#[tokio::test(start_paused = true)]
async fn delete_and_insert_again_between_read_and_put_is_the_new_row() {
    let reborn = |pair: &Pair| {
        pair.source.set(0, "0:reborn");
        pair.target.rows.lock().unwrap().remove(&0);
        pair.target.set(0, "0:reborn");
    };
    settles_as(&Meddled::before(filled(1), reborn), Some("0:reborn")).await;
}

#[tokio::test(start_paused = true)]
async fn write_at_off_after_the_put_is_found_by_the_second_read() {
    settles_as(&Meddled::after(filled(1), |pair| pair.source.set(0, "0:source alone")), Some("0:source alone")).await;
}

#[tokio::test(start_paused = true)]
async fn a_value_toggled_back_while_it_is_repaired_is_looked_at_again() {
    let pair = filled(1);
    pair.source.set(0, "0:b");
    pair.target.set(0, "0:a");
    // The target shows what was seen, but the source has gone back to it meanwhile.
    let toggle = |pair: &Pair| pair.source.set(0, "0:a");
    settles_as(&Meddled::after(pair, toggle), Some("0:a")).await;
}

#[tokio::test(start_paused = true)]
async fn a_put_without_an_answer_is_outwaited() {
    let pair = filled(1);
    pair.target.fault(Fault::RefuseBefore);
    pair.target.fault(Fault::None);
    pair.target.fault(Fault::Late(Duration::from_secs(3)));
    backfill(&pair, Side::Source, &small(), &Progress::default()).await.unwrap();
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_an_error_and_no_end() {
    let pair = filled(1);
    for _ in 0..100 {
        pair.target.fault(Fault::Hang);
    }
    let error = backfill(&pair, Side::Source, &small(), &Progress::default()).await.unwrap_err();
    assert!(matches!(error, RowsError::Row(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn history_moves_beside_live_writes_and_nothing_is_lost() {
    let (pair, (migration, _control)) = (filled(300), migration(Stage::DualWrite).await);
    migration.attach_rows(pair.clone());
    let writer = async {
        for n in 0..600u64 {
            let id = n * 7 % 320;
            if n % 5 == 0 {
                pair.remove(&migration, id).await.unwrap();
            } else {
                pair.write(&migration, id, &format!("{id}:{n}")).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let pace = small();
    let progress = Progress::default();
    let (moved, ()) = tokio::join!(backfill(&pair, Side::Source, &pace, &progress), writer);
    moved.unwrap();
    assert!(migration.converged(Duration::from_secs(60)).await);
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn equal_sides_are_verified() {
    let pair = filled(10);
    backfill(&pair, Side::Source, &small(), &Progress::default()).await.unwrap();
    for authority in Side::ALL {
        let found = verify(&pair, authority, &small(), &Progress::default()).await.unwrap();
        assert_eq!((found.verdict, found.rows_source, found.rows_target), (Verdict::Verified, 10, 10));
    }
}

#[tokio::test(start_paused = true)]
async fn one_row_missing_extra_or_different_is_never_verified() {
    let spoil: [fn(&Pair); 6] = [
        |pair| drop(pair.target.rows.lock().unwrap().remove(&9)),
        |pair| drop(pair.source.rows.lock().unwrap().remove(&0)),
        |pair| pair.target.set(5, "5:b"),
        |pair| pair.source.set(5, "5:A"),
        |pair| pair.target.set(10, "10:a"),
        |pair| pair.source.set(10, "10:a"),
    ];
    for spoil in spoil {
        let pair = filled(10);
        backfill(&pair, Side::Source, &small(), &Progress::default()).await.unwrap();
        spoil(&pair);
        for authority in Side::ALL {
            let found = verify(&pair, authority, &small(), &Progress::default()).await.unwrap();
            assert_eq!((found.verdict, found.differing.len()), (Verdict::Diverged(1), 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_passing_difference_is_read_again_and_does_not_count() {
    let pair = filled(4);
    backfill(&pair, Side::Source, &small(), &Progress::default()).await.unwrap();
    pair.target.set(2, "2:late");
    let catching_up = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        pair.target.set(2, "2:a");
    };
    let pace = small();
    let progress = Progress::default();
    let (found, ()) = tokio::join!(verify(&pair, Side::Source, &pace, &progress), catching_up);
    assert_eq!(found.unwrap().verdict, Verdict::Verified);
}
