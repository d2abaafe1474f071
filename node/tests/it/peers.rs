//! Links: who gets one, who does not, and what strangers can do.

use leasehold_core::wire::{MAX_FRAME, PeerHello, PeerItem, Versions};
use leasehold_core::{Drift, NodeId, Span};
use leasehold_node::Server;
use tokio::net::TcpListener;

use crate::raw::{Raw, accept, config, dial_as, peer_hello, sees, status_until, until};

const NOWHERE: &str = "127.0.0.1:1";

fn two(b: &str) -> leasehold_node::Config {
    config("a", &[("a", NOWHERE.into()), ("b", b.into())])
}

type Change = fn(&mut PeerHello);

/// What a hello may have wrong, and a word of the refusal.
const WRONG: [(Change, &str); 10] = [
    (|hello| hello.versions = Versions { oldest: 900, newest: 901 }, "versions"),
    (|hello| hello.cluster_name = "other".into(), "cluster.name"),
    (|hello| hello.member.name = "a".into(), "both ends"),
    (|hello| hello.member.name = "z".into(), "`z`"),
    (|hello| hello.timing.max_lease = Span::from_secs(1), "timing.max_lease"),
    (|hello| hello.timing.op_timeout = Span::from_secs(1), "timing.op_timeout"),
    (|hello| hello.timing.promise_timeout = Span::from_secs(1), "timing.promise_timeout"),
    (|hello| hello.timing.sync_timeout = Span::from_secs(1), "timing.sync_timeout"),
    (|hello| hello.timing.max_clock_drift = Drift::from_ppm(1), "timing.max_clock_drift"),
    (|hello| hello.member.name = "b".repeat(9_000), "bbbb"),
];

#[tokio::test]
async fn a_peer_that_dials_with_another_value_is_told_which() {
    let node = Server::start(two(NOWHERE)).await.unwrap();
    for (change, word) in WRONG {
        let mut hello = peer_hello("b", 7);
        change(&mut hello);
        match dial_as(hello, node.peer_addr()).await {
            PeerItem::Refused(reason) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{word}: expected a refusal, got {other:?}"),
        }
    }
    assert!(node.counters().handshakes_refused.count() >= 10);
    let answer = dial_as(peer_hello("b", 7), node.peer_addr()).await;
    assert!(matches!(&answer, PeerItem::Hello(hello) if hello.member.name == "a"), "{answer:?}");
    node.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_is_dialled_and_has_another_value_is_told_which() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Server::start(two(&listener.local_addr().unwrap().to_string())).await.unwrap();
    for (change, word) in &WRONG[4..] {
        let mut raw = accept(&listener).await;
        assert!(matches!(raw.next().await, Some(PeerItem::Hello(_))));
        let mut hello = peer_hello("b", 7);
        change(&mut hello);
        raw.send(&[PeerItem::Hello(hello)]).await;
        match raw.next().await {
            Some(PeerItem::Refused(reason)) => {
                assert!(reason.contains(word) || reason.contains("looked for"), "{reason}");
            }
            other => panic!("{word}: expected a refusal, got {other:?}"),
        }
        assert_eq!(raw.next::<PeerItem>().await, None);
    }
    node.shutdown().await;
}

#[tokio::test]
async fn a_link_is_up_while_both_directions_work() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = Server::start(two(&listener.local_addr().unwrap().to_string())).await.unwrap();
    let mut listening = accept(&listener).await;
    listening.send(&[PeerItem::Hello(peer_hello("b", 7))]).await;
    let mut speaking = Raw::connect(node.peer_addr()).await;
    speaking.send(&[PeerItem::Hello(peer_hello("b", 7)), PeerItem::Beat]).await;
    let up = status_until(&node, "b is up", |status| sees(status, "b")).await;
    assert!(up.members.iter().any(|peer| peer.member.id == NodeId(7)));
    // The node beats on the connection it dialled.
    assert!(matches!(listening.next().await, Some(PeerItem::Hello(_))));
    until("a beat", async || (listening.next().await == Some(PeerItem::Beat)).then_some(())).await;
    // Then this end falls silent, and the node lets go of the connection and dials again.
    status_until(&node, "b is down", |status| !sees(status, "b")).await;
    accept(&listener).await;
    node.shutdown().await;
}

#[tokio::test]
async fn bytes_that_make_no_sense_end_the_connection_and_nothing_else() {
    let node = Server::start(two(NOWHERE)).await.unwrap();
    let giant = u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes();
    let garbage: [&[u8]; 5] =
        [&giant, &[0; 4], &[5, 0, 0, 0, 1, 250, 250, 250, 250], &[1, 0, 0, 0, 77], &[0xff; 500]];
    for (i, bytes) in garbage.iter().enumerate() {
        for port in [node.peer_addr(), node.client_addr()] {
            // At once, and after a hello that is fine.
            let mut raw = Raw::connect(port).await;
            raw.send_bytes(bytes).await;
            assert_eq!(raw.next::<PeerItem>().await, None, "garbage {i}");
        }
        let mut peer = Raw::connect(node.peer_addr()).await;
        peer.send(&[PeerItem::Hello(peer_hello("b", 7))]).await;
        assert!(matches!(peer.next().await, Some(PeerItem::Hello(_))));
        peer.send_bytes(bytes).await;
        assert_eq!(peer.next::<PeerItem>().await, None, "garbage {i}");
        let (mut client, _) = Raw::client(node.client_addr()).await;
        client.send_bytes(bytes).await;
        assert_eq!(client.answer().await, None, "garbage {i}");
    }
    assert!(node.counters().malformed.count() >= 20);
    assert!(node.status().await.is_some());
    node.shutdown().await;
}
