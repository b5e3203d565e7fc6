//! What operators ask for ([`PlanSpec`], anything at all) and what may be used ([`Plan`], only ever valid).

use crate::cohort::{Bucket, CohortKey, Salt};
use crate::options::{Checks, Options};
use crate::position::{Pin, Position};
use crate::route::{ReadRoute, WriteRoute};
use crate::share::Share;
use crate::stage::Stage;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A ramp as people and files write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RampSpec {
    /// The stage it leads to: the next one.
    pub to: Stage,
    /// The share of the keys already there.
    pub percent: Share,
}

/// A position as people and files write it: not yet checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PositionSpec {
    /// The stage of the keys that the ramp has not reached.
    pub stage: Stage,
    /// The open ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<RampSpec>,
    /// Keys that sit at one end of the ramp.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
}

/// Where a plan is in a move of authority, as written (R4).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PhaseSpec {
    /// No move of authority is under way.
    #[default]
    Settled,
    /// Old roles; new writes of the keys that are to move wait.
    Hold(PositionSpec),
    /// New roles; writes of the keys that moved still wait.
    Move(PositionSpec),
}

/// A plan as people, files and the wire write it: not yet checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PlanSpec {
    /// The id of the migration.
    pub migration: String,
    /// Mixed into the hash of keys; the id by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Who is where.
    pub position: PositionSpec,
    /// Where the plan is in a move of authority.
    #[serde(default)]
    pub phase: PhaseSpec,
    /// The move of authority is a forced rollback (R20): an instance acknowledges the plan as soon as it is in force,
    /// without waiting for operations in flight. Lawful in phase hold and move only. A plan that is not forced does not
    /// mention it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// The application has operations over keys that cannot be split (R18).
    #[serde(default)]
    pub whole: bool,
    /// Sampling, bounds and budgets.
    #[serde(default)]
    pub options: Options,
}

impl PlanSpec {
    /// Every key of `migration` at `stage`, everything else as by default.
    #[must_use]
    pub fn at(migration: &str, stage: Stage) -> PlanSpec {
        PlanSpec {
            migration: migration.to_owned(),
            salt: None,
            position: PositionSpec { stage, ramp: None, pins: Vec::new() },
            phase: PhaseSpec::Settled,
            forced: false,
            whole: false,
            options: Options::default(),
        }
    }
}

/// Why a plan cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The id does not fit the places it is shown and stored in.
    #[error("`{0}` is no migration id: use 1 to 64 of a-z, 0-9, `-` and `_`, beginning with a letter")]
    Id(String),
    /// A salt is fixed for the whole migration, so that an absurd one is refused early.
    #[error("the salt has {0} bytes: use at most 128, without a zero byte")]
    Salt(usize),
    /// A ramp that is not to the next stage (R1).
    #[error(
        "a ramp leads one edge on, from {stage} to {next}, not to {to}: cross the edges one by one, and go back by a lower percentage"
    )]
    Edge {
        /// Where the ramp begins.
        stage: Stage,
        /// Where it may lead.
        next: Stage,
        /// Where it was to lead.
        to: Stage,
    },
    /// There is nothing after complete.
    #[error("no ramp leads on from complete: remove it")]
    AfterComplete,
    /// A pin without a key (R13).
    #[error("a pin has an empty key: name the cohort key that it pins")]
    EmptyPin,
    /// Some keys at shadow and some at live cannot be told apart by an operation over both (R18).
    #[error(
        "operations marked `whole` cannot be split by key: cross shadow ↔ live in one step, 0 % to 100 %, without pins"
    )]
    Whole,
    /// An option outside the range in which it means anything.
    #[error("option {name} is {value}: {advice}")]
    Option {
        /// The option as it is written.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What to set it to.
        advice: &'static str,
    },
    /// Force belongs to a move of authority (R20).
    #[error("only a plan in phase hold or move can be forced: leave `forced` out of a settled plan")]
    ForcedSettled,
    /// The other end of a held move is not a neighbour of this one.
    #[error("a held move joins two positions on one edge: {from} and {to} are not")]
    HeldAcross {
        /// The position in force.
        from: String,
        /// The position at the other end.
        to: String,
    },
    /// Nothing to hold.
    #[error("no key changes its authority between {from} and {to}: publish the step settled")]
    HeldForNothing {
        /// The position in force.
        from: String,
        /// The position at the other end.
        to: String,
    },
}

/// Where a plan is in a move of authority (R4).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No move of authority is under way.
    Settled,
    /// Old roles; new writes of the keys that are to move wait.
    Hold {
        /// Where they are to move.
        next: Position,
    },
    /// New roles; writes of the keys that moved still wait.
    Move {
        /// Where they came from.
        previous: Position,
    },
}

