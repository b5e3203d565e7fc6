//! The nemesis: kills, stops, cuts and delays, one thing after the other, without end.

use super::fleet::{App, Process};
use super::proxy::Weather;
use super::world::{World, count};
use crate::clock::Dice;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Which trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mood {
    /// All of it.
    Storm,
    /// Nobody dies and nothing is lost: authority moves as often as it can, among processes that pause and delays.
    Calm,
    /// Effects that land after they were given up, while nobody dies: what is repaired too early shows only then.
    Late,
}

/// Makes trouble until the run ends.
pub(crate) async fn run(world: Arc<World>, force: Arc<AtomicBool>, every: Duration, mood: Mood) -> anyhow::Result<()> {
    let mut dice = Dice::new(world.ground.seed ^ 0x6e65);
    loop {
        let pause = u64::try_from(every.as_millis()).unwrap_or(1_000);
        tokio::time::sleep(Duration::from_millis(pause / 2 + dice.below(pause.max(1)))).await;
        let _no_quiet_moment = world.peace.read().await;
        let side = usize::from(dice.percent(50));
        if mood == Mood::Calm {
            match dice.percent(50) {
                true => stop_app(&world, &mut dice, Some(millis(300))).await,
                false => weather(&world, side, Weather::Delay(millis(200 + dice.below(300))), millis(300)).await,
            }
            continue;
        }
        if mood == Mood::Late {
            weather(&world, side, Weather::Delay(millis(1_000 + dice.below(500))), millis(200 + dice.below(300))).await;
            continue;
        }
        match dice.below(100) {
            0..14 => kill_app(&world, &mut dice).await?,
            14..18 => deploy_app(&world, &mut dice).await?,
            18..32 => stop_app(&world, &mut dice, None).await,
            32..50 => {
                weather(&world, side, Weather::Delay(millis(300 + dice.below(1_200))), millis(300 + dice.below(1_200)))
                    .await
            }
            50..62 => weather(&world, side, Weather::DropAnswers, millis(50 + dice.below(400))).await,
            62..72 => weather(&world, side, Weather::Refuse, millis(100 + dice.below(900))).await,
            72..80 => weather(&world, side, Weather::HalfOpen, millis(300 + dice.below(1_500))).await,
            80..88 => restart_database(&world, side).await?,
            88..93 => restart_plane(&world, &mut dice).await?,
            _ => force.store(true, Ordering::Relaxed),
        }
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const SIDES: [&str; 2] = ["source", "target"];

async fn weather(world: &World, side: usize, weather: Weather, lasts: Duration) {
    world.say(&format!("{} {weather:?} for {lasts:?}", SIDES[side]));
    count(&world.counts.partitions);
    world.proxies[side].set(weather);
    tokio::time::sleep(lasts).await;
    world.proxies[side].set(Weather::Fair);
}

/// kill -9, and another in its place.
async fn kill_app(world: &World, dice: &mut Dice) -> anyhow::Result<()> {
    let mut apps = world.apps.lock().await;
    if apps.is_empty() {
        return Ok(());
    }
    let place = usize::try_from(dice.below(apps.len() as u64)).unwrap_or(0);
    let app = apps.swap_remove(place);
    world.say(&format!("kill -9 {}", app.process.name));
    count(&world.counts.kills);
    app.kill(world).await;
    apps.push(App::start(world).await?);
    Ok(())
}

/// Leaves in good order, in mid-work, and another in its place: nobody may become suspect of that.
async fn deploy_app(world: &World, dice: &mut Dice) -> anyhow::Result<()> {
    let mut apps = world.apps.lock().await;
    if apps.is_empty() {
        return Ok(());
    }
    let place = usize::try_from(dice.below(apps.len() as u64)).unwrap_or(0);
    let mut app = apps.swap_remove(place);
    world.say(&format!("deploy instead of {}", app.process.name));
    count(&world.counts.deploys);
    match app.process.order("stop", millis(40_000)).await {
        Ok(said) if said == "left true" => app.process.ended(millis(20_000)).await?,
        // Its goodbye was not heard, by a plane that is gone perhaps: then it has to be stated dead.
        Ok(_) | Err(_) => app.kill(world).await,
    }
    apps.push(App::start(world).await?);
    Ok(())
}

/// SIGSTOP, past the time after which it counts as silent, and SIGCONT.
async fn stop_app(world: &World, dice: &mut Dice, lasts: Option<Duration>) {
    let apps = world.apps.lock().await;
    if apps.is_empty() {
        return;
    }
    let place = usize::try_from(dice.below(apps.len() as u64)).unwrap_or(0);
    let Some(app) = apps.get(place) else { return };
    let drawn = millis(if dice.percent(40) { 2_600 + dice.below(1_500) } else { 50 + dice.below(1_200) });
    let lasts = lasts.unwrap_or(drawn);
    world.say(&format!("stop {} for {lasts:?}", app.process.name));
    count(&world.counts.stops);
    app.process.signal(Signal::STOP);
    tokio::time::sleep(lasts).await;
    app.process.signal(Signal::CONT);
}

async fn restart_database(world: &World, side: usize) -> anyhow::Result<()> {
    world.say(&format!("kill -9 and restart of the {}", SIDES[side]));
    count(&world.counts.kills);
    world.databases[side].kill().await?;
    world.databases[side].restart().await?;
    count(&world.counts.database_restarts);
    Ok(())
}

async fn restart_plane(world: &World, dice: &mut Dice) -> anyhow::Result<()> {
    world.say("kill -9 and restart of the control plane");
    count(&world.counts.kills);
    let mut server = world.server.lock().await;
    if let Some(mut process) = server.take() {
        process.kill().await;
    }
    tokio::time::sleep(millis(dice.below(1_500))).await;
    *server = Some(start_plane(world).await?);
    count(&world.counts.plane_restarts);
    Ok(())
}

/// Starts the control plane on its port and its file.
pub(crate) async fn start_plane(world: &World) -> anyhow::Result<Process> {
    let listen = world.plane_url.trim_start_matches("http://").to_owned();
    let arguments = [
        "serve".to_owned(),
        "--listen".to_owned(),
        listen,
        "--data".to_owned(),
        world.ground.folder.join("plane.db").display().to_string(),
        "--tokens".to_owned(),
        world.ground.folder.join("tokens").display().to_string(),
    ];
    let mut process = Process::start(&world.ground, "plane", &arguments)?;
    process.said(Duration::from_secs(20)).await?;
    Ok(process)
}
