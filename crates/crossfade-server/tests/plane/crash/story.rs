//! One pass of a migration from dual-write to live, as a client that never assumes: it looks where things stand, does the next thing,
//! and stops when the server is gone.

use super::TOKEN;
use super::beside::{Beside, Door};
use super::told::{HAND, RunTold, Told};
use crate::support::Client;
use crossfade_api::problem::Problem;
use crossfade_api::wire::*;
use crossfade_core::{Options as PlanOptions, PlanSpec, Side, Stage, Verdict};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The server did not answer.
pub(super) struct Gone;

async fn ask<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    body: &impl Serialize,
) -> Result<Result<T, Problem>, Gone> {
    let request = client.request(reqwest::Method::POST, path).json(body).timeout(Duration::from_secs(20));
    let Ok(response) = request.send().await else { return Err(Gone) };
    let good = response.status().is_success();
    let Ok(bytes) = response.bytes().await else { return Err(Gone) };
    let bytes = if bytes.is_empty() { &b"null"[..] } else { &bytes };
    Ok(if good { Ok(serde_json::from_slice(bytes).unwrap()) } else { Err(serde_json::from_slice(bytes).unwrap()) })
}

async fn see<T: DeserializeOwned>(client: &Client, path: &str) -> Option<T> {
    let request = client.request(reqwest::Method::GET, path).timeout(Duration::from_secs(20));
    let response = request.send().await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    serde_json::from_slice(&response.bytes().await.ok()?).ok()
}

pub(super) async fn look(client: &Client) -> Option<Status> {
    see(client, "/v1/migrations/events").await
}

pub(super) async fn instances(client: &Client) -> Option<Vec<InstanceDoc>> {
    see::<Instances>(client, "/v1/migrations/events/instances").await.map(|all| all.instances)
}

fn of(instance: &str, what: &str) -> String {
    format!("/v1/migrations/events/instances/{instance}/{what}")
}

async fn join(client: &Client, instance: &str, kind: InstanceKind) -> Result<(), Gone> {
    let (instance, host, version) = (instance.to_owned(), String::new(), String::new());
    let joining = Registration {
        instance,
        kind,
        host,
        version,
        holding: None,
        seen: None,
        tables: Some(tables()),
        sides: Vec::new(),
    };
    ask::<Registered>(client, "/v1/migrations/events/instances", &joining).await?.unwrap();
    Ok(())
}

/// One table, which the instance can check.
fn tables() -> Vec<TableDoc> {
    vec![TableDoc { table: "events".to_owned(), can_check: true, operations: String::new() }]
}

/// For an instance that does not report its tables.
async fn report_tables(client: &Client, status: &Status, instance: &str) -> Result<(), Gone> {
    let revision = status.publication.revision;
    let (observations, marks) = (Observations::default(), MarkChange::default());
    let beat = Heartbeat { revision, sequence: 0, observations, marks, progress: None, tables: Some(tables()) };
    let _asked_again = ask::<HeartbeatAnswer>(client, &of(instance, "heartbeat"), &beat).await?;
    Ok(())
}

/// Acknowledges by hand; with a mark, unless writes are held.
async fn acknowledge(client: &Client, status: &Status, instance: &str, told: &mut Told) -> Result<(), Gone> {
    let revision = status.publication.revision;
    let held = status.step.as_ref().is_some_and(|step| step.phase != "settled");
    let mark = (instance == HAND && !held).then(|| told.another_mark());
    let (row, marks) = mark.map_or((None, MarkChange::default()), |(row, marks)| (Some(row), marks));
    let said = Acknowledgement { revision, marks, tables: None };
    if ask::<HeartbeatAnswer>(client, &of(instance, "acknowledge"), &said).await?.is_ok() && instance == HAND {
        told.acknowledged = told.acknowledged.max(revision.0.number);
        row.into_iter().for_each(|row| told.marked(row));
    }
    Ok(())
}

