//! What a server says at `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

use lockstead_tests::{PATIENCE, Server};

/// One look at it.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) text: String,
    samples: BTreeMap<String, String>,
}

impl Scrape {
    pub(super) async fn of(server: &Server) -> Self {
        Self::at(&server.url).await
    }

    /// Of a server whose metrics are at another port.
    pub(super) async fn at(url: &str) -> Self {
        let answer = reqwest::get(format!("{url}/metrics")).await.unwrap();
        let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(media_type, "text/plain; version=0.0.4; charset=utf-8");
        let text = answer.text().await.unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| line.rsplit_once(' ').unwrap());
        let samples = samples.map(|(series, value)| (series.to_owned(), value.to_owned())).collect();
        Self { text, samples }
    }

    /// Waits for what comes a moment after the answer that was waited for.
    pub(super) async fn until(server: &Server, expected: &[(&str, u64)]) -> Self {
        let mut found = Self::of(server).await;
        let all_right = async {
            while expected.iter().any(|(series, value)| found.find(series) != Some(*value)) {
                found = Self::of(server).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, all_right).await;
        let wrong = expected.iter().map(|(series, value)| (series, value, found.find(series)));
        let wrong: Vec<_> = wrong.filter(|(_, value, found)| Some(**value) != *found).collect();
        assert!(in_time.is_ok(), "series, expected, found: {wrong:#?}");
        found
    }

    fn find(&self, series: &str) -> Option<u64> {
        self.samples.get(series)?.parse().ok()
    }

    /// A whole number; there is such a series.
    pub(super) fn count(&self, series: &str) -> u64 {
        self.find(series).unwrap_or_else(|| panic!("no count of {series} in {}", self.text))
    }

    /// A number; there is such a series.
    pub(super) fn number(&self, series: &str) -> f64 {
        let value = self.samples.get(series).unwrap_or_else(|| panic!("no {series} in {}", self.text));
        value.parse().unwrap()
    }

    /// All counts of a metric together, whatever their labels.
    pub(super) fn total(&self, metric: &str) -> u64 {
        let of_it = self.samples.iter().filter(|(series, _)| series.split('{').next() == Some(metric));
        of_it.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
    }

    /// The names of all metrics, with their types.
    pub(super) fn metrics(&self) -> BTreeMap<String, String> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split_once(' ').unwrap()).map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
    }

    /// The names of all series, as queries use them.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.samples.keys().map(|series| series.split('{').next().unwrap().to_owned()).collect()
    }
}
