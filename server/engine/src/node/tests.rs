//! What the thread of an engine does beside its jobs, however many of those there are.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockstead_core::{EndReason, Event, Metadata, Mode, Name, Owner, Party, SessionId};
use tempfile::TempDir;

use super::*;

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

struct Told(Mutex<Sender<Event>>);

impl Listener for Told {
    fn on_events(&self, events: Vec<Event>) {
        let told = self.0.lock().unwrap();
        for event in events {
            // The test may be over.
            _ = told.send(event);
        }
    }
}

fn start(directory: &TempDir) -> (NodeEngine, Receiver<Event>) {
    let (told, events) = channel();
    let settings = NodeSettings { directory: directory.path().to_owned(), family: LockFamily::Flock };
    let engine = NodeEngine::start(&settings, SharedKey::from_bytes([0; 32]), Told(Mutex::new(told))).unwrap();
    (engine, events)
}

fn ask(hold: u128, name: &str, party: Party) -> Acquire {
    Acquire {
        hold: HoldId::from_bits(hold),
        name: Name::parse(name).unwrap(),
        claim: Claim::Lock(Mode::Exclusive),
        party,
        owner: Owner::default(),
        metadata: Metadata::default(),
        queue: true,
    }
}

fn session(request: u64) -> Party {
    Party::Session { session: SessionId::from_bits(1), request, owner_key: None }
}

/// Work that never ends: whenever a piece of it is done, there is another.
fn never_pauses(jobs: Sender<Job>, over: Arc<AtomicBool>) -> Job {
    Box::new(move |_| {
        if !over.load(Ordering::SeqCst) {
            let again = never_pauses(jobs.clone(), over);
            _ = jobs.send(again);
        }
    })
}

#[tokio::test]
async fn a_load_that_never_pauses_keeps_nothing_else_from_being_done() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (engine, events) = start(&directory);
    let others = File::create(path("others.lock")).unwrap();
    others.lock().unwrap();
    assert!(matches!(engine.acquire(ask(2, "others", session(1))).await, Ok(Acquired::Queued { .. })));
    assert!(matches!(engine.acquire(ask(4, "gone", session(2))).await, Ok(Acquired::Granted(_))));
    let lease = Party::Lease { ttl: SHORT, request: None };
    assert!(matches!(engine.acquire(ask(6, "lease", lease)).await, Ok(Acquired::Granted(_))));

    let over = Arc::new(AtomicBool::new(false));
    let jobs = engine.jobs.clone().unwrap();
    jobs.send(never_pauses(jobs.clone(), over.clone())).unwrap();
    engine.status.ring();
    // Found out by looking, by a watch, and by the clock.
    others.unlock().unwrap();
    std::fs::remove_file(path("gone.lock")).unwrap();
    let mut missing = vec!["granted", "lost", "expired"];
    while !missing.is_empty() {
        let event = events.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            over.store(true, Ordering::SeqCst);
            panic!("never told: {missing:?}")
        });
        let told = match event {
            Event::Ended { reason: EndReason::BackendLost, .. } => "lost",
            Event::Ended { reason: EndReason::Expired, .. } => "expired",
            Event::Granted { grant, .. } if grant.hold == HoldId::from_bits(2) => "granted",
            _ => continue,
        };
        missing.retain(|what| *what != told);
    }
    assert_eq!(engine.readiness(), Readiness::Ready);
    over.store(true, Ordering::SeqCst);
}
