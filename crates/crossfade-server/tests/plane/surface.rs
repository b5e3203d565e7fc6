//! The HTTP surface, over real sockets.

use crate::support::{Client, bench, bench_with};
use crossfade_api::problem::{Code, MEDIA_TYPE, Problem};
use crossfade_api::wire::*;
use crossfade_core::Stage;
use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn without_a_token_nothing_is_told() {
    let bench = bench().await;
    for path in ["/v1/migrations", "/v1/history", "/v1/tokens", "/metrics", "/v1/events"] {
        let answer = reqwest::get(format!("{}{path}", bench.admin.url)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.headers()["content-type"], MEDIA_TYPE);
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        assert_eq!(answer.json::<Problem>().await.unwrap().code, Code::Unauthenticated);
    }
    let health = reqwest::get(format!("{}/healthz", bench.admin.url)).await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
}

#[tokio::test]
async fn roles_are_kept_apart() {
    let bench = bench().await;
    bench.admin.make(Stage::Off).await;
    let [viewer, instance, operator] = [
        bench.admin.with_role(Role::Viewer).await,
        bench.admin.with_role(Role::Instance).await,
        bench.admin.with_role(Role::Operator).await,
    ];
    let code = |answer: Result<Value, Problem>| answer.err().map(|problem| problem.code);
    assert_eq!(code(viewer.get("/v1/migrations").await), None);
    assert_eq!(code(instance.get("/v1/migrations").await), Some(Code::Forbidden));
    assert_eq!(code(viewer.get("/v1/migrations/events/marks").await), Some(Code::Forbidden));
    assert_eq!(code(viewer.post("/v1/migrations/events/pause", &()).await), Some(Code::Forbidden));
    assert_eq!(code(operator.get("/v1/tokens").await), Some(Code::Forbidden));
    let if_revision = bench.admin.status().await.publication.revision;
    let wish =
        RampRequest { stage: Stage::DualWrite, percent: "10".parse().unwrap(), pins: None, if_revision, confirm: None };
    assert_eq!(code(instance.post("/v1/migrations/events/ramp", &wish).await), Some(Code::Forbidden));
    assert_eq!(code(operator.post("/v1/migrations/events/ramp", &wish).await), None);
}

#[tokio::test]
async fn a_revoked_token_is_no_longer_good_and_tokens_survive_a_restart() {
    let bench = bench().await;
    let operator = bench.admin.with_role(Role::Operator).await;
    let viewer = bench.admin.with_role(Role::Viewer).await;
    let id = viewer.token.split('_').nth(1).unwrap().to_owned();
    let gone = bench.admin.request(Method::DELETE, &format!("/v1/tokens/{id}")).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(viewer.get::<Value>("/v1/migrations").await.unwrap_err().code, Code::Unauthenticated);
    let data = bench.folder.path().join("plane.db");
    bench.server.stop().await;
    let bytes = std::fs::read(&data).unwrap();
    let secret = operator.token.rsplit('_').next().unwrap().as_bytes().to_vec();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret), "the secret is in the file");
    let mut options = crossfade_server::serve::Options::new(data);
    options.listen = "127.0.0.1:0".parse().unwrap();
    let again = crossfade_server::serve::Server::start(options).await.unwrap();
    assert_eq!(again.first_token, None, "printed once");
    let operator = Client { url: format!("http://{}", again.address), ..operator };
    operator.get::<Value>("/v1/migrations").await.unwrap();
}

#[tokio::test]
async fn beyond_loopback_it_asks_for_tls_and_tokens() {
    use crossfade_server::serve::{Options, ServeError, Server};
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(folder.path().join("plane.db"));
    options.listen = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(Server::start(options.clone()).await, Err(ServeError::NoTls(_))));
    options.open = true;
    options.plain = true;
    assert!(matches!(Server::start(options).await, Err(ServeError::OpenBeyondLoopback(_))));
}

