//! The two sides, and the four flags with the authority that a stage stands for.

use crate::stage::Stage;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A database of the migration, fixed for its whole length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// DB1, the original.
    Source,
    /// DB2, the new one.
    Target,
}

impl Side {
    /// Both sides, source first.
    pub const ALL: [Side; 2] = [Side::Source, Side::Target];

    /// The other database.
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }

    /// The name used on every surface: `source` or `target`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The four switches and the authority: what a stage means for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Switches {
    /// Writes reach the source.
    pub write_source: bool,
    /// Reads reach the source.
    pub read_source: bool,
    /// Writes reach the target.
    pub write_target: bool,
    /// Reads reach the target.
    pub read_target: bool,
    /// Whose answer is the caller's answer.
    pub authority: Side,
}

impl Switches {
    /// The setting that a stage names.
    #[must_use]
    pub const fn of(stage: Stage) -> Switches {
        let (write_source, read_source, write_target, read_target, authority) = match stage {
            Stage::Off => (true, true, false, false, Side::Source),
            Stage::DualWrite => (true, true, true, false, Side::Source),
            Stage::Shadow => (true, true, true, true, Side::Source),
            Stage::Live => (true, true, true, true, Side::Target),
            Stage::RampDown => (true, false, true, true, Side::Target),
            Stage::Complete => (false, false, true, true, Side::Target),
        };
        Switches { write_source, read_source, write_target, read_target, authority }
    }

    /// The stage with exactly this setting, if one of the six sensible ones.
    #[must_use]
    pub fn stage(self) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| Switches::of(*stage) == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_switches_of_its_own() {
        for stage in Stage::ALL {
            assert_eq!(Switches::of(stage).stage(), Some(stage));
        }
    }

    #[test]
    fn an_insensible_setting_is_no_stage() {
        let blind = Switches { write_target: false, ..Switches::of(Stage::Live) };
        assert_eq!(blind.stage(), None);
    }

    #[test]
    fn the_authority_is_always_written_and_read() {
        for stage in Stage::ALL {
            let s = Switches::of(stage);
            let (write, read) = match s.authority {
                Side::Source => (s.write_source, s.read_source),
                Side::Target => (s.write_target, s.read_target),
            };
            assert!(write && read, "{stage}");
        }
    }

    #[test]
    fn sides_have_names_and_an_other() {
        assert_eq!(Side::ALL.map(Side::other), [Side::Target, Side::Source]);
        assert_eq!(format!("{:>7}|{}", Side::Source, Side::Target), " source|target");
    }
}