/// A run of the data side, from its begin to its goodbye; or as far as it gets.
async fn run(client: &Client, kind: InstanceKind, outcome: Outcome, told: &mut Told) -> Result<(), Gone> {
    let id = kind.name();
    join(client, id, kind).await?;
    match ask::<RunTicket>(client, &of(id, "begin"), &()).await? {
        Ok(ticket) => told.runs.insert(kind, RunTold::Began(ticket.tick)),
        Err(_) => return Ok(()),
    };
    if kind == InstanceKind::Backfill {
        // Something happens while it runs.
        let (row, marks) = told.another_mark();
        if ask::<()>(client, &of(HAND, "marks"), &marks).await?.is_ok() {
            told.marked(row);
        }
    }
    // From here on it may have ended, whether or not that is answered.
    told.runs.remove(&kind);
    let end = RunEnd { outcome, marks: MarkChange::default(), progress: None };
    if ask::<()>(client, &of(id, "end"), &end).await?.is_ok() {
        told.runs.insert(kind, RunTold::Ended);
    }
    let _gone_already = ask::<()>(client, &of(id, "goodbye"), &Departure::default()).await?;
    Ok(())
}

/// Goes on from wherever the story is to its end. The application begins as soon as there is a migration to run under.
pub(super) async fn act(
    client: &Client,
    door: &Door,
    beside: &mut Option<Beside>,
    told: &mut Told,
) -> Result<(), Gone> {
    for _ in 0..4_000 {
        let Some(status) = look(client).await else {
            let options = PlanOptions { hold_bound: Duration::from_secs(60), ..PlanOptions::default() };
            let plan = PlanSpec { options, ..PlanSpec::at("events", Stage::DualWrite) };
            let make = CreateRequest { plan, bypassing_writers: Vec::new() };
            let status = ask::<Status>(client, "/v1/migrations", &make).await?.unwrap();
            (told.revision, told.created) = (status.publication.revision.0.number, true);
            continue;
        };
        let number = status.publication.revision.0.number;
        assert!(number >= told.revision, "revision {} was answered, {number} is in force", told.revision);
        (told.revision, told.created) = (number, true);
        let application = beside.get_or_insert_with(|| Beside::start(&door.url, TOKEN));
        let known = instances(client).await.ok_or(Gone)?;
        if !known.iter().any(|known| known.instance == HAND) {
            join(client, HAND, InstanceKind::Application).await?;
            told.acknowledged = told.acknowledged.max(number);
            continue;
        }
        if !known.iter().any(|known| known.instance == application.instance) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        // After a restart the plane waits for everybody it knows to be heard of again. The library answers for itself.
        let step = status.step.iter().flat_map(|step| &step.waiting_for);
        let by_hand = |id: &&String| **id != application.instance;
        if let Some(id) = step.chain(&status.waiting_for).find(by_hand) {
            acknowledge(client, &status, id, told).await?;
            continue;
        }
        if status.step.is_some() || !status.waiting_for.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let missing = |code: &str| status.gate.blockers.iter().any(|blocker| blocker.code == code);
        if status.authority != Some(Side::Source) {
            return Ok(());
        }
        if missing("marks") {
            let repaired = told.clear_all();
            if ask::<()>(client, &of(HAND, "marks"), &repaired).await?.is_ok() {
                told.cleared_all();
            }
            continue;
        }
        if let Some(blind) = status.evidence.cannot_check.first() {
            report_tables(client, &status, &blind.instance).await?;
            continue;
        }
        if missing("backfill-not-started") || missing("backfill-unfinished") {
            run(client, InstanceKind::Backfill, Outcome::Complete, told).await?;
            continue;
        }
        if !status.gate.go {
            run(client, InstanceKind::Verify, Outcome::Verdict(Verdict::Verified), told).await?;
            continue;
        }
        let stage = if status.position == "dual-write" { Stage::Shadow } else { Stage::Live };
        let (percent, if_revision) = ("100".parse().unwrap(), status.publication.revision);
        let wish = RampRequest { stage, percent, pins: None, if_revision, confirm: None };
        if let Ok(answer) = ask::<StepAnswer>(client, "/v1/migrations/events/ramp", &wish).await? {
            told.revision = answer.status.publication.revision.0.number;
        }
    }
    let seen = look(client).await.map(|status| (status.position, status.step, status.gate, status.waiting_for));
    panic!("the story does not end: {seen:?}");
}
