//! A run of the data side, known to the control plane: backfill, verification or repair, through the rows of the DAO.

use super::Places;
use crate::dao::{MigratingRows, Row, RowId, row_of};
use crate::plane::{MIGRATION, Plane, Trouble};
use clap::{Args, ValueEnum};
use crossfade::repair::reconcile;
use crossfade::rows::{Pace, Progress, RowPair, ScanRows, backfill, verify};
use crossfade::{Migration, Side, plan};
use crossfade_api::problem::Code;
use crossfade_api::wire::{
    Departure, Heartbeat, HeartbeatAnswer, InstanceKind, Instances, MarkChange, MarkRef, MarksPage, Observations,
    Outcome, Registered, Registration, RunEnd, RunTicket,
};
use crossfade_core::{CohortKey, Plan, Stage, Verdict};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Run one piece of work of the data side.
#[derive(Args, Debug, Clone)]
pub(crate) struct DataArgs {
    #[command(flatten)]
    places: Places,
    /// Which.
    #[arg(long)]
    kind: Kind,
    /// Its number among all processes that there ever were.
    #[arg(long)]
    number: u64,
    /// The linger of the stores.
    #[arg(long)]
    linger_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Backfill,
    Verify,
    Repair,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Backfill => "backfill",
            Kind::Verify => "verify",
            Kind::Repair => "repair",
        }
    }

    fn instance(self) -> InstanceKind {
        match self {
            Kind::Backfill => InstanceKind::Backfill,
            Kind::Verify => InstanceKind::Verify,
            Kind::Repair => InstanceKind::Repair,
        }
    }
}

