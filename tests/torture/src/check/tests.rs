//! The checker against histories that are right, and broken in one place each.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::history::Looked;

fn wrote(begin: u64, act: Act, answer: Option<(u64, Outcome)>) -> Written {
    Written { process: 0, begin, act, answer }
}

fn done(begin: u64, end: u64, act: Act, answer: &str) -> Written {
    wrote(begin, act, Some((end, Outcome::Done(answer.into()))))
}

fn put(begin: u64, end: u64, value: &str) -> Written {
    done(begin, end, Act::Put(value.into()), "-")
}

fn seen(value: &str, count: i64) -> Option<Seen> {
    Some(Seen { value: value.into(), count })
}

fn look(begin: u64, end: u64, seen: Option<Seen>) -> Looked {
    Looked { begin, end, seen }
}

fn quiet(at: u64, row: &str, seen: Option<Seen>) -> Quiet {
    Quiet { at, rows: seen.into_iter().map(|seen| (row.to_owned(), seen)).collect() }
}

fn around(quiet: Vec<Quiet>, waivers: Vec<Waiver>) -> Circumstances {
    Circumstances { deaths: BTreeMap::new(), waivers, quiet }
}

/// The promises that a story breaks.
fn broken(row: &str, writes: Vec<Written>, reads: Vec<Looked>, around: &Circumstances) -> Vec<&'static str> {
    let stories = BTreeMap::from([(row.to_owned(), Story { writes, reads })]);
    check(&stories, around).into_iter().map(|violation| violation.promise).collect()
}

#[test]
fn a_read_may_return_either_of_two_writes_that_overlap() {
    let writes = || vec![put(10, 20, "a"), put(15, 25, "b")];
    for value in ["a", "b"] {
        assert!(broken("r1", writes(), vec![look(30, 31, seen(value, 0))], &Circumstances::default()).is_empty());
    }
}

#[test]
fn a_read_during_a_write_may_return_the_old_value_and_the_new() {
    let writes = || vec![put(10, 20, "a"), put(30, 50, "b")];
    for value in ["a", "b"] {
        assert!(broken("r1", writes(), vec![look(40, 60, seen(value, 0))], &Circumstances::default()).is_empty());
    }
}

#[test]
fn a_superseded_value_is_stale() {
    let writes = vec![put(10, 20, "a"), put(21, 25, "b")];
    assert_eq!(broken("r1", writes, vec![look(26, 30, seen("a", 0))], &Circumstances::default()), ["P2"]);
}

#[test]
fn a_deleted_row_stays_deleted() {
    let writes = || vec![put(10, 20, "a"), done(21, 25, Act::Delete, "-")];
    assert!(broken("r1", writes(), vec![look(26, 30, None)], &Circumstances::default()).is_empty());
    assert_eq!(broken("r1", writes(), vec![look(26, 30, seen("a", 0))], &Circumstances::default()), ["P2"]);
    let later = around(vec![quiet(90, "r1", seen("a", 0))], Vec::new());
    assert_eq!(broken("r1", writes(), Vec::new(), &later), ["P2"]);
}

#[test]
fn an_acknowledged_row_does_not_vanish() {
    let writes = || vec![done(1, 5, Act::Delete, "-"), put(10, 20, "a")];
    assert_eq!(broken("r1", writes(), vec![look(26, 30, None)], &Circumstances::default()), ["P4"]);
    assert_eq!(broken("r1", writes(), Vec::new(), &around(vec![quiet(90, "r1", None)], Vec::new())), ["P4"]);
    assert!(broken("r1", writes(), vec![look(15, 30, None)], &Circumstances::default()).is_empty());
}

#[test]
fn an_unclear_write_may_land_until_its_linger_has_passed() {
    let unclear = || vec![wrote(10, Act::Put("a".into()), Some((20, Outcome::Unknown))), put(30, 40, "b")];
    let soon = LINGER / 2;
    let (late, later) = (LINGER + 100, LINGER + 200);
    for value in ["a", "b"] {
        assert!(
            broken("r1", unclear(), vec![look(soon, soon + 1, seen(value, 0))], &Circumstances::default()).is_empty()
        );
    }
    let mut after = unclear();
    after.push(put(late, late + 1, "c"));
    assert_eq!(broken("r1", after, vec![look(later, later + 1, seen("a", 0))], &Circumstances::default()), ["P2"]);
}

