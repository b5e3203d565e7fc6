//! What a command's exit code says. A contract: scripts and pipelines go by it.

use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Refused by a gate; the blockers are named.
    Refused = 3,
    /// The sides differ.
    Diverged = 4,
    /// Unknown or incomplete.
    Unknown = 5,
    /// A server or database cannot be reached.
    Unreachable = 6,
}

impl Exit {
    /// All of them, in the order of their codes.
    pub const ALL: [Exit; 7] =
        [Exit::Done, Exit::Failed, Exit::Usage, Exit::Refused, Exit::Diverged, Exit::Unknown, Exit::Unreachable];

    /// The process exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_contract() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 4, 5, 6]);
    }
}
