//! Runs a whole command: how long it takes and how much memory it holds.

use anyhow::{Context as _, ensure};
use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a command took.
#[derive(Debug)]
pub(crate) struct Took {
    pub(crate) seconds: f64,
    /// The most memory it held resident, KB, as the kernel saw it shortly before its end.
    pub(crate) resident_kb: u64,
    pub(crate) output: String,
}

/// Runs a command to its end. One of the exit codes `lawful` is wanted.
#[expect(clippy::disallowed_methods, reason = "this thread has no runtime, and only waits for the command")]
pub(crate) fn timed(command: &mut Command, lawful: &[i32]) -> anyhow::Result<Took> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    // Whatever it prints is read at once, so that it never waits for us.
    let reader = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = pipe.map(|mut pipe| pipe.read_to_string(&mut text));
            read.transpose().map(|_| text)
        })
    };
    let output = reader(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let errors = reader(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let mut resident_kb = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        resident_kb = resident_kb.max(peak_of(child.id()));
        std::thread::sleep(Duration::from_millis(10));
    };
    let seconds = began.elapsed().as_secs_f64();
    let text = |thread: std::thread::JoinHandle<std::io::Result<String>>| thread.join().ok().and_then(Result::ok);
    let (errors, output) = (text(errors).unwrap_or_default(), text(output).unwrap_or_default());
    let last = output.lines().last().unwrap_or_default();
    ensure!(status.code().is_some_and(|code| lawful.contains(&code)), "{shown} ended with {status}: {last} {errors}");
    Ok(Took { seconds, resident_kb, output })
}

fn peak_of(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
