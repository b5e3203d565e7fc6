//! `launchdarkly-server-sdk`'s `Migrator` over the same DAO, set up as favourably as it can be: flags from memory, a
//! percentage rollout of one rule, events built but sent nowhere, contexts made beforehand.

use super::dao::{Dao, Event, EventDao, Pace, user_of};
use super::subjects::{Caller, Direct};
use crate::measure::used;
use anyhow::{Context as _, anyhow, ensure};
use crossfade::Stage;
use futures::FutureExt;
use launchdarkly_server_sdk::{
    Client, ConfigBuilder, Context, ContextBuilder, ExecutionOrder, Flag, MigratorBuilder, NullEventProcessorBuilder,
    Stage as Theirs, TestData,
};
use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;

const FLAG: &str = "events";
/// Contexts made beforehand, used in turn.
const CONTEXTS: u64 = 1_024;

/// A caller that stays on its thread: a `Migrator` is not `Send`, and calls need it exclusively.
pub(crate) trait LocalCaller {
    fn read(&mut self, number: u64) -> impl Future<Output = ()>;
    fn write(&mut self, number: u64) -> impl Future<Output = ()>;
}

impl<P: Pace + Copy> LocalCaller for Direct<P> {
    async fn read(&mut self, number: u64) {
        Caller::read(self, number).await;
    }

    async fn write(&mut self, number: u64) {
        Caller::write(self, number).await;
    }
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Off => "off",
        Stage::DualWrite => "dualwrite",
        Stage::Shadow => "shadow",
        Stage::Live => "live",
        Stage::RampDown => "rampdown",
        Stage::Complete => "complete",
    }
}

/// A started client whose flag has a rollout that puts every key at `stage`.
pub(crate) async fn client(stage: Stage) -> anyhow::Result<Arc<Client>> {
    let place = Stage::ALL.iter().position(|each| *each == stage).unwrap_or_default();
    let other = (place + 1) % Stage::ALL.len();
    let flag: Flag = serde_json::from_value(serde_json::json!({
        "key": FLAG, "version": 1, "on": true, "salt": "events", "targets": [], "rules": [], "prerequisites": [],
        "offVariation": 0, "variations": Stage::ALL.map(name), "migration": {},
        "fallthrough": { "rollout": { "variations": [
            { "variation": place, "weight": 100_000 }, { "variation": other, "weight": 0 }
        ] } },
        "clientSideAvailability": { "usingMobileKey": false, "usingEnvironmentId": false }
    }))?;
    let data = TestData::new();
    data.use_preconfigured_flag(flag);
    let config = ConfigBuilder::new("none")
        .data_source(&data)
        .event_processor(&NullEventProcessorBuilder::new())
        .build()
        .map_err(|error| anyhow!("LaunchDarkly's configuration was refused: {error}"))?;
    let client = Arc::new(Client::build(config).map_err(|error| anyhow!("no LaunchDarkly client: {error}"))?);
    client.start_with_default_executor();
    client.wait_for_initialization(std::time::Duration::from_secs(5)).await.context("no answer in time")?;
    let (found, _) = client.migration_variation(&context(user_of(1))?, FLAG, Theirs::Off);
    ensure!(found.to_string() == name(stage), "LaunchDarkly is at {found}, not at {stage}");
    Ok(client)
}

fn context(user: u64) -> anyhow::Result<Context> {
    ContextBuilder::new(user.to_string()).build().map_err(|error| anyhow!("no context: {error}"))
}

/// One caller of a migrator of its own over two DAOs; reads go to both at the same time, as by default.
pub(crate) fn caller<S: Pace + Copy, T: Pace + Copy>(
    client: Arc<Client>,
    source: S,
    target: T,
) -> anyhow::Result<impl LocalCaller> {
    let (source, target) = (Dao(source), Dao(target));
    let migrator = MigratorBuilder::new(client)
        .read_execution_order(ExecutionOrder::Concurrent)
        .read(
            move |event: &Event| {
                let user = event.user_id;
                async move { source.total_of(user).await.map_err(|error| error.to_string()) }.boxed()
            },
            move |event: &Event| {
                let user = event.user_id;
                async move { target.total_of(user).await.map_err(|error| error.to_string()) }.boxed()
            },
            Some(|ours: &u64, theirs: &u64| ours == theirs),
        )
        .write(
            move |event: &Event| {
                let event = event.clone();
                async move { source.record(&event).await.map(|()| 0).map_err(|error| error.to_string()) }.boxed()
            },
            move |event: &Event| {
                let event = event.clone();
                async move { target.record(&event).await.map(|()| 0).map_err(|error| error.to_string()) }.boxed()
            },
        )
        .build()
        .map_err(|error| anyhow!("no migrator: {error}"))?;
    let contexts = (0..CONTEXTS).map(|number| context(user_of(number))).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Migrator { migrator, contexts })
}

struct Migrator<M> {
    migrator: M,
    contexts: Vec<Context>,
}

impl<FRO, FRN, FWO, FWN> LocalCaller for Migrator<launchdarkly_server_sdk::Migrator<Event, u64, FRO, FRN, FWO, FWN>>
where
    FRO: Fn(&Event) -> futures::future::BoxFuture<Result<u64, String>> + Sync + Send,
    FRN: Fn(&Event) -> futures::future::BoxFuture<Result<u64, String>> + Sync + Send,
    FWO: Fn(&Event) -> futures::future::BoxFuture<Result<u64, String>> + Sync + Send,
    FWN: Fn(&Event) -> futures::future::BoxFuture<Result<u64, String>> + Sync + Send,
{
    async fn read(&mut self, number: u64) {
        let context = &self.contexts[(number % CONTEXTS) as usize];
        let event = black_box(Event::numbered(number));
        let answer = self.migrator.read(context, FLAG.to_owned(), Theirs::Off, event).await;
        used(answer.result);
    }

    async fn write(&mut self, number: u64) {
        let context = &self.contexts[(number % CONTEXTS) as usize];
        let event = black_box(Event::numbered(number));
        let answer = self.migrator.write(context, FLAG.to_owned(), Theirs::Off, event).await;
        used(answer.authoritative.result);
    }
}
