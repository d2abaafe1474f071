//! The scenarios in `sim/scenarios`: each was red once, or is red without the rule that it names.
//!
//! In a normal build all of them must be sound. `cargo --config .cargo/faults.toml test -p leasehold-sim --test scenarios`
//! also takes the rules out, one after the other: without its rule each scenario must break what its file says.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use leasehold_sim::run::{Look, run};
use leasehold_sim::written::{Written, read};

fn all() -> Result<Vec<(PathBuf, Written)>, Box<dyn Error>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let written = read(&fs::read_to_string(&path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        all.push((path, written));
    }
    Ok(all)
}

#[test]
fn sound_with_all_rules_and_broken_without_theirs() {
    let scenarios = all().expect("all scenarios can be read");
    assert!(scenarios.len() >= 5, "this test looks in the right place");
    for (path, written) in &scenarios {
        let look = Look { trace: true, ..Look::default() };
        let (first, second) = (run(&written.scenario, look), run(&written.scenario, look));
        assert_eq!(first.report.violations, [], "{}", path.display());
        assert!(first.text == second.text, "{} gave two traces", path.display());
        // A scenario in which nobody does anything shows nothing.
        assert!(first.history.ops.len() >= 2, "{}", path.display());
    }
    #[cfg(leasehold_faults)]
    for (path, written) in &scenarios {
        use leasehold_core::faults::Rule;
        let Some(name) = written.without else { continue };
        let rule = Rule::ALL.iter().find(|(_, other)| *other == name).expect("reading checks that");
        rule.0.take_out();
        let violations = run(&written.scenario, Look::default()).report.violations;
        let violated: Vec<&str> = violations.iter().map(|found| found.rule).collect();
        let expected = written.violates.as_deref().expect("the file says what is violated");
        assert!(
            violated.contains(&expected),
            "{} without {name}: {violated:?} is violated, not {expected}",
            path.display()
        );
    }
}
