//! A bare echo over HTTP/2 by tonic's own server: messages of about the size of an acquire, which come back as they are.
//!
//! On a stream there are two of them. One task that sees to all messages itself is what the transport can do. But a client
//! has callers that each wait for their own answer, and to wake them takes time whatever the answer says.

use std::process::{Command, Stdio};
use std::time::Duration;

use futures::FutureExt;
use lockstead_api::bench as wire;
use lockstead_api::bench::echo_service_client::EchoServiceClient;
use lockstead_tests::Server;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
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

/// The echo that `lockstead bench` starts for itself.
pub(crate) struct Echo {
    server: Server,
    callers: Callers,
}

/// Who sees to the answers on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callers {
    /// One task, to all.
    One,
    /// As many tasks as are in flight, each to its own.
    Many,
}

pub(crate) fn start(callers: Callers) -> Echo {
    let mut command = Command::new(lockstead_tests::lockstead());
    // It ends with its standard input.
    command.arg("bench-echo").stdin(Stdio::piped());
    Echo { server: Server::start_as(command), callers }
}

impl Contender for Echo {
    fn name(&self) -> &'static str {
        match self.callers {
            Callers::One => "echo",
            Callers::Many => "echo to many callers",
        }
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.server.id()]
    }

    fn measure(&self, workload: Workload, time: Duration) -> Option<Measuring<'_>> {
        let figures = |measured: Result<Measured, Failure>| measured.map(|measured| of_operations(&measured));
        Some(match workload {
            Workload::Pairs { in_flight } => self.stream(in_flight, time).map(figures).boxed(),
            Workload::HandOver { waiters } => self.stream(waiters, time).map(figures).boxed(),
            Workload::Unary { in_flight } if self.callers == Callers::One => {
                self.unary(in_flight, time).map(figures).boxed()
            }
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
        let client = self.connect().await?;
        match self.callers {
            Callers::One => tokio::spawn(exchange(client, in_flight, time)).await?,
            Callers::Many => exchange_by_many(client, in_flight, time).await,
        }
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

async fn exchange_by_many(
    mut client: EchoServiceClient<Channel>,
    in_flight: usize,
    time: Duration,
) -> Result<Measured, Failure> {
    let (sender, requests) = mpsc::unbounded_channel();
    let mut answers = client.echo_stream(UnboundedReceiverStream::new(requests)).await?.into_inner();
    let (heard, callers): (Vec<_>, Vec<_>) = (0..in_flight)
        .map(|number| {
            let (answer, heard) = mpsc::unbounded_channel();
            (answer, Caller { number: u64::try_from(number).unwrap_or(0), sender: sender.clone(), heard })
        })
        .unzip();
    let dispatching = tokio::spawn(async move {
        while let Some(answer) = answers.message().await? {
            let caller = heard.get(usize::try_from(answer.request_id)?).ok_or("an echo of something never sent")?;
            // The caller may have ended.
            _ = caller.send(());
        }
        Ok::<_, Failure>(())
    });
    // With the last caller the stream ends, and with it the dispatching.
    drop(sender);
    let measured = run(time, callers).await?;
    dispatching.await??;
    Ok(measured)
}

struct Caller {
    number: u64,
    sender: mpsc::UnboundedSender<wire::EchoStreamRequest>,
    heard: mpsc::UnboundedReceiver<()>,
}

impl Operation for Caller {
    async fn once(&mut self) -> Result<(), Failure> {
        self.sender.send(wire::EchoStreamRequest { request_id: self.number, payload: vec![7; PAYLOAD_BYTES] })?;
        self.heard.recv().await.ok_or("the stream ended")?;
        Ok(())
    }
}

struct UnaryEcho(EchoServiceClient<Channel>);

impl Operation for UnaryEcho {
    async fn once(&mut self) -> Result<(), Failure> {
        self.0.echo(wire::EchoRequest { payload: vec![7; PAYLOAD_BYTES] }).await?;
        Ok(())
    }
}
