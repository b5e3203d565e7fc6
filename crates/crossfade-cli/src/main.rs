//! The `crossfade` command: arguments → a validated plan → a run. Each room of `src/` is a group of commands.

mod control;
mod data;
mod demo;
mod say;

use clap::{Parser, Subcommand};
use crossfade_api::exit::Exit;
use say::Failure;
use std::process::ExitCode;

/// Moves a live service from one database to another behind feature flags.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// Prints JSON lines, each with `event`; the last has `"event": "result"`.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The file with the migrations.
    #[arg(long, global = true, value_name = "FILE", default_value = "crossfade.toml")]
    pub(crate) config: std::path::PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole story on this machine: a live service moves its events from one database to another.
    Demo(demo::Args),
    Init(data::InitArgs),
    Check(data::CheckArgs),
    Backfill(data::BackfillArgs),
    Verify(data::VerifyArgs),
    Repair(data::RepairArgs),
    #[command(flatten)]
    Control(control::Command),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; everything else is wrong usage, which clap too ends with 2.
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // Nobody is left to hear that the terminal is gone.
            let _gone = error.print();
            return code.into();
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(Exit::Failed, anyhow::Error::from(error)).show(cli.global.json),
    };
    let json = cli.global.json;
    let done = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(&cli.global, args).await,
            Command::Init(args) => Ok(data::run(data::Command::Init(args), &cli.global).await),
            Command::Check(args) => Ok(data::run(data::Command::Check(args), &cli.global).await),
            Command::Backfill(args) => Ok(data::run(data::Command::Backfill(args), &cli.global).await),
            Command::Verify(args) => Ok(data::run(data::Command::Verify(args), &cli.global).await),
            Command::Control(command) => control::run(command, &cli.global).await,
            Command::Repair(args) => Ok(data::run(data::Command::Repair(args), &cli.global).await),
        }
    });
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => failure.show(json),
    }
}
