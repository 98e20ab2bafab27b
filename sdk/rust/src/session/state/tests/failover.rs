//! Several servers: which one is tried when, and what becomes of the session if its server dies or is cut off.

use super::*;

const THREE: &str = "http://a:1,http://b:2,http://c:3";

fn three(on_disconnect: OnDisconnect) -> Rig {
    Rig::with_servers(THREE, on_disconnect).opened_and_proved()
}

/// Lets the servers that the attempt connects to fail, one after another.
fn refuse_all(rig: &mut Rig, servers: &[usize]) {
    for server in servers {
        rig.state.on_unreachable(rig.now, *server, &broken());
    }
}

#[test]
fn a_server_that_says_nothing_is_left_for_the_next() {
    let mut rig = Rig::with_servers(THREE, OnDisconnect::Release);
    let all = rig.connecting();
    rig.state.on_connected(rig.now, all[0]);
    rig.pass(Duration::from_millis(1_600));
    assert_eq!(rig.orders(), []);
    // A third of the connect timeout.
    rig.pass(Duration::from_millis(100));
    assert_eq!(rig.orders(), [Order::Abandon, Order::Connect(all[1..].to_vec())]);
}

#[test]
fn after_a_break_every_server_is_tried_at_once_and_only_then_there_is_a_pause() {
    let mut rig = three(OnDisconnect::Keep);
    let guard = rig.hold(1);
    let broken_at = rig.now;
    rig.cut();
    let all = rig.connecting();
    assert_eq!((all[0], all.len()), (rig.state.route.home(), 3), "its own first: it may be there still");
    refuse_all(&mut rig, &all[..2]);
    rig.state.on_connected(rig.now, all[2]);
    rig.fail(&refused(ErrorReason::BackendUnavailable));
    assert_eq!(rig.now, broken_at);
    let again = rig.connecting();
    assert!(rig.now.since(broken_at) >= Duration::from_millis(50), "a new round");
    assert_eq!((again.len(), rig.state_of(&guard)), (3, HoldState::AtRisk));
}

#[test]
fn the_servers_that_do_not_want_the_session_are_left_for_the_next_at_once() {
    for reason in [ErrorReason::Draining, ErrorReason::BackendUnavailable] {
        let mut rig = three(OnDisconnect::Keep);
        let guard = rig.hold(1);
        let home = rig.state.route.home();
        rig.fail(&refused(reason));
        let mut tried = Vec::new();
        for _ in 0..3 {
            tried.push(rig.attach());
            rig.resume();
            assert_eq!(rig.state_of(&guard), HoldState::AtRisk);
            rig.fail(&refused(reason));
        }
        assert_eq!((rig.now, tried[2]), (rig.started, home), "where it was comes last");
        rig.attach();
        assert_eq!(rig.resume().attempt, 4);
        rig.resumed(Vec::new());
        assert_eq!(rig.state_of(&guard), HoldState::Held);
    }
}

#[test]
fn a_server_that_has_looked_for_the_session_in_vain_ends_it() {
    let mut rig = three(OnDisconnect::Keep);
    let guard = rig.hold(1);
    rig.cut();
    let server = rig.attach();
    rig.fail(&refused(ErrorReason::SessionNotFound));
    assert_eq!(rig.loss_of(&guard), LossReason::ServerLost);
    assert_eq!(rig.attach(), server, "it is there and well");
    assert!(matches!(rig.sent()[..], [ToServer::Open(_)]));
}

#[test]
fn silent_servers_leave_time_for_the_others() {
    let mut rig = three(OnDisconnect::Keep);
    let guard = rig.hold(1);
    let deadline = guard.hold().valid_until();
    rig.pass(Duration::from_millis(6_900));
    // Cut off since the beginning, and nobody could be reached so far. That the stream is broken is known only now.
    rig.fail_next(&broken());
    rig.orders();
    rig.cut();
    let mut bounds = Vec::new();
    for _ in 0..3 {
        rig.attach();
        rig.resume();
        let connected_at = rig.now;
        while rig.state.orders.is_empty() {
            rig.pass(Duration::from_millis(1));
        }
        bounds.push(rig.now.since(connected_at));
    }
    assert!(bounds.iter().all(|bound| *bound > Duration::from_millis(400)), "{bounds:?}");
    assert!(rig.now < deadline, "{bounds:?}");
}

