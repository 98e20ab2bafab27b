//! The session's rules, step by step, on a clock that the test moves.

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
        Self { state, handle: Arc::new(handle), commands, connected, now }
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
            valid_for: seconds(9),
            ..v1::SessionOpened::default()
        }));
    }

    fn resumed(&mut self, lost: Vec<v1::HoldLost>) {
        self.hear(FromServer::Resumed(v1::SessionResumed { valid_for: seconds(9), lost }));
    }

    fn hear(&mut self, message: FromServer) {
        self.state.on_time(self.now);
        self.state.on_message(self.now, message);
    }

    fn fail(&mut self, failure: Failure) {
        self.state.on_time(self.now);
        self.state.on_failure(self.now, &failure);
    }

    fn cut(&mut self) {
        self.fail(Failure::Broken("cut".to_owned()));
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
        self.hear(FromServer::Pong(v1::Pong { sequence, valid_for: seconds(9) }));
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
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

#[test]
fn a_ping_is_sent_at_each_third_and_its_answer_extends_the_validity() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let guard = rig.hold(1);
    for _ in 0..5 {
        let sent_at = rig.now;
        rig.pass_seconds(3);
        let sequence = ping_of(&rig.sent());
        rig.pong(sequence);
        assert_eq!(guard.hold().valid_until(), sent_at.saturating_add(Duration::from_secs(12)));
        assert_eq!(rig.state_of(&guard), HoldState::Held);
    }
}

#[test]
fn a_late_pong_is_a_risk_until_it_comes() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let guard = rig.hold(1);
    rig.pass_seconds(3);
    let sequence = ping_of(&rig.sent());
    rig.pass(Duration::from_millis(2_999));
    assert_eq!(rig.state_of(&guard), HoldState::Held);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.state_of(&guard), HoldState::AtRisk);
    rig.pass_seconds(2);
    rig.pong(sequence);
    assert_eq!(rig.state_of(&guard), HoldState::Held);
    let sequence = ping_of(&rig.sent());
    rig.pass_seconds(1);
    assert_eq!(rig.state_of(&guard), HoldState::AtRisk, "the next one is late, too");
    rig.pong(sequence);
    assert_eq!(rig.state_of(&guard), HoldState::Held);
}

#[test]
fn a_pong_after_the_deadline_does_not_bring_a_hold_back() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let guard = rig.hold(1);
    let deadline = guard.hold().valid_until();
    rig.pass_seconds(3);
    let sequence = ping_of(&rig.sent());
    // Stopped for so long that ping, answer and deadline lie behind when it runs again: the clock counts first.
    rig.now = rig.now.saturating_add(Duration::from_secs(60));
    rig.pong(sequence);
    assert_eq!(rig.state_of(&guard), HoldState::Lost(Loss::expired(deadline)));
    assert!(matches!(rig.sent()[..], [ToServer::Close(_)]), "the server hears that the session is over");
    assert_eq!(rig.orders(), [Order::Leave]);
    rig.attach();
    assert!(matches!(rig.sent()[..], [ToServer::Open(_)]), "a new session");
    rig.opened();
    assert_eq!(rig.loss_of(&guard), LossReason::Expired);
}

#[test]
fn what_a_guard_saw_expire_stays_so_even_if_the_pong_was_in_time() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let guard = rig.hold(1);
    rig.pass_seconds(3);
    let sequence = ping_of(&rig.sent());
    rig.pass_seconds(5);
    assert!(matches!(guard.hold().state(rig.now.saturating_add(Duration::from_secs(1))), HoldState::Lost(_)));
    rig.pong(sequence);
    assert_eq!(rig.loss_of(&guard), LossReason::Expired);
    assert!(rig.orders().contains(&Order::Leave));
}

