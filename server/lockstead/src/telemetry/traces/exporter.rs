//! The way to the collector. While it fails, the log says so once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as Export};

/// What the collector does not take in time is lost.
const SEND_WITHIN: Duration = Duration::from_secs(2);

/// Sends spans, and tells the log when that begins to fail and when it works again.
#[derive(Debug)]
pub(super) struct Exporter {
    wire: SpanExporter,
    fails: AtomicBool,
}

pub(super) fn start(endpoint: &str) -> Result<Exporter, ExporterBuildError> {
    let mut wire = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(SEND_WITHIN);
    if endpoint.starts_with("https:") {
        wire = wire.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
    }
    Ok(Exporter { wire: wire.build()?, fails: AtomicBool::new(false) })
}

impl Export for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        match self.wire.export(batch).await {
            Ok(()) => {
                if self.fails.swap(false, Ordering::Relaxed) {
                    tracing::info!("traces can be sent again");
                }
            }
            Err(error) => {
                if !self.fails.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "traces can't be sent, and are lost until they can; see --otlp-endpoint");
                }
            }
        }
        // It has been said already.
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        self.wire.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.wire.set_resource(resource);
    }
}
