//! The nemesis: kills, stops, cuts and delays, one thing after the other, without end.

use super::fleet::{App, Process};
use super::proxy::Weather;
use super::world::{World, count};
use crate::clock::Dice;
use anyhow::Context;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    let mut deck = Vec::new();
    // Until there is something to lose, or a fifth of the run is over.
    let calm = Duration::from_secs(world.ground.seconds / 5);
    while mood == Mood::Storm && world.began.elapsed() < calm && of(&world.counts.authority_moves) == 0 {
        tokio::time::sleep(millis(200)).await;
    }
    let mut outages = outages(&mut dice, world.ground.seconds);
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
        if let Some(next) = outages.last().filter(|next| world.began.elapsed() >= next.after) {
            let next = *next;
            outages.pop();
            count(&world.counts.outages);
            weather(&world, next.side, Weather::Refuse, next.lasts).await;
            continue;
        }
        if deck.is_empty() {
            deck = shuffled(&mut dice);
        }
        match deck.pop().unwrap_or(Trouble::Force) {
            Trouble::KillApp => kill_app(&world, &mut dice).await?,
            Trouble::DeployApp => deploy_app(&world, &mut dice).await?,
            Trouble::StopApp => stop_app(&world, &mut dice, None).await,
            Trouble::Delay => {
                weather(&world, side, Weather::Delay(millis(300 + dice.below(1_200))), millis(300 + dice.below(1_200)))
                    .await
            }
            Trouble::DropAnswers => weather(&world, side, Weather::DropAnswers, millis(50 + dice.below(400))).await,
            Trouble::Refuse => weather(&world, side, Weather::Refuse, millis(100 + dice.below(900))).await,
            Trouble::HalfOpen => weather(&world, side, Weather::HalfOpen, millis(300 + dice.below(1_500))).await,
            Trouble::RestartDatabase => restart_database(&world, side).await?,
            Trouble::RestartPlane => restart_plane(&world, &mut dice).await?,
            Trouble::RestorePlane => restore_plane(&world).await?,
            Trouble::MoveClock => move_clock(&world, &mut dice).await?,
            Trouble::Force => force.store(true, Ordering::Relaxed),
        }
    }
}

/// One side is away for long: marks pile up, or nothing is answered at all.
#[derive(Debug, Clone, Copy)]
struct Outage {
    after: Duration,
    side: usize,
    lasts: Duration,
}

/// One of each side in a long run, one in a short one; the first is the last of the list. Two minutes, or a sixth of the
/// run where that is less.
fn outages(dice: &mut Dice, seconds: u64) -> Vec<Outage> {
    let lasts = Duration::from_secs((seconds / 6).min(120));
    let first = usize::from(dice.percent(50));
    let at = |percent| Duration::from_secs(seconds * percent / 100);
    let mut outages = vec![Outage { after: at(30), side: first, lasts }];
    if seconds >= 300 {
        outages.insert(0, Outage { after: at(60), side: 1 - first, lasts });
    }
    outages
}

/// A card of the nemesis.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    KillApp,
    DeployApp,
    StopApp,
    Delay,
    DropAnswers,
    Refuse,
    HalfOpen,
    RestartDatabase,
    RestartPlane,
    RestorePlane,
    MoveClock,
    /// The operator is asked for a forced rollback.
    Force,
}

/// How often each comes in one deck: dealt out, so that no run goes without one of them for long.
const DECK: [(Trouble, usize); 12] = [
    (Trouble::KillApp, 4),
    (Trouble::DeployApp, 1),
    (Trouble::StopApp, 3),
    (Trouble::Delay, 3),
    (Trouble::DropAnswers, 2),
    (Trouble::Refuse, 2),
    (Trouble::HalfOpen, 1),
    (Trouble::RestartDatabase, 3),
    (Trouble::RestartPlane, 1),
    (Trouble::RestorePlane, 1),
    (Trouble::MoveClock, 2),
    (Trouble::Force, 3),
];