/// What one operation was told when it began; carried to its end (R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decision {
    /// The stage of the operation's key.
    pub stage: Stage,
    /// The bucket of the key.
    pub bucket: Bucket,
    /// The key's authority is moving: a write waits for the next revision; a read goes on (R4).
    pub held: bool,
}

/// A plan that was found valid: the only kind that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    migration: String,
    salt: Salt,
    position: Position,
    phase: Phase,
    forced: bool,
    whole: bool,
    options: Options,
}

impl Plan {
    /// Checks a specification.
    ///
    /// # Errors
    /// The first reason why it cannot be used.
    pub fn new(spec: PlanSpec) -> Result<Plan, PlanError> {
        let id = &spec.migration;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if !id.starts_with(|c: char| c.is_ascii_lowercase()) || id.len() > 64 || !id.chars().all(plain) {
            return Err(PlanError::Id(id.clone()));
        }
        let salt = spec.salt.as_deref().unwrap_or(id);
        if salt.len() > 128 || salt.contains('\0') {
            return Err(PlanError::Salt(salt.len()));
        }
        let position = valid_position(spec.position, spec.whole)?;
        let phase = match spec.phase {
            PhaseSpec::Settled => Phase::Settled,
            PhaseSpec::Hold(next) => Phase::Hold { next: other_end(&position, next, spec.whole)? },
            PhaseSpec::Move(previous) => Phase::Move { previous: other_end(&position, previous, spec.whole)? },
        };
        if spec.forced && matches!(phase, Phase::Settled) {
            return Err(PlanError::ForcedSettled);
        }
        check_options(&spec.options)?;
        Ok(Plan {
            salt: Salt::new(salt),
            migration: spec.migration,
            position,
            phase,
            forced: spec.forced,
            whole: spec.whole,
            options: spec.options,
        })
    }

    /// The id of the migration.
    #[must_use]
    pub fn migration(&self) -> &str {
        &self.migration
    }

    /// The salt of the hash.
    #[must_use]
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// Who is where.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Where the plan is in a move of authority.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The move of authority is a forced rollback (R20): an instance acknowledges this plan as soon as it is in force,
    /// without waiting for operations that began under an earlier one. Only ever true in phase hold or move.
    #[must_use]
    pub fn forced(&self) -> bool {
        self.forced
    }

    /// The application has operations that cannot be split by key (R18).
    #[must_use]
    pub fn whole(&self) -> bool {
        self.whole
    }

    /// Sampling, bounds and budgets.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What an operation on this key is to do. Asked once, when it begins (R2).
    #[must_use]
    #[inline]
    pub fn decide(&self, key: CohortKey<'_>) -> Decision {
        let bucket = self.salt.bucket(key);
        Decision { stage: self.position.stage_of(bucket, key), bucket, held: self.holds(bucket, key) }
    }

    /// The writes of this key wait (R4).
    #[inline]
    fn holds(&self, bucket: Bucket, key: CohortKey<'_>) -> bool {
        match &self.phase {
            Phase::Settled => false,
            Phase::Hold { next: other } | Phase::Move { previous: other } => {
                self.position.moves(other, bucket, key).is_some()
            }
        }
    }

    /// How an operation over keys that cannot be split is routed, and whether its writes wait (R18): every side that
    /// any key mirrors is written; a read is compared only where every key is.
    #[must_use]
    pub fn decide_whole(&self) -> (ReadRoute, WriteRoute, bool) {
        let (earlier, later) = self.position.occupied();
        // Validation keeps whole plans off a partial cut-over, so that both ends have one authority.
        let authority = earlier.authority();
        let compare = match (earlier.read_route().compare, later.read_route().compare) {
            (Some(side), Some(_)) => Some(side),
            (None, _) | (_, None) => None,
        };
        let mirrored = earlier.is_mirrored() || later.is_mirrored();
        let secondary = mirrored.then_some(authority.other());
        let held = !matches!(self.phase, Phase::Settled);
        (ReadRoute { authority, compare }, WriteRoute { authority, secondary }, held)
    }

