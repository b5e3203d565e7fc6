//! Backfill, verification and repair as runs over a DAO's rows, without a control plane: progress in a file, each row
//! towards the side without authority, and differences by name.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use crossfade::core::Verdict;
use crossfade::rows::{
    Cursor, DifferenceKind, Extra, Pace, Page, RowPair, Run, RunError, RunHandle, ScanRows, with_fields,
};
use crossfade::{Migration, Position, Share, Side, Stage};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Error, Fault, Pair, migration};
use tokio::time::Instant;

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

fn run(migration: &Migration, pair: &Pair) -> Run {
    Run::new(migration).rows(pair.clone()).pace(small())
}

#[tokio::test(start_paused = true)]
async fn a_run_moves_verifies_and_repairs_without_a_control_plane() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let pair = filled(10);
    pair.target.set(4, "4:stale");
    let backfill = run(&migration, &pair).expecting(10);
    let handle = backfill.handle();
    let moved = backfill.backfill().await.unwrap();
    assert_eq!((moved.read, moved.copied, moved.deleted), (20, 10, 0));
    assert_eq!((handle.done(), handle.total(), handle.table().as_str()), (20, Some(20), "events"));
    assert!(pair.equal());
    assert_eq!(run(&migration, &pair).verify().await.unwrap().verdict(), Verdict::Verified);

    pair.target.set(3, "3:wrong");
    pair.target.rows.lock().unwrap().remove(&5);
    assert_eq!(run(&migration, &pair).verify().await.unwrap().verdict(), Verdict::Diverged(2));
    let repaired = run(&migration, &pair).repair().await.unwrap();
    assert_eq!((repaired.copied, repaired.unchanged), (2, 8));
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn a_run_begins_only_where_both_sides_are_written() {
    for stage in [Stage::Off, Stage::Complete] {
        let (migration, _control) = migration(stage).await;
        let pair = filled(1);
        let early = run(&migration, &pair).backfill().await;
        assert!(matches!(&early, Err(RunError::NotNow { run: "backfill", .. })), "{early:?}");
        assert!(matches!(run(&migration, &pair).verify().await, Err(RunError::NotNow { .. })));
        assert!(matches!(run(&migration, &pair).repair().await, Err(RunError::NotNow { .. })));
        assert_eq!(pair.target.get(0), None);
    }
    let (migration, _control) = migration(Stage::DualWrite).await;
    assert_eq!(Run::new(&migration).verify().await, Err(RunError::NoTable));
}

#[tokio::test(start_paused = true)]
async fn each_row_is_repaired_towards_the_side_without_authority_for_its_key() {
    let edge = Stage::Shadow.edge().unwrap();
    let half = Position::ramping(edge, "50".parse::<Share>().unwrap());
    let (migration, control) = migration(Stage::Shadow).await;
    control.advance(half).await.unwrap();
    let pair = Pair::default();
    for id in 0..40 {
        pair.source.set(id, &format!("{id}:source"));
        pair.target.set(id, &format!("{id}:target"));
    }
    run(&migration, &pair).repair().await.unwrap();
    assert!(pair.equal());
    let mut seen = [0, 0];
    for id in 0..40u64 {
        let authority = migration.stage_of(&id).unwrap().authority();
        let expected = format!("{id}:{}", authority.name());
        assert_eq!(pair.source.get(id), Some(expected), "the authority's row was overwritten");
        seen[usize::from(authority == Side::Target)] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "both sides have authority for some keys: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn rows_whose_keys_are_not_dual_written_are_left_alone() {
    let edge = Stage::Off.edge().unwrap();
    let (migration, control) = migration(Stage::Off).await;
    control.advance(Position::ramping(edge, "50".parse::<Share>().unwrap())).await.unwrap();
    let pair = filled(40);
    let repaired = run(&migration, &pair).repair().await.unwrap();
    let mirrored = (0..40u64).filter(|id| migration.stage_of(id).unwrap() == Stage::DualWrite).count() as u64;
    assert!(mirrored > 0 && mirrored < 40);
    assert_eq!((repaired.copied, repaired.not_mirrored), (mirrored, 40 - mirrored));
    for id in 0..40u64 {
        let copied = pair.target.get(id).is_some();
        assert_eq!(copied, migration.stage_of(&id).unwrap() == Stage::DualWrite, "row {id}");
    }
    let found = run(&migration, &pair).verify().await.unwrap();
    assert_eq!((found.verdict(), found.not_mirrored), (Verdict::Verified, 40 - mirrored));
}

#[tokio::test(start_paused = true)]
async fn rows_that_only_the_target_has_are_counted_and_not_deleted_unasked() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress");
    let pair = filled(4);
    pair.target.set(77, "77:somebody's");
    pair.target.set(78, "78:somebody's");
    let refused = RunError::Extra { side: Side::Target, rows: 2 };
    // The second time it goes on from its file, and may not take the two rows for settled.
    for _ in 0..2 {
        assert_eq!(run(&migration, &pair).checkpoint(&file).backfill().await, Err(refused.clone()));
        assert_eq!(pair.target.rows.lock().unwrap().len(), 6);
    }
    assert_eq!(run(&migration, &pair).repair().await, Err(refused));
    let moved = run(&migration, &pair).checkpoint(&file).extra(Extra::Delete).backfill().await.unwrap();
    assert_eq!((moved.deleted, moved.pages_resumed), (2, 0));
    assert!(pair.equal());
}

