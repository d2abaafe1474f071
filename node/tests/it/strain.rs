//! A node under strain: clients that fill it up, say nothing, or say it slowly; disks that do not take what is written.

use std::os::unix::fs::symlink;

use leasehold_client::clock;
use leasehold_core::wire::{ClientItem, Frame, NodeItem};
use leasehold_core::{Limit, NotDone, Outcome, Span, Standing};
use leasehold_node::{DevOptions, Server, dev};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::binary::{Endpoints, Server as Process};
use crate::raw::{Raw, config, lock, request, until};
use crate::secure::{signal, wait_for};
use crate::trio::Trio;
use crate::web::Web;

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

/// Connections that say nothing, and one that says a byte now and then and never anything whole, at every port.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_says_who_it_is_is_let_go_in_some_seconds() {
    for trio in [Trio::new(), Trio::in_the_clear()] {
        let encrypted = trio.who("ops").len() == 4;
        let _a = trio.start("a");
        let mut ports = vec![trio.clients()[0].clone(), trio.peers()[0].clone()];
        // In the clear it is headers that are waited for, and longer.
        ports.extend(encrypted.then(|| trio.https()[0].clone()));
        until("it listens", async || {
            for port in &ports {
                tokio::net::TcpStream::connect(port).await.ok()?;
            }
            Some(())
        })
        .await;
        let ends = JoinSet::from_iter(ports.into_iter().flat_map(|port| {
            [false, true].map(|drips| {
                let port = port.clone();
                async move {
                    let mut raw = Raw::connect(port).await;
                    if drips {
                        // Of a record of TLS, or of a frame, neither of which will ever be whole.
                        raw.send_bytes(&[22, 3, 1]).await;
                        raw.send_bytes(&[2, 0, 1]).await;
                    }
                    assert_eq!(raw.next::<NodeItem>().await, None);
                }
            })
        }));
        ends.join_all().await;
        wait_for("the log", || trio.log("a").matches("no hello in time").count() >= 2);
    }
}

/// A node that stood still while requests waited for their turn refuses them before anything is done about them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_too_long_for_its_turn_is_certainly_not_done() {
    const CLIENTS: u64 = 8;
    const EACH: u64 = 3_000;
    let mut server = Process::start(&["dev", "--port", "0", "--masters", "1", "--replicas", "0"]);
    let ready = server.ready();
    let mut addresses = ready[0].split_whitespace().skip(2).step_by(2).map(str::to_owned);
    let (at, http) = (addresses.next().unwrap(), addresses.nth(1).unwrap());
    // The node may have been through with all of it, or have read nothing yet, when it is stopped.
    let mut shed = 0;
    for round in 0..20 {
        let (begun, mut some_begun) = mpsc::unbounded_channel();
        let clients = JoinSet::from_iter((0..CLIENTS).map(|client| {
            let (begun, at, client) = (begun.clone(), at.clone(), round * CLIENTS + client);
            async move {
                let (raw, _) = Raw::client(&*at).await;
                flood(raw, client, EACH, begun).await
            }
        }));
        some_begun.recv().await.unwrap();
        signal(server.id(), "STOP");
        clock::sleep_until(clock::now().after(Span::from_millis(1_200))).await;
        signal(server.id(), "CONT");
        shed = clients.join_all().await.into_iter().sum();
        if shed > 0 {
            break;
        }
    }
    assert!(shed > 0 && shed < CLIENTS * EACH, "{shed} of {} were shed", CLIENTS * EACH);
    let page = Web::connect(http.parse().unwrap()).await.get("/metrics").await.text;
    assert!(page.contains(&format!("leasehold_requests_shed_total {shed}\n")), "{shed}: {page}");
}

/// Asks for many keys at once. How many requests were shed, of which nothing came.
async fn flood(mut raw: Raw, client: u64, each: u64, begun: mpsc::UnboundedSender<()>) -> u64 {
    let mut frames = Vec::new();
    for part in 0..each / 1_000 {
        let mut frame = Frame::default();
        for call in part * 1_000..(part + 1) * 1_000 {
            let (key, chain) = (format!("{client}/{call}"), client << 32 | call);
            frame.push(&request(call, &key, lock(chain, "me", Span::ZERO))).unwrap();
        }
        frames.extend(frame.take());
    }
    raw.send_bytes(&frames).await;
    let (mut held, mut shed) = (Vec::new(), Vec::new());
    for _ in 0..each {
        match raw.answer().await {
            Some(NodeItem::Reply { call, outcome: Outcome::Done(_) }) => {
                begun.send(()).unwrap_or_default();
                held.push(call);
            }
            Some(NodeItem::Reply { call, outcome: Outcome::NotDone(why) }) => {
                assert_eq!(why, NotDone::Limit(Limit::Operations));
                shed.push(call);
            }
            other => panic!("neither done nor certainly not: {other:?}"),
        }
    }
    // Nothing of what was shed ever came about, and everything else did.
    for (calls, is_held) in [(&held, true), (&shed, false)] {
        for call in calls.iter().step_by(97) {
            let key = format!("{client}/{call}").as_str().into();
            raw.send(&[ClientItem::LocalRead { call: *call, key }]).await;
            match raw.answer().await {
                Some(NodeItem::LocalRead { holder, .. }) => {
                    assert_eq!(holder.is_some(), is_held, "{client}/{call}");
                }
                other => panic!("expected a holder or none, got {other:?}"),
            }
        }
    }
    u64::try_from(shed.len()).unwrap()
}

/// However few they are, requests that wait must not carry more than there is memory for.
#[tokio::test]
async fn requests_that_wait_are_bounded_by_what_they_carry() {
    const VALUE: usize = 60_000;
    let mut config = config("a", &[("a", "127.0.0.1:1".to_owned())]);
    config.limits.client_memory = 3_000_000;
    let node = Server::start(config).await.unwrap();
    node.init().await.unwrap();
    let (mut holder, _) = Raw::client(node.client_addr()).await;
    let held = holder.call(1, "job", lock(1, "me", Span::ZERO)).await;
    assert!(matches!(held, Outcome::Done(_)), "{held:?}");
    let (mut greedy, _) = Raw::client(node.client_addr()).await;
    let value = "x".repeat(VALUE);
    let mut refused = 0;
    for call in 0..100 {
        let wait = lock(100 + call, &value, Span::from_secs(100));
        greedy.send(&[request(call, "job", wait), ClientItem::Beat]).await;
        while let Some(item) = greedy.answer().await
            && item != NodeItem::Beat
        {
            let outcome = Outcome::NotDone(NotDone::Limit(Limit::Operations));
            assert_eq!(item, NodeItem::Reply { call, outcome });
            refused += 1;
        }
    }
    // Part of it is for bytes that were read and not understood.
    let most = 3_000_000_usize.div_ceil(VALUE) + 1;
    assert!((100 - most..=80).contains(&refused), "{refused} were refused");
    // Whoever asks for little is served, and what goes makes room.
    let outcome = holder.call(2, "other", lock(2, "me", Span::ZERO)).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    drop(greedy);
    until("there is room", async || (node.status().await?.operations == 0).then_some(())).await;
    for call in 10..30 {
        let outcome = holder.call(call, &format!("k{call}"), lock(call, &value, Span::ZERO)).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
    node.shutdown().await;
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
