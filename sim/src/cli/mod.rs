//! The commands, one module each, and the values they share.

pub(crate) mod campaign;
pub(crate) mod explore;
pub(crate) mod faults;
pub(crate) mod kill_list;
pub(crate) mod replay;

use std::num::NonZero;
use std::ops::Range;
use std::time::Duration;

use leasehold_core::faults::Rule;
use leasehold_sim::focus::Focus;

/// As many threads as there are cores, unless a number was given.
fn threads(jobs: Option<NonZero<usize>>) -> usize {
    jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is not a range such as 0..1000");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let range = first.parse().map_err(|_| wrong())?..end.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(format!("no seed is in `{text}`")) } else { Ok(range) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time such as 60s, 5m or 2h");
    let units = [("s", 1), ("m", 60), ("h", 3_600)];
    let unit = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, seconds) = unit.ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(*seconds).map(Duration::from_secs).ok_or_else(wrong)
}

fn rule(text: &str) -> Result<&'static str, String> {
    let known = Rule::ALL.iter().find(|(_, name)| *name == text);
    known.map(|(_, name)| *name).ok_or_else(|| format!("no rule is called `{text}`; see `faults`"))
}

fn focus(text: &str) -> Result<Focus, String> {
    let names = || Focus::ALL.map(|(_, name)| name).join(", ");
    Focus::named(text).ok_or_else(|| format!("no focus is called `{text}`; there are {}", names()))
}
