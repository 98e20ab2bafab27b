//! What is said while the session moves to another server, and crosses on the way.

use super::moves::{Move, superseded};
use super::*;

fn release_of(messages: &[ToServer]) -> u64 {
    match messages {
        [ToServer::Release(release)] => release.request_id,
        other => panic!("{other:?}"),
    }
}

/// What the old server says after the lists were made may be in them or not: the next one has the last word.
#[test]
fn a_grant_that_crosses_the_resume_is_told_again_by_the_next_server() {
    let (Move { mut rig, waiting, mut answer, .. }, _) = Move::resuming(OnDisconnect::Keep);
    rig.grant(waiting, 3, 1);
    assert!(answer.try_recv().is_err());
    rig.resumed(Vec::new());
    assert!(matches!(&rig.sent()[..], [ToServer::Acquire(again)] if again.request_id == waiting));
    rig.grant(waiting, 3, 1);
    let guard = answer.try_recv().unwrap().unwrap();
    assert_eq!(rig.state_of(&guard), HoldState::Held);
    assert!(rig.sent().is_empty());
}

#[test]
fn a_grant_that_crosses_a_resume_in_vain_counts() {
    let (Move { mut rig, waiting, mut answer, .. }, _) = Move::resuming(OnDisconnect::Keep);
    let (tried, mut try_answer) = rig.acquire(Patience::Try);
    rig.grant(waiting, 3, 1);
    rig.fail_next(&refused(ErrorReason::Draining));
    let guard = answer.try_recv().unwrap().unwrap();
    assert_eq!(rig.state_of(&guard), HoldState::Held);
    assert!(try_answer.try_recv().is_err() && rig.sent().is_empty(), "the server takes no acquires");
    rig.attach();
    let resume = rig.resume();
    assert_eq!((resume.holds.len(), resume.pending_request_ids), (3, vec![tried]));
}

#[test]
fn a_refusal_that_crosses_the_resume_is_told_again() {
    let (Move { mut rig, waiting, mut answer, .. }, _) = Move::resuming(OnDisconnect::Keep);
    rig.hear(FromServer::NotAcquired(v1::SessionNotAcquired { request_id: waiting, why: None }));
    rig.resumed(Vec::new());
    // Else the next server would keep its place for ever.
    assert!(matches!(&rig.sent()[..], [ToServer::Acquire(again)] if again.request_id == waiting));
    rig.pass_seconds(3);
    let sequence = ping_of(&rig.sent());
    rig.pong(sequence);
    assert!(answer.try_recv().is_err());
}

