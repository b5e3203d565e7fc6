//! What one operation does at a stage.

use crate::stage::Stage;
use crate::switches::Side;

/// Where a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReadRoute {
    /// The caller's answer.
    pub authority: Side,
    /// Read too, and compared.
    pub compare: Option<Side>,
}

/// Where a write goes: the authority first, then the secondary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriteRoute {
    /// The caller's answer.
    pub authority: Side,
    /// Written after the authority has succeeded.
    pub secondary: Option<Side>,
}

impl Stage {
    /// Where a read of a key at this stage goes.
    #[must_use]
    #[inline]
    pub const fn read_route(self) -> ReadRoute {
        match self {
            Stage::Off | Stage::DualWrite => ReadRoute { authority: Side::Source, compare: None },
            Stage::Shadow => ReadRoute { authority: Side::Source, compare: Some(Side::Target) },
            Stage::Live => ReadRoute { authority: Side::Target, compare: Some(Side::Source) },
            Stage::RampDown | Stage::Complete => ReadRoute { authority: Side::Target, compare: None },
        }
    }

    /// Where a write of a key at this stage goes.
    #[must_use]
    #[inline]
    pub const fn write_route(self) -> WriteRoute {
        match self {
            Stage::Off => WriteRoute { authority: Side::Source, secondary: None },
            Stage::DualWrite | Stage::Shadow => WriteRoute { authority: Side::Source, secondary: Some(Side::Target) },
            Stage::Live | Stage::RampDown => WriteRoute { authority: Side::Target, secondary: Some(Side::Source) },
            Stage::Complete => WriteRoute { authority: Side::Target, secondary: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_and_switches_tell_the_same_story() {
        for stage in Stage::ALL {
            let switches = stage.switches();
            let (read, write) = (stage.read_route(), stage.write_route());
            assert_eq!((read.authority, write.authority), (switches.authority, switches.authority), "{stage}");
            let reads = |side| read.authority == side || read.compare == Some(side);
            let writes = |side| write.authority == side || write.secondary == Some(side);
            assert_eq!(
                (reads(Side::Source), reads(Side::Target)),
                (switches.read_source, switches.read_target),
                "{stage}"
            );
            assert_eq!(
                (writes(Side::Source), writes(Side::Target)),
                (switches.write_source, switches.write_target),
                "{stage}"
            );
        }
    }
}
