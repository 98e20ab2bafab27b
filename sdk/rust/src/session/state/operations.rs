//! The operations under way and the holds they won.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockstead_api::{convert, v1};
use lockstead_core::{HoldId, Time, Wait};

use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::loss::{Loss, LossReason};
use crate::session::validity::Validity;
use crate::session::wire::{self, ToServer};
use crate::session::{Acquire, Hold, Patience, Release};

/// The shortest wait to ask for.
const WAIT_MIN: Duration = Duration::from_micros(1);

type Messages = Vec<v1::SessionRequest>;

/// See the module. `up` in its methods: whether the server hears what is put into `messages`.
pub(super) struct Operations {
    request_ids: Arc<AtomicU64>,
    /// How long a try-acquire waits for a server.
    connect_timeout: Duration,
    /// By request id. One that nobody waits for stays until the server's last word about it.
    acquires: HashMap<u64, Box<Acquire>>,
    /// By request id: releases whose callers wait for an answer, or that the server has not heard of yet.
    releases: HashMap<u64, Releasing>,
    holds: HashMap<HoldId, Held>,
    /// While there is no stream: when an acquire ends without one.
    give_ups: BinaryHeap<Reverse<(Time, u64)>>,
}

/// A release under way.
struct Releasing {
    release: Release,
    /// The resume under way leaves it out of its list, so with its answer it is done.
    in_resume: bool,
}

/// A hold of the session.
struct Held {
    hold: Arc<Hold>,
    /// How many guards there are of it: answered acquires less releases.
    entries: u32,
}

impl Operations {
    pub(super) fn new(request_ids: Arc<AtomicU64>, connect_timeout: Duration) -> Self {
        Self {
            request_ids,
            connect_timeout,
            acquires: HashMap::new(),
            releases: HashMap::new(),
            holds: HashMap::new(),
            give_ups: BinaryHeap::new(),
        }
    }

    pub(super) fn acquire(&mut self, now: Time, acquire: Box<Acquire>, up: bool, messages: &mut Messages) {
        let request_id = acquire.request.request_id;
        if up {
            messages.push(acquire.ask(now));
        } else if let Some(give_up) = acquire.give_up(now, self.connect_timeout) {
            self.give_ups.push(Reverse((give_up, request_id)));
        }
        self.acquires.insert(request_id, acquire);
    }

    /// The caller went away. If the server may have heard of the acquire, it stays until the server's last word.
    pub(super) fn cancel(&mut self, request_id: u64, up: bool, resuming: bool, messages: &mut Messages) {
        // If it is answered, its caller has dropped the guard, which is on its way as a release.
        let Some(acquire) = self.acquires.get_mut(&request_id) else { return };
        acquire.caller = None;
        if up {
            messages.push(say(ToServer::Cancel(v1::SessionCancel { request_id })));
        } else if !resuming {
            self.acquires.remove(&request_id);
        }
    }

    pub(super) fn release(&mut self, now: Time, release: Release, up: bool, messages: &mut Messages) {
        let id = release.hold.id;
        if let Some(loss) = release.hold.loss(now) {
            return release.answer(Err(loss.into()));
        }
        let Some(held) = self.holds.get_mut(&id) else { return release.answer(Ok(())) };
        held.entries -= 1;
        if held.entries == 0 {
            self.holds.remove(&id);
        }
        let request_id = self.request_ids.fetch_add(1, Ordering::Relaxed);
        if up {
            messages.push(say_release(request_id, id));
        }
        if !up || release.answer.is_some() {
            self.releases.insert(request_id, Releasing { release, in_resume: false });
        }
    }