pub(crate) async fn run(args: DataArgs) -> anyhow::Result<()> {
    let plane = Plane::new(&args.places.server, &args.places.token()?);
    let id = format!("{}{}", args.kind.name(), args.number);
    let registration = Registration {
        instance: id.clone(),
        kind: args.kind.instance(),
        host: "here".to_owned(),
        version: "0".to_owned(),
        holding: None,
        seen: None,
    };
    let _registered: Registered = plane.post(&format!("/{MIGRATION}/instances"), &registration).await?;
    let path = |what: &str| format!("/{MIGRATION}/instances/{id}/{what}");
    println!("ready");
    let ticket = match begin(&plane, &path("begin"), &path("heartbeat")).await {
        Ok(ticket) => ticket,
        Err(trouble) => {
            let _gone: Result<(), Trouble> = plane.post(&path("goodbye"), &Departure::default()).await;
            println!("{}", json!({ "outcome": "refused", "why": trouble.to_string() }));
            return Ok(());
        }
    };
    let beating = tokio::spawn(beat(plane.clone(), path("heartbeat"), ticket.clone()));
    let (outcome, marks, told) = work(&args, &plane, &ticket).await;
    let end = RunEnd { outcome, marks, progress: None };
    for _ in 0..40 {
        match plane.post::<()>(&path("end"), &end).await {
            Ok(()) | Err(Trouble::Refused(_)) => break,
            Err(Trouble::Lost(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    beating.abort();
    let _gone: Result<(), Trouble> = plane.post(&path("goodbye"), &Departure::default()).await;
    println!("{told}");
    Ok(())
}

/// Until the plane lets it begin: it may have to turn full checks on first.
async fn begin(plane: &Plane, path: &str, heartbeat: &str) -> Result<RunTicket, Trouble> {
    let mut tries = 0;
    loop {
        match plane.post::<RunTicket>(path, &()).await {
            Ok(ticket) => return Ok(ticket),
            Err(Trouble::Refused(problem))
                if !matches!(problem.code, Code::NotReady | Code::StepUnderWay | Code::Unavailable) || tries > 150 =>
            {
                return Err(Trouble::Refused(problem));
            }
            Err(Trouble::Lost(why)) if tries > 150 => return Err(Trouble::Lost(why)),
            Err(_) => {}
        }
        tries += 1;
        if let Ok(status) = plane.get::<crossfade_api::wire::Status>(&format!("/{MIGRATION}")).await {
            let _heard: Result<HeartbeatAnswer, Trouble> =
                plane.post(heartbeat, &beat_of(status.publication.revision, tries)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn beat_of(revision: crossfade_api::revision::RevisionText, sequence: u64) -> Heartbeat {
    let (observations, marks) = (Observations::default(), MarkChange::default());
    Heartbeat { revision, sequence, observations, marks, progress: None }
}

async fn beat(plane: Plane, path: String, ticket: RunTicket) {
    for sequence in 1_000.. {
        let beat = beat_of(ticket.publication.revision, sequence);
        let _heard: Result<HeartbeatAnswer, Trouble> = plane.post(&path, &beat).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn work(args: &DataArgs, plane: &Plane, ticket: &RunTicket) -> (Outcome, MarkChange, serde_json::Value) {
    let interrupted = |error: &dyn std::fmt::Display| {
        let told = json!({ "outcome": "interrupted", "why": error.to_string() });
        (Outcome::Interrupted, MarkChange::default(), told)
    };
    let worked = async {
        let plan = Plan::new(ticket.publication.plan.clone())?;
        // The rows of both sides; the plan of this handle decides nothing.
        let (source, target) = args.places.stores(16)?;
        let fixed = Migration::builder(MIGRATION).plan(plan::fixed(Stage::DualWrite)).build().await?;
        let rows = MigratingRows::new(source, target, fixed).rows();
        let linger = Duration::from_millis(args.linger_ms);
        let pace = Pace { page: 200, at_once: 12, timeout: Duration::from_secs(1), linger, attempts: 6 };
        let progress = Progress::default();
        let authority = plan.position().stage().authority();
        match args.kind {
            Kind::Backfill => {
                backfill(&rows, authority, &pace, &progress).await?;
                Ok::<_, anyhow::Error>((
                    Outcome::Complete,
                    MarkChange::default(),
                    json!({ "outcome": "complete", "read": progress.read(), "copied": progress.copied(), "deleted": progress.deleted() }),
                ))
            }
            Kind::Verify => {
                let found = verify(&rows, authority, &pace, &progress).await?;
                let word = match found.verdict {
                    Verdict::Verified => "verified",
                    Verdict::Diverged(_) => "diverged",
                    Verdict::Unknown(_) => "unknown",
                };
                let told = json!({ "outcome": word, "rows": found.rows_source, "differing": found.differing.len() });
                Ok((Outcome::Verdict(found.verdict), MarkChange::default(), told))
            }
            Kind::Repair => {
                let (cleared, told) = mend(&rows, plane, &plan, &pace).await?;
                Ok((Outcome::Complete, MarkChange { cleared, ..MarkChange::default() }, told))
            }
        }
    };
    match worked.await {
        Ok(done) => done,
        Err(error) => interrupted(&error),
    }
}

/// Copies the truth over every row that differs, and over those that instances which are gone had marked.
async fn mend<P>(rows: &P, plane: &Plane, plan: &Plan, pace: &Pace) -> anyhow::Result<(Vec<MarkRef>, serde_json::Value)>
where
    P: ScanRows + RowPair<Id = RowId, Row = Row>,
{
    let marks: MarksPage = plane.get(&format!("/{MIGRATION}/marks")).await?;
    let living: Instances = plane.get(&format!("/{MIGRATION}/instances")).await?;
    let orphaned: Vec<_> = marks
        .marks
        .into_iter()
        .filter(|mark| living.instances.iter().all(|instance| instance.instance != mark.instance))
        .collect();
    let mut ids: Vec<RowId> = orphaned.iter().filter_map(|mark| row_of(&mark.mark.row)).collect();
    let (source, target) = (all(rows, Side::Source, pace).await?, all(rows, Side::Target, pace).await?);
    let differs = |id: &&RowId| source.get(*id) != target.get(*id);
    ids.extend(source.keys().chain(target.keys()).filter(differs).cloned());
    let (mut repaired, mut failed) = (0, 0);
    for id in &ids {
        let authority = plan.decide(CohortKey::new(id.group())?).stage.authority();
        let mut tries = 0;
        loop {
            match reconcile(rows, authority, id, pace.timeout).await {
                Ok(_) => {
                    repaired += 1;
                    break;
                }
                Err(_) if tries < pace.attempts => {
                    tries += 1;
                    tokio::time::sleep(pace.linger).await;
                }
                Err(_) => {
                    failed += 1;
                    break;
                }
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} rows could not be repaired");
    let cleared = orphaned.into_iter().map(|mark| MarkRef {
        instance: Some(mark.instance),
        table: mark.mark.table,
        row: mark.mark.row,
        generation: mark.mark.generation,
    });
    Ok((cleared.collect(), json!({ "outcome": "complete", "repaired": repaired })))
}

async fn all<P>(rows: &P, side: Side, pace: &Pace) -> anyhow::Result<BTreeMap<RowId, Row>>
where
    P: ScanRows + RowPair<Id = RowId, Row = Row>,
{
    let mut found = BTreeMap::new();
    let mut after = None;
    loop {
        let page = rows.scan(side, after, pace.page).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        found.extend(page.rows.into_iter().map(|row| (rows.id_of(&row), row)));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}
