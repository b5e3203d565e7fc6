//! The processes of a run, beside the driver: each can be killed.

pub(crate) mod app;
pub(crate) mod data;
pub(crate) mod dynamo;
pub(crate) mod serve;

use crate::stores::Store;
use clap::Args;
use std::time::Duration;

/// Within this time after everything is over, every mark is repaired: long, since a machine may stand still for a while.
pub(crate) const DRAINED_WITHIN: Duration = Duration::from_secs(120);

/// Where everything is.
#[derive(Args, Debug, Clone)]
pub(crate) struct Places {
    /// The control plane; the last one given counts.
    #[arg(long, overrides_with = "server")]
    pub(crate) server: String,
    /// A file with the token to show there.
    #[arg(long)]
    pub(crate) token_file: std::path::PathBuf,
    /// The source's URL.
    #[arg(long)]
    pub(crate) source: String,
    /// The target's URL.
    #[arg(long)]
    pub(crate) target: String,
}

impl Places {
    fn stores(&self, connections: usize) -> anyhow::Result<(Store, Store)> {
        let source = Store::new("source", &self.source, connections)?;
        Ok((source, Store::new("target", &self.target, connections)?))
    }
}