#[tokio::test]
async fn an_open_server_is_not_reached_by_another_name_or_site() {
    let bench = bench_with(|options| options.open = true).await;
    let list = format!("{}/v1/migrations", bench.admin.url);
    let http = reqwest::Client::new();
    assert_eq!(http.get(&list).send().await.unwrap().status(), StatusCode::OK);
    let rebound = http.get(&list).header("host", "evil.example").send().await.unwrap();
    assert_eq!(rebound.status(), StatusCode::FORBIDDEN);
    let crossed = http.post(&list).header("origin", "http://evil.example").json(&json!({})).send().await.unwrap();
    assert_eq!(crossed.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_cannot_be_read_is_a_problem_and_no_error_of_the_server() {
    let bench = bench().await;
    let post = |body: &'static str, kind: &'static str| {
        bench.admin.request(Method::POST, "/v1/migrations").header("content-type", kind).body(body)
    };
    for (body, kind, code) in [
        ("{", "application/json", Code::Malformed),
        ("{}", "text/plain", Code::NotJson),
        ("{\"plan\": 1}", "application/json", Code::Invalid),
        (
            "{\"plan\": {\"migration\": \"Bad Id\", \"position\": {\"stage\": \"off\"}}}",
            "application/json",
            Code::Invalid,
        ),
    ] {
        let answer = post(body, kind).send().await.unwrap().json::<Problem>().await.unwrap();
        assert_eq!(answer.code, code, "{body}");
    }
    let large = "x".repeat(100_000);
    let answer =
        bench.admin.request(Method::POST, "/v1/migrations").header("content-type", "application/json").body(large);
    assert_eq!(answer.send().await.unwrap().json::<Problem>().await.unwrap().code, Code::TooLarge);
    assert_eq!(bench.admin.get::<Value>("/v1/nothing").await.unwrap_err().code, Code::NotFound);
    assert_eq!(bench.admin.get::<Value>("/v1/migrations/nope").await.unwrap_err().code, Code::NotFound);
    let patched = bench.admin.request(Method::PATCH, "/v1/migrations").send().await.unwrap();
    assert_eq!(patched.json::<Problem>().await.unwrap().code, Code::MethodNotAllowed);
    assert_eq!(bench.admin.get::<Value>("/v1/history?limit=x").await.unwrap_err().code, Code::Malformed);
}

#[tokio::test]
async fn too_many_unknown_tokens_are_told_to_wait() {
    let bench = bench_with(|options| options.limits.failures_per_minute = 3).await;
    let guess = Client { token: "cf_000000000000_guess".into(), ..bench.admin.clone() };
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(guess.get::<Value>("/v1/migrations").await.unwrap_err().code);
    }
    assert_eq!(codes[..3], [Code::Unauthenticated; 3]);
    assert_eq!(codes[4], Code::TooManyRequests);
}

#[tokio::test]
async fn too_many_requests_are_told_to_wait_and_others_are_not_concerned() {
    let bench = bench_with(|options| options.limits.requests_per_second = 1).await;
    let ask = || bench.admin.request(Method::GET, "/healthz").send();
    assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    let mut refused = None;
    for _ in 0..200 {
        let answer = ask().await.unwrap();
        if answer.status() != StatusCode::OK {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.unwrap_or_else(|| panic!("nobody was told to wait"));
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.json::<Problem>().await.unwrap().code, Code::TooManyRequests);
}

#[tokio::test]
async fn beyond_the_bound_a_connection_waits_until_another_ends() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let bench = bench_with(|options| options.limits.connections = 1).await;
    let address = bench.server.address;
    let open = || tokio::net::TcpStream::connect(address);
    let hello = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = open().await.unwrap();
    first.write_all(hello).await.unwrap();
    let mut answer = [0; 256];
    assert!(first.read(&mut answer).await.unwrap() > 0);
    let mut second = open().await.unwrap();
    second.write_all(hello).await.unwrap();
    // Still served on the one that is open, after the other has asked.
    first.write_all(hello).await.unwrap();
    assert!(first.read(&mut answer).await.unwrap() > 0);
    assert!(second.try_read(&mut answer).is_err(), "a second connection was served");
    drop(first);
    assert!(second.read(&mut answer).await.unwrap() > 0);
}

#[tokio::test]
async fn a_plan_reaches_its_instance_and_the_next_waits_for_it() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::Off).await;
    let instance = admin.with_role(Role::Instance).await;
    let joined = instance.join("a", InstanceKind::Application).await;
    let stream = instance.request(Method::GET, "/v1/migrations/events/instances/a/plans").send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut stream = stream.bytes_stream();
    let event = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned();
        serde_json::from_str::<Publication>(&data).unwrap()
    };
    let first = event(&stream.next().await.unwrap().unwrap());
    assert_eq!(first, joined.publication, "registration and stream agree");
    admin.ramp(Stage::DualWrite, "25").await.unwrap();
    let second = event(&stream.next().await.unwrap().unwrap());
    assert_eq!(second.revision.0.number, first.revision.0.number + 1);
    let refused = admin.ramp(Stage::DualWrite, "50").await.unwrap_err();
    assert_eq!((refused.code, refused.waiting_for.as_slice()), (Code::StepUnderWay, &["a".to_owned()][..]));
    admin.ack("a", MarkChange::default()).await.unwrap();
    assert!(admin.finish(&[]).await.step.is_none());
    admin.ramp(Stage::DualWrite, "50").await.unwrap();
    assert!(event(&stream.next().await.unwrap().unwrap()).revision > second.revision);
    assert!(admin.get::<Instances>("/v1/migrations/events/instances").await.unwrap().instances[0].connected);
}

