//! One run: builds a world of real processes, tortures it, looks at it in quiet moments, and tells the end.

mod fleet;
mod nemesis;
mod operator;
mod proxy;
mod quiet;
pub(crate) mod servers;
mod shipped;
mod world;

use crate::broken::{Broken, acknowledge_for_all};
use crate::plane::{MIGRATION, Plane, Trouble};
use crate::stores::prepare;
use anyhow::Context;
use clap::{Args, ValueEnum};
use crossfade_api::wire::{CreateRequest, Status};
use crossfade_core::{Checks, Options, PlanSpec, Stage};
use fleet::App;
use nemesis::Mood;
use operator::Operator;
use proxy::Proxy;
use quiet::{Depth, Shown};
use serde_json::json;
use servers::Database;
use shipped::Shipped;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use world::{Ground, Parts, World};

/// The linger that a plan declares unless told otherwise: longer than the longest delay of a proxy and the longest
/// statement together.
pub(crate) const LINGER_MS: u64 = 5_000;

/// How much longer than twice its time a run may take: then something waits for what never comes.
const GRACE: Duration = Duration::from_secs(240);

/// The exit code of a run that found a broken promise.
const VIOLATED: u8 = 4;

/// What PostgreSQL is moved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Pair {
    #[value(name = "postgres-postgres")]
    Postgres,
    #[value(name = "postgres-dynamo")]
    Dynamo,
    #[value(name = "postgres-mariadb")]
    Mariadb,
    #[value(name = "postgres-redis")]
    Redis,
}

/// Options of a run.
#[derive(Args, Debug, Clone)]
pub(crate) struct DriveArgs {
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What the dice follow from; a new one unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Only JSON lines on the standard output
    #[arg(long)]
    json: bool,
    /// Run a variant that breaks a rule, which has to be caught; for `no-hold`, build with `--cfg crossfade_broken`
    #[arg(long, value_name = "NAME")]
    broken: Option<Broken>,
    /// Whether expired sessions are deleted by a predicate, so that authority moves for all keys at once; by the seed
    /// unless given
    #[arg(long)]
    whole: Option<bool>,
    /// Never leave the first stage: nothing can be compared there, and the run ends `incomplete`
    #[arg(long, hide = true)]
    stay: bool,
    /// From which database to which
    #[arg(long, default_value = "postgres-postgres")]
    pair: Pair,
    /// Processes of the application
    #[arg(long, default_value_t = 4)]
    apps: usize,
    /// Callers in each
    #[arg(long, default_value_t = 6)]
    workers: u64,
    /// Milliseconds between two troubles, on average; 0: none; 2500 unless given, 3200 in a run longer than two minutes
    #[arg(long)]
    trouble_ms: Option<u64>,
    /// Which trouble: all of it, unless a broken variant shows under some of it only
    #[arg(long)]
    mood: Option<Mood>,
    /// Seconds between two quiet moments; 30 unless given, 60 in a run longer than two minutes
    #[arg(long)]
    quiet_every: Option<u64>,
    /// Seconds between two glances at both sides; 8 unless given, 25 in a run longer than two minutes
    #[arg(long)]
    glance_every: Option<u64>,
    /// Keep histories and logs in this folder, which has to be new
    #[arg(long, value_name = "FOLDER")]
    keep: Option<std::path::PathBuf>,
}

/// How often there is trouble, and how often everybody stands still.
struct Pacing {
    trouble: Duration,
    quiet: Duration,
    glance: Duration,
}

impl Pacing {
    /// A short run looks often, so that it sees something; a long one works in between.
    fn of(args: &DriveArgs) -> Pacing {
        let long = args.seconds > 120;
        let or = |given: Option<u64>, short: u64, longer: u64| given.unwrap_or(if long { longer } else { short });
        Pacing {
            // An early acknowledgement shows only beside operations that take long.
            trouble: Duration::from_millis(match args.broken {
                Some(Broken::EarlyAck) => or(args.trouble_ms, 700, 700),
                Some(_) | None => or(args.trouble_ms, 2_500, 3_200),
            }),
            quiet: Duration::from_secs(or(args.quiet_every, 30, 60)),
            glance: Duration::from_secs(or(args.glance_every, 8, 25)),
        }
    }
}

