//! The session's rules, step by step, on a clock that the test moves.

mod operations;
mod streams;
mod validity;

use std::time::Duration;

use lockstead_api::v1::{ErrorReason, LossReason as WireLoss};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::client::Client;
use crate::config::OnDisconnect;
use crate::error::NotAcquiredReason;
use crate::guard::Guard;
use crate::loss::HoldState;
use crate::session::{Acquire, Caller, Handle, Hold, Patience, Release};

/// A client without I/O, and the server's side of its stream.
struct Rig {
    state: State,
    handle: Arc<Handle>,
    commands: mpsc::UnboundedReceiver<Command>,
    connected: oneshot::Receiver<Result<()>>,
    started: Time,
    now: Time,
}

type Answer = oneshot::Receiver<Result<Guard>>;

impl Rig {
    /// A client that has not connected yet.
    fn new(on_disconnect: OnDisconnect) -> Self {
        let config = Client::builder().server("http://a:1,http://b:2").on_disconnect(on_disconnect).check().unwrap();
        let config = Arc::new(config);
        let request_ids = Arc::new(AtomicU64::new(1));
        let (answer, connected) = oneshot::channel();
        let (sender, commands) = mpsc::unbounded_channel();
        // The state's times are far ahead of the real clock, so that guards that look at that find them valid.
        let now = Time::from_micros(1 << 60);
        let state = State::new(config.clone(), request_ids.clone(), 1, now, answer);
        let handle = Handle { config, commands: sender, request_ids, connection: watch::channel(None).1 };
        Self { state, handle: Arc::new(handle), commands, connected, started: now, now }
    }

    /// A client whose session is open and valid for 9 s.
    fn open(on_disconnect: OnDisconnect) -> Self {
        let mut rig = Self::new(on_disconnect);
        rig.attach();
        assert!(matches!(rig.sent()[..], [ToServer::Open(_)]));
        rig.opened();
        rig.connected.try_recv().unwrap().unwrap();
        rig
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

    /// Lets the next attempt to connect succeed.
    fn attach(&mut self) {
        while !self.orders().iter().any(|order| matches!(order, Order::Connect(_))) {
            let wake = self.state.next_wake().expect("it wants to connect");
            self.pass(wake.since(self.now));
        }
        self.state.on_connected(self.now);
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

    fn hear(&mut self, message: FromServer) {
        self.state.on_time(self.now);
        self.state.on_message(self.now, message);
    }

    fn fail(&mut self, failure: &Failure) {
        self.state.on_time(self.now);
        self.state.on_failure(self.now, failure);
    }

    fn cut(&mut self) {
        self.fail(&Failure::Broken("cut".to_owned()));
    }

    fn sent(&mut self) -> Vec<ToServer> {
        self.state.take_messages().into_iter().filter_map(|request| request.message).collect()
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
        let request_id = self.handle.next_request_id();
        let claim = v1::Claim { name: "x".to_owned(), ..v1::Claim::default() };
        let request = v1::SessionAcquire { request_id, claim: Some(claim), ..v1::SessionAcquire::default() };
        let (answer, receiver) = oneshot::channel();
        let caller = Some(Caller { answer, handle: self.handle.clone() });
        self.state.on_command(self.now, Command::Acquire(Box::new(Acquire { request, patience, caller })));
        (request_id, receiver)
    }

    fn grant(&mut self, request_id: u64, hold: u128, entries: u32) {
        let hold_id = hold_id(hold);
        self.hear(FromServer::Acquired(v1::SessionAcquired { request_id, hold_id, fencing_token: 7, entries }));
    }

    /// Acquires and is granted at once.
    fn hold(&mut self, hold: u128) -> Guard {
        let (request_id, mut answer) = self.acquire(Patience::Forever);
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
}

/// How long the rig's server says that a session is valid.
const VALID_FOR: Option<prost_types::Duration> = Some(prost_types::Duration { seconds: 9, nanos: 0 });

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
