//! What operators see: metrics, traces and logs.

mod logs;
pub mod metrics;
pub mod traces;

pub use logs::{LogFormat, init_logs};
pub use metrics::Metrics;
pub use traces::init_traces;
