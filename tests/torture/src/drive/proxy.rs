//! A TCP proxy before a database, which can refuse, delay, lose answers, or stop moving anything.
//!
//! It knows no protocol: what it does to bytes, a network does.

use anyhow::Context;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// They pass.
    Fair,
    /// No connection is taken, and those that are there break.
    Refuse,
    /// Requests arrive this much later, also when the caller has given up and gone.
    Delay(Duration),
    /// Answers arrive this much later.
    LateAnswers(Duration),
    /// Requests arrive; the connection breaks before their answer.
    DropAnswers,
    /// Nothing moves any more, and nobody is told; what was under way is lost when it ends.
    HalfOpen,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    sky: Arc<Sky>,
}

struct Sky {
    weather: Mutex<Weather>,
    changes: AtomicU64,
}

impl Sky {
    fn now(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Listens on a free port, before the database at `upstream`.
    pub(crate) async fn start(upstream: SocketAddr) -> anyhow::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for a proxy")?;
        let port = listener.local_addr()?.port();
        let sky = Arc::new(Sky { weather: Mutex::new(Weather::Fair), changes: AtomicU64::new(0) });
        let shared = Arc::clone(&sky);
        tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                tokio::spawn(carry(client, upstream, Arc::clone(&shared)));
            }
        });
        Ok(Proxy { port, sky })
    }

    pub(crate) fn set(&self, weather: Weather) {
        *self.sky.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
        self.sky.changes.fetch_add(1, Ordering::Relaxed);
    }
}

async fn carry(client: TcpStream, upstream: SocketAddr, sky: Arc<Sky>) {
    match sky.now() {
        Weather::Refuse => return,
        Weather::HalfOpen => return stuck(&sky).await,
        Weather::Fair | Weather::Delay(_) | Weather::LateAnswers(_) | Weather::DropAnswers => {}
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    // Without it small packets wait for one another; nothing depends on it.
    let _quick = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(requests(from_client, to_server, &sky), answers(from_server, to_client, &sky));
}

/// Until the weather is another.
async fn stuck(sky: &Sky) {
    while sky.now() == Weather::HalfOpen {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, sky: &Sky) {
    let mut some = vec![0u8; 16 << 10];
    while let Ok(read) = from.read(&mut some).await {
        if read == 0 {
            break;
        }
        match sky.now() {
            Weather::Fair | Weather::LateAnswers(_) | Weather::DropAnswers => {}
            Weather::Delay(late) => tokio::time::sleep(late).await,
            Weather::Refuse => return,
            Weather::HalfOpen => return stuck(sky).await,
        }
        let Some(bytes) = some.get(..read) else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, sky: &Sky) {
    let mut some = vec![0u8; 16 << 10];
    while let Ok(read) = from.read(&mut some).await {
        if read == 0 {
            break;
        }
        match sky.now() {
            Weather::Fair | Weather::Delay(_) => {}
            Weather::LateAnswers(late) => tokio::time::sleep(late).await,
            Weather::Refuse | Weather::DropAnswers => return,
            Weather::HalfOpen => return stuck(sky).await,
        }
        let Some(bytes) = some.get(..read) else { return };
        // A caller that is gone keeps no request from its database: the answer goes nowhere.
        let _gone = to.write_all(bytes).await;
    }
}
