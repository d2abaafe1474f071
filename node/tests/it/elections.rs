//! Elections among clients of different nodes.

use std::time::Duration;

use leasehold_client::{Client, Error, Leader, Lost, Observer, Options, Token};
use leasehold_node::{Dev, DevOptions, dev};

const CLUSTER: DevOptions = DevOptions { masters: 3, replicas: 1, port: 0 };
const PATIENCE: Duration = Duration::from_secs(60);

async fn client(cluster: &Dev, node: usize) -> Client {
    let endpoint = cluster.nodes()[node].client_addr().to_string();
    Client::connect([endpoint], Options::new().timeout(Duration::from_secs(20))).await.unwrap()
}

/// Looks on until this one leads, or nobody does; checks that tokens never go back.
async fn sees(observer: &mut Observer, newest: &mut Token, wanted: Option<&str>) {
    let look = async {
        loop {
            let leader: Option<Leader> = observer.next().await.unwrap().unwrap();
            if let Some(leader) = &leader {
                assert!(leader.token >= *newest, "{leader} after {newest}");
                *newest = leader.token;
            }
            if leader.map(|leader| leader.value) == wanted.map(Into::into) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("the wanted leader is not seen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_passes_on_in_turn_and_everybody_sees_it() {
    let cluster = dev(CLUSTER).await.unwrap();
    let (first, second) = (client(&cluster, 0).await, client(&cluster, 1).await);
    // At the replica, which only learns.
    let onlooker = client(&cluster, 3).await.election("boss");
    let (mut observer, mut newest) = (onlooker.observe(), Token(0));
    sees(&mut observer, &mut newest, None).await;

    let one = first.election("boss").campaign("one").label("host", "h1").await.unwrap();
    sees(&mut observer, &mut newest, Some("one")).await;
    let leader = onlooker.leader().await.unwrap().unwrap();
    assert_eq!((leader.token, leader.labels["host"].as_str()), (one.token(), "h1"));
    let election = second.election("boss");
    let hasty = election.campaign("two").wait(Duration::from_millis(200)).await.map(drop);
    assert_eq!(hasty, Err(Error::TimedOut));
    let waiting = tokio::spawn(election.campaign("two").ttl(Duration::from_secs(2)).into_future());
    assert!(one.is_leader() && one.ensure_leader().is_ok());
    one.proclaim("uno").await.unwrap();
    sees(&mut observer, &mut newest, Some("uno")).await;
    let (belief, old) = (one.belief(), one.token());
    assert!(one.resign().await.unwrap().confirmed);
    assert_eq!(belief.lost().await, Lost::Released);
    let two = waiting.await.unwrap().unwrap();
    assert!(two.token() > old);
    sees(&mut observer, &mut newest, Some("two")).await;
    assert_eq!(newest, two.token());
    // Whoever is gone does not lead for long.
    drop(two);
    sees(&mut observer, &mut newest, None).await;
    assert_eq!(onlooker.leader().await.unwrap(), None);
    cluster.shutdown().await;
}