fn shuffled(dice: &mut Dice) -> Vec<Trouble> {
    let mut deck: Vec<Trouble> =
        DECK.iter().flat_map(|(trouble, times)| std::iter::repeat_n(*trouble, *times)).collect();
    for last in (1..deck.len()).rev() {
        deck.swap(last, usize::try_from(dice.below(last as u64 + 1)).unwrap_or(last));
    }
    deck
}

fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
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
        Ok(said) if said == "left true" => {
            app.process.ended(millis(60_000)).await?;
            world.died(&format!("{}-", app.process.name), Some(app.number), crate::clock::now());
        }
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
    keep_copy(&world.ground.folder.join("plane.db"), &world.ground.folder.join("plane.older"))?;
    tokio::time::sleep(millis(dice.below(1_500))).await;
    *server = Some(start_plane(world, Life::Same).await?);
    count(&world.counts.plane_restarts);
    Ok(())
}

/// kill -9, and an older copy of its file is put in the place of the one it had (R21): what was published since is
/// known to the processes of the application alone.
async fn restore_plane(world: &World) -> anyhow::Result<()> {
    count(&world.counts.kills);
    let mut server = world.server.lock().await;
    if let Some(mut process) = server.take() {
        process.kill().await;
    }
    let (data, older) = (world.ground.folder.join("plane.db"), world.ground.folder.join("plane.older"));
    if older.exists() {
        world.say("kill -9 of the control plane, which is restored from an older copy");
        world.restored();
        keep_copy(&older, &data)?;
        *server = Some(start_plane(world, Life::Restored).await?);
        count(&world.counts.plane_restores);
    } else {
        world.say("kill -9 and restart of the control plane; a copy is kept");
        keep_copy(&data, &older)?;
        *server = Some(start_plane(world, Life::Same).await?);
        count(&world.counts.plane_restarts);
    }
    Ok(())
}

/// Copies the files of a control plane that is dead.
fn keep_copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for part in ["", "-wal", "-shm"] {
        let name = |path: &Path| PathBuf::from(format!("{}{part}", path.display()));
        let (from, to) = (name(from), name(to));
        if to.exists() {
            std::fs::remove_file(&to).context("an old copy stays")?;
        }
        if from.exists() {
            std::fs::copy(&from, &to).context("the control plane's file cannot be copied")?;
        }
    }
    Ok(())
}

/// The wall clock of one process jumps by hours, forth or back, while it works; no other clock moves.
async fn move_clock(world: &World, dice: &mut Dice) -> anyhow::Result<()> {
    if world.ground.faketime.is_none() {
        return Ok(());
    }
    let apps = world.apps.lock().await;
    let place = usize::try_from(dice.below(apps.len() as u64 + 1)).unwrap_or(0);
    let who = apps.get(place).map_or("plane", |app| app.process.name.as_str());
    let (sign, hours) = (if dice.percent(50) { '+' } else { '-' }, 1 + dice.below(100));
    world.say(&format!("the wall clock of {who} jumps to {sign}{hours} h"));
    let (file, fresh) = (world.ground.clock_of(who), world.ground.clock_of("fresh"));
    std::fs::write(&fresh, format!("{sign}{hours}h")).context("no clock")?;
    // In one step: it is read all the time.
    std::fs::rename(&fresh, &file).context("no clock")?;
    count(&world.counts.clock_moves);
    Ok(())
}

/// What a control plane is told about its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It goes on.
    Same,
    /// It is an older copy.
    Restored,
}

/// Starts the control plane on its port and its file.
pub(crate) async fn start_plane(world: &World, life: Life) -> anyhow::Result<Process> {
    let listen = world.plane_url.trim_start_matches("http://").to_owned();
    let mut arguments = vec![
        "serve".to_owned(),
        "--listen".to_owned(),
        listen,
        "--data".to_owned(),
        world.ground.folder.join("plane.db").display().to_string(),
        "--tokens".to_owned(),
        world.ground.folder.join("tokens").display().to_string(),
    ];
    if life == Life::Restored {
        arguments.push("--restored".to_owned());
    }
    let mut process = Process::start(&world.ground, "plane", &arguments)?;
    process.said(Duration::from_secs(120)).await?;
    Ok(process)
}
