//! Until when a hold is believed in, and how it ends.

use super::*;

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
    assert!(matches!(&rig.sent()[..], [.., ToServer::Release(release)] if release.hold_id == hold_id(1)));
    // The session itself is well: what it gets from now on goes by the new promise.
    let next = rig.hold(2);
    assert_eq!((rig.state_of(&next), rig.loss_of(&guard)), (HoldState::Held, LossReason::Expired));
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
    rig.hear(FromServer::Lost(lost(1, WireLoss::BackendLost)));
    assert_eq!((rig.loss_of(&one), rig.state_of(&other)), (LossReason::BackendLost, HoldState::Held));
    rig.hear(FromServer::Ended(v1::SessionEnded {
        reason: WireLoss::ServerLost.into(),
        message: "drained".to_owned(),
    }));
    assert_eq!(rig.loss_of(&other), LossReason::ServerLost);
    assert_eq!(rig.loss_of(&one), LossReason::BackendLost);
    // The end of the stream is no news.
    rig.state.on_failure(rig.now, &refused(ErrorReason::Draining));
    rig.attach();
    assert!(matches!(rig.sent()[..], [ToServer::Open(_)]));
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