#[tokio::test]
async fn the_whole_story_over_http() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::Off).await;
    admin.join("a", InstanceKind::Application).await;
    for stage in [Stage::DualWrite, Stage::Shadow] {
        admin.ramp(stage, "100").await.unwrap();
        admin.finish(&["a"]).await;
    }
    let refused = admin.ramp(Stage::Live, "5").await.unwrap_err();
    assert_eq!((refused.code, refused.status), (Code::Gate, 409));
    let codes: Vec<_> = refused.blockers.iter().map(|blocker| blocker.code.as_str()).collect();
    assert_eq!(codes, ["backfill-not-started", "not-verified", "checks-not-full"]);
    admin.converge(&["a"]).await;
    let if_revision = admin.status().await.publication.revision;
    let wish =
        RampRequest { stage: Stage::Live, percent: "12.5".parse().unwrap(), pins: None, if_revision, confirm: None };
    let preview: Preview = admin.post("/v1/migrations/events/ramp/preview", &wish).await.unwrap();
    assert_eq!(preview.revisions, ["hold", "move", "release"]);
    assert!(preview.gate.go && preview.effects.iter().any(|e| e.contains("12.5 % of keys")), "{preview:?}");
    admin.ramp(Stage::Live, "12.5").await.unwrap();
    let status = admin.finish(&["a"]).await;
    assert_eq!(status.position, "shadow, 12.5 % of keys at live");
    assert_eq!(status.last_step.as_ref().unwrap().abandoned, None);
    assert_eq!(status.ladder.authority_target.buckets(), 12_500);
    admin.ramp(Stage::Live, "100").await.unwrap();
    admin.finish(&["a"]).await;
    let history: HistoryPage = admin.get("/v1/migrations/events/history?limit=1000").await.unwrap();
    let kinds: Vec<_> = history.entries.iter().rev().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds[..2], ["created", "registered"]);
    assert!(history.entries.iter().any(|entry| entry.by == "first-admin" && entry.kind == "step-began"));
    let metrics = admin.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("crossfade_stage_share{migration=\"events\",stage=\"live\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_hold_that_nobody_acknowledges_is_abandoned_in_time() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.set_out_for_live().await;
    assert_eq!(admin.status().await.step.unwrap().phase, "hold");
    let mut changes = bench.server.plane().changes();
    while admin.status().await.step.unwrap().phase == "hold" {
        changes.changed().await.unwrap();
    }
    let status = admin.finish(&["a"]).await;
    assert_eq!(status.position, "shadow");
    assert!(status.last_step.unwrap().abandoned.unwrap().contains("no acknowledgement by a"));
}