#[test]
fn waiting_acquires_are_asked_again_after_an_expiry_with_what_is_left_of_their_wait() {
    let mut rig = Rig::open(OnDisconnect::Release);
    let (_, _patient) = rig.acquire(Patience::Forever);
    let (_, _hasty) = rig.acquire(Patience::Until(rig.now.saturating_add(Duration::from_secs(30))));
    rig.sent();
    rig.pass_seconds(10);
    rig.attach();
    rig.sent();
    let left = Duration::from_secs(30) - rig.now.since(Time::from_micros(1 << 60));
    rig.opened();
    let waits: Vec<_> = rig.sent().iter().map(wait_of).collect();
    assert_eq!(waits, [Some(Duration::MAX), Some(left)]);
}

#[test]
fn with_release_a_break_frees_everything_at_once() {
    let mut rig = Rig::open(OnDisconnect::Release);
    let guard = rig.hold(1);
    let (request_id, _waiting) = rig.acquire(Patience::Forever);
    let mut released = {
        let other = rig.hold(2);
        rig.release(other)
    };
    rig.sent();
    rig.cut();
    assert_eq!(rig.loss_of(&guard), LossReason::Disconnected);
    assert!(released.try_recv().unwrap().is_ok(), "what the break frees is released");
    rig.attach();
    assert!(matches!(rig.sent()[..], [ToServer::Open(_)]));
    rig.opened();
    assert!(matches!(&rig.sent()[..], [ToServer::Acquire(again)] if again.request_id == request_id));
}

#[test]
fn with_keep_a_break_is_a_risk_until_the_resume() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let guard = rig.hold(1);
    rig.pass_seconds(1);
    rig.cut();
    assert_eq!(rig.state_of(&guard), HoldState::AtRisk);
    rig.attach();
    let resume = resume_of(&rig.sent()).clone();
    assert_eq!((&*resume.session_id, &*resume.resume_secret, resume.attempt), ("s", "secret", 1));
    let resource = v1::ResourceId { kind: v1::Kind::Lock.into(), name: "x".to_owned(), scope: 0 };
    let held = v1::HeldHold { hold_id: hold_id(1), resource: Some(resource), fencing_token: 7, entries: 1 };
    assert_eq!(resume.holds, [held]);
    let sent_at = rig.now;
    rig.resumed(Vec::new());
    assert_eq!(rig.state_of(&guard), HoldState::Held);
    assert_eq!(guard.hold().valid_until(), sent_at.saturating_add(Duration::from_secs(9)));
    // The next break is answered by the next attempt.
    rig.cut();
    rig.attach();
    assert_eq!(resume_of(&rig.sent()).attempt, 2);
}

#[test]
fn a_resume_repeats_acquires_under_their_numbers_and_no_releases() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (kept, gone, late) = (rig.hold(1), rig.hold(2), rig.hold(3));
    let (waiting, _answer) = rig.acquire(Patience::Forever);
    let mut unanswered = rig.release(gone);
    rig.sent();
    rig.cut();
    rig.attach();
    let (resume, mut released_meanwhile) = (resume_of(&rig.sent()).clone(), rig.release(late));
    let listed: Vec<_> = resume.holds.iter().map(|held| held.hold_id.clone()).collect();
    assert!(listed.len() == 2 && !listed.contains(&hold_id(2)), "{listed:?}");
    assert_eq!(resume.pending_request_ids, [waiting]);
    assert!(rig.sent().is_empty(), "nothing is said before the server has answered");
    rig.resumed(Vec::new());
    assert!(unanswered.try_recv().unwrap().is_ok());
    let said = rig.sent();
    let [ToServer::Acquire(again), ToServer::Release(release)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((again.request_id, &release.hold_id), (waiting, &hold_id(3)));
    rig.hear(FromServer::Released(v1::SessionReleased { request_id: release.request_id, entries: 0 }));
    assert!(released_meanwhile.try_recv().unwrap().is_ok());
    assert_eq!(rig.state_of(&kept), HoldState::Held);
}

#[test]
fn holds_that_a_resume_finds_gone_are_lost_with_their_reason() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (broken, kept) = (rig.hold(1), rig.hold(2));
    rig.cut();
    rig.attach();
    let lost = v1::HoldLost { hold_id: hold_id(1), reason: WireLoss::Broken.into(), ..v1::HoldLost::default() };
    rig.resumed(vec![lost]);
    assert_eq!((rig.loss_of(&broken), rig.state_of(&kept)), (LossReason::Broken, HoldState::Held));
}

