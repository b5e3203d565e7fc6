//! Where a migration stands, gathered for people: the dashboard and the command line render this and nothing else.

use crate::law::advance::{Elapsed, Next};
use crate::law::auto::Turn;
use crate::law::evidence::Presence;
use crate::law::{Entry, Event, Happening, Migration, State};
use crate::observatory::Observatory;
use crossfade_api::revision::RevisionText;
use crossfade_api::wire::{
    AutoDoc, BackfillDoc, CannotCheckDoc, DriftDoc, EvidenceDoc, GateDoc, HistoryEntry, InstanceDoc, InstanceKind,
    Instances, Ladder, LastStepDoc, OperationsDoc, Outcome, Protection, Publication, Rung, Status, StepDoc, TableDoc,
    TableDoubt, VerificationDoc,
};
use crossfade_core::{Checks, Edge, Phase, Plan, Position, Share, Side, Stage, Switches, Verdict};
use std::time::Duration;

/// Where one migration stands.
#[must_use]
pub fn status(state: &State, migration: &Migration, observatory: &Observatory) -> Status {
    let id = migration.plan.migration();
    let presence = observatory.presence(id, migration);
    let position = migration.plan.position();
    let (earlier, later) = position.occupied();
    let (operations, windows, mismatches) = observatory.recent(id);
    let absent = presence.absent();
    Status {
        migration: id.to_owned(),
        publication: Publication { revision: migration.revision.into(), plan: migration.plan.spec() },
        position: position.to_string(),
        ladder: ladder(position),
        authority: (earlier.authority() == later.authority()).then(|| earlier.authority()),
        step: step(state, migration, &presence),
        last_step: migration.last_step.as_ref().map(|last| LastStepDoc {
            step: last.number,
            goal: last.goal.clone(),
            abandoned: last.abandoned.clone(),
        }),
        waiting_for: absent.into_iter().filter(|who| migration.instances.contains_key(who)).collect(),
        instances: migration.instances.len(),
        acknowledged: migration.instances.len() - migration.unacknowledged.len(),
        evidence: evidence(migration, &presence),
        gate: next_gate(migration, &presence),
        protection: protection(migration, &presence),
        paused: migration.paused,
        retired: migration.retired,
        auto: auto(state, migration, &presence),
        drift: drift(migration),
        operations,
        windows,
        mismatches,
        runs: instances(migration, &presence, observatory, |kind| kind != InstanceKind::Application),
        tick: state.tick.0,
    }
}

/// All instances of a migration.
#[must_use]
pub fn all_instances(migration: &Migration, observatory: &Observatory) -> Instances {
    let presence = observatory.presence(migration.plan.migration(), migration);
    Instances { revision: migration.revision.into(), instances: instances(migration, &presence, observatory, |_| true) }
}

fn instances(
    migration: &Migration,
    presence: &Presence,
    observatory: &Observatory,
    chosen: impl Fn(InstanceKind) -> bool,
) -> Vec<InstanceDoc> {
    let chosen: Vec<_> = migration.instances.iter().filter(|(_, known)| chosen(known.kind)).collect();
    let contacts = observatory.contacts(migration.plan.migration(), chosen.iter().map(|(id, _)| *id));
    let mut docs: Vec<InstanceDoc> = chosen
        .into_iter()
        .zip(contacts)
        .map(|((id, known), contact)| InstanceDoc {
            instance: id.clone(),
            kind: known.kind,
            host: known.host.clone(),
            version: known.version.clone(),
            acknowledged: known.acknowledged.map(RevisionText),
            current: !migration.unacknowledged.contains(id),
            silent: presence.silent.contains(id),
            heard_ms_ago: u64::try_from(contact.heard_ago.as_millis()).unwrap_or(u64::MAX),
            connected: contact.connected,
            marks: 0,
            progress: contact.progress,
            tables: known.tables.clone(),
        })
        .collect();
    for key in migration.marks.keys() {
        if let Ok(at) = docs.binary_search_by(|doc| doc.instance.cmp(&key.instance)) {
            docs[at].marks += 1;
        }
    }
    docs
}

fn ladder(position: &Position) -> Ladder {
    let share = position.ramp().map_or(Share::NONE, |(_, share)| share);
    let rest = Share::from_buckets(Share::ALL.buckets() - share.buckets()).unwrap_or(Share::NONE);
    let (earlier, later) = position.stages();
    let percent = |stage: Stage| match (stage == earlier, stage == later) {
        (true, true) => Share::ALL,
        (true, false) => rest,
        (false, true) => share,
        (false, false) => Share::NONE,
    };
    let stages: Vec<Rung> = Stage::ALL
        .iter()
        .map(|stage| Rung { stage: *stage, switches: stage.switches(), percent: percent(*stage) })
        .collect();
    let sum = |on: fn(&Switches) -> bool| {
        let buckets = stages.iter().filter(|rung| on(&rung.switches)).map(|rung| rung.percent.buckets()).sum();
        Share::from_buckets(buckets).unwrap_or(Share::ALL)
    };
    Ladder {
        write_source: sum(|s| s.write_source),
        read_source: sum(|s| s.read_source),
        write_target: sum(|s| s.write_target),
        read_target: sum(|s| s.read_target),
        authority_target: sum(|s| s.authority == Side::Target),
        stages,
    }
}

