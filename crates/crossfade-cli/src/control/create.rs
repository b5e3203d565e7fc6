//! `crossfade create`: a migration without tables of `crossfade.toml`, for a DAO whose layout only its application knows.

use super::client::{Refused, path};
use super::{Out, Reach};
use crate::say::Failure;
use crossfade_api::exit::Exit;
use crossfade_api::problem::Code;
use crossfade_api::wire::{CreateRequest, Status};
use crossfade_core::{PlanSpec, Stage};
use serde_json::json;

/// `crossfade create`.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The migration: the id that the application gives to its builder.
    id: String,
    /// Mixed into the hash of cohort keys, fixed for the whole migration [default: the id].
    #[arg(long, value_name = "TEXT")]
    salt: Option<String>,
    /// The application has operations over keys that cannot be split: authority moves for all keys in one step.
    #[arg(long)]
    whole: bool,
    /// A writer that bypasses the library (a cron job, a trigger): gates ask for its pause. May be repeated.
    #[arg(long = "writer", value_name = "NAME")]
    writers: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn create(args: CreateArgs, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    let CreateArgs { id, salt, whole, writers, .. } = args;
    let plan = PlanSpec { salt, whole, ..PlanSpec::at(&id, Stage::Off) };
    let request = CreateRequest { plan, bypassing_writers: writers };
    let asked = async {
        let existed = match client.get::<Status>(&path(&id, "")).await {
            Ok(_) => true,
            Err(Refused::Problem(problem)) if problem.code == Code::NotFound => false,
            Err(refused) => return Err(refused),
        };
        // Of two commands at once, the server decides: the same declaration again changes nothing, another is refused.
        let status = client.post::<Status>("/v1/migrations?new=true", &request).await?;
        Ok((status, !existed))
    };
    match asked.await {
        Ok((status, created)) => {
            let position = &status.position;
            let text = if created {
                format!("{id} is created, at {position}: start the application, then `crossfade ramp {id} dual-write`")
            } else {
                format!("{id} exists with these properties, at {position}: nothing was changed")
            };
            let spec = &status.publication.plan;
            let value = json!({
                "migration": id,
                "created": created,
                "position": position,
                "revision": status.publication.revision,
                "salt": spec.salt.as_deref().unwrap_or(&id),
                "whole": spec.whole,
                "bypassing-writers": request.bypassing_writers,
            });
            out.result(value, &text);
            Ok(Exit::Done)
        }
        Err(refused) => refused.end(out),
    }
}
