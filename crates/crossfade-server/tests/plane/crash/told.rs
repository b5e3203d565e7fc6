//! What the server has answered for. Nothing of it may be lost, whatever happens to the process afterwards.

use crossfade_api::wire::{InstanceKind, MarkChange, MarkDoc, MarkRef};
use crossfade_core::{BackfillState, MarkReason, Verdict};
use crossfade_server::law::{MarkKey, Migration};
use std::collections::{BTreeMap, BTreeSet};

/// The instance that acknowledges and marks by hand.
pub(super) const HAND: &str = "a";
const TABLE: &str = "events";

/// How far the server has answered for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunTold {
    /// At this place of the log.
    Began(u64),
    Ended,
}

/// What a client knows from answers. What was asked and never answered is not in here: it may have happened or not.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) revision: u64,
    pub(super) created: bool,
    /// The newest revision that [`HAND`] has acknowledged.
    pub(super) acknowledged: u64,
    pub(super) runs: BTreeMap<InstanceKind, RunTold>,
    marked: BTreeSet<String>,
    cleared: BTreeSet<String>,
    /// Every row that was ever named.
    rows: u64,
    /// How often each kind of answer was there to be looked for, after a crash.
    pub(super) looked: BTreeMap<&'static str, u64>,
}

impl Told {
    /// A row that was not marked before.
    pub(super) fn another_mark(&mut self) -> (String, MarkChange) {
        self.rows += 1;
        let row = format!("row-{}", self.rows);
        let (table, cohort, reason) = (TABLE.to_owned(), "u1".to_owned(), MarkReason::SecondaryUnknown);
        let mark = MarkDoc { table, row: row.clone(), cohort, reason, generation: 1 };
        (row, MarkChange { set: vec![mark], ..MarkChange::default() })
    }

    pub(super) fn marked(&mut self, row: String) {
        self.marked.insert(row);
    }

    /// All rows are repaired: from here on it is not known whether they are marked, until the answer is there.
    pub(super) fn clear_all(&mut self) -> MarkChange {
        self.marked.clear();
        let row =
            |number| MarkRef { instance: None, table: TABLE.to_owned(), row: format!("row-{number}"), generation: 1 };
        MarkChange { cleared: (1..=self.rows).map(row).collect(), ..MarkChange::default() }
    }

    pub(super) fn cleared_all(&mut self) {
        self.cleared = (1..=self.rows).map(|number| format!("row-{number}")).collect();
    }

    /// Everything that was answered is in the state that the file replays to.
    pub(super) fn is_kept_by(&mut self, migration: Option<&Migration>) {
        let mut look = |what, count: usize| *self.looked.entry(what).or_default() += count as u64;
        let Some(migration) = migration else {
            assert!(!self.created, "an answered creation is lost");
            return;
        };
        assert!(migration.revision.number >= self.revision, "an answered revision is lost");
        assert!(migration.step.is_some() || !migration.is_held());
        if self.acknowledged > 0 {
            let kept = migration.instances[HAND].acknowledged.unwrap().number;
            assert!(kept >= self.acknowledged, "the acknowledgement of revision {} is lost", self.acknowledged);
            look("acknowledgements", 1);
        }
        let key = |row: &String| MarkKey { instance: HAND.to_owned(), table: TABLE.to_owned(), row: row.clone() };
        for row in &self.marked {
            assert!(migration.marks.contains_key(&key(row)), "the mark of {row} is lost");
        }
        for row in &self.cleared {
            assert!(!migration.marks.contains_key(&key(row)), "{row} is marked again");
        }
        look("marks", self.marked.len());
        look("repaired rows", self.cleared.len());
        for (kind, told) in &self.runs {
            match (told, kind) {
                (RunTold::Began(tick), _) => {
                    let run = migration.instances[kind.name()].run;
                    assert_eq!(run.map(|run| run.began.0), Some(*tick), "the beginning of a {} is lost", kind.name());
                    look("runs that go on", 1);
                }
                (RunTold::Ended, InstanceKind::Backfill) => {
                    assert!(
                        matches!(migration.backfill, BackfillState::Complete(_)),
                        "the end of the backfill is lost"
                    );
                    look("runs that ended", 1);
                }
                (RunTold::Ended, _) => {
                    let verdict = migration.verification.map(|seen| seen.verdict);
                    assert_eq!(verdict, Some(Verdict::Verified), "the verdict is lost");
                    look("runs that ended", 1);
                }
            }
        }
    }
}
