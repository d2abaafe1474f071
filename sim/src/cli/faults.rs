//! Rules that are taken out: only a build of its own can do that, and it is started when it is needed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use leasehold_core::faults::Rule;

/// Lists all rules.
pub(crate) fn list() -> io::Result<ExitCode> {
    for (_, name) in Rule::ALL {
        writeln!(io::stdout(), "{name}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `then` without the rule: in this process if it knows the switch, in another one if not.
pub(crate) fn with_rule_out(
    without: Option<&str>,
    then: impl FnOnce() -> io::Result<ExitCode>,
) -> io::Result<ExitCode> {
    let Some(name) = without else { return then() };
    if take_out(name) { then() } else { start_again() }
}

/// Takes a rule out, if this build can do that.
#[cfg(leasehold_faults)]
pub(crate) fn take_out(name: &str) -> bool {
    let known = Rule::ALL.iter().find(|(_, other)| *other == name);
    if let Some((rule, _)) = known {
        rule.take_out();
    }
    known.is_some()
}

/// Takes a rule out, if this build can do that.
#[cfg(not(leasehold_faults))]
pub(crate) const fn take_out(_: &str) -> bool {
    false
}

/// The project's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A run of a program of this workspace in the build that knows the switch.
pub(crate) fn faulty_build(release: bool) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Not from the root: names of files are relative to where this was started.
    cargo.arg("--config").arg(root().join(".cargo/faults.toml"));
    cargo.args(["run", "--quiet", "--manifest-path"]).arg(root().join("Cargo.toml"));
    if release {
        cargo.arg("--release");
    }
    // These would silently replace the flags of the configuration.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

/// Starts this command line again in a build that knows the switch.
pub(crate) fn start_again() -> io::Result<ExitCode> {
    let mut cargo = faulty_build(!cfg!(debug_assertions));
    cargo.args(["-p", "leasehold-sim", "--"]).args(std::env::args_os().skip(1));
    let code = cargo.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(2)))
}
