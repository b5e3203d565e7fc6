//! Steps: asked for with the revision that was looked at, and followed until everybody has acknowledged.

use super::client::{Client, Refused, path};
use super::{Out, Reach};
use crate::say::Failure;
use crossfade_api::exit::Exit;
use crossfade_api::wire::{AutoRequest, Preview, RampRequest, RetireRequest, RollbackRequest, Status, StepAnswer};
use crossfade_core::{Share, Stage};
use serde_json::json;
use std::time::Duration;

/// How a step is followed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Follow {
    /// Gives up waiting after so many seconds; the step itself goes on.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    wait: u64,
    /// Shows what the step would do, and takes none.
    #[arg(long)]
    dry_run: bool,
}

/// `crossfade ramp`.
#[derive(Debug, clap::Args)]
pub(crate) struct RampArgs {
    /// The migration.
    id: String,
    /// off, dual-write, shadow, live, ramp-down or complete.
    stage: Stage,
    /// The share of the keys that shall be there, at most three decimals.
    #[arg(default_value = "100")]
    percent: Share,
    /// The migration's name, where the step cannot be taken back.
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    reach: Reach,
}

/// `crossfade rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct RollbackArgs {
    /// The migration.
    id: String,
    /// Without the gate, when the new authority is down: writes may be lost.
    #[arg(long)]
    force: bool,
    /// The migration's name, when it is forced.
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    follow: Follow,
    #[command(flatten)]
    reach: Reach,
}

/// `crossfade auto`.
#[derive(Debug, clap::Args)]
pub(crate) struct AutoArgs {
    /// The migration.
    id: String,
    /// The stage at which it ends; never complete.
    #[arg(long, default_value = "live")]
    until: Stage,
    /// The shares of each edge.
    #[arg(long, value_delimiter = ',', default_value = "1,5,25,50,100")]
    percents: Vec<Share>,
    /// How many seconds each share stands.
    #[arg(long, default_value_t = 600)]
    dwell: u64,
    /// Reads that may differ while a share stands.
    #[arg(long, default_value_t = 0)]
    max_mismatched: u64,
    /// Ends the guarded rollout where it is.
    #[arg(long)]
    stop: bool,
    #[command(flatten)]
    reach: Reach,
}

/// `crossfade pause` and `resume`.
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// The migration.
    id: String,
    #[command(flatten)]
    reach: Reach,
}

