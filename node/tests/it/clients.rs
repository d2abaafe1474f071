//! Clients of a whole cluster, spoken by hand.

use leasehold_core::wire::{ClientHello, ClientItem, NodeItem, Versions};
use leasehold_core::{Action, NotDone, Outcome, Refusal, Span, Standing, Token};
use leasehold_node::{DevError, DevOptions, Server, dev};

use crate::raw::{Raw, config, lock, release, request, until};

const CLUSTER: DevOptions = DevOptions { masters: 3, replicas: 0, port: 0 };

fn token(outcome: &Outcome) -> Token {
    match outcome {
        Outcome::Done(done) => done.token,
        other => panic!("expected success, got {other:?}"),
    }
}

#[tokio::test]
async fn a_key_is_locked_read_and_released_through_any_node() {
    let cluster = dev(CLUSTER).await.unwrap();
    let mut clients = Vec::new();
    for node in cluster.nodes() {
        let (client, welcome) = Raw::client(node.client_addr()).await;
        assert_eq!(welcome.topology.members.len(), 3);
        assert!(welcome.topology.members.iter().all(|peer| peer.standing == Standing::Active));
        clients.push(client);
    }
    let mut last = Token::default();
    for (i, client) in (1..).zip(&mut clients) {
        let taken = token(&client.call(1, "job", lock(i, "me", Span::ZERO)).await);
        assert!(taken > last);
        last = taken;
        let other = client.call(2, "job", lock(i + 100, "you", Span::ZERO)).await;
        assert!(matches!(other, Outcome::Refused(Refusal::Held(holder)) if holder.token == taken));
        let read = client.call(3, "job", Action::Read).await;
        assert!(matches!(read, Outcome::Found(Some(holder)) if &*holder.value == b"me"));
        client.send(&[ClientItem::LocalRead { call: 4, key: "job".into() }]).await;
        let local = client.answer().await;
        assert!(
            matches!(&local, Some(NodeItem::LocalRead { call: 4, holder: Some(holder) })
                if holder.token == taken),
            "{local:?}"
        );
        assert_eq!(token(&client.call(5, "job", release(i, 1, "me")).await), taken);
        assert_eq!(client.call(6, "job", Action::Read).await, Outcome::Found(None));
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_replica_learns_what_masters_agree_on_and_passes_requests_on() {
    let cluster = dev(DevOptions { replicas: 1, ..CLUSTER }).await.unwrap();
    let replica = cluster.nodes().last().unwrap();
    let (mut client, welcome) = Raw::client(replica.client_addr()).await;
    let own = welcome.topology.members.iter().find(|peer| !peer.master).unwrap();
    assert_eq!((own.member.id, own.standing), (welcome.topology.node, Standing::Replica));
    // The wait is about the replica's own record: it ends when the masters' batch has come.
    client.send(&[request(1, "job", Action::WaitHeld)]).await;
    let (mut other, _) = Raw::client(cluster.nodes()[0].client_addr()).await;
    let taken = token(&other.call(1, "job", lock(1, "me", Span::ZERO)).await);
    let woken = client.answer().await;
    assert!(
        matches!(&woken, Some(NodeItem::Reply { call: 1, outcome: Outcome::Woken(Some(holder)) })
            if holder.token == taken),
        "{woken:?}"
    );
    assert_eq!(token(&client.call(2, "job", release(1, 1, "me")).await), taken);
    cluster.shutdown().await;
}

#[tokio::test]
async fn many_requests_of_one_frame_are_all_answered() {
    let cluster = dev(CLUSTER).await.unwrap();
    let (mut client, _) = Raw::client(cluster.nodes()[0].client_addr()).await;
    let requests: Vec<ClientItem> = (0..3_000)
        .map(|call| request(call, &format!("key{call}"), lock(call, "me", Span::ZERO)))
        .collect();
    client.send(&requests).await;
    let mut open: Vec<bool> = vec![true; requests.len()];
    for _ in &requests {
        match client.answer().await {
            Some(NodeItem::Reply { call, outcome: Outcome::Done(_) }) => {
                let place = usize::try_from(call).unwrap();
                assert!(std::mem::take(&mut open[place]), "call {call} was answered twice");
            }
            other => panic!("expected success, got {other:?}"),
        }
    }
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_client_that_goes_leaves_the_queue() {
    let cluster = dev(CLUSTER).await.unwrap();
    let at = cluster.nodes()[0].client_addr();
    let (mut holder, _) = Raw::client(at).await;
    token(&holder.call(1, "job", lock(1, "me", Span::ZERO)).await);
    let (mut waiter, _) = Raw::client(at).await;
    waiter.send(&[request(1, "job", lock(2, "you", Span::from_secs(200)))]).await;
    let queued = async |some: bool| {
        until("the queue is as wanted", async || {
            let mut operations = 0;
            for node in cluster.nodes() {
                operations += node.status().await?.operations;
            }
            ((operations > 0) == some).then_some(())
        })
        .await;
    };
    queued(true).await;
    drop(waiter);
    queued(false).await;

    // One that only says that it does not wait any more is answered.
    let (mut waiter, _) = Raw::client(at).await;
    waiter.send(&[request(1, "job", lock(3, "you", Span::from_secs(200)))]).await;
    queued(true).await;
    waiter.send(&[ClientItem::Cancel { call: 1 }]).await;
    // If the key's home is another node, this one cannot know what became of the request there.
    let answer = waiter.answer().await;
    assert!(
        matches!(
            answer,
            Some(NodeItem::Reply {
                call: 1,
                outcome: Outcome::NotDone(NotDone::Cancelled) | Outcome::Unknown
            })
        ),
        "{answer:?}"
    );
    queued(false).await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn init_says_who_was_not_met() {
    let masters = [("a", "127.0.0.1:1".to_owned()), ("b", "127.0.0.1:1".to_owned())];
    let node = Server::start(config("a", &masters)).await.unwrap();
    let (mut client, _) = Raw::client(node.client_addr()).await;
    let early = client.call(1, "job", lock(1, "me", Span::ZERO)).await;
    assert_eq!(early, Outcome::NotDone(NotDone::NotFounded));
    client
        .send(&[ClientItem::Init { call: 2, patience: Span::from_secs(1) }, ClientItem::Beat])
        .await;
    assert_eq!(client.answer().await, Some(NodeItem::Beat));
    let unmet = NodeItem::Unmet { call: 2, masters: vec!["b".into()] };
    assert_eq!(client.answer().await, Some(unmet));
    node.shutdown().await;
}

#[tokio::test]
async fn a_client_of_another_time_is_told() {
    let node = Server::start(config("a", &[])).await.unwrap();
    let mut raw = Raw::connect(node.client_addr()).await;
    let versions = Versions { oldest: 900, newest: 901 };
    let hello = ClientHello { versions, credential: None, name: String::new() };
    raw.send(&[ClientItem::Hello(hello)]).await;
    let answer = raw.next().await;
    assert!(
        matches!(&answer, Some(NodeItem::Refused(why)) if why.contains("900 to 901")),
        "{answer:?}"
    );
    assert_eq!(raw.next::<NodeItem>().await, None);
    node.shutdown().await;
}

#[tokio::test]
async fn dev_refuses_what_it_cannot_do() {
    let none = dev(DevOptions { masters: 0, ..CLUSTER }).await;
    assert!(matches!(none, Err(DevError::Masters(0))));
    let ports = dev(DevOptions { port: 65_530, ..CLUSTER }).await;
    assert!(matches!(ports, Err(DevError::Ports)));
}
