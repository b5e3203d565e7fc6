//! The six stages in their order, and the five edges between neighbours.

use crate::switches::{Side, Switches};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A named setting of the switches for one key. The order is the way forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The source alone, as before the migration.
    Off,
    /// Both are written, the source is read.
    #[serde(alias = "dualwrite")]
    DualWrite,
    /// Both are written and read; the source is the authority, the target is compared.
    Shadow,
    /// Both are written and read; the target is the authority, the source is compared.
    Live,
    /// Both are written, the target is read.
    #[serde(alias = "rampdown")]
    RampDown,
    /// The target alone. There is no way back from here.
    Complete,
}

impl Stage {
    /// All stages, in the order of the way forward.
    pub const ALL: [Stage; 6] =
        [Stage::Off, Stage::DualWrite, Stage::Shadow, Stage::Live, Stage::RampDown, Stage::Complete];

    /// The name used on every surface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Off => "off",
            Stage::DualWrite => "dual-write",
            Stage::Shadow => "shadow",
            Stage::Live => "live",
            Stage::RampDown => "ramp-down",
            Stage::Complete => "complete",
        }
    }

    /// The next stage on the way forward; none after [`Stage::Complete`].
    #[must_use]
    pub const fn next(self) -> Option<Stage> {
        match self {
            Stage::Off => Some(Stage::DualWrite),
            Stage::DualWrite => Some(Stage::Shadow),
            Stage::Shadow => Some(Stage::Live),
            Stage::Live => Some(Stage::RampDown),
            Stage::RampDown => Some(Stage::Complete),
            Stage::Complete => None,
        }
    }

    /// The stage before this one; none before [`Stage::Off`].
    #[must_use]
    pub const fn previous(self) -> Option<Stage> {
        match self {
            Stage::Off => None,
            Stage::DualWrite => Some(Stage::Off),
            Stage::Shadow => Some(Stage::DualWrite),
            Stage::Live => Some(Stage::Shadow),
            Stage::RampDown => Some(Stage::Live),
            Stage::Complete => Some(Stage::RampDown),
        }
    }

    /// The switches this stage stands for.
    #[must_use]
    pub const fn switches(self) -> Switches {
        Switches::of(self)
    }

    /// The side whose answer is the caller's answer.
    #[must_use]
    pub const fn authority(self) -> Side {
        Switches::of(self).authority
    }

    /// Both sides are written, so that they can be held equal (P3).
    #[must_use]
    pub const fn is_mirrored(self) -> bool {
        let s = Switches::of(self);
        s.write_source && s.write_target
    }

    /// The edge that leaves this stage on the way forward.
    #[must_use]
    pub const fn edge(self) -> Option<Edge> {
        match self.next() {
            Some(later) => Some(Edge { earlier: self, later }),
            None => None,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown stage `{0}`: use off, dual-write, shadow, live, ramp-down or complete")]
pub struct UnknownStage(pub String);

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Stage, UnknownStage> {
        match text {
            "dualwrite" => Ok(Stage::DualWrite),
            "rampdown" => Ok(Stage::RampDown),
            name => {
                Stage::ALL.into_iter().find(|stage| stage.name() == name).ok_or_else(|| UnknownStage(name.to_owned()))
            }
        }
    }
}

/// Two neighbouring stages: the only way between stages (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    earlier: Stage,
    later: Stage,
}

impl Edge {
    /// All five edges, in the order of the way forward.
    #[must_use]
    pub fn all() -> [Edge; 5] {
        [Stage::Off, Stage::DualWrite, Stage::Shadow, Stage::Live, Stage::RampDown]
            .map(|earlier| Edge { earlier, later: Stage::ALL[earlier as usize + 1] })
    }

    /// The stage nearer to off.
    #[must_use]
    pub const fn earlier(self) -> Stage {
        self.earlier
    }

    /// The stage nearer to complete.
    #[must_use]
    pub const fn later(self) -> Stage {
        self.later
    }

    /// Crossing it moves authority between the sides: the cut-over, shadow ↔ live.
    #[must_use]
    pub fn moves_authority(self) -> bool {
        self.earlier.authority() != self.later.authority()
    }

    /// Crossing it forward leaves the source behind: the point of no return, ramp-down → complete.
    #[must_use]
    pub fn leaves_source(self) -> bool {
        self.earlier.switches().write_source && !self.later.switches().write_source
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ↔ {}", self.earlier, self.later)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for stage in Stage::ALL {
            assert_eq!(stage.name().parse::<Stage>(), Ok(stage));
            assert_eq!(serde_json::to_string(&stage).unwrap(), format!("\"{stage}\""));
            assert_eq!(serde_json::from_str::<Stage>(&format!("\"{stage}\"")).unwrap(), stage);
        }
        assert_eq!("dualwrite".parse(), Ok(Stage::DualWrite));
        assert_eq!("rampdown".parse(), Ok(Stage::RampDown));
        assert_eq!(serde_json::from_str::<Stage>("\"dualwrite\"").unwrap(), Stage::DualWrite);
        assert!("Shadow".parse::<Stage>().unwrap_err().to_string().contains("dual-write"));
    }

    #[test]
    fn the_ladder_goes_both_ways() {
        for pair in Stage::ALL.windows(2) {
            assert_eq!(pair[0].next(), Some(pair[1]));
            assert_eq!(pair[1].previous(), Some(pair[0]));
            assert!(pair[0] < pair[1]);
        }
        assert_eq!((Stage::Off.previous(), Stage::Complete.next()), (None, None));
        assert_eq!(Stage::Complete.edge(), None);
        assert_eq!(Edge::all().map(Some), [0, 1, 2, 3, 4].map(|n| Stage::ALL[n].edge()));
    }

    #[test]
    fn one_edge_moves_authority_and_one_leaves_the_source() {
        let moving: Vec<_> = Edge::all().into_iter().filter(|e| e.moves_authority()).collect();
        assert_eq!(moving, [Stage::Shadow.edge().unwrap()]);
        let leaving: Vec<_> = Edge::all().into_iter().filter(|e| e.leaves_source()).collect();
        assert_eq!(leaving, [Stage::RampDown.edge().unwrap()]);
        assert_eq!(leaving[0].to_string(), "ramp-down ↔ complete");
        assert_eq!(Stage::ALL.map(Stage::is_mirrored), [false, true, true, true, true, false]);
    }
}
