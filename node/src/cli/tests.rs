//! The stages of a command, without a cluster.

mod reading;

use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use leasehold_client::{
    Amendment, Candidate, Cause, ClusterId, Doubt, Error, Fault, Holder, Labels, NodeId,
    NodeReport, Owner, Reason, Refusal, Released, Token, Unreachable, Votes,
};
use serde_json::{Value, json};

use super::meant::{Action, Meant};
use super::perform::Report;
use super::render::{Shown, error_code, misused, render};
use super::typed::{ClientCommand, Global};
use super::words;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: ClientCommand,
}

fn typed(line: &str) -> Result<Line, ErrorKind> {
    let words = ["leasehold"].into_iter().chain(line.split_whitespace());
    Line::try_parse_from(words).map_err(|error| error.kind())
}

fn meant(line: &str) -> Result<Meant, String> {
    let line = typed(line).unwrap();
    Meant::new(&line.global, line.command)
}

fn global(flags: &str) -> Global {
    typed(&format!("status {flags}")).unwrap().global
}

fn member(name: &str) -> Candidate {
    Candidate { name: name.to_owned(), peer: None }
}

fn new(name: &str, peer: &str) -> Candidate {
    Candidate { peer: Some(peer.to_owned()), ..member(name) }
}

const SECOND: Duration = Duration::from_secs(1);

fn holder() -> Holder {
    Holder {
        value: "me".into(),
        labels: Labels::from([("host".to_owned(), "a".to_owned())]),
        token: Token(7),
        remaining: Duration::from_micros(12_345_678),
        delay: Duration::ZERO,
        age: Duration::from_millis(3_250),
    }
}

fn lock() -> Action {
    meant("lock job me --ttl 30s").unwrap().action
}

#[test]
fn what_is_typed_is_understood() {
    let all =
        meant("lock job me --ttl 5m --wait 10s --delay 500ms --meta a=b --meta c=d=e").unwrap();
    assert_eq!(
        all.action,
        Action::Lock {
            key: "job".to_owned(),
            value: "me".to_owned(),
            ttl: 300 * SECOND,
            wait: Some(10 * SECOND),
            delay: SECOND / 2,
            labels: [("a", "b"), ("c", "d=e")].map(|(n, t)| (n.to_owned(), t.to_owned())).into(),
        }
    );
    let key = || "job".to_owned();
    let owner = |value: Option<&str>, token: Option<u64>| Owner {
        value: value.map(Into::into),
        token: token.map(Token),
    };
    for (line, action) in [
        ("init", Action::Init),
        ("status", Action::Status),
        ("members", Action::Members),
        ("members remove d", Action::Amend(Amendment::Remove("d".into()))),
        ("members add d=10.0.0.4:7401", Action::Amend(Amendment::Add(new("d", "10.0.0.4:7401")))),
        (
            "members set --masters a,d=h:1 --replicas b",
            Action::Amend(Amendment::Set {
                masters: vec![member("a"), new("d", "h:1")],
                replicas: vec![member("b")],
            }),
        ),
        (
            "extend job --token 7 --ttl 1s",
            Action::Extend { key: key(), owner: owner(None, Some(7)), ttl: SECOND },
        ),
        (
            "extend job --value me --ttl 1s",
            Action::Extend { key: key(), owner: owner(Some("me"), None), ttl: SECOND },
        ),
        (
            "update job me you --token 7",
            Action::Update {
                key: key(),
                owner: owner(Some("me"), Some(7)),
                value: "you".to_owned(),
            },
        ),
        ("release job --force", Action::Release { key: key(), owner: owner(None, None) }),
        ("release job --token 7", Action::Release { key: key(), owner: owner(None, Some(7)) }),
        ("get job", Action::Get { key: key(), local: false }),
        ("get job --local", Action::Get { key: key(), local: true }),
        ("wait job", Action::Wait { key: key(), released: false }),
        ("wait job --released", Action::Wait { key: key(), released: true }),
        ("list", Action::List { prefix: String::new() }),
        ("list jo", Action::List { prefix: "jo".to_owned() }),
        ("waiters job", Action::Waiters { key: key() }),
        ("fence check job 7", Action::FenceCheck { key: key(), token: Token(7) }),
    ] {
        assert_eq!(meant(line).unwrap().action, action, "{line}");
    }
}

