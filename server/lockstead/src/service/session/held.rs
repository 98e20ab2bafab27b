//! Since when a session has its holds, for whoever wants to know how long holds last.

use std::collections::HashMap;

use lockstead_core::{HoldId, Scope, Time};

use crate::telemetry::Metrics;

/// The holds that were granted here. Of those that came with the session from another server nobody here knows since when
/// they are held.
#[derive(Debug, Default)]
pub(super) struct Held(HashMap<HoldId, Since>);

#[derive(Debug)]
struct Since {
    scope: Scope,
    at: Time,
    /// The acquire that was granted.
    request: u64,
}

impl Held {
    /// It was granted just now. A hold that is re-entered began with its first entry.
    pub(super) fn granted(&mut self, hold: HoldId, scope: Scope, request: u64, at: Time) {
        self.0.entry(hold).or_insert(Since { scope, at, request });
    }

    /// It has ended.
    pub(super) fn ended(&mut self, hold: HoldId, metrics: &Metrics) {
        if let Some(since) = self.0.remove(&hold) {
            since.end(metrics);
        }
    }

    /// Its client takes an acquire back that had been granted. Returns where.
    pub(super) fn given_back(&mut self, request: u64, metrics: &Metrics) -> Option<Scope> {
        let (hold, scope) =
            self.0.iter().find(|(_, since)| since.request == request).map(|(hold, it)| (*hold, it.scope))?;
        self.ended(hold, metrics);
        Some(scope)
    }

    /// Only these go on.
    pub(super) fn keep(&mut self, go_on: impl Fn(&HoldId) -> bool, metrics: &Metrics) {
        self.0.extract_if(|hold, _| !go_on(hold)).for_each(|(_, since)| since.end(metrics));
    }

    /// They go on elsewhere.
    pub(super) fn leave(&mut self) {
        self.0.clear();
    }
}

impl Since {
    fn end(self, metrics: &Metrics) {
        metrics.held(self.scope, lockstead_clock::time().since(self.at));
    }
}
