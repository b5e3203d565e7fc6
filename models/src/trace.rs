//! A run, told so that a person can follow it: one line a step, with what both sides hold after it.

use crate::action::{Action, Look, Outcome};
use crate::application::{At, Operation, Work, Write};
use crate::backfill::BackfillAt;
use crate::check::Broken;
use crate::model::Protocol;
use crate::properties::{CONVERGENCE, REGULAR_READS};
use crate::repair::RepairAt;
use crate::rules::Rule;
use crate::state::State;
use crate::store::{Owner, Value};
use crossfade_core::plan::Phase;
use crossfade_core::{Revision, Side, Verdict};
use std::fmt::Write as _;

/// The page of a rule: what it asks for, what is dropped, and the shortest run that then breaks a promise.
#[must_use]
pub fn page(rule: Rule, protocol: &Protocol, broken: &Broken) -> String {
    let mut page = String::new();
    let _ = writeln!(page, "# R{}: {}\n", rule.number(), rule.slug().replace('-', " "));
    let _ = writeln!(page, "{}\n", rule.law());
    let _ = writeln!(page, "Without it ({}) this is the shortest run that breaks a promise.", rule.off());
    let _ = writeln!(page, "The world: {}.\n", protocol.scope.about);
    page.push_str(&run(protocol, broken));
    page.push_str(
        "\n_Found by `crossfade-models`, which writes this page with `--write-traces` and compares it in its tests._\n",
    );
    page
}

/// A run as a table, and what it breaks.
#[must_use]
pub fn run(protocol: &Protocol, broken: &Broken) -> String {
    let mut page = String::new();
    page.push_str("| | who | does | source | target |\n|--:|---|---|---|---|\n");
    let first = &broken.run[0].0;
    let _ = writeln!(page, "| 0 | | {} | {} |", opening(protocol, first), cells(protocol, first));
    for (step, pair) in broken.run.windows(2).enumerate() {
        let ((before, action), (after, _)) = (&pair[0], &pair[1]);
        let Some(action) = action else { continue };
        let teller = Teller { protocol, before, after };
        let (who, what) = teller.tell(*action);
        let _ = writeln!(page, "| {} | {who} | {what} | {} |", step + 1, cells(protocol, after));
    }
    if let Some((last, _)) = broken.run.last() {
        let _ = writeln!(page, "\n**Broken: {}.** {}", broken.promise, verdict(protocol, last, broken.promise));
    }
    page
}

fn opening(protocol: &Protocol, state: &State) -> String {
    let count = match state.instances.iter().filter(|instance| instance.up).count() {
        1 => "instance A goes".to_owned(),
        2 => "instances A and B go".to_owned(),
        _ => "all instances go".to_owned(),
    };
    format!("{count} by {}", revision(protocol, state.control.published))
}

fn cells(protocol: &Protocol, state: &State) -> String {
    let side = |side: Side| {
        let rows = (0..protocol.scope.rows as u8).map(|row| match protocol.scope.rows {
            1 => value(state.cell(side, row)),
            _ => format!("{} {}", protocol.scope.names[row as usize], value(state.cell(side, row))),
        });
        rows.collect::<Vec<_>>().join(", ")
    };
    format!("{} | {}", side(Side::Source), side(Side::Target))
}

fn value(value: Value) -> String {
    value.map_or("–".to_owned(), |value| value.to_string())
}

fn instance(id: u8) -> String {
    format!("instance {}", char::from(b'A' + id))
}

fn revision(protocol: &Protocol, revision: Revision) -> String {
    if revision.number == 0 {
        return "no revision (off)".to_owned();
    }
    let plan = &protocol.plans.of(revision).plan;
    let here = plan.position();
    let what = match plan.phase() {
        Phase::Settled => here.to_string(),
        Phase::Hold { next } => format!("hold, {here}, to move to {next}"),
        Phase::Move { previous } => format!("move, {here}, from {previous}"),
    };
    let checks = match (protocol.scope.ways.toggle, protocol.plans.of(revision).full_checks()) {
        (true, true) => ", every write checked",
        (true, false) | (false, _) => "",
    };
    format!("revision {revision} ({what}{checks})")
}