#[test]
fn options_stand_before_and_after_the_command() {
    let before = meant("--endpoints a:1,b:2 --timeout 3s get job").unwrap();
    let after = meant("get job --timeout 3s --endpoints a:1,b:2").unwrap();
    assert_eq!(before, after);
    assert_eq!(before.endpoints, ["a:1", "b:2"]);
    assert_eq!(before.timeout, 3 * SECOND);
    assert_eq!(meant("get job").unwrap().timeout, 10 * SECOND);
}

#[test]
fn a_value_of_ones_own_is_new_each_time() {
    let value = || match meant("lock job").unwrap().action {
        Action::Lock { value, .. } => value,
        Action::Init
        | Action::Extend { .. }
        | Action::Update { .. }
        | Action::Release { .. }
        | Action::Get { .. }
        | Action::Wait { .. }
        | Action::List { .. }
        | Action::Waiters { .. }
        | Action::FenceCheck { .. }
        | Action::Members
        | Action::Amend(_)
        | Action::Status => panic!("no lock"),
    };
    assert_eq!(value().rsplit('/').count(), 3);
    assert_ne!(value(), value());
}

#[test]
fn nonsense_is_a_usage_error() {
    for (line, kind) in [
        ("lock", ErrorKind::MissingRequiredArgument),
        ("lock job --ttl 30", ErrorKind::ValueValidation),
        ("extend job --token 7", ErrorKind::MissingRequiredArgument),
        ("extend job --ttl 1s", ErrorKind::MissingRequiredArgument),
        ("extend job --token 7 --value me --ttl 1s", ErrorKind::ArgumentConflict),
        ("release job", ErrorKind::MissingRequiredArgument),
        ("release job --force --token 7", ErrorKind::ArgumentConflict),
        ("release job --token seven", ErrorKind::ValueValidation),
        ("waiters", ErrorKind::MissingRequiredArgument),
        ("fence check job", ErrorKind::MissingRequiredArgument),
        ("fence check job seven", ErrorKind::ValueValidation),
        ("frobnicate", ErrorKind::InvalidSubcommand),
    ] {
        assert_eq!(typed(line).map(drop), Err(kind), "{line}");
    }
    for line in [
        "lock job --meta a",
        "lock job --meta =b",
        "release job --token 9007199254740992",
        "fence check job 9007199254740992",
        "get job --endpoints nowhere",
        "get job --endpoints :7400",
        "get job --endpoints a:port",
    ] {
        meant(line).unwrap_err();
    }
    let empty = typed("status").unwrap();
    let command = Line::try_parse_from(["leasehold", "get", ""]).unwrap().command;
    assert_eq!(Meant::new(&empty.global, command), Err("the key is empty".to_owned()));
    assert_eq!(misused("get", "the key is empty", &global("")).code, 2);
}

/// One of each, with the exit code, the outcome and the reason that scripts rely on.
fn errors() -> Vec<(Error, u8, &'static str, Option<&'static str>)> {
    let founded = Refusal::AlreadyFounded { by: NodeId(3), cluster: ClusterId(1, 2) };
    let causes = vec![("a:1".to_owned(), Cause::Refused("\u{1b}[2J".to_owned()))];
    vec![
        (Error::Refused(Refusal::Held(holder())), 1, "refused", Some("held")),
        (Error::Refused(Refusal::NotHeld), 1, "refused", Some("not_held")),
        (Error::Refused(founded), 1, "refused", Some("already_founded")),
        (Error::Invalid(Fault::KeyTooLong(1024)), 2, "invalid", None),
        (Error::NotDone(Reason::NoQuorum), 3, "not_done", Some("no_quorum")),
        (Error::NotDone(Reason::NotFounded), 3, "not_done", Some("not_founded")),
        (Error::Unknown(Doubt::Unanswered), 4, "unknown", Some("unanswered")),
        (Error::NotAllowed("no".to_owned()), 5, "not_allowed", None),
        (Error::Unreachable(Unreachable(causes)), 6, "unreachable", None),
        (Error::TimedOut, 7, "timed_out", None),
    ]
}

