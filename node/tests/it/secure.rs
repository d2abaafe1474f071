//! Who gets in, who does not, and who may do what: processes with certificates and tokens.

use leasehold_client::{Address, Client, Error, Message, Options, SendError, Tls};

use super::binary::{Endpoints, Said, Server, free_ports, write};
use super::trio::{TIMING, Trio, run};

#[test]
fn only_who_is_known_gets_in_and_may_do_what_its_token_says() {
    let trio = Trio::new();
    let _servers = trio.found();
    let again = trio.expect(1, "ops", "init");
    assert_eq!(again.json()["reason"], "already_founded");

    // Without a certificate's authority there is not even a conversation, and without a token no welcome.
    let bare = trio.endpoints().run(&["--json", "get", "job", "--timeout", "5s"]);
    assert_eq!(bare.code, 6, "{bare:?}");
    let ca = trio.path("certs/ca.pem");
    let nobody = trio.endpoints().expect(5, &["get", "job", "--cacert", &ca]);
    assert_eq!(nobody.json()["outcome"], "not_allowed");
    let wrong = write(trio.folder(), "wrong.token", "leasehold_made_up");
    trio.endpoints().expect(5, &["get", "job", "--cacert", &ca, "--token-file", &wrong]);
    assert!(trio.log("a").contains("does not know that token"), "{}", trio.log("a"));

    // Each does what its token says, and nothing else.
    let token = trio.expect(0, "ci", "lock ci/job me --ttl 50s").token();
    for denied in [
        "lock job me",
        "get job",
        "get --local job",
        "list",
        "waiters job",
        "wait job --timeout 1s",
        "release ci/job --force",
        "init",
    ] {
        let said = trio.expect(5, "ci", denied);
        assert!(said.err.contains("`ci`"), "{said:?}");
    }
    assert!(trio.log("a").contains("the token `ci` does not give the right"), "{}", trio.log("a"));
    assert_eq!(trio.expect(0, "ci", "get ci/job").token(), token);
    trio.expect(0, "ci", "list ci/");
    trio.expect(0, "ci", "status");
    trio.expect(0, "ops", "release ci/job --force");
}

/// Whoever may read a name may send to it; nobody else learns, or can guess, where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_goes_to_names_that_one_may_read() {
    let trio = Trio::new();
    let _servers = trio.found();
    let ca = std::fs::read(trio.path("certs/ca.pem")).unwrap();
    let connect = async |token: &str| {
        let options = Options::new().tls(Tls::trusting(&ca).unwrap()).token(trio.secret(token));
        // All at one node, which then knows all of them.
        Client::connect([trio.clients()[0].clone()], options.direct(false)).await.unwrap()
    };
    let (ops, ci, watcher) = (connect("ops").await, connect("ci").await, connect("watcher").await);
    let mut printer = ops.register("printer").await.unwrap();
    let press = ops.register("ci/press").await.unwrap();
    let denied = ci.send("printer", "hello").await;
    assert!(matches!(denied, Err(SendError::NotSent(Error::NotAllowed(_)))), "{denied:?}");
    assert!(matches!(ci.whereis("printer").await, Err(Error::NotAllowed(_))));
    ci.send("ci/press", "hello").await.unwrap();
    // It has learnt where one mailbox of that client is, which tells nothing of the others.
    let known = ci.whereis("ci/press").await.unwrap().unwrap().address;
    assert_eq!(known, press.address());
    for near in 1..50 {
        for number in [known.number + near, known.number.wrapping_sub(near), near] {
            let guess = Address { number, ..known };
            assert_eq!(ci.send(guess, "who is there?").await, Err(SendError::Gone));
        }
        for connection in [known.connection + near, known.connection.wrapping_sub(near), near] {
            let guess = Address { connection, ..known };
            assert_eq!(ci.send(guess, "who is there?").await, Err(SendError::Gone));
        }
    }
    watcher.send("printer", "hello").await.unwrap();
    assert!(matches!(printer.recv().await, Ok(Some(Message::Info(body))) if &body[..] == b"hello"));
}