pub(crate) async fn run(args: DriveArgs) -> anyhow::Result<ExitCode> {
    if let Some(variant) = args.broken {
        anyhow::ensure!(
            variant.is_built(),
            "`{}` needs another library: build with RUSTC_WORKSPACE_WRAPPER=tests/tools/rustc-broken",
            variant.name()
        );
    }
    let temporary = tempfile::tempdir().context("no temporary folder")?;
    let folder = args.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    for part in ["logs", "histories", "clocks"] {
        std::fs::create_dir_all(folder.join(part)).context("no folder for the run")?;
    }
    let seed = args.seed.unwrap_or_else(|| crate::clock::now() % 1_000_000);
    if !args.json {
        eprintln!("seed {seed}");
    }
    let world = Arc::new(build(&args, &folder, seed).await?);
    let within = Duration::from_secs(args.seconds * 2) + GRACE;
    let ended = tokio::time::timeout(within, torture(&args, &world)).await.unwrap_or_else(|_| {
        Err(anyhow::anyhow!("the run did not end within {} s; last it said: {}", within.as_secs(), world.last_said()))
    });
    for app in world.apps.lock().await.drain(..) {
        app.kill(&world).await;
    }
    if let Some(mut server) = world.server.lock().await.take() {
        server.kill().await;
    }
    for database in &world.databases {
        database.stop().await?;
    }
    tell(&args, &world, ended)
}

