//! Plays all transcripts without each rule of the protocol in turn, and prints which of them notice.
//!
//! `cargo run -p leasehold-tests --bin rules` does all of them; with the names of rules it does these, and shows the
//! first difference in each transcript.
//!
//! With `docs/protocol.md` at hand: section 13 says of each rule which transcripts go red without it, and this fails
//! where one does not.

use std::io;
use std::process::ExitCode;

#[cfg(leasehold_faults)]
fn main() -> io::Result<ExitCode> {
    without::main()
}

/// Starts this program again in a build that knows how to take rules out.
#[cfg(not(leasehold_faults))]
fn main() -> io::Result<ExitCode> {
    use std::process::Command;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["--config", ".cargo/faults.toml", "run", "--quiet"]);
    cargo.args(["-p", "leasehold-tests", "--bin", "rules", "--"]).args(std::env::args_os().skip(1));
    // These would silently replace the flags of the configuration.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let code = cargo.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(2)))
}

#[cfg(leasehold_faults)]
mod without {
    use std::io::{self, Write as _};
    use std::panic;
    use std::path::Path;
    use std::process::ExitCode;

    use leasehold_core::faults::Rule;
    use leasehold_tests::{hazards, transcript};

    pub(super) fn main() -> io::Result<ExitCode> {
        // Whoever plays with a rule out must not write down what is said then.
        if std::env::var_os("LEASEHOLD_REWRITE").is_some() {
            return Err(io::Error::other("LEASEHOLD_REWRITE is set"));
        }
        let (all, promised) = (transcript::all()?, hazards::rows()?);
        let asked: Vec<String> = std::env::args().skip(1).collect();
        let mut out = io::stdout();
        let mut untrue = 0;
        // A broken invariant is as good a way to notice as any, and nothing to tell of.
        panic::set_hook(Box::new(|_| {}));
        for path in &all {
            if let Some(why) = red(path) {
                writeln!(out, "with all rules: {why}")?;
                untrue += 1;
            }
        }
        for (rule, name) in Rule::ALL {
            if !asked.is_empty() && !asked.iter().any(|asked| asked == name) {
                continue;
            }
            rule.take_out();
            let mut noticed = Vec::new();
            for path in &all {
                let Some(why) = red(path) else { continue };
                if !asked.is_empty() {
                    writeln!(out, "{why}")?;
                }
                noticed.push(transcript::name(path));
            }
            writeln!(out, "{name}: {}", noticed.join(", "))?;
            let row = promised.iter().find(|row| row.rule.as_deref() == Some(name));
            let named = row.map(|row| row.transcripts.as_slice()).unwrap_or_default();
            for missing in named.iter().filter(|named| !noticed.contains(*named)) {
                writeln!(out, "  section 13 says that {missing} goes red")?;
                untrue += 1;
            }
        }
        writeln!(out, "{untrue} of this is not as it should be")?;
        Ok(if untrue == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Why a transcript is red, if it is.
    fn red(path: &Path) -> Option<String> {
        match panic::catch_unwind(|| transcript::play(path)) {
            Ok(played) => played.err(),
            Err(_) => Some(format!("{}: a broken invariant", path.display())),
        }
    }
}
