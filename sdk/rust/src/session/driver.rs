//! The session's task: carries what the state machine says to the server, and what the server says to it.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lockstead_clock::{Timer, time};
use lockstead_core::Time;
use lockstead_tasks::Tasks;
use tokio::sync::{mpsc, oneshot, watch};

use super::state::{Order, State, Switch};
use super::stream::{Event, SessionStream};
use super::wire::FromServer;
use super::{Command, Connection, Handle};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::transport::Transport;

/// Of what is in flight, one in so many makes a turn: while this side sees to one part, the server sees to another. All in one turn,
/// each would wait for the other.
const SHARES: usize = 6;
/// A smaller turn costs more by itself than by what is in it. With a larger one, others would wait too long for theirs.
const TURN_MIN: usize = 4;
const TURN_MAX: usize = 128;

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
        line: Line::closed(),
        attempt: Line::closed(),
        publish,
        timer: Timer::default(),
        tasks: Tasks::default(),
        commands: Vec::new(),
        is_busy: false,
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
    /// The stream in use.
    line: Line,
    /// The attempt at another one.
    attempt: Line,
    publish: watch::Sender<Option<Connection>>,
    timer: Timer,
    tasks: Tasks,
    /// Taken from the inbox, not yet carried out.
    commands: Vec<Command>,
    /// There was at least a smallest turn to see to.
    is_busy: bool,
}

/// A stream, and what belongs to it.
struct Line {
    stream: SessionStream,
    /// The server and the connection to it, which unary calls share.
    channel: Option<(usize, Transport)>,
    /// Taken from the stream, not yet read.
    messages: VecDeque<FromServer>,
}

/// Why the driver woke up.
enum Wake {
    Commands,
    Abandoned,
    Line(Event),
    Attempt(Event),
    Time,
}

impl Driver {
    async fn run(mut self) {
        self.see_to(Wake::Time);
        while !self.state.is_finished() {
            let wake = self.next().await;
            self.is_busy = self.line.messages.len().max(self.commands.len()) >= TURN_MIN;
            let others_go_on = matches!(wake, Wake::Line(Event::Messages) | Wake::Commands);
            self.see_to(wake);
            if others_go_on && !self.state.is_finished() {
                self.gather().await;
                self.see_to(Wake::Commands);
            }
        }
    }

    fn see_to(&mut self, wake: Wake) {
        let now = time();
        // First of all: what arrived late must not undo an expiry.
        self.state.on_time(now);
        self.handle(now, wake);
        self.carry_out();
    }

    /// Takes the commands of those who have just had an answer, or are about to say something anyhow: they go out as one.
    async fn gather(&mut self) {
        // A single caller has nobody to wait for.
        if self.state.in_flight() > 1 {
            tokio::task::yield_now().await;
        }
        let most = self.turn();
        if let Some(inbox) = &mut self.inbox {
            while self.commands.len() < most
                && let Ok(command) = inbox.try_recv()
            {
                self.commands.push(command);
            }
        }
    }

    /// How many messages, or commands, to see to before the other side's go on.
    fn turn(&self) -> usize {
        (self.state.in_flight() / SHARES).clamp(TURN_MIN, TURN_MAX)
    }

    async fn next(&mut self) -> Wake {
        let turn = self.turn();
        let Self { inbox, line, attempt, timer, tasks, commands, state, is_busy, .. } = self;
        let next_command = async {
            match inbox {
                Some(inbox) => inbox.recv_many(commands, turn).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // First the transport: what arrives with it is seen to at once, and what is said goes out before all else.
            biased;
            never = tasks.run_after_others(*is_busy) => match never {},
            event = line.stream.next(&mut line.messages, turn) => Wake::Line(event),
            event = attempt.stream.next(&mut attempt.messages, turn) => Wake::Attempt(event),
            count = next_command => if count == 0 { Wake::Abandoned } else { Wake::Commands },
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
            Wake::Line(event) => self.on_line(now, event),
            Wake::Attempt(event) => self.on_attempt(now, event),
            Wake::Time => {}
        }
    }

    fn on_line(&mut self, now: Time, event: Event) {
        self.read_line(now);
        if let Event::Ended(failure) = event {
            self.state.on_failure(now, &failure);
        }
    }

    fn on_attempt(&mut self, now: Time, event: Event) {
        match event {
            Event::Unreachable(server, failure) => self.state.on_unreachable(now, server, &failure),
            Event::Connected(server, channel) => {
                if let Some(first) = self.state.on_connected(now, server) {
                    self.attempt.stream = SessionStream::call(channel.clone(), vec![first]);
                    self.attempt.channel = Some((server, channel));
                }
            }
            Event::Messages => _ = self.read_attempt(now),
            Event::Ended(failure) => {
                if self.read_attempt(now) {
                    self.state.on_failure(now, &failure);
                } else {
                    self.state.on_attempt_failure(now, &failure);
                }
            }
        }
    }

    fn read_line(&mut self, now: Time) {
        self.line.messages.drain(..).for_each(|message| self.state.on_message(now, message));
    }

    /// True if the attempt's stream is the one in use now.
    fn read_attempt(&mut self, now: Time) -> bool {
        while let Some(message) = self.attempt.messages.pop_front() {
            self.state.on_attempt_message(now, message);
            if let Some(switch) = self.state.take_switch() {
                self.switch(switch);
                self.read_line(now);
                return true;
            }
        }
        false
    }

    fn switch(&mut self, Switch { in_peace }: Switch) {
        let attempt = std::mem::replace(&mut self.attempt, Line::closed());
        let mut left = std::mem::replace(&mut self.line, attempt);
        left.stream.retire();
        let connection = self.line.connection(&self.state, in_peace);
        self.publish.send_replace(connection);
    }

    /// Sends what is to be sent and does what is to be done.
    fn carry_out(&mut self) {
        if self.state.has_messages() {
            self.line.stream.send(self.state.take_messages());
        }
        while let Some(order) = self.state.next_order() {
            match order {
                Order::Connect(servers) => {
                    let servers =
                        servers.into_iter().filter_map(|server| Some((server, self.config.servers.get(server)?)));
                    let tasks = &self.tasks;
                    let routes = servers.map(|(index, server)| (index, server.route.clone().executor(tasks.starter())));
                    self.attempt = Line { stream: SessionStream::connect(routes), ..Line::closed() };
                }
                Order::Abandon => self.attempt = Line::closed(),
                Order::HangUp => self.line = Line::closed(),
                Order::Leave => self.line.stream.leave(),
                Order::Finish => self.line.stream.close_outbox(),
            }
        }
        if self.state.session_id().is_none() {
            self.publish.send_if_modified(|published| published.take().is_some());
        }
    }
}

impl Line {
    fn closed() -> Self {
        Self { stream: SessionStream::Closed, channel: None, messages: VecDeque::new() }
    }

    /// What unary calls shall know of it.
    fn connection(&self, state: &State, in_peace: bool) -> Option<Connection> {
        let (session_id, (server, channel)) = state.session_id().zip(self.channel.as_ref())?;
        Some(Connection { server: *server, channel: channel.clone(), session_id: Arc::clone(session_id), in_peace })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.state.on_stopped(time());
    }
}
