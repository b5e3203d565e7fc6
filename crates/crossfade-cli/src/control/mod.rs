//! The control plane from the shell: serving it, and moving migrations through it.
//!
//! Arguments become a request, the request a step, and the step is followed to its end; a refusal names what blocks.

pub(crate) mod client;
mod create;
mod look;
mod serve;
mod step;
mod tokens;
mod watch;
mod writers;

use crate::Global;
use crate::say::Failure;
use clap::Subcommand;
use client::Client;
use crossfade_api::exit::Exit;
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;

pub(crate) use create::CreateArgs;
pub(crate) use look::{HistoryArgs, InstancesArgs, StatusArgs};
pub(crate) use serve::ServeArgs;
pub(crate) use step::{AutoArgs, PauseArgs, RampArgs, RetireArgs, RollbackArgs};
pub(crate) use tokens::TokenArgs;
pub(crate) use writers::WritersArgs;

/// Where the control plane is, and what to show it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Reach {
    /// The control plane.
    #[arg(long, value_name = "URL", env = "CROSSFADE_SERVER", default_value = "http://127.0.0.1:7420")]
    server: String,
    /// A file with the token; without it the variable CROSSFADE_TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Commands of the control plane.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The control plane: plans, instances, gates, flags.
    Serve(Box<ServeArgs>),
    /// Make a migration at off, without tables of `crossfade.toml`: its application moves the rows by itself.
    Create(CreateArgs),
    /// Where migrations stand.
    Status(StatusArgs),
    /// Towards the next stage, for a share of the keys.
    Ramp(RampArgs),
    /// Empties an open ramp, otherwise back by one edge.
    Rollback(RollbackArgs),
    /// The guarded rollout: from share to share while the numbers hold.
    Auto(AutoArgs),
    /// Refuses steps until `resume`; the guarded rollout waits.
    Pause(PauseArgs),
    /// Allows steps again.
    Resume(PauseArgs),
    /// Who runs a migration, and what they have acknowledged.
    Instances(InstancesArgs),
    /// Declared writers that bypass the library: which are not paused, and what you state of them.
    Writers(WritersArgs),
    /// Who did what, when.
    History(HistoryArgs),
    /// Ends a migration, once every instance runs at complete.
    Retire(RetireArgs),
    /// Issues, lists and revokes tokens.
    Token(TokenArgs),
}

/// Runs one.
pub(crate) async fn run(command: Command, global: &Global) -> Result<Exit, Failure> {
    let out = Out { json: global.json };
    match command {
        Command::Serve(args) => serve::serve(*args, global, out).await,
        Command::Create(args) => create::create(args, out).await,
        Command::Status(args) => look::status(args, out).await,
        Command::Ramp(args) => step::ramp(args, out).await,
        Command::Rollback(args) => step::rollback(args, out).await,
        Command::Auto(args) => step::auto(args, out).await,
        Command::Pause(args) => step::pause(args, true, out).await,
        Command::Resume(args) => step::pause(args, false, out).await,
        Command::Instances(args) => look::instances(args, out).await,
        Command::Writers(args) => writers::writers(args, out).await,
        Command::History(args) => look::history(args, out).await,
        Command::Retire(args) => step::retire(args, out).await,
        Command::Token(args) => tokens::token(args, out).await,
    }
}

/// Lines for people, or JSON lines for machines.
#[derive(Debug, Clone, Copy)]
struct Out {
    json: bool,
}

impl Out {
    /// Something happened.
    fn event(self, event: &str, value: serde_json::Value, text: &str) {
        let mut out = std::io::stdout().lock();
        // A closed pipe is the reader's decision; the exit code still tells.
        let _ = if self.json {
            let mut line = json!({ "event": event });
            if let (Some(line), serde_json::Value::Object(fields)) = (line.as_object_mut(), value) {
                line.extend(fields);
            }
            writeln!(out, "{line}")
        } else if text.is_empty() {
            Ok(())
        } else {
            writeln!(out, "{text}")
        };
        let _ = out.flush();
    }

    /// The last line.
    fn result(self, value: serde_json::Value, text: &str) {
        self.event("result", value, text);
    }
}

impl Reach {
    fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.server, self.token_file.as_deref())
    }
}
