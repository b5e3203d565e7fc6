//! `crossfade serve`.

use super::Out;
use crate::Global;
use crate::say::Failure;
use anyhow::Context as _;
use crossfade_api::config::Config;
use crossfade_api::exit::Exit;
use crossfade_api::wire::CreateRequest;
use crossfade_core::{Options as PlanOptions, PlanSpec, Stage};
use crossfade_server::access::Tokens;
use crossfade_server::http::Limits;
use crossfade_server::http::listen::TlsFiles;
use crossfade_server::serve::{Options, PORT, ServeError, Server};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `crossfade serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from(([127, 0, 0, 1], PORT)))]
    listen: SocketAddr,
    /// The file of the control plane.
    #[arg(long, value_name = "FILE", default_value = "crossfade.db")]
    data: PathBuf,
    /// The certificate chain, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Listens beyond loopback without TLS: something before this server does it.
    #[arg(long)]
    plain: bool,
    /// Asks for no token; on loopback only.
    #[arg(long)]
    open: bool,
    /// More tokens, a line each: ROLE NAME TOKEN. Without it the variable CROSSFADE_TOKENS.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Writes the first admin's token into this new file instead of printing it.
    #[arg(long, value_name = "FILE")]
    first_token_file: Option<PathBuf>,
    /// The file of the control plane is from a backup.
    #[arg(long)]
    restored: bool,
    /// How often instances send a heartbeat, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(50..=600_000))]
    heartbeat: u64,
    /// After how long without one an instance counts as silent, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    silent_after: u64,
    /// Requests per second and address.
    #[arg(long, value_name = "N", default_value_t = Limits::default().requests_per_second)]
    rate: u32,
    /// Open connections in all.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    connections: usize,
}

fn tokens(file: Option<&PathBuf>) -> Result<Tokens, Failure> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the tokens in {}", path.display()))
            .map_err(Failure::usage)?,
        None => std::env::var("CROSSFADE_TOKENS").unwrap_or_default(),
    };
    Tokens::parse(&text).map_err(Failure::usage)
}

/// The migrations of the configuration, each to begin at off. No file, no migrations: they can be made over HTTP.
fn declared(global: &Global) -> Result<Vec<CreateRequest>, Failure> {
    let text = match std::fs::read_to_string(&global.config) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let said = anyhow::Error::from(error).context(format!("cannot read {}", global.config.display()));
            return Err(Failure::usage(said));
        }
    };
    let config = Config::parse(&text).map_err(Failure::usage)?;
    let made = config.migration.iter().map(|(id, migration)| {
        let options = PlanOptions { sample_values: migration.sample_values, ..PlanOptions::default() };
        CreateRequest {
            plan: PlanSpec { salt: migration.salt.clone(), options, ..PlanSpec::at(id, Stage::Off) },
            bypassing_writers: Vec::new(),
        }
    });
    Ok(made.collect())
}

fn failure(error: ServeError) -> Failure {
    let exit = match &error {
        ServeError::OpenBeyondLoopback(_) | ServeError::NoTls(_) | ServeError::Tls(_) | ServeError::Declared { .. } => {
            Exit::Usage
        }
        ServeError::Log(_) | ServeError::Bind { .. } | ServeError::NoRandomness(_) | ServeError::Plane(_) => {
            Exit::Failed
        }
    };
    Failure::new(exit, error)
}

/// Keeps the token from other people on the machine.
fn write_secret(path: &PathBuf, token: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    writeln!(file, "{token}")?;
    file.sync_all()
}

pub(super) async fn serve(args: ServeArgs, global: &Global, out: Out) -> Result<Exit, Failure> {
    let mut options = Options::new(args.data);
    options.listen = args.listen;
    options.tls = match (args.tls_cert, args.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (Some(_) | None, Some(_) | None) => None,
    };
    options.plain = args.plain;
    options.open = args.open;
    options.tokens = tokens(args.tokens.as_ref())?;
    options.restored = args.restored;
    options.declared = declared(global)?;
    options.heartbeat = Duration::from_millis(args.heartbeat);
    options.silent_after = Duration::from_millis(args.silent_after);
    options.limits.requests_per_second = args.rate;
    options.limits.connections = args.connections;
    let server = Server::start(options).await.map_err(failure)?;
    let scheme = if server.tls { "https" } else { "http" };
    let url = format!("{scheme}://{}", server.address);
    let mut token = server.first_token.clone();
    if let (Some(path), Some(secret)) = (&args.first_token_file, &token) {
        let written = write_secret(path, secret)
            .with_context(|| format!("cannot write the first token into {}: it has to be a new file", path.display()));
        written.map_err(Failure::from)?;
        token = None;
    }
    // Whoever has read that it listens has read everything: it may be ended at that moment.
    let mut text = format!("listening on {url}");
    if let Some(token) = &token {
        text = format!("the first admin's token, shown this once: {token}\n{text}");
    }
    out.event("listening", json!({ "url": url, "address": server.address, "token": token }), &text);
    stopped().await.map_err(|error| Failure::new(Exit::Failed, error))?;
    server.stop().await;
    out.result(json!({ "stopped": true }), "stopped");
    Ok(Exit::Done)
}

/// Returns at SIGINT or SIGTERM.
async fn stopped() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crossfade_core::SampleValues;

    #[test]
    fn values_of_samples_are_shared_only_where_the_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("crossfade.toml");
        let of = |line: &str| {
            let text = format!(
                "[migration.events]\nsource = \"sqlite://a\"\ntarget = \"sqlite://b\"\n{line}\n[migration.events.table.events]\ncohort = [\"user_id\"]\n"
            );
            std::fs::write(&config, text).unwrap();
            let made = declared(&Global { json: false, config: config.clone() });
            made.map(|made| made[0].plan.options.sample_values)
        };
        assert_eq!(of("").unwrap(), SampleValues::Withheld);
        assert_eq!(of("sample-values = \"withheld\"").unwrap(), SampleValues::Withheld);
        assert_eq!(of("sample-values = \"shared\"").unwrap(), SampleValues::Shared);
        assert!(of("sample-values = true").is_err(), "a word says more than a yes");
    }
}
