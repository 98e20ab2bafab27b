//! Settings of traces.

use http::Uri;

use super::ConfigError;

/// Where traces go, and how many.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// The collector's address: `http://HOST:PORT`, or `https://…`.
    pub endpoint: String,
    /// The share of requests that are traced of those whose callers do not say: 0 to 1.
    pub sample_ratio: f64,
}

impl Otlp {
    /// Puts the settings together.
    pub(super) fn new(endpoint: Option<String>, sample_ratio: Option<f64>) -> Result<Option<Self>, ConfigError> {
        if let Some(ratio) = sample_ratio.filter(|ratio| !(0.0..=1.0).contains(ratio)) {
            return Err(ConfigError::SampleRatio(ratio));
        }
        let Some(endpoint) = endpoint else {
            return sample_ratio.map_or(Ok(None), |_| Err(ConfigError::NoOtlp));
        };
        if !is_address(&endpoint) {
            return Err(ConfigError::Otlp);
        }
        Ok(Some(Self { endpoint, sample_ratio: sample_ratio.unwrap_or(1.0) }))
    }
}

fn is_address(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<Uri>() else { return false };
    let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
    // What is before an `@` would be a password, and would come up in errors.
    is_known && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
}
