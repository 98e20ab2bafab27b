//! Servers whose store can't be reached: what they put off, and promises that are short or over.

use super::*;

const UNAVAILABLE: ErrorReason = ErrorReason::BackendUnavailable;

/// Waits for the next time that an acquire is said, and answers when that is.
fn said_again(rig: &mut Rig) -> (u64, Duration) {
    let asked_at = rig.now;
    loop {
        let wake = rig.state.next_wake().unwrap();
        rig.pass(wake.since(rig.now));
        for message in rig.sent() {
            match message {
                ToServer::Acquire(acquire) => return (acquire.request_id, rig.now.since(asked_at)),
                ToServer::Ping(ping) => rig.pong(ping.sequence),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn an_acquire_that_is_put_off_is_said_again_more_and_more_slowly() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (request_id, mut answer) = rig.acquire(Patience::Forever);
    rig.sent();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        rig.hear(failed(request_id, UNAVAILABLE));
        let (again, pause) = said_again(&mut rig);
        assert_eq!(again, request_id);
        pauses.push(pause.as_millis());
    }
    assert!((50..100).contains(&pauses[0]) && (500..1_000).contains(&pauses[7]), "{pauses:?}");
    rig.grant(request_id, 1, 1);
    assert!(answer.try_recv().unwrap().is_ok());
}

#[test]
fn an_acquire_that_is_put_off_to_the_end_of_its_wait_says_why() {
    let mut rig = Rig::open(OnDisconnect::Release);
    let (request_id, mut answer) = rig.acquire(Patience::Until(after(rig.now, 1)));
    let (tried, mut try_answer) = rig.acquire(Patience::Try);
    rig.sent();
    for refused in [request_id, tried] {
        rig.hear(failed(refused, UNAVAILABLE));
    }
    assert!(matches!(try_answer.try_recv(), Ok(Err(Error::Refused { reason: UNAVAILABLE, .. }))), "not put off at all");
    while rig.now.since(rig.started) < Duration::from_millis(600) {
        said_again(&mut rig);
        rig.hear(failed(request_id, UNAVAILABLE));
    }
    rig.pass(after(rig.started, 1).since(rig.now));
    assert!(matches!(answer.try_recv(), Ok(Err(Error::Refused { reason: UNAVAILABLE, .. }))));
    rig.sent();
    rig.pass(Duration::from_secs(1));
    assert!(rig.sent().is_empty());
}

#[test]
fn an_acquire_that_is_put_off_and_cancelled_is_said_no_more() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (put_off, _) = rig.acquire(Patience::Forever);
    let (crossing, _) = rig.acquire(Patience::Forever);
    rig.sent();
    rig.hear(failed(put_off, UNAVAILABLE));
    for request_id in [put_off, crossing] {
        rig.state.on_command(rig.now, Command::Cancel(request_id));
    }
    assert!(matches!(&rig.sent()[..], [ToServer::Cancel(cancel)] if cancel.request_id == crossing));
    rig.hear(failed(crossing, UNAVAILABLE));
    rig.pass_seconds(2);
    assert!(rig.sent().is_empty());
    rig.cut();
    rig.attach();
    assert!(rig.resume().pending_request_ids.is_empty());
}

#[test]
fn an_acquire_that_is_put_off_is_not_said_to_a_server_that_drains() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (request_id, _answer) = rig.acquire(Patience::Forever);
    rig.sent();
    rig.hear(failed(request_id, UNAVAILABLE));
    rig.hear(FromServer::Draining(v1::SessionDraining::default()));
    rig.pass_seconds(1);
    assert!(rig.sent().is_empty());
}

#[test]
fn an_acquire_that_is_put_off_goes_along_when_the_session_resumes() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (request_id, _answer) = rig.acquire(Patience::Forever);
    rig.sent();
    rig.hear(failed(request_id, UNAVAILABLE));
    rig.cut();
    rig.attach();
    assert_eq!(rig.resume().pending_request_ids, [request_id]);
    rig.resumed(Vec::new());
    assert!(matches!(rig.sent()[..], [ToServer::Acquire(_)]));
    rig.pass_seconds(2);
    assert!(rig.sent().is_empty(), "once");
}

#[test]
fn a_release_that_the_store_has_not_seen_is_done_for_the_client() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let guard = rig.hold(1);
    let mut answer = rig.release(guard);
    let request_id = match &rig.sent()[..] {
        [ToServer::Release(release)] => release.request_id,
        other => panic!("{other:?}"),
    };
    rig.hear(failed(request_id, UNAVAILABLE));
    assert!(answer.try_recv().unwrap().is_ok());
    rig.cut();
    rig.attach();
    assert!(rig.resume().holds.is_empty());
}