fn step(state: &State, migration: &Migration, presence: &Presence) -> Option<StepDoc> {
    let step = migration.step.as_ref()?;
    // Only what stands in the way is wanted here; time is looked at by the writer.
    let elapsed = Elapsed { published: Duration::MAX, held: None };
    let also = match migration.advance(state, presence, elapsed) {
        Next::Wait { why, at_most: _ } => why,
        Next::Append(_) => Vec::new(),
    };
    let phase = match migration.plan.phase() {
        Phase::Settled => "settled",
        Phase::Hold { .. } => "hold",
        Phase::Move { .. } => "move",
    };
    Some(StepDoc {
        step: step.number,
        goal: step.goal.clone(),
        phase: phase.to_owned(),
        to_publish: step.plans.len(),
        forced: step.forced,
        by: step.by.clone(),
        abandoned: step.abandoned.clone(),
        waiting_for: migration.unacknowledged.iter().cloned().collect(),
        waiting_also: also,
    })
}

fn evidence(migration: &Migration, presence: &Presence) -> EvidenceDoc {
    let shown = migration.evidence(migration.plan.position(), presence);
    EvidenceDoc {
        marks: migration.marks.len() as u64,
        suspect_tables: migration
            .tables_in_doubt()
            .into_iter()
            .map(|doubt| TableDoubt { table: doubt.table, count: doubt.events })
            .collect(),
        cannot_check: shown
            .unchecked_writers
            .into_iter()
            .map(|writer| CannotCheckDoc { instance: writer.instance, table: writer.table })
            .collect(),
        operations: operations(migration),
        suspects: shown.suspects,
        repairs_running: shown.repairs_running,
        backfill: BackfillDoc { state: migration.backfill, generation: migration.generation },
        verification: migration.verification.map(|seen| VerificationDoc { began: seen.began.0, verdict: seen.verdict }),
        full_checks_since: migration.full_checks_since.map(|tick| tick.0),
        dual_write_since: migration.dual_write_since.map(|tick| tick.0),
        last_repair: migration.last_repair.map(|tick| tick.0),
        bypassing_writers: shown.bypassing_writers,
        waived_since: migration.waived_since.map(|tick| tick.0),
    }
}

/// Tables on which instances run different operations.
fn operations(migration: &Migration) -> Vec<OperationsDoc> {
    let different = migration.operations_by_table().into_iter().filter(|(_, found)| found.len() > 1);
    different
        .map(|(table, found)| OperationsDoc {
            table: table.to_owned(),
            confirmed: migration
                .confirmed
                .get(table)
                .is_some_and(|known| found.keys().all(|hash| known.contains(*hash))),
            operations: found.into_iter().map(|(hash, id)| (hash.to_owned(), id.to_owned())).collect(),
        })
        .collect()
}

/// The gate before the end of the next edge that has one: the cut-over, then the point of no return.
fn next_gate(migration: &Migration, presence: &Presence) -> GateDoc {
    let settled = match migration.plan.abandoned() {
        Some(plan) => plan,
        None => migration.plan.clone(),
    };
    let at = settled.position().stage();
    let gated = |edge: &Edge| edge.moves_authority() || edge.leaves_source();
    let goal = Edge::all()
        .into_iter()
        .filter(gated)
        .map(|edge| (edge, Position::at(edge.later())))
        .find(|(edge, _)| edge.earlier() >= at);
    let Some((edge, goal)) = goal else {
        return GateDoc { converged: false, go: true, blockers: Vec::new(), cautions: migration.cautions(presence) };
    };
    // The gate of the edge, asked as if the keys stood before it: evidence is the same, and so are its marks.
    let before = settled.settled_at(Position::at(edge.earlier())).unwrap_or_else(|_| settled.clone());
    let first = before.steps_to(goal.clone()).ok().and_then(|plans| plans.into_iter().next());
    match first.as_ref().and_then(|next: &Plan| before.admit(next).ok()) {
        Some(admitted) => migration.gate(admitted, &goal, presence),
        None => GateDoc { converged: false, go: true, blockers: Vec::new(), cautions: migration.cautions(presence) },
    }
}

