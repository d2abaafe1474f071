//! Which cluster a node belongs to, as clients and operators see it: two clusters in one list, nodes that belong to none.

use leasehold_node::{Dev, DevOptions, dev};

use super::binary::{Endpoints, free_ports, write};
use super::raw::until;
use super::secure::wait_for;
use super::trio::{TIMING, Trio, standing};
use super::web::Web;

const ONE: DevOptions = DevOptions { masters: 1, replicas: 0, port: 0 };

fn endpoint(cluster: &Dev) -> String {
    cluster.nodes()[0].client_addr().to_string()
}

/// Otherwise each of two commands may lock the key in another cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_two_clusters_is_an_error_that_names_both() {
    let (blue, red) = (dev(ONE).await.unwrap(), dev(ONE).await.unwrap());
    let both = format!("{},{}", endpoint(&blue), endpoint(&red));
    let said = tokio::task::spawn_blocking(move || {
        let commands = [&["lock", "job", "me"][..], &["get", "job"], &["list"], &["status"]];
        // On a busy machine the second cluster may answer after the moment that a command waits for it.
        commands.map(|command| {
            let mut said = Endpoints(both.clone()).run(command);
            wait_for("an answer of both", || {
                said = Endpoints(both.clone()).run(command);
                said.code == 6
            });
            said
        })
    });
    for said in said.await.unwrap() {
        let json = said.json();
        assert_eq!(json["outcome"], "other_cluster", "{said:?}");
        assert!(json["message"].as_str().unwrap().contains("belongs to cluster"), "{said:?}");
        assert!(said.err.contains("--endpoints"), "{said:?}");
    }
    blue.shutdown().await;
    red.shutdown().await;
}

/// In the middle of replacing a node: it belongs to no cluster, and the others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_cluster_among_the_endpoints_costs_no_operation() {
    let trio = Trio::new();
    let mut servers = trio.found();
    servers.pop().unwrap().kill();
    std::fs::remove_file(trio.folder().join("data-c/node")).unwrap();
    let _c = trio.start("c");
    // Alone it says what it knows, and nothing about `init`.
    wait_for("the refusal", || trio.run_at(2, "ops", "lock job me").out.contains("stranger"));
    let alone = trio.run_at(2, "ops", "lock job me");
    assert_eq!((alone.code, alone.json()["reason"].as_str()), (3, Some("stranger")), "{alone:?}");
    assert!(alone.err.contains("members replace") && !alone.err.contains("init"), "{alone:?}");
    let mut web = trio.web(2, "ops").await;
    let ready = web.get("/readyz?verbose").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text.contains("[-] state: outside: it belongs to no cluster"), "{ready:?}");
    assert!(ready.text.contains("no link to a: refused there: `c` is incarnation"), "{ready:?}");
    let lock = web.post_text("/v1/lock", r#"{"key": "job", "value": "me", "ttl": "5s"}"#).await;
    assert_eq!((lock.status, lock.json()["reason"].as_str()), (503, Some("stranger")), "{lock:?}");
    // Beside others it is asked nothing, wherever it stands in the list.
    for look in 0..40 {
        trio.expect(0, "ops", &format!("lock job-{look} me --ttl 1s"));
    }
    assert_eq!(standing(&trio.expect(0, "ops", "status"), "c").as_deref(), Some("outside"));
    trio.expect(0, "ops", "members replace c");
    trio.until("status", |said| standing(said, "c").as_deref() == Some("active"));
    assert_eq!(web.get("/readyz").await.status, 200);
}

/// Two processes that vote in one name: both get no link, and all are told why, until one of them is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_data_directory_is_named_by_everybody() {
    let trio = Trio::new();
    let _servers = trio.found();
    let ports = free_ports(3);
    let here = |port: usize| format!("127.0.0.1:{}", ports[port]);
    let copied = "data_dir = '".to_owned() + &trio.path("copied") + "'";
    let text = trio.text("c", &here(0), &here(1), "", TIMING);
    let text = text
        .replace(&format!("data_dir = '{}'", trio.path("data-c")), &copied)
        .replace(&format!("http = '{}'", trio.https()[2]), &format!("http = '{}'", here(2)));
    assert!(text.contains(&copied) && text.contains(&here(2)), "{text}");
    write(trio.folder(), "copy.toml", &text);
    std::fs::create_dir(trio.folder().join("copied")).unwrap();
    std::fs::copy(trio.path("data-c/node"), trio.path("copied/node")).unwrap();
    let copy = trio.start("copy");
    let words = "the data directory of `c`";
    for log in ["a", "b", "c", "copy"] {
        wait_for(log, || trio.log(log).contains(words) && trio.log(log).contains("in use twice"));
    }
    let mut original = trio.web(2, "ops").await;
    let address = here(2).parse().unwrap();
    let mut copied = Web::connect_tls(address, "c", &trio.path("certs/ca.pem")).await;
    for web in [&mut original, &mut copied] {
        until("it says so", async || {
            let ready = web.get("/readyz?verbose").await;
            (ready.status == 503 && ready.text.contains("in use twice")).then_some(())
        })
        .await;
    }
    // The others go on without either, and with the one that is left.
    trio.expect(0, "ops", "lock job me --ttl 1s");
    assert!(trio.expect(0, "ops", "status").out.contains("in use twice"));
    copy.kill();
    until("it votes again", async || (original.get("/readyz").await.status == 200).then_some(()))
        .await;
}
