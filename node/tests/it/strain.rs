//! A node under strain: clients that fill it up, say nothing, or say it slowly; disks that do not take what is written.

use std::os::unix::fs::symlink;

use leasehold_core::wire::{ClientItem, Frame, NodeItem};
use leasehold_core::{Span, Standing};
use leasehold_node::{DevOptions, Server, dev};

use crate::binary::Endpoints;
use crate::raw::{Raw, config, until};
use crate::secure::wait_for;
use crate::trio::Trio;

#[tokio::test]
async fn one_address_leaves_room_and_what_goes_makes_room() {
    let mut config = config("a", &[]);
    config.limits.connections_per_address = 2;
    let node = Server::start(config).await.unwrap();
    let (first, _) = Raw::client(node.client_addr()).await;
    let (mut second, _) = Raw::client(node.client_addr()).await;
    let mut third = Raw::connect(node.client_addr()).await;
    assert_eq!(third.next::<NodeItem>().await, None);
    assert_eq!(node.counters().connections_refused.count(), 1);
    second.send(&[ClientItem::Beat]).await;
    assert_eq!(second.answer().await, Some(NodeItem::Beat));
    drop(first);
    until("there is room", async || {
        let mut raw = Raw::connect(node.client_addr()).await;
        raw.hello().await.then_some(())
    })
    .await;
    node.shutdown().await;
}

#[tokio::test]
async fn who_says_nothing_whole_is_let_go() {
    let mut config = config("a", &[]);
    config.limits.client_silence = Span::from_secs(2);
    let node = Server::start(config).await.unwrap();
    // One is silent, one says half a frame, one a byte at a time, one beats.
    let (mut silent, _) = Raw::client(node.client_addr()).await;
    let (mut half, _) = Raw::client(node.client_addr()).await;
    let (mut beating, _) = Raw::client(node.client_addr()).await;
    let (mut slow, _) = Raw::client(node.client_addr()).await;
    half.send_bytes(&[200, 0, 0, 0, 1]).await;
    let giant = u32::try_from(1 << 20).unwrap().to_le_bytes();
    slow.send_bytes(&giant).await;
    let dripping = async {
        loop {
            slow.send_bytes(&[1]).await;
            tokio::task::yield_now().await;
            beating.send(&[ClientItem::Beat]).await;
            assert_eq!(beating.answer().await, Some(NodeItem::Beat), "the living one stays");
            if node.counters().clients_dropped.count() >= 3 {
                return;
            }
        }
    };
    let (silent, half, ()) = tokio::join!(silent.answer(), half.answer(), dripping);
    assert_eq!((silent, half), (None, None));
    assert_eq!(slow.answer().await, None);
    node.shutdown().await;
}

#[tokio::test]
async fn all_clients_together_have_one_budget_and_each_a_part_of_its_own() {
    let mut config = config("a", &[]);
    config.limits.client_memory = 300_000;
    let node = Server::start(config).await.unwrap();
    let mut greedy = Vec::new();
    let part = vec![0_u8; 200_000];
    for _ in 0..20 {
        let (mut client, _) = Raw::client(node.client_addr()).await;
        client.send_bytes(&u32::try_from(1 << 20).unwrap().to_le_bytes()).await;
        client.send_bytes(&[1]).await;
        client.send_bytes(&part).await;
        greedy.push(client);
    }
    until("most of them are let go", async || {
        (node.counters().clients_dropped.count() >= 15).then_some(())
    })
    .await;
    // Who wants little is served all the same.
    let (mut modest, _) = Raw::client(node.client_addr()).await;
    modest.send(&[ClientItem::Beat]).await;
    assert_eq!(modest.answer().await, Some(NodeItem::Beat));
    node.shutdown().await;
}

#[tokio::test]
async fn a_slow_reader_is_let_go_and_others_are_served() {
    let cluster = dev(DevOptions { masters: 1, replicas: 0, port: 0 }).await.unwrap();
    let node = &cluster.nodes()[0];
    let (mut slow, _) = Raw::client(node.client_addr()).await;
    // Many questions, and never a look at the answers.
    let mut frame = Frame::default();
    for call in 0..20_000 {
        frame.push(&ClientItem::Status { call }).unwrap();
    }
    let bytes = frame.take();
    let dropped = || node.counters().clients_dropped.count() > 0;
    let flooding = async {
        while !dropped() {
            slow.send_bytes(&bytes).await;
            tokio::task::yield_now().await;
        }
    };
    let (mut other, _) = Raw::client(node.client_addr()).await;
    let served = async {
        while !dropped() {
            other.send(&[ClientItem::Beat]).await;
            assert_eq!(other.answer().await, Some(NodeItem::Beat));
        }
    };
    tokio::join!(flooding, served);
    assert_eq!(node.status().await.unwrap().standing, Standing::Active);
    cluster.shutdown().await;
}

#[test]
fn a_disk_that_takes_nothing_keeps_a_node_from_starting_and_from_voting() {
    let trio = Trio::new();
    let folder = trio.folder().join("data-a");
    let config = trio.path("a.toml");
    let nobody = Endpoints("127.0.0.1:1".into());
    // What is written beside the node file goes to a full disk, or to one that cannot sync.
    for device in ["/dev/full", "/dev/null"] {
        std::fs::create_dir_all(&folder).unwrap();
        symlink(device, folder.join("node.next")).unwrap();
        let said = nobody.run(&["node", "--config", &config]);
        assert!(said.code == 6 && said.err.contains("node file"), "{said:?}");
        assert!(!folder.join("node").exists(), "nothing half written is left");
        std::fs::remove_dir_all(&folder).unwrap();
    }
    // A directory that cannot be made or written to.
    let elsewhere = ["node", "--config", &config, "--set", "node.data_dir=/proc/leasehold"];
    let said = nobody.run(&elsewhere);
    assert!(said.code == 6 && said.err.contains("/proc/leasehold"), "{said:?}");

    // The same while it runs: founding needs the disks of all, and nobody votes before.
    let _servers: Vec<_> = ["a", "b", "c"].map(|name| trio.start(name)).into();
    wait_for("the node file", || folder.join("node").exists());
    symlink("/dev/full", folder.join("node.next")).unwrap();
    let refused = |code: i32| code == 3 || code == 4;
    trio.until("init --timeout 4s", |said| {
        refused(said.code) && trio.log("a").contains("writing the node file failed")
    });
    let said = trio.until("lock job me --timeout 2s", |said| said.code != 6);
    assert_eq!((said.code, said.json()["reason"].as_str()), (3, Some("not_founded")), "{said:?}");
    // It is tried again until it succeeds.
    std::fs::remove_file(folder.join("node.next")).unwrap();
    trio.until("init", |said| said.code == 0 || said.json()["reason"] == "already_founded");
    trio.until("lock job me", |said| said.code == 0);
    assert!(trio.log("a").contains("the node file is written again"));
}
