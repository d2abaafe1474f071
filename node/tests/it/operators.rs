//! What operators do over HTTP, and what they are told where it cannot be done: processes with TLS and tokens.

use serde_json::{Value, json};

use super::binary::Said;
use super::members::newcomer;
use super::raw::until;
use super::secure::signal;
use super::trio::Trio;
use super::web::{Answer, Web};

/// What a node says of another one.
fn of<'a>(shown: &'a Value, name: &str) -> Option<&'a Value> {
    shown["members"].as_array().unwrap().iter().find(|member| member["node"] == name)
}

/// Asks again and again until it is as wanted.
async fn members_until(web: &mut Web, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        let shown = web.get("/v1/members").await.json();
        wanted(&shown).then_some(shown)
    })
    .await
}

/// Repeats a change until it is agreed on.
async fn change(web: &mut Web, path: &str, asked: Value) -> Answer {
    until(path, async || {
        let answer = web.post(path, &asked).await;
        (answer.status == 200).then_some(answer)
    })
    .await
}

/// What makes no sense is refused in words, and changes nothing.
async fn refuses_nonsense(web: &mut Web) {
    for (path, asked, status, words) in [
        ("/v1/members/promote", json!({"node": "z"}), 409, "the masters are a, b, c"),
        ("/v1/members/replace", json!({"node": "a"}), 409, "nothing to replace"),
        ("/v1/members/set", json!({"masters": []}), 409, "at least one master"),
        ("/v1/members/add", json!({"node": "d", "peer": "nowhere"}), 400, "`peer`"),
        ("/v1/members/add", json!({"node": "no name"}), 400, "`node`"),
        ("/v1/members/add", json!({"name": "d"}), 400, "unknown field `name`"),
        ("/v1/members/remove", json!({"node": "a", "timeout": "5"}), 400, "`timeout`"),
        ("/v1/init", json!({"force": true}), 400, "unknown field `force`"),
    ] {
        let refused = web.post(path, &asked).await;
        assert_eq!(refused.status, status, "{path} {asked}: {refused:?}");
        assert!(refused.json()["message"].as_str().unwrap().contains(words), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_founded_and_changed_over_http() {
    let trio = Trio::new();
    let _two = [trio.start("a"), trio.start("b")];
    until("it listens", async || {
        tokio::net::TcpStream::connect(&trio.https()[0]).await.ok().map(drop)
    })
    .await;
    let mut web = trio.web(0, "ops").await;
    // Nobody but who has the right.
    let stranger = trio.web(0, "ops").await.bearing("made up").post("/v1/init", &json!({})).await;
    assert_eq!((stranger.status, &stranger.json()["outcome"]), (401, &json!("not_allowed")));
    for (path, asked) in [
        ("/v1/init", json!({})),
        ("/v1/members/set", json!({"masters": [{"node": "a"}]})),
        ("/v1/members/add", json!({"node": "d"})),
        ("/v1/members/promote", json!({"node": "d"})),
        ("/v1/members/demote", json!({"node": "a"})),
        ("/v1/members/remove", json!({"node": "a"})),
        ("/v1/members/replace", json!({"node": "a"})),
    ] {
        let denied = trio.web(0, "ci").await.post(path, &asked).await;
        assert_eq!(denied.status, 403, "{path}: {denied:?}");
        assert!(denied.text.contains("the right `admin`"), "{path}: {denied:?}");
        if path != "/v1/init" {
            let early = web.post(path, &asked).await;
            assert_eq!((early.status, &early.json()["reason"]), (503, &json!("not_founded")));
        }
    }
    // It needs every master, and says who is missing.
    let missing = web.post("/v1/init", &json!({"timeout": "2s"})).await;
    assert_eq!((missing.status, &missing.json()["masters"]), (503, &json!(["c"])), "{missing:?}");
    assert!(missing.text.contains("must run and be linked"), "{missing:?}");
    let _c = trio.start("c");
    let founded = change(&mut web, "/v1/init", json!({})).await.json();
    assert_eq!(founded["cluster"].as_str().unwrap().len(), 32, "{founded}");
    let shown = members_until(&mut web, "it is complete", |shown| shown["complete"] == true).await;
    assert_eq!((&shown["cluster"], &shown["quorum"]), (&founded["cluster"], &json!(2)), "{shown}");
    members_until(&mut web, "all vote", |shown| shown["voting"] == 3).await;
    let again = web.post("/v1/init", &json!({})).await;
    assert_eq!((again.status, &again.json()["reason"]), (409, &json!("already_founded")));

    refuses_nonsense(&mut web).await;

    // Who does not run is not taken in; who runs comes in, votes, and goes.
    let peer = newcomer(&trio, "d");
    let asked = json!({"node": "d", "peer": peer, "timeout": "3s"});
    let missing = web.post("/v1/members/add", &asked).await;
    assert_eq!((missing.status, &missing.json()["masters"]), (503, &json!(["d"])), "{missing:?}");
    let _d = trio.start("d");
    let epoch = change(&mut web, "/v1/members/add", json!({"node": "d"})).await.json();
    let shown = members_until(&mut web, "d is a replica", |shown| {
        of(shown, "d").is_some_and(|d| d["master"] == false && d["standing"] == "replica")
    })
    .await;
    assert_eq!(shown["epoch"], epoch["epoch"]);
    change(&mut web, "/v1/members/promote", json!({"node": "d"})).await;
    members_until(&mut web, "d votes", |shown| shown["voting"] == 4 && shown["quorum"] == 3).await;
    let set = json!({"masters": [{"node": "a"}, {"node": "b"}, {"node": "d"}], "replicas": [{"node": "c"}]});
    change(&mut web, "/v1/members/set", set).await;
    change(&mut web, "/v1/members/promote", json!({"node": "c"})).await;
    change(&mut web, "/v1/members/demote", json!({"node": "c"})).await;
    change(&mut web, "/v1/members/remove", json!({"node": "c"})).await;
    let shown = members_until(&mut web, "c is none", |shown| of(shown, "c").is_none()).await;
    assert_eq!((&shown["masters"], shown["members"].as_array().unwrap().len()), (&json!(3), 3));

    // A node that lost its file.
    drop(_d);
    std::fs::remove_file(trio.folder().join("data-d/node")).unwrap();
    let _d = trio.start("d");
    change(&mut web, "/v1/members/replace", json!({"node": "d"})).await;
    members_until(&mut web, "d votes again", |shown| shown["voting"] == 3).await;
}

/// A change whose nodes stand still goes on until they do not; meanwhile another one is refused, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_change_has_to_wait_for_the_first() {
    let trio = Trio::new();
    let servers = trio.found();
    let mut web = trio.web(0, "ops").await;
    // Its quorum cannot vote: two of the three stand still.
    for server in &servers[1..] {
        signal(server.id(), "STOP");
    }
    let first = trio.spawn_at(0, "ops", "members demote c --timeout 50s");
    let shown = members_until(&mut web, "it is under way", |shown| shown["changing"] == true).await;
    assert_eq!(shown["complete"], false, "{shown}");
    let seen = trio.run_at(0, "ops", "members --timeout 2s");
    assert_eq!(
        serde_json::from_str::<Value>(seen.out.lines().next().unwrap()).unwrap()["changing"],
        true
    );
    let second = web.post("/v1/members/remove", &json!({"node": "b"})).await;
    assert_eq!((second.status, &second.json()["reason"]), (503, &json!("changing")), "{second:?}");
    assert!(second.text.contains("Wait until /v1/members shows"), "{second:?}");
    let second = trio.run_at(0, "ops", "members remove b --timeout 3s");
    assert_eq!((second.code, &second.json()["reason"]), (3, &json!("changing")), "{second:?}");
    assert!(second.json()["message"].as_str().unwrap().contains("Wait until"), "{second:?}");
    for server in &servers[1..] {
        signal(server.id(), "CONT");
    }
    let first = Said::of(first.wait_with_output().unwrap());
    assert_eq!(first.code, 0, "{first:?}");
    members_until(&mut web, "it is complete", |shown| {
        shown["complete"] == true && shown["masters"] == 2
    })
    .await;
    trio.expect(0, "ops", "members promote c");
}
