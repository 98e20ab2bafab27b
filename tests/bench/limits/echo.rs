//! A bare echo by the server's own transport: messages of about the size of an acquire, which come back as they are.

use std::process::{Command, Stdio};
use std::time::Duration;

use futures::FutureExt;
use lockstead_api::bench as wire;
use lockstead_api::bench::echo_service_client::EchoServiceClient;
use lockstead_tests::Server;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::Failure;
use crate::clock::nanos;
use crate::contender::{Contender, Measuring, Workload};
use crate::figures::of_operations;
use crate::load::{Measured, Operation, Span, run};

/// About what an acquire and its answer carry.
const PAYLOAD_BYTES: usize = 48;
/// Those of the Rust client.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// The server that `lockstead bench` starts for itself. It is asked for nothing but echoes here.
pub(crate) struct Echo {
    server: Server,
}

pub(crate) fn start() -> Echo {
    let mut command = Command::new(lockstead_tests::lockstead());
    // It ends with its standard input.
    command.arg("bench-server").stdin(Stdio::piped());
    Echo { server: Server::start_as(command) }
}

impl Contender for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.server.id()]
    }

    fn measure(&self, workload: Workload, time: Duration) -> Option<Measuring<'_>> {
        let figures = |measured: Result<Measured, Failure>| measured.map(|measured| of_operations(&measured));
        Some(match workload {
            Workload::Pairs { in_flight } => self.stream(in_flight, time).map(figures).boxed(),
            Workload::HandOver { waiters } => self.stream(waiters, time).map(figures).boxed(),
            Workload::Unary { in_flight } => self.unary(in_flight, time).map(figures).boxed(),
            _ => return None,
        })
    }
}

impl Echo {
    async fn connect(&self) -> Result<EchoServiceClient<Channel>, Failure> {
        let endpoint = Channel::from_shared(self.server.url.clone())?
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        Ok(EchoServiceClient::new(endpoint.connect().await?))
    }

    /// One stream with so many messages on their way. In a task of its own: the thread that waits for all tasks is slow to
    /// be woken.
    async fn stream(&self, in_flight: usize, time: Duration) -> Result<Measured, Failure> {
        tokio::spawn(exchange(self.connect().await?, in_flight, time)).await?
    }

    /// So many workers, each with one call at a time.
    async fn unary(&self, in_flight: usize, time: Duration) -> Result<Measured, Failure> {
        let client = self.connect().await?;
        run(time, (0..in_flight).map(|_| UnaryEcho(client.clone())).collect()).await
    }
}

async fn exchange(
    mut client: EchoServiceClient<Channel>,
    in_flight: usize,
    time: Duration,
) -> Result<Measured, Failure> {
    let (sender, requests) = mpsc::channel(in_flight);
    let message = |request_id| wire::EchoStreamRequest { request_id, payload: vec![7; PAYLOAD_BYTES] };
    let mut answers = client.echo_stream(ReceiverStream::new(requests)).await?.into_inner();
    let span = Span::starting_now(time);
    let mut sent_at = Vec::with_capacity(in_flight);
    for request_id in 0..u64::try_from(in_flight)? {
        sent_at.push(nanos());
        sender.send(message(request_id)).await?;
    }
    let mut measured = Measured::during(span)?;
    while let Some(answer) = answers.message().await? {
        let now = nanos();
        if now >= span.to {
            break;
        }
        let slot = usize::try_from(answer.request_id)?;
        let sent = sent_at.get_mut(slot).ok_or("an echo of something never sent")?;
        measured.record(*sent, now);
        *sent = now;
        sender.send(message(answer.request_id)).await?;
    }
    Ok(measured)
}

struct UnaryEcho(EchoServiceClient<Channel>);

impl Operation for UnaryEcho {
    async fn once(&mut self) -> Result<(), Failure> {
        self.0.echo(wire::EchoRequest { payload: vec![7; PAYLOAD_BYTES] }).await?;
        Ok(())
    }
}
