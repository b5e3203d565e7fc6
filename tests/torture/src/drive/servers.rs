//! Databases of the run's own, to be killed and started again.

use super::fleet::Process;
use super::world::Ground;
use anyhow::{Context, bail};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

pub(crate) struct Database {
    /// Past the proxy.
    pub(crate) url: String,
    kind: Kind,
}

enum Kind {
    /// A server of `tests/servers`: its name there, and its folder.
    Server { name: &'static str, folder: String },
    /// A process of this program.
    Dynamo(Box<Endpoint>),
}

/// What starts it again, and it itself.
struct Endpoint {
    ground: Ground,
    arguments: Vec<String>,
    running: tokio::sync::Mutex<Option<Process>>,
    /// Removed with it.
    _folder: tempfile::TempDir,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../servers")
}

impl Database {
    /// A server of `tests/servers` by its name there, which ends with this process. All of them keep what they have
    /// acknowledged through a kill.
    pub(crate) async fn server(name: &'static str) -> anyhow::Result<Database> {
        let owner = std::process::id().to_string();
        let said = Command::new(script()).args(["start", "--only", name, "--owner", &owner]).output().await;
        let said = said.context("tests/servers cannot be run")?;
        if !said.status.success() {
            bail!("no database: {}", String::from_utf8_lossy(&said.stderr));
        }
        let exports = String::from_utf8_lossy(&said.stdout).into_owned();
        let of = |what: &str| {
            let found = exports.lines().find_map(|line| line.strip_prefix(&format!("export {what}=")));
            found.map(|text| text.replace(['\\', '\''], "")).with_context(|| format!("tests/servers told no {what}"))
        };
        let kind = Kind::Server { name, folder: of("CROSSFADE_TEST_SERVERS")? };
        Ok(Database { url: of(&format!("CROSSFADE_TEST_{}", name.to_uppercase()))?, kind })
    }

    /// A DynamoDB endpoint that ends with this process.
    pub(crate) async fn dynamo(ground: &Ground) -> anyhow::Result<Database> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        // In memory where that is a folder too: it outlives its process, and nobody waits for a disk at every write.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
        let data = folder.path().join("dynamo.db").display().to_string();
        let arguments = ["dynamo", "--listen", &address.to_string(), "--data", &data].map(str::to_owned).to_vec();
        let running = tokio::sync::Mutex::default();
        let endpoint = Endpoint { ground: ground.clone(), arguments, running, _folder: folder };
        let database = Database { url: format!("dynamodb://{address}/"), kind: Kind::Dynamo(Box::new(endpoint)) };
        database.restart().await?;
        Ok(database)
    }

    /// The password in its URL: it belongs in no log.
    pub(crate) fn password(&self) -> Option<&str> {
        self.url.rsplit_once('@')?.0.rsplit_once(':').map(|(_, password)| password)
    }

    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let after = self.url.rsplit_once("://").context("a URL without a host")?.1;
        let host = after.rsplit_once('@').map_or(after, |(_, host)| host);
        let host = host.split('/').next().unwrap_or_default();
        host.parse().with_context(|| format!("`{host}` is no address"))
    }

    /// The same database through another port.
    pub(crate) fn url_by(&self, port: u16) -> anyhow::Result<String> {
        Ok(self.url.replace(&format!(":{}/", self.address()?.port()), &format!(":{port}/")))
    }

    pub(crate) async fn kill(&self) -> anyhow::Result<()> {
        match &self.kind {
            Kind::Server { name, folder } => order(&["kill", name, folder]).await,
            Kind::Dynamo(endpoint) => {
                if let Some(mut process) = endpoint.running.lock().await.take() {
                    process.kill().await;
                }
                Ok(())
            }
        }
    }

    pub(crate) async fn restart(&self) -> anyhow::Result<()> {
        match &self.kind {
            Kind::Server { name, folder } => order(&["restart", name, folder]).await,
            Kind::Dynamo(endpoint) => {
                let mut process = Process::start(&endpoint.ground, "dynamo", &endpoint.arguments)?;
                process.said(Duration::from_secs(30)).await?;
                *endpoint.running.lock().await = Some(process);
                Ok(())
            }
        }
    }

    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        match &self.kind {
            Kind::Server { folder, .. } => order(&["stop", folder]).await,
            Kind::Dynamo(_) => self.kill().await,
        }
    }
}

async fn order(words: &[&str]) -> anyhow::Result<()> {
    let said = Command::new(script()).args(words).output().await.context("tests/servers cannot be run")?;
    if !said.status.success() {
        bail!("tests/servers {}: {}", words.join(" "), String::from_utf8_lossy(&said.stderr));
    }
    Ok(())
}
