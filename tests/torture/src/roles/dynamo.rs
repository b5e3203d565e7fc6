//! A DynamoDB endpoint in a process of its own, on a file, so that it can be killed.

use anyhow::Context;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Run a DynamoDB endpoint.
#[derive(Args, Debug, Clone)]
pub(crate) struct DynamoArgs {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Its file.
    #[arg(long)]
    data: PathBuf,
}

pub(crate) async fn run(args: DynamoArgs) -> anyhow::Result<()> {
    let path = args.data.to_str().context("a path of text")?;
    let database = dynoxide::Database::new(path).map_err(|error| anyhow::anyhow!("no endpoint: {error}"))?;
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Connections inherit it from their listener; without it every answer in two parts waits 40 ms.
    socket.set_nodelay(true)?;
    socket.bind(args.listen)?;
    let serving = tokio::spawn(dynoxide::server::serve_on(socket.listen(1_024)?, database));
    println!("ready");
    super::app::end_of_input().await;
    serving.abort();
    Ok(())
}
