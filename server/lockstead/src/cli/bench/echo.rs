//! The echo: service and load.

use futures::StreamExt;
use futures::stream::BoxStream;
use lockstead_api::bench as wire;
use lockstead_api::bench::echo_service_client::EchoServiceClient;
use lockstead_api::bench::echo_service_server::{EchoService, EchoServiceServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::load::{Measured, Operation, Span, record, run};
use super::{Bench, Failure};

/// About what an acquire and its answer carry.
const PAYLOAD_BYTES: usize = 48;

/// Gives back what it gets.
pub(super) struct Echo;

impl Echo {
    pub(super) fn service() -> EchoServiceServer<Self> {
        EchoServiceServer::new(Self)
    }
}

#[tonic::async_trait]
impl EchoService for Echo {
    type EchoStreamStream = BoxStream<'static, Result<wire::EchoStreamResponse, Status>>;

    async fn echo(&self, request: Request<wire::EchoRequest>) -> Result<Response<wire::EchoResponse>, Status> {
        Ok(Response::new(wire::EchoResponse { payload: request.into_inner().payload }))
    }

    async fn echo_stream(
        &self,
        request: Request<Streaming<wire::EchoStreamRequest>>,
    ) -> Result<Response<Self::EchoStreamStream>, Status> {
        let echo = |message: wire::EchoStreamRequest| wire::EchoStreamResponse {
            request_id: message.request_id,
            payload: message.payload,
        };
        Ok(Response::new(request.into_inner().map(move |message| message.map(echo)).boxed()))
    }
}

async fn connect(bench: &Bench) -> Result<EchoServiceClient<Channel>, Failure> {
    let endpoint = Channel::from_shared(bench.echo_address.clone())?
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    Ok(EchoServiceClient::new(endpoint.connect().await?))
}

/// One stream with so many messages on their way.
pub(super) async fn stream(bench: &Bench, in_flight: usize) -> Result<Measured, Failure> {
    bench.announce("echo, one stream", in_flight);
    let (sender, requests) = mpsc::channel(in_flight);
    let message = |request_id| wire::EchoStreamRequest { request_id, payload: vec![7; PAYLOAD_BYTES] };
    let mut sent_at = Vec::with_capacity(in_flight);
    for request_id in 0..in_flight as u64 {
        sent_at.push(lockstead_clock::time());
        sender.send(message(request_id)).await?;
    }
    let mut client = connect(bench).await?;
    let mut answers = client.echo_stream(ReceiverStream::new(requests)).await?.into_inner();
    let span = Span::starting_now(bench.args.time);
    let mut measured = Measured::new()?;
    measured.seconds = span.seconds();
    while let Some(answer) = answers.message().await? {
        let now = lockstead_clock::time();
        if now >= span.to {
            break;
        }
        let slot = usize::try_from(answer.request_id)?;
        let sent = sent_at.get_mut(slot).ok_or("an echo of something never sent")?;
        if span.counts(now) {
            record(&mut measured.latencies, now.since(*sent));
        }
        *sent = now;
        sender.send(message(answer.request_id)).await?;
    }
    Ok(measured)
}

/// So many workers, each with one call at a time.
pub(super) async fn unary(bench: &Bench, in_flight: usize) -> Result<Measured, Failure> {
    bench.announce("echo, unary calls", in_flight);
    let client = connect(bench).await?;
    run(in_flight, bench.args.time, |_| UnaryEcho(client.clone())).await
}

struct UnaryEcho(EchoServiceClient<Channel>);

impl Operation for UnaryEcho {
    async fn once(&mut self) -> Result<(), Failure> {
        self.0.echo(wire::EchoRequest { payload: vec![7; PAYLOAD_BYTES] }).await?;
        Ok(())
    }
}
