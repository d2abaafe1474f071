//! Durations as people write them: a number and a unit, as in `500ms`, `30s`, `5m`.

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
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || {
        format!("`{text}` is no duration; write a whole number and a unit, as in 500ms, 30s or 5m")
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    let micros = number.checked_mul(*factor).ok_or_else(|| format!("`{text}` is too long"))?;
    Ok(Span::from_micros(micros))
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
    }

    #[test]
    fn a_unit_is_required() {
        for text in ["", "5", "s", "-1s", "1.5s", "5 parsecs", "99999999999999999h"] {
            parse(text).unwrap_err();
        }
    }
}
