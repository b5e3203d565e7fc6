//! A plan in a TOML file, reloaded when the file changes.
//!
//! A file cannot acknowledge (R12): within this process the library performs R3 and R4 by itself; for several processes
//! that read the same file, `settle-ms` says how long every revision stands before the next.

use super::wanted::Wanted;
use super::{PlanSource, PlanSourceError, Sharing, Steward};
use crossfade_core::{End, plan::PhaseSpec, plan::PositionSpec, plan::RampSpec};
use crossfade_core::{Options, Pin, Plan, PlanError, PlanSpec, Revision, Share, Stage};
use futures::future::BoxFuture;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// A plan as a person writes it.
///
/// ```toml
/// migration = "events"                      # optional; must be the id given to the builder
/// stage = "dual-write"
/// ramp = { to = "shadow", percent = 25 }    # optional: 25 % of the keys are already at shadow
/// salt = "events"                           # optional; fixed for the whole migration
/// whole = false                             # the DAO has methods that cannot be split by key
/// [pins]
/// later = ["our-own-account"]
/// [options]
/// secondary-wait-ms = 50
/// ```
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PlanFile {
    migration: Option<Spanned<String>>,
    stage: Spanned<String>,
    ramp: Option<Spanned<RampFile>>,
    salt: Option<String>,
    #[serde(default)]
    whole: bool,
    #[serde(default)]
    pins: PinsFile,
    #[serde(default)]
    options: Options,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RampFile {
    to: Spanned<String>,
    percent: Spanned<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinsFile {
    #[serde(default)]
    earlier: Vec<String>,
    #[serde(default)]
    later: Vec<String>,
}

/// Why a plan file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanFileError {
    /// It cannot be read.
    #[error("cannot read the plan file {path}: check that it exists and may be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}, line {line}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What, and what to write instead.
        reason: String,
    },
}

impl PlanFile {
    /// Reads a plan from the text of a file. `migration` is the id that the file may leave out and must not contradict.
    ///
    /// # Errors
    /// The line, counted from 1, and the reason.
    pub fn parse(text: &str, migration: &str) -> Result<Plan, (usize, String)> {
        let line_of = |offset: usize| text.get(..offset).unwrap_or(text).matches('\n').count() + 1;
        let file: PlanFile = toml::from_str(text)
            .map_err(|error| (error.span().map_or(1, |span| line_of(span.start)), error.message().trim().to_owned()))?;
        let stage = |name: &Spanned<String>| {
            name.get_ref().parse::<Stage>().map_err(|error| (line_of(name.span().start), error.to_string()))
        };
        if let Some(id) = &file.migration
            && id.get_ref() != migration
        {
            let reason = format!("the plan is of migration `{}`, not of `{migration}`", id.get_ref());
            return Err((line_of(id.span().start), reason));
        }
        let ramp = match &file.ramp {
            None => None,
            Some(ramp) => {
                let RampFile { to, percent } = ramp.get_ref();
                let share = Share::from_percent(*percent.get_ref());
                let percent = share.map_err(|error| (line_of(percent.span().start), error.to_string()))?;
                Some(RampSpec { to: stage(to)?, percent })
            }
        };
        let pin = |end| move |key: &String| Pin { key: key.clone(), end };
        let pins = file.pins.later.iter().map(pin(End::Later)).chain(file.pins.earlier.iter().map(pin(End::Earlier)));
        let spec = PlanSpec {
            migration: migration.to_owned(),
            salt: file.salt.clone(),
            position: PositionSpec { stage: stage(&file.stage)?, ramp, pins: pins.collect() },
            phase: PhaseSpec::Settled,
            forced: false,
            whole: file.whole,
            options: file.options.clone(),
        };
        Plan::new(spec).map_err(|error| {
            let find =
                |word: &str| text.lines().position(|line| line.trim_start().starts_with(word)).map_or(1, |n| n + 1);
            let ramp_line = file.ramp.as_ref().map_or(1, |ramp| line_of(ramp.span().start));
            let line = match &error {
                PlanError::Edge { .. } | PlanError::AfterComplete | PlanError::Whole => ramp_line,
                PlanError::Salt(_) => find("salt"),
                PlanError::EmptyPin => find("[pins]"),
                PlanError::Option { name, .. } => find(name),
                PlanError::Id(_)
                | PlanError::ForcedSettled
                | PlanError::HeldAcross { .. }
                | PlanError::HeldForNothing { .. } => 1,
            };
            (line, error.to_string())
        })
    }
}

/// A plan in a file. See [`file()`].
#[derive(Debug, Clone)]
pub struct FileSource {
    path: PathBuf,
    every: Duration,
    /// What was read last, so that only a change is acted on.
    last: String,
}

