//! Databases of the run's own, to be killed and started again.

use anyhow::{Context, bail};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::process::Command;

pub(crate) struct Database {
    folder: String,
    /// Past the proxy.
    pub(crate) url: String,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../servers")
}

impl Database {
    /// A PostgreSQL server that ends with this process.
    pub(crate) async fn start() -> anyhow::Result<Database> {
        let owner = std::process::id().to_string();
        let said = Command::new(script()).args(["start", "--only", "postgres", "--owner", &owner]).output().await;
        let said = said.context("tests/servers cannot be run")?;
        if !said.status.success() {
            bail!("no database: {}", String::from_utf8_lossy(&said.stderr));
        }
        let exports = String::from_utf8_lossy(&said.stdout).into_owned();
        let of = |name: &str| {
            let found = exports.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            found.map(|text| text.replace(['\\', '\''], "")).with_context(|| format!("tests/servers told no {name}"))
        };
        Ok(Database { folder: of("CROSSFADE_TEST_SERVERS")?, url: of("CROSSFADE_TEST_POSTGRES")? })
    }

    /// The password in its URL: it belongs in no log.
    pub(crate) fn password(&self) -> Option<&str> {
        self.url.rsplit_once('@')?.0.rsplit_once(':').map(|(_, password)| password)
    }

    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let after = self.url.rsplit_once('@').context("a URL without a host")?.1;
        let host = after.split('/').next().unwrap_or_default();
        host.parse().with_context(|| format!("`{host}` is no address"))
    }

    /// The same database through another port.
    pub(crate) fn url_by(&self, port: u16) -> anyhow::Result<String> {
        Ok(self.url.replace(&format!(":{}/", self.address()?.port()), &format!(":{port}/")))
    }

    async fn order(&self, what: &str) -> anyhow::Result<()> {
        let said = Command::new(script()).args([what, "postgres", &self.folder]).output().await;
        let said = said.context("tests/servers cannot be run")?;
        if !said.status.success() {
            bail!("tests/servers {what}: {}", String::from_utf8_lossy(&said.stderr));
        }
        Ok(())
    }

    pub(crate) async fn kill(&self) -> anyhow::Result<()> {
        self.order("kill").await
    }

    pub(crate) async fn restart(&self) -> anyhow::Result<()> {
        self.order("restart").await
    }

    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        let said = Command::new(script()).args(["stop", &self.folder]).output().await;
        said.context("tests/servers cannot be run").map(drop)
    }
}
