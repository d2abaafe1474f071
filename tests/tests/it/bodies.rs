//! What the fuzzer found, and what comes to mind by chance, played on any toolchain.

use std::fs;
use std::path::{Path, PathBuf};

use leasehold_core::wire::{Frame, HEADER, NodeItem};
use leasehold_tests::bodies::{BODIES, http};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::arbitrary::node_item;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

#[test]
fn the_committed_corpora_pass() {
    for (name, body) in BODIES {
        let files = fs::read_dir(corpora().join(name)).unwrap();
        let mut played = 0;
        for file in files {
            let path = file.unwrap().path();
            eprintln!("{}", path.display());
            body(&fs::read(path).unwrap());
            played += 1;
        }
        assert!(played > 0, "{name} has a corpus");
    }
}

#[test]
fn every_body_is_a_fuzz_target() {
    let targets = corpora().join("../fuzz_targets");
    let mut found: Vec<String> = fs::read_dir(targets)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, BODIES.map(|(name, _)| name.to_owned()));
}

/// Runs a body with this many strings of bytes.
fn by_chance(name: &str, cases: u32, longest: usize) {
    let (_, body) = BODIES.into_iter().find(|(body, _)| *body == name).unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&vec(any::<u8>(), 0..longest), |bytes| {
            body(&bytes);
            Ok(())
        })
        .unwrap();
}

#[test]
fn any_course_of_a_cluster_keeps_the_promises() {
    by_chance("door", 400, 600);
}

#[test]
fn a_node_stands_upright_whatever_its_peers_say() {
    by_chance("stranger", 2_000, 400);
}

#[test]
fn decoders_survive_any_bytes() {
    let decoders = [
        "client_frames",
        "configuration",
        "http",
        "node_file",
        "node_frames",
        "peer_frames",
        "scenario",
    ];
    for name in decoders {
        by_chance(name, 1_000, 300);
    }
}

/// Requests over HTTP that make sense, with their bodies.
const REQUESTS: [&str; 17] = [
    "POST /v1/lock\n{\"key\":\"a\",\"ttl\":\"2s\",\"wait\":\"1s\",\"value\":\"v\",\"meta\":{\"host\":\"h\"}}",
    "POST /v1/lock\n{\"key_base64\":\"AP8=\",\"delay\":\"5ms\",\"timeout\":\"1m\"}",
    "POST /v1/extend\n{\"key\":\"a\",\"token\":7,\"ttl\":\"30s\"}",
    "POST /v1/update\n{\"key\":\"a\",\"old\":\"v\",\"value_base64\":\"dw==\",\"meta\":{}}",
    "POST /v1/release\n{\"key\":\"a\",\"token\":7}",
    "POST /v1/release\n{\"key\":\"a\",\"force\":true}",
    "GET /v1/get?key=a\n",
    "GET /v1/get?key_base64=AP8%3D&local=true\n",
    "GET /v1/wait?key=a&released=true&timeout=2s\n",
    "GET /v1/fence/check?key=a&token=7\n",
    "GET /v1/list?prefix=jobs%2F&most=2\n",
    "GET /v1/waiters?key=a\n",
    "GET /v1/watch?prefix=a\n",
    "GET /v1/members\n",
    "GET /v1/status\n",
    "GET /v1/lag\n",
    "GET /v1/summary\n",
];

/// What the body `http` takes: a request, and what the driver says to it.
fn request_and_answers(request: &str, answers: &[NodeItem]) -> Vec<u8> {
    let mut bytes = request.as_bytes().to_vec();
    bytes.extend_from_slice(b"\n\n");
    for answer in answers {
        let mut frame = Frame::default();
        if frame.push(answer).is_ok() {
            bytes.extend_from_slice(&frame.take()[HEADER..]);
        }
    }
    bytes
}

proptest! {
    #[test]
    fn whatever_the_driver_says_is_told_over_http(
        request in prop::sample::select(REQUESTS.to_vec()), answers in vec(node_item(), 0..4),
    ) {
        http(&request_and_answers(request, &answers));
    }
}