#[tokio::test]
async fn heartbeats_are_counted_once_and_shown() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::Shadow).await;
    let joined = admin.join("a", InstanceKind::Application).await;
    let mut observations = Observations::default();
    let seen = observations.operations.entry("record".into()).or_default();
    seen.source.latency_us.record(1_000);
    seen.target.errors.insert("timeout".into(), 1);
    seen.comparisons.compared = 4;
    seen.comparisons.mismatched = 1;
    observations.mismatches.push(MismatchSample {
        operation: "record".into(),
        fields: vec!["amount".into()],
        values: Some(["1".into(), "2".into()]),
        ..MismatchSample::default()
    });
    let beat = Heartbeat {
        revision: joined.publication.revision,
        sequence: 1,
        observations,
        marks: MarkChange::default(),
        progress: None,
        tables: None,
    };
    for _ in 0..2 {
        let path = "/v1/migrations/events/instances/a/heartbeat";
        let answer: HeartbeatAnswer = admin.post(path, &beat).await.unwrap();
        assert_eq!(answer.revision, joined.publication.revision);
    }
    let status = admin.status().await;
    assert_eq!(status.operations[0].source.calls, 1, "a repeated heartbeat counts once");
    assert_eq!((status.operations[0].target.errors, status.operations[0].comparisons.mismatched), (1, 1));
    assert_eq!(status.mismatches[0].values, None, "row values stay with the application, whoever sends them");
    let stranger = admin.post::<Value>("/v1/migrations/events/instances/nobody/heartbeat", &beat).await.unwrap_err();
    assert_eq!(stranger.code, Code::UnknownInstance);
}

#[tokio::test]
async fn flags_are_evaluated_over_ofrep() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::DualWrite).await;
    admin.ramp(Stage::Shadow, "50").await.unwrap();
    let instance = admin.with_role(Role::Instance).await;
    let ask = |path: String, body: Value| {
        let request = instance.request(Method::POST, &path).json(&body);
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap_or(Value::Null))
        }
    };
    let one = |flag: &str, body: Value| ask(format!("/ofrep/v1/evaluate/flags/{flag}"), body);
    let mut at_shadow = 0;
    for user in 0..200 {
        let context = json!({ "context": { "targetingKey": format!("user-{user}") } });
        let (status, stage) = one("events.stage", context.clone()).await;
        assert_eq!(status, 200);
        assert_eq!(stage["reason"], "SPLIT");
        let (_, reads) = one("events.read-target", context).await;
        let shadow = stage["value"] == "shadow";
        assert_eq!(reads["value"], Value::Bool(shadow), "flags of one key agree");
        at_shadow += u32::from(shadow);
    }
    assert!((60..140).contains(&at_shadow), "{at_shadow} of 200 at 50 %");
    let (status, missing) = one("events.stage", json!({ "context": {} })).await;
    assert_eq!((status, &missing["errorCode"]), (400, &json!("TARGETING_KEY_MISSING")));
    assert_eq!(one("events.stage", json!({})).await.1["errorCode"], "INVALID_CONTEXT");
    let (status, unknown) = one("events.color", json!({ "context": { "targetingKey": "x" } })).await;
    assert_eq!(
        (status, &unknown["errorCode"], &unknown["key"]),
        (404, &json!("FLAG_NOT_FOUND"), &json!("events.color"))
    );
    let bulk = |tag: Option<String>| {
        let mut request = instance
            .request(Method::POST, "/ofrep/v1/evaluate/flags")
            .json(&json!({ "context": { "targetingKey": "user-1" } }));
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        request.send()
    };
    let all = bulk(None).await.unwrap();
    let tag = all.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(all.json::<Value>().await.unwrap()["flags"].as_array().unwrap().len(), 6);
    assert_eq!(bulk(Some(tag.clone())).await.unwrap().status(), StatusCode::NOT_MODIFIED);
    admin.ramp(Stage::Shadow, "75").await.unwrap();
    assert_eq!(bulk(Some(tag)).await.unwrap().status(), StatusCode::OK, "another revision, another tag");
    let status = admin.status().await;
    assert!(!status.protection.acknowledged && status.protection.label.starts_with("unprotected"));
    assert!(status.gate.cautions.iter().any(|caution| caution.contains("unprotected")));
}

