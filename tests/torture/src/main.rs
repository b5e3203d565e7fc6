//! The torture test: the real thing on real databases, while everything is killed, cut and moved; then a checker decides.
//!
//! | subject | module |
//! |---|---|
//! | what the application does | [`dao`], [`stores`] |
//! | the processes that can be killed | [`roles`] |
//! | what was asked and answered | [`history`] |
//! | whether the promises were kept | [`check`] |
//! | rules broken on purpose, to be caught | [`broken`] |
//! | the run: fleet, operator, nemesis, quiet moments | [`drive`] |
//!
//! The source is PostgreSQL; `--pair` says what it moves to. Each pair sees the same traffic and the same trouble.
//!
//! | `--pair` | the target | what only it shows |
//! |---|---|---|
//! | `postgres-postgres` | PostgreSQL | |
//! | `postgres-mariadb` | MariaDB | another engine: its locks, its limits, its comparison of text |
//! | `postgres-redis` | Redis, a script for every write | effects that no statement limit bounds, only the way there |
//! | `postgres-dynamo` | the DynamoDB emulator | throttled calls, conflicts with transactions, batches processed in part |

mod broken;
mod check;
mod clock;
mod dao;
mod drive;
mod history;
mod plane;
mod roles;
mod stores;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "crossfade-torture", about = "Tortures crossfade on real databases and checks what it promised")]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    drive: drive::DriveArgs,
}

#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    App(roles::app::AppArgs),
    #[command(hide = true)]
    Serve(roles::serve::ServeArgs),
    #[command(hide = true)]
    Dynamo(roles::dynamo::DynamoArgs),
    #[command(hide = true)]
    Data(roles::data::DataArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let ended = match cli.role {
        Some(Role::App(args)) => roles::app::run(args).await.map(|()| ExitCode::SUCCESS),
        Some(Role::Serve(args)) => roles::serve::run(args).await.map(|()| ExitCode::SUCCESS),
        Some(Role::Dynamo(args)) => roles::dynamo::run(args).await.map(|()| ExitCode::SUCCESS),
        Some(Role::Data(args)) => roles::data::run(args).await.map(|()| ExitCode::SUCCESS),
        None => drive::run(cli.drive).await,
    };
    ended.unwrap_or_else(|error| {
        eprintln!("crossfade-torture: {error:#}");
        ExitCode::from(1)
    })
}
