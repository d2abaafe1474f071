//! Watching what changes, over the clients' port.

use std::time::Duration;

use leasehold_client::{Change, Client, Noticed, Options, WatchEnd};
use leasehold_core::Span;
use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_node::{DevOptions, Server, dev};

use crate::raw::{Raw, config, lock, release, request, until};

const CLUSTER: DevOptions = DevOptions { masters: 3, replicas: 0, port: 0 };

/// The next change.
async fn next(watch: &mut leasehold_client::Watch) -> Noticed {
    let next = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
    next.expect("a change in time").unwrap()
}

/// How the ownership that was seen to begin ended. That it began is told again where it had to be written again.
async fn end_of(watch: &mut leasehold_client::Watch) -> Noticed {
    loop {
        let noticed = next(watch).await;
        if !matches!(noticed.change, Change::Held(_)) {
            return noticed;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_sees_a_key_come_and_go() {
    let cluster = dev(CLUSTER).await.unwrap();
    let at = |node: usize| cluster.nodes()[node].client_addr().to_string();
    let writer = Client::connect([at(0)], Options::new()).await.unwrap();
    let watcher = Client::connect([at(1)], Options::new()).await.unwrap();
    let mut watch = watcher.watch("a/").await.unwrap();
    let other = writer.lock("b/1").value("other").await.unwrap();
    let lease = writer.lock("a/1").value("me").label("host", "h").await.unwrap();
    let held = next(&mut watch).await;
    assert_eq!((&held.key[..], held.token), (&b"a/1"[..], lease.token()));
    let Change::Held(Some(holder)) = held.change else { panic!("{held:?}") };
    assert_eq!((&holder.value[..], holder.labels["host"].as_str()), (&b"me"[..], "h"));
    let token = lease.token();
    lease.release().await.unwrap();
    let released = end_of(&mut watch).await;
    assert_eq!((released.token, released.change), (token, Change::Released));
    // One that ends by itself.
    let short = writer.lock("a/2").ttl(Duration::from_millis(1_500)).lease().await.unwrap();
    assert_eq!(next(&mut watch).await.token, short.token());
    let expired = end_of(&mut watch).await;
    assert_eq!((expired.token, expired.change), (short.token(), Change::Expired));
    drop((watch, other));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_with_its_node() {
    let cluster = dev(DevOptions { masters: 1, ..CLUSTER }).await.unwrap();
    let endpoint = cluster.nodes()[0].client_addr().to_string();
    let client = Client::connect([endpoint], Options::new()).await.unwrap();
    let mut watch = client.watch("").await.unwrap();
    cluster.shutdown().await;
    let end = tokio::time::timeout(Duration::from_secs(60), watch.next()).await.unwrap();
    assert_eq!(end, Err(WatchEnd::Disconnected));
}

/// A client that watches and does not read is told so, once it reads again, and its other answers arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_is_cut_off_and_told_so() {
    let mut config = config("a", &[("a", "127.0.0.1:0".to_owned())]);
    // A quarter of it is two large values and a bit.
    config.limits.client_queue = 2 << 20;
    config.limits.core.value = 200 << 10;
    let node = Server::start_on(
        config.clone(),
        leasehold_node::Listeners::bind("127.0.0.1:0", "127.0.0.1:0").await.unwrap(),
    )
    .unwrap();
    node.init().await.unwrap();
    let (mut slow, _) = Raw::client(node.client_addr()).await;
    slow.send(&[ClientItem::Watch { call: 1, prefix: "k".into() }]).await;
    assert_eq!(slow.answer().await, Some(NodeItem::Watching { call: 1 }));
    let (mut writer, _) = Raw::client(node.client_addr()).await;
    let value = "v".repeat(150 << 10);
    let mut chain = 0;
    until("the watcher lags", async || {
        chain += 1;
        writer.call(2 * chain, "key", lock(chain, &value, Span::ZERO)).await;
        writer.call(2 * chain + 1, "key", release(chain, 1, &value)).await;
        (node.counters().watches_lagged.count() > 0).then_some(())
    })
    .await;
    slow.send(&[request(7, "key", leasehold_core::Action::Read)]).await;
    let mut notices = 0;
    loop {
        match slow.answer().await.expect("the connection goes on") {
            NodeItem::Notice { call: 1, .. } => notices += 1,
            NodeItem::Lagged { call: 1 } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(notices > 0);
    assert!(matches!(slow.answer().await, Some(NodeItem::Reply { call: 7, .. })));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_counts_what_it_coordinates() {
    let cluster = dev(CLUSTER).await.unwrap();
    let endpoint = cluster.nodes()[0].client_addr().to_string();
    let client = Client::connect([endpoint], Options::new()).await.unwrap();
    let mut lease = client.lock("job").ttl(Duration::from_secs(60)).lease().await.unwrap();
    lease.extend(Duration::from_secs(60)).await.unwrap();
    assert!(client.read("job").await.unwrap().is_some());
    let counted = |spread: &leasehold_core::Spread| spread.counts().map(|(_, n)| n).sum::<u64>();
    let (mut rounds, mut votes, mut margins) = ([0; 3], [0; 3], Vec::new());
    for node in cluster.nodes() {
        let (_, tally) = node.measure().await.unwrap();
        for (sum, spread) in rounds.iter_mut().zip([&tally.prepare, &tally.accept, &tally.query]) {
            *sum += counted(spread);
        }
        let results = [tally.votes.promised, tally.votes.accepted, tally.votes.read];
        votes.iter_mut().zip(results).for_each(|(sum, count)| *sum += count);
        margins.extend(tally.renew_margin.counts().filter(|(_, count)| *count > 0));
    }
    // The extension needed no vote; other votes may have been repeated.
    assert!(rounds[0] >= 1 && rounds[1] >= 2 && rounds[2] >= 1, "{rounds:?}");
    assert!(votes.iter().all(|count| *count >= 2), "{votes:?}");
    // Nearly all of the lease was left.
    assert_eq!(margins, [(1_000, 1)]);
    cluster.shutdown().await;
}
