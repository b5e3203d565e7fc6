//! Bounds on what one caller may use up: requests per second and failed tries per address.

use super::App;
use super::reply::Refusal;
use axum::extract::{Request, State};
use axum::http::Extensions;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use crossfade_api::problem::Code;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests per second and address.
    pub requests_per_second: u32,
    /// Open connections in all.
    pub connections: usize,
    /// Failed authentications per minute and address.
    pub failures_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { requests_per_second: 20_000, connections: 20_000, failures_per_minute: 60 }
    }
}

/// A bucket that fills with time: when it would be empty again, had nothing been taken since.
#[derive(Debug, Default)]
struct Buckets(Mutex<HashMap<IpAddr, Instant>>);

/// Addresses remembered at once; those with a full bucket are forgotten first.
const REMEMBERED: usize = 10_000;

impl Buckets {
    /// Takes one of `burst`, which come back one by one every `each`. `peek` takes nothing.
    fn take(&self, peer: IpAddr, each: Duration, burst: u32, take: bool) -> bool {
        let now = Instant::now();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= REMEMBERED {
            buckets.retain(|_, empty| *empty > now);
        }
        let empty = buckets.get(&peer).copied().filter(|empty| *empty > now).unwrap_or(now);
        let next = empty + each;
        let fits = next.duration_since(now) <= each * burst.max(1);
        if fits && take && (buckets.len() < REMEMBERED || buckets.contains_key(&peer)) {
            buckets.insert(peer, next);
        }
        fits
    }
}

/// Counts what callers use up.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Limits,
    requests: Buckets,
    failures: Buckets,
}

impl Meter {
    pub(crate) fn new(limits: Limits) -> Meter {
        Meter { limits, requests: Buckets::default(), failures: Buckets::default() }
    }

    fn may_ask(&self, peer: IpAddr) -> Result<(), Refusal> {
        let rate = self.limits.requests_per_second.max(1);
        if self.requests.take(peer, Duration::from_secs(1) / rate, rate, true) {
            return Ok(());
        }
        Err(Refusal::new(Code::TooManyRequests, format!("at most {rate} requests per second: wait a moment")))
    }

    /// Whether an address may try another token.
    pub(crate) fn may_try(&self, peer: IpAddr) -> Result<(), Refusal> {
        let rate = self.limits.failures_per_minute.max(1);
        if self.failures.take(peer, Duration::from_secs(60) / rate, rate, false) {
            return Ok(());
        }
        Err(Refusal::new(Code::TooManyRequests, "too many unknown tokens from this address: wait a minute"))
    }

    /// An address presented no good token.
    pub(crate) fn failed(&self, peer: IpAddr) {
        let rate = self.limits.failures_per_minute.max(1);
        self.failures.take(peer, Duration::from_secs(60) / rate, rate, true);
    }
}

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

pub(crate) fn peer(extensions: &Extensions) -> IpAddr {
    extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip())
}

/// Lets a request through, or tells it to come back.
pub(crate) async fn meter(State(app): State<App>, request: Request, next: Next) -> Response {
    match app.meter.may_ask(peer(request.extensions())) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_bounded_and_other_addresses_are_not_concerned() {
        let meter = Meter::new(Limits { requests_per_second: 1, connections: 1, failures_per_minute: 2 });
        let (ann, bob) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
        assert!(meter.may_ask(ann).is_ok());
        assert!(meter.may_ask(ann).is_err());
        assert!(meter.may_ask(bob).is_ok());
        for _ in 0..2 {
            assert!(meter.may_try(ann).is_ok(), "looking takes nothing");
            meter.failed(ann);
        }
        assert!(meter.may_try(ann).is_err());
    }
}
