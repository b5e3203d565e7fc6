//! The client: region, endpoint, credentials, timeouts. The SDK's own retries are off, since they would hide whether a write may have landed.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    config::{
        BehaviorVersion, Builder, Credentials, Region, SharedHttpClient, StalledStreamProtectionConfig,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use tokio::sync::Semaphore;

use super::pace::Pace;
use crate::{ErrorKind, StoreError, StoreUrl};

/// How long one request may take when the URL does not say.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// DynamoDB in one region, or what speaks like it. Clones share the connections.
#[derive(Clone)]
pub struct Dynamodb {
    client: Client,
    shown: Arc<str>,
    timeout: Duration,
    /// Requests under way at once, over all tables and calls.
    requests: Arc<Semaphore>,
    at_once: usize,
    pace: Pace,
}

impl std::fmt::Debug for Dynamodb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dynamodb({})", self.shown)
    }
}

impl Dynamodb {
    /// Prepares the client; connects when first used. Credentials come from the environment, the profile or the machine, as for every
    /// AWS tool; an endpoint on this machine gets made-up ones.
    ///
    /// # Errors
    /// `Config` if the URL's parameters do not work.
    pub async fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        Self::open_over(url, |http| http).await
    }

    /// As [`Dynamodb::open`], with each request going through `faults`.
    ///
    /// # Errors
    /// As [`Dynamodb::open`].
    #[cfg(feature = "testing")]
    pub async fn open_with_faults(url: &StoreUrl, faults: &super::faults::Faults) -> Result<Self, StoreError> {
        Self::open_over(url, |http| faults.around(http)).await
    }

    async fn open_over(
        url: &StoreUrl,
        around: impl FnOnce(SharedHttpClient) -> SharedHttpClient,
    ) -> Result<Self, StoreError> {
        let number = |name: &str, default: u64| match url.parameter(name) {
            None => Ok(default),
            Some(text) => text.parse::<u64>().ok().filter(|n| (1..=1_000_000).contains(n)).ok_or_else(|| {
                StoreError::new(ErrorKind::Config, format!("`{name}` in the url of {url} must be a positive number"))
            }),
        };
        let timeout = Duration::from_millis(number(
            "write_timeout_ms",
            u64::try_from(WRITE_TIMEOUT.as_millis()).unwrap_or(10_000),
        )?);
        let at_once = usize::try_from(number("concurrency", 64)?).unwrap_or(64);
        let pace = Pace::new(u32::try_from(number("attempts", 10)?).unwrap_or(10));
        for (name, _) in url.parameters() {
            if !["endpoint", "write_timeout_ms", "concurrency", "attempts"].contains(&name) {
                return Err(StoreError::new(
                    ErrorKind::Config,
                    format!(
                        "`{name}` in the url of {url} is not known: endpoint, write_timeout_ms, concurrency and attempts are"
                    ),
                ));
            }
        }
        let region = url.rest().trim_end_matches('/').to_owned();
        let endpoint = url.parameter("endpoint").filter(|e| !e.is_empty());
        if let Some(endpoint) = endpoint
            && host_of(endpoint).is_none()
        {
            return Err(StoreError::new(
                ErrorKind::Config,
                format!("the endpoint of {url} must be a url like http://127.0.0.1:8000"),
            ));
        }
        let plain = endpoint.is_some_and(|e| e.starts_with("http://"));
        let http = if plain {
            aws_smithy_http_client::Builder::new().build_http()
        } else {
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
        };
        let http = around(http);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3).min(timeout))
            .operation_attempt_timeout(timeout)
            .build();
        let config = match endpoint {
            Some(endpoint) if is_loopback(endpoint) => aws_sdk_dynamodb::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(region.clone()))
                .endpoint_url(endpoint)
                .credentials_provider(Credentials::new(
                    "crossfade",
                    "crossfade",
                    None,
                    None,
                    "an endpoint on this machine",
                )),
            _ => {
                let shared = aws_config::defaults(BehaviorVersion::latest())
                    .region(Region::new(region.clone()))
                    .http_client(http.clone())
                    .load()
                    .await;
                let config = Builder::from(&shared);
                match endpoint {
                    Some(endpoint) => config.endpoint_url(endpoint),
                    None => config,
                }
            }
        };
        let config = config
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        let shown = match endpoint {
            Some(endpoint) => format!("dynamodb://{region} at {}", host_of(endpoint).unwrap_or_default()),
            None => format!("dynamodb://{region}"),
        };
        Ok(Dynamodb {
            client: Client::from_conf(config),
            shown: shown.into(),
            timeout,
            requests: Arc::new(Semaphore::new(at_once)),
            at_once,
            pace,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// After this a request is given up; its effect may still land.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn requests(&self) -> &Arc<Semaphore> {
        &self.requests
    }

    /// How many requests one call may have under way.
    pub(super) fn at_once(&self) -> usize {
        self.at_once
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }
}

/// `host:port` of an `http://` or `https://` URL.
fn host_of(endpoint: &str) -> Option<&str> {
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"))?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (!host.is_empty()).then_some(host)
}

fn is_loopback(endpoint: &str) -> bool {
    let Some(authority) = host_of(endpoint) else { return false };
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_gets_made_up_credentials() {
        for near in ["http://127.0.0.1:8000", "http://localhost:1", "https://[::1]:8000/x", "http://127.9.9.9"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in [
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1:8000",
            "https://user@[fe80::1]",
            "127.0.0.1:8000",
            "http://",
        ] {
            assert!(!is_loopback(far), "{far}");
        }
    }
}
