//! Measurements of crossfade beside its peers: `cargo run --release -p crossfade-bench -- overhead --json`.
//!
//! What each run measures, how, and what came out: `docs/reference/benchmarks.md`.

mod measure;
mod overhead;
mod server;
mod transfer;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "crossfade-bench", about = "Measures crossfade beside its peers, one run each")]
struct Arguments {
    #[command(subcommand)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Run {
    /// CPU and allocations per operation, above calling the DAO directly.
    Overhead(overhead::Arguments),
    /// Backfill and verification of whole tables, beside the tools that people use today.
    Transfer(transfer::Arguments),
    /// The control plane under a fleet of instances, and its flags by OFREP.
    Server(server::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().run {
        Run::Overhead(arguments) => overhead::run(&arguments),
        Run::Transfer(arguments) => transfer::run(&arguments),
        Run::Server(arguments) => server::run(&arguments),
    }
}
