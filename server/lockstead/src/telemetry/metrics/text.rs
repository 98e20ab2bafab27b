//! The Prometheus text format, which all that scrape can read.

use std::fmt::{Display, Write};

use super::labels::Label;
use super::series::{Counter, Each, Histogram};

/// How HTTP calls it.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text that grows by one metric after the other.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// Microseconds, to be written as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if micros == 0 {
            return write!(f, "{seconds}");
        }
        f.write_str(format!("{seconds}.{micros:06}").trim_end_matches('0'))
    }
}

impl Text {
    /// A metric begins: what is written next are its samples.
    pub(super) fn begin(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One sample. Labels have no character that would need to be escaped.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(label, of)| format!("{label}=\"{of}\"")).collect();
        if labels.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
        }
    }

    /// A metric with one sample.
    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.begin(name, kind, help);
        self.sample(name, &[], value);
    }

    pub(super) fn counters<L: Label>(&mut self, name: &str, help: &str, counters: &Each<L, Counter>) {
        self.begin(name, "counter", help);
        for (label, counter) in counters.iter() {
            self.sample(name, &written(label), counter.get());
        }
    }

    pub(super) fn histograms<L: Label>(&mut self, name: &str, help: &str, histograms: &Each<L, Histogram>) {
        self.begin(name, "histogram", help);
        for (label, histogram) in histograms.iter() {
            self.histogram(name, &written(label), histogram);
        }
    }

    /// The samples of a histogram.
    pub(super) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let seen = histogram.seen();
        let bucket = format!("{name}_bucket");
        let mut up_to = 0;
        for (bound, count) in seen.buckets {
            up_to += count;
            let bound = Seconds(bound).to_string();
            self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), up_to);
        }
        let count = up_to + seen.longer;
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), count);
        self.sample(&format!("{name}_sum"), labels, Seconds(seen.sum_micros));
        self.sample(&format!("{name}_count"), labels, count);
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        _ = self.0.write_fmt(line);
        self.0.push('\n');
    }
}

pub(super) fn written(label: impl Label) -> Vec<(&'static str, &'static str)> {
    let mut labels = Vec::new();
    label.write(&mut labels);
    labels
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lockstead_core::Scope;

    use super::*;

    #[test]
    fn a_histogram_counts_up_and_is_in_seconds() {
        let histograms = Each::<Scope, _>::new(|| Histogram::new(&[50, 1_500_000]));
        for micros in [1, 50, 1_000_000, 2_000_000] {
            histograms.of(Scope::Node).observe(Duration::from_micros(micros));
        }
        let mut text = Text::default();
        text.histograms("x_seconds", "How long.", &histograms);
        let expected = r#"# HELP x_seconds How long.
# TYPE x_seconds histogram
x_seconds_bucket{scope="cluster",le="0.00005"} 0
x_seconds_bucket{scope="cluster",le="1.5"} 0
x_seconds_bucket{scope="cluster",le="+Inf"} 0
x_seconds_sum{scope="cluster"} 0
x_seconds_count{scope="cluster"} 0
x_seconds_bucket{scope="node",le="0.00005"} 2
x_seconds_bucket{scope="node",le="1.5"} 3
x_seconds_bucket{scope="node",le="+Inf"} 4
x_seconds_sum{scope="node"} 3.000051
x_seconds_count{scope="node"} 4
"#;
        assert_eq!(text.into_string(), expected);
    }
}
