//! The acquires under way, and how long each of them waits for a server that takes it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use lockstead_api::v1::ErrorReason;
use lockstead_api::{convert, v1};
use lockstead_core::{Time, Wait};

use super::operations::{Hears, Messages, say};
use super::route::Pauses;
use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::session::wire::ToServer;
use crate::session::{Acquire, Caller, Patience};

/// The shortest wait to ask for.
const WAIT_MIN: Duration = Duration::from_micros(1);

/// See the module.
pub(super) struct Acquires {
    /// How long a try-acquire waits for a server.
    connect_timeout: Duration,
    /// By request id. One that nobody waits for stays until the server's last word about it.
    by_request: HashMap<u64, UnderWay>,
    /// When to look at an acquire that is not said: it gives up, or is said again.
    looks: BinaryHeap<Reverse<(Time, u64)>>,
}

/// An acquire that is not answered yet.
struct UnderWay {
    acquire: Box<Acquire>,
    /// `None` while it is up to the server: it was said on the stream that is in use.
    unsaid: Option<Box<Unsaid>>,
    /// When it ends without a server that takes it; known from the first time on that it was without one.
    give_up: Option<Time>,
    /// How often the server put it off.
    put_off: u32,
}

/// What becomes of an acquire that no server has to answer.
#[derive(Default)]
struct Unsaid {
    /// When it is said again; `None`: as soon as there is a server that hears it.
    retry: Option<Time>,
    /// What to answer if it gives up, where that is known better than "no server".
    why: Option<Error>,
}

/// What is known about an acquire that the server has granted.
pub(super) enum Granted {
    /// Nothing: it is answered, or was never asked.
    Unknown,
    /// Its cancel is on the way, whose answer is the last word.
    Cancelled,
    /// It is answered by this.
    Awaited(v1::SessionAcquire, Caller),
}

impl Acquires {
    pub(super) fn new(connect_timeout: Duration) -> Self {
        Self { connect_timeout, by_request: HashMap::new(), looks: BinaryHeap::new() }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.by_request.len()
    }

    pub(super) fn add(&mut self, now: Time, acquire: Box<Acquire>, hears: Hears, messages: &mut Messages) {
        let request_id = acquire.request.request_id;
        let mut under_way = UnderWay { acquire, unsaid: None, give_up: None, put_off: 0 };
        if hears.acquires {
            messages.push(under_way.acquire.ask(now));
        } else {
            under_way.unsay(now, self.connect_timeout, &mut self.looks);
        }
        self.by_request.insert(request_id, under_way);
    }

    /// The caller went away. If the server may have heard of the acquire, it stays until the server's last word.
    pub(super) fn cancel(&mut self, request_id: u64, hears: Hears, messages: &mut Messages) {
        // If it is answered, its caller has dropped the guard, which is on its way as a release.
        let Some(under_way) = self.by_request.get_mut(&request_id) else { return };
        under_way.acquire.caller = None;
        if under_way.unsaid.is_none() {
            messages.push(say_cancel(request_id));
        } else if !hears.resume {
            self.by_request.remove(&request_id);
        }
    }

    pub(super) fn granted(&mut self, request_id: u64) -> Granted {
        match self.by_request.get(&request_id) {
            None => return Granted::Unknown,
            Some(under_way) if under_way.acquire.caller.is_none() => return Granted::Cancelled,
            Some(_) => {}
        }
        match self.by_request.remove(&request_id).map(|under_way| *under_way.acquire) {
            Some(Acquire { request, caller: Some(caller), .. }) => Granted::Awaited(request, caller),
            _ => Granted::Unknown,
        }
    }

    /// The server's last word about an acquire is no. False if it is none of these.
    pub(super) fn refuse(&mut self, request_id: u64, error: &Error) -> bool {
        let Some(mut under_way) = self.by_request.remove(&request_id) else { return false };
        under_way.acquire.answer(Err(error.clone()));
        true
    }

    /// The server can't take the acquire now, but it or another one will: says it again later, as long as its patience
    /// lasts. False if it is none of these.
    pub(super) fn put_off(&mut self, now: Time, request_id: u64, error: &Error, pauses: &mut Pauses) -> bool {
        let Some(under_way) = self.by_request.get_mut(&request_id) else { return false };
        let is_draining = matches!(error, Error::Refused { reason: ErrorReason::Draining, .. });
        // A server that leaves is like one that can't be reached, for which a try waits, too.
        let is_over = under_way.acquire.patience == Patience::Try && !is_draining;
        if is_over || under_way.acquire.caller.is_none() {
            return self.refuse(request_id, error);
        }
        under_way.put_off += 1;
        let retry = now.saturating_add(pauses.after(under_way.put_off));
        under_way.unsay(now, self.connect_timeout, &mut self.looks);
        if let Some(unsaid) = &mut under_way.unsaid {
            unsaid.retry = Some(retry);
            unsaid.why = Some(error.clone()).filter(|_| !is_draining);
            self.looks.push(Reverse((retry, request_id)));
        }
        true
    }

