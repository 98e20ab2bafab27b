//! The session's rules, step by step, on a clock that the test moves.

mod backend;
mod crossing;
mod failover;
mod moves;
mod operations;
mod simulation;
mod streams;
mod validity;

use std::time::Duration;

use lockstead_api::v1::{ErrorReason, LossReason as WireLoss};
use tokio::sync::{mpsc, watch};

use super::attempt::Attempt;
use super::*;
use crate::client::Client;
use crate::config::OnDisconnect;
use crate::error::NotAcquiredReason;
use crate::guard::Guard;
use crate::loss::{HoldState, Loss, LossReason};
use crate::session::wire::Failure;
use crate::session::{Acquire, Caller, Handle, Hold, Patience, Release};

/// A client without I/O, and the servers' side of its streams.
struct Rig {
    state: State,
    /// What the attempt's stream began with.
    first: Option<v1::SessionRequest>,
    /// How often an attempt's stream became the one in use.
    switches: Vec<Switch>,
    handle: Arc<Handle>,
    commands: mpsc::UnboundedReceiver<Command>,
    connected: oneshot::Receiver<Result<()>>,
    started: Time,
    now: Time,
}

type Answer = oneshot::Receiver<Result<Guard>>;

impl Rig {
    /// A client of two servers that has not connected yet.
    fn new(on_disconnect: OnDisconnect) -> Self {
        Self::with_servers("http://a:1,http://b:2", on_disconnect)
    }

    fn with_servers(servers: &str, on_disconnect: OnDisconnect) -> Self {
        let config = Client::builder().server(servers).on_disconnect(on_disconnect).check().unwrap();
        let config = Arc::new(config);
        let request_ids = Arc::new(AtomicU64::new(1));
        let (answer, connected) = oneshot::channel();
        let (sender, commands) = mpsc::unbounded_channel();
        // The state's times are far ahead of the real clock, so that guards that look at that find them valid.
        let now = Time::from_micros(1 << 60);
        let state = State::new(config.clone(), request_ids.clone(), 1, now, answer);
        let handle = Arc::new(Handle { config, commands: sender, request_ids, connection: watch::channel(None).1 });
        Self { state, first: None, switches: Vec::new(), handle, commands, connected, started: now, now }
    }

    /// A client whose session is open and valid for 9 s.
    fn open(on_disconnect: OnDisconnect) -> Self {
        Self::new(on_disconnect).opened_and_proved()
    }

    /// Opens the session, which is valid for 9 s, and answers a ping.
    fn opened_and_proved(mut self) -> Self {
        self.attach();
        assert!(matches!(self.sent()[..], [ToServer::Open(_)]));
        self.opened();
        self.connected.try_recv().unwrap().unwrap();
        self.state.route.proved();
        self.switches.clear();
        self
    }

