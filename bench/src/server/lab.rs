//! A real `crossfade serve` on a port and a file of its own, and the operator who moves its migration.

use super::process;
use super::wire::Wire;
use crate::transfer::command::timed;
use crate::transfer::lab::repository;
use anyhow::{Context as _, bail, ensure};
use crossfade_api::wire::{
    CreateRequest, Departure, InstanceKind, MarkChange, Outcome, RampRequest, Registration, RollbackRequest, RunEnd,
    Status, StepAnswer,
};
use crossfade_core::{PlanSpec, Share, Stage, Verdict};
use serde::Serialize;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The migration that is measured.
pub(crate) const MIGRATION: &str = "bench";
/// Of an admin; it is good on this machine for as long as the run takes.
pub(crate) const TOKEN: &str = "bench-bench-bench-bench-bench-bench";

/// The command, built as this process was: debug or release.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(repository()).args(["build", "--quiet", "-p", "crossfade-cli"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    timed(&mut cargo, &[0])?;
    Ok(std::env::current_exe()?.with_file_name("crossfade"))
}

/// A process that ends with its handle.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A control plane.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts it, with this time between two heartbeats of an instance.
    pub(crate) fn start(command: &Path, heartbeat: Duration) -> anyhow::Result<Server> {
        // Not in /tmp, which may be memory: an entry of the log is durable only on a disk.
        let folder = tempfile::tempdir_in(repository().join("target"))?;
        std::fs::write(folder.path().join("tokens"), format!("admin bench {TOKEN}\n"))?;
        let mut serve = Command::new(command);
        serve.current_dir(folder.path()).args(["serve", "--json", "--listen", "127.0.0.1:0", "--tokens", "tokens"]);
        // One address is many callers here, so that the bound per address says nothing.
        serve.args(["--rate", "1000000", "--connections", "100000"]);
        serve.args(["--heartbeat", &heartbeat.as_millis().to_string(), "--silent-after", "600000"]);
        let mut child = Process(serve.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let mut line = String::new();
        let output = child.0.stdout.take().context("no output of crossfade serve")?;
        BufReader::new(output).read_line(&mut line)?;
        let said: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("crossfade serve said: {line}"))?;
        let address = said["address"].as_str().and_then(|address| address.parse().ok());
        Ok(Server { process: child, address: address.context("it listens nowhere")?, _folder: folder })
    }

    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        process::cpu_seconds(self.process.0.id())
    }

    pub(crate) fn resident_kb(&self) -> anyhow::Result<u64> {
        process::resident_kb(self.process.0.id())
    }

    pub(crate) async fn operator(&self) -> anyhow::Result<Operator> {
        Ok(Operator { wire: Wire::open(self.address, TOKEN).await? })
    }
}

/// Whoever makes the migration and moves it.
#[derive(Debug)]
pub(crate) struct Operator {
    wire: Wire,
}

/// A step that was begun.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The revision that was published first.
    pub(crate) revision: u64,
    /// When it was asked for.
    pub(crate) at: Instant,
}

/// Where a step shall lead.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    Ramp(Stage, Share),
    Back,
}

impl Operator {
    async fn post(&mut self, path: &str, body: &impl Serialize) -> anyhow::Result<Vec<u8>> {
        self.wire.post(path, &serde_json::to_vec(body)?).await?.good()
    }

    pub(crate) async fn make(&mut self, stage: Stage) -> anyhow::Result<()> {
        let request = CreateRequest { plan: PlanSpec::at(MIGRATION, stage), bypassing_writers: Vec::new() };
        self.post("/v1/migrations", &request).await.map(drop)
    }

    pub(crate) async fn status(&mut self) -> anyhow::Result<Status> {
        let answer = self.wire.request("GET", &format!("/v1/migrations/{MIGRATION}"), b"").await?;
        Ok(serde_json::from_slice(&answer.good()?)?)
    }

    /// Waits until no step is under way.
    pub(crate) async fn settled(&mut self) -> anyhow::Result<Status> {
        let ends = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status().await?;
            if status.step.is_none() {
                return Ok(status);
            }
            ensure!(Instant::now() < ends, "the step does not end: {:?}", status.step);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Begins a step when the last one has ended.
    pub(crate) async fn step(&mut self, goal: Goal) -> anyhow::Result<Begun> {
        let if_revision = self.settled().await?.publication.revision;
        let (path, body) = match goal {
            Goal::Ramp(stage, percent) => {
                let wish = RampRequest { stage, percent, pins: None, if_revision, confirm: None };
                ("ramp", serde_json::to_vec(&wish)?)
            }
            Goal::Back => {
                let wish = RollbackRequest { if_revision, force: false, confirm: None };
                ("rollback", serde_json::to_vec(&wish)?)
            }
        };
        let at = Instant::now();
        let answer = self.wire.post(&format!("/v1/migrations/{MIGRATION}/{path}"), &body).await?.good()?;
        let answer: StepAnswer = serde_json::from_slice(&answer)?;
        ensure!(answer.status.publication.revision != if_revision, "nothing was published");
        Ok(Begun { revision: if_revision.0.number + 1, at })
    }

    /// A run of the data side that finds what a gate wants: no row of this migration exists.
    pub(crate) async fn run(&mut self, kind: InstanceKind, outcome: Outcome) -> anyhow::Result<()> {
        let instance = format!("{}-run", kind.name());
        let instances = format!("/v1/migrations/{MIGRATION}/instances");
        let (host, version) = (String::new(), String::new());
        let joining = Registration {
            instance: instance.clone(),
            kind,
            host,
            version,
            holding: None,
            seen: None,
            tables: None,
            sides: Vec::new(),
        };
        self.post(&instances, &joining).await?;
        let ends = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.wire.post(&format!("{instances}/{instance}/begin"), b"").await?;
            match answer.status {
                200 => break,
                // Full checks have to be acknowledged first.
                409 if Instant::now() < ends => tokio::time::sleep(Duration::from_millis(20)).await,
                status => bail!("a run is refused: {status} {}", String::from_utf8_lossy(&answer.body)),
            }
        }
        let end = RunEnd { outcome, marks: MarkChange::default(), progress: None };
        self.post(&format!("{instances}/{instance}/end"), &end).await?;
        self.post(&format!("{instances}/{instance}/goodbye"), &Departure::default()).await.map(drop)
    }

    /// Everything that the gate before the cut-over asks for.
    pub(crate) async fn open_the_gate(&mut self) -> anyhow::Result<()> {
        self.run(InstanceKind::Backfill, Outcome::Complete).await?;
        self.run(InstanceKind::Verify, Outcome::Verdict(Verdict::Verified)).await
    }
}
