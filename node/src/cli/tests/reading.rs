//! The commands that show what is there.

use leasehold_client::{Listed, Waiter, Waiting, WaitingReport, Wants};

use super::*;

fn shown(command: &str, report: Report, flags: &str) -> Shown {
    let meant = meant(command).unwrap();
    let op = typed(command).unwrap().command.name();
    render(op, &meant.action, Ok(report), &global(flags))
}

fn objects(shown: &Shown) -> Vec<Value> {
    shown.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_held_is_a_table_and_an_object_each() {
    let list = || {
        let delayed = Holder { remaining: Duration::ZERO, delay: SECOND, ..holder() };
        let strange = Listed { key: b"job/\xff".as_slice().into(), holder: delayed };
        Report::Listed(vec![Listed { key: "job/a".into(), holder: holder() }, strange])
    };
    let plain = shown("list job/", list(), "");
    let expected = "\
KEY       TOKEN  REMAINING  AGE    VALUE
job/a     7      12.34s     3.25s  me
job/\\xff  7      in delay   3.25s  me
";
    assert_eq!((plain.out.as_str(), plain.code), (expected, 0));
    assert!(plain.err.contains("2 held, by one node's own records"), "{}", plain.err);
    let json = objects(&shown("list job/", list(), "--json -q"));
    assert_eq!(
        json[0],
        json!({
            "op": "list", "outcome": "done", "key": "job/a", "local": true, "held": true,
            "value": "me", "token": 7, "remaining_ms": 12345, "delay_ms": 0, "age_ms": 3250,
            "meta": {"host": "a"},
        })
    );
    assert_eq!((json[1].get("key"), &json[1]["key_base64"]), (None, &json!("am9iL/8=")));
    // Nothing held is a result, too.
    let none = shown("list", Report::Listed(Vec::new()), "-q");
    assert_eq!(none, Shown::default());
}

#[test]
fn who_waits_is_shown_by_node_with_those_that_could_not_be_asked() {
    let report = |name: &str, waiting| WaitingReport {
        id: Some(NodeId(1)),
        name: Some(name.to_owned()),
        address: "h:1".to_owned(),
        waiting,
    };
    let waiter = |wants, value: &str| Waiter {
        wants,
        value: value.into(),
        labels: Labels::new(),
        age: SECOND,
        left: 90 * SECOND,
    };
    let first = vec![waiter(Wants::Lock, "you"), waiter(Wants::Released, "")];
    let nodes = || {
        let some = Waiting { all: 5, first: first.clone() };
        let down = Err(Cause::Connect("refused".to_owned()));
        Report::Waiting(vec![report("n0", Ok(some)), report("n1", down)])
    };
    let plain = shown("waiters job", nodes(), "");
    let expected = "\
NODE  WANTS     AGE    LEFT   VALUE
n0    lock      1.00s  1m30s  you
n0    released  1.00s  1m30s
";
    assert_eq!((plain.out.as_str(), plain.code), (expected, 0));
    let beside = "leasehold: 3 more wait at n0\nleasehold: n1 could not be asked: refused\n";
    assert_eq!(plain.err, beside);
    let json = objects(&shown("waiters job", nodes(), "--json"));
    assert_eq!(
        json[0],
        json!({
            "op": "waiters", "outcome": "done", "key": "job", "node": "n0", "address": "h:1",
            "node_id": "0000000000000001", "all": 5, "waiters": [
                {"wants": "lock", "value": "you", "meta": {}, "age_ms": 1000, "left_ms": 90000},
                {"wants": "released", "age_ms": 1000, "left_ms": 90000},
            ],
        })
    );
    assert_eq!(
        (&json[1]["outcome"], &json[1]["error"]),
        (&json!("unreachable"), &json!("refused"))
    );
    let nobody = Waiting { all: 0, first: Vec::new() };
    let nobody = shown("waiters job", Report::Waiting(vec![report("n0", Ok(nobody))]), "");
    assert_eq!((nobody.out.as_str(), nobody.code), ("", 0));
    assert_eq!(nobody.err, "leasehold: nobody is known to wait for job\n");
    let none = Report::Waiting(vec![report("n0", Err(Cause::TimedOut))]);
    assert_eq!(shown("waiters job", none, "").code, 6);
}

#[test]
fn a_token_is_the_current_one_or_refused() {
    let current = shown("fence check job 7", Report::Current(holder()), "--json");
    assert_eq!(current.code, 0);
    let object = &objects(&current)[0];
    assert_eq!((&object["op"], &object["token"]), (&json!("fence check"), &json!(7)));
    assert_eq!((&object["outcome"], &object["held"]), (&json!("done"), &json!(true)));

    let check = meant("fence check job 6").unwrap().action;
    let held = Error::Refused(Refusal::Held(holder()));
    let shown = render("fence check", &check, Err(held), &global(""));
    assert_eq!(shown.code, 1);
    assert_eq!(
        shown.err,
        "leasehold: job is held by me with token 7 for another 12.34s. What is asked for with token 6 \
         must not be done.\n"
    );
    let free = Error::Refused(Refusal::NotHeld);
    let shown = render("fence check", &check, Err(free), &global("--json"));
    assert_eq!((shown.code, &objects(&shown)[0]["reason"]), (1, &json!("not_held")));
}

#[test]
fn every_limit_has_a_name_and_advice() {
    for (reason, name) in [
        (Reason::RecordsFull, "records_full"),
        (Reason::QueueFull, "queue_full"),
        (Reason::WaitersFull, "waiters_full"),
        (Reason::Busy, "busy"),
        (Reason::TooManyCalls, "too_many_calls"),
        (Reason::TooManyMasters, "too_many_masters"),
        (Reason::TooManyReplicas, "too_many_replicas"),
    ] {
        let error = Error::NotDone(reason);
        let shown = render("lock", &lock(), Err(error.clone()), &global("--json"));
        assert_eq!((shown.code, &objects(&shown)[0]["reason"]), (3, &json!(name)));
        let words = words::error(&lock(), &error);
        assert!(!words.ends_with("Nothing was changed."), "no advice: {words}");
    }
}