    /// A hash of everything the plan says on the wire, for [`Revision::hash`](crate::Revision::hash). It is the same
    /// in every version of this crate, and before and after the plan travelled.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(crate::canonical::text(self).as_bytes())
    }

    /// The same plan, settled at another position. Not a step by itself: see [`Plan::steps_to`](crate::Plan::steps_to).
    ///
    /// # Errors
    /// When the position is not one that this plan can have (R18).
    pub fn settled_at(&self, position: Position) -> Result<Plan, PlanError> {
        refuse_split(&position, self.whole)?;
        Ok(Plan { position, phase: Phase::Settled, forced: false, ..self.clone() })
    }

    /// The same plan with other options.
    ///
    /// # Errors
    /// When an option is out of range.
    pub fn with_options(&self, options: Options) -> Result<Plan, PlanError> {
        check_options(&options)?;
        Ok(Plan { options, ..self.clone() })
    }

    /// The same plan in another phase; for the law of steps only, which has checked it.
    pub(crate) fn in_phase(&self, position: Position, phase: Phase) -> Plan {
        Plan { position, phase, forced: false, ..self.clone() }
    }

    /// The same plan, forced where it is held; for the law of steps only.
    pub(crate) fn by_force(self) -> Plan {
        let forced = !matches!(self.phase, Phase::Settled);
        Plan { forced, ..self }
    }

    /// The plan as it is written on the wire.
    #[must_use]
    pub fn spec(&self) -> PlanSpec {
        PlanSpec {
            migration: self.migration.clone(),
            salt: Some(self.salt.text().to_owned()),
            position: position_spec(&self.position),
            phase: match &self.phase {
                Phase::Settled => PhaseSpec::Settled,
                Phase::Hold { next } => PhaseSpec::Hold(position_spec(next)),
                Phase::Move { previous } => PhaseSpec::Move(position_spec(previous)),
            },
            forced: self.forced,
            whole: self.whole,
            options: self.options.clone(),
        }
    }
}

fn position_spec(position: &Position) -> PositionSpec {
    PositionSpec {
        stage: position.stage(),
        ramp: position.ramp().map(|(edge, percent)| RampSpec { to: edge.later(), percent }),
        pins: position.pins().to_vec(),
    }
}

fn valid_position(spec: PositionSpec, whole: bool) -> Result<Position, PlanError> {
    if spec.pins.iter().any(|pin| pin.key.is_empty()) {
        return Err(PlanError::EmptyPin);
    }
    let position = match (spec.ramp, spec.stage.edge()) {
        (None, _) => Position::at(spec.stage),
        (Some(_), None) => return Err(PlanError::AfterComplete),
        (Some(ramp), Some(edge)) if ramp.to == edge.later() => Position::ramping(edge, ramp.percent),
        (Some(ramp), Some(edge)) => {
            return Err(PlanError::Edge { stage: spec.stage, next: edge.later(), to: ramp.to });
        }
    };
    let position = position.with_pins(spec.pins);
    refuse_split(&position, whole)?;
    Ok(position)
}

/// R18: with operations that cannot be split, shadow ↔ live is crossed by all keys at once.
fn refuse_split(position: &Position, whole: bool) -> Result<(), PlanError> {
    match position.ramp() {
        Some((edge, share)) if whole && edge.moves_authority() => {
            let split = share != Share::NONE && share != Share::ALL;
            if split || !position.pins().is_empty() { Err(PlanError::Whole) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

fn other_end(position: &Position, spec: PositionSpec, whole: bool) -> Result<Position, PlanError> {
    let other = valid_position(spec, whole)?;
    let (from, to) = (position.to_string(), other.to_string());
    if position.common_edge(&other).is_none() {
        return Err(PlanError::HeldAcross { from, to });
    }
    if !position.moves_authority(&other) {
        return Err(PlanError::HeldForNothing { from, to });
    }
    Ok(other)
}

fn check_options(options: &Options) -> Result<(), PlanError> {
    let Options {
        compare: _,
        checks,
        history: _,
        secondary_wait,
        secondary_timeout,
        secondary_in_flight,
        linger,
        hold_bound,
        settle,
        sample_values: _,
    } = options;
    let refuse = |name, value: String, advice| Err(PlanError::Option { name, value, advice });
    let millis = |duration: &Duration| format!("{} ms", duration.as_millis());
    match checks {
        Checks::Full | Checks::Sample(_) => {}
    }
    if secondary_timeout < secondary_wait || secondary_timeout.is_zero() {
        return refuse(
            "secondary-timeout-ms",
            millis(secondary_timeout),
            "make it at least secondary-wait-ms, and more than 0",
        );
    }
    if *secondary_in_flight == 0 {
        return refuse("secondary-in-flight", "0".into(), "allow at least 1");
    }
    if hold_bound.is_zero() || *hold_bound > Duration::from_secs(60) {
        return refuse("hold-bound-ms", millis(hold_bound), "writes wait this long at the most: use 1 to 60000");
    }
    if *linger > Duration::from_secs(3_600) {
        return refuse("linger-ms", millis(linger), "use at most 3600000, one hour");
    }
    if *settle > Duration::from_secs(3_600) {
        return refuse("settle-ms", millis(settle), "use at most 3600000, one hour");
    }
    Ok(())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
