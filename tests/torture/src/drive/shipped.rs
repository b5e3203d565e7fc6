//! The runs of the data side as an operator begins them: the `crossfade` command, between databases that it can read.

use super::fleet::Process;
use super::world::World;
use super::{LINGER_MS, Pair};
use crate::dao::TABLES;
use crate::plane::MIGRATION;
use crate::roles::data::Kind;
use anyhow::Context;
use std::fmt::Write;
use std::path::PathBuf;

/// The command, where it can do the runs of this world.
pub(crate) struct Shipped {
    program: PathBuf,
    file: PathBuf,
}

impl Shipped {
    /// Writes the command's configuration. None where a target has a layout that only the application knows; then runs go
    /// by the rows of the DAOs.
    pub(super) fn new(world: &World, pair: Pair) -> anyhow::Result<Option<Shipped>> {
        let by_columns = matches!(pair, Pair::Postgres | Pair::Mariadb);
        if !by_columns || world.ground.broken.is_some() {
            return Ok(None);
        }
        let program = std::env::current_exe()?.with_file_name("crossfade");
        anyhow::ensure!(program.exists(), "{} is not there: cargo build --bin crossfade", program.display());
        let url = |place: usize| {
            let url = world.databases[place].url_by(world.proxies[place].port)?;
            let next = if url.contains('?') { '&' } else { '?' };
            // Its linger is twice that.
            Ok::<_, anyhow::Error>(format!("{url}{next}write_timeout_ms={}", LINGER_MS / 2))
        };
        let mut text = format!("[migration.{MIGRATION}]\nsource = \"{}\"\ntarget = \"{}\"\n", url(0)?, url(1)?);
        for table in TABLES {
            let cohort = if table == "orders" { "count" } else { "cohort" };
            // Dual writes are there before the first backfill, and the application deletes rows meanwhile.
            write!(text, "[migration.{MIGRATION}.table.{table}]\ncohort = [\"{cohort}\"]\nextra = \"delete\"\n")?;
            if pair == Pair::Mariadb {
                // Its columns hold no text of any length; all that the application writes fits.
                for column in ["id", "value", "cohort"] {
                    writeln!(text, "map.{column} = {{ lossy = \"refuse\" }}")?;
                }
            }
        }
        let file = world.ground.folder.join("crossfade.toml");
        std::fs::write(&file, text).context("no file for the command")?;
        Ok(Some(Shipped { program, file }))
    }

    /// `agreed`: rows that one side alone has may be deleted, whatever has happened.
    pub(super) fn start(&self, world: &World, name: &str, kind: Kind, agreed: bool) -> anyhow::Result<Process> {
        let token = world.ground.folder.join("data.token").display().to_string();
        let file = self.file.display().to_string();
        let mut arguments = vec![
            kind.name(),
            MIGRATION,
            "--json",
            "--config",
            &file,
            "--server",
            &world.plane_url,
            "--token-file",
            &token,
        ];
        match (kind, agreed) {
            (Kind::Backfill, true) => arguments.extend(["--restart", "--delete-extra"]),
            (Kind::Repair, true) => arguments.push("--delete-extra"),
            (Kind::Verify, _) | (_, false) => {}
        }
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        Process::start_other(&world.ground, &self.program, name, &arguments)
    }
}
