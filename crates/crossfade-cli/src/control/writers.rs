//! Declared writers that bypass the library: cron jobs, triggers, other services.

use super::client::path;
use super::{Out, Reach};
use crate::say::Failure;
use clap::Subcommand;
use crossfade_api::exit::Exit;
use crossfade_api::wire::{Status, WriterRequest};
use serde_json::json;

/// `crossfade writers`.
#[derive(Debug, clap::Args)]
pub(crate) struct WritersArgs {
    /// The migration.
    id: String,
    #[command(subcommand)]
    act: Option<WritersAct>,
    #[command(flatten)]
    reach: Reach,
}

/// What an operator states of a writer.
#[derive(Debug, Subcommand)]
pub(crate) enum WritersAct {
    /// States that a writer writes no more to either database.
    Pause {
        /// The writer, as it was declared.
        writer: String,
    },
    /// States that a writer may write again.
    Resume {
        /// The writer, as it was declared.
        writer: String,
        /// The migration's name, when authority has moved: the writer would write the side that has lost it.
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
}

pub(super) async fn writers(args: WritersArgs, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    let asked = match args.act {
        None => client.status(&args.id).await,
        Some(WritersAct::Pause { writer }) => {
            let request = WriterRequest { writer, paused: true, confirm: None };
            client.post::<Status>(&path(&args.id, "/writers"), &request).await
        }
        Some(WritersAct::Resume { writer, confirm }) => {
            let request = WriterRequest { writer, paused: false, confirm };
            client.post::<Status>(&path(&args.id, "/writers"), &request).await
        }
    };
    match asked {
        Ok(status) => {
            let writing = status.evidence.bypassing_writers;
            let text = if writing.is_empty() {
                "no declared writer writes without the library".to_owned()
            } else {
                format!("not paused: {}", writing.join(", "))
            };
            out.result(json!({ "writing": writing }), &text);
            Ok(Exit::Done)
        }
        Err(refused) => refused.end(out),
    }
}