fn protection(migration: &Migration, presence: &Presence) -> Protection {
    let settle = migration.plan.options().settle;
    let label = match (presence.unacknowledged_clients, settle.is_zero()) {
        (false, _) => "protected: every reader of the plan that is known acknowledges each revision".to_owned(),
        (true, true) => {
            "unprotected: OFREP clients read the plan and cannot acknowledge, and settle-ms is 0".to_owned()
        }
        (true, false) => {
            format!("unprotected: OFREP clients cannot acknowledge; every revision stands {} ms", settle.as_millis())
        }
    };
    Protection {
        acknowledged: !presence.unacknowledged_clients,
        unacknowledged_clients: presence.unacknowledged_clients,
        settle_ms: u64::try_from(settle.as_millis()).unwrap_or(u64::MAX),
        label,
    }
}

fn auto(state: &State, migration: &Migration, presence: &Presence) -> Option<AutoDoc> {
    let auto = migration.auto.as_ref()?;
    let note = match &auto.ended {
        Some(why) => format!("ended: {why}"),
        None => match migration.auto_turn(state, presence, Duration::MAX, &Default::default()) {
            Turn::Idle => "ended".to_owned(),
            Turn::Wait(_, why) => format!("waits: {why}"),
            Turn::Append(_) => "goes on when its time is over".to_owned(),
            Turn::Refused(problem) => format!("waits: {}", problem.detail),
        },
    };
    Some(AutoDoc { until: auto.request.until, ended: auto.ended.is_some(), note })
}

fn drift(migration: &Migration) -> Vec<DriftDoc> {
    let (declared, in_force) = (&migration.declared, migration.plan.spec());
    let mut drift = Vec::new();
    let mut compare = |what: &str, declared: String, in_force: String| {
        if declared != in_force {
            drift.push(DriftDoc { what: what.to_owned(), declared, in_force });
        }
    };
    let salt = declared.salt.clone().unwrap_or_else(|| declared.migration.clone());
    compare("salt", salt, in_force.salt.clone().unwrap_or_default());
    compare("whole", declared.whole.to_string(), in_force.whole.to_string());
    let options = |options| {
        let mut map = match serde_json::to_value(options) {
            Ok(serde_json::Value::Object(map)) => map,
            Ok(_) | Err(_) => serde_json::Map::new(),
        };
        // Left out where it is as by default.
        map.entry("sample-values").or_insert_with(|| "withheld".into());
        map
    };
    let (wanted, actual) = (options(&declared.options), options(&in_force.options));
    for (name, value) in &wanted {
        // A verification turns full checks on by itself (R5): nobody has to write that into a file.
        if name == "checks" && in_force.options.checks == Checks::Full {
            continue;
        }
        compare(name, value.to_string(), actual.get(name).map(ToString::to_string).unwrap_or_default());
    }
    drift
}

/// An entry in words.
#[must_use]
pub fn history(entry: &Entry) -> HistoryEntry {
    let (migration, revision) = match &entry.event {
        Event::Started { .. } | Event::TokenIssued { .. } | Event::TokenRevoked { .. } => (None, None),
        Event::Created { publication, .. } => (Some(publication.plan.migration.clone()), Some(publication.revision)),
        Event::To { migration, what } => (Some(migration.clone()), revision_of(what)),
    };
    let (kind, text) = words(&entry.event);
    let (tick, at_ms, by) = (entry.tick.0, entry.at_ms, entry.by.clone());
    HistoryEntry { tick, at_ms, by, migration, kind: kind.to_owned(), text, revision }
}

fn revision_of(what: &Happening) -> Option<RevisionText> {
    match what {
        Happening::Published { publication } | Happening::Abandoned { publication: Some(publication), .. } => {
            Some(publication.revision)
        }
        Happening::Restored { revision, .. } => Some(*revision),
        Happening::Declared { .. }
        | Happening::Registered { .. }
        | Happening::Acknowledged { .. }
        | Happening::Marked { .. }
        | Happening::TablesReported { .. }
        | Happening::OperationsConfirmed { .. }
        | Happening::Left { .. }
        | Happening::Evicted { .. }
        | Happening::StepBegan { .. }
        | Happening::Abandoned { publication: None, .. }
        | Happening::StepEnded { .. }
        | Happening::RunBegan { .. }
        | Happening::RunEnded { .. }
        | Happening::WriterPaused { .. }
        | Happening::Paused
        | Happening::Resumed
        | Happening::AutoBegan { .. }
        | Happening::AutoEnded { .. }
        | Happening::Retired => None,
    }
}

fn words(event: &Event) -> (&'static str, String) {
    match event {
        Event::Started { restored: true } => ("started", "the plane started, restored from a backup".to_owned()),
        Event::Started { restored: false } => ("started", "the plane started".to_owned()),
        Event::TokenIssued { id, name, role, hash: _ } => ("token-issued", format!("token {id} for {name}, {role}")),
        Event::TokenRevoked { id } => ("token-revoked", format!("token {id} is no longer good")),
        Event::Created { publication, .. } => ("created", format!("made, at {}", in_words(publication))),
        Event::To { what, .. } => happened(what),
    }
}

