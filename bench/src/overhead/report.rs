//! What a run prints: a table for people, or JSON lines, of which the last is the result.

use super::batch::Kind;
use super::decision::Decision;
use super::marks::Marks;
use super::slow::SlowTarget;
use super::stages::{Floors, Row, is_one_sided};
use super::workers;
use serde::Serialize;
use serde_json::json;

/// Says how far the run has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    json: bool,
    rounds: u32,
    part: &'static str,
}

impl Progress {
    pub(crate) fn new(json: bool, rounds: u32) -> Progress {
        Progress { json, rounds, part: "" }
    }

    /// The same, for one part of the run.
    pub(crate) fn part(self, part: &'static str) -> Progress {
        Progress { part, ..self }
    }

    /// A round has ended; now and then that is worth a line.
    pub(crate) fn round(&self, round: u32) {
        let Progress { json, rounds, part } = self;
        if !round.is_multiple_of(10) && round != *rounds {
            return;
        }
        if *json {
            println!("{}", json!({ "event": "round", "part": part, "round": round, "of": rounds }));
        } else {
            eprintln!("{part}: round {round} of {rounds}");
        }
    }
}

/// A figure that the project has promised to itself.
#[derive(Debug, Clone, Serialize)]
struct Bar {
    name: &'static str,
    /// The worst of the rows it is about.
    measured: f64,
    /// At most, or at least where the name says so.
    bar: f64,
    met: bool,
}

/// Everything that a run has measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) rounds: u32,
    pub(crate) decision: Decision,
    pub(crate) ready: Vec<Row>,
    pub(crate) yielding: Vec<Row>,
    pub(crate) floors: Floors,
    pub(crate) workers: Vec<workers::Row>,
    pub(crate) slow: SlowTarget,
    pub(crate) marks: Marks,
}

impl Report {
    /// Prints; the table goes to standard output too.
    pub(crate) fn print(&self, json: bool) {
        if json { self.print_json() } else { self.print_table() }
    }

    fn bars(&self) -> Vec<Bar> {
        let worst = |of: &dyn Fn(&Row) -> bool, figure: &dyn Fn(&Row) -> f64| {
            self.ready.iter().filter(|row| of(row)).map(figure).fold(f64::NAN, f64::max)
        };
        let one_sided = |row: &Row| is_one_sided(row.stage, row.op);
        let dual_write = |row: &Row| !is_one_sided(row.stage, row.op) && row.op == Kind::Write;
        let shadow_read = |row: &Row| !is_one_sided(row.stage, row.op) && row.op == Kind::Read;
        let at_most = |name, measured: f64, bar| Bar { name, measured, bar, met: measured <= bar };
        let slowest = -worst(&one_sided, &|row| -row.ratio);
        vec![
            at_most("decision, ns", self.decision.ns, 30.0),
            at_most("one side, ns", worst(&one_sided, &|row| row.ns), 100.0),
            at_most("one side, allocations", worst(&one_sided, &|row| row.allocs), 0.0),
            at_most("dual write, ns", worst(&dual_write, &|row| row.ns), 800.0),
            at_most("shadow read, ns", worst(&shadow_read, &|row| row.ns), 2_500.0),
            at_most("shadow read, caller's ns", worst(&shadow_read, &|row| row.caller_ns), 600.0),
            at_most("a million marks, ns added to a read", self.marks.added_to_read_ns, 1_000.0),
            at_most("a million marks, ns added to a write", self.marks.added_to_write_ns, 1_000.0),
            at_most("a million marks, MB", self.marks.megabytes, 200.0),
            Bar {
                name: "one side, LaunchDarkly's ns over ours, at least",
                measured: slowest,
                bar: 10.0,
                met: slowest >= 10.0,
            },
        ]
    }

    fn print_json(&self) {
        let result = json!({
            "event": "result",
            "decision_ns": self.decision.ns,
            "decision": self.decision,
            "rows": self.ready,
            "rows_yielding": self.yielding,
            "rows_two_workers": self.workers,
            "floors": self.floors,
            "slow_target": self.slow,
            "marks": self.marks,
            "bars": self.bars(),
            "rounds": self.rounds,
            "runtime": "current_thread",
            "launchdarkly": "launchdarkly-server-sdk 3.2.0, evaluation 2.2.1",
            "scientisto": "scientisto 0.3",
        });
        println!("{result}");
    }

    fn print_table(&self) {
        let Decision { ns, integer_key_ns, begun_ns } = self.decision;
        println!("above calling the DAO directly, per operation; medians of {} rounds", self.rounds);
        println!();
        println!("decision {ns:.0} ns (integer key {integer_key_ns:.0}; a read begun {begun_ns:.0})");
        for (title, rows) in [("DAOs that are ready at once", &self.ready), ("DAOs that yield once", &self.yielding)] {
            println!();
            println!("{title}");
            println!(
                "{:<11}{:<6}{:>9}{:>8}{:>11}{:>15}{:>8}{:>8}{:>13}",
                "stage", "op", "CPU ns", "allocs", "caller's", "LaunchDarkly", "allocs", "ratio", "tickets, ns"
            );
            for row in rows {
                println!(
                    "{:<11}{:<6}{:>9.0}{:>8.2}{:>11.0}{:>15.0}{:>8.2}{:>7.1}×{:>13.0}",
                    row.stage.to_string(),
                    row.op.name(),
                    row.ns,
                    row.allocs,
                    row.caller_ns,
                    row.launchdarkly_ns,
                    row.launchdarkly_allocs,
                    row.ratio,
                    row.ticket_ns
                );
            }
        }
        println!();
        println!("two workers, 16 callers of one migration, CPU ns");
        for row in &self.workers {
            println!("{:<11}{:<6}{:>9.0}", row.stage.to_string(), row.op.name(), row.ns);
        }
        let Floors { spawn_timeout_await_ns, spawn_ns, scientisto_read_ns, scientisto_read_allocs } = self.floors;
        println!();
        println!("a bare task, awaited within a time-out {spawn_timeout_await_ns:.0} ns, not awaited {spawn_ns:.0} ns");
        println!("scientisto, both sides read: {scientisto_read_ns:.0} ns, {scientisto_read_allocs:.2} allocations");
        println!();
        println!("{}", self.slow);
        println!();
        println!("{}", self.marks);
        println!();
        for Bar { name, measured, bar, met } in self.bars() {
            println!("{} {name}: {measured:.1} (bar {bar})", if met { "met   " } else { "MISSED" });
        }
    }
}
