//! Durations as people write them: `500ms`, `30s`, `1.5h`.

use std::time::Duration;

/// Milliseconds in a unit, by its name.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The longest time that can be read has so many in milliseconds.
const WHOLE_MAX_DIGITS: usize = 17;

/// Reads a number with a unit: `ms`, `s`, `m`, `h` or `d`; the number may have up to three decimals. The error is a
/// sentence that says what is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("`{}` is not a duration; write a number with a unit, such as 500ms, 30s, 5m, 2h or 1d", shorten(text))
    };
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let (_, unit_millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty()
        || whole.len() > WHOLE_MAX_DIGITS
        || decimals.is_empty()
        || decimals.len() > 3
        || decimals.contains('.')
    {
        return Err(wrong());
    }
    let thousandths = format!("{whole}{decimals:0<3}").parse::<u64>().map_err(|_| wrong())?;
    let micros = thousandths.checked_mul(*unit_millis).ok_or_else(wrong)?;
    Ok(Duration::from_micros(micros))
}

/// Writes a duration so that [`parse`] reads it back, in the largest unit that needs no decimals. What is below a
/// millisecond is cut off.
pub fn format(duration: Duration) -> String {
    let millis = duration.as_millis();
    let exact = UNITS.iter().rev().find(|(_, unit)| millis != 0 && millis.is_multiple_of(u128::from(*unit)));
    match exact {
        Some((name, unit)) => format!("{}{name}", millis / u128::from(*unit)),
        None => "0s".to_owned(),
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() > 40 { text.chars().take(40).chain("…".chars()).collect() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("1m", 60_000),
            ("24h", 86_400_000 / 24 * 24),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(millis), "{text}");
            assert_eq!(parse(&format(Duration::from_millis(millis))).unwrap(), Duration::from_millis(millis), "{text}");
        }
        assert_eq!(parse("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse("0.25ms").unwrap(), Duration::from_micros(250));
        for long in ["80822081.220d", "999999999999.999s", "18446744073709551ms"] {
            let read = parse(long).unwrap();
            assert_eq!(parse(&format(read)), Ok(read), "{long}");
        }
        assert_eq!(format(Duration::from_secs(90)), "90s");
        assert_eq!(format(Duration::from_secs(120)), "2m");
    }

    #[test]
    fn refuses_the_rest() {
        let huge = "9".repeat(400) + "s";
        for bad in [
            "",
            "5",
            "s",
            "-1s",
            "1 s",
            "1x",
            "1.s",
            ".5s",
            "1.2.3s",
            "1e3s",
            "5S",
            "１s",
            "99999999999999s",
            "018446744073709551ms",
            "999999999999d",
            &huge,
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
