//! The control plane in a process of its own.

use anyhow::Context;
use clap::Args;
use crossfade_server::access::Tokens;
use crossfade_server::serve::{Options, Server};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Run the control plane.
#[derive(Args, Debug, Clone)]
pub(crate) struct ServeArgs {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Its file.
    #[arg(long)]
    data: PathBuf,
    /// Lines of ROLE NAME TOKEN.
    #[arg(long)]
    tokens: PathBuf,
    /// The file is an older copy.
    #[arg(long)]
    restored: bool,
    /// After how many milliseconds an instance is silent.
    #[arg(long, default_value_t = 2_500)]
    silent_ms: u64,
}

pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let mut options = Options::new(args.data);
    options.listen = args.listen;
    options.restored = args.restored;
    options.heartbeat = Duration::from_millis(250);
    options.silent_after = Duration::from_millis(args.silent_ms);
    options.tokens = Tokens::parse(&std::fs::read_to_string(&args.tokens)?)?;
    let server = Server::start(options).await.context("the control plane does not begin")?;
    println!("ready {}", server.address);
    // Until it is killed, or the driver is gone.
    super::app::end_of_input().await;
    server.stop().await;
    Ok(())
}
