//! TLS as it is served: only with the right certificate, and never in the clear on the same port.
//!
//! The keys beside this file were made for these tests and are good for nothing else.

use crate::support::bench_with;
use crossfade_server::http::listen::{TlsError, TlsFiles};
use crossfade_server::serve::{Options, ServeError, Server};
use reqwest::{Certificate, StatusCode};
use serde_json::json;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plane/tls").join(name)
}

fn who_trusts(certificate: &str) -> reqwest::Client {
    let root = Certificate::from_pem(&std::fs::read(file(certificate)).unwrap()).unwrap();
    reqwest::Client::builder().add_root_certificate(root).build().unwrap()
}

#[tokio::test]
async fn only_who_trusts_the_certificate_talks_to_it_and_nobody_in_the_clear() {
    let tls = TlsFiles { certificate: file("plane.crt"), key: file("plane.key") };
    let bench = bench_with(|options| options.tls = Some(tls)).await;
    let address = bench.server.address;
    let url = |path: &str| format!("https://{address}{path}");
    let friend = who_trusts("plane.crt");
    let list = friend.get(url("/v1/migrations")).bearer_auth(&bench.admin.token).send().await.unwrap();
    assert_eq!(list.status(), StatusCode::OK);
    let log_in = friend.post(url("/session")).json(&json!({ "token": bench.admin.token })).send().await.unwrap();
    assert!(log_in.headers()["set-cookie"].to_str().unwrap().ends_with("; Secure"), "the cookie stays on TLS");
    assert!(bench.server.invitation(&bench.admin.token).unwrap().starts_with("https://"));

    let stranger = who_trusts("other.crt").get(url("/healthz")).send().await.unwrap_err();
    assert!(stranger.is_connect(), "{stranger:?}");
    let clear = reqwest::get(format!("http://{address}/healthz")).await;
    assert!(clear.is_err(), "{clear:?}");
    // Those two harmed nobody.
    assert_eq!(friend.get(url("/healthz")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn certificate_and_key_that_do_not_fit_are_refused_before_anything_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let start = |certificate: &str, key: &str| {
        let mut options = Options::new(folder.path().join("plane.db"));
        options.listen = "127.0.0.1:0".parse().unwrap();
        options.tls = Some(TlsFiles { certificate: file(certificate), key: file(key) });
        Server::start(options)
    };
    let pair = start("plane.crt", "other.key").await.unwrap_err();
    assert!(matches!(pair, ServeError::Tls(TlsError::Pair(_))), "{pair}");
    for (certificate, key, what) in [("plane.key", "plane.key", "certificate"), ("plane.crt", "plane.crt", "key")] {
        let refused = start(certificate, key).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("holds no {what}")), "{refused}");
    }
    assert!(!folder.path().join("plane.db").exists(), "nothing was begun");
}
