//! Who gets in, who does not, and who may do what: processes with certificates and tokens.

use std::time::Duration;

use leasehold_client::{Address, Client, Error, Message, Options, SendError, Tls};
use leasehold_core::wire::{Frame, PeerItem, split_frame, take_item};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::binary::{Endpoints, Said, Server, free_ports, write};
use super::raw::peer_hello;
use super::trio::{TIMING, Trio, run};
use super::web::trusting;

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

/// A client that lives goes on with another token; calls with the old one end at once, and not when their time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_withdrawn_ends_calls_at_once_and_another_takes_its_place() {
    let trio = Trio::in_the_clear();
    let servers = trio.found();
    // Longer than a test waits.
    let options = Options::new().token(trio.secret("ci")).timeout(Duration::from_secs(3_600));
    let client = Client::connect(trio.clients().to_vec(), options).await.unwrap();
    let guard = client.lock("ci/job").ttl(Duration::from_secs(50)).await.unwrap();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.wait_held("ci/other", Duration::from_secs(3_600)).await })
    };
    let file = trio.folder().join("tokens.toml");
    let all = std::fs::read_to_string(&file).unwrap();
    let ops = all.split("[[token]]").nth(1).unwrap();
    std::fs::write(&file, format!("[[token]]{ops}")).unwrap();
    for server in &servers {
        signal(server.id(), "HUP");
    }
    // Once at all three. Meanwhile it may be asked at another one.
    let mut denied = client.read("ci/job").await;
    while denied.is_ok() {
        tokio::task::yield_now().await;
        denied = client.read("ci/job").await;
    }
    assert!(matches!(denied, Err(Error::NotAllowed(_))), "{denied:?}");
    let waited = waiting.await.unwrap();
    assert!(matches!(waited, Err(Error::NotAllowed(_))), "{waited:?}");
    client.set_token(trio.secret("ops"));
    assert_eq!(client.read("ci/job").await.unwrap().unwrap().token, guard.token());
    guard.extend(Duration::from_secs(50)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_speaks_something_else_is_told_apart() {
    let (secret, open) = (Trio::new(), Trio::in_the_clear());
    let _nodes = (secret.start("a"), open.start("a"));
    let until = |said: &dyn Fn() -> String, words: &str| {
        wait_for(words, || said().contains(words));
    };
    let get = |address: &str, flags: &[String]| {
        let args = [words_of("get job"), flags.to_vec()].concat();
        let said = Endpoints(address.into()).run(&args.iter().map(|a| &**a).collect::<Vec<_>>());
        assert_eq!(said.code, 6, "{said:?}");
        said.err
    };
    let trusting = ["--cacert".to_owned(), secret.path("certs/ca.pem")];
    // In the clear to a node that wants TLS, to either of its ports.
    until(&|| get(&secret.clients()[0], &[]), "the node wants TLS; give the authority");
    until(&|| get(&secret.https()[0], &[]), "the node wants TLS; give the authority");
    until(&|| secret.log("a"), "it speaks no TLS; has it been told whom to trust");
    // And the other way round.
    until(&|| get(&open.clients()[0], &trusting), "does this node speak TLS there");
    until(&|| get(&open.https()[0], &trusting), "does this node speak TLS there");
    // To the port for HTTP, with and without.
    until(&|| get(&open.https()[0], &[]), "this is an HTTP port");
    until(&|| get(&secret.https()[0], &trusting), "this is an HTTP port");
    // To the port for other nodes.
    until(&|| get(&open.peers()[0], &[]), "is this its port for clients");
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
    let waiter = Said::at_end(waiter, "the waiter");
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
    // A certificate of another authority, which it trusts itself.
    config(&format!("{others}/b"), TIMING);
    let path = trio.path("b.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (ours, theirs) = (trio.path("certs/ca.pem"), format!("{others}/ca.pem"));
    std::fs::write(&path, text.replace(&ours, &theirs)).unwrap();
    refused("invalid peer certificate: UnknownIssuer");
    // Other constants.
    config(&trio.path("certs/b"), &TIMING.replace("'1m'", "'2m'"));
    refused("timing.max_lease is");
    // And then the right one.
    config(&trio.path("certs/b"), TIMING);
    let _b = trio.start("b");
    trio.until("init", |said| said.code == 0);
}

/// A node of ours would not start with such a certificate; others may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_shows_the_certificate_of_another_gets_no_link() {
    let trio = Trio::new();
    let _a = trio.start("a");
    let ca = trio.path("certs/ca.pem");
    wait_for("the node", || std::net::TcpStream::connect(&trio.peers()[0]).is_ok());
    // Of another node, and of a client.
    for name in ["c", "me"] {
        let own = ["pem", "key"].map(|ending| trio.path(&format!("certs/{name}.{ending}")));
        let stream = tokio::net::TcpStream::connect(&trio.peers()[0]).await.unwrap();
        let as_a = ServerName::try_from("a").unwrap();
        let connector = trusting(&ca, Some((&own[0], &own[1])));
        let mut stream = connector.connect(as_a, stream).await.unwrap();
        let mut frame = Frame::default();
        frame.push(&PeerItem::Hello(peer_hello("b", 7))).unwrap();
        stream.write_all(&frame.take()).await.unwrap();
        let mut answer = Vec::new();
        // It closes after that; how does not matter.
        let _ = stream.read_to_end(&mut answer).await;
        let (mut items, _) = split_frame(&answer).unwrap().unwrap();
        match take_item(&mut items).unwrap() {
            Some(PeerItem::Refused(why)) => assert!(why.contains("for somebody else"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// A cluster has [tls] at all nodes, or at none: both ends say what the matter is.
#[test]
fn a_node_in_the_clear_and_one_with_tls_tell_each_other_apart() {
    let trio = Trio::new();
    let path = trio.path("b.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("[tls]\n").unwrap();
    let (_, after) = after.split_once("\n\n").unwrap();
    std::fs::write(&path, format!("{before}{after}")).unwrap();
    let (_a, _b) = (trio.start("a"), trio.start("b"));
    let dialled = "what answers there is not `b`: it closed the connection; does it speak TLS?";
    let accepted = "is no node of this cluster: it speaks no TLS, and this node does";
    wait_for(dialled, || trio.log("a").contains(dialled));
    wait_for(accepted, || trio.log("a").contains(accepted));
    let words = "the other end speaks TLS, and this node has no certificate";
    wait_for("dialled", || trio.log("b").contains(&format!("no link: {words}")));
    wait_for("accepted", || {
        trio.log("b").contains(&format!("a connection of a peer ended: {words}"))
    });
}

/// Certificates for a node, by an authority of its own: from when until when, and for which name.
fn certify(trio: &Trio, name: &str, from: i32, until: i32) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, &authority).unwrap();
    write(trio.folder(), "certs/ca.pem", &authority.pem());
    write(trio.folder(), "certs/a.pem", &certificate.pem());
    write(trio.folder(), "certs/a.key", &key.serialize_pem());
}

/// What cannot work does not take the place of what does, is counted, and said, by `--check` as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_others_would_refuse_is_not_taken() {
    let trio = Trio::new();
    let mut web = {
        let a = trio.start("a");
        // Only to see that it runs; what is to be read again is written while it does.
        wait_for("the node", || std::net::TcpStream::connect(&trio.https()[0]).is_ok());
        let web = trio.web(0, "ops").await;
        (a, web)
    };
    let metric = |page: &str, name: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    };
    let end = "leasehold_certificate_end_timestamp_seconds{file=\"tls.cert\"}";
    let good = metric(&web.1.get("/metrics").await.text, end);
    let nobody = Endpoints("127.0.0.1:1".into());
    let cases = [
        ("a", 2000, 2001, "its time is over"),
        ("a", 4000, 4001, "it is not good yet"),
        ("b", 2000, 4000, "it is not for this node, whose node.name is \"a\""),
    ];
    for (count, (name, from, until, words)) in (1..).zip(cases) {
        certify(&trio, name, from, until);
        signal(web.0.id(), "HUP");
        wait_for(words, || trio.log("a").contains(words));
        let said = nobody.run(&["node", "--config", &trio.path("a.toml"), "--check"]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(words) && said.err.contains("tls.cert"), "{said:?}");
        let page = web.1.get("/metrics").await.text;
        assert!(metric(&page, "leasehold_reloads_failed_total") >= f64::from(count), "{page}");
        assert!((metric(&page, end) - good).abs() < 1.0, "the old one is in use");
    }
    // One that is good, and not for long any more, is taken, and its end is told.
    let year = 1970 + i32::try_from(since_1970() / 31_556_952).unwrap();
    certify(&trio, "a", year - 30, year + 1);
    signal(web.0.id(), "HUP");
    wait_for("the new certificate", || trio.log("a").contains("new certificates are in use"));
    let page = web.1.get("/metrics").await.text;
    assert!(metric(&page, end) < good, "{page}");
}

#[expect(clippy::disallowed_methods, reason = "certificates are good for some of the time")]
fn since_1970() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs()
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
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::yield_now();
    }
}