    /// Their request ids, in order of their arrival.
    pub(super) fn list(&self) -> Vec<u64> {
        let mut request_ids: Vec<u64> = self.by_request.keys().copied().collect();
        request_ids.sort_unstable();
        request_ids
    }

    /// A stream has begun: says them all, in order of their arrival.
    pub(super) fn say_all(&mut self, now: Time, messages: &mut Messages) {
        self.looks.clear();
        for request_id in self.list() {
            let Some(under_way) = self.by_request.get_mut(&request_id) else { continue };
            under_way.unsaid = None;
            messages.push(match under_way.acquire.caller {
                Some(_) => under_way.acquire.ask(now),
                None => say_cancel(request_id),
            });
        }
    }

    /// The stream that is in use hears acquires again: says those that waited for that.
    pub(super) fn say_held_back(&mut self, now: Time, messages: &mut Messages) {
        let waits = |under_way: &UnderWay| under_way.unsaid.as_ref().is_some_and(|unsaid| unsaid.retry.is_none());
        for request_id in self.list() {
            if let Some(under_way) = self.by_request.get_mut(&request_id).filter(|under_way| waits(under_way)) {
                under_way.unsaid = None;
                messages.push(under_way.acquire.ask(now));
            }
        }
    }

    /// The stream is gone, and with it whatever was said on it.
    pub(super) fn unsay_all(&mut self, now: Time) {
        for under_way in self.by_request.values_mut() {
            under_way.unsay(now, self.connect_timeout, &mut self.looks);
        }
    }

    /// No resume is under way any more: forgets those that nobody waits for and no server has to answer.
    pub(super) fn forget_cancelled(&mut self) {
        self.by_request.retain(|_, under_way| under_way.acquire.caller.is_some() || under_way.unsaid.is_none());
    }

    pub(super) fn next_look(&self) -> Option<Time> {
        self.looks.peek().map(|Reverse((time, _))| *time)
    }

    /// Answers those that have waited long enough for a server, and says again what was put off until now.
    pub(super) fn on_time(
        &mut self,
        now: Time,
        hears: Hears,
        messages: &mut Messages,
        unavailable: impl Fn() -> Error,
    ) {
        while let Some(Reverse((time, request_id))) = self.looks.peek().copied()
            && time <= now
        {
            self.looks.pop();
            let Some(under_way) = self.by_request.get_mut(&request_id) else { continue };
            let Some(unsaid) = &mut under_way.unsaid else { continue };
            if under_way.give_up.is_some_and(|give_up| give_up <= now) {
                let why = unsaid.why.take();
                let is_try = under_way.acquire.patience == Patience::Try;
                let error = why.unwrap_or_else(|| if is_try { unavailable() } else { Error::wait_is_over() });
                under_way.acquire.answer(Err(error));
                // One that the resume under way has listed stays until the server can be told that nobody waits for it.
                if !hears.resume {
                    self.by_request.remove(&request_id);
                }
            } else if unsaid.retry.is_some_and(|retry| retry <= now) {
                unsaid.retry = None;
                if hears.acquires {
                    under_way.unsaid = None;
                    messages.push(under_way.acquire.ask(now));
                }
            }
        }
    }

    /// No server wants to hear of them.
    pub(super) fn refuse_all(&mut self, error: &Error) {
        self.by_request.drain().for_each(|(_, mut under_way)| under_way.acquire.answer(Err(error.clone())));
        self.looks.clear();
    }
}

impl UnderWay {
    /// No server has to answer it now.
    fn unsay(&mut self, now: Time, connect_timeout: Duration, looks: &mut BinaryHeap<Reverse<(Time, u64)>>) {
        if self.unsaid.is_none() {
            self.unsaid = Some(Box::default());
            self.give_up = self.give_up.or_else(|| self.acquire.give_up(now, connect_timeout));
            looks.extend(self.give_up.map(|give_up| Reverse((give_up, self.acquire.request.request_id))));
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

    /// When it ends if there is no server for it from `now` on.
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

pub(super) fn say_cancel(request_id: u64) -> v1::SessionRequest {
    say(ToServer::Cancel(v1::SessionCancel { request_id }))
}
