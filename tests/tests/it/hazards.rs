//! Section 13 of the protocol names things that are there. That they go red is seen by `--bin rules`.

use leasehold_core::faults::Rule;
use leasehold_tests::{hazards, transcript};

#[test]
fn every_rule_that_can_be_taken_out_has_one_row() {
    let rows = hazards::rows().unwrap();
    for (_, name) in Rule::ALL {
        let of_rule = rows.iter().filter(|row| row.rule.as_deref() == Some(name)).count();
        assert_eq!(of_rule, 1, "{name} has {of_rule} rows");
    }
    for rule in rows.iter().filter_map(|row| row.rule.as_deref()) {
        assert!(Rule::ALL.iter().any(|(_, name)| *name == rule), "there is no rule {rule}");
    }
}

#[test]
fn what_a_row_names_is_there() {
    let played = transcript::all().unwrap();
    let played: Vec<String> = played.iter().map(|path| transcript::name(path)).collect();
    for row in hazards::rows().unwrap() {
        assert!(!row.files.is_empty(), "{}: where is its rule?", row.hazard);
        for file in &row.files {
            let root = hazards::root();
            let there = root.join("core/src").join(file).is_file() || root.join(file).is_file();
            assert!(there, "{}: there is no {}", row.hazard, file.display());
        }
        for transcript in &row.transcripts {
            assert!(played.contains(transcript), "{}: there is no {transcript}", row.hazard);
        }
    }
}