fn in_words(publication: &Publication) -> String {
    let Ok(plan) = Plan::new(publication.plan.clone()) else { return "a plan that is not valid".to_owned() };
    match plan.phase() {
        Phase::Settled => plan.position().to_string(),
        Phase::Hold { next } => format!("{}, writes held to move to {next}", plan.position()),
        Phase::Move { previous } => format!("{}, writes held while moving from {previous}", plan.position()),
    }
}

fn ending(outcome: Outcome) -> String {
    match outcome {
        Outcome::Complete => "complete".to_owned(),
        Outcome::Interrupted => "before its end".to_owned(),
        Outcome::Verdict(Verdict::Verified) => "verified, every row is equal".to_owned(),
        Outcome::Verdict(Verdict::Diverged(rows)) => format!("{rows} rows differ"),
        Outcome::Verdict(Verdict::Unknown(ranges)) => format!("{ranges} ranges are not known"),
    }
}

fn of_tables(tables: &[TableDoc]) -> String {
    if tables.is_empty() {
        return "writes no table".to_owned();
    }
    let named = tables.iter().map(|doc| {
        let how = if doc.can_check { "" } else { " (cannot check its writes)" };
        format!("{}{how}", doc.table)
    });
    format!("writes {}", named.collect::<Vec<_>>().join(", "))
}

fn happened(what: &Happening) -> (&'static str, String) {
    match what {
        Happening::Declared { .. } => ("declared", "the configuration file declares it anew".to_owned()),
        Happening::Registered { instance, kind, holding, .. } => {
            let again = if *holding { " again, with the plan it holds" } else { "" };
            ("registered", format!("{} {instance} registered{again}", kind.name()))
        }
        Happening::Acknowledged { instance, revision, marks } => {
            ("acknowledged", format!("{instance} acknowledged {revision}, {} marks", marks.set.len()))
        }
        Happening::Marked { instance, marks } => {
            let doubts = marks.suspect.iter().fold(marks.unlisted, |sum, doubt| sum.saturating_add(doubt.count));
            let beside = if doubts == 0 { String::new() } else { format!(", {doubts} doubts without a row") };
            ("marked", format!("{instance} set {} marks, cleared {}{beside}", marks.set.len(), marks.cleared.len()))
        }
        Happening::TablesReported { instance, tables } => ("tables", format!("{instance} {}", of_tables(tables))),
        Happening::OperationsConfirmed { table, operations } => (
            "operations-confirmed",
            format!("operations {} may run on table {table} side by side", operations.join(", ")),
        ),
        Happening::Left { instance, .. } => ("left", format!("{instance} left in good order")),
        Happening::Evicted { instance } => ("evicted", format!("{instance} is dead, it was stated")),
        Happening::StepBegan { goal, forced, waived, .. } => {
            let how = match (forced, waived) {
                (true, Some(waived)) => format!(
                    ", forced: {} marked rows, writes since entry {} may be lost, P2 to P4 are waived until a verification passes",
                    waived.marks, waived.since.0
                ),
                (true, None) | (false, _) => String::new(),
            };
            ("step-began", format!("a step to {goal}{how}"))
        }
        Happening::Published { publication } => ("published", in_words(publication)),
        Happening::Abandoned { why, publication } => {
            let now =
                publication.as_ref().map(|publication| format!("; {}", in_words(publication))).unwrap_or_default();
            ("abandoned", format!("given up: {why}{now}"))
        }
        Happening::StepEnded { reached: true } => ("step-ended", "acknowledged everywhere".to_owned()),
        Happening::StepEnded { reached: false } => ("step-ended", "given up, acknowledged everywhere".to_owned()),
        Happening::RunBegan { instance } => ("run-began", format!("run {instance} began")),
        Happening::RunEnded { instance, outcome, .. } => {
            ("run-ended", format!("run {instance} ended: {}", ending(*outcome)))
        }
        Happening::WriterPaused { writer, paused: true } => ("writer-paused", format!("{writer} is paused")),
        Happening::WriterPaused { writer, paused: false } => ("writer-resumed", format!("{writer} writes again")),
        Happening::Restored { seen, revision } => {
            ("restored", format!("an instance holds {}, unknown here; {revision} follows it", seen.revision))
        }
        Happening::Paused => ("paused", "steps wait".to_owned()),
        Happening::Resumed => ("resumed", "steps may be taken".to_owned()),
        Happening::AutoBegan { request } => ("auto-began", format!("guarded rollout until {}", request.until)),
        Happening::AutoEnded { why } => ("auto-ended", format!("guarded rollout ended: {why}")),
        Happening::Retired => ("retired", "the migration has ended".to_owned()),
    }
}
