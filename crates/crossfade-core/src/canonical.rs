//! The one text of a plan that is hashed.
//!
//! It says what the wire form says, and no more, so that a plan has the same hash before and after it travelled, and
//! in every version of this crate. A new property of plans is added at its end, and only where it is not as by
//! default: then the hash of a plan without it stays.

use crate::options::{Checks, History, Options, SampleValues};
use crate::plan::{Phase, Plan};
use crate::position::{End, Position};
use std::fmt::Write as _;
use std::time::Duration;

/// The text. A line for each property; whatever people chose is preceded by its length in bytes.
pub(crate) fn text(plan: &Plan) -> String {
    let mut out = Text(String::from("crossfade plan 1\n"));
    out.chosen("migration", plan.migration());
    out.chosen("salt", plan.salt().text());
    out.position("position", plan.position());
    match plan.phase() {
        Phase::Settled => out.word("phase", "settled"),
        Phase::Hold { next } => out.position("hold", next),
        Phase::Move { previous } => out.position("move", previous),
    }
    out.word("whole", if plan.whole() { "true" } else { "false" });
    out.options(plan.options());
    if plan.forced() {
        out.word("forced", "true");
    }
    out.0
}

struct Text(String);

impl Text {
    fn word(&mut self, name: &str, word: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name} {word}");
    }

    fn number(&mut self, name: &str, number: u64) {
        let _ = writeln!(self.0, "{name} {number}");
    }

    fn millis(&mut self, name: &str, duration: Duration) {
        self.number(name, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    }

    fn chosen(&mut self, name: &str, text: &str) {
        let _ = writeln!(self.0, "{name} {} {text}", text.len());
    }

    fn position(&mut self, name: &str, position: &Position) {
        self.word(name, position.stage().name());
        if let Some((edge, share)) = position.ramp() {
            let _ = writeln!(self.0, "ramp {} {}", edge.later().name(), share.buckets());
        }
        for pin in position.pins() {
            let end = match pin.end {
                End::Earlier => "pin-earlier",
                End::Later => "pin-later",
            };
            self.chosen(end, &pin.key);
        }
    }

    fn options(&mut self, options: &Options) {
        let Options {
            compare,
            checks,
            history,
            secondary_wait,
            secondary_timeout,
            secondary_in_flight,
            linger,
            hold_bound,
            settle,
            sample_values,
        } = options;
        self.number("compare", compare.buckets().into());
        match checks {
            Checks::Sample(share) => self.number("checks-sample", share.buckets().into()),
            Checks::Full => self.word("checks", "full"),
        }
        self.word(
            "history",
            match history {
                History::Pending => "pending",
                History::Moved => "moved",
            },
        );
        self.millis("secondary-wait-ms", *secondary_wait);
        self.millis("secondary-timeout-ms", *secondary_timeout);
        self.number("secondary-in-flight", (*secondary_in_flight).into());
        self.millis("linger-ms", *linger);
        self.millis("hold-bound-ms", *hold_bound);
        self.millis("settle-ms", *settle);
        match sample_values {
            SampleValues::Withheld => {}
            SampleValues::Shared => self.word("sample-values", "shared"),
        }
    }
}
