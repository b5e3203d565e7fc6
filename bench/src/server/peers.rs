//! Other OFREP servers, installed into the target folder when a job needs them.

use super::lab::Process;
use crate::transfer::command::timed;
use crate::transfer::lab::repository;
use anyhow::ensure;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The version that was looked at, with uvicorn, uvloop and httptools.
const FAST_FEATURE: &str = "fast-feature[standalone]==0.0.2";

/// Six flags in memory, each a percentage rollout by the targeting key, and no line of log per request.
const SERVE: &str = r#"
import sys, uvicorn
from fastapi import FastAPI
from fast_feature.core import Flag
from fast_feature.ofrep import OfrepRouter
from fast_feature.storage.inmemory import InMemoryFlagRepository
halves = {"fractional": [["shadow", 50], ["dual-write", 50]]}
names = ["stage", "authority", "write-source", "read-source", "write-target", "read-target"]
variants = {"shadow": "shadow", "dual-write": "dual-write"}
flags = [Flag(f"bench.{name}", variants, "dual-write", targeting=halves) for name in names]
app = FastAPI()
app.include_router(OfrepRouter.build(InMemoryFlagRepository(flags)))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
"#;

/// A server of `fast-feature`, one process.
#[derive(Debug)]
pub(crate) struct FastFeature {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl FastFeature {
    pub(crate) fn install() -> anyhow::Result<PathBuf> {
        let python = repository().join("target/tools/bench-ofrep");
        if !python.join("bin/uvicorn").exists() {
            timed(Command::new("python3").args(["-m", "venv"]).arg(&python), &[0])?;
            timed(Command::new(python.join("bin/pip")).args(["--quiet", "install", FAST_FEATURE]), &[0])?;
        }
        Ok(python.join("bin/python"))
    }

    /// Returns when it answers.
    pub(crate) async fn start() -> anyhow::Result<FastFeature> {
        let python = FastFeature::install()?;
        // Free a moment ago; the server takes it again.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut serve = Command::new(python);
        serve.args(["-c", SERVE, &address.port().to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process(serve.spawn()?);
        for _ in 0..600 {
            if TcpStream::connect(address).is_ok() {
                return Ok(FastFeature { process, address });
            }
            ensure!(process.0.try_wait()?.is_none(), "fast-feature ended before it listened");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("fast-feature does not listen")
    }

    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        super::process::cpu_seconds(self.process.0.id())
    }
}