#[test]
fn a_short_promise_is_asked_for_often() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let guard = rig.hold(1);
    rig.pass_seconds(3);
    let mut sequence = ping_of(&rig.sent());
    for (valid_for, pause) in [(600, 200), (60, 50), (0, 50)] {
        let (sent_at, before) = (rig.now, guard.hold().valid_until());
        rig.pong_for(sequence, Duration::from_millis(valid_for));
        assert_eq!(guard.hold().valid_until(), before, "what was promised stands");
        let expected = if valid_for > 0 { HoldState::Held } else { HoldState::AtRisk };
        assert_eq!(rig.state_of(&guard), expected);
        while rig.state.messages.is_empty() {
            rig.pass(Duration::from_millis(1));
        }
        assert_eq!(rig.now.since(sent_at).as_millis(), pause);
        sequence = ping_of(&rig.sent());
    }
    rig.pong(sequence);
    assert_eq!(rig.state_of(&guard), HoldState::Held);
}

#[test]
fn a_server_without_its_store_loses_the_holds_and_keeps_the_session() {
    for told in [true, false] {
        let mut rig = Rig::open(OnDisconnect::Release);
        let guard = rig.hold(1);
        let deadline = guard.hold().valid_until();
        let (waiting, mut answer) = rig.acquire(Patience::Forever);
        rig.sent();
        let mut releases = 0;
        while rig.now <= after(deadline, 30) {
            rig.pass(Duration::from_millis(10));
            if told && rig.now == after(rig.started, 8) {
                rig.hear(FromServer::Lost(lost(1, WireLoss::BackendLost)));
            }
            for message in rig.sent() {
                match message {
                    ToServer::Ping(ping) => rig.pong_for(ping.sequence, Duration::ZERO),
                    ToServer::Release(release) => releases += usize::from(release.hold_id == hold_id(1)),
                    other => panic!("{other:?}"),
                }
            }
        }
        let expected = if told { LossReason::BackendLost } else { LossReason::Expired };
        // It is held for nobody: if the server is not the one that says so, it has to be told.
        assert_eq!((rig.loss_of(&guard), releases), (expected, usize::from(!told)));
        assert!(rig.switches.is_empty() && rig.orders().is_empty() && answer.try_recv().is_err());
        // The store is back. A grant that comes before a promise waits for one.
        rig.grant(waiting, 2, 1);
        assert!(answer.try_recv().is_err());
        while rig.state.messages.is_empty() {
            rig.pass(Duration::from_millis(1));
        }
        let sequence = ping_of(&rig.sent());
        rig.pong(sequence);
        let next = answer.try_recv().unwrap().unwrap();
        assert_eq!((rig.state_of(&next), next.hold().valid_until()), (HoldState::Held, after(rig.now, 9)));
        assert_eq!(rig.loss_of(&guard), expected);
    }
}

#[test]
fn a_session_outlives_the_promise_for_its_holds_also_without_a_stream() {
    let mut rig = Rig::new(OnDisconnect::Keep);
    rig.attach();
    rig.sent();
    rig.hear(FromServer::Opened(v1::SessionOpened {
        session_id: "s".to_owned(),
        resume_secret: "secret".to_owned(),
        session_timeout: VALID_FOR,
        valid_for: Some(prost_types::Duration { seconds: 4, nanos: 0 }),
    }));
    let guard = rig.hold(1);
    let (waiting, _answer) = rig.acquire(Patience::Forever);
    rig.cut();
    rig.pass_seconds(5);
    rig.orders();
    rig.cut();
    assert_eq!(rig.loss_of(&guard), LossReason::Expired);
    rig.attach();
    let resume = rig.resume();
    assert_eq!((resume.holds.len(), &resume.pending_request_ids[..]), (0, &[waiting][..]));
    rig.resumed(Vec::new());
    rig.sent();
    let next = rig.hold(2);
    assert_eq!((rig.state_of(&next), rig.loss_of(&guard)), (HoldState::Held, LossReason::Expired));
    // And ends when the server may have ended it.
    rig.cut();
    rig.pass_seconds(10);
    rig.orders();
    rig.cut();
    rig.attach();
    assert!(matches!(rig.sent()[..], [ToServer::Open(_)]));
}