#[test]
fn a_write_of_a_dead_process_lands_at_most_a_linger_after_its_death() {
    let mut after = vec![wrote(10, Act::Put("a".into()), None), put(LINGER + 60, LINGER + 61, "b")];
    let reads = || vec![look(LINGER + 70, LINGER + 71, seen("a", 0))];
    assert!(broken("r1", after.clone(), reads(), &Circumstances::default()).is_empty());
    let dead = Circumstances { deaths: BTreeMap::from([(0, 50)]), ..Circumstances::default() };
    assert_eq!(broken("r1", after.clone(), reads(), &dead), ["P2"]);
    after[0].process = 1;
    assert!(broken("r1", after, reads(), &dead).is_empty());
}

#[test]
fn a_refused_write_is_never_seen() {
    let writes = vec![wrote(10, Act::Put("a".into()), Some((20, Outcome::Refused)))];
    assert_eq!(broken("r1", writes, vec![look(15, 30, seen("a", 0))], &Circumstances::default()), ["P1"]);
}

#[test]
fn values_come_from_somewhere_and_not_from_the_future() {
    assert_eq!(broken("r1", Vec::new(), vec![look(1, 2, seen("x", 0))], &Circumstances::default()), ["P4"]);
    let writes = vec![put(10, 20, "a")];
    assert_eq!(broken("r1", writes, vec![look(1, 2, seen("a", 0))], &Circumstances::default()), ["P2"]);
    let strange = around(vec![quiet(9, "r7", seen("a", 0))], Vec::new());
    assert_eq!(check(&BTreeMap::new(), &strange).len(), 1);
}

#[test]
fn a_waiver_forgives_what_was_lost_in_it_and_nothing_after_it() {
    let waived = |until| around(Vec::new(), vec![Waiver { from: 22, until }]);
    let writes = || vec![put(5, 8, "a"), put(10, 20, "b")];
    assert!(broken("r1", writes(), vec![look(30, 31, seen("a", 0))], &waived(25)).is_empty());
    assert!(broken("r1", writes(), vec![look(30, 31, None)], &waived(25)).is_empty());
    // Written after the waiver: promised again.
    let mut more = writes();
    more.push(put(26, 28, "c"));
    assert_eq!(broken("r1", more.clone(), vec![look(30, 31, seen("a", 0))], &waived(25)), ["P2"]);
    assert_eq!(broken("r1", more.clone(), vec![look(30, 31, None)], &waived(25)), ["P4"]);
    assert!(broken("r1", more, vec![look(30, 31, None)], &waived(u64::MAX)).is_empty());
    // Before it begins nothing is forgiven.
    assert_eq!(broken("r1", writes(), vec![look(21, 21, seen("a", 0))], &waived(25)), ["P2"]);
}

fn counted(begin: u64, end: u64, count: i64) -> Written {
    done(begin, end, Act::Increment, &count.to_string())
}

#[test]
fn increments_add_up() {
    let writes = || vec![counted(1, 5, 1), counted(3, 8, 2), wrote(9, Act::Increment, Some((12, Outcome::Unknown)))];
    for (count, wrong) in [(1, true), (2, false), (3, false), (4, true)] {
        let end = LINGER + 100;
        let found = broken("n1", writes(), Vec::new(), &around(vec![quiet(end, "n1", seen("", count))], Vec::new()));
        assert_eq!(!found.is_empty(), wrong, "{count}: {found:?}");
    }
}

#[test]
fn between_quiet_moments_every_acknowledged_increment_counts() {
    let writes = || vec![counted(1, 5, 1), counted(110, 111, 2), counted(120, 130, 3)];
    let at = |last| around(vec![quiet(100, "n1", seen("", 1)), quiet(200, "n1", seen("", last))], Vec::new());
    assert!(broken("n1", writes(), Vec::new(), &at(3)).is_empty());
    assert!(!broken("n1", writes(), Vec::new(), &at(2)).is_empty());
    assert!(!broken("n1", writes(), Vec::new(), &at(4)).is_empty());
    let waived = Circumstances { waivers: vec![Waiver { from: 140, until: 150 }], ..at(2) };
    assert!(broken("n1", writes(), Vec::new(), &waived).is_empty());
}

#[test]
fn two_authorities_give_one_count_twice() {
    let writes = vec![counted(1, 5, 1), counted(2, 6, 1)];
    assert_eq!(broken("n1", writes, Vec::new(), &Circumstances::default()), ["P4"]);
}

#[test]
fn counts_rise() {
    let fell = vec![counted(1, 5, 7), counted(6, 8, 6)];
    assert_eq!(broken("n1", fell, Vec::new(), &Circumstances::default()), ["P2"]);
    let writes = || (1..=7).map(|n| counted(n as u64, 9, n)).collect::<Vec<_>>();
    assert!(broken("n1", writes(), vec![look(10, 11, seen("", 7))], &Circumstances::default()).is_empty());
    assert_eq!(broken("n1", writes(), vec![look(10, 11, seen("", 6))], &Circumstances::default()), ["P2"]);
    assert_eq!(broken("n1", writes(), vec![look(10, 11, seen("", 8))], &Circumstances::default()), ["P4"]);
}

