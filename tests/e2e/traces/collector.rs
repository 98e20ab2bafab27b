//! A collector as OpenTelemetry has them: it takes spans by OTLP over gRPC.

use std::collections::BTreeMap;
use std::fmt::Write;

use lockstead_tests::PATIENCE;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Listens until it is dropped.
pub(super) struct Collector {
    pub(super) url: String,
    received: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
    task: tokio::task::JoinHandle<()>,
    /// Of the service that sent them last.
    pub(super) resource: BTreeMap<String, String>,
    kept: Vec<Seen>,
}

/// A span, as far as tests look at it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) trace: String,
    pub(super) span: String,
    pub(super) parent: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) failed: bool,
}

impl Seen {
    #[track_caller]
    pub(super) fn says(&self, attribute: &str, expected: &str) {
        assert_eq!(self.attributes.get(attribute).map(String::as_str), Some(expected), "{attribute} of {self:#?}");
    }
}

struct Sink(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub(super) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(super) async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = mpsc::unbounded_channel();
        let serving = Server::builder().add_service(TraceServiceServer::new(Sink(sender)));
        let task = tokio::spawn(async { serving.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
        Self { url, received, task, resource: BTreeMap::new(), kept: Vec::new() }
    }

    /// The next span of this name. Others that come before it are kept.
    pub(super) async fn span(&mut self, name: &str) -> Seen {
        loop {
            if let Some(at) = self.kept.iter().position(|seen| seen.name == name) {
                return self.kept.remove(at);
            }
            let request = tokio::time::timeout(PATIENCE, self.received.recv()).await;
            self.take(request.unwrap_or_else(|_| panic!("no span {name} among {:#?}", self.kept)).unwrap());
        }
    }

    /// All that came and was not asked for.
    pub(super) fn rest(&mut self) -> Vec<Seen> {
        while let Ok(request) = self.received.try_recv() {
            self.take(request);
        }
        std::mem::take(&mut self.kept)
    }

    fn take(&mut self, request: ExportTraceServiceRequest) {
        for of_resource in request.resource_spans {
            self.resource = attributes(of_resource.resource.unwrap_or_default().attributes);
            self.kept.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(seen));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn seen(span: Span) -> Seen {
    Seen {
        name: span.name,
        trace: hexadecimal(&span.trace_id),
        span: hexadecimal(&span.span_id),
        parent: hexadecimal(&span.parent_span_id),
        attributes: attributes(span.attributes),
        // 2 is an error.
        failed: span.status.is_some_and(|status| status.code == 2),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    pairs.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
