//! The session's task: carries what the state machine says to the server, and what the server says to it.

use std::collections::VecDeque;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lockstead_clock::{sleep_until_some, time};
use lockstead_core::Time;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::transport::Channel;

use super::state::{Order, State};
use super::stream::{Event, SessionStream};
use super::wire::FromServer;
use super::{Command, Connection, Handle};
use crate::config::Config;
use crate::error::{Error, Result};

/// How many commands are taken before something else gets its turn.
const BATCH: usize = 1024;

/// Opens the first session, and starts the task that keeps it.
pub(crate) async fn connect(config: Config) -> Result<Arc<Handle>> {
    let config = Arc::new(config);
    let request_ids = Arc::new(AtomicU64::new(1));
    let (commands, inbox) = mpsc::unbounded_channel();
    let (publish, connection) = watch::channel(None);
    let (answer, opened) = oneshot::channel();
    let seed = RandomState::new().hash_one(&config.owner);
    let state = State::new(Arc::clone(&config), Arc::clone(&request_ids), seed, time(), answer);
    let handle = Arc::new(Handle { config: Arc::clone(&config), commands, request_ids, connection });
    let driver = Driver {
        config,
        state,
        inbox: Some(inbox),
        stream: SessionStream::Closed,
        channel: None,
        publish,
        timer: Timer::new(),
        commands: Vec::with_capacity(BATCH),
        messages: VecDeque::new(),
    };
    tokio::spawn(driver.run());
    opened.await.unwrap_or(Err(Error::Closed))?;
    Ok(handle)
}

struct Driver {
    config: Arc<Config>,
    state: State,
    /// `None` once all handles are gone.
    inbox: Option<mpsc::UnboundedReceiver<Command>>,
    stream: SessionStream,
    /// Of the stream; unary calls share it.
    channel: Option<Channel>,
    publish: watch::Sender<Option<Connection>>,
    timer: Timer,
    /// Taken from the inbox, not yet carried out.
    commands: Vec<Command>,
    /// Taken from the stream, not yet read.
    messages: VecDeque<FromServer>,
}

/// Why the driver woke up.
enum Wake {
    Commands,
    Abandoned,
    Stream(Event),
    Time,
}

impl Driver {
    async fn run(mut self) {
        self.state.on_time(time());
        self.carry_out();
        while !self.state.is_finished() {
            let wake = self.next().await;
            let now = time();
            // First of all: what arrived late must not undo an expiry.
            self.state.on_time(now);
            self.handle(now, wake);
            self.carry_out();
        }
    }

    async fn next(&mut self) -> Wake {
        let Self { inbox, stream, timer, commands, messages, state, .. } = self;
        let next_command = async {
            match inbox {
                Some(inbox) => inbox.recv_many(commands, BATCH).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            count = next_command => if count == 0 { Wake::Abandoned } else { Wake::Commands },
            event = stream.next(messages) => Wake::Stream(event),
            () = timer.until(state.next_wake()) => Wake::Time,
        }
    }

    fn handle(&mut self, now: Time, wake: Wake) {
        match wake {
            Wake::Commands => self.commands.drain(..).for_each(|command| self.state.on_command(now, command)),
            Wake::Abandoned => {
                self.inbox = None;
                self.state.on_abandoned(now);
            }
            Wake::Stream(Event::Connected(channel)) => {
                self.state.on_connected(now);
                self.stream = SessionStream::call(channel.clone(), self.state.take_messages());
                self.channel = Some(channel);
            }
            Wake::Stream(Event::Messages) => self.read(now),
            Wake::Stream(Event::Ended(failure)) => {
                self.read(now);
                self.state.on_failure(now, &failure);
            }
            Wake::Time => {}
        }
    }

    fn read(&mut self, now: Time) {
        self.messages.drain(..).for_each(|message| self.state.on_message(now, message));
    }

    /// Sends what is to be sent and does what is to be done.
    fn carry_out(&mut self) {
        if self.state.has_messages() {
            self.stream.send(self.state.take_messages());
        }
        while let Some(order) = self.state.next_order() {
            match order {
                Order::Connect(index) => {
                    if let Some(server) = self.config.servers.get(index) {
                        self.stream = SessionStream::connect(server.endpoint.clone());
                    }
                }
                Order::HangUp => self.stream = SessionStream::Closed,
                Order::Leave => self.stream.leave(),
                Order::Finish => self.stream.close_outbox(),
            }
        }
        self.publish_connection();
    }

    /// Tells unary calls where to go, if that has changed.
    fn publish_connection(&mut self) {
        let session_id = self.state.session_id();
        self.publish.send_if_modified(|published| {
            let known = published.as_ref().map(|connection| &connection.session_id);
            let same = match (known, session_id) {
                (Some(known), Some(id)) => Arc::ptr_eq(known, id),
                (None, None) => true,
                _ => false,
            };
            if !same {
                *published = session_id.zip(self.channel.as_ref()).map(|(session_id, channel)| Connection {
                    channel: channel.clone(),
                    session_id: Arc::clone(session_id),
                });
            }
            !same
        });
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.state.on_stopped(time());
    }
}

/// A timer that is set anew only if its time has changed, which is seldom.
struct Timer {
    due: Option<Time>,
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Timer {
    fn new() -> Self {
        Self { due: None, future: Box::pin(std::future::pending()) }
    }

    /// Returns at `due`, or never if there is none.
    async fn until(&mut self, due: Option<Time>) {
        if self.due != due {
            *self = Self { due, future: Box::pin(sleep_until_some(due)) };
        }
        self.future.as_mut().await;
        // It must not be awaited again.
        *self = Self::new();
    }
}
