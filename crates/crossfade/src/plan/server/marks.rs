//! Which marks the control plane knows of, and what has changed since.

use crate::marks::Marked;
use crossfade_api::wire::{MarkChange, MarkDoc, MarkRef};
use std::collections::HashMap;

/// How many marks one message names; further ones go in the next.
const MARKS_AT_ONCE: usize = 5_000;

/// Which marks the plane knows of.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    known: HashMap<(Box<str>, Box<str>), u64>,
    generations: u64,
    everything: bool,
}

/// What to tell the plane, and what it knows when it was told.
pub(super) struct Change {
    pub(super) message: MarkChange,
    known: HashMap<(Box<str>, Box<str>), u64>,
    everything: bool,
    /// There is more to tell than one message holds.
    pub(super) more: bool,
}

impl Ledger {
    pub(super) fn change(&mut self, marks: &[Marked], everything: bool) -> Change {
        let mut message = MarkChange::default();
        let mut known = HashMap::with_capacity(marks.len());
        let mut more = false;
        for mark in marks {
            let id = (mark.id.key.clone(), mark.id.row.clone());
            if let Some(generation) = self.known.get(&id) {
                known.insert(id, *generation);
                continue;
            }
            if message.set.len() >= MARKS_AT_ONCE {
                more = true;
                continue;
            }
            self.generations += 1;
            let Some(reason) = mark.reasons.first().copied() else { continue };
            message.set.push(MarkDoc {
                table: String::new(),
                row: mark.id.row.to_string(),
                cohort: mark.id.key.to_string(),
                reason,
                generation: self.generations,
            });
            known.insert(id, self.generations);
        }
        for (id, generation) in &self.known {
            if !known.contains_key(id) {
                if message.cleared.len() >= MARKS_AT_ONCE {
                    known.insert(id.clone(), *generation);
                    more = true;
                    continue;
                }
                let (row, generation) = (id.1.to_string(), *generation);
                message.cleared.push(MarkRef { instance: None, table: String::new(), row, generation });
            }
        }
        if everything && !self.everything {
            message.unlisted += 1;
        }
        Change { message, known, everything, more }
    }

    pub(super) fn sent(&mut self, change: Change) {
        self.known = change.known;
        self.everything = change.everything;
    }

    /// The plane lost what it knew: everything is told again.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.everything = false;
    }
}