#[tokio::test]
async fn the_status_stream_shows_changes() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::Off).await;
    let mut stream = admin.request(Method::GET, "/v1/events?migration=events").send().await.unwrap().bytes_stream();
    let mut text = String::new();
    let mut ramped = false;
    while !text.contains("off, 40 % of keys at dual-write") {
        text.push_str(&String::from_utf8_lossy(&stream.next().await.unwrap().unwrap()));
        if !ramped {
            ramped = true;
            admin.ramp(Stage::DualWrite, "40").await.unwrap();
        }
    }
}

#[test]
fn the_committed_openapi_is_what_the_code_says() {
    let path = format!("{}/openapi.json", env!("CARGO_MANIFEST_DIR"));
    let written = serde_json::to_string_pretty(&crossfade_server::http::openapi()).unwrap() + "\n";
    if std::env::var_os("CROSSFADE_BLESS").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == kept, "the API changed; if on purpose, CROSSFADE_BLESS=1 and say so in the changelog");
}

#[tokio::test]
async fn a_session_of_the_dashboard_acts_only_with_its_header() {
    let bench = bench().await;
    bench.admin.make(Stage::Off).await;
    let http = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", bench.admin.url);
    let page = http.get(url("/")).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let wrong = http.post(url("/session")).json(&json!({ "token": "cf_x_y" })).send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let log_in = http.post(url("/session")).json(&json!({ "token": bench.admin.token })).send().await.unwrap();
    let cookie = log_in.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains(&bench.admin.token), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let seen = http.get(url("/v1/migrations")).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(seen.status(), StatusCode::OK);
    let pause = || http.post(url("/v1/migrations/events/pause")).header("cookie", &cookie);
    assert_eq!(pause().send().await.unwrap().status(), StatusCode::FORBIDDEN, "a form of another site");
    let crossed = pause().header("x-crossfade", "1").header("origin", "http://evil.example").send().await.unwrap();
    assert_eq!(crossed.status(), StatusCode::FORBIDDEN);
    assert_eq!(pause().header("x-crossfade", "1").send().await.unwrap().status(), StatusCode::OK);
    let out = http.delete(url("/session")).header("cookie", &cookie).header("x-crossfade", "1").send().await.unwrap();
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    let gone = http.get(url("/v1/migrations")).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(gone.status(), StatusCode::UNAUTHORIZED);
    let runbook = http.get(url("/runbooks/gate-refused")).send().await.unwrap().text().await.unwrap();
    assert!(runbook.contains("What to do"));
}

#[tokio::test]
async fn an_invitation_logs_in_once_and_tells_who_came() {
    let bench = bench().await;
    let viewer = bench.admin.with_role(Role::Viewer).await;
    let http = reqwest::Client::new();
    let session = format!("{}/session", bench.admin.url);
    let nobody: Value = http.get(&session).send().await.unwrap().json().await.unwrap();
    assert_eq!(nobody, json!({ "name": null, "role": null }));
    let link = bench.server.invitation(&viewer.token).unwrap();
    let (page, code) = link.split_once("/#code=").unwrap();
    assert!(page == bench.admin.url && !link.contains(&viewer.token), "{link}");
    let come = || http.post(&session).json(&json!({ "code": code })).send();
    let welcome = come().await.unwrap();
    assert_eq!(welcome.status(), StatusCode::NO_CONTENT);
    let cookie = welcome.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let known: Value = http.get(&session).header("cookie", cookie).send().await.unwrap().json().await.unwrap();
    assert_eq!(known, json!({ "name": "viewer", "role": "viewer" }));
    assert_eq!(come().await.unwrap().status(), StatusCode::UNAUTHORIZED, "a second time");
    let bearer: Value = bench.admin.request(Method::GET, "/session").send().await.unwrap().json().await.unwrap();
    assert_eq!(bearer["role"], Value::Null, "it is no oracle for tokens");
}

#[tokio::test]
async fn full_checks_of_a_verification_are_no_drift() {
    let bench = bench().await;
    let admin = &bench.admin;
    admin.make(Stage::DualWrite).await;
    admin.converge(&[]).await;
    let status = admin.status().await;
    assert_eq!(status.publication.plan.options.checks, crossfade_core::Checks::Full);
    assert_eq!(status.drift, []);
}
