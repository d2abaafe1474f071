//! Durations as people write them: a number and a unit, as in `500ms`, `30s`, `5m`, or several, as in `4m59s`.

use leasehold_core::Span;

const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
    ("µs", 1),
];

/// The duration that `text` says.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn parse(text: &str) -> Result<Span, String> {
    let wrong = || {
        format!(
            "`{text}` is no duration; write a number and a unit, as in 500ms, 30s or 5m, or \
             several, as in 1m30s"
        )
    };
    let too_long = || format!("`{text}` is too long");
    let mut rest = text.trim();
    let (mut micros, mut unit_before) = (0_u64, u64::MAX);
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let after = after.trim_start();
        let (unit, next) =
            after.split_at(after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len()));
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        if *factor >= unit_before {
            return Err(wrong());
        }
        unit_before = *factor;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let part = part_of(fraction, *factor).ok_or_else(wrong)?;
        let all = whole.checked_mul(*factor).and_then(|all| all.checked_add(part));
        micros = all.and_then(|all| all.checked_add(micros)).ok_or_else(too_long)?;
        rest = next.trim_start();
        if rest.is_empty() {
            return Ok(Span::from_micros(micros));
        }
    }
}

/// These decimal places of `factor`, rounded down; none if they are too many, or none at all.
fn part_of(fraction: &str, factor: u64) -> Option<u64> {
    const MOST: usize = 9;
    let places = u32::try_from(fraction.len()).ok().filter(|_| fraction.len() <= MOST)?;
    let digits: u64 = fraction.parse().ok()?;
    Some(digits.checked_mul(factor)? / 10_u64.pow(places))
}

/// The shortest way to write `span` exactly.
#[must_use]
pub fn show(span: Span) -> String {
    let micros = span.as_micros();
    if micros == 0 {
        return "0s".into();
    }
    UNITS.iter().find(|(_, factor)| micros.is_multiple_of(*factor)).map_or_else(
        || format!("{micros}us"),
        |(unit, factor)| format!("{}{unit}", micros / factor),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_understood() {
        for micros in [0, 1, 999, 1_000, 1_500_000, 90_000_000, 7_200_000_000] {
            let span = Span::from_micros(micros);
            assert_eq!(parse(&show(span)), Ok(span));
        }
        assert_eq!(show(Span::from_secs(300)), "5m");
        assert_eq!(parse("500 ms"), Ok(Span::from_millis(500)));
        assert_eq!(parse("4m59s"), Ok(Span::from_secs(299)));
        assert_eq!(parse("1h02m"), Ok(Span::from_secs(3_720)));
        assert_eq!(parse("29.93s"), Ok(Span::from_millis(29_930)));
    }

    #[test]
    fn a_unit_is_required() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.s",
            ".5s",
            "1.2.3s",
            "5 parsecs",
            "5m2",
            "5m m",
            "2s5m",
            "5m2m",
            "1.+5s",
            "99999999999999999h",
        ] {
            parse(text).unwrap_err();
        }
    }
}
