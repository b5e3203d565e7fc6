//! Other tools, installed into the target folder when a job needs them.

use super::command::timed;
use super::jobs::Job;
use super::lab::{Lab, repository};
use anyhow::Context as _;
use std::path::PathBuf;
use std::process::Command;

/// Where they are.
#[derive(Debug)]
pub(crate) struct Peers {
    python: PathBuf,
    sling: PathBuf,
}

/// The versions that were looked at.
const RELADIFF: &str = "reladiff[postgresql,mysql]==0.6.0";
/// The program itself: the package `sling` of the same version would download it when it is first run.
const SLING: &str = "sling-linux-amd64==1.4.11";

impl Peers {
    pub(crate) fn install(jobs: &[Job]) -> anyhow::Result<Peers> {
        let python = repository().join("target/tools/bench-peers");
        let sling = python.join("sling/sling_linux_amd64/bin/sling-linux-amd64");
        let reladiff = jobs.iter().any(|job| job.needs_reladiff()) && !python.join("bin/reladiff").exists();
        let needs_sling = jobs.contains(&Job::PostgresBulkSling) && !sling.exists();
        let pip = python.join("bin/pip");
        if (reladiff || needs_sling) && !pip.exists() {
            timed(Command::new("python3").args(["-m", "venv"]).arg(&python), &[0])?;
        }
        if reladiff {
            timed(Command::new(&pip).args(["--quiet", "install", RELADIFF]), &[0])?;
        }
        if needs_sling {
            let folder = python.join("sling");
            timed(Command::new(&pip).args(["--quiet", "install", "--target"]).arg(folder).arg(SLING), &[0])?;
            timed(Command::new("chmod").arg("+x").arg(&sling), &[0])?;
        }
        let pgcopydb = || timed(Command::new("pgcopydb").arg("--version"), &[0]);
        if jobs.contains(&Job::PostgresBulkPgcopydb) && pgcopydb().is_err() {
            timed(Command::new("apt-get").args(["install", "--yes", "--quiet", "pgcopydb"]), &[0])
                .and_then(|_| pgcopydb())
                .context("pgcopydb is missing and could not be installed: as root, apt-get install pgcopydb")?;
        }
        Ok(Peers { python, sling })
    }

    /// The data of every table, into tables that are there, by one job.
    pub(crate) fn pgcopydb(&self, lab: &Lab) -> Command {
        let mut command = Command::new("pgcopydb");
        command.args(["copy", "table-data", "--not-consistent", "--restart", "--table-jobs", "1"]);
        command.args(["--source", &lab.source, "--target", &lab.target, "--dir"]).arg(lab.file("pgcopydb"));
        command
    }

    /// One stream, into the table that is there.
    pub(crate) fn sling(&self, lab: &Lab) -> Command {
        let mut command = Command::new(&self.sling);
        command.args(["run", "--src-conn", "BENCH_SOURCE", "--src-stream", "public.t"]);
        command.args(["--tgt-conn", "BENCH_TARGET", "--tgt-object", "public.t", "--mode", "truncate"]);
        // It keeps a folder in the home of whoever runs it, and takes connections from the environment.
        command.env("HOME", lab.file("."));
        command.env("BENCH_SOURCE", format!("{}?sslmode=disable", lab.source));
        command.env("BENCH_TARGET", format!("{}?sslmode=disable", lab.target));
        command
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
