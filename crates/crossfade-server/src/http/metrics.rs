//! `/metrics` in the Prometheus text format. The names are a contract.

use super::App;
use super::auth::Viewer;
use super::reply::Refusal;
use crate::law::State as Plane;
use crate::status;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use crossfade_api::histogram::Histogram;
use crossfade_api::wire::{Observations, SideDoc, Status};
use crossfade_core::Side;
use std::fmt::Write as _;

/// Upper bounds of the exported latency buckets, in microseconds: powers of two from 128 µs to 8.4 s.
const BOUNDS: std::ops::RangeInclusive<u32> = 7..=23;

pub(crate) async fn metrics(State(app): State<App>, Viewer(_): Viewer) -> Result<impl IntoResponse, Refusal> {
    let observatory = app.plane.observatory().clone();
    let look = move |state: &Plane, _: &crate::log::Log| {
        let each = state
            .migrations
            .iter()
            .map(|(id, migration)| (status::status(state, migration, &observatory), observatory.totals(id)));
        Ok(render(state, &each.collect::<Vec<_>>()))
    };
    let text = app.plane.read(look).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn render(state: &Plane, migrations: &[(Status, Observations)]) -> String {
    let mut page = Page(String::new());
    page.family("crossfade_plane_log_entries", "counter", "Entries of the log.");
    page.sample("crossfade_plane_log_entries", &[], state.tick.0);
    type Gauge = fn(&Status) -> u64;
    let gauges: [(&str, &str, Gauge); 11] = [
        ("crossfade_revision", "Number of the revision in force.", |s| s.publication.revision.0.number),
        ("crossfade_instances", "Registered instances and runs.", |s| s.instances as u64),
        ("crossfade_instances_acknowledged", "Of these, on the revision in force.", |s| s.acknowledged as u64),
        ("crossfade_instances_absent", "Instances that block the next revision.", |s| s.waiting_for.len() as u64),
        ("crossfade_marks", "Rows that may differ.", |s| s.evidence.marks),
        ("crossfade_tables_in_doubt", "Tables in which rows that nobody can name may differ.", |s| {
            s.evidence.suspect_tables.len() as u64
        }),
        ("crossfade_suspects", "Instances that vanished and were not verified since.", |s| {
            s.evidence.suspects.len() as u64
        }),
        ("crossfade_step_under_way", "1 while a step is under way.", |s| u64::from(s.step.is_some())),
        ("crossfade_writes_held", "1 while writes of moving keys wait.", |s| {
            u64::from(s.step.as_ref().is_some_and(|step| step.phase != "settled"))
        }),
        ("crossfade_gate_blockers", "What stands before the next gate.", |s| s.gate.blockers.len() as u64),
        (
            "crossfade_promises_waived",
            "1 after a forced rollback or a restore of the control plane, until a verification passes.",
            |s| u64::from(s.evidence.waived_since.is_some()),
        ),
    ];
    for (name, help, value) in gauges {
        page.family(name, "gauge", help);
        for (status, _) in migrations {
            page.sample(name, &[("migration", &status.migration)], value(status));
        }
    }
    page.family("crossfade_stage_share", "gauge", "Share of the keys at a stage, 0 to 1.");
    for (status, _) in migrations {
        for rung in &status.ladder.stages {
            let labels = [("migration", status.migration.as_str()), ("stage", rung.stage.name())];
            page.sample("crossfade_stage_share", &labels, rung.percent.percent() / 100.0);
        }
    }
    page.family("crossfade_comparisons_total", "counter", "Compared reads, by what came of it.");
    for (status, totals) in migrations {
        for (operation, seen) in &totals.operations {
            let c = seen.comparisons;
            for (outcome, count) in [("matched", c.matched), ("mismatched", c.mismatched), ("unknown", c.unknown)] {
                let labels = [("migration", status.migration.as_str()), ("operation", operation), ("outcome", outcome)];
                page.sample("crossfade_comparisons_total", &labels, count);
            }
        }
    }
    page.family("crossfade_errors_total", "counter", "Failed calls, by class.");
    each_side(migrations, |migration, operation, side, seen| {
        for (class, count) in &seen.errors {
            let labels =
                [("migration", migration), ("operation", operation), ("side", side.name()), ("class", class.as_str())];
            page.sample("crossfade_errors_total", &labels, count);
        }
    });
    page.family("crossfade_latency_seconds", "histogram", "Latencies of answered calls.");
    each_side(migrations, |migration, operation, side, seen| {
        let labels = [("migration", migration), ("operation", operation), ("side", side.name())];
        latencies(&mut page, &labels, &seen.latency_us);
    });
    page.0
}

fn each_side(migrations: &[(Status, Observations)], mut visit: impl FnMut(&str, &str, Side, &SideDoc)) {
    for (status, totals) in migrations {
        for (operation, seen) in &totals.operations {
            for side in Side::ALL {
                visit(&status.migration, operation, side, seen.side(side));
            }
        }
    }
}

fn latencies(page: &mut Page, labels: &[(&str, &str)], histogram: &Histogram) {
    let mut counts = histogram.counts().iter().peekable();
    let (mut seen, mut sum) = (0u64, 0f64);
    for power in BOUNDS {
        let bound = 1u64 << power;
        while let Some((bucket, count)) = counts.next_if(|(bucket, _)| Histogram::upper_bound(*bucket) <= bound) {
            seen = seen.saturating_add(*count);
            sum += Histogram::upper_bound(*bucket) as f64 * *count as f64;
        }
        let le = (bound as f64 / 1e6).to_string();
        let with: Vec<_> = labels.iter().copied().chain([("le", le.as_str())]).collect();
        page.sample("crossfade_latency_seconds_bucket", &with, seen);
    }
    for (bucket, count) in counts {
        seen = seen.saturating_add(*count);
        sum += Histogram::upper_bound(*bucket) as f64 * *count as f64;
    }
    let with: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
    page.sample("crossfade_latency_seconds_bucket", &with, seen);
    page.sample("crossfade_latency_seconds_sum", labels, sum / 1e6);
    page.sample("crossfade_latency_seconds_count", labels, seen);
}
