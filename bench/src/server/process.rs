//! What a process uses, as the kernel counts it, and how many descriptors it may have.

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;

/// CPU time that this process has used so far, all threads, seconds; in steps of 10 ms.
pub(crate) fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("the measured process is gone")?;
    // The name of the command may hold anything, but it ends at the last bracket.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = (ticks(11), ticks(12));
    let sum = user.zip(system).map(|(user, system)| user + system).context("/proc says nothing of CPU time")?;
    Ok(sum as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// What it holds in memory now, KB.
pub(crate) fn resident_kb(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("the measured process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).context("/proc says nothing of memory")
}

/// Descriptors beside those of instances: files, listener, event queues, the operator.
const OTHERS: u64 = 300;

/// Raises the limit of open files as far as it goes, for this process and those that it starts. An instance has two
/// connections, at both ends. Returns how many may have a connection of their own for what they say.
pub(crate) fn make_room(instances: u64) -> anyhow::Result<u64> {
    let Rlimit { current: _, maximum } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let room = maximum.unwrap_or(u64::MAX).saturating_sub(OTHERS);
    ensure!(
        room >= instances + 64,
        "{instances} connections take more open files than the {} allowed here: raise the hard limit (ulimit -Hn)",
        room + OTHERS
    );
    Ok((room - instances).min(instances))
}