/// A target whose rows cannot be scanned beyond this one.
#[derive(Clone)]
struct Torn(Pair, u64);

impl RowPair for Torn {
    type Id = u64;
    type Row = String;
    type Error = Error;

    async fn snapshot(&self, side: Side, id: &u64) -> Result<Option<String>, Error> {
        self.0.snapshot(side, id).await
    }

    async fn restore(&self, side: Side, id: &u64, seen: Option<&String>, row: Option<&String>) -> Result<bool, Error> {
        self.0.restore(side, id, seen, row).await
    }
}

impl ScanRows for Torn {
    async fn scan(&self, side: Side, after: Option<Cursor>, limit: usize) -> Result<Page<String>, Error> {
        let beyond = after.as_ref().is_some_and(|cursor| cursor.0.parse::<u64>().unwrap() >= self.1);
        if side == Side::Target && beyond {
            return Err(Error::Lost);
        }
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
async fn rows_left_by_a_run_that_failed_later_are_not_settled_for_the_next() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress");
    let pair = Pair::default();
    for id in 10..20 {
        pair.source.set(id, &format!("{id}:a"));
    }
    pair.target.set(5, "5:somebody's");
    // The page with row 5 is finished; a later one cannot be read.
    let torn = Run::new(&migration).rows(Torn(pair.clone(), 12)).pace(small()).checkpoint(&file).backfill().await;
    assert!(matches!(&torn, Err(RunError::Rows { .. })), "{torn:?}");
    let again = run(&migration, &pair).checkpoint(&file).backfill().await;
    assert_eq!(again, Err(RunError::Extra { side: Side::Target, rows: 1 }));
}

/// Stops a run, or waits for ever, at a call of `restore`.
#[derive(Clone)]
struct Cut {
    pair: Pair,
    at: u64,
    how: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl RowPair for Cut {
    type Id = u64;
    type Row = String;
    type Error = Error;

    async fn snapshot(&self, side: Side, id: &u64) -> Result<Option<String>, Error> {
        self.pair.snapshot(side, id).await
    }

    async fn restore(&self, side: Side, id: &u64, seen: Option<&String>, row: Option<&String>) -> Result<bool, Error> {
        if *id == self.at && (self.how)() {
            std::future::pending::<()>().await;
        }
        self.pair.restore(side, id, seen, row).await
    }
}

impl ScanRows for Cut {
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

/// Begins a backfill, and drops it when it is about to put the row: what a kill leaves is what is on disk.
async fn cut_off(migration: &Migration, pair: &Pair, at: u64, file: &Path) {
    let reached = Arc::new(tokio::sync::Notify::new());
    let signal = Arc::clone(&reached);
    let how = Arc::new(move || {
        signal.notify_one();
        true
    });
    let cut = Cut { pair: pair.clone(), at, how };
    let backfill = Run::new(migration).rows(cut).pace(small()).checkpoint(file).backfill();
    tokio::select! {
        ended = backfill => panic!("it was to be cut off: {ended:?}"),
        () = reached.notified() => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_backfill_that_was_cut_off_goes_on_with_the_page_that_was_not_finished() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made/of/it/progress");
    let pair = filled(20);
    cut_off(&migration, &pair, 10, &file).await;
    let before = pair.target.rows.lock().unwrap().len();
    assert!((9..20).contains(&before), "{before} rows");
    let moved = run(&migration, &pair).checkpoint(&file).backfill().await.unwrap();
    assert_eq!(moved.pages_resumed, 3, "three pages of three rows were finished");
    assert_eq!(moved.read, 20 - 9 + 20, "the finished pages of the source are not read again");
    assert!(pair.equal());
    // It was completed: the next one begins with the first row.
    let anew = run(&migration, &pair).checkpoint(&file).backfill().await.unwrap();
    assert_eq!((anew.pages_resumed, anew.unchanged), (0, 20));
}

#[tokio::test(start_paused = true)]
async fn put_under_way_then_killed_then_deleted_then_landed_is_taken_back() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress");
    let pair = filled(6);
    let linger = migration.standing().plan.options().linger.max(small().linger);
    cut_off(&migration, &pair, 4, &file).await;
    // The put of row 4 is on its way to the target; its row is deleted on both sides, and only then it lands.
    pair.source.rows.lock().unwrap().remove(&4);
    let late = pair.clone();
    tokio::spawn(async move {
        tokio::time::sleep(linger - Duration::from_millis(1)).await;
        late.target.set(4, "4:a");
    });
    let began = Instant::now();
    // The page that was cut off no longer has the row, so that it is one of the target alone.
    let again = run(&migration, &pair).checkpoint(&file).extra(Extra::Delete).backfill().await.unwrap();
    assert!(began.elapsed() >= linger, "the page began before the put of the killed run could land");
    assert_eq!(again.deleted, 1);
    assert!(pair.equal() && pair.target.get(4).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_backfill_that_was_stopped_in_good_order_is_followed_at_once() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress");
    let pair = filled(20);
    let handle: Arc<Mutex<Option<RunHandle>>> = Arc::default();
    let stop = Arc::clone(&handle);
    let how = Arc::new(move || {
        stop.lock().unwrap().as_ref().unwrap().stop();
        false
    });
    let cut = Cut { pair: pair.clone(), at: 10, how };
    let first = Run::new(&migration).rows(cut).pace(small()).checkpoint(&file);
    *handle.lock().unwrap() = Some(first.handle());
    let stopped = first.backfill().await;
    assert!(matches!(&stopped, Err(RunError::Stopped { run: "backfill", .. })), "{stopped:?}");
    let began = Instant::now();
    let moved = run(&migration, &pair).checkpoint(&file).backfill().await.unwrap();
    assert_eq!((began.elapsed(), moved.pages_resumed), (Duration::ZERO, 3));
    assert!(pair.equal());
}

#[tokio::test(start_paused = true)]
async fn a_file_of_something_else_is_refused_and_left_as_it_is() {
    let (migration, control) = migration(Stage::DualWrite).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress");
    let pair = filled(20);
    cut_off(&migration, &pair, 10, &file).await;
    let text = std::fs::read(&file).unwrap();
    let refused = |found: Result<crossfade::rows::Moved, RunError>, word: &str| match found {
        Err(RunError::Checkpoint { what, .. }) => assert!(what.contains(word), "{what}"),
        other => panic!("{word}: {other:?}"),
    };
    // Other tables.
    let other = Run::new(&migration).table("orders", pair.clone()).checkpoint(&file).backfill().await;
    refused(other, "orders");
    // Another authority: keys of both sides, in the middle of a ramp.
    let edge = Stage::Shadow.edge().unwrap();
    control.advance(Position::at(Stage::Shadow)).await.unwrap();
    control.advance(Position::ramping(edge, "50".parse::<Share>().unwrap())).await.unwrap();
    refused(run(&migration, &pair).checkpoint(&file).backfill().await, "authority was with source");
    // Another migration, and no progress at all.
    let renamed = String::from_utf8(text.clone()).unwrap().replace("\"events\"", "\"orders\"");
    for (foreign, word) in [(renamed.as_str(), "of migration `orders`"), ("{}", "not the progress of a backfill")] {
        std::fs::write(&file, foreign).unwrap();
        refused(run(&migration, &pair).checkpoint(&file).backfill().await, word);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), foreign);
    }
}

#[tokio::test(start_paused = true)]
async fn two_backfills_do_not_share_a_file() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress");
    let pair = filled(6);
    let (reached, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let signal = Arc::clone(&reached);
    let how = Arc::new(move || {
        signal.notify_one();
        true
    });
    let cut = Cut { pair: pair.clone(), at: 2, how };
    let first = Run::new(&migration).rows(cut).pace(small()).checkpoint(&file).backfill();
    let second = async {
        reached.notified().await;
        let turned_away = run(&migration, &pair).checkpoint(&file).backfill().await;
        go_on.notify_one();
        turned_away
    };
    tokio::select! {
        ended = first => panic!("{ended:?}"),
        turned_away = second => {
            assert!(matches!(&turned_away, Err(RunError::Checkpoint { what, .. }) if what.contains("another backfill")), "{turned_away:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_of_a_dropped_run_holds_its_plan_until_it_can_no_longer_land() {
    let (migration, control) = migration(Stage::Shadow).await;
    let folder = tempfile::tempdir().unwrap();
    let pair = filled(6);
    cut_off(&migration, &pair, 4, &folder.path().join("progress")).await;
    let linger = migration.standing().plan.options().linger;
    let began = Instant::now();
    control.advance(Position::at(Stage::DualWrite)).await.unwrap();
    assert!(began.elapsed() >= linger, "acknowledged after {:?}, while the put could land", began.elapsed());
}

#[derive(Debug, Clone, PartialEq, serde::Serialize)]
struct Event {
    id: u64,
    note: &'static str,
    seats: u32,
}

/// Two lists of rows that nothing changes.
#[derive(Clone)]
struct Lists(Vec<Event>, Vec<Event>);

impl Lists {
    fn on(&self, side: Side) -> &Vec<Event> {
        match side {
            Side::Source => &self.0,
            Side::Target => &self.1,
        }
    }
}

impl RowPair for Lists {
    type Id = u64;
    type Row = Event;
    type Error = String;

    async fn snapshot(&self, side: Side, id: &u64) -> Result<Option<Event>, String> {
        if *id == 99 {
            return Err("this row cannot be read".to_owned());
        }
        Ok(self.on(side).iter().find(|row| row.id == *id).cloned())
    }

    async fn restore(&self, _: Side, _: &u64, _: Option<&Event>, _: Option<&Event>) -> Result<bool, String> {
        panic!("a verification changes nothing")
    }
}

impl ScanRows for Lists {
    async fn scan(&self, side: Side, _: Option<Cursor>, _: usize) -> Result<Page<Event>, String> {
        Ok(Page { rows: self.on(side).clone(), next: None })
    }

    fn id_of(&self, row: &Event) -> u64 {
        row.id
    }

    fn key_of(&self, row: &Event) -> String {
        if row.id == 1_000 { String::new() } else { row.id.to_string() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_verification_names_rows_and_the_fields_that_differ() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let row = |id, note, seats| Event { id, note, seats };
    let source = vec![row(1, "a", 1), row(2, "b", 2), row(3, "c", 3), row(99, "z", 9)];
    let target = vec![row(1, "a", 1), row(2, "other", 7), row(4, "d", 4), row(99, "z", 9)];
    let lists = Lists(source, target);
    let rows = with_fields(lists.clone(), crossfade::compare::fields());
    let found = Run::new(&migration).rows(rows).with_keys().verify().await.unwrap();
    assert_eq!(found.verdict(), Verdict::Diverged(3));
    let table = &found.tables[0];
    assert_eq!((table.rows_source, table.rows_target), (4, 4));
    assert_eq!((table.only_in_source, table.only_in_target, table.different, table.unknown), (1, 1, 1, 1));
    let mut named: Vec<_> =
        found.differences.iter().map(|d| (d.key.as_deref().unwrap(), d.kind, d.fields.join(","))).collect();
    named.sort_by_key(|(key, ..)| *key);
    assert_eq!(
        named,
        [
            ("2", DifferenceKind::Different, "note,seats".to_owned()),
            ("3", DifferenceKind::OnlyInSource, String::new()),
            ("4", DifferenceKind::OnlyInTarget, String::new()),
        ]
    );
    // Digests alone unless keys are asked for, and no more than are asked for.
    let few = Run::new(&migration).rows(lists).name_at_most(2).verify().await.unwrap();
    assert_eq!((few.verdict(), few.differences.len()), (Verdict::Diverged(3), 2));
    assert!(few.differences.iter().all(|d| d.key.is_none() && d.digest.len() == 16 && d.table == "events"));
}

#[tokio::test(start_paused = true)]
async fn a_row_without_its_cohort_key_is_an_error_and_never_bucket_0() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let lists = Lists(vec![Event { id: 1_000, note: "", seats: 0 }], Vec::new());
    let found = Run::new(&migration).rows(lists).verify().await;
    assert!(matches!(&found, Err(RunError::MissingKey { table, .. }) if table == "events"), "{found:?}");
}

/// A write of unknown rows whose mirror may not have arrived.
async fn whole_write(migration: &Migration) {
    let operation = migration.operation("purge");
    let ticket = operation.begin_whole_write().await.unwrap();
    let lost = |_: &(), _| async { Err(Error::Lost) };
    ticket.mirrored(crossfade::Mirror::State, support::effect, async { Ok::<_, Error>(()) }, lost).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_verification_clears_what_was_suspected_before_it_and_nothing_later() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let suspect = || migration.observe().everything_suspect;
    whole_write(&migration).await;
    assert!(suspect(), "a write of unknown rows leaves everything suspect");
    let pair = filled(3);
    run(&migration, &pair).backfill().await.unwrap();
    assert!(suspect(), "a backfill shows nothing");
    run(&migration, &pair).verify().await.unwrap();
    assert!(!suspect());

    // Another one while the next verification is under way.
    whole_write(&migration).await;
    let hang = Duration::from_secs(3);
    pair.source.fault(Fault::Slow(hang));
    let during = async {
        tokio::time::sleep(hang / 2).await;
        whole_write(&migration).await;
    };
    let (found, ()) = tokio::join!(run(&migration, &pair).verify(), during);
    assert_eq!(found.unwrap().verdict(), Verdict::Verified);
    assert!(suspect(), "what was written during the verification was not all seen by it");
}

#[tokio::test(start_paused = true)]
async fn a_run_over_some_of_the_tables_says_which_it_left_out() {
    let (migration, _control) = migration(Stage::DualWrite).await;
    let (_events, _orders) = (migration.table("events"), migration.table("orders"));
    whole_write(&migration).await;
    let found = run(&migration, &filled(0)).verify().await.unwrap();
    assert_eq!((found.verdict(), found.left_out), (Verdict::Verified, vec!["orders".to_owned()]));
    assert!(migration.observe().everything_suspect, "one table of two clears nothing");
    let both = Run::new(&migration).table("events", filled(0)).table("orders", filled(0));
    assert_eq!(both.verify().await.unwrap().left_out, Vec::<String>::new());
    assert!(!migration.observe().everything_suspect);
}

#[tokio::test(start_paused = true)]
async fn named_rows_are_repaired_and_no_others() {
    for stage in [Stage::DualWrite, Stage::Live] {
        let (migration, _control) = migration(stage).await;
        let pair = filled(6);
        (0..6).for_each(|id| pair.target.set(id, &format!("{id}:other")));
        pair.source.rows.lock().unwrap().remove(&5);
        pair.target.rows.lock().unwrap().remove(&4);
        // A store that fails for a moment is asked again. Row 77 is on neither side, and row 1 is named twice.
        pair.source.fault(Fault::RefuseBefore);
        let named = run(&migration, &pair).extra(Extra::Delete).repair_rows([1u64, 4, 5, 77, 1]).await.unwrap();
        let authority = stage.authority();
        let (truth, copy) = (pair.on(authority), pair.on(authority.other()));
        for id in [1, 4, 5] {
            assert_eq!(truth.get(id), copy.get(id), "row {id} at {stage}");
        }
        for id in [0, 2, 3] {
            assert_ne!(truth.get(id), copy.get(id), "row {id} was not named");
        }
        assert_eq!((named.copied, named.deleted), (2, 1), "at {stage}");
    }
}

#[tokio::test(start_paused = true)]
async fn named_rows_that_cannot_be_told_are_refused_before_any_is_repaired() {
    let (migration, control) = migration(Stage::DualWrite).await;
    let pair = filled(2);
    let unread = run(&migration, &pair).repair_rows(["1", "not a number"]).await;
    assert!(matches!(&unread, Err(RunError::Rows { table, .. }) if table == "events"), "{unread:?}");
    assert_eq!(pair.target.get(1), None);
    let two = Run::new(&migration).table("events", pair.clone()).table("orders", pair.clone());
    assert_eq!(two.repair_rows([1u64]).await, Err(RunError::SeveralTables { tables: 2 }));
    assert_eq!(Run::new(&migration).repair_rows([1u64]).await, Err(RunError::NoTable));
    // A row that only the target has stays there unless the run may delete it.
    pair.target.set(9, "9:somebody's");
    let extra = run(&migration, &pair).repair_rows([1u64, 9]).await;
    assert_eq!(extra, Err(RunError::Extra { side: Side::Target, rows: 1 }));
    assert_eq!((pair.target.get(1), pair.target.get(9).is_some()), (pair.source.get(1), true));
    control.advance(Position::at(Stage::Off)).await.unwrap();
    assert!(matches!(run(&migration, &pair).repair_rows([1u64]).await, Err(RunError::NotNow { .. })));
}
