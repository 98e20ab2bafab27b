//! What operators see: metrics and logs.

mod logs;
pub mod metrics;

pub use logs::{LogFormat, init_logs};
pub use metrics::Metrics;
