//! What must be shown before authority moves or the source is left (R7). Waiting is outside; here is only the answer.

use crate::evidence::{BackfillState, DifferentOperations, Evidence, TableInDoubt, UncheckedWriter, Verdict};
use crate::step::Step;
use std::fmt;

/// Whether a step may be taken on this evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It may.
    Go,
    /// It may not, for all of these reasons.
    NoGo(Vec<Blocker>),
}

/// One thing that stands in the way, with what clears it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Blocker {
    /// Rows of the moving keys may differ.
    Marks(u64),
    /// Rows of a table that nobody can name may differ (R24).
    TableSuspect(TableInDoubt),
    /// An instance writes a table and cannot check its writes (R25).
    CannotCheck(UncheckedWriter),
    /// Two instances run different operations on one table.
    OperationsDiffer(DifferentOperations),
    /// An instance vanished, with half-done writes perhaps.
    Suspect(String),
    /// A repair is running: it could put the old authority's value over the new one.
    RepairRunning(u64),
    /// History has not been moved.
    BackfillNotStarted,
    /// History has been moved in part.
    BackfillUnfinished,
    /// Nobody has looked at every row.
    NotVerified,
    /// The verification began before something that it should have seen.
    VerificationTooOld(Before),
    /// The verification found rows that differ.
    Diverged(u64),
    /// The verification could not read everything.
    VerificationUnknown(u64),
    /// Not every dual write is checked since before the verification began (R5).
    ChecksNotFull,
    /// Somebody writes to a side without the library.
    BypassingWriter(String),
}

/// What a verification has to begin after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Before {
    /// The end of the backfill.
    Backfill,
    /// The last repair.
    Repair,
    /// The last revision that brought keys into dual-write.
    DualWrite,
    /// The moment from which all dual writes are checked.
    FullChecks,
}

impl Blocker {
    /// A stable code, which runbooks and machines go by.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Blocker::Marks(_) => "marks",
            Blocker::TableSuspect(_) => "table-suspect",
            Blocker::CannotCheck(_) => "cannot-check",
            Blocker::OperationsDiffer(_) => "operations-differ",
            Blocker::Suspect(_) => "suspect",
            Blocker::RepairRunning(_) => "repair-running",
            Blocker::BackfillNotStarted => "backfill-not-started",
            Blocker::BackfillUnfinished => "backfill-unfinished",
            Blocker::NotVerified => "not-verified",
            Blocker::VerificationTooOld(_) => "verification-too-old",
            Blocker::Diverged(_) => "diverged",
            Blocker::VerificationUnknown(_) => "verification-unknown",
            Blocker::ChecksNotFull => "checks-not-full",
            Blocker::BypassingWriter(_) => "bypassing-writer",
        }
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocker::Marks(rows) => {
                write!(f, "{rows} rows of the moving keys are marked: wait for their repair, or run `crossfade repair`")
            }
            Blocker::TableSuspect(TableInDoubt { table, events }) if table.is_empty() => write!(
                f,
                "{events} events left rows in doubt that their instance could not name: run `crossfade verify`"
            ),
            Blocker::TableSuspect(TableInDoubt { table, events }) => write!(
                f,
                "{events} events left rows of table {table} in doubt that their instance could not name: run `crossfade verify`"
            ),
            Blocker::CannotCheck(UncheckedWriter { instance, table: Some(table) }) => write!(
                f,
                "instance {instance} cannot read the rows of table {table} on both sides, so its writes are not checked: give the DAO `#[snapshot]` and `#[restore]`, or attach the rows of its stores, and deploy"
            ),
            Blocker::CannotCheck(UncheckedWriter { instance, table: None }) => write!(
                f,
                "instance {instance} does not report which tables it can check: deploy a version of the library that does, with `#[snapshot]` and `#[restore]` in the DAO or the rows of its stores attached"
            ),
            Blocker::OperationsDiffer(DifferentOperations { table, instances: [one, other] }) => write!(
                f,
                "instances {one} and {other} run different operations on table {table}: deploy one version everywhere, or confirm that the versions agree on keys and rows with `crossfade instances ID confirm {table}`"
            ),
            Blocker::Suspect(who) => {
                write!(f, "instance {who} vanished and may have left half-done writes: run `crossfade verify`")
            }
            Blocker::RepairRunning(runs) => write!(f, "{runs} repairs are running: let them end"),
            Blocker::BackfillNotStarted => write!(f, "history has not been moved: run `crossfade backfill`"),
            Blocker::BackfillUnfinished => {
                write!(f, "the backfill has not finished: let it end, or run `crossfade backfill` again to resume it")
            }
            Blocker::NotVerified => write!(f, "nobody has compared every row: run `crossfade verify`"),
            Blocker::VerificationTooOld(before) => {
                write!(f, "the last verification began before {before}: run `crossfade verify` again")
            }
            Blocker::Diverged(rows) => write!(
                f,
                "the last verification found {rows} differing rows: run `crossfade repair`, then `crossfade verify`"
            ),
            Blocker::VerificationUnknown(ranges) => {
                write!(f, "the last verification could not read {ranges} ranges: run `crossfade verify` again")
            }
            Blocker::ChecksNotFull => write!(
                f,
                "not every dual write has been checked since the verification began: turn full checks on, then run `crossfade verify`"
            ),
            Blocker::BypassingWriter(who) => write!(f, "{who} writes without the library: pause it and confirm"),
        }
    }
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Before::Backfill => "the backfill ended",
            Before::Repair => "the last repair ended",
            Before::DualWrite => "the last keys entered dual-write",
            Before::FullChecks => "all dual writes were checked",
        })
    }
}

