//! The service under a flag service of one's own, by an OpenFeature provider.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use async_trait::async_trait;
use crossfade::{Migration, Stage, plan};
use open_feature::provider::{FeatureProvider, ProviderMetadata, ResolutionDetails};
use open_feature::{
    Client, EvaluationContext, EvaluationError, EvaluationErrorCode, EvaluationResult, OpenFeature, StructValue,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A flag service with one flag.
#[derive(Clone)]
struct Service {
    says: Arc<Mutex<Result<String, EvaluationErrorCode>>>,
    asked_for: Arc<Mutex<Option<String>>>,
    name: ProviderMetadata,
}

impl Service {
    fn saying(text: &str) -> Service {
        let says = Arc::new(Mutex::new(Ok(text.to_owned())));
        Service { says, asked_for: Arc::default(), name: ProviderMetadata::new("one flag") }
    }

    fn say(&self, text: &str) {
        *self.says.lock().unwrap() = Ok(text.to_owned());
    }

    fn fail(&self, code: EvaluationErrorCode) {
        *self.says.lock().unwrap() = Err(code);
    }

    async fn client(&self) -> Client {
        let mut api = OpenFeature::default();
        api.set_provider(self.clone()).await;
        api.create_client()
    }
}

fn no<T>() -> EvaluationResult<T> {
    Err(EvaluationError { code: EvaluationErrorCode::TypeMismatch, message: None })
}

#[async_trait]
impl FeatureProvider for Service {
    fn metadata(&self) -> &ProviderMetadata {
        &self.name
    }

    async fn resolve_bool_value(&self, _: &str, _: &EvaluationContext) -> EvaluationResult<ResolutionDetails<bool>> {
        no()
    }

    async fn resolve_int_value(&self, _: &str, _: &EvaluationContext) -> EvaluationResult<ResolutionDetails<i64>> {
        no()
    }

    async fn resolve_float_value(&self, _: &str, _: &EvaluationContext) -> EvaluationResult<ResolutionDetails<f64>> {
        no()
    }

    async fn resolve_string_value(
        &self,
        flag: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        *self.asked_for.lock().unwrap() = context.targeting_key.clone();
        let says = self.says.lock().unwrap().clone();
        match says {
            Ok(text) if flag == "events-migration" => Ok(ResolutionDetails::new(text)),
            Ok(_) => Err(EvaluationError { code: EvaluationErrorCode::FlagNotFound, message: None }),
            Err(code) => Err(EvaluationError { code, message: None }),
        }
    }

    async fn resolve_struct_value(
        &self,
        _: &str,
        _: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        no()
    }
}

fn at(migration: &Migration, stage: Stage) -> usize {
    (0..1_000u64).filter(|user| migration.stage_of(user).unwrap() == stage).count()
}

/// Longer than the flag is asked for again, by the paused clock.
async fn a_moment() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

#[tokio::test(start_paused = true)]
async fn the_flag_moves_a_share_of_the_keys_and_its_loss_moves_nobody() {
    let service = Service::saying("dual-write");
    let source = plan::openfeature(service.client().await, "events-migration").one_process();
    let migration = Migration::builder("events").plan(source).build().await.unwrap();
    assert_eq!(at(&migration, Stage::DualWrite), 1_000);
    assert_eq!(service.asked_for.lock().unwrap().as_deref(), Some("events"));
    service.say("shadow 25");
    a_moment().await;
    let moved = at(&migration, Stage::Shadow);
    assert!((150..350).contains(&moved) && at(&migration, Stage::DualWrite) == 1_000 - moved, "{moved}");

    for trouble in [EvaluationErrorCode::ProviderNotReady, EvaluationErrorCode::FlagNotFound] {
        service.fail(trouble);
        a_moment().await;
        assert_eq!(at(&migration, Stage::Shadow), moved, "never a default (R11)");
    }
    for nonsense in ["", "true", "complete", "off"] {
        service.say(nonsense);
        a_moment().await;
        assert_eq!(at(&migration, Stage::Shadow), moved, "`{nonsense}` is no lawful step");
    }
    assert_eq!(migration.observe().plans_refused, 5, "the silence is said once");
    service.say("shadow");
    a_moment().await;
    assert_eq!(at(&migration, Stage::Shadow), 1_000);
}

#[tokio::test(start_paused = true)]
async fn every_revision_stands_for_the_stated_time_before_the_next() {
    let service = Service::saying("off");
    let settle = Duration::from_secs(60);
    let source = plan::openfeature(service.client().await, "events-migration").settle(settle);
    let migration = Migration::builder("events").plan(source).build().await.unwrap();
    service.say("dual-write");
    a_moment().await;
    assert_eq!(at(&migration, Stage::DualWrite), 1_000);
    service.say("shadow");
    tokio::time::sleep(settle / 2).await;
    assert_eq!(at(&migration, Stage::DualWrite), 1_000, "others may not have heard of dual-write yet");
    tokio::time::sleep(settle).await;
    assert_eq!(at(&migration, Stage::Shadow), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_flag_that_cannot_be_had_or_settled_begins_nothing() {
    let why = |error: crossfade::BuildError| std::error::Error::source(&error).unwrap().to_string();
    let service = Service::saying("off");
    let unsaid = plan::openfeature(service.client().await, "events-migration");
    let refused = why(Migration::builder("events").plan(unsaid).build().await.unwrap_err());
    assert!(refused.contains(".settle("), "{refused}");
    let missing = plan::openfeature(service.client().await, "another").one_process();
    let refused = why(Migration::builder("events").plan(missing).build().await.unwrap_err());
    assert!(refused.contains("`another` gives no text: FLAG_NOT_FOUND"), "{refused}");
    service.say("shdow");
    let wrong = plan::openfeature(service.client().await, "events-migration").one_process();
    let refused = why(Migration::builder("events").plan(wrong).build().await.unwrap_err());
    assert!(refused.contains("as in `shadow 25`"), "{refused}");
}
