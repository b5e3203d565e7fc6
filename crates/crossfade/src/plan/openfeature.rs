//! A plan that a flag names: bring your own flag service, by any OpenFeature provider.
//!
//! The flag is a string, `STAGE` or `STAGE PERCENT` in the words of `crossfade ramp`: `shadow 25` is 25 % of the keys at
//! shadow, the others at dual-write. It is asked for off the hot path, with the migration's id as targeting key; which keys
//! belong to a share is decided here, by the bucket of each key, so that every process and every read agrees about it.
//!
//! A flag service cannot acknowledge (R12): no process knows when the others have heard of a change, so every revision
//! stands for a stated time before the next. Losing the provider keeps the last plan (R11).

use super::wanted::Wanted;
use super::{PlanSource, PlanSourceError, Sharing, Steward};
use crossfade_core::{Options, Plan, PlanSpec, Position, Revision, Share, Stage};
use futures::future::BoxFuture;
use open_feature::{Client, EvaluationContext, EvaluationErrorCode};
use std::time::Duration;

/// A provider that says nothing for so long has not answered.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The plan that a flag names. See [`openfeature()`].
pub struct OpenFeatureSource {
    client: Client,
    flag: String,
    every: Duration,
    settle: Option<Duration>,
    salt: Option<String>,
    options: Options,
    /// What the flag said last, so that only a change is acted on.
    last: String,
}

impl std::fmt::Debug for OpenFeatureSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFeatureSource")
            .field("flag", &self.flag)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// The plan that a string flag of this client's provider names, asked for once a second. Say with
/// [`settle`](OpenFeatureSource::settle) how long every revision stands, or with
/// [`one_process`](OpenFeatureSource::one_process) that nobody else runs the migration.
///
/// ```no_run
/// # async fn f(client: open_feature::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use crossfade::{Migration, plan};
/// let flag = plan::openfeature(client, "events-migration").settle(std::time::Duration::from_secs(30));
/// let migration = Migration::builder("events").plan(flag).build().await?;
/// # Ok(()) }
/// ```
pub fn openfeature(client: Client, flag: impl Into<String>) -> OpenFeatureSource {
    OpenFeatureSource {
        client,
        flag: flag.into(),
        every: Duration::from_secs(1),
        settle: None,
        salt: None,
        options: Options::default(),
        last: String::new(),
    }
}

/// Why the flag gave no text.
enum Silence {
    /// Asking again may help.
    Lost(String),
    /// Somebody has to change something.
    Wrong(String),
}

impl OpenFeatureSource {
    /// How long every revision stands before the next: longer than it takes a change to reach the last process, caches
    /// and polling of the provider included. Where authority moves, `hold-bound-ms` has to be more than twice as long.
    #[must_use]
    pub fn settle(mut self, time: Duration) -> OpenFeatureSource {
        self.settle = Some(time);
        self
    }

    /// Nobody but this process runs the migration: nothing has to settle.
    #[must_use]
    pub fn one_process(self) -> OpenFeatureSource {
        self.settle(Duration::ZERO)
    }

    /// How often the flag is asked for.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> OpenFeatureSource {
        self.every = interval.max(Duration::from_millis(1));
        self
    }

    /// Mixed into the bucket of every key; fixed for the whole migration. Default: the migration's id.
    #[must_use]
    pub fn salt(mut self, salt: impl Into<String>) -> OpenFeatureSource {
        self.salt = Some(salt.into());
        self
    }

    /// Options of every plan; their settle time is that of [`settle`](OpenFeatureSource::settle).
    #[must_use]
    pub fn options(mut self, options: Options) -> OpenFeatureSource {
        self.options = options;
        self
    }

    async fn ask(&self, migration: &str) -> Result<String, Silence> {
        let context = EvaluationContext::default().with_targeting_key(migration);
        let asked = self.client.get_string_value(&self.flag, Some(&context), None);
        match tokio::time::timeout(ANSWERS_WITHIN, asked).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => {
                let message = error.message.map(|message| format!(", {message}")).unwrap_or_default();
                let said = format!("the flag `{}` gives no text: {}{message}", self.flag, error.code);
                Err(match error.code {
                    EvaluationErrorCode::ProviderNotReady | EvaluationErrorCode::General(_) => Silence::Lost(said),
                    EvaluationErrorCode::FlagNotFound
                    | EvaluationErrorCode::ParseError
                    | EvaluationErrorCode::TypeMismatch
                    | EvaluationErrorCode::TargetingKeyMissing
                    | EvaluationErrorCode::InvalidContext => Silence::Wrong(said),
                })
            }
            Err(_) => Err(Silence::Lost(format!("the provider of the flag `{}` does not answer", self.flag))),
        }
    }

    fn plan(&self, text: &str, migration: &str) -> Result<Plan, String> {
        let position = position(text).map_err(|why| {
            format!(
                "the flag `{}` says `{text}`: {why}; let it say STAGE or STAGE PERCENT, as in `shadow 25`",
                self.flag
            )
        })?;
        let settle = self.settle.unwrap_or_default();
        let spec = PlanSpec {
            salt: self.salt.clone(),
            options: Options { settle, ..self.options.clone() },
            ..PlanSpec::at(migration, position.stage())
        };
        let plan = Plan::new(spec).and_then(|plan| plan.settled_at(position));
        plan.map_err(|error| error.to_string())
    }
}

