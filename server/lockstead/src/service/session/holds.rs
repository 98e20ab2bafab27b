//! What a session asks for and holds, for those who count: the metrics, and its caller's quota. The truth is the engine's.

use std::collections::HashMap;

use lockstead_core::{HoldId, Scope, Time};

use crate::access::{Counted, CountedWait, Identity};
use crate::telemetry::Metrics;

/// By the request that asks, and by what it got.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Only of callers that are counted.
    asked: HashMap<u64, Asked>,
    held: HashMap<HoldId, Held>,
}

#[derive(Debug)]
struct Asked {
    counted: Counted,
    /// Given up when the wait ends, however it does.
    _place: Option<CountedWait>,
}

#[derive(Debug)]
struct Held {
    scope: Scope,
    /// Of what came with the session from another server, nobody here knows since when it is held, or by which request.
    since: Option<Time>,
    request: Option<u64>,
    _counted: Option<Counted>,
}

impl Holds {
    /// Whether an acquire of this number is counted already.
    pub(super) fn asks(&self, request: u64) -> bool {
        self.asked.contains_key(&request)
    }

    /// An acquire is under way.
    pub(super) fn ask(&mut self, request: u64, counted: Option<Counted>, place: Option<CountedWait>) {
        if let Some(counted) = counted {
            self.asked.insert(request, Asked { counted, _place: place });
        }
    }

    /// An acquire got nothing, or gives back what it got.
    pub(super) fn over(&mut self, request: u64) {
        self.asked.remove(&request);
    }

    /// It was granted just now. A hold that is re-entered began with its first entry, and counts once.
    pub(super) fn granted(&mut self, hold: HoldId, scope: Scope, request: u64, at: Time) {
        let counted = self.asked.remove(&request).map(|asked| asked.counted);
        let new = Held { scope, since: Some(at), request: Some(request), _counted: counted };
        self.held.entry(hold).or_insert(new);
    }

    /// A hold has ended.
    pub(super) fn ended(&mut self, hold: HoldId, metrics: &Metrics) {
        if let Some(held) = self.held.remove(&hold) {
            held.end(metrics);
        }
    }

    /// Its client takes an acquire back that had been granted. Returns where.
    pub(super) fn given_back(&mut self, request: u64, metrics: &Metrics) -> Option<Scope> {
        let of_request = |held: &Held| held.request == Some(request);
        let (hold, scope) = self.held.iter().find(|(_, it)| of_request(it)).map(|(hold, it)| (*hold, it.scope))?;
        self.ended(hold, metrics);
        Some(scope)
    }

    /// After a resume the session has these, and asks for nothing but what it repeats.
    pub(super) fn resumed(&mut self, identity: &Identity, have: &HashMap<HoldId, Scope>, metrics: &Metrics) {
        self.asked.clear();
        self.held.extract_if(|hold, _| !have.contains_key(hold)).for_each(|(_, held)| held.end(metrics));
        for (hold, scope) in have.iter().filter(|(hold, _)| !self.held.contains_key(hold)).collect::<Vec<_>>() {
            if let Some(counted) = identity.count_held() {
                let held = Held { scope: *scope, since: None, request: None, _counted: Some(counted) };
                self.held.insert(*hold, held);
            }
        }
    }

    /// They end with the session.
    pub(super) fn end_all(&mut self, metrics: &Metrics) {
        self.asked.clear();
        self.held.drain().for_each(|(_, held)| held.end(metrics));
    }

    /// They go on elsewhere.
    pub(super) fn leave(&mut self) {
        self.asked.clear();
        self.held.clear();
    }
}

impl Held {
    fn end(self, metrics: &Metrics) {
        if let Some(since) = self.since {
            metrics.held(self.scope, lockstead_clock::time().since(since));
        }
    }
}
