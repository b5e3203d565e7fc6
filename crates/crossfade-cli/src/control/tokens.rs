//! Tokens: issued once, listed without their secrets, revoked.

use super::{Out, Reach};
use crate::say::Failure;
use clap::Subcommand;
use crossfade_api::exit::Exit;
use crossfade_api::wire::{IssuedToken, Role, TokenList, TokenRequest};
use serde_json::json;

/// `crossfade token`.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    act: TokenAct,
    #[command(flatten)]
    reach: Reach,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
enum TokenAct {
    /// Issues one; its secret is shown now and never again.
    Issue {
        /// Who will hold it.
        name: String,
        /// viewer, instance, operator or admin.
        role: Role,
    },
    /// Lists them.
    List,
    /// Revokes one.
    Revoke {
        /// The public part, as in the list.
        token: String,
    },
}

pub(super) async fn token(args: TokenArgs, out: Out) -> Result<Exit, Failure> {
    let client = args.reach.client()?;
    match args.act {
        TokenAct::Issue { name, role } => {
            match client.post::<IssuedToken>("/v1/tokens", &TokenRequest { name, role }).await {
                Ok(issued) => {
                    out.result(serde_json::to_value(&issued).unwrap_or_default(), &issued.token);
                    Ok(Exit::Done)
                }
                Err(refused) => refused.end(out),
            }
        }
        TokenAct::List => match client.get::<TokenList>("/v1/tokens").await {
            Ok(list) => {
                let lines: Vec<String> =
                    list.tokens.iter().map(|token| format!("{}  {}  {}", token.id, token.role, token.name)).collect();
                out.result(serde_json::to_value(&list).unwrap_or_default(), &lines.join("\n"));
                Ok(Exit::Done)
            }
            Err(refused) => refused.end(out),
        },
        TokenAct::Revoke { token } => {
            let plain: String = token.chars().filter(char::is_ascii_alphanumeric).collect();
            match client.delete(&format!("/v1/tokens/{plain}")).await {
                Ok(()) => {
                    out.result(json!({ "revoked": plain }), "revoked");
                    Ok(Exit::Done)
                }
                Err(refused) => refused.end(out),
            }
        }
    }
}
