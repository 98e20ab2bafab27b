//! A session with more than Redis does in one call: it is ended, moved and swept in pieces, and still as a whole.

use futures::future::join_all;
use lockstead_core::{Acquire, Acquired, Census, Event, HoldId, SessionId};
use lockstead_engine::RedisSettings;
use lockstead_tests::engines::{self, until_nothing_is_left};
use lockstead_tests::fixture::{EXCLUSIVE, Fixture, session_id};
use lockstead_tests::{RedisServer, eventually};

/// So many names are its own, and so many another session's, for which it waits.
const HELD: u64 = 1_000;
const AWAITED: u64 = 1_000;
/// For so many of its names the other session waits.
const WANTED: u64 = 100;

struct Crowded {
    _redis: RedisServer,
    /// Its server.
    a: Fixture,
    /// The server of the other session.
    b: Fixture,
    session: SessionId,
    other: SessionId,
    holds: Vec<HoldId>,
    others: Vec<HoldId>,
}

/// All in one partition, so that it is a lot for one.
async fn crowded() -> Crowded {
    let redis = RedisServer::start().await;
    let start = async || engines::start(RedisSettings { partitions: 1, ..engines::settings(&redis) }).await;
    let a = start().await;
    let other_engine = start().await;
    let b = a.beside(other_engine.engine, other_engine.events);
    let (session, other) = (session_id(), session_id());
    let holds = acquire_all(&a, (0..HELD).map(|at| a.ask(session, at, &format!("own/{at}"), EXCLUSIVE))).await;
    let others = acquire_all(&b, (0..AWAITED).map(|at| b.ask(other, at, &format!("other/{at}"), EXCLUSIVE))).await;
    assert!(holds.iter().chain(&others).all(|(_, is_granted)| *is_granted));
    let asks = (0..AWAITED).map(|at| a.ask(session, HELD + at, &format!("other/{at}"), EXCLUSIVE));
    assert!(acquire_all(&a, asks).await.iter().all(|(_, is_granted)| !is_granted));
    // Its own waiters come before the other session's, and must be passed when it ends.
    let asks = (0..WANTED).map(|at| a.ask(session, HELD + AWAITED + at, &format!("own/{at}"), EXCLUSIVE));
    assert!(acquire_all(&a, asks).await.iter().all(|(_, is_granted)| !is_granted));
    let asks = (0..WANTED).map(|at| b.ask(other, AWAITED + at, &format!("own/{at}"), EXCLUSIVE));
    assert!(acquire_all(&b, asks).await.iter().all(|(_, is_granted)| !is_granted));
    let ids = |holds: Vec<(HoldId, bool)>| holds.into_iter().map(|(hold, _)| hold).collect();
    Crowded { _redis: redis, a, b, session, other, holds: ids(holds), others: ids(others) }
}

async fn acquire_all(server: &Fixture, asks: impl Iterator<Item = Acquire>) -> Vec<(HoldId, bool)> {
    let answers = join_all(asks.map(|ask| server.engine.acquire(ask))).await;
    let hold = |answer| match answer {
        Ok(Acquired::Granted(grant)) => (grant.hold, true),
        Ok(Acquired::Queued { hold, .. }) => (hold, false),
        other => panic!("neither granted nor queued: {other:?}"),
    };
    answers.into_iter().map(hold).collect()
}

impl Crowded {
    /// The other session has been granted what it waited for, its holds are as they were, and nothing is left of the
    /// session.
    async fn assert_only_the_other_is_left(&self) {
        for at in 0..WANTED {
            self.b.events.granted(self.other, AWAITED + at).await;
        }
        let expected = usize::try_from(AWAITED + WANTED).unwrap();
        eventually("only the other's holds", async || self.b.all().await.len() == expected).await;
        let all = self.b.all().await;
        assert!(all.iter().all(|view| (view.holder_count, view.waiter_count) == (1, 0)));
        assert!(self.a.events.grants_to(self.session).is_empty(), "none of its own in passing");
        assert_eq!(self.b.end(self.other).await, expected);
        until_nothing_is_left(&self.b).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended() {
    let crowded = crowded().await;
    let all = usize::try_from(HELD + AWAITED + WANTED).unwrap();
    assert_eq!(crowded.a.end(crowded.session).await, all);
    assert_eq!(crowded.a.engine.census(), Census::default());
    crowded.assert_only_the_other_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swept() {
    let mut crowded = crowded().await;
    let survivor = crowded.b.clone();
    // What is left of the first server are its events.
    crowded.a = crowded.a.beside(survivor.engine, crowded.a.events.clone());
    crowded.assert_only_the_other_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved() {
    let Crowded { a, b, session, other, holds, others, .. } = &crowded().await;
    let claims: Vec<_> = holds.iter().map(|hold| (*hold, 1)).collect();
    let pending: Vec<_> = (HELD..HELD + AWAITED).collect();
    assert!(b.resume(*session, &claims, &pending).await.is_empty());
    a.events.moved(*session).await;
    assert_eq!(a.events.so_far(), [Event::Moved { session: *session }]);
    assert_eq!(a.engine.census(), Census::default());
    // Those of its waiters that it does not repeat are gone.
    let all = usize::try_from(HELD + 2 * AWAITED + WANTED).unwrap();
    assert_eq!(b.engine.census().holds, all);
    for (request, hold) in (HELD..).zip(others) {
        b.release(*hold, *other).await;
        b.events.granted(*session, request).await;
    }
    for (request, hold) in (AWAITED..).zip(&holds[..usize::try_from(WANTED).unwrap()]) {
        b.release(*hold, *session).await;
        b.events.granted(*other, request).await;
    }
    b.end(*session).await;
    b.end(*other).await;
    until_nothing_is_left(a).await;
}
