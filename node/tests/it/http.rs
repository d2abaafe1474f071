//! The interface over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use leasehold_client::{Client, Options};
use leasehold_node::config;
use leasehold_node::{Dev, DevOptions, Listeners, Server, dev};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::binary::write;
use crate::raw::{config as raw_config, until};
use crate::trio::run;
use crate::web::Web;

const CLUSTER: DevOptions = DevOptions { masters: 3, replicas: 0, port: 0 };

fn at(cluster: &Dev, node: usize) -> SocketAddr {
    cluster.nodes()[node].http_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_through_its_life() {
    let cluster = dev(CLUSTER).await.unwrap();
    let mut web = Web::connect(at(&cluster, 0)).await;
    let free = web.get("/v1/get?key=job").await;
    assert_eq!((free.status, &free.json()["held"]), (200, &json!(false)));
    let asked = json!({"key": "job", "value": "me", "ttl": "60s", "meta": {"host": "h"}});
    let locked = web.post("/v1/lock", &asked).await;
    assert_eq!(locked.status, 200, "{locked:?}");
    let token = locked.json()["token"].as_u64().unwrap();
    let valid = locked.json()["valid_for_ms"].as_u64().unwrap();
    assert!((1_000..60_000).contains(&valid), "{valid}");

    // Another node says the same, by quorum.
    let mut other = Web::connect(at(&cluster, 1)).await;
    let got = other.get("/v1/get?key=job").await.json();
    assert_eq!((&got["held"], &got["holder"]["token"]), (&json!(true), &json!(token)));
    assert_eq!(got["holder"]["meta"]["host"], "h");
    let address: SocketAddr =
        got["holder"]["meta"]["client_address"].as_str().unwrap().parse().unwrap();
    assert!(address.ip().is_loopback());

    let rival = other.post("/v1/lock", &json!({"key": "job", "value": "you"})).await;
    assert_eq!((rival.status, &rival.json()["reason"]), (409, &json!("held")));
    assert_eq!(rival.json()["holder"]["value"], "me");
    assert!(rival.json()["message"].as_str().unwrap().contains("`wait`"), "{rival:?}");

    let longer = json!({"key": "job", "token": token, "ttl": "120s"});
    let extended = other.post("/v1/extend", &longer).await.json();
    assert!(extended["valid_for_ms"].as_u64().unwrap() > 60_000, "{extended}");
    let update = json!({"key": "job", "old": "me", "value_base64": "/w=="});
    assert_eq!(web.post("/v1/update", &update).await.status, 200);
    let got = web.get("/v1/get?key=job").await.json();
    assert_eq!(got["holder"]["value_base64"], "/w==");

    for (asked, status) in [(token, 200), (token - 1, 409)] {
        let checked = web.get(&format!("/v1/fence/check?key=job&token={asked}")).await;
        assert_eq!(checked.status, status, "{checked:?}");
    }
    let wrong = json!({"key": "job", "value": "me"});
    assert_eq!(web.post("/v1/release", &wrong).await.status, 409);
    assert_eq!(web.post("/v1/release", &json!({"key": "job", "token": token})).await.status, 200);
    let gone = web.get(&format!("/v1/fence/check?key=job&token={token}")).await;
    assert_eq!((gone.status, &gone.json()["reason"]), (409, &json!("not_held")));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_with_what_is_waited_for_or_with_the_time() {
    let cluster = dev(CLUSTER).await.unwrap();
    let mut holder = Web::connect(at(&cluster, 0)).await;
    let locked = holder.post("/v1/lock", &json!({"key": "job", "value": "me"})).await.json();
    let late = holder.post("/v1/lock", &json!({"key": "job", "wait": "100ms"})).await;
    assert_eq!((late.status, &late.json()["outcome"]), (408, &json!("timed_out")));
    let late = holder.get("/v1/wait?key=job&released=true&timeout=100ms").await;
    assert_eq!((late.status, &late.json()["outcome"]), (408, &json!("timed_out")));

    let (node, next) = (at(&cluster, 1), at(&cluster, 2));
    let queued = tokio::spawn(async move {
        let asked = json!({"key": "job", "value": "next", "wait": "60s"});
        Web::connect(node).await.post("/v1/lock", &asked).await
    });
    let waits = tokio::spawn(async move {
        Web::connect(next).await.get("/v1/wait?key=job&released=true&timeout=60s").await
    });
    // The lock queues at the key's home, which every node names; the wait stays where it was asked for.
    let mut all = Vec::new();
    for node in 0..3 {
        all.push(Web::connect(at(&cluster, node)).await);
    }
    let homes = until("both wait", async || {
        let (mut count, mut homes) = (0, Vec::new());
        for web in &mut all {
            let shown = web.get("/v1/waiters?key=job").await.json();
            count += shown["all"].as_u64().unwrap();
            homes.push(shown["home_http"].as_str().unwrap().to_owned());
        }
        (count == 2).then_some(homes)
    })
    .await;
    assert!(homes.iter().all(|home| *home == homes[0]), "{homes:?}");
    let mut home = Web::connect(homes[0].parse().unwrap()).await;
    let first = &home.get("/v1/waiters?key=job").await.json()["waiters"][0];
    assert_eq!((&first["wants"], &first["value"]), (&json!("lock"), &json!("next")));
    let token = &locked["token"];
    assert_eq!(
        holder.post("/v1/release", &json!({"key": "job", "token": token})).await.status,
        200
    );
    let queued = queued.await.unwrap();
    assert!(queued.json()["token"].as_u64() > token.as_u64(), "{queued:?}");
    assert_eq!(waits.await.unwrap().status, 200);
    cluster.shutdown().await;
}

/// Whoever goes away while it queues does not get the key later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_waits_no_longer() {
    let cluster = dev(CLUSTER).await.unwrap();
    let mut web = Web::connect(at(&cluster, 0)).await;
    let locked = web.post("/v1/lock", &json!({"key": "job", "value": "me"})).await.json();
    let node = at(&cluster, 1);
    let queued = tokio::spawn(async move {
        let asked = json!({"key": "job", "value": "gone", "wait": "60s"});
        Web::connect(node).await.post("/v1/lock", &asked).await
    });
    let client = Client::connect(
        [cluster.nodes()[0].client_addr().to_string()],
        Options::new().timeout(Duration::from_secs(20)),
    )
    .await
    .unwrap();
    let waiting = async || -> usize {
        let reports = client.waiters("job").await;
        reports.iter().map(|r| r.waiting.as_ref().map_or(0, |w| w.first.len())).sum()
    };
    until("it queues", async || (waiting().await == 1).then_some(())).await;
    queued.abort();
    until("it queues no longer", async || (waiting().await == 0).then_some(())).await;
    let token = &locked["token"];
    assert_eq!(web.post("/v1/release", &json!({"key": "job", "token": token})).await.status, 200);
    assert_eq!(web.get("/v1/get?key=job").await.json()["held"], false);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_is_listed_page_by_page() {
    let cluster = dev(DevOptions { masters: 1, ..CLUSTER }).await.unwrap();
    let mut web = Web::connect(at(&cluster, 0)).await;
    for name in 0..25 {
        let asked = json!({"key": format!("a/{name}"), "value": "me"});
        assert_eq!(web.post("/v1/lock", &asked).await.status, 200);
    }
    web.post("/v1/lock", &json!({"key_base64": "/2I="})).await;
    let (mut keys, mut path) = (Vec::new(), "/v1/list?prefix=a/&most=10".to_owned());
    loop {
        let page = web.get(&path).await.json();
        let held = page["held"].as_array().unwrap();
        assert!(held.len() <= 10, "{page}");
        keys.extend(held.iter().map(|held| held["key"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/list?prefix=a/&most=10&after={next}"),
            None => break,
        }
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 25);
    let odd = web.get("/v1/list?prefix_base64=/w==").await.json();
    assert_eq!(odd["held"][0]["key_base64"], "/2I=", "{odd}");
    let stale = web.get("/v1/list?after=1.1").await;
    assert_eq!((stale.status, &stale.json()["reason"]), (503, &json!("records_replaced")));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_gets_an_answer_that_says_what_to_do() {
    let cluster = dev(DevOptions { masters: 1, ..CLUSTER }).await.unwrap();
    let mut web = Web::connect(at(&cluster, 0)).await;
    let bodies = [
        ("/v1/lock", "", "EOF"),
        ("/v1/lock", "[]", "not what is expected"),
        ("/v1/lock", "{}", "there is no `key`"),
        ("/v1/lock", r#"{"key": "a", "key_base64": "YQ=="}"#, "not both"),
        ("/v1/lock", r#"{"key_base64": "?"}"#, "`key_base64`"),
        ("/v1/lock", r#"{"key": "a", "tll": "1s"}"#, "unknown field `tll`"),
        ("/v1/lock", r#"{"key": "a", "ttl": "1"}"#, "`ttl`"),
        ("/v1/lock", r#"{"key": "a", "ttl": "1parsec"}"#, "`ttl`"),
        ("/v1/lock", r#"{"key": "", "ttl": "30s"}"#, "the key is empty"),
        ("/v1/lock", r#"{"key": "a", "ttl": "9999h"}"#, "lease"),
        ("/v1/extend", r#"{"key": "a", "ttl": "1s"}"#, "name the owner"),
        ("/v1/extend", r#"{"key": "a", "token": 9007199254740992, "ttl": "1s"}"#, "2^53"),
        ("/v1/release", r#"{"key": "a", "force": true, "token": 1}"#, "`force`"),
    ];
    for (path, body, words) in bodies {
        let answer = web.post_text(path, body).await;
        assert_eq!((answer.status, &answer.json()["outcome"]), (400, &json!("invalid")), "{body}");
        assert!(answer.json()["message"].as_str().unwrap().contains(words), "{answer:?}");
    }
    for (path, status) in [
        ("/v1/get", 400),
        ("/v1/get?key=a&lokal=true", 400),
        ("/v1/fence/check?key=a&token=x", 400),
        ("/v1/list?after=x", 400),
        ("/v1/lock", 405),
        ("/v1/nothing", 404),
        ("/", 404),
    ] {
        let answer = web.get(path).await;
        assert_eq!(
            (answer.status, &answer.json()["outcome"]),
            (status, &json!("invalid")),
            "{path}"
        );
    }
    let large = json!({"key": "a", "value": "v".repeat(2 << 20)});
    assert_eq!(web.post("/v1/lock", &large).await.status, 413);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_gets_events() {
    let cluster = dev(DevOptions { masters: 1, ..CLUSTER }).await.unwrap();
    let mut events = Web::connect(at(&cluster, 0)).await.watch("/v1/watch?prefix=a/").await;
    assert_eq!(events.next().await.unwrap().0, "watching");
    let mut web = Web::connect(at(&cluster, 0)).await;
    web.post("/v1/lock", &json!({"key": "b", "value": "other"})).await;
    let locked = web.post("/v1/lock", &json!({"key": "a/1", "value": "me"})).await.json();
    let (name, held) = events.next().await.unwrap();
    assert_eq!((name.as_str(), &held["key"]), ("held", &json!("a/1")));
    assert_eq!((&held["token"], &held["holder"]["value"]), (&locked["token"], &json!("me")));
    web.post("/v1/release", &json!({"key": "a/1", "token": locked["token"]})).await;
    let (name, released) = events.next().await.unwrap();
    assert_eq!((name.as_str(), &released["token"]), ("released", &locked["token"]));
    cluster.shutdown().await;
    assert_eq!(events.next().await.map(|(name, _)| name), Some("ended".to_owned()));
    assert_eq!(events.next().await, None);
}

/// One that does not read is cut off, and nobody else notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_over_http_is_cut_off() {
    let mut config = raw_config("a", &[("a", "127.0.0.1:0".to_owned())]);
    config.limits.client_queue = 2 << 20;
    config.limits.core.value = 200 << 10;
    config.listen.http = Some("127.0.0.1:0".into());
    let bound = Listeners::bind("127.0.0.1:0", "127.0.0.1:0").await.unwrap();
    let bound = bound.with_http("127.0.0.1:0").await.unwrap();
    let node = Server::start_on(config, bound).unwrap();
    node.init().await.unwrap();
    let mut slow = TcpStream::connect(node.http_addr().unwrap()).await.unwrap();
    slow.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut web = Web::connect(node.http_addr().unwrap()).await;
    let asked = json!({"key": "k", "value": "v".repeat(150 << 10)});
    until("it lags", async || {
        let locked = web.post("/v1/lock", &asked).await;
        assert_eq!(locked.status, 200, "{locked:?}");
        let token = locked.json()["token"].clone();
        let released = web.post("/v1/release", &json!({"key": "k", "token": token})).await;
        assert_eq!(released.status, 200, "{released:?}");
        (node.counters().watches_lagged.count() > 0).then_some(())
    })
    .await;
    let mut text = Vec::new();
    until("it was told", async || {
        let mut piece = vec![0; 1 << 20];
        let read = slow.read(&mut piece).await.unwrap();
        text.extend_from_slice(&piece[..read]);
        assert!(read > 0, "it ended without a word");
        String::from_utf8_lossy(&text[text.len().saturating_sub(200)..])
            .contains("event: lagged")
            .then_some(())
    })
    .await;
    node.shutdown().await;
}

/// A head that never ends, and bytes that are no HTTP, cost nothing but their connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_ends_its_own_connection_only() {
    let cluster = dev(DevOptions { masters: 1, ..CLUSTER }).await.unwrap();
    let mut web = Web::connect(at(&cluster, 0)).await;
    let endless = [b"GET / HTTP/1.1\r\n".to_vec(), b"x: y\r\n".repeat(100_000)].concat();
    for bytes in [b"\x16\x03\x01\x02\x00".repeat(100), b"\r\n\r\nno\r\n\r\n".to_vec(), endless] {
        let mut stream = TcpStream::connect(at(&cluster, 0)).await.unwrap();
        // The node may hang up before it has read all of it.
        drop(stream.write_all(&bytes).await);
        let mut said = Vec::new();
        drop(stream.read_to_end(&mut said).await);
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
        assert_eq!(web.get("/livez").await.status, 200);
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_shown_as_a_node_sees_it() {
    let cluster = dev(DevOptions { masters: 3, replicas: 1, port: 0 }).await.unwrap();
    let mut web = Web::connect(at(&cluster, 0)).await;
    let members = web.get("/v1/members").await.json();
    let all = members["members"].as_array().unwrap();
    assert_eq!((all.len(), &members["epoch"]), (4, &json!(1)));
    let http: Vec<String> = (0..4).map(|node| at(&cluster, node).to_string()).collect();
    assert!(all.iter().all(|member| http.contains(&member["http"].as_str().unwrap().to_owned())));
    let status = web.get("/v1/status").await.json();
    assert_eq!((&status["node"], &status["standing"]), (&json!("n0"), &json!("active")));
    let probed = web.post("/v1/lag", &json!({})).await;
    assert_eq!(probed.status, 200, "{probed:?}");
    let probed = probed.json();
    assert!(probed["lock_us"].as_u64().unwrap() > 0);
    assert_eq!(probed["replicas"].as_array().unwrap().len(), 1, "{probed}");
    assert_eq!(probed["replicas"][0]["node"], "n3");
    let summary = web.get("/v1/summary").await.json();
    assert_eq!(summary["masters"], 3);
    assert_eq!((&summary["voting"], &summary["quorum"]), (&json!(3), &json!(2)));
    assert_eq!(summary["replicas"], 1);
    // The probe is gone.
    assert_eq!(web.get("/v1/list?prefix=leasehold/").await.json()["held"], json!([]));
    let described = web.get("/v1/openapi.json").await;
    assert!(described.kind.starts_with("application/json"), "{described:?}");
    assert!(described.json()["paths"]["/v1/lock"]["post"].is_object());
    cluster.shutdown().await;
}

/// Certificates and tokens, with the secrets of the tokens.
fn secrets(folder: &std::path::Path) -> (config::Tls, std::path::PathBuf, [String; 2]) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    run(&["certs", "--out", &path("certs"), "--node", "a"]);
    let mut tokens = String::new();
    let secrets =
        [("ops", "read,lock,force,admin"), ("ci", "read,lock:ci/")].map(|(name, allow)| {
            let secret = path(&format!("{name}.token"));
            tokens += &run(&["token", name, "--allow", allow, "--secret", &secret]).out;
            std::fs::read_to_string(&secret).unwrap().trim().to_owned()
        });
    write(folder, "tokens.toml", &tokens);
    let tls = config::Tls {
        ca: folder.join("certs/ca.pem"),
        cert: folder.join("certs/a.pem"),
        key: folder.join("certs/a.key"),
        ..config::Tls::default()
    };
    (tls, folder.join("tokens.toml"), secrets)
}

/// What the token `ci` gives no right to.
async fn is_kept_to_its_rules(web: &mut Web) {
    for (path, body) in [
        ("/v1/lock", json!({"key": "job"})),
        ("/v1/extend", json!({"key": "job", "token": 1, "ttl": "1m"})),
        ("/v1/update", json!({"key": "job", "token": 1, "value": "x"})),
        ("/v1/release", json!({"key": "job", "token": 1})),
        ("/v1/release", json!({"key": "ci/job", "force": true})),
        ("/v1/lag", json!({})),
    ] {
        let answer = web.post(path, &body).await;
        assert_eq!(
            (answer.status, &answer.json()["outcome"]),
            (403, &json!("not_allowed")),
            "{path}"
        );
        assert!(answer.json()["message"].as_str().unwrap().contains("`ci`"), "{answer:?}");
    }
    for path in [
        "/v1/get?key=job",
        "/v1/get?key=job&local=true",
        "/v1/wait?key=job",
        "/v1/waiters?key=job",
        "/v1/fence/check?key=job&token=1",
        "/v1/list",
        "/v1/list?prefix=c",
        "/v1/watch",
    ] {
        assert_eq!(web.get(path).await.status, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_the_same_tokens_and_certificates_count() {
    let folder = tempfile::tempdir().unwrap();
    let (tls, tokens, [ops, ci]) = secrets(folder.path());
    let ca = tls.ca.to_str().unwrap().to_owned();
    let mut config = raw_config("a", &[("a", "127.0.0.1:0".to_owned())]);
    (config.tls, config.tokens) = (tls, Some(tokens.clone()));
    config.listen.http = Some("127.0.0.1:0".into());
    let bound = Listeners::bind("127.0.0.1:0", "127.0.0.1:0").await.unwrap();
    let node = Server::start_on(config, bound.with_http("127.0.0.1:0").await.unwrap()).unwrap();
    node.init().await.unwrap();
    let address = node.http_addr().unwrap();
    let connect = async || Web::connect_tls(address, "a", &ca).await;

    // Without TLS there is not even a conversation.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    drop(plain.read_to_end(&mut said).await);
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");

    let mut nobody = connect().await;
    assert_eq!(nobody.get("/livez").await.status, 200);
    assert_eq!(nobody.get("/metrics").await.status, 200);
    assert_eq!(nobody.get("/readyz").await.status, 200);
    let mut stranger = connect().await.bearing("made-up");
    for path in ["/v1/get?key=ci/job", "/v1/list", "/v1/status", "/v1/members", "/v1/watch"] {
        for web in [&mut nobody, &mut stranger] {
            let answer = web.get(path).await;
            assert_eq!((answer.status, &answer.json()["outcome"]), (401, &json!("not_allowed")));
            assert!(answer.json()["message"].as_str().unwrap().contains("Bearer"), "{answer:?}");
        }
    }

    let mut ci_web = connect().await.bearing(&ci);
    let locked = ci_web.post("/v1/lock", &json!({"key": "ci/job", "value": "me"})).await;
    assert_eq!(locked.status, 200, "{locked:?}");
    is_kept_to_its_rules(&mut ci_web).await;
    assert_eq!(ci_web.get("/v1/list?prefix=ci/").await.status, 200);
    assert_eq!(ci_web.get("/v1/status").await.status, 200);
    let denied = nobody.get("/metrics").await.text;
    assert!(
        denied.contains(r#"leasehold_requests_total{op="watch",outcome="not_allowed"} 1"#),
        "{denied}"
    );

    // A watch ends when its token is withdrawn, at the next change.
    let mut events = connect().await.bearing(&ci).watch("/v1/watch?prefix=ci/").await;
    assert_eq!(events.next().await.unwrap().0, "watching");
    let all = std::fs::read_to_string(&tokens).unwrap();
    let only_ops = all.split("[[token]]").nth(1).unwrap();
    std::fs::write(&tokens, format!("[[token]]{only_ops}")).unwrap();
    node.reload().await;
    assert_eq!(ci_web.get("/v1/get?key=ci/job").await.status, 401);
    let mut ops = connect().await.bearing(&ops);
    let forced = ops.post("/v1/release", &json!({"key": "ci/job", "force": true})).await;
    assert_eq!(forced.status, 200, "{forced:?}");
    assert_eq!(events.next().await.map(|(name, _)| name), Some("ended".to_owned()));
    node.shutdown().await;
}
