//! The data side on the command line: `init`, `check`, `backfill`, `verify`, `repair`. They work on `crossfade.toml` alone;
//! where a control plane is named, runs register with it.
//!
//! Each command is arguments, then a run that returns its exit code. What a person reads goes to stderr while it runs; with `--json` every line of
//! stdout is a JSON object with `event`, and the last has `"event":"result"`.

mod backfill;
mod check;
mod init;
mod opening;
mod output;
pub(crate) mod plane;
mod repair;
mod verify;

pub(crate) use backfill::BackfillArgs;
pub(crate) use check::CheckArgs;
pub(crate) use init::InitArgs;
pub(crate) use repair::RepairArgs;
pub(crate) use verify::VerifyArgs;

use crossfade_api::exit::Exit;

use crate::Global as Context;

/// A command of the data side, ready to run.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// `crossfade init`
    Init(InitArgs),
    /// `crossfade check`
    Check(CheckArgs),
    /// `crossfade backfill ID`
    Backfill(BackfillArgs),
    /// `crossfade verify ID`
    Verify(VerifyArgs),
    /// `crossfade repair ID`
    Repair(RepairArgs),
}

/// Runs a command to its exit code; everything worth saying has been said.
pub(crate) async fn run(command: Command, context: &Context) -> Exit {
    match command {
        Command::Init(args) => init::run(args, context).await,
        Command::Check(args) => check::run(args, context).await,
        Command::Backfill(args) => backfill::run(args, context).await,
        Command::Verify(args) => verify::run(args, context).await,
        Command::Repair(args) => repair::run(args, context).await,
    }
}
