//! What the fuzzer found, and what comes to mind by chance, played on any toolchain.

use std::fs;
use std::path::{Path, PathBuf};

use leasehold_tests::bodies::BODIES;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

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
    for name in
        ["client_frames", "configuration", "node_file", "node_frames", "peer_frames", "scenario"]
    {
        by_chance(name, 1_000, 300);
    }
}
