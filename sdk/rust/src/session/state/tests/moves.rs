//! A server that drains: the session moves to another one, and nobody notices.

use super::*;

const BOTH: [OnDisconnect; 2] = [OnDisconnect::Keep, OnDisconnect::Release];

/// A session with two holds, one acquire that waits, and a server that has just announced that it will stop.
pub(super) struct Move {
    pub(super) rig: Rig,
    pub(super) kept: Guard,
    pub(super) other: Guard,
    pub(super) waiting: u64,
    pub(super) answer: Answer,
}

impl Move {
    pub(super) fn new(on_disconnect: OnDisconnect) -> Self {
        Self::of(Rig::new(on_disconnect))
    }

    fn of(rig: Rig) -> Self {
        let mut rig = rig.opened_and_proved();
        let (kept, other) = (rig.hold(1), rig.hold(2));
        let (waiting, answer) = rig.acquire(Patience::Forever);
        rig.sent();
        rig.pass_seconds(1);
        rig.hear(FromServer::Draining(v1::SessionDraining::default()));
        Self { rig, kept, other, waiting, answer }
    }

    /// Up to the resume, which a server has and has not answered.
    pub(super) fn resuming(on_disconnect: OnDisconnect) -> (Self, v1::ResumeSession) {
        let mut moving = Self::new(on_disconnect);
        moving.rig.attach();
        let resume = moving.rig.resume();
        (moving, resume)
    }

    fn assert_held(&self) {
        assert_eq!(self.rig.state_of(&self.kept), HoldState::Held);
        assert_eq!(self.rig.state_of(&self.other), HoldState::Held);
    }
}

pub(super) fn superseded() -> Failure {
    refused(ErrorReason::SessionSuperseded)
}

#[test]
fn the_session_moves_at_once_and_nothing_is_at_risk() {
    for on_disconnect in BOTH {
        let (mut moving, resume) = Move::resuming(on_disconnect);
        assert_eq!(moving.rig.now, after(moving.rig.started, 1));
        let mut listed: Vec<_> = resume.holds.iter().map(|held| held.hold_id.clone()).collect();
        listed.sort_unstable();
        assert_eq!((resume.attempt, listed), (1, vec![hold_id(1), hold_id(2)]));
        assert_eq!(resume.pending_request_ids, [moving.waiting]);
        let options = resume.options.unwrap();
        assert_eq!(options.on_disconnect() == v1::OnDisconnect::Keep, on_disconnect == OnDisconnect::Keep);
        let sent_at = moving.rig.now;
        moving.rig.pass(Duration::from_millis(300));
        moving.assert_held();
        moving.rig.resumed(Vec::new());
        moving.assert_held();
        assert_eq!(moving.kept.hold().valid_until(), after(sent_at, 9));
        assert_eq!(moving.rig.switches, [Switch { in_peace: true }]);
        let said = moving.rig.sent();
        assert!(matches!(&said[..], [ToServer::Acquire(again)] if again.request_id == moving.waiting), "{said:?}");
        moving.rig.grant(moving.waiting, 3, 1);
        assert!(moving.answer.try_recv().unwrap().is_ok());
        // It is a stream like any other.
        moving.rig.cut();
        let expected = on_disconnect == OnDisconnect::Keep;
        assert_eq!(moving.rig.state_of(&moving.kept) == HoldState::AtRisk, expected);
    }
}

#[test]
fn the_other_servers_are_asked_before_the_one_that_drains() {
    let mut moving = Move::new(OnDisconnect::Keep);
    let home = moving.rig.state.route.home();
    assert_eq!(moving.rig.connecting(), [1 - home, home]);
}

/// Behind one address there may be many servers.
#[test]
fn with_a_single_address_the_session_moves_to_whoever_answers_there() {
    let mut moving = Move::of(Rig::with_servers("http://a:1", OnDisconnect::Release));
    moving.rig.attach();
    assert_eq!(moving.rig.resume().attempt, 1);
    // The same one, this time.
    moving.rig.fail_next(&refused(ErrorReason::Draining));
    moving.assert_held();
    let refused_at = moving.rig.now;
    moving.rig.attach();
    assert_eq!(moving.rig.resume().attempt, 2);
    assert!(moving.rig.now.since(refused_at) >= Duration::from_millis(50), "not at once");
    moving.rig.resumed(Vec::new());
    moving.assert_held();
}