#[test]
fn an_attempt_to_connect_ends_well_before_the_validity() {
    let mut rig = three(OnDisconnect::Keep);
    let deadline = rig.state.session.as_ref().unwrap().validity.deadline();
    rig.pass_seconds(5);
    rig.sent();
    rig.cut();
    rig.connecting();
    while rig.orders().is_empty() {
        rig.pass(Duration::from_millis(1));
    }
    assert!(deadline.since(rig.now) >= Duration::from_millis(1_900), "half of it is left");
}

#[test]
fn a_silent_stream_is_left_for_another_server_if_the_session_can_be_kept() {
    let mut rig = three(OnDisconnect::Keep);
    let (guard, gone) = (rig.hold(1), rig.hold(2));
    let (waiting, mut answer) = rig.acquire(Patience::Forever);
    rig.pass_seconds(3);
    let sequence = match &rig.sent()[..] {
        [ToServer::Acquire(_), ToServer::Ping(ping)] => ping.sequence,
        other => panic!("{other:?}"),
    };
    let mut released = rig.release(gone);
    rig.pass(Duration::from_millis(2_999));
    assert_eq!(rig.orders(), []);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.state_of(&guard), HoldState::AtRisk);
    assert_ne!(rig.attach(), rig.state.route.home());
    let resume = rig.resume();
    assert_eq!((resume.holds.len(), &resume.pending_request_ids[..]), (1, &[waiting][..]));
    let sent_at = rig.now;
    rig.pass(Duration::from_millis(500));
    rig.resumed(Vec::new());
    assert_eq!(rig.switches, [Switch { in_peace: false }]);
    assert!(released.try_recv().unwrap().is_ok());
    assert_eq!((rig.state_of(&guard), guard.hold().valid_until()), (HoldState::Held, after(sent_at, 9)));
    assert!(matches!(&rig.sent()[..], [ToServer::Acquire(again)] if again.request_id == waiting));
    // What the silent server had to say is of no account any more.
    rig.pong(sequence);
    assert_eq!(guard.hold().valid_until(), after(sent_at, 9));
    rig.grant(waiting, 3, 1);
    assert!(answer.try_recv().unwrap().is_ok());
}

#[test]
fn an_acquire_waits_while_a_resume_is_under_way_and_is_said_if_that_was_in_vain() {
    let mut rig = three(OnDisconnect::Keep);
    rig.pass_seconds(6);
    rig.attach();
    rig.sent();
    let (request_id, _answer) = rig.acquire(Patience::Forever);
    let (cancelled, _) = rig.acquire(Patience::Forever);
    rig.state.on_command(rig.now, Command::Cancel(cancelled));
    assert!(rig.sent().is_empty(), "the list is made");
    rig.fail_next(&refused(ErrorReason::BackendUnavailable));
    assert!(matches!(&rig.sent()[..], [ToServer::Acquire(acquire)] if acquire.request_id == request_id));
}

#[test]
fn an_acquire_that_gives_up_during_a_resume_is_taken_back_after_it() {
    let mut rig = three(OnDisconnect::Keep);
    let (request_id, mut answer) = rig.acquire(Patience::Until(after(rig.now, 1)));
    rig.sent();
    rig.cut();
    rig.attach();
    assert_eq!(rig.resume().pending_request_ids, [request_id]);
    rig.pass_seconds(1);
    assert!(matches!(answer.try_recv(), Ok(Err(Error::NotAcquired(_)))));
    rig.resumed(Vec::new());
    assert!(matches!(&rig.sent()[..], [ToServer::Cancel(cancel)] if cancel.request_id == request_id));
}