#[test]
fn tokens_and_certificates_change_without_a_restart() {
    let trio = Trio::new();
    let servers = trio.found();
    trio.expect(0, "ci", "lock ci/job me --ttl 50s");
    // A connection that stands is judged anew, too.
    let waiter = [words_of("wait ci/job --released --timeout 15s"), trio.who("ci")].concat();
    let waiter = trio.endpoints().spawn(&waiter.iter().map(|arg| &**arg).collect::<Vec<_>>());
    let file = trio.folder().join("tokens.toml");
    let all = std::fs::read_to_string(&file).unwrap();
    let ops = all.split("[[token]]").nth(1).unwrap();
    std::fs::write(&file, format!("[[token]]{ops}")).unwrap();
    for server in &servers {
        signal(server.id(), "HUP");
    }
    let args = |_| [words_of("get ci/job --timeout 5s"), trio.who("ci")].concat();
    trio.endpoints().until(args, |said| said.code == 5);
    let waiter = Said::of(waiter.wait_with_output().unwrap());
    assert_eq!(waiter.code, 5, "{waiter:?}");
    trio.expect(0, "ops", "get ci/job");

    // What cannot be used changes nothing, and is said.
    std::fs::write(&file, "[[token]]\n").unwrap();
    signal(servers[0].id(), "HUP");
    wait_for("the complaint", || trio.log("a").contains("goes on with what it had"));
    trio.expect(0, "ops", "get ci/job");

    // Another authority takes over. Links that stand go on; whoever trusts the old one only cannot come in any more.
    std::fs::write(&file, all).unwrap();
    let old = trio.path("old.pem");
    std::fs::copy(trio.path("certs/ca.pem"), &old).unwrap();
    let next = trio.path("next");
    run(&["certs", "--out", &next, "--node", "a", "--node", "b", "--node", "c"]);
    for name in ["ca.pem", "a.pem", "a.key", "b.pem", "b.key", "c.pem", "c.key"] {
        std::fs::copy(format!("{next}/{name}"), trio.path(&format!("certs/{name}"))).unwrap();
    }
    // No signal: they look by themselves.
    let token = trio.path("ops.token");
    let with_old = |_: usize| {
        words_of(&format!("get ci/job --timeout 5s --cacert {old} --token-file {token}"))
    };
    trio.endpoints().until(with_old, |said| said.code == 6);
    trio.until("get ci/job", |said| said.code == 0);
}

#[test]
fn a_peer_of_another_authority_name_or_time_gets_no_link() {
    let trio = Trio::new();
    let others = trio.path("others");
    run(&["certs", "--out", &others, "--node", "b"]);
    let (_a, _c) = (trio.start("a"), trio.start("c"));
    let config = |cert: &str, timing: &str| {
        let (client, peer) = (&trio.clients()[1], &trio.peers()[1]);
        let text = trio.text("b", client, peer, "", timing);
        let folder = trio.folder().display();
        let own = |ending: &str| format!("{folder}/certs/b.{ending}");
        let other = |ending: &str| format!("{cert}.{ending}");
        let text = text.replace(&own("pem"), &other("pem")).replace(&own("key"), &other("key"));
        write(trio.folder(), "b.toml", &text);
    };
    let refused = |words: &str| {
        let b = trio.start("b");
        wait_for(words, || trio.log("a").contains(words) && trio.log("c").contains(words));
        let said = trio.expect(3, "ops", "init");
        assert_eq!(said.json()["reason"], "masters_missing", "{said:?}");
        b.kill();
    };
    // A certificate of another authority.
    config(&format!("{others}/b"), TIMING);
    refused("invalid peer certificate: UnknownIssuer");
    // One of the right authority for another node.
    config(&trio.path("certs/c"), TIMING);
    refused("shows a certificate for somebody else");
    // One for a client.
    config(&trio.path("certs/me"), TIMING);
    refused("shows a certificate for somebody else");
    // Other constants.
    config(&trio.path("certs/b"), &TIMING.replace("'1m'", "'2m'"));
    refused("timing.max_lease is");
    // And then the right one.
    config(&trio.path("certs/b"), TIMING);
    let _b = trio.start("b");
    trio.until("init", |said| said.code == 0);
}