#[test]
fn a_refused_resume_loses_the_holds_and_moves_the_acquires_to_a_new_session() {
    for (reason, expected) in [
        (ErrorReason::SessionNotFound, LossReason::ServerLost),
        (ErrorReason::SessionSuperseded, LossReason::Expired),
        (ErrorReason::SessionExpired, LossReason::Expired),
        (ErrorReason::InvalidSession, LossReason::ServerLost),
    ] {
        let mut rig = Rig::open(OnDisconnect::Keep);
        let guard = rig.hold(1);
        let (request_id, mut answer) = rig.acquire(Patience::Forever);
        rig.cut();
        rig.attach();
        rig.sent();
        rig.fail(Failure::of(&reason.status("no")));
        assert_eq!(rig.loss_of(&guard), expected);
        rig.attach();
        assert!(matches!(rig.sent()[..], [ToServer::Open(_)]));
        rig.opened();
        assert!(matches!(&rig.sent()[..], [ToServer::Acquire(again)] if again.request_id == request_id));
        assert!(answer.try_recv().is_err(), "still waiting");
    }
}

#[test]
fn without_a_server_kept_holds_expire_at_their_deadline() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let guard = rig.hold(1);
    let deadline = guard.hold().valid_until();
    rig.cut();
    for _ in 0..100 {
        rig.pass(Duration::from_millis(100));
        rig.orders();
        rig.cut();
        let expected = if rig.now < deadline { HoldState::AtRisk } else { HoldState::Lost(Loss::expired(deadline)) };
        assert_eq!(rig.state_of(&guard), expected);
    }
    rig.attach();
    assert!(matches!(rig.sent()[..], [ToServer::Open(_)]));
}

#[test]
fn the_servers_word_ends_a_hold_or_the_session() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (one, other) = (rig.hold(1), rig.hold(2));
    let lost = v1::HoldLost { hold_id: hold_id(1), reason: WireLoss::BackendLost.into(), ..v1::HoldLost::default() };
    rig.hear(FromServer::Lost(lost));
    assert_eq!((rig.loss_of(&one), rig.state_of(&other)), (LossReason::BackendLost, HoldState::Held));
    rig.hear(FromServer::Ended(v1::SessionEnded {
        reason: WireLoss::ServerLost.into(),
        message: "drained".to_owned(),
    }));
    assert_eq!(rig.loss_of(&other), LossReason::ServerLost);
    assert_eq!(rig.loss_of(&one), LossReason::BackendLost);
    rig.fail(Failure::of(&ErrorReason::Draining.status("bye")));
    rig.attach();
    assert!(matches!(rig.sent()[..], [ToServer::Open(_)]));
}

#[test]
fn a_cancelled_acquire_holds_nothing() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (request_id, answer) = rig.acquire(Patience::Forever);
    rig.sent();
    drop(answer);
    rig.state.on_command(rig.now, Command::Cancel(request_id));
    assert!(matches!(&rig.sent()[..], [ToServer::Cancel(cancel)] if cancel.request_id == request_id));
    // The grant was on its way: the server takes it back when it reads the cancel.
    rig.grant(request_id, 1, 1);
    assert!(rig.sent().is_empty());
    rig.cut();
    rig.attach();
    let said = rig.sent();
    assert!(resume_of(&said).holds.is_empty() && resume_of(&said).pending_request_ids.is_empty());
}