#[test]
fn a_server_that_says_nothing_is_left_before_the_old_one_stops() {
    let mut rig = Rig::open(OnDisconnect::Release);
    let within = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    rig.hear(FromServer::Draining(v1::SessionDraining { within }));
    rig.attach();
    rig.pass(Duration::from_millis(350));
    assert!(matches!(rig.orders()[..], [Order::Abandon, Order::Connect(_)]), "a third of that time is over");
}

#[test]
fn a_move_that_nobody_wants_is_tried_again_until_the_stream_ends() {
    for (on_disconnect, reason) in [
        (OnDisconnect::Keep, ErrorReason::Draining),
        (OnDisconnect::Keep, ErrorReason::SessionNotFound),
        (OnDisconnect::Keep, ErrorReason::InvalidSession),
        (OnDisconnect::Release, ErrorReason::BackendUnavailable),
    ] {
        let mut moving = Move::new(on_disconnect);
        for round in 0..10 {
            for server in 0..2 {
                moving.rig.attach();
                assert_eq!(moving.rig.resume().attempt, round * 2 + server + 1);
                moving.rig.fail_next(&refused(reason));
                moving.assert_held();
            }
            let pings = moving.rig.sent();
            for ping in &pings {
                let ToServer::Ping(ping) = ping else { panic!("{pings:?}") };
                moving.rig.pong(ping.sequence);
            }
        }
        assert!(moving.rig.now > after(moving.rig.started, 5), "with pauses");
        assert!(moving.rig.switches.is_empty());
        let ended_at = moving.rig.now;
        moving.rig.fail(&refused(ErrorReason::Draining));
        if on_disconnect == OnDisconnect::Release {
            assert_eq!(moving.rig.loss_of(&moving.kept), LossReason::Disconnected);
            moving.rig.attach();
            assert!(matches!(moving.rig.sent()[..], [ToServer::Open(_)]));
        } else {
            assert_eq!(moving.rig.state_of(&moving.kept), HoldState::AtRisk);
            moving.rig.attach();
            assert_eq!(moving.rig.resume().attempt, 21);
        }
        assert_eq!(moving.rig.now, ended_at, "now there is nowhere to stay");
    }
}

#[test]
fn the_old_stream_may_end_before_the_new_one_has_answered() {
    for on_disconnect in BOTH {
        let (mut moving, _) = Move::resuming(on_disconnect);
        moving.rig.fail(&superseded());
        moving.assert_held();
        assert!(moving.rig.state.session_id().is_some(), "a server has it");
        moving.rig.resumed(Vec::new());
        moving.assert_held();
        assert_eq!(moving.rig.switches, [Switch { in_peace: true }]);
        assert!(matches!(&moving.rig.sent()[..], [ToServer::Acquire(_)]));
        // Once more, and it is news: nobody else has been asked to take it.
        moving.rig.fail(&superseded());
        assert!(matches!(moving.rig.state_of(&moving.kept), HoldState::Lost(_)));
    }
}

#[test]
fn a_server_that_took_the_session_and_died_is_one_that_died() {
    for on_disconnect in BOTH {
        let (mut moving, _) = Move::resuming(on_disconnect);
        moving.rig.fail(&superseded());
        moving.rig.fail_next(&broken());
        if on_disconnect == OnDisconnect::Release {
            assert_eq!(moving.rig.loss_of(&moving.kept), LossReason::Disconnected);
            continue;
        }
        assert_eq!(moving.rig.state_of(&moving.kept), HoldState::AtRisk);
        moving.rig.attach();
        let resume = moving.rig.resume();
        assert_eq!((resume.attempt, resume.holds.len()), (2, 2));
        assert_eq!(resume.pending_request_ids, [moving.waiting]);
    }
}