#[test]
fn a_silent_stream_that_is_heard_again_stays() {
    let mut rig = three(OnDisconnect::Keep);
    let guard = rig.hold(1);
    rig.pass_seconds(3);
    let sequence = ping_of(&rig.sent());
    rig.pass_seconds(4);
    assert!(rig.orders().into_iter().any(|order| matches!(order, Order::Connect(_))));
    rig.pong(sequence);
    assert_eq!(rig.orders(), [Order::Abandon]);
    assert_eq!(rig.state_of(&guard), HoldState::Held);
    assert!(rig.state.attempt.is_none());
}

#[test]
fn a_session_that_does_not_survive_its_stream_stays_on_it() {
    let mut rig = three(OnDisconnect::Release);
    let guard = rig.hold(1);
    rig.pass(Duration::from_millis(8_999));
    assert_eq!((rig.orders(), rig.state_of(&guard)), (Vec::new(), HoldState::AtRisk));
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.loss_of(&guard), LossReason::Expired);
    assert_ne!(rig.attach(), rig.state.route.home());
    assert!(matches!(rig.sent()[..], [ToServer::Close(_)] | [ToServer::Open(_), ..]));
}

/// The server answers the ping although another one has the session already: it does not know yet.
#[test]
fn while_a_resume_is_under_way_a_pong_promises_no_more_than_from_its_sending_on() {
    let mut rig = three(OnDisconnect::Keep);
    let guard = rig.hold(1);
    rig.pass_seconds(6);
    rig.attach();
    let sent_at = rig.now;
    rig.sent();
    rig.pass(Duration::from_millis(500));
    // The pings of before were lost.
    rig.state.ping(rig.now);
    let sequence = ping_of(&rig.sent());
    rig.pong(sequence);
    assert_eq!(guard.hold().valid_until(), after(sent_at, 9));
    assert!(rig.state.is_resuming(), "it can't be taken back");
}

#[test]
fn another_servers_shorter_promise_is_the_one_that_counts() {
    let mut rig = three(OnDisconnect::Keep);
    let guard = rig.hold(1);
    rig.pass_seconds(1);
    rig.cut();
    rig.attach();
    let sent_at = rig.now;
    let valid_for = Some(prost_types::Duration { seconds: 2, nanos: 0 });
    rig.hear(FromServer::Resumed(v1::SessionResumed { valid_for, lost: Vec::new() }));
    assert_eq!((guard.hold().valid_until(), rig.state_of(&guard)), (after(sent_at, 2), HoldState::Held));
    rig.sent();
    rig.pass_seconds(1);
    assert!(matches!(rig.sent()[..], [ToServer::Ping(_)]));
}

#[test]
fn a_resume_of_unknown_fate_is_followed_by_another_if_the_stream_is_superseded() {
    for on_disconnect in [OnDisconnect::Keep, OnDisconnect::Release] {
        let mut rig = three(on_disconnect);
        let guard = rig.hold(1);
        rig.hear(FromServer::Draining(v1::SessionDraining::default()));
        rig.attach();
        rig.resume();
        rig.fail_next(&broken());
        assert_eq!(rig.state_of(&guard), HoldState::AtRisk);
        assert!(matches!(rig.sent()[..], [ToServer::Ping(_)]), "the server is asked what it knows");
        rig.fail(&refused(ErrorReason::SessionSuperseded));
        if on_disconnect == OnDisconnect::Release {
            assert_eq!(rig.loss_of(&guard), LossReason::Disconnected, "its stream there broke");
            continue;
        }
        assert_eq!(rig.state_of(&guard), HoldState::AtRisk);
        rig.attach();
        assert_eq!(rig.resume().attempt, 2);
        rig.resumed(Vec::new());
        assert_eq!(rig.state_of(&guard), HoldState::Held);
    }
}

#[test]
fn a_stream_that_is_superseded_by_nobody_known_is_the_end() {
    let mut rig = three(OnDisconnect::Keep);
    let guard = rig.hold(1);
    rig.fail(&refused(ErrorReason::SessionSuperseded));
    assert_eq!(rig.loss_of(&guard), LossReason::Expired);
}