#[test]
fn a_grant_that_nobody_waits_for_is_given_back_once() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let first = rig.hold(1);
    // Re-entered by somebody who has just gone away; its cancel comes after the grant.
    let (request_id, answer) = rig.acquire(Patience::Forever);
    rig.sent();
    drop(answer);
    rig.grant(request_id, 1, 2);
    rig.state.on_command(rig.now, Command::Cancel(request_id));
    rig.run_commands();
    assert!(matches!(&rig.sent()[..], [ToServer::Release(release)] if release.hold_id == hold_id(1)));
    rig.cut();
    rig.attach();
    assert_eq!(resume_of(&rig.sent()).holds[0].entries, 1, "the first guard's");
    rig.resumed(Vec::new());
    assert_eq!(rig.state_of(&first), HoldState::Held);
}

#[test]
fn a_grant_that_nobody_asked_for_is_cancelled() {
    let mut rig = Rig::open(OnDisconnect::Release);
    rig.grant(99, 1, 1);
    assert!(matches!(&rig.sent()[..], [ToServer::Cancel(cancel)] if cancel.request_id == 99));
}

#[test]
fn an_acquire_that_is_cancelled_during_a_resume_is_cancelled_after_it() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (request_id, _answer) = rig.acquire(Patience::Forever);
    rig.cut();
    rig.attach();
    assert_eq!(resume_of(&rig.sent()).pending_request_ids, [request_id]);
    rig.state.on_command(rig.now, Command::Cancel(request_id));
    rig.resumed(Vec::new());
    assert!(matches!(&rig.sent()[..], [ToServer::Cancel(cancel)] if cancel.request_id == request_id));
}

#[test]
fn guards_of_one_hold_give_back_one_entry_each_and_are_lost_together() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (first, second, third) = (rig.hold(1), rig.hold(1), rig.hold(1));
    drop(first);
    rig.run_commands();
    assert!(matches!(&rig.sent()[..], [ToServer::Release(_)]));
    rig.cut();
    rig.attach();
    assert_eq!(resume_of(&rig.sent()).holds[0].entries, 2);
    rig.resumed(Vec::new());
    let lost = v1::HoldLost { hold_id: hold_id(1), reason: WireLoss::Broken.into(), ..v1::HoldLost::default() };
    rig.hear(FromServer::Lost(lost));
    assert_eq!((rig.loss_of(&second), rig.loss_of(&third)), (LossReason::Broken, LossReason::Broken));
    assert!(matches!(rig.release(second).try_recv().unwrap(), Err(Error::Lost(_))));
}

#[test]
fn the_client_itself_ends_waits_while_there_is_no_server() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (_, mut before) = rig.acquire(Patience::Until(rig.now.saturating_add(Duration::from_secs(2))));
    let (_, mut tried) = rig.acquire(Patience::Try);
    rig.cut();
    let (_, mut meanwhile) = rig.acquire(Patience::Until(rig.now.saturating_add(Duration::from_secs(3))));
    let (_, mut patient) = rig.acquire(Patience::Forever);
    let reason = |answer: &mut Answer| match answer.try_recv() {
        Ok(Err(Error::NotAcquired(why))) => Some(why.reason),
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    };
    rig.pass_seconds(2);
    assert_eq!(reason(&mut before), Some(NotAcquiredReason::WaitTimeout));
    assert_eq!(reason(&mut meanwhile), None);
    rig.pass_seconds(1);
    assert_eq!(reason(&mut meanwhile), Some(NotAcquiredReason::WaitTimeout));
    assert!(tried.try_recv().is_err());
    rig.pass_seconds(2);
    assert!(matches!(tried.try_recv(), Ok(Err(Error::Unavailable(_)))));
    assert_eq!(reason(&mut patient), None);
    // What was answered is not asked again.
    rig.attach();
    assert_eq!(resume_of(&rig.sent()).pending_request_ids.len(), 1);
}

#[test]
fn connecting_gives_up_in_time_and_names_what_it_tried() {
    let mut rig = Rig::new(OnDisconnect::Release);
    let started = rig.now;
    let outcome = loop {
        rig.pass(Duration::from_millis(50));
        if rig.orders().iter().any(|order| matches!(order, Order::Connect(_))) {
            rig.fail(Failure::Broken("connection refused".to_owned()));
        }
        if let Ok(outcome) = rig.connected.try_recv() {
            break outcome;
        }
    };
    assert_eq!(rig.now.since(started), Duration::from_secs(5));
    let text = outcome.unwrap_err().to_string();
    for expected in
        ["within 5s", "http://a:1 (connection refused)", "http://b:2 (connection refused)", "lockstead serve"]
    {
        assert!(text.contains(expected), "{text}");
    }
    assert!(rig.state.is_finished());
}