    /// Lets time pass, waking the state whenever it wants to be woken.
    fn pass(&mut self, duration: Duration) {
        let end = self.now.saturating_add(duration);
        while let Some(wake) = self.state.next_wake().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.state.on_time(self.now);
        }
        self.now = end;
        self.state.on_time(self.now);
    }

    fn pass_seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// Waits for the next attempt, and answers which servers it prefers.
    fn connecting(&mut self) -> Vec<usize> {
        loop {
            if let Some(servers) = self.orders().into_iter().rev().find_map(servers_of) {
                return servers;
            }
            let wake = self.state.next_wake().expect("it wants to connect");
            self.pass(wake.since(self.now));
        }
    }

    /// Lets the next attempt to connect succeed, with the server that it prefers.
    fn attach(&mut self) -> usize {
        let server = self.connecting()[0];
        self.first = self.state.on_connected(self.now, server);
        server
    }

    /// The resume with which the attempt's stream has begun.
    fn resume(&mut self) -> v1::ResumeSession {
        match self.first.take().and_then(|first| first.message) {
            Some(ToServer::Resume(resume)) => resume,
            other => panic!("{other:?}"),
        }
    }

    fn opened(&mut self) {
        let (session_id, resume_secret) = ("s".to_owned(), "secret".to_owned());
        self.hear(FromServer::Opened(v1::SessionOpened {
            session_id,
            resume_secret,
            valid_for: VALID_FOR,
            ..v1::SessionOpened::default()
        }));
    }

    fn resumed(&mut self, lost: Vec<v1::HoldLost>) {
        self.hear(FromServer::Resumed(v1::SessionResumed { valid_for: VALID_FOR, lost }));
    }

    /// From the server in whose hands the session is.
    fn hear(&mut self, message: FromServer) {
        let is_answer = matches!(message, FromServer::Opened(_) | FromServer::Resumed(_));
        let attaches = matches!(self.state.attempt, Some(Attempt::Attaching { .. }));
        if !matches!(self.state.link, Link::Up { .. }) || (is_answer && attaches) {
            return self.hear_next(message);
        }
        self.state.on_time(self.now);
        self.state.on_message(self.now, message);
    }

    /// From the server at which the attempt is made.
    fn hear_next(&mut self, message: FromServer) {
        self.state.on_time(self.now);
        self.state.on_attempt_message(self.now, message);
        self.switches.extend(self.state.take_switch());
    }

    /// The end of the stream, or of the attempt if there is none.
    fn fail(&mut self, failure: &Failure) {
        self.state.on_time(self.now);
        match self.state.link {
            Link::Up { .. } | Link::Finishing { .. } => self.state.on_failure(self.now, failure),
            _ => self.state.on_attempt_failure(self.now, failure),
        }
    }

    /// The end of the attempt.
    fn fail_next(&mut self, failure: &Failure) {
        self.state.on_time(self.now);
        self.state.on_attempt_failure(self.now, failure);
    }

    fn cut(&mut self) {
        self.fail(&broken());
    }

    /// What the client has said: on an attempt's stream, and on the one in use.
    fn sent(&mut self) -> Vec<ToServer> {
        let messages = self.first.take().into_iter().chain(self.state.take_messages());
        messages.filter_map(|request| request.message).collect()
    }

    fn orders(&mut self) -> Vec<Order> {
        std::iter::from_fn(|| self.state.next_order()).collect()
    }

    /// Carries out what guards and callers have put into the channel.
    fn run_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.state.on_command(self.now, command);
        }
    }

    fn acquire(&mut self, patience: Patience) -> (u64, Answer) {
        self.acquire_as("x", "", patience)
    }

    fn acquire_as(&mut self, name: &str, key: &str, patience: Patience) -> (u64, Answer) {
        let request_id = self.handle.next_request_id();
        let claim = Some(v1::Claim { name: name.to_owned(), ..v1::Claim::default() });
        let owner_key = key.to_owned();
        let request = v1::SessionAcquire { request_id, claim, owner_key, ..v1::SessionAcquire::default() };
        let (answer, receiver) = oneshot::channel();
        let caller = Some(Caller { answer, handle: self.handle.clone() });
        self.state.on_command(self.now, Command::Acquire(Box::new(Acquire { request, patience, caller })));
        (request_id, receiver)
    }

    fn grant(&mut self, request_id: u64, hold: u128, entries: u32) {
        self.hear(acquired(request_id, hold, entries));
    }

    /// Acquires and is granted at once.
    fn hold(&mut self, hold: u128) -> Guard {
        self.hold_as(hold, "")
    }

    /// The same, for one entry of a re-entrant hold.
    fn enter(&mut self, hold: u128) -> Guard {
        self.hold_as(hold, "key")
    }

    fn hold_as(&mut self, hold: u128, key: &str) -> Guard {
        let (request_id, mut answer) = self.acquire_as("x", key, Patience::Forever);
        self.grant(request_id, hold, 1);
        self.sent();
        answer.try_recv().unwrap().unwrap()
    }

    fn state_of(&self, guard: &Guard) -> HoldState {
        guard.hold().state(self.now)
    }

    fn loss_of(&self, guard: &Guard) -> LossReason {
        match self.state_of(guard) {
            HoldState::Lost(loss) => loss.reason,
            other => panic!("{other:?}"),
        }
    }

    fn release(&mut self, guard: Guard) -> oneshot::Receiver<Result<()>> {
        let (answer, receiver) = oneshot::channel();
        let hold: Arc<Hold> = guard.hold().clone();
        self.state.on_command(self.now, Command::Release(Release { hold, answer: Some(answer) }));
        std::mem::forget(guard);
        receiver
    }

    fn pong(&mut self, sequence: u64) {
        self.hear(FromServer::Pong(v1::Pong { sequence, valid_for: VALID_FOR }));
    }

    fn pong_for(&mut self, sequence: u64, valid_for: Duration) {
        self.hear(FromServer::Pong(v1::Pong { sequence, valid_for: Some(valid_for.try_into().unwrap()) }));
    }
}

/// How long the rig's server says that a session is valid.
const VALID_FOR: Option<prost_types::Duration> = Some(prost_types::Duration { seconds: 9, nanos: 0 });

fn after(time: Time, seconds: u64) -> Time {
    time.saturating_add(Duration::from_secs(seconds))
}

fn servers_of(order: Order) -> Option<Vec<usize>> {
    match order {
        Order::Connect(servers) => Some(servers),
        _ => None,
    }
}

fn broken() -> Failure {
    Failure::Broken("cut".to_owned())
}

/// How a stream or attempt ends if the server gives this reason.
fn refused(reason: ErrorReason) -> Failure {
    Failure::of(&reason.status("as the test wants it"))
}

fn acquired(request_id: u64, hold: u128, entries: u32) -> FromServer {
    FromServer::Acquired(v1::SessionAcquired { request_id, hold_id: hold_id(hold), fencing_token: 7, entries })
}

fn failed(request_id: u64, reason: ErrorReason) -> FromServer {
    FromServer::Failed(v1::SessionFailed { request_id, reason: reason.into(), message: "not now".to_owned() })
}

fn released(request_id: u64, entries: u32) -> FromServer {
    FromServer::Released(v1::SessionReleased { request_id, entries })
}

fn lost(hold: u128, reason: WireLoss) -> v1::HoldLost {
    v1::HoldLost { hold_id: hold_id(hold), reason: reason.into(), ..v1::HoldLost::default() }
}

fn hold_id(bits: u128) -> String {
    format!("{bits:032x}")
}

fn ping_of(messages: &[ToServer]) -> u64 {
    match messages {
        [ToServer::Ping(ping)] => ping.sequence,
        other => panic!("{other:?}"),
    }
}

fn resume_of(messages: &[ToServer]) -> &v1::ResumeSession {
    match messages {
        [ToServer::Resume(resume)] => resume,
        other => panic!("{other:?}"),
    }
}

fn wait_of(message: &ToServer) -> Option<Duration> {
    let ToServer::Acquire(acquire) = message else { panic!("{message:?}") };
    match acquire.wait.as_ref()?.how? {
        v1::wait::How::UpTo(duration) => Some(Duration::try_from(duration).unwrap()),
        v1::wait::How::Forever(_) => Some(Duration::MAX),
    }
}
