//! Release and cancel.

use super::{Command, Hold, HoldState, Machine};
use crate::command::{
    AcquireRef, Cancel, Cancelled, EndReason, Event, IfGranted, Refusal, Release, Released, Releaser,
};
use crate::gate::Gate;
use crate::ids::{HoldId, SessionId};
use crate::resource::ResourceKey;
use crate::time::Now;

impl Command for Release {
    type Outcome = Result<Released, Refusal>;

    fn run<G: Gate>(self, machine: &mut Machine<G>, now: Now) -> Self::Outcome {
        match self.by {
            Releaser::Session(session) => machine.release_entry(now, self.hold, session),
            Releaser::Bearer(key) => machine.release_whole(now, self.hold, &key),
        }
    }
}

impl Command for Cancel {
    type Outcome = Cancelled;

    fn run<G: Gate>(self, machine: &mut Machine<G>, now: Now) -> Self::Outcome {
        let (id, entry) = match self.acquire {
            AcquireRef::Hold(id) => (Some(id), None),
            AcquireRef::Request(session, request) => {
                let id = machine.sessions.get(&session).and_then(|requests| requests.get(&request));
                (id.copied(), Some((session, request)))
            }
        };
        let Some((id, hold)) = id.and_then(|id| machine.holds.get_key_value(&id)) else { return Cancelled::Unknown };
        let (id, key) = (*id, hold.resource.clone());
        match (&hold.state, self.if_granted) {
            (HoldState::Waiting(_), _) => {
                machine.remove(id, None);
                machine.serve(now, &key);
                Cancelled::Withdrawn { holders: machine.named_holders(&key) }
            }
            (HoldState::Held { .. }, IfGranted::Keep) => Cancelled::Kept,
            (HoldState::Held { .. }, IfGranted::GiveBack) => {
                machine.give_back(now, id, entry);
                Cancelled::GivenBack
            }
        }
    }
}

impl<G: Gate> Machine<G> {
    /// Gives back one entry of a session's hold, and with the last entry the hold.
    fn release_entry(&mut self, now: Now, id: HoldId, by: SessionId) -> Result<Released, Refusal> {
        let Some(hold) = self.holds.get_mut(&id).filter(|hold| hold.session() == Some(by)) else {
            return Err(self.why_not_held(id, None));
        };
        let Some(entries) = hold.state.entries_mut() else { return Err(Refusal::HoldNotFound) };
        if entries.len() > 1 {
            // The oldest: its acquire was answered long ago, while the newest may yet be cancelled.
            let entry = entries.as_slice()[0];
            entries.remove(entry);
            let left = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            self.unlink_request(by, entry);
            return Ok(Released { entries: left });
        }
        self.end(now, id, EndReason::Released);
        Ok(Released { entries: 0 })
    }

    /// Ends a hold on the word of somebody who knows its id. If it belongs to a session, the session is told.
    fn release_whole(&mut self, now: Now, id: HoldId, key: &ResourceKey) -> Result<Released, Refusal> {
        let of_that = |hold: &&Hold| hold.resource == *key && matches!(hold.state, HoldState::Held { .. });
        let Some(hold) = self.holds.get(&id).map(Box::as_ref).filter(of_that) else {
            return Err(self.why_not_held(id, Some(key)));
        };
        if let Some(session) = hold.session() {
            let (resource, reason) = (key.clone(), EndReason::Released);
            self.events.push(Event::Ended { to: Some(session), hold: id, resource, reason });
        }
        self.end(now, id, EndReason::Released);
        Ok(Released { entries: 0 })
    }

    /// Undoes a grant that its caller never made use of: one entry of a session's hold, or a whole lease.
    fn give_back(&mut self, now: Now, id: HoldId, entry: Option<(SessionId, u64)>) {
        if let (Some((session, request)), Some(hold)) = (entry, self.holds.get_mut(&id))
            && let Some(entries) = hold.state.entries_mut()
            && entries.len() > 1
        {
            entries.remove(request);
            self.unlink_request(session, request);
            return;
        }
        // It leaves no trace: the same request may come again and is then a new one.
        if let Some(hold) = self.remove(id, None) {
            self.serve(now, &hold.resource);
        }
    }

    pub(super) fn end(&mut self, now: Now, id: HoldId, reason: EndReason) {
        if let Some(hold) = self.remove(id, Some(reason)) {
            self.serve(now, &hold.resource);
        }
    }

    /// Why a call with this hold id can't be carried out: it ended, others hold what it names, or nobody ever saw it.
    pub(super) fn why_not_held(&self, id: HoldId, key: Option<&ResourceKey>) -> Refusal {
        if let Some(ended) = self.ended.get(id) {
            return Refusal::NotHolder { ended: Some(ended) };
        }
        let held_by_others =
            key.and_then(|key| self.resources.get(key)).is_some_and(|resource| !resource.holders.is_empty());
        if held_by_others { Refusal::NotHolder { ended: None } } else { Refusal::HoldNotFound }
    }
}
