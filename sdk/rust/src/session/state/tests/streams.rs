//! Streams that open, break, resume and close.

use super::*;

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
    rig.hear(released(release.request_id, 0));
    assert!(released_meanwhile.try_recv().unwrap().is_ok());
    assert_eq!(rig.state_of(&kept), HoldState::Held);
}

#[test]
fn holds_that_a_resume_finds_gone_are_lost_with_their_reason() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (broken, kept) = (rig.hold(1), rig.hold(2));
    rig.cut();
    rig.attach();
    rig.resumed(vec![lost(1, WireLoss::Broken)]);
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
        rig.fail(&Failure::of(&reason.status("no")));
        assert_eq!(rig.loss_of(&guard), expected);
        rig.attach();
        assert!(matches!(rig.sent()[..], [ToServer::Open(_)]));
        rig.opened();
        assert!(matches!(&rig.sent()[..], [ToServer::Acquire(again)] if again.request_id == request_id));
        assert!(answer.try_recv().is_err(), "still waiting");
    }
}

#[test]
fn a_token_that_has_expired_can_be_renewed_before_the_holds_are_lost() {
    for (on_disconnect, lost) in [(OnDisconnect::Keep, false), (OnDisconnect::Release, true)] {
        let mut rig = Rig::open(on_disconnect);
        let guard = rig.hold(1);
        rig.cut();
        if on_disconnect == OnDisconnect::Keep {
            rig.attach();
            rig.fail(&Failure::of(&ErrorReason::Unauthenticated.status("expired")));
        }
        assert_eq!(matches!(guard.state(), HoldState::Lost(_)), lost, "{on_disconnect}");
    }
}

#[test]
fn connecting_gives_up_in_time_and_names_what_it_tried() {
    let mut rig = Rig::new(OnDisconnect::Release);
    let started = rig.now;
    let outcome = loop {
        rig.pass(Duration::from_millis(50));
        if rig.orders().iter().any(|order| matches!(order, Order::Connect(_))) {
            rig.fail(&Failure::Broken("connection refused".to_owned()));
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
fn a_server_that_does_not_want_the_client_says_why() {
    let mut rig = Rig::new(OnDisconnect::Release);
    rig.attach();
    rig.fail(&Failure::of(&tonic::Status::permission_denied("not you")));
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
