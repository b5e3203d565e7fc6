//! Private servers with the table of the measurements, and a folder with the configurations.

use super::command::{Took, timed};
use super::dynamo;
use super::jobs::Job;
use super::peers::Peers;
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) peers: Peers,
    crossfade: PathBuf,
    folder: tempfile::TempDir,
    /// Two databases of one server.
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) mysql: String,
}

/// The repository: scripts are there, and nowhere else.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Vacuumed by hand: the server's own would begin in the middle of whoever is slower.
const TABLE: &str = "CREATE TABLE t (id bigint PRIMARY KEY, user_id text NOT NULL, kind text NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL) WITH (autovacuum_enabled = off)";

impl Lab {
    /// Starts servers that end with this process, and installs the peers that the jobs need.
    pub(crate) fn new(jobs: &[Job]) -> anyhow::Result<Lab> {
        // Debug or release as this process: what is measured is what was asked for.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(repository()).args(["build", "--quiet", "-p", "crossfade-cli"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        timed(&mut cargo, &[0])?;
        let beside = std::env::current_exe()?.with_file_name("crossfade");
        let owner = std::process::id().to_string();
        let mut servers = Command::new(repository().join("tests/servers"));
        let started = timed(servers.args(["start", "--only", "postgres,mysql", "--owner", &owner]), &[0])?.output;
        let exported = |name: &str| {
            let line = started.lines().find_map(|line| line.trim().strip_prefix(&format!("export {name}=")));
            let url = line.with_context(|| format!("tests/servers start says nothing of {name}"))?;
            anyhow::Ok(url.trim_matches(['\'', '"', ';']).to_owned())
        };
        let (postgres, mysql) = (exported("CROSSFADE_TEST_POSTGRES")?, exported("CROSSFADE_TEST_MYSQL")?);
        for database in ["bench_source", "bench_target"] {
            psql(&postgres, &format!("CREATE DATABASE {database}"))?;
        }
        let database = |name: &str| {
            let (server, _) = postgres.rsplit_once('/').context("the URL of PostgreSQL names no database")?;
            anyhow::Ok(format!("{server}/{name}"))
        };
        let lab = Lab {
            peers: Peers::install(jobs)?,
            crossfade: beside,
            folder: tempfile::tempdir()?,
            source: database("bench_source")?,
            target: database("bench_target")?,
            mysql,
        };
        Ok(lab)
    }

    /// Makes the rows of the source, and nothing in any target.
    pub(crate) fn fill(&self, rows: u64) -> anyhow::Result<()> {
        psql(
            &self.source,
            &format!(
                "{TABLE}; INSERT INTO t SELECT i, 'user-' || i % 5000, (ARRAY['click', 'view', 'buy'])[i % 3 + 1], \
                 jsonb_build_object('n', i, 'page', md5(i::text), 'from', md5((i * 7)::text), 'agent', repeat('x', 60), 'new', i % 2 = 0), \
                 timestamptz '2024-01-01' + i * interval '1 second' FROM generate_series(1, {rows}) i"
            ),
        )?;
        psql(&self.source, "VACUUM ANALYZE t")?;
        psql(&self.target, TABLE)
    }

    /// An empty target; the last one's pages are on disk and out of the way.
    pub(crate) fn empty_target(&self) -> anyhow::Result<()> {
        psql(&self.target, "TRUNCATE t")?;
        psql(&self.target, "CHECKPOINT")
    }

    /// Runs `crossfade COMMAND m ARGUMENTS --json` with the source and this target, and returns its result too.
    pub(crate) fn crossfade(
        &self,
        target: &str,
        command: &str,
        arguments: &[&str],
        lawful: &[i32],
    ) -> anyhow::Result<(Took, Value)> {
        let file = self.folder.path().join("crossfade.toml");
        let table = if target.starts_with("dynamodb:") { dynamo::TABLE } else { "t" };
        let text = format!(
            "[migration.m]\nsource = {:?}\ntarget = {target:?}\n[migration.m.table.t]\ntarget = {table:?}\ncohort = [\"user_id\"]\n",
            self.source
        );
        fs::write(&file, text)?;
        let mut run = Command::new(&self.crossfade);
        run.current_dir(self.folder.path()).args([command, "m", "--json"]).args(arguments);
        let took = timed(&mut run, lawful)?;
        let last = took.output.lines().last().unwrap_or_default();
        let result: Value = serde_json::from_str(last).with_context(|| format!("crossfade {command} said: {last}"))?;
        ensure!(result["event"] == "result", "crossfade {command} ended with: {last}");
        Ok((took, result))
    }

    /// A fresh file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Runs statements, one transaction each.
pub(crate) fn psql(url: &str, sql: &str) -> anyhow::Result<()> {
    timed(Command::new("psql").args(["-qXv", "ON_ERROR_STOP=1", url, "-c", sql]), &[0]).map(drop)
}