/// `STAGE` or `STAGE PERCENT`.
fn position(text: &str) -> Result<Position, String> {
    let mut words = text.trim().trim_end_matches('%').split_whitespace();
    let stage: Stage = words.next().unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
    let Some(percent) = words.next() else { return Ok(Position::at(stage)) };
    let share: Share = percent.parse().map_err(|error| format!("{error}"))?;
    if let Some(more) = words.next() {
        return Err(format!("`{more}` is one word too many"));
    }
    let before = stage.previous().ok_or_else(|| format!("nothing leads to {stage} by a share"))?;
    match before.edge() {
        Some(_) if share == Share::ALL => Ok(Position::at(stage)),
        Some(_) if share == Share::NONE => Ok(Position::at(before)),
        Some(edge) => Ok(Position::ramping(edge, share)),
        None => Err(format!("nothing leads to {stage} by a share")),
    }
}

impl PlanSource for OpenFeatureSource {
    fn sharing(&self) -> Sharing {
        Sharing::BySettle
    }

    fn first<'a>(&'a mut self, migration: &'a str) -> BoxFuture<'a, Result<(Plan, Revision), PlanSourceError>> {
        Box::pin(async move {
            if self.settle.is_none() {
                return Err(PlanSourceError::Other(
                    "a flag cannot be acknowledged: say with `.settle(…)` how long a change needs to reach every process, or with `.one_process()` that there is one".to_owned(),
                ));
            }
            loop {
                match self.ask(migration).await {
                    Ok(text) => {
                        let plan = self.plan(&text, migration).map_err(PlanSourceError::Other)?;
                        self.last = text;
                        return Ok((plan.clone(), Revision { incarnation: 1, number: 1, hash: plan.fingerprint() }));
                    }
                    Err(Silence::Wrong(why)) => return Err(PlanSourceError::Other(why)),
                    Err(Silence::Lost(why)) => {
                        tracing::warn!(migration, why, "no plan yet: the flag is asked for again")
                    }
                }
                tokio::time::sleep(self.every).await;
            }
        })
    }

    fn follow(mut self: Box<Self>, steward: Steward) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut silent = false;
            let mut wanted = Wanted::default();
            loop {
                tokio::time::sleep(self.every).await;
                if let Err(why) = wanted.try_now(&steward).await {
                    steward.refused(&why);
                }
                let Some((here, _)) = steward.standing() else { return };
                let text = match self.ask(here.migration()).await {
                    Ok(text) => text,
                    Err(Silence::Lost(why) | Silence::Wrong(why)) => {
                        // Said once; a flag that is gone is no new plan (R11).
                        if !std::mem::replace(&mut silent, true) {
                            steward.refused(&why);
                        }
                        continue;
                    }
                };
                silent = false;
                if text == self.last {
                    continue;
                }
                let plan = self.plan(&text, here.migration());
                self.last = text;
                match plan {
                    Err(why) => {
                        wanted.forget();
                        steward.refused(&why);
                    }
                    Ok(plan) => {
                        wanted.set(plan);
                        if let Err(why) = wanted.try_now(&steward).await {
                            steward.refused(&why);
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
    use super::position;

    #[test]
    fn a_flag_speaks_as_the_command_line_does() {
        for (text, reads) in [
            ("off", "off"),
            (" shadow ", "shadow"),
            ("shadow 25", "dual-write, 25 % of keys at shadow"),
            ("live 0.5 %", "shadow, 0.5 % of keys at live"),
            ("live 0", "shadow"),
            ("live 100%", "live"),
            ("dualwrite 10", "off, 10 % of keys at dual-write"),
        ] {
            assert_eq!(position(text).unwrap().to_string(), reads, "{text}");
        }
        for text in ["", "true", "shadow x", "shadow 101", "off 5", "shadow 25 50", "25"] {
            assert!(position(text).is_err(), "{text}");
        }
    }
}