/// The library that moves a process's wall clock, where its package is installed.
fn faketime() -> Option<std::path::PathBuf> {
    let machines = std::fs::read_dir("/usr/lib").ok()?.flatten();
    machines.map(|machine| machine.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

/// Databases, proxies, control plane, and the files that roles read.
async fn build(args: &DriveArgs, folder: &Path, seed: u64) -> anyhow::Result<World> {
    let secret = format!("planted{seed:x}row:");
    let ground = Ground {
        folder: folder.to_owned(),
        seed,
        broken: args.broken,
        seconds: args.seconds,
        // A broken variant is caught where both sides can be trusted, and a sweep leaves its table in doubt (R24): what the
        // variant breaks there is found by a verification, and repaired, and nobody's fault.
        whole: args.whole.unwrap_or(args.broken.is_none() && !seed.is_multiple_of(3)),
        quiet: args.json,
        secret: secret.clone(),
        faketime: faketime(),
    };
    if ground.faketime.is_none() {
        let what = "libfaketime is not here, so no wall clock is moved: apt-get install faketime";
        println!("{}", json!({ "event": "missing", "what": what }));
    }
    let target = async {
        match args.pair {
            Pair::Postgres => Database::server("postgres").await,
            Pair::Dynamo => Database::dynamo(&ground).await,
            Pair::Mariadb => Database::server("mysql").await,
            Pair::Redis => Database::server("redis").await,
        }
    };
    let (source, target) = tokio::try_join!(Database::server("postgres"), target)?;
    let databases = [source, target];
    // Of the ids that they make, one side has the odd ones and the other the even ones: neither makes one twice (R28).
    for (database, first_id) in databases.iter().zip([1, 2]) {
        prepare(&database.url, first_id).await?;
    }
    let proxies = [Proxy::start(databases[0].address()?).await?, Proxy::start(databases[1].address()?).await?];
    let operator = format!("planted{seed:032x}operator");
    let instance = format!("planted{seed:032x}instance");
    std::fs::write(folder.join("secret"), &secret)?;
    std::fs::write(folder.join("app.token"), &instance)?;
    std::fs::write(folder.join("data.token"), &operator)?;
    std::fs::write(folder.join("tokens"), format!("admin operator {operator}\ninstance apps {instance}\n"))?;
    // Free now, and hardly anybody takes it in between.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let plane_url = format!("http://127.0.0.1:{port}");
    let plane = Plane::new(&plane_url, &operator);
    let mut world = World::new(ground, Parts { workers: args.workers, plane_url, plane, databases, proxies });
    world.shipped = Shipped::new(&world, args.pair)?;
    *world.server.lock().await = Some(nemesis::start_plane(&world, nemesis::Life::Same).await?);
    // What a plan has by itself: full checks begin with the verification that asks for them.
    let options = match args.broken {
        None => Options::default(),
        // From the first dual write on, so that whatever differs without a mark or a suspect is a broken promise. A plan
        // that says less than the stores need is one of the variants.
        Some(variant) => Options {
            checks: Checks::Full,
            linger: Duration::from_millis(if variant == Broken::EarlyClear { 1 } else { LINGER_MS }),
            ..Options::default()
        },
    };
    let whole = world.ground.whole;
    let plan = PlanSpec { options, whole, ..PlanSpec::at(MIGRATION, Stage::Off) };
    let made: Result<Status, Trouble> =
        world.plane.post("", &CreateRequest { plan, bypassing_writers: Vec::new() }).await;
    made.context("the migration cannot be made")?;
    for _ in 0..args.apps {
        let app = App::start(&world).await?;
        world.apps.lock().await.push(app);
    }
    Ok(world)
}

/// Until the time is over or a promise is broken.
async fn torture(args: &DriveArgs, world: &Arc<World>) -> anyhow::Result<Shown> {
    let mut operator = Operator::new(world.ground.seed, args.broken);
    let mood = args.mood.unwrap_or(match args.broken {
        Some(Broken::EarlyClear) => Mood::Late,
        Some(_) => Mood::Calm,
        None => Mood::Storm,
    });
    let trouble = Pacing::of(args).trouble;
    let nemesis = (!trouble.is_zero())
        .then(|| tokio::spawn(nemesis::run(Arc::clone(world), Arc::clone(&operator.force), trouble, mood)));
    let liar = matches!(args.broken, Some(Broken::EarlyAck | Broken::NoBarrier))
        .then(|| tokio::spawn(acknowledge_for_all(world.plane.clone())));
    let began = Instant::now();
    let (mut looked, mut glanced) = (Instant::now(), Instant::now());
    let pace = Pacing::of(args);
    let mut pending: Option<Shown> = None;
    let ended = async {
        while began.elapsed() < Duration::from_secs(args.seconds) {
            if args.stay {
                tokio::time::sleep(Duration::from_millis(100)).await;
            } else {
                operator.turn(world).await?;
            }
            if nemesis.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) {
                anyhow::bail!("the nemesis has ended");
            }
            if pending.as_ref().is_some_and(Shown::is_judged)
                && let Some(shown) = pending.take()
            {
                let shown = shown.judged().await?;
                if !shown.violations.is_empty() {
                    return Ok(shown);
                }
            }
            // The end is one too.
            let left = Duration::from_secs(args.seconds).saturating_sub(began.elapsed());
            let depth = if looked.elapsed() > pace.quiet && pending.is_none() && left > pace.quiet / 4 {
                Depth::Whole
            } else if operator.curious || glanced.elapsed() > pace.glance {
                Depth::Glance
            } else {
                continue;
            };
            operator.curious = false;
            let shown = quiet::moment(world, &operator, depth).await?;
            glanced = Instant::now();
            if depth == Depth::Whole {
                looked = glanced;
            }
            if !shown.violations.is_empty() {
                return shown.judged().await;
            }
            pending = pending.or((depth == Depth::Whole).then_some(shown));
        }
        if let Some(shown) = pending.take() {
            let shown = shown.judged().await?;
            if !shown.violations.is_empty() {
                return Ok(shown);
            }
        }
        // As long again, until both sides could be compared.
        let more = Duration::from_secs(args.seconds.max(30));
        let over = Instant::now() + more;
        loop {
            let left = over.saturating_duration_since(Instant::now());
            let home = if args.stay { Ok(()) } else { operator.come_home(world, left).await? };
            let mut shown = quiet::moment(world, &operator, Depth::Whole).await?.judged().await?;
            if shown.equal.is_ok() || !shown.violations.is_empty() || Instant::now() >= over {
                shown.equal = shown.equal.map_err(|why| home.err().unwrap_or(why));
                return Ok(shown);
            }
            world.say("both sides could not be compared yet");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    .await;
    if let Some(liar) = liar {
        liar.abort();
    }
    match nemesis {
        Some(nemesis) if nemesis.is_finished() => nemesis.await.context("the nemesis fell")??,
        Some(nemesis) => nemesis.abort(),
        None => {}
    }
    // Whatever the operator saw is told at the end: the run goes on meanwhile.
    ended.map(|mut shown| {
        shown.violations.append(&mut operator.violations);
        shown
    })
}

fn tell(args: &DriveArgs, world: &World, ended: anyhow::Result<Shown>) -> anyhow::Result<ExitCode> {
    let counts = &world.counts;
    let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let leaked = leaks(world)?;
    let (shown, error) = match ended {
        Ok(shown) => (shown, None),
        Err(error) => (Shown::default(), Some(format!("{error:#}"))),
    };
    let mut violations = shown.violations;
    violations.extend(leaked);
    let verdict = match (&error, violations.is_empty(), &shown.equal) {
        (_, false, _) => "violated",
        (Some(_), true, _) => "failed",
        (None, true, Ok(())) => "verified",
        (None, true, Err(_)) => "incomplete",
    };
    for violation in violations.iter().take(20) {
        let line =
            json!({ "event": "violation", "promise": violation.promise, "row": violation.row, "what": violation.what });
        println!("{line}");
    }
    if let Some(error) = &error {
        println!("{}", json!({ "event": "failed", "what": error }));
    }
    let why = shown.equal.as_ref().err().filter(|_| verdict == "incomplete");
    if let Some(why) = why {
        println!("{}", json!({ "event": "incomplete", "what": why }));
    }
    let result = json!({
        "event": "result",
        "operations": of(&counts.operations),
        "acknowledged": of(&counts.acknowledged),
        "stage_changes": of(&counts.stage_changes),
        "authority_moves": of(&counts.authority_moves),
        "abandoned": of(&counts.abandoned),
        "forced_rollbacks": of(&counts.forced),
        "kills": of(&counts.kills),
        "database_restarts": of(&counts.database_restarts),
        "plane_restarts": of(&counts.plane_restarts),
        "plane_restores": of(&counts.plane_restores),
        "clock_moves": of(&counts.clock_moves),
        "stops": of(&counts.stops),
        "deploys": of(&counts.deploys),
        "partitions": of(&counts.partitions),
        "backfills": of(&counts.backfills),
        "verifications": of(&counts.verifications),
        "repairs": of(&counts.repairs),
        "compares": of(&counts.compares),
        "outages": of(&counts.outages),
        "unchecked_refused": of(&counts.unchecked_refused),
        "whole": world.ground.whole,
        "reason": why,
        "violations": violations.len(),
        "verdict": verdict,
        "pair": args.pair.to_possible_value().map(|value| value.get_name().to_owned()),
        "broken": args.broken.map(Broken::name),
        "seconds": world.began.elapsed().as_secs(),
        "seed": world.ground.seed,
    });
    println!("{result}");
    Ok(match verdict {
        "verified" => ExitCode::SUCCESS,
        "violated" => ExitCode::from(VIOLATED),
        "incomplete" => ExitCode::from(5),
        _ => ExitCode::from(1),
    })
}

/// Planted values and secrets that came into a log.
fn leaks(world: &World) -> anyhow::Result<Vec<crate::check::Violation>> {
    let planted = format!("planted{:x}", world.ground.seed);
    let token = format!("planted{:032x}", world.ground.seed);
    let passwords = world.databases.iter().filter_map(Database::password);
    let secrets: Vec<&str> = [planted.as_str(), token.as_str()].into_iter().chain(passwords).collect();
    leaks_in(&world.ground.folder.join("logs"), &secrets)
}

fn leaks_in(logs: &Path, secrets: &[&str]) -> anyhow::Result<Vec<crate::check::Violation>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(logs)? {
        let path = entry?.path();
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        for secret in secrets {
            if text.contains(secret) {
                found.push(crate::check::Violation {
                    row: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                    promise: "secrets",
                    what: "a planted value or secret is in this log".to_owned(),
                });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_planted_value_in_a_log_is_found() {
        let logs = tempfile::tempdir().unwrap();
        std::fs::write(logs.path().join("app1.log"), "all is well").unwrap();
        assert_eq!(leaks_in(logs.path(), &["planted1row:"]).unwrap(), []);
        std::fs::write(logs.path().join("app2.log"), "a call failed: planted1row:7-3").unwrap();
        let found = leaks_in(logs.path(), &["planted1row:"]).unwrap();
        assert_eq!((found.len(), found[0].row.as_str()), (1, "app2.log"));
    }
}
