//! The processes of the run: started, ordered about, stopped in mid-write, killed.

use super::proxy::{Proxy, Weather};
use super::world::{Ground, World};
use crate::broken::{Broken, VARIABLE};
use crate::clock::now;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Whose wall clock is moved.
const MOVED: [&str; 2] = ["app", "plane"];

/// Lets the wall clock of a process be moved while it runs, and no other clock of it.
fn wall_clock(ground: &Ground, name: &str, library: &Path) -> anyhow::Result<[(&'static str, OsString); 5]> {
    let file = ground.clock_of(name);
    if !file.exists() {
        std::fs::write(&file, "+0")?;
    }
    Ok([
        ("LD_PRELOAD", library.into()),
        ("FAKETIME_TIMESTAMP_FILE", file.into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("FAKETIME_CACHE_DURATION", "1".into()),
        // A killed process would leave its segments behind.
        ("FAKETIME_DISABLE_SHM", "1".into()),
    ])
}

/// A process that listens to orders, a line each.
pub(crate) struct Process {
    /// What it is called, in logs and before the control plane.
    pub(crate) name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts this program again, in another role.
    pub(crate) fn start(ground: &Ground, name: &str, arguments: &[String]) -> anyhow::Result<Process> {
        let program = std::env::current_exe().context("this program does not find itself")?;
        Process::start_other(ground, &program, name, arguments)
    }

    /// Starts another program.
    pub(crate) fn start_other(
        ground: &Ground,
        program: &Path,
        name: &str,
        arguments: &[String],
    ) -> anyhow::Result<Process> {
        let log = ground.folder.join("logs").join(format!("{name}.log"));
        let clock = ground.faketime.as_ref().filter(|_| MOVED.iter().any(|kind| name.starts_with(kind)));
        let clock = clock.map(|library| wall_clock(ground, name, library)).transpose()?;
        let mut child = Command::new(program)
            .args(arguments)
            .env("RUST_LOG", "info,crossfade=debug,crossfade_server=debug,crossfade_torture=debug")
            .env_remove(VARIABLE)
            .envs(clock.into_iter().flatten())
            .envs(ground.broken.map(|variant| (VARIABLE, variant.name())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(&log).context("no log")?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Process { name: name.to_owned(), input: child.stdin.take(), child, lines })
    }

    /// How the control plane knows a run of the command: by its kind and this number.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The next line that it says.
    pub(crate) async fn said(&mut self, within: Duration) -> anyhow::Result<String> {
        let line = tokio::time::timeout(within, self.lines.next_line()).await;
        match line.with_context(|| format!("{} says nothing", self.name))?? {
            Some(line) => Ok(line),
            None => bail!("{} has ended: see its log", self.name),
        }
    }

    /// Gives an order, and waits for the line that answers it.
    pub(crate) async fn order(&mut self, order: &str, within: Duration) -> anyhow::Result<String> {
        let input = self.input.as_mut().context("no input")?;
        input.write_all(format!("{order}\n").as_bytes()).await.with_context(|| format!("{} is gone", self.name))?;
        self.said(within).await.with_context(|| format!("after `{order}`"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _gone = kill_process(pid, signal);
        }
    }

    /// kill -9; returns when it is dead, with the time of that.
    pub(crate) async fn kill(&mut self) -> u64 {
        self.signal(Signal::KILL);
        let _dead = self.child.wait().await;
        now()
    }

    /// The exit code of a program that has ended by itself.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().await.ok()?.code()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, within: Duration) -> anyhow::Result<()> {
        self.input.take();
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        ended.with_context(|| format!("{} does not end", self.name))??;
        Ok(())
    }
}

/// A process of the application.
pub(crate) struct App {
    pub(crate) process: Process,
    /// Its number in the library of histories.
    pub(crate) number: usize,
}

impl App {
    /// Starts one and lets it work.
    pub(crate) async fn start(world: &World) -> anyhow::Result<App> {
        App::start_with(world, &[]).await
    }

    /// Starts one whose DAO of the sessions gives the library no rows, and lets it work (R25).
    pub(crate) async fn start_bare(world: &World) -> anyhow::Result<App> {
        App::start_with(world, &["--bare"]).await
    }

    async fn start_with(world: &World, flags: &[&str]) -> anyhow::Result<App> {
        let (number, history) = world.history();
        let name = format!("app{number}");
        let mut arguments = vec!["app".to_owned()];
        arguments.extend(world.places("app.token"));
        if world.ground.broken == Some(Broken::NoBarrier) {
            // Its plans come late, each instance's at another time.
            let late = Proxy::start(world.plane_address()?).await?;
            late.set(Weather::LateAnswers(Duration::from_millis(number as u64 % 7 * 100)));
            arguments.extend(["--server".to_owned(), format!("http://127.0.0.1:{}", late.port)]);
        }
        let more = [
            ("--number", number.to_string()),
            ("--seed", world.ground.seed.to_string()),
            ("--history", history.display().to_string()),
            ("--secret-file", world.ground.folder.join("secret").display().to_string()),
            ("--workers", world.workers.to_string()),
        ];
        arguments.extend(more.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut ground = world.ground.clone();
        ground.broken = ground.broken.filter(|variant| *variant != Broken::InsertIfAbsent);
        let mut process = Process::start(&ground, &name, &arguments)?;
        let said = process.said(Duration::from_secs(190)).await;
        if let Err(error) = said {
            // It may have joined the fleet all the same.
            world.died(&format!("{name}-"), Some(number), process.kill().await);
            return Err(error);
        }
        process.order("go", Duration::from_secs(10)).await?;
        let mut app = App { process, number };
        app.sweep(world).await?;
        Ok(app)
    }

    /// Tells it whether expired sessions are deleted now.
    pub(crate) async fn sweep(&mut self, world: &World) -> anyhow::Result<()> {
        if world.ground.whole {
            let order = if world.sweeping.load(Ordering::SeqCst) { "sweep" } else { "no-sweep" };
            self.process.order(order, Duration::from_secs(60)).await?;
        }
        Ok(())
    }

    /// kill -9.
    pub(crate) async fn kill(mut self, world: &World) {
        let at = self.process.kill().await;
        world.died(&format!("{}-", self.process.name), Some(self.number), at);
    }
}