fn claimed(begin: u64, end: u64, owner: &str, winner: &str) -> Written {
    done(begin, end, Act::Claim(owner.into()), winner)
}

#[test]
fn a_claim_has_one_winner() {
    let good = vec![claimed(1, 5, "a", "a"), claimed(2, 6, "b", "a")];
    assert!(broken("c1", good, vec![look(7, 8, seen("a", 0))], &Circumstances::default()).is_empty());
    let both = vec![claimed(1, 5, "a", "a"), claimed(2, 6, "b", "b")];
    assert_eq!(broken("c1", both, Vec::new(), &Circumstances::default()), ["P4"]);
    let nobody = vec![claimed(1, 5, "a", "x")];
    assert_eq!(broken("c1", nobody, Vec::new(), &Circumstances::default()), ["P4"]);
    let gone = || vec![claimed(1, 5, "a", "a")];
    assert_eq!(broken("c1", gone(), vec![look(7, 8, None)], &Circumstances::default()), ["P4"]);
    assert_eq!(broken("c1", gone(), Vec::new(), &around(vec![quiet(9, "c1", None)], Vec::new())), ["P4"]);
    assert_eq!(broken("c1", gone(), Vec::new(), &around(vec![quiet(9, "c1", seen("b", 0))], Vec::new())).len(), 2);
}

#[test]
fn a_staircase_knows_the_greatest_so_far() {
    let stairs = Staircase::new(vec![(5, 1), (1, 9), (9, 20)]);
    assert_eq!([0, 1, 5, 8, 9].map(|limit| stairs.up_to(limit)), [None, Some(9), Some(9), Some(9), Some(20)]);
    assert_eq!(stairs.0.first().copied().unwrap(), (1, 9));
}

#[test]
fn an_order_is_read_as_it_was_created_whatever_became_of_the_answer() {
    let created = |begin, answer| wrote(begin, Act::Create(format!("v{begin}")), answer);
    let answered = created(10, Some((20, Outcome::Done("42".into()))));
    let open = created(12, Some((22, Outcome::Unknown)));
    let stories = |reads: Vec<Looked>| {
        BTreeMap::from([
            (CREATED.to_owned(), Story { writes: vec![answered.clone(), open.clone()], reads: Vec::new() }),
            ("orders/42".to_owned(), Story { writes: vec![answered.clone()], reads: reads.clone() }),
            ("orders/44".to_owned(), Story { writes: Vec::new(), reads }),
        ])
    };
    let found = |value: &str| {
        let found = check(&stories(vec![look(30, 31, seen(value, 0))]), &Circumstances::default());
        found.into_iter().map(|violation| violation.row).collect::<Vec<_>>()
    };
    assert_eq!(found("v10"), ["orders/44"], "somebody else's row");
    assert_eq!(found("v12"), Vec::<String>::new(), "nobody knows where it went");
    assert_eq!(found("v99"), ["orders/42", "orders/44"], "nobody wrote it");
    let none = check(&stories(vec![look(30, 31, None)]), &Circumstances::default());
    assert_eq!(none.len(), 1, "an acknowledged order is lost: {none:?}");
    let mut twice = stories(Vec::new());
    twice.get_mut("orders/42").unwrap().writes.push(done(40, 50, Act::Create("other".into()), "42"));
    assert_eq!(check(&twice, &Circumstances::default()).len(), 1);
}

#[test]
fn a_sweep_deletes_what_had_expired_and_nothing_else() {
    let swept = done(100, 120, Act::Sweep(100), "-");
    let of = |value: &str, reads: Vec<Looked>| {
        let stories = BTreeMap::from([
            (SWEPT.to_owned(), Story { writes: vec![swept.clone()], reads: Vec::new() }),
            ("sessions/r1.0".to_owned(), Story { writes: vec![put(10, 20, value)], reads }),
        ]);
        check(&stories, &Circumstances::default()).into_iter().map(|violation| violation.promise).collect::<Vec<_>>()
    };
    let gone = || vec![look(130, 131, None)];
    let there = |value: &str| vec![look(130, 131, seen(value, 0))];
    assert!(of("a~90", gone()).is_empty());
    assert_eq!(of("a~90", there("a~90")), ["P2"]);
    assert_eq!(of("a~105", gone()), ["P4"]);
    assert!(of("a~105", there("a~105")).is_empty());
    assert_eq!(of("a~90", vec![look(50, 60, None)]), ["P4"]);
    assert!(of("a~90", vec![look(110, 111, None)]).is_empty());
}