/// `crossfade retire`.
#[derive(Debug, clap::Args)]
pub(crate) struct RetireArgs {
    /// The migration.
    id: String,
    /// The migration's name.
    #[arg(long, value_name = "NAME")]
    confirm: String,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn ramp(args: RampArgs, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    let RampArgs { id, stage, percent, confirm, follow, .. } = args;
    let asked = async {
        let seen = client.status(&id).await?;
        let request = RampRequest { stage, percent, pins: None, if_revision: seen.publication.revision, confirm };
        if follow.dry_run {
            let preview = client.post(&path(&id, "/ramp/preview"), &request).await?;
            return Ok(Asked::Preview(preview));
        }
        client.post(&path(&id, "/ramp"), &request).await.map(Asked::step)
    };
    end(&client, &id, asked.await, &follow, out).await
}

pub(super) async fn rollback(args: RollbackArgs, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    let RollbackArgs { id, force, confirm, follow, .. } = args;
    let asked = async {
        if follow.dry_run {
            return client.get(&path(&id, "/rollback/preview")).await.map(Asked::Preview);
        }
        let seen = client.status(&id).await?;
        let request = RollbackRequest { if_revision: seen.publication.revision, force, confirm };
        client.post(&path(&id, "/rollback"), &request).await.map(Asked::step)
    };
    end(&client, &id, asked.await, &follow, out).await
}

enum Asked {
    Preview(Preview),
    Step(Box<StepAnswer>),
}

impl Asked {
    fn step(answer: StepAnswer) -> Asked {
        Asked::Step(Box::new(answer))
    }
}

async fn end(
    client: &Client,
    id: &str,
    asked: Result<Asked, Refused>,
    follow: &Follow,
    out: Out,
) -> Result<Exit, Failure> {
    match asked {
        Ok(Asked::Preview(preview)) => Ok(show(&preview, out)),
        Ok(Asked::Step(answer)) => match waited(client, id, *answer, follow, out).await {
            Ok(exit) => Ok(exit),
            Err(refused) => refused.end(out),
        },
        Err(refused) => refused.end(out),
    }
}

fn show(preview: &Preview, out: Out) -> Exit {
    let mut text = format!("to {} by {}", preview.goal, preview.revisions.join(", "));
    for effect in &preview.effects {
        text.push_str(&format!("\n  {effect}"));
    }
    if let Some(bound) = preview.held_at_most_ms {
        text.push_str(&format!("\n  held for {bound} ms at the most, then given up"));
    }
    text.push_str(&format!("\n  way back: {}", preview.way_back));
    for blocker in &preview.gate.blockers {
        text.push_str(&format!("\n  blocked: {}: {}", blocker.code, blocker.detail));
    }
    for caution in &preview.gate.cautions {
        text.push_str(&format!("\n  caution: {caution}"));
    }
    out.result(serde_json::to_value(preview).unwrap_or_default(), &text);
    if preview.gate.go { Exit::Done } else { Exit::Refused }
}

/// Follows a step to its end, and says for whom it waits.
async fn waited(client: &Client, id: &str, answer: StepAnswer, follow: &Follow, out: Out) -> Result<Exit, Refused> {
    let until = tokio::time::Instant::now() + Duration::from_secs(follow.wait);
    let mut status = answer.status;
    let mut said = String::new();
    loop {
        let Some(step) = status.step.as_ref().filter(|step| step.step == answer.step) else {
            return Ok(ended(&status, answer.step, out));
        };
        let waits: Vec<&str> =
            step.waiting_for.iter().chain(&step.waiting_also).chain(&status.waiting_for).map(String::as_str).collect();
        let waits = if waits.is_empty() { String::new() } else { format!(", waits for {}", waits.join(", ")) };
        let text = format!(
            "{} ({}): revision {}, {} of {} acknowledged{waits}",
            step.goal, step.phase, status.publication.revision, status.acknowledged, status.instances
        );
        if text != said {
            let value = json!({
                "step": step, "revision": status.publication.revision,
                "acknowledged": status.acknowledged, "instances": status.instances,
            });
            out.event("progress", value, &text);
            said = text;
        }
        if tokio::time::Instant::now() >= until {
            let value = json!({ "complete": false, "step": step, "waiting-for": status.waiting_for });
            out.result(value, "the step goes on; see `crossfade status`");
            return Ok(Exit::Unknown);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = client.status(id).await?;
    }
}

fn ended(status: &Status, step: u64, out: Out) -> Exit {
    let abandoned = status.last_step.as_ref().filter(|last| last.step == step).and_then(|last| last.abandoned.clone());
    let value = json!({
        "complete": abandoned.is_none(), "step": step, "position": status.position,
        "revision": status.publication.revision, "abandoned": abandoned,
    });
    match &abandoned {
        None => {
            out.result(value, &format!("{} is at {}", status.migration, status.position));
            Exit::Done
        }
        Some(why) => {
            out.result(value, &format!("given up, {} is at {}: {why}", status.migration, status.position));
            Exit::Refused
        }
    }
}

pub(super) async fn auto(args: AutoArgs, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    let request = AutoRequest {
        until: args.until,
        percents: args.percents,
        dwell_ms: args.dwell.saturating_mul(1_000),
        max_mismatched: args.max_mismatched,
        max_slower_percent: 300,
        max_failing_permille: 10,
    };
    let asked: Result<(), Refused> = if args.stop {
        client.delete(&path(&args.id, "/auto")).await
    } else {
        client.post::<Status>(&path(&args.id, "/auto"), &request).await.map(drop)
    };
    match asked {
        Ok(()) => match client.status(&args.id).await {
            Ok(status) => {
                let note = status.auto.as_ref().map_or("no guarded rollout", |auto| auto.note.as_str()).to_owned();
                out.result(json!({ "auto": status.auto }), &note);
                Ok(Exit::Done)
            }
            Err(refused) => refused.end(out),
        },
        Err(refused) => refused.end(out),
    }
}

pub(super) async fn pause(args: PauseArgs, paused: bool, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    let what = if paused { "/pause" } else { "/resume" };
    match client.post::<Status>(&path(&args.id, what), &()).await {
        Ok(status) => {
            let text = if status.paused { "paused: steps wait until `crossfade resume`" } else { "steps may be taken" };
            out.result(json!({ "paused": status.paused }), text);
            Ok(Exit::Done)
        }
        Err(refused) => refused.end(out),
    }
}

pub(super) async fn retire(args: RetireArgs, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    let asked = async {
        let seen = client.status(&args.id).await?;
        let request = RetireRequest { if_revision: seen.publication.revision, confirm: args.confirm };
        client.post::<Status>(&path(&args.id, "/retire"), &request).await
    };
    match asked.await {
        Ok(status) => {
            let text = format!("{} is retired: replace the migrating DAO by the target's", status.migration);
            out.result(json!({ "retired": status.retired }), &text);
            Ok(Exit::Done)
        }
        Err(refused) => refused.end(out),
    }
}