#[test]
fn the_old_server_may_die_at_each_step() {
    // Before the attempt has begun, while it connects, and while the resume is under way.
    for step in 0..3 {
        let mut moving = Move::new(OnDisconnect::Keep);
        if step == 1 {
            moving.rig.connecting();
        } else if step == 2 {
            moving.rig.attach();
            moving.rig.resume();
        }
        moving.rig.cut();
        assert_eq!(moving.rig.state_of(&moving.kept), HoldState::AtRisk);
        match step {
            0 => {
                moving.rig.attach();
            }
            1 => moving.rig.first = moving.rig.state.on_connected(moving.rig.now, 0),
            _ => assert_eq!(moving.rig.orders(), [], "the attempt goes on"),
        }
        assert_eq!(step == 2, moving.rig.first.is_none());
        moving.rig.resumed(Vec::new());
        moving.assert_held();
        assert!(matches!(&moving.rig.sent()[..], [.., ToServer::Acquire(_)]));
    }
    for step in 0..3 {
        let mut moving = Move::new(OnDisconnect::Release);
        if step == 1 {
            moving.rig.connecting();
        } else if step == 2 {
            moving.rig.attach();
            moving.rig.resume();
        }
        moving.rig.cut();
        assert_eq!(moving.rig.loss_of(&moving.kept), LossReason::Disconnected);
        // What the resume would say now can't be believed.
        assert_eq!(moving.rig.orders().contains(&Order::Abandon), step == 2);
        if step == 1 {
            moving.rig.first = moving.rig.state.on_connected(moving.rig.now, 0);
        } else {
            moving.rig.attach();
        }
        assert!(matches!(moving.rig.sent()[..], [ToServer::Open(_)]));
    }
}

#[test]
fn a_session_that_the_old_server_ends_is_over() {
    let (mut moving, _) = Move::resuming(OnDisconnect::Release);
    let message = "the server is shutting down".to_owned();
    moving.rig.hear(FromServer::Ended(v1::SessionEnded { reason: WireLoss::ServerLost.into(), message }));
    assert_eq!(moving.rig.loss_of(&moving.kept), LossReason::ServerLost);
    assert_eq!(moving.rig.orders(), [Order::Leave, Order::Abandon]);
    moving.rig.resumed(Vec::new());
    assert_eq!(moving.rig.loss_of(&moving.kept), LossReason::ServerLost);
}

#[test]
fn pings_and_releases_go_on_and_acquires_wait_for_the_next_server() {
    let Move { mut rig, kept, other, waiting, .. } = Move::new(OnDisconnect::Release);
    let (late, mut answer) = rig.acquire(Patience::Forever);
    let mut gone = rig.release(other);
    rig.hear(FromServer::Ping(v1::Ping { sequence: 3 }));
    let said = rig.sent();
    let [ToServer::Release(release), ToServer::Pong(_)] = &said[..] else { panic!("{said:?}") };
    rig.hear(released(release.request_id, 0));
    assert!(gone.try_recv().unwrap().is_ok());
    rig.attach();
    let resume = rig.resume();
    assert_eq!((resume.holds.len(), resume.pending_request_ids), (1, vec![waiting, late]));
    rig.resumed(Vec::new());
    let said = rig.sent();
    let [ToServer::Acquire(first), ToServer::Acquire(second)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((first.request_id, second.request_id), (waiting, late), "in order of their arrival");
    rig.grant(late, 5, 1);
    assert!(answer.try_recv().unwrap().is_ok());
    assert_eq!(rig.state_of(&kept), HoldState::Held);
}

#[test]
fn an_acquire_that_the_draining_server_does_not_take_is_repeated_on_the_next() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let mut answers = Vec::new();
    for patience in [Patience::Forever, Patience::Try, Patience::Until(after(rig.now, 3))] {
        answers.push(rig.acquire(patience));
    }
    rig.sent();
    // The news that it drains may be behind its answers, or before them.
    rig.hear(failed(answers[0].0, ErrorReason::Draining));
    rig.hear(FromServer::Draining(v1::SessionDraining::default()));
    rig.hear(failed(answers[1].0, ErrorReason::Draining));
    rig.hear(failed(answers[2].0, ErrorReason::Draining));
    rig.attach();
    let all: Vec<_> = answers.iter().map(|(request_id, _)| *request_id).collect();
    assert_eq!(rig.resume().pending_request_ids, all);
    rig.resumed(Vec::new());
    let repeated: Vec<_> = rig.sent().iter().map(wait_of).collect();
    assert_eq!(repeated, [Some(Duration::MAX), None, Some(Duration::from_secs(3))]);
    for (_, answer) in &mut answers {
        assert!(answer.try_recv().is_err());
    }
}

