//! A figure over several rounds.

use serde::Serialize;

/// Its median, and how far it went to either side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// In the order of the rounds.
    rounds: Vec<f64>,
}

impl Spread {
    /// `None` without values.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let rounds: Vec<f64> = values.map(four_digits).collect();
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            *sorted.get(middle)?
        } else {
            f64::midpoint(*sorted.get(middle - 1)?, *sorted.get(middle)?)
        };
        Some(Self { median, min, max, rounds })
    }

    /// `12,345 (11,000 to 13,000)`; the median alone if there is only one value.
    pub(super) fn text(&self) -> String {
        let median = number(self.median);
        if self.rounds.len() == 1 { median } else { format!("{median} ({} to {})", number(self.min), number(self.max)) }
    }
}

/// More digits than that differ from round to round anyway.
fn four_digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// With three digits that count, or all before the point.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        value if value < 1.0 => 3,
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or_else(|| grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_median_of_its_values() {
        for (values, expected) in [(&[3.0, 1.0, 2.0][..], "2.00 (1.00 to 3.00)"), (&[4.0, 1.0], "2.50 (1.00 to 4.00)")]
        {
            assert_eq!(Spread::of(values.iter().copied()).unwrap().text(), expected);
        }
        assert_eq!(Spread::of([].into_iter()), None);
    }

    #[test]
    fn numbers_have_three_digits_or_more() {
        for (value, expected) in [
            (0.0, "0"),
            (0.1234, "0.123"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1_234_567.8, "1,234,568"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
