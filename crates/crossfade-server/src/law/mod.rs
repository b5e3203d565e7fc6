//! The law of the plane: one total function from a state and an entry of the log to the next state.
//!
//! No clock, no I/O, no randomness: [`State::after`] replays any log. What may be appended is decided in
//! [`decide`] (of instances in `instances`) and [`advance`], pure as well; waiting, storing and publishing are outside.

pub mod advance;
pub mod auto;
pub mod decide;
pub mod event;
pub mod evidence;
mod instances;
mod migration;
mod step;

pub use event::{Entry, Event, Happening, Waived};
pub use migration::{Auto, Doubt, Instance, LastStep, Mark, MarkKey, Migration, Run, StepUnderWay};

use crossfade_api::wire::Role;
use crossfade_core::Tick;
use std::collections::BTreeMap;

/// Everything that the log says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// The place of the newest entry.
    pub tick: Tick,
    /// Counts the lives of the plane: raised when it comes back from a backup (R21).
    pub incarnation: u32,
    /// The present life began from a backup.
    pub restored: bool,
    /// By id.
    pub migrations: BTreeMap<String, Migration>,
    /// By id.
    pub tokens: BTreeMap<String, TokenRecord>,
}

/// A token, as far as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Who holds it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the secret, in hex.
    pub hash: String,
}

impl State {
    /// The state after this entry. Total: an entry that says nothing in this state changes its tick alone.
    #[must_use]
    pub fn after(mut self, entry: &Entry) -> State {
        self.apply(entry);
        self
    }

    /// As [`State::after`], in place.
    pub fn apply(&mut self, entry: &Entry) {
        self.tick = entry.tick;
        match &entry.event {
            Event::Started { restored } => {
                self.restored = *restored;
                if *restored || self.incarnation == 0 {
                    self.incarnation += 1;
                }
                if *restored {
                    for migration in self.migrations.values_mut() {
                        migration.suspects.insert("a control plane restored from a backup".to_owned(), entry.tick);
                        migration.forget_since_backup(self.incarnation);
                    }
                }
            }
            Event::TokenIssued { id, name, role, hash } => {
                let record = TokenRecord { name: name.clone(), role: *role, hash: hash.clone() };
                self.tokens.insert(id.clone(), record);
            }
            Event::TokenRevoked { id } => {
                self.tokens.remove(id);
            }
            Event::Created { publication, writers } => {
                if let Some(made) = Migration::created(publication, writers, entry.tick) {
                    self.migrations.entry(made.plan.migration().to_owned()).or_insert(made);
                }
            }
            Event::To { migration, what } => {
                if let Some(migration) = self.migrations.get_mut(migration) {
                    migration.apply(entry.tick, &entry.by, what);
                    self.incarnation = self.incarnation.max(migration.revision.incarnation);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