#[test]
fn every_error_has_its_code_its_names_and_words() {
    for (error, code, outcome, reason) in errors() {
        assert_eq!(error_code(&error), code);
        let shown = render("lock", &lock(), Err(error.clone()), &global("--json"));
        let object: Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!(object["op"], "lock");
        assert_eq!(object["outcome"], outcome);
        assert_eq!(object.get("reason").and_then(Value::as_str), reason);
        assert_eq!((shown.code, shown.out.lines().count()), (code, 1));

        let plain = render("lock", &lock(), Err(error.clone()), &global(""));
        assert_eq!((plain.out.as_str(), plain.code), ("", code));
        assert!(plain.err.starts_with("leasehold: ") && plain.err.ends_with('\n'));
        assert!(!plain.err.contains('\u{1b}'), "{}", plain.err);
        let certain = plain.err.contains("Nothing was changed");
        assert_eq!(certain, code != 4, "{}", plain.err);

        let silent = render("lock", &lock(), Err(error), &global("--json -q"));
        assert_eq!(silent.err, "");
    }
}

#[test]
fn a_refusal_says_who_for_how_long_and_what_to_do() {
    let held = Error::Refused(Refusal::Held(holder()));
    assert_eq!(
        words::error(&lock(), &held),
        "job is held by me with token 7 for another 12.34s. Nothing was changed. Queue for it with \
         `--wait 30s`, or try `leasehold wait job --released`."
    );
    let odd = Action::Release { key: "it's -odd".to_owned(), owner: Owner::default() };
    assert_eq!(
        words::error(&odd, &Error::Unknown(Doubt::Unanswered)),
        "outcome unknown: it was sent, and no answer came in time. It may have taken effect or not. \
         See how it stands with `leasehold get 'it'\\''s -odd'`."
    );
    let shown = render("lock", &lock(), Err(held), &global("--json -q"));
    let object: Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(
        object["holder"],
        json!({"value": "me", "token": 7, "remaining_ms": 12345, "delay_ms": 0, "age_ms": 3250, "meta": {"host": "a"}})
    );
}

#[test]
fn results_are_shown_to_people_and_to_programs() {
    let votes = Votes { quorum: 2, votes: 3, commits: 2 };
    let valid_for = Duration::from_micros(29_949_999);
    let locked = || Report::Locked { token: Token(7), valid_for, votes };
    let plain = render("lock", &lock(), Ok(locked()), &global(""));
    let line = "token 7, value me, valid for 29.94s\n".to_owned();
    assert_eq!(plain, Shown { out: line, err: String::new(), code: 0 });
    assert!(render("lock", &lock(), Ok(locked()), &global("-v")).err.contains("3 masters voted"));
    let json = render("lock", &lock(), Ok(locked()), &global("--json"));
    assert_eq!(
        serde_json::from_str::<Value>(&json.out).unwrap(),
        json!({
            "op": "lock", "outcome": "done", "key": "job", "token": 7, "value": "me",
            "valid_for_ms": 29949, "ttl_ms": 30000, "quorum": 2, "votes": 3, "commits": 2,
        })
    );

    let get = meant("get job").unwrap().action;
    let found = render("get", &get, Ok(Report::Read(Some(holder()))), &global(""));
    assert_eq!(found.out, "token 7, value me, remaining 12.34s, age 3.25s, host=a\n");
    let free = render("get", &get, Ok(Report::Read(None)), &global(""));
    assert_eq!((free.out.as_str(), free.code), ("", 1));
    assert_eq!(free.err, "leasehold: job is not held\n");
    let free = render("get", &get, Ok(Report::Read(None)), &global("--json -q"));
    assert_eq!(
        free.out,
        "{\"held\":false,\"key\":\"job\",\"op\":\"get\",\"outcome\":\"refused\",\"reason\":\"not_held\"}\n"
    );

    let unsure = Released { token: Some(Token(7)), confirmed: false, votes: Votes::default() };
    let release = meant("release job --token 7").unwrap().action;
    let shown = render("release", &release, Ok(Report::Released(unsure)), &global(""));
    assert_eq!((shown.out.as_str(), shown.code), ("token 7, released\n", 0));
    assert!(shown.err.contains("no longer held"));
}

