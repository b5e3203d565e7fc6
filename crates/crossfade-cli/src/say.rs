//! How a command ends when it fails: a sentence for people, a JSON line for machines, and the documented exit code.

use crossfade_api::exit::Exit;
use std::process::ExitCode;

/// Why a command failed, and with which exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, error: error.into() }
    }

    /// Wrong usage or configuration: nothing was begun.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Failure {
        Failure::new(Exit::Usage, error)
    }

    /// The exit code.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// The sentence, with its reasons.
    pub(crate) fn text(&self) -> String {
        format!("{:#}", self.error)
    }

    /// Says it and gives the exit code.
    pub(crate) fn show(&self, json: bool) -> ExitCode {
        if json {
            let line = serde_json::json!({ "event": "error", "exit": self.exit as u8, "message": format!("{:#}", self.error) });
            println!("{line}");
        }
        eprintln!("error: {:#}", self.error);
        self.exit.into()
    }
}

/// Anything unexpected is a failure.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(Exit::Failed, error)
    }
}