#[test]
fn a_server_that_says_nothing_is_left_for_the_next() {
    let mut rig = Rig::new(OnDisconnect::Release);
    rig.pass(Duration::ZERO);
    assert_eq!(rig.orders(), [Order::Connect(0)]);
    rig.pass(Duration::from_millis(2_600));
    assert_eq!(rig.orders(), [Order::HangUp, Order::Connect(1)]);
}

#[test]
fn a_server_that_does_not_want_the_client_says_why() {
    let mut rig = Rig::new(OnDisconnect::Release);
    rig.attach();
    rig.fail(Failure::of(&tonic::Status::permission_denied("not you")));
    let error = rig.connected.try_recv().unwrap().unwrap_err();
    assert!(matches!(&error, Error::Refused { message, .. } if message.contains("not you")), "{error:?}");
}

#[test]
fn closing_gives_everything_back_and_waits_for_the_server() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let guard = rig.hold(1);
    let (_, mut waiting) = rig.acquire(Patience::Forever);
    rig.sent();
    let (answer, mut closed) = oneshot::channel();
    rig.state.on_command(rig.now, Command::Close(answer));
    assert_eq!(rig.loss_of(&guard), LossReason::Disconnected);
    assert!(matches!(waiting.try_recv(), Ok(Err(Error::Closed))));
    assert!(matches!(rig.sent()[..], [ToServer::Close(_)]));
    assert_eq!(rig.orders(), [Order::Finish]);
    assert!(closed.try_recv().is_err(), "not before the server has seen it");
    let (_, mut late) = rig.acquire(Patience::Forever);
    assert!(matches!(late.try_recv(), Ok(Err(Error::Closed))));
    rig.cut();
    assert!(closed.try_recv().unwrap().is_ok() && rig.state.is_finished());
}

#[test]
fn closing_a_kept_session_without_a_stream_resumes_it_with_nothing() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let _guard = rig.hold(1);
    rig.cut();
    let (answer, mut closed) = oneshot::channel();
    rig.state.on_command(rig.now, Command::Close(answer));
    rig.attach();
    assert!(resume_of(&rig.sent()).holds.is_empty());
    rig.resumed(Vec::new());
    assert!(matches!(rig.sent()[..], [ToServer::Close(_)]));
    rig.cut();
    assert!(closed.try_recv().unwrap().is_ok());
}

#[test]
fn closing_without_a_server_is_over_in_time() {
    for (on_disconnect, is_sure) in [(OnDisconnect::Release, true), (OnDisconnect::Keep, false)] {
        let mut rig = Rig::open(on_disconnect);
        let _guard = rig.hold(1);
        rig.cut();
        let (answer, mut closed) = oneshot::channel();
        rig.state.on_command(rig.now, Command::Close(answer));
        rig.pass_seconds(if is_sure { 0 } else { 5 });
        assert_eq!(closed.try_recv().unwrap().is_ok(), is_sure);
        assert!(rig.state.is_finished());
    }
}

#[test]
fn the_servers_pings_are_answered() {
    let mut rig = Rig::open(OnDisconnect::Release);
    rig.hear(FromServer::Ping(v1::Ping { sequence: 5 }));
    assert!(matches!(rig.sent()[..], [ToServer::Pong(v1::Pong { sequence: 5, valid_for: None })]));
}

#[test]
fn what_cannot_be_understood_ends_the_stream() {
    let mut rig = Rig::open(OnDisconnect::Release);
    let guard = rig.hold(1);
    rig.opened();
    assert_eq!(rig.orders(), [Order::HangUp]);
    assert_eq!(rig.loss_of(&guard), LossReason::Disconnected);
}