#[test]
fn without_a_next_server_acquires_wait_as_long_as_their_patience_lasts() {
    let mut moving = Move::of(Rig::with_servers("http://a:1", OnDisconnect::Keep));
    let (tried, mut try_answer) = moving.rig.acquire(Patience::Try);
    let (hasty, mut hasty_answer) = moving.rig.acquire(Patience::Until(after(moving.rig.now, 2)));
    let asked_at = moving.rig.now;
    let mut attempts = 0;
    while moving.rig.now < after(asked_at, 6) {
        if moving.rig.orders().into_iter().any(|order| matches!(order, Order::Connect(_))) {
            attempts += 1;
            moving.rig.state.on_connected(moving.rig.now, 0);
            moving.rig.fail_next(&refused(ErrorReason::Draining));
        }
        moving.rig.pass(Duration::from_millis(10));
        match moving.rig.now.since(asked_at).as_millis() {
            2_000 => {
                let Ok(Err(Error::NotAcquired(why))) = hasty_answer.try_recv() else { panic!("{hasty}") };
                assert_eq!(why.reason, NotAcquiredReason::WaitTimeout);
            }
            5_000 => {
                let Ok(Err(Error::Unavailable(why))) = try_answer.try_recv() else { panic!("{tried}") };
                assert!(why.to_string().contains("DRAINING"), "{why}");
            }
            _ => {}
        }
    }
    assert!((5..30).contains(&attempts), "{attempts}");
    assert!(moving.answer.try_recv().is_err(), "the patient one still waits");
    // Nobody answered the pings.
    assert_eq!(moving.rig.state_of(&moving.kept), HoldState::AtRisk);
}

#[test]
fn closing_waits_until_it_is_known_which_server_has_the_session() {
    for moved in [true, false] {
        let (Move { mut rig, kept, .. }, _) = Move::resuming(OnDisconnect::Keep);
        let (answer, mut closed) = oneshot::channel();
        rig.state.on_command(rig.now, Command::Close(answer));
        assert_eq!(rig.loss_of(&kept), LossReason::Disconnected);
        assert!(rig.sent().is_empty());
        if moved {
            rig.resumed(Vec::new());
        } else {
            rig.fail_next(&refused(ErrorReason::Draining));
        }
        assert!(matches!(rig.sent()[..], [ToServer::Close(_)]));
        assert_eq!(rig.orders(), [Order::Finish]);
        rig.cut();
        assert!(closed.try_recv().unwrap().is_ok());
    }
}

#[test]
fn closing_does_not_wait_for_an_attempt_that_no_server_has_heard_of() {
    let Move { mut rig, .. } = Move::new(OnDisconnect::Keep);
    rig.connecting();
    let (answer, _closed) = oneshot::channel();
    rig.state.on_command(rig.now, Command::Close(answer));
    assert!(matches!(rig.sent()[..], [ToServer::Close(_)]));
    assert_eq!(rig.orders(), [Order::Abandon, Order::Finish]);
}

#[test]
fn a_session_that_expires_on_the_move_is_over_on_both_streams() {
    let (mut moving, _) = Move::resuming(OnDisconnect::Keep);
    moving.rig.now = after(moving.rig.now, 60);
    moving.rig.resumed(Vec::new());
    assert_eq!(moving.rig.loss_of(&moving.kept), LossReason::Expired);
    assert!(matches!(moving.rig.sent()[..], [ToServer::Close(_)]));
    assert!(moving.rig.orders().contains(&Order::Abandon));
}

#[test]
fn what_an_attempt_says_after_it_was_given_up_is_ignored() {
    let (mut moving, _) = Move::resuming(OnDisconnect::Keep);
    moving.rig.pass_seconds(3);
    assert!(moving.rig.orders().contains(&Order::Abandon));
    let before = moving.kept.hold().valid_until();
    moving.rig.resumed(Vec::new());
    assert_eq!(moving.kept.hold().valid_until(), before);
    assert!(moving.rig.switches.is_empty());
}