/// How much a step has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Free in both directions.
    Open,
    /// Both sides must be shown equal first: authority moves, or the source is left.
    Converged,
}

impl Gate {
    /// The gate before this step.
    #[must_use]
    pub fn of(step: Step) -> Gate {
        match step {
            Step::Stay | Step::Release | Step::Abandon => Gate::Open,
            Step::Ramp { .. } => {
                if step.leaves_source() {
                    Gate::Converged
                } else {
                    Gate::Open
                }
            }
            Step::Hold { .. } | Step::Move { .. } => Gate::Converged,
        }
    }

    /// Whether the evidence is enough, and if not, everything that is missing.
    #[must_use]
    pub fn answer(self, evidence: &Evidence) -> Answer {
        let blockers = match self {
            Gate::Open => Vec::new(),
            Gate::Converged => blockers(evidence),
        };
        if blockers.is_empty() { Answer::Go } else { Answer::NoGo(blockers) }
    }
}

fn blockers(evidence: &Evidence) -> Vec<Blocker> {
    let Evidence {
        marks,
        tables_in_doubt,
        unchecked_writers,
        different_operations,
        suspects,
        repairs_running,
        backfill,
        last_repair,
        dual_write_since,
        full_checks_since,
        verification,
        bypassing_writers,
    } = evidence;
    let mut blockers = Vec::new();
    if *marks > 0 {
        blockers.push(Blocker::Marks(*marks));
    }
    blockers.extend(tables_in_doubt.iter().cloned().map(Blocker::TableSuspect));
    blockers.extend(unchecked_writers.iter().cloned().map(Blocker::CannotCheck));
    blockers.extend(different_operations.iter().cloned().map(Blocker::OperationsDiffer));
    blockers.extend(suspects.iter().cloned().map(Blocker::Suspect));
    if *repairs_running > 0 {
        blockers.push(Blocker::RepairRunning(*repairs_running));
    }
    let backfilled = match backfill {
        BackfillState::NotStarted => {
            blockers.push(Blocker::BackfillNotStarted);
            None
        }
        BackfillState::Unfinished => {
            blockers.push(Blocker::BackfillUnfinished);
            None
        }
        BackfillState::Complete(tick) => Some(*tick),
    };
    match verification {
        None => blockers.push(Blocker::NotVerified),
        Some(seen) => {
            match seen.verdict {
                Verdict::Verified => {}
                Verdict::Diverged(rows) => blockers.push(Blocker::Diverged(rows)),
                Verdict::Unknown(ranges) => blockers.push(Blocker::VerificationUnknown(ranges)),
            }
            let before = [
                (Before::Backfill, backfilled),
                (Before::Repair, *last_repair),
                (Before::DualWrite, *dual_write_since),
                (Before::FullChecks, *full_checks_since),
            ];
            let missed = before.into_iter().filter(|(_, tick)| tick.is_some_and(|tick| seen.began <= tick));
            blockers.extend(missed.map(|(what, _)| Blocker::VerificationTooOld(what)));
        }
    }
    if full_checks_since.is_none() {
        blockers.push(Blocker::ChecksNotFull);
    }
    blockers.extend(bypassing_writers.iter().cloned().map(Blocker::BypassingWriter));
    blockers
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::evidence::{Tick, Verification};
    use crate::stage::{Edge, Stage};

    fn enough() -> Evidence {
        Evidence {
            backfill: BackfillState::Complete(Tick(10)),
            last_repair: Some(Tick(11)),
            dual_write_since: Some(Tick(5)),
            full_checks_since: Some(Tick(12)),
            verification: Some(Verification { began: Tick(13), verdict: Verdict::Verified }),
            ..Evidence::default()
        }
    }

    fn doubt(table: &str) -> TableInDoubt {
        TableInDoubt { table: table.into(), events: 2 }
    }

    fn unchecked(table: Option<&str>) -> UncheckedWriter {
        UncheckedWriter { instance: "app-1".into(), table: table.map(Into::into) }
    }

    fn differ() -> DifferentOperations {
        DifferentOperations { table: "orders".into(), instances: ["app-1".into(), "app-2".into()] }
    }

    #[test]
    fn a_blocker_names_its_table_and_its_instance_and_the_next_act() {
        for (blocker, words) in [
            (Blocker::TableSuspect(doubt("orders")), vec!["table orders", "`crossfade verify`"]),
            (Blocker::TableSuspect(doubt("")), vec!["2 events", "`crossfade verify`"]),
            (Blocker::CannotCheck(unchecked(Some("orders"))), vec!["app-1", "table orders", "`#[snapshot]`"]),
            (Blocker::CannotCheck(unchecked(None)), vec!["app-1", "`#[restore]`"]),
            (Blocker::OperationsDiffer(differ()), vec!["app-1 and app-2", "`crossfade instances ID confirm orders`"]),
        ] {
            let said = blocker.to_string();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        }
    }

    #[test]
    fn with_everything_shown_it_is_go() {
        assert_eq!(Gate::Converged.answer(&enough()), Answer::Go);
        assert_eq!(Gate::Converged.answer(&Evidence { last_repair: None, ..enough() }), Answer::Go);
    }

    #[test]
    fn each_missing_piece_is_named_alone() {
        let seen = |began, verdict| Some(Verification { began: Tick(began), verdict });
        let cases = [
            (Evidence { marks: 2, ..enough() }, Blocker::Marks(2)),
            (Evidence { tables_in_doubt: vec![doubt("orders")], ..enough() }, Blocker::TableSuspect(doubt("orders"))),
            (Evidence { tables_in_doubt: vec![doubt("")], ..enough() }, Blocker::TableSuspect(doubt(""))),
            (
                Evidence { unchecked_writers: vec![unchecked(Some("orders"))], ..enough() },
                Blocker::CannotCheck(unchecked(Some("orders"))),
            ),
            (Evidence { unchecked_writers: vec![unchecked(None)], ..enough() }, Blocker::CannotCheck(unchecked(None))),
            (Evidence { different_operations: vec![differ()], ..enough() }, Blocker::OperationsDiffer(differ())),
            (Evidence { suspects: vec!["app-1".into()], ..enough() }, Blocker::Suspect("app-1".into())),
            (Evidence { repairs_running: 1, ..enough() }, Blocker::RepairRunning(1)),
            (Evidence { backfill: BackfillState::NotStarted, ..enough() }, Blocker::BackfillNotStarted),
            (Evidence { backfill: BackfillState::Unfinished, ..enough() }, Blocker::BackfillUnfinished),
            (Evidence { verification: None, ..enough() }, Blocker::NotVerified),
            (Evidence { verification: seen(13, Verdict::Diverged(3)), ..enough() }, Blocker::Diverged(3)),
            (Evidence { verification: seen(13, Verdict::Unknown(1)), ..enough() }, Blocker::VerificationUnknown(1)),
            (
                Evidence { backfill: BackfillState::Complete(Tick(13)), ..enough() },
                Blocker::VerificationTooOld(Before::Backfill),
            ),
            (Evidence { last_repair: Some(Tick(14)), ..enough() }, Blocker::VerificationTooOld(Before::Repair)),
            (Evidence { dual_write_since: Some(Tick(13)), ..enough() }, Blocker::VerificationTooOld(Before::DualWrite)),
            (
                Evidence { full_checks_since: Some(Tick(13)), ..enough() },
                Blocker::VerificationTooOld(Before::FullChecks),
            ),
            (Evidence { full_checks_since: None, ..enough() }, Blocker::ChecksNotFull),
            (Evidence { bypassing_writers: vec!["cron".into()], ..enough() }, Blocker::BypassingWriter("cron".into())),
        ];
        for (evidence, blocker) in cases {
            assert!(!blocker.to_string().is_empty() && !blocker.code().is_empty());
            assert_eq!(Gate::Converged.answer(&evidence), Answer::NoGo(vec![blocker]));
            assert_eq!(Gate::Open.answer(&evidence), Answer::Go);
        }
    }

    #[test]
    fn a_verification_that_is_too_old_says_what_came_after_it() {
        let said = |before| Blocker::VerificationTooOld(before).to_string();
        for (before, what) in [
            (Before::Backfill, "the backfill ended"),
            (Before::Repair, "the last repair ended"),
            (Before::DualWrite, "the last keys entered dual-write"),
            (Before::FullChecks, "all dual writes were checked"),
        ] {
            assert_eq!(
                said(before),
                format!("the last verification began before {what}: run `crossfade verify` again")
            );
        }
    }

    #[test]
    fn nothing_shown_is_everything_missing() {
        let Answer::NoGo(blockers) = Gate::Converged.answer(&Evidence::default()) else { panic!("go on no evidence") };
        let codes: Vec<_> = blockers.iter().map(Blocker::code).collect();
        assert_eq!(codes, ["backfill-not-started", "not-verified", "checks-not-full"]);
    }

    #[test]
    fn gates_stand_where_authority_moves_and_where_the_source_is_left() {
        for edge in Edge::all() {
            for forward in [true, false] {
                let gated = edge.later() == Stage::Complete && forward;
                assert_eq!(Gate::of(Step::Ramp { edge, forward }) == Gate::Converged, gated, "{edge}");
            }
        }
        for forward in [true, false] {
            assert_eq!(Gate::of(Step::Hold { forward }), Gate::Converged);
            assert_eq!(Gate::of(Step::Move { forward }), Gate::Converged);
        }
        for free in [Step::Stay, Step::Release, Step::Abandon] {
            assert_eq!(Gate::of(free), Gate::Open);
        }
        assert!(Stage::ALL.len() == 6 && Stage::Off.edge().unwrap().earlier() == Stage::Off);
    }
}
