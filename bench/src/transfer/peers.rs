//! Other tools, installed into the target folder when a job needs them.

use super::command::timed;
use super::jobs::Job;
use super::lab::{Lab, repository};
use std::path::PathBuf;
use std::process::Command;

/// Where they are.
#[derive(Debug)]
pub(crate) struct Peers {
    python: PathBuf,
}

/// The versions that were looked at.
const RELADIFF: &str = "reladiff[postgresql,mysql]==0.6.0";

impl Peers {
    pub(crate) fn install(jobs: &[Job]) -> anyhow::Result<Peers> {
        let python = repository().join("target/tools/bench-peers");
        if jobs.iter().any(|job| job.needs_reladiff()) && !python.join("bin/reladiff").exists() {
            timed(Command::new("python3").args(["-m", "venv"]).arg(&python), &[0])?;
            timed(Command::new(python.join("bin/pip")).args(["--quiet", "install", RELADIFF]), &[0])?;
        }
        Ok(Peers { python })
    }

    /// `reladiff` with its defaults, on every column.
    pub(crate) fn reladiff(&self, lab: &Lab, target: &str) -> Command {
        let mut command = Command::new(self.python.join("bin/reladiff"));
        command.args([&scheme(&lab.source), "t", &scheme(target), "t", "-k", "id"]);
        for column in ["user_id", "kind", "body", "at"] {
            command.args(["-c", column]);
        }
        command
    }
}

/// The scheme by which SQLAlchemy's world knows it.
fn scheme(url: &str) -> String {
    match url.strip_prefix("postgres://") {
        Some(rest) => format!("postgresql://{rest}"),
        None => url.to_owned(),
    }
}

/// A pipe of the shell.
pub(crate) fn shell(text: &str, url: &[(&str, &str)]) -> Command {
    let mut command = Command::new("bash");
    // URLs go by the environment: whatever is in them, the shell does not read it.
    command.args(["-o", "pipefail", "-c", text]).envs(url.iter().copied());
    command
}
