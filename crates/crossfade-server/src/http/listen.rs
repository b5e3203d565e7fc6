//! Sockets: connections, TLS, and their bounds.

use super::limits::Peer;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error("{path} holds no {what} in PEM: name the right file")]
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// They do not fit together.
    #[error("certificate and key do not fit together: name those of one pair")]
    Pair(#[source] tokio_rustls::rustls::Error),
}

/// What accepts TLS with these files.
pub(crate) fn tls(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let unusable = |path: &PathBuf, what| TlsError::File { path: path.clone(), what };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&files.certificate)
        .map_err(|_| unusable(&files.certificate, "certificate"))?
        .collect();
    let chain = chain.map_err(|_| unusable(&files.certificate, "certificate"))?;
    if chain.is_empty() {
        return Err(unusable(&files.certificate, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|_| unusable(&files.key, "key"))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections until it is told to stop, then lets those that answer finish for a moment.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    connections: usize,
    mut stopping: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(connections));
    loop {
        // Beyond the bound new connections wait in the listener's backlog.
        let permit = tokio::select! {
            permit = room.clone().acquire_owned() => match permit {
                Ok(permit) => permit,
                Err(_) => return,
            },
            _ = stopping.changed() => break,
        };
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: those that end make room.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = stopping.changed() => break,
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection went before it was served");
            continue;
        }
        let (router, tls, stopping) = (router.clone(), tls.clone(), stopping.clone());
        // Two tasks rather than one of both kinds: a task takes the memory of the largest thing that it may ever do.
        match tls {
            None => tokio::spawn(async move {
                serve(socket, router, Peer(peer), stopping).await;
                drop(permit);
            }),
            Some(tls) => tokio::spawn(async move {
                match tokio::time::timeout(Duration::from_secs(10), tls.accept(socket)).await {
                    Ok(Ok(socket)) => serve(socket, router, Peer(peer), stopping).await,
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                    Err(_) => tracing::debug!("no TLS in time"),
                }
                drop(permit);
            }),
        };
    }
    drop(listener);
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    // What does not end in time is cut off: streams were told to stop already.
    let _ = tokio::time::timeout(Duration::from_secs(3), room.acquire_many(all)).await;
}

async fn serve<S>(socket: S, router: Router, peer: Peer, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move { Ok::<_, io::Error>(answer(router, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
            return;
        }
        _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
    }
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(mut router: Router, request: hyper::Request<Body>) -> hyper::Response<Body> {
    use axum::response::IntoResponse as _;
    use tower_service::Service as _;
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
    .into_response()
}