#[test]
fn bytes_that_are_no_text_are_base64_and_no_terminal_is_harmed() {
    let strange = Holder { value: b"\xff\x00".as_slice().into(), ..holder() };
    let get = meant("get job").unwrap().action;
    let json = render("get", &get, Ok(Report::Read(Some(strange.clone()))), &global("--json"));
    let object: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((object.get("value"), &object["value_base64"]), (None, &json!("/wA=")));
    let plain = render("get", &get, Ok(Report::Read(Some(strange))), &global(""));
    assert!(plain.out.contains("value \\xff\\x00"));
    assert_eq!(words::text("gr\u{fc}n \u{1b}[2J\n".as_bytes()), "gr\u{fc}n \\u{1b}[2J\\n");
}

#[test]
fn times_are_rounded_down() {
    for (micros, shown) in [
        (0, "0ms"),
        (999_999, "999ms"),
        (59_999_999, "59.99s"),
        (61_900_000, "1m01s"),
        (7_259_000_000, "2h00m"),
    ] {
        assert_eq!(words::time(Duration::from_micros(micros)), shown);
    }
}

#[test]
fn status_is_a_table_and_shows_who_is_missing() {
    let member = |id: u64| leasehold_client::Member {
        id: NodeId(id),
        name: format!("n{id}"),
        peer: String::new(),
        client: format!("h:{id}"),
        http: String::new(),
    };
    let peer = |id: u64| leasehold_client::Peer {
        member: member(id),
        master: id < 3,
        standing: leasehold_client::Standing::Active,
        up: true,
    };
    let status = leasehold_client::Status {
        id: NodeId(1),
        standing: leasehold_client::Standing::Joining,
        active_in: Some(leasehold_client::Span::from_secs(371)),
        cluster: Some(ClusterId(1, 2)),
        epoch: leasehold_client::Epoch(1),
        members: vec![peer(1), peer(2), peer(3)],
        leases: 5,
        troubles: vec![leasehold_client::Trouble {
            ago: leasehold_client::Span::from_secs(2),
            words: "the disk is full".into(),
        }],
        heard: vec![(
            NodeId(1),
            leasehold_client::Heard { clock_ppm: Some(12), ..Default::default() },
        )],
        ..leasehold_client::Status::default()
    };
    let report = |id: u64, status| NodeReport {
        id: Some(NodeId(id)),
        name: Some(format!("n{id}")),
        address: format!("h:{id}"),
        status,
    };
    let nodes = || {
        Report::Nodes(vec![
            report(1, Ok(status.clone())),
            report(2, Err(Cause::Connect("refused".to_owned()))),
            report(3, Err(Cause::TimedOut)),
        ])
    };
    let plain = render("status", &Action::Status, Ok(nodes()), &global(""));
    let expected = "\
cluster 00000000000000010000000000000002, epoch 1, 2 masters, quorum 2

NODE  ADDRESS  ROLE     EPOCH  LEASES  RECORDS  OPERATIONS  WAITERS  LAG  CLOCK   STATE
n1    h:1      master   1      5       0        0           0        -    +12ppm  joining, votes in 6m11s
n2    h:2      master   -      -       -        -           -        -    -       unreachable: refused
n3    h:3      replica  -      -       -        -           -        -    -       unreachable: no answer in time

lately at n1
  2.00s ago: the disk is full
";
    assert_eq!((plain.out.as_str(), plain.code), (expected, 0));
    let json = render("status", &Action::Status, Ok(nodes()), &global("--json"));
    let objects: Vec<Value> =
        json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 3);
    assert_eq!((&objects[0]["active_in_ms"], &objects[0]["leases"]), (&json!(371_000), &json!(5)));
    assert_eq!(objects[1]["outcome"], "unreachable");
    let none = Report::Nodes(vec![report(1, Err(Cause::TimedOut))]);
    assert_eq!(render("status", &Action::Status, Ok(none), &global("")).code, 6);
}