    pub(super) fn acquired(
        &mut self,
        acquired: &v1::SessionAcquired,
        validity: &Arc<Validity>,
        messages: &mut Messages,
    ) -> std::result::Result<(), String> {
        let request_id = acquired.request_id;
        let id = HoldId::parse(&acquired.hold_id).map_err(|invalid| invalid.message)?;
        let Some(acquire) = self.acquires.get(&request_id) else {
            if self.holds.contains_key(&id) {
                // Told twice: it has its guard, whose hold a cancel would give away.
                return Ok(());
            }
            // Nobody asked for this, or nobody does any more.
            messages.push(say(ToServer::Cancel(v1::SessionCancel { request_id })));
            return Ok(());
        };
        if acquire.caller.is_none() {
            // Its cancel is on the way; the last word is yet to come.
            return Ok(());
        }
        let Some(acquire) = self.acquires.remove(&request_id) else { return Ok(()) };
        let Acquire { request, caller: Some(caller), .. } = *acquire else { return Ok(()) };
        let held = self.holds.entry(id).or_insert_with(|| {
            let resource = wire::resource_of(request.claim.unwrap_or_default());
            Held { hold: Arc::new(Hold::new(id, resource, acquired.fencing_token, Arc::clone(validity))), entries: 0 }
        });
        held.entries += 1;
        // If the caller has just gone away, the guard comes back and gives the hold back as it is dropped.
        let _ = caller.answer.send(Ok(Guard::new(Arc::clone(&held.hold), caller.handle)));
        Ok(())
    }

    /// The server's last word about an operation is no.
    pub(super) fn refused(&mut self, request_id: u64, error: Error) {
        if let Some(mut acquire) = self.acquires.remove(&request_id) {
            acquire.answer(Err(error));
        } else if let Some(releasing) = self.releases.remove(&request_id) {
            releasing.release.answer(Err(error));
        }
    }

    pub(super) fn released(&mut self, request_id: u64) {
        if let Some(releasing) = self.releases.remove(&request_id) {
            releasing.release.answer(Ok(()));
        }
    }

    pub(super) fn lost(&mut self, now: Time, lost: &v1::HoldLost) -> std::result::Result<(), String> {
        let id = HoldId::parse(&lost.hold_id).map_err(|invalid| invalid.message)?;
        if let Some(held) = self.holds.remove(&id) {
            let reason = LossReason::from_wire(lost.reason);
            held.hold.lose(now, &Loss::new(reason, wire::shared(&lost.message), now));
        }
        Ok(())
    }

    /// For a resume: what is held. Releases that are not answered are left out, and so are done by it.
    pub(super) fn list_holds(&mut self) -> Vec<v1::HeldHold> {
        self.releases.values_mut().for_each(|releasing| releasing.in_resume = true);
        let holds = self.holds.values().map(|Held { hold, entries }| v1::HeldHold {
            hold_id: hold.id.reveal(),
            resource: Some(hold.resource.clone()),
            fencing_token: hold.token,
            entries: *entries,
        });
        holds.collect()
    }

    /// For a resume: the acquires that will be repeated.
    pub(super) fn list_pending(&self) -> Vec<u64> {
        let mut request_ids: Vec<u64> = self.acquires.keys().copied().collect();
        request_ids.sort_unstable();
        request_ids
    }

    /// The server has read the lists of the resume.
    pub(super) fn resumed(&mut self) {
        for (_, releasing) in self.releases.extract_if(|_, releasing| releasing.in_resume) {
            releasing.release.answer(Ok(()));
        }
    }

    /// The server hears us (again): tells it all that it must hear, acquires in order of their arrival.
    pub(super) fn attached(&mut self, now: Time, messages: &mut Messages) {
        self.give_ups.clear();
        for request_id in self.list_pending() {
            let Some(acquire) = self.acquires.get(&request_id) else { continue };
            messages.push(match acquire.caller {
                Some(_) => acquire.ask(now),
                None => say(ToServer::Cancel(v1::SessionCancel { request_id })),
            });
        }
        for (request_id, releasing) in &self.releases {
            messages.push(say_release(*request_id, releasing.release.hold.id));
        }
        self.releases.retain(|_, releasing| releasing.release.answer.is_some());
    }