#[test]
fn a_node_without_its_files_does_not_start() {
    let trio = Trio::new();
    let config = trio.path("a.toml");
    run(&["node", "--config", &config, "--check"]);
    let nobody = Endpoints("127.0.0.1:1".into());
    for (file, key) in [
        ("certs/a.key", "tls.key"),
        ("certs/a.pem", "tls.cert"),
        ("certs/ca.pem", "tls.ca"),
        ("tokens.toml", "auth.tokens"),
    ] {
        let path = trio.path(file);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, "nonsense").unwrap();
        for (code, args) in [(2, &["--check"][..]), (6, &[])] {
            let said = nobody.run(&[&["node", "--config", &config], args].concat());
            assert_eq!(said.code, code, "{said:?}");
            assert!(said.err.contains(key) && said.err.contains(file), "{said:?}");
        }
        std::fs::write(&path, bytes).unwrap();
    }
    // A key of another certificate.
    std::fs::copy(trio.path("certs/b.key"), trio.path("certs/a.key")).unwrap();
    let said = nobody.run(&["node", "--config", &config]);
    assert!(said.code == 6 && said.err.contains("does not go with tls.key"), "{said:?}");
}

/// Beyond loopback, in the clear and for everybody, only on the operator's own word, which is repeated in the log.
#[test]
fn beyond_loopback_a_node_is_open_to_all_only_if_it_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports(2);
    let config = |more: &str| {
        let text = format!(
            "[node]\nname = 'a'\ndata_dir = '{0}'\n[cluster]\nmasters = ['a=127.0.0.1:{2}']\n\
             [listen]\nclient = '0.0.0.0:{1}'\npeer = '127.0.0.1:{2}'\n{more}\n\
             [advertise]\nclient = '127.0.0.1:{1}'\n",
            folder.path().join("data").display(),
            ports[0],
            ports[1],
        );
        write(folder.path(), "a.toml", &text)
    };
    let nobody = Endpoints("127.0.0.1:1".into());
    for args in [&["--check"][..], &[]] {
        let said = nobody.run(&[&["node", "--config", &config("")], args].concat());
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("listen.insecure = true"), "{said:?}");
    }
    assert!(!folder.path().join("data").exists(), "it did not begin");
    let log = folder.path().join("log");
    let told = config("insecure = true");
    let _node = Server::logging(&["node", "--config", &told], &log, &[]);
    let open = Endpoints(format!("127.0.0.1:{}", ports[0]));
    wait_for("init", || open.run(&["init"]).code == 0);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("WARN") && log.contains("can use this node"), "{log}");
}

fn words_of(text: &str) -> Vec<String> {
    super::binary::words(text)
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(process: u32, name: &str) {
    let process = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    let signal = match name {
        "HUP" => rustix::process::Signal::HUP,
        "INT" => rustix::process::Signal::INT,
        "TERM" => rustix::process::Signal::TERM,
        "STOP" => rustix::process::Signal::STOP,
        "CONT" => rustix::process::Signal::CONT,
        "KILL" => rustix::process::Signal::KILL,
        "USR1" => rustix::process::Signal::USR1,
        other => panic!("{other}"),
    };
    rustix::process::kill_process(process, signal).unwrap();
}

/// Waits until something is so.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test that waits in vain needs an end")]
pub(crate) fn wait_for(what: &str, mut look: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !look() {
        assert!(
            started.elapsed() < std::time::Duration::from_secs(60),
            "waited in vain for {what}"
        );
        std::thread::yield_now();
    }
}