/// The plan in a TOML file ([`PlanFile`]), looked at five times a second. An invalid edit, or one that jumps over an
/// edge, is refused with line and reason; the last plan stays.
pub fn file(path: impl AsRef<Path>) -> FileSource {
    FileSource { path: path.as_ref().to_owned(), every: Duration::from_millis(200), last: String::new() }
}

impl FileSource {
    /// How often the file is looked at.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> FileSource {
        self.every = interval.max(Duration::from_millis(1));
        self
    }

    async fn read(&self) -> Result<String, PlanFileError> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        read.unwrap_or_else(|_| Err(std::io::Error::other("the reading task ended early")))
            .map_err(|source| PlanFileError::Read { path: self.path.clone(), source })
    }

    fn parse(&self, text: &str, migration: &str) -> Result<Plan, PlanFileError> {
        PlanFile::parse(text, migration).map_err(|(line, reason)| self.invalid(line, reason))
    }

    fn invalid(&self, line: usize, reason: String) -> PlanFileError {
        PlanFileError::Invalid { path: self.path.clone(), line, reason }
    }

    /// The line that a step refused by the law is about: the stage.
    fn stage_line(text: &str) -> usize {
        text.lines().position(|line| line.trim_start().starts_with("stage")).map_or(1, |n| n + 1)
    }
}

impl PlanSource for FileSource {
    fn sharing(&self) -> Sharing {
        Sharing::BySettle
    }

    fn first<'a>(&'a mut self, migration: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>> {
        Box::pin(async move {
            self.last = self.read().await?;
            let plan = self.parse(&self.last, migration)?;
            let revision = Revision { incarnation: 1, number: 1, hash: plan.fingerprint() };
            Ok((plan, revision))
        })
    }

    fn follow(mut self: Box<Self>, steward: Steward) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut unreadable = false;
            let mut wanted = Wanted::default();
            loop {
                tokio::time::sleep(self.every).await;
                if let Err(why) = wanted.try_now(&steward).await {
                    steward.refused(&self.invalid(FileSource::stage_line(&self.last), why.to_string()));
                }
                let Some((here, _)) = steward.standing() else { return };
                let text = match self.read().await {
                    Ok(text) => text,
                    Err(error) => {
                        // Said once; a file that is gone is no new plan (R11).
                        if !std::mem::replace(&mut unreadable, true) {
                            steward.refused(&error);
                        }
                        continue;
                    }
                };
                unreadable = false;
                if text == self.last {
                    continue;
                }
                self.last = text;
                match self.parse(&self.last, here.migration()) {
                    Err(error) => {
                        wanted.forget();
                        steward.refused(&error);
                    }
                    Ok(plan) => {
                        wanted.set(plan);
                        if let Err(why) = wanted.try_now(&steward).await {
                            steward.refused(&self.invalid(FileSource::stage_line(&self.last), why.to_string()));
                        }
                    }
                }
            }
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_as_written() {
        let text = "stage = \"dual-write\"\nramp = { to = \"shadow\", percent = 12.5 }\nsalt = \"s\"\n[pins]\nlater = [\"us\"]\n[options]\nlinger-ms = 9\n";
        let plan = PlanFile::parse(text, "events").unwrap();
        assert_eq!(plan.position().to_string(), "dual-write, 12.5 % of keys at shadow");
        assert_eq!((plan.salt().text(), plan.position().pins().len()), ("s", 1));
        assert_eq!(plan.options().linger, Duration::from_millis(9));
    }

    #[test]
    fn mistakes_are_found_on_their_line() {
        let cases = [
            ("migration = \"events\"\nstage = \"shdow\"", 2, "unknown stage `shdow`"),
            ("stage = \"off\"\n\nramp = { to = \"shadow\", percent = 5 }", 3, "one edge on, from off to dual-write"),
            ("stage = \"off\"\nramp = { to = \"dual-write\", percent = 101 }", 2, "0 to 100"),
            ("stage = \"off\"\nramp = { to = \"dual-write\", percent = 0.0001 }", 2, "three decimals"),
            ("migration = \"orders\"\nstage = \"off\"", 1, "`orders`, not of `events`"),
            ("stage = \"off\"\nstaeg = 1", 2, "unknown field `staeg`"),
            ("stage = \"off\"\n[options]\nlinger-ms = 9999999999", 3, "at most 3600000"),
            ("stage = \"off\"\n[pins]\nlater = [\"\"]", 2, "empty key"),
            ("stage = \"complete\"\nramp = { to = \"off\", percent = 1 }", 2, "complete"),
            ("stage = \"off", 1, ""),
            ("", 1, "missing field `stage`"),
        ];
        for (text, line, reason) in cases {
            let (found, said) = PlanFile::parse(text, "events").unwrap_err();
            assert_eq!(found, line, "{text}: {said}");
            assert!(said.contains(reason), "{text}: {said}");
        }
    }
}