    /// The server does not hear us any more: forgets what nobody waits for, and notes when the others give up.
    pub(super) fn detached(&mut self, now: Time) {
        self.releases.values_mut().for_each(|releasing| releasing.in_resume = false);
        self.acquires.retain(|_, acquire| acquire.caller.is_some());
        if self.give_ups.is_empty() {
            let give_ups = self.acquires.iter().filter_map(|(request_id, acquire)| {
                acquire.give_up(now, self.connect_timeout).map(|give_up| Reverse((give_up, *request_id)))
            });
            self.give_ups = give_ups.collect();
        }
    }

    pub(super) fn next_give_up(&self) -> Option<Time> {
        self.give_ups.peek().map(|Reverse((time, _))| *time)
    }

    /// Answers the acquires that have waited long enough for a server. One that the resume under way has listed stays
    /// until the server can be told that nobody waits for it any more.
    pub(super) fn give_up(&mut self, now: Time, resuming: bool, unavailable: impl Fn() -> Error) {
        while let Some(Reverse((time, request_id))) = self.give_ups.peek().copied()
            && time <= now
        {
            self.give_ups.pop();
            let Some(acquire) = self.acquires.get_mut(&request_id) else { continue };
            let error = if acquire.patience == Patience::Try { unavailable() } else { Error::wait_is_over() };
            acquire.answer(Err(error));
            if !resuming {
                self.acquires.remove(&request_id);
            }
        }
    }

    /// The session is over, and so is all that it had. Acquires wait for the next one.
    pub(super) fn session_over(&mut self, now: Time, loss: &Loss) {
        for (_, held) in self.holds.drain() {
            held.hold.lose(now, loss);
        }
        self.releases_done(&Ok(()));
    }

    /// Answers all releases.
    pub(super) fn releases_done(&mut self, outcome: &Result<()>) {
        self.releases.drain().for_each(|(_, releasing)| releasing.release.answer(outcome.clone()));
    }

    /// No server wants to hear of the acquires.
    pub(super) fn refuse_all(&mut self, error: &Error) {
        self.acquires.drain().for_each(|(_, mut acquire)| acquire.answer(Err(error.clone())));
        self.give_ups.clear();
    }

    /// Ends everything on this side.
    pub(super) fn close(&mut self, now: Time, loss: &Loss) {
        self.refuse_all(&Error::Closed);
        for (_, held) in self.holds.drain() {
            held.hold.lose(now, loss);
        }
    }
}

impl Acquire {
    /// As a message, with what is left of the wait.
    fn ask(&self, now: Time) -> v1::SessionRequest {
        let wait = match self.patience {
            Patience::Try => Wait::No,
            // Nothing left would be read as a try, and answered so.
            Patience::Until(time) => Wait::UpTo(time.since(now).max(WAIT_MIN)),
            Patience::Forever => Wait::Forever,
        };
        say(ToServer::Acquire(v1::SessionAcquire { wait: convert::wait_to_wire(wait), ..self.request.clone() }))
    }

    /// When it ends if there is no stream from `now` on.
    fn give_up(&self, now: Time, connect_timeout: Duration) -> Option<Time> {
        match self.patience {
            Patience::Try => Some(now.saturating_add(connect_timeout)),
            Patience::Until(time) => Some(time),
            Patience::Forever => None,
        }
    }

    /// Says the last word about it, if anybody listens.
    pub(super) fn answer(&mut self, answer: Result<Guard>) {
        if let Some(caller) = self.caller.take() {
            let _ = caller.answer.send(answer);
        }
    }
}

impl Release {
    fn answer(self, answer: Result<()>) {
        if let Some(caller) = self.answer {
            let _ = caller.send(answer);
        }
    }
}

fn say(message: ToServer) -> v1::SessionRequest {
    v1::SessionRequest { message: Some(message) }
}

fn say_release(request_id: u64, hold: HoldId) -> v1::SessionRequest {
    say(ToServer::Release(v1::SessionRelease { request_id, hold_id: hold.reveal() }))
}
