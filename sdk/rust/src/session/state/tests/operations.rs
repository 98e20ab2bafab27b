//! Acquires and releases, and what happens to them when a stream breaks.

use super::*;

#[test]
fn waiting_acquires_are_asked_again_after_an_expiry_with_what_is_left_of_their_wait() {
    let mut rig = Rig::open(OnDisconnect::Release);
    let (_, _patient) = rig.acquire(Patience::Forever);
    let (_, _hasty) = rig.acquire(Patience::Until(rig.now.saturating_add(Duration::from_secs(30))));
    rig.sent();
    rig.pass_seconds(10);
    rig.attach();
    rig.sent();
    let left = rig.started.saturating_add(Duration::from_secs(30)).since(rig.now);
    rig.opened();
    let waits: Vec<_> = rig.sent().iter().map(wait_of).collect();
    assert_eq!(waits, [Some(Duration::MAX), Some(left)]);
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
fn a_grant_that_is_told_twice_stands() {
    let mut rig = Rig::open(OnDisconnect::Keep);
    let (request_id, mut answer) = rig.acquire(Patience::Forever);
    rig.sent();
    rig.grant(request_id, 1, 1);
    let guard = answer.try_recv().unwrap().unwrap();
    rig.grant(request_id, 1, 1);
    assert!(rig.sent().is_empty(), "a cancel would give the guard's hold away");
    assert_eq!(rig.state_of(&guard), HoldState::Held);
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
    let [first, second, third] = [(); 3].map(|()| rig.enter(1));
    drop(first);
    rig.run_commands();
    assert!(matches!(&rig.sent()[..], [ToServer::Release(_)]));
    rig.cut();
    rig.attach();
    assert_eq!(resume_of(&rig.sent()).holds[0].entries, 2);
    rig.resumed(Vec::new());
    rig.hear(FromServer::Lost(lost(1, WireLoss::Broken)));
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