fn verdict(protocol: &Protocol, state: &State, promise: &str) -> String {
    if promise == REGULAR_READS {
        return "The read returned a value that was superseded by a write acknowledged before the read began."
            .to_owned();
    }
    if promise == CONVERGENCE {
        return "Nothing is under way, no mark and no suspicion says so, and the sides differ.".to_owned();
    }
    let plan = protocol.plans.of(state.control.published);
    for row in 0..protocol.scope.rows as u8 {
        let authority = plan.decisions[row as usize].stage.authority();
        let holds = state.cell(authority, row);
        let counted = state.ghost.increments[row as usize];
        if counted > holds.unwrap_or(0) && counted > 0 {
            return format!(
                "{counted} increments were acknowledged; the authority, the {authority}, holds {}.",
                value(holds)
            );
        }
        let wanted = state.ghost.acknowledged[row as usize];
        if !state.ghost.regular(row, wanted, holds) {
            let wanted = value(state.ghost.values[row as usize][wanted as usize]);
            return format!(
                "{wanted} was acknowledged last; the authority, now the {authority}, holds {}.",
                value(holds)
            );
        }
    }
    String::new()
}

struct Teller<'a> {
    protocol: &'a Protocol,
    before: &'a State,
    after: &'a State,
}

impl Teller<'_> {
    fn tell(&self, action: Action) -> (String, String) {
        let control = || "control plane".to_owned();
        let backfill = || "backfill".to_owned();
        match action {
            Action::Begin(id, row, work) => (instance(id), self.begins(id, row, work)),
            Action::Step(id, slot, outcome) => (instance(id), self.steps(id, slot, outcome)),
            Action::Start(id) => (instance(id), self.starts(id)),
            Action::Register(id) => (instance(id), "registers".to_owned()),
            Action::Receive(id) => (instance(id), format!("gets revision {}", self.after.control.published)),
            Action::Acknowledge(id) => {
                let marks = self.before.instances[id as usize].marks != self.after.instances[id as usize].marks;
                let marks = if marks { ", and hands its marks over" } else { "" };
                (instance(id), format!("acknowledges revision {}{marks}", self.after.control.published))
            }
            Action::Crash(id) => (instance(id), "dies".to_owned()),
            Action::Leave(id) => {
                let stays = if self.after.instances[id as usize].up { ", and runs on" } else { "" };
                (instance(id), format!("says goodbye{stays}"))
            }
            Action::Tell(id) => (instance(id), self.reports(id)),
            Action::FallBack(id) => (instance(id), "loses the plan source and falls back to off".to_owned()),
            Action::Publish(_) => {
                (control(), format!("publishes {}", revision(self.protocol, self.after.control.published)))
            }
            Action::Force(_) => {
                let next = revision(self.protocol, self.after.control.published);
                ("operator".to_owned(), format!("forces a rollback: {next}"))
            }
            Action::Evict(id) => ("operator".to_owned(), format!("evicts {}", instance(id))),
            Action::Restore => {
                let now = revision(self.protocol, self.after.control.published);
                (control(), format!("is restored from its backup: {now}"))
            }
            Action::Report(id) => (instance(id), "reports its revision to the restored control plane".to_owned()),
            Action::BackfillBegin(row) => (backfill(), format!("begins{}", self.with(row))),
            Action::BackfillStep(outcome) => (backfill(), self.backfills(outcome)),
            Action::BackfillEnd => (backfill(), "has every row".to_owned()),
            Action::BackfillKill => (backfill(), "is killed".to_owned()),
            Action::RepairBegin(home, row) => (repairer(home), format!("begins{}", self.with(row))),
            Action::RepairStep(place, outcome) => self.repairs(place, outcome),
            Action::VerifyBegin => ("verification".to_owned(), "begins".to_owned()),
            Action::VerifyStep(look) => ("verification".to_owned(), self.looks(look)),
            Action::Land(place) => ("network".to_owned(), format!("delivers {}", self.late(place))),
            Action::Vanish(place) => ("network".to_owned(), format!("loses {} for good", self.late(place))),
        }
    }

    /// Which row, where there are two.
    fn of(&self, row: u8) -> String {
        if self.protocol.scope.rows == 1 {
            String::new()
        } else {
            format!(" of {}", self.protocol.scope.names[row as usize])
        }
    }

    fn with(&self, row: u8) -> String {
        if self.protocol.scope.rows == 1 {
            String::new()
        } else {
            format!(" with {}", self.protocol.scope.names[row as usize])
        }
    }

    fn cell(&self, side: Side, row: u8) -> String {
        value(self.before.cell(side, row))
    }

    fn begins(&self, id: u8, row: u8, work: Work) -> String {
        let number = self.before.ghost.operations;
        let Some(plan) = self.before.instances[id as usize].plan else { return String::new() };
        let stage = self.protocol.plans.of(plan).decisions[row as usize].stage;
        let under = format!(" (revision {plan}, {stage})");
        match work {
            Work::Read => format!("begins to read{}{under}", self.of(row)),
            Work::ReadBoth => format!("begins to read both rows (revision {plan})"),
            Work::Write(write @ Write::Clear) => format!("begins to {}{under}", written(write, number)),
            Work::Write(write @ Write::Insert) => format!("begins to {}{under}", written(write, number)),
            Work::Write(write) => format!("begins to {}{}{under}", written(write, number), self.of(row)),
            Work::Transaction(write) => {
                format!("opens a transaction to {}{}{under}", written(write, number), self.of(row))
            }
            Work::Keyless(write) => {
                let zero = self.protocol.plans.of(plan).keyless.stage;
                format!(
                    "begins to {}{}, without the key (revision {plan}, {zero})",
                    written(write, number),
                    self.of(row)
                )
            }
        }
    }

    fn steps(&self, id: u8, slot: u8, outcome: Outcome) -> String {
        let (before, after) = (&self.before.instances[id as usize], &self.after.instances[id as usize]);
        let Some(operation) = before.operations[slot as usize] else { return String::new() };
        let mixed = self.protocol.dropped(Rule::Tables) || self.protocol.dropped(Rule::TablesHalfOpen);
        let marked = match (before.marks == after.marks, mixed) {
            (true, _) => "",
            (false, true) => "; row key 42 is marked",
            (false, false) => "; the row is marked",
        };
        let suspect = if before.raised == after.raised { "" } else { "; the table is suspect" };
        format!("{}{marked}{suspect}", self.operation(&operation, id, outcome))
    }

    fn operation(&self, operation: &Operation, id: u8, outcome: Outcome) -> String {
        let row = operation.row;
        // Only without R2 does an operation go by another stage than it was told.
        let stage = match self.before.instances[id as usize].plan {
            Some(plan) if self.protocol.dropped(Rule::DecideOnce) => {
                self.protocol.plans.of(plan).decisions[row as usize].stage
            }
            Some(_) | None => operation.stage,
        };
        let (authority, secondary) = (stage.authority(), stage.authority().other());
        let held = |side| value(self.after.cell(side, row));
        match (operation.at, outcome) {
            (At::Read(_), _) if operation.work == Work::ReadBoth => "reads both rows".to_owned(),
            (At::Read(_), _) => format!("reads {} from the {authority}", self.cell(authority, row)),
            (At::Authority, Outcome::Refused) => format!("is refused by the {authority}: an error to the caller"),
            (At::Authority, Outcome::Lost) => {
                format!("calls the {authority}; the answer is lost: an error to the caller")
            }
            (At::Authority, _) if operation.write() == Some(Write::Insert) => {
                format!("has the {authority}, its authority, at {}; the answer is on its way", held(authority))
            }
            (At::Answer, _) => "gets the answer, which names the row: acknowledged".to_owned(),
            (At::Authority | At::Secondary(_), Outcome::Applied) if operation.clears() => {
                let (side, role) = match operation.at {
                    At::Authority => (authority, "its authority: acknowledged"),
                    _ => (secondary, "the secondary"),
                };
                format!("deletes every row of the {side}, {role}")
            }
            (At::Authority, _) => {
                format!("has the {authority}, its authority, at {}: acknowledged", held(authority))
            }
            (At::Secondary(_), _) if stage.write_route().secondary.is_none() => "finds no secondary".to_owned(),
            (At::Secondary(_), Outcome::Refused) => format!("is refused by the {secondary}, the secondary"),
            (At::Secondary(_), Outcome::Lost) => format!("calls the {secondary}, the secondary; the answer is lost"),
            (At::Secondary(_), Outcome::Skipped) => {
                format!("does not call the {secondary}, the secondary: over budget")
            }
            (At::CheckAuthority | At::CheckSecondary(_), Outcome::Lost) => {
                "loses its connection in the check".to_owned()
            }
            (At::Secondary(_), Outcome::Dropped) => "goes away after the commit: the mirror never runs".to_owned(),
            (At::Secondary(_), _) => format!("has the {secondary}, the secondary, at {}", held(secondary)),
            (At::CheckAuthority, _) => format!("checks: reads {} from the {authority}", self.cell(authority, row)),
            (At::CheckSecondary(_), _) => format!("checks: reads {} from the {secondary}", self.cell(secondary, row)),
            (At::Linger, _) => "ends: its linger has passed".to_owned(),
        }
    }

    fn reports(&self, id: u8) -> String {
        let (before, after) = (&self.before.control, &self.after.control);
        let landed = before.landing[id as usize] != after.landing[id as usize];
        let suspect = before.reported[id as usize] != after.reported[id as usize];
        let marks = before.marks != after.marks;
        let parts = [
            (landed, "what it has called can no longer land"),
            (suspect, "the table is suspect"),
            (marks, "its marks"),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|(said, _)| *said).map(|(_, what)| what).collect();
        format!("reports: {}", parts.join(", "))
    }

    fn starts(&self, id: u8) -> String {
        let after = &self.after.instances[id as usize];
        let plan = after.plan.map_or(String::new(), |plan| revision(self.protocol, plan));
        let registered = if after.registered { "registers and gets" } else { "without registering, has" };
        format!("starts, {registered} {plan}")
    }

    fn backfills(&self, outcome: Outcome) -> String {
        let Some(backfill) = self.before.backfill else { return String::new() };
        let row = backfill.row;
        let first = self.protocol.reads_first(Side::Source, Rule::BackfillOrder);
        let more = if self.after.backfill.is_none() { "; the row is done" } else { "" };
        let what = match backfill.at {
            BackfillAt::One => format!("reads {} from the {first}", self.cell(first, row)),
            BackfillAt::Other(_) => format!("reads {} from the {}", self.cell(first.other(), row), first.other()),
            BackfillAt::Put(truth, seen) => {
                put(Side::Target, truth, seen, outcome, self.before.cell(Side::Target, row))
            }
            BackfillAt::Again(_) => format!("reads {} from the source again", self.cell(Side::Source, row)),
            BackfillAt::Linger => "has waited for the linger of its put".to_owned(),
        };
        format!("{what}{more}")
    }

    fn repairs(&self, place: u8, outcome: Outcome) -> (String, String) {
        let Some(repair) = self.before.repairs[place as usize] else { return Default::default() };
        let row = repair.row;
        let of = if self.protocol.dropped(Rule::TablesHalfOpen) { repair.mark.of } else { row };
        let stage = self.protocol.plans.of(repair.revision).decisions[of as usize].stage;
        let (authority, secondary) = (stage.authority(), stage.authority().other());
        let first = self.protocol.reads_first(authority, Rule::RepairOrder);
        let read = |side: Side| match outcome {
            Outcome::Lagging => {
                let seen = self.before.stores[side as usize].replica[row as usize];
                format!("reads {} from a lagging replica of the {side}", value(seen))
            }
            Outcome::Applied | Outcome::Refused | Outcome::Lost | Outcome::Dropped | Outcome::Skipped => {
                let role = if side == authority { ", its authority" } else { "" };
                format!("reads {}{} from the {side}{role}", self.cell(side, row), self.of(row))
            }
        };
        let what = match repair.at {
            RepairAt::One => read(first),
            RepairAt::Other(_) => read(first.other()),
            RepairAt::Put(truth, seen) => put(secondary, truth, seen, outcome, self.before.cell(secondary, row)),
            RepairAt::Again(_) => format!("{} again", read(authority)),
            RepairAt::Linger => "has waited for the linger of its put".to_owned(),
        };
        let done = if self.after.repairs[place as usize].is_none() { "; it is done with the mark" } else { "" };
        (repairer(repair.home), format!("{what}{done}"))
    }

    fn looks(&self, look: Look) -> String {
        let Some(verifying) = self.before.verification else { return String::new() };
        let what = match (look, verifying.seen) {
            (Look::Read, None) => format!("reads {} from the source", self.cell(Side::Source, verifying.row)),
            (Look::Read, Some(_)) => format!("reads {} from the target", self.cell(Side::Target, verifying.row)),
            (Look::Again, _) => "finds a difference and reads again".to_owned(),
            (Look::Counts, _) => "finds a difference, counts it and marks the row".to_owned(),
            (Look::Lost, _) => "loses its connection".to_owned(),
        };
        let ended = match (self.after.verification, self.after.control.verification) {
            (None, Some(found)) => match found.verdict {
                Verdict::Verified => "; verified",
                Verdict::Diverged(_) => "; diverged",
                Verdict::Unknown(_) => "; unknown",
            },
            (Some(_), _) | (None, None) => "",
        };
        format!("{what}{ended}")
    }

    fn late(&self, place: u8) -> String {
        let Some(late) = self.before.late[place as usize] else { return String::new() };
        let whose = match late.call.owner {
            Owner::Operation(_) => "a late write",
            Owner::Repair(_) => "the late put of a repair",
            Owner::Backfill => "the late put of the backfill",
        };
        format!("{whose} to the {}", late.call.side)
    }
}

fn repairer(home: Option<u8>) -> String {
    match home {
        Some(id) => format!("repair in {}", instance(id)),
        None => "repair".to_owned(),
    }
}

fn written(write: Write, number: u8) -> String {
    match write {
        Write::Put => format!("write {}", number + 2),
        Write::PutOne => "write 1".to_owned(),
        Write::Delete => "delete".to_owned(),
        Write::Increment => "add 1".to_owned(),
        Write::Clear => "delete all rows by a predicate".to_owned(),
        Write::Insert => format!("insert {} under an id that the database makes", number + 2),
    }
}

fn put(side: Side, truth: Value, seen: Value, outcome: Outcome, now: Value) -> String {
    let puts = format!("puts {} over {} on the {side}", value(truth), value(seen));
    match outcome {
        Outcome::Lost => format!("{puts}; the answer is lost"),
        Outcome::Applied | Outcome::Refused | Outcome::Dropped | Outcome::Skipped | Outcome::Lagging if now != seen => {
            format!("{puts}, where there is {} by now", value(now))
        }
        Outcome::Applied | Outcome::Refused | Outcome::Dropped | Outcome::Skipped | Outcome::Lagging => puts,
    }
}