#[test]
fn a_release_during_the_resume_is_heard_at_once_and_told_to_the_next_server() {
    // Whether the old server gave the hold back before the next one took the session is not known.
    for next_one_finds in [None, Some(ErrorReason::NotHolder), Some(ErrorReason::HoldNotFound)] {
        let (Move { mut rig, other, waiting, .. }, _) = Move::resuming(OnDisconnect::Release);
        let mut answer = rig.release(other);
        let said = release_of(&rig.sent());
        rig.hear(released(said, 0));
        let lost_there = next_one_finds.map(|_| lost(2, WireLoss::ServerLost));
        rig.resumed(lost_there.into_iter().collect());
        let said = rig.sent();
        let [ToServer::Acquire(again), ToServer::Release(release)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((again.request_id, &release.hold_id), (waiting, &hold_id(2)));
        assert!(answer.try_recv().is_err());
        rig.hear(match next_one_finds {
            None => released(release.request_id, 0),
            Some(reason) => failed(release.request_id, reason),
        });
        assert!(answer.try_recv().unwrap().is_ok());
    }
}

#[test]
fn a_guard_that_is_dropped_during_the_resume_is_not_held_for_nobody() {
    let (Move { mut rig, kept, other, .. }, _) = Move::resuming(OnDisconnect::Keep);
    drop((kept, other));
    rig.run_commands();
    assert!(matches!(&rig.sent()[..], [ToServer::Release(_), ToServer::Release(_)]));
    rig.resumed(Vec::new());
    assert!(matches!(&rig.sent()[..], [ToServer::Acquire(_), ToServer::Release(_), ToServer::Release(_)]));
}

#[test]
fn releases_around_the_resume_are_done_also_if_the_old_stream_ends_first() {
    for end in [superseded(), broken()] {
        let Move { mut rig, kept, other, .. } = Move::new(OnDisconnect::Keep);
        let mut before = rig.release(kept);
        rig.attach();
        assert_eq!(rig.resume().holds.len(), 1);
        let mut meanwhile = rig.release(other);
        rig.sent();
        rig.fail(&end);
        rig.resumed(Vec::new());
        assert!(before.try_recv().unwrap().is_ok(), "left out of the list");
        let said = rig.sent();
        let [ToServer::Acquire(_), ToServer::Release(release)] = &said[..] else { panic!("{said:?}") };
        // The old server had heard it, and was the first.
        rig.hear(failed(release.request_id, ErrorReason::NotHolder));
        assert!(meanwhile.try_recv().unwrap().is_ok());
    }
}

#[test]
fn a_release_during_a_resume_in_vain_is_said_once() {
    let (Move { mut rig, other, .. }, _) = Move::resuming(OnDisconnect::Release);
    let mut answer = rig.release(other);
    let said = release_of(&rig.sent());
    rig.hear(released(said, 0));
    assert!(answer.try_recv().is_err());
    rig.fail_next(&refused(ErrorReason::BackendUnavailable));
    assert!(answer.try_recv().unwrap().is_ok() && rig.sent().is_empty());
}

/// Both servers count the entries. Told to both, one release would be two, or one, depending on which came first.
#[test]
fn an_entry_of_a_re_entrant_hold_is_given_back_where_the_session_turns_out_to_be() {
    for resumed in [true, false] {
        let mut rig = Rig::open(OnDisconnect::Keep);
        let [first, second, third] = [(); 3].map(|()| rig.enter(1));
        rig.hear(FromServer::Draining(v1::SessionDraining::default()));
        rig.attach();
        assert_eq!(rig.resume().holds[0].entries, 3);
        let mut answer = rig.release(first);
        drop(second);
        rig.run_commands();
        assert!(rig.sent().is_empty(), "not yet");
        if resumed {
            rig.resumed(Vec::new());
        } else {
            rig.fail_next(&refused(ErrorReason::Draining));
        }
        let said = rig.sent();
        assert!(matches!(&said[..], [ToServer::Release(_), ToServer::Release(_)]), "{said:?}");
        assert!(answer.try_recv().is_err());
        for message in &said {
            let ToServer::Release(release) = message else { continue };
            rig.hear(released(release.request_id, 1));
        }
        assert!(answer.try_recv().unwrap().is_ok());
        assert_eq!(rig.state_of(&third), HoldState::Held);
        if !resumed {
            rig.attach();
            assert_eq!(rig.resume().holds[0].entries, 1);
        }
    }
}

#[test]
fn a_release_before_the_resume_is_left_out_and_answered_by_it() {
    let Move { mut rig, other, .. } = Move::new(OnDisconnect::Release);
    let mut answer = rig.release(other);
    rig.sent();
    rig.attach();
    assert_eq!(rig.resume().holds.len(), 1);
    rig.resumed(Vec::new());
    assert!(answer.try_recv().unwrap().is_ok());
    assert!(matches!(&rig.sent()[..], [ToServer::Acquire(_)]));
}

#[test]
fn a_hold_that_is_lost_during_the_resume_is_not_kept_for_nobody() {
    let (Move { mut rig, kept, other, .. }, _) = Move::resuming(OnDisconnect::Keep);
    rig.hear(FromServer::Lost(lost(1, WireLoss::BackendLost)));
    assert_eq!((rig.loss_of(&kept), rig.state_of(&other)), (LossReason::BackendLost, HoldState::Held));
    assert!(rig.sent().is_empty(), "this server knows");
    rig.resumed(Vec::new());
    let said = rig.sent();
    assert!(matches!(&said[..], [ToServer::Acquire(_), ToServer::Release(gone)] if gone.hold_id == hold_id(1)));
    assert_eq!(rig.loss_of(&kept), LossReason::BackendLost);
}

#[test]
fn an_acquire_that_is_cancelled_during_the_move_holds_nothing() {
    // Said to the old server, held back until the next, and both again while the resume is under way.
    for resuming in [false, true] {
        let Move { mut rig, waiting, .. } = Move::new(OnDisconnect::Keep);
        if resuming {
            rig.attach();
            rig.resume();
        }
        let (late, _) = rig.acquire(Patience::Forever);
        rig.state.on_command(rig.now, Command::Cancel(waiting));
        rig.state.on_command(rig.now, Command::Cancel(late));
        let said = rig.sent();
        assert!(matches!(&said[..], [ToServer::Cancel(cancel)] if cancel.request_id == waiting), "{said:?}");
        if !resuming {
            rig.attach();
            assert_eq!(rig.resume().pending_request_ids, [waiting], "the last word is yet to come");
        }
        rig.resumed(Vec::new());
        let said = rig.sent();
        let is_cancel = |message: &ToServer| matches!(message, ToServer::Cancel(_));
        assert!(said.iter().all(is_cancel) && said.len() == 1 + usize::from(resuming), "{said:?}");
    }
}
