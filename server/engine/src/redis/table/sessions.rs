//! Sessions as a whole: where they are known, how they come and go.

use std::collections::{BTreeSet, HashMap};

use lockstead_core::limits::ENTRIES_PER_HOLD_MAX;
use lockstead_core::{EndReason, HoldId, Party, SessionId};

use super::{Hold, Index, State, Table};

/// A session of this server.
#[derive(Debug, Default)]
pub(super) struct Session {
    attempt: u32,
    /// Where Redis knows it.
    pub(super) partitions: BTreeSet<Index>,
    /// Where it has yet to be said what it has.
    arriving: BTreeSet<Index>,
    /// Each acquire's hold, by the session's number for it.
    pub(super) requests: HashMap<u64, HoldId>,
}

/// Where a session has gone: to this server, by this count of its client's resumes.
#[derive(Clone, Debug)]
pub(in crate::redis) struct Move {
    pub(in crate::redis) attempt: u32,
    pub(in crate::redis) server: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Departed {
    to: Move,
    /// Where that has yet to be said.
    partitions: BTreeSet<Index>,
}

impl Table {
    pub(in crate::redis) fn knows_session(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    pub(in crate::redis) fn attempt(&self, session: SessionId) -> u32 {
        self.sessions.get(&session).map_or(0, |session| session.attempt)
    }

    pub(in crate::redis) fn partitions(&self, session: SessionId) -> Vec<Index> {
        self.sessions.get(&session).map_or_else(Vec::new, |session| session.partitions.iter().copied().collect())
    }

    /// Notes that a session is resumed here. It may have been on another server, even if it is known, so what it has in each
    /// partition has yet to be said.
    pub(in crate::redis) fn expect(&mut self, session: SessionId, attempt: u32, partitions: Index) {
        let session = self.sessions.entry(session).or_default();
        session.attempt = attempt;
        session.arriving.extend(0..partitions);
        session.partitions.extend(0..partitions);
    }

    /// Forgets what a session had in this partition, but for acquires that are under way.
    pub(in crate::redis) fn forget_in(&mut self, session: SessionId, partition: Index) {
        for id in self.of_session(session) {
            let is_known = |hold: &Hold| hold.partition == partition && !matches!(hold.state, State::Asked(_));
            if self.holds.get(&id).is_some_and(is_known) {
                self.remove(id, None);
            }
        }
    }

    /// Whether a session has yet to come here in this partition.
    pub(in crate::redis) fn expects(&self, session: SessionId, partition: Index) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.arriving.contains(&partition))
    }

    /// Notes that all a session has in this partition is here.
    pub(in crate::redis) fn has_arrived(&mut self, session: SessionId, partition: Index) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.arriving.remove(&partition);
        }
    }

    /// Forgets a session that another server has taken in, and has said so in one partition. Returns the others in which Redis
    /// may still show something of it.
    pub(in crate::redis) fn session_leaves(&mut self, session: SessionId, to: &Move, said_in: Index) -> Vec<Index> {
        let mut partitions =
            self.sessions.get(&session).map_or_else(BTreeSet::new, |session| session.partitions.clone());
        partitions.remove(&said_in);
        self.remove_session(session, None);
        let others = partitions.iter().copied().collect();
        self.departed.insert(session, Departed { to: to.clone(), partitions });
        self.has_left(session, said_in);
        others
    }

    /// Where a session has gone of which Redis may still show something in this partition.
    pub(in crate::redis) fn gone_to(&self, session: SessionId, partition: Index) -> Option<&Move> {
        self.departed
            .get(&session)
            .filter(|departed| departed.partitions.contains(&partition))
            .map(|departed| &departed.to)
    }

    /// Notes that Redis shows nothing of a session in this partition any more.
    pub(in crate::redis) fn has_left(&mut self, session: SessionId, partition: Index) {
        let Some(departed) = self.departed.get_mut(&session) else { return };
        departed.partitions.remove(&partition);
        if departed.partitions.is_empty() {
            self.departed.remove(&session);
        }
    }

    /// The holds and waiters of a session, each once.
    pub(in crate::redis) fn of_session(&self, session: SessionId) -> BTreeSet<HoldId> {
        self.sessions.get(&session).into_iter().flat_map(|session| session.requests.values()).copied().collect()
    }

    /// Forgets a session with all it has. Returns how much that was; `None` if it was not known.
    pub(in crate::redis) fn remove_session(&mut self, session: SessionId, ended: Option<EndReason>) -> Option<usize> {
        let ids = self.of_session(session);
        for id in &ids {
            self.remove(*id, ended);
        }
        self.sessions.remove(&session).map(|_| ids.len())
    }

    /// Cuts a hold down to what its client claims of it: `entries` whose acquires were answered, and those acquires that it
    /// is about to repeat. Returns whether anything is left.
    pub(in crate::redis) fn reconcile(&mut self, id: HoldId, claimed: u32, pending: &BTreeSet<u64>) -> bool {
        let Some(hold) = self.holds.get_mut(&id) else { return false };
        let Party::Session { session, request, .. } = &hold.party else { return false };
        let (session, request) = (*session, *request);
        let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
        let State::Held { entries, .. } = &mut hold.state else { return pending.contains(&request) };
        if std::mem::take(&mut hold.is_adopted) {
            // Its own acquire may have been answered or not; of the other entries only their number is known, so they
            // get numbers that no client uses.
            let answered = usize::from(!pending.contains(&request));
            let more = claimed.min(ENTRIES_PER_HOLD_MAX).saturating_sub(answered);
            entries.extend((0..more as u64).map(|nth| u64::MAX - nth));
        }
        let (repeated, answered): (Vec<u64>, Vec<u64>) = entries.iter().partition(|entry| pending.contains(entry));
        let kept = answered.len().min(claimed);
        if repeated.is_empty() && kept == 0 {
            return false;
        }
        *entries = answered[..kept].iter().chain(&repeated).copied().collect();
        for entry in &answered[kept..] {
            self.forget_request(session, *entry, id);
        }
        true
    }
}
