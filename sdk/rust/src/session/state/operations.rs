//! The operations under way and the holds they won.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockstead_api::v1::{self, ErrorReason};
use lockstead_core::{HoldId, Time};

use super::acquires::{Acquires, Granted, say_cancel};
use super::route::Pauses;
use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::loss::{Loss, LossReason};
use crate::session::validity::Validity;
use crate::session::wire::{self, ToServer};
use crate::session::{Hold, Release};

pub(super) type Messages = Vec<v1::SessionRequest>;

/// Who hears what is said now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hears {
    /// The server takes what is put into the messages: releases and cancels.
    pub(super) stream: bool,
    /// It takes acquires, too.
    pub(super) acquires: bool,
    /// A server has, or will get, the lists of a resume, and has not answered it.
    pub(super) resume: bool,
}

/// See the module.
pub(super) struct Operations {
    request_ids: Arc<AtomicU64>,
    pub(super) acquires: Acquires,
    /// By request id: releases whose callers wait for an answer, or that a server has yet to hear of.
    releases: HashMap<u64, Releasing>,
    holds: HashMap<HoldId, Held>,
}

/// A release under way.
struct Releasing {
    release: Release,
    /// It was said on the stream that is in use.
    is_said: bool,
    /// It was said on a stream before that, which may have heard it.
    is_repeated: bool,
    /// The resume under way does without the entry, so its answer is the answer to this.
    in_resume: bool,
}

/// A hold of the session.
struct Held {
    hold: Arc<Hold>,
    /// How many guards there are of it: answered acquires less releases.
    entries: u32,
    /// Whether acquires that are under way may turn out to be entries of it.
    is_re_entrant: bool,
}

impl Operations {
    pub(super) fn new(request_ids: Arc<AtomicU64>, connect_timeout: Duration) -> Self {
        let acquires = Acquires::new(connect_timeout);
        Self { request_ids, acquires, releases: HashMap::new(), holds: HashMap::new() }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.acquires.in_flight() + self.releases.len()
    }

    pub(super) fn release(&mut self, now: Time, release: Release, hears: Hears, messages: &mut Messages) {
        if let Some(loss) = release.hold.loss(now) {
            return release.answer(Err(loss.into()));
        }
        self.give_back(release, hears, messages);
    }

    /// Gives one entry of a hold back.
    ///
    /// While a resume is under way whose list shows the hold, the next stream must hear of it. The stream in use hears of
    /// it as well, whichever of the two is heard first: the hold ends with it. Not so if the hold is re-entrant. Whether
    /// the next server counts that entry already could not be known, nor whether it lets an acquire enter a hold that the
    /// other one has just ended.
    fn give_back(&mut self, release: Release, hears: Hears, messages: &mut Messages) {
        let id = release.hold.id;
        let Some(held) = self.holds.get_mut(&id) else { return release.answer(Ok(())) };
        let is_said = hears.stream && !(hears.resume && held.is_re_entrant);
        held.entries -= 1;
        if held.entries == 0 {
            self.holds.remove(&id);
        }
        let request_id = self.request_ids.fetch_add(1, Ordering::Relaxed);
        if is_said {
            messages.push(say_release(request_id, id));
        }
        if !is_said || hears.resume || release.answer.is_some() {
            self.releases.insert(request_id, Releasing::new(release, is_said));
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
        let (request, caller) = match self.acquires.granted(request_id) {
            Granted::Awaited(request, caller) => (request, caller),
            Granted::Cancelled => return Ok(()),
            // Told twice: it has its guard, whose hold a cancel would give away.
            Granted::Unknown if self.holds.contains_key(&id) => return Ok(()),
            Granted::Unknown => {
                messages.push(say_cancel(request_id));
                return Ok(());
            }
        };
        let held = self.holds.entry(id).or_insert_with(|| {
            let is_re_entrant = !request.owner_key.is_empty();
            let resource = wire::resource_of(request.claim.unwrap_or_default());
            let hold = Arc::new(Hold::new(id, resource, acquired.fencing_token, Arc::clone(validity)));
            Held { hold, entries: 0, is_re_entrant }
        });
        held.entries += 1;
        // If the caller has just gone away, the guard comes back and gives the hold back as it is dropped.
        let _ = caller.answer.send(Ok(Guard::new(Arc::clone(&held.hold), caller.handle)));
        Ok(())
    }

    /// The server says that an operation came to nothing.
    pub(super) fn failed(&mut self, now: Time, request_id: u64, error: &Error, pauses: &mut Pauses) {
        let Error::Refused { reason, .. } = error else { return };
        let will_do_later = matches!(reason, ErrorReason::Draining | ErrorReason::BackendUnavailable);
        let known = if will_do_later {
            self.acquires.put_off(now, request_id, error, pauses)
        } else {
            self.acquires.refuse(request_id, error)
        };
        if known {
            return;
        }
        let Some(Releasing { release, is_repeated, .. }) = self.releases.remove(&request_id) else { return };
        // A server that can't carry it out now does so by itself, or the next resume does without the hold. And of two
        // streams on which it was said, both may have heard it.
        let is_over = matches!(reason, ErrorReason::NotHolder | ErrorReason::HoldNotFound);
        let is_done = will_do_later || (is_repeated && is_over);
        release.answer(if is_done { Ok(()) } else { Err(error.clone()) });
    }

    pub(super) fn released(&mut self, request_id: u64) {
        if let Some(releasing) = self.releases.remove(&request_id) {
            releasing.release.answer(Ok(()));
        }
    }

    /// The server has ended a hold.
    pub(super) fn lost(&mut self, now: Time, lost: &v1::HoldLost, hears: Hears) -> std::result::Result<(), String> {
        let id = HoldId::parse(&lost.hold_id).map_err(|invalid| invalid.message)?;
        let Some(Held { hold, entries, .. }) = self.holds.remove(&id) else { return Ok(()) };
        hold.lose(now, &Loss::new(LossReason::from_wire(lost.reason), wire::shared(&lost.message), now));
        if hears.resume {
            // The server that has the list may confirm it, for nobody.
            self.say_to_the_next(&hold, entries);
        }
        Ok(())
    }

    fn say_to_the_next(&mut self, hold: &Arc<Hold>, entries: u32) {
        for _ in 0..entries {
            let request_id = self.request_ids.fetch_add(1, Ordering::Relaxed);
            let release = Release { hold: Arc::clone(hold), answer: None };
            self.releases.insert(request_id, Releasing::new(release, true));
        }
    }

    /// The validity of all holds is over, but not the session: gives them back, lest they be held for nobody.
    pub(super) fn lapse(&mut self, now: Time, loss: &Loss, hears: Hears, messages: &mut Messages) {
        let lapsed: Vec<_> = self.holds.values().map(|held| (Arc::clone(&held.hold), held.entries)).collect();
        for (hold, entries) in lapsed {
            hold.lose(now, loss);
            for _ in 0..entries {
                self.give_back(Release { hold: Arc::clone(&hold), answer: None }, hears, messages);
            }
        }
    }

    /// For a resume: what is held. Releases that are not answered are left out, and so are done by it.
    pub(super) fn list_holds(&mut self) -> Vec<v1::HeldHold> {
        self.releases.values_mut().for_each(|releasing| releasing.in_resume = true);
        let holds = self.holds.values().map(|Held { hold, entries, .. }| v1::HeldHold {
            hold_id: hold.id.reveal(),
            resource: Some(hold.resource.clone()),
            fencing_token: hold.token,
            entries: *entries,
        });
        holds.collect()
    }

    /// A stream has begun, and the server has read the lists of the resume if it began with one: tells it all that it must
    /// hear.
    pub(super) fn attached(&mut self, now: Time, messages: &mut Messages) {
        for (_, releasing) in self.releases.extract_if(|_, releasing| releasing.in_resume) {
            releasing.release.answer(Ok(()));
        }
        self.acquires.say_all(now, messages);
        for (request_id, releasing) in &mut self.releases {
            releasing.is_repeated |= releasing.is_said;
            releasing.is_said = true;
            messages.push(say_release(*request_id, releasing.release.hold.id));
        }
        self.forget_lists();
    }

    /// The resume under way, if there was one, came to nothing. If there is a stream, it goes on as before: tells it what
    /// was held back.
    pub(super) fn resume_failed(&mut self, now: Time, hears: Hears, messages: &mut Messages) {
        if hears.stream {
            for (request_id, releasing) in self.releases.iter_mut().filter(|(_, releasing)| !releasing.is_said) {
                releasing.is_said = true;
                messages.push(say_release(*request_id, releasing.release.hold.id));
            }
        }
        self.releases.values_mut().for_each(|releasing| releasing.in_resume = false);
        self.forget_lists();
        self.acquires.forget_cancelled();
        if hears.acquires {
            self.acquires.say_held_back(now, messages);
        }
    }

    /// What nobody waits for is remembered no longer than for a resume that has listed it.
    fn forget_lists(&mut self) {
        self.releases.retain(|_, releasing| releasing.release.answer.is_some());
    }

    /// The stream is gone, and with it what was said on it.
    pub(super) fn stream_gone(&mut self, now: Time) {
        for releasing in self.releases.values_mut() {
            releasing.is_repeated |= releasing.is_said;
            releasing.is_said = false;
        }
        self.acquires.unsay_all(now);
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

    /// Ends everything on this side.
    pub(super) fn close(&mut self, now: Time, loss: &Loss) {
        self.acquires.refuse_all(&Error::Closed);
        for (_, held) in self.holds.drain() {
            held.hold.lose(now, loss);
        }
    }
}

impl Releasing {
    fn new(release: Release, is_said: bool) -> Self {
        Self { release, is_said, is_repeated: false, in_resume: false }
    }
}

impl Release {
    fn answer(self, answer: Result<()>) {
        if let Some(caller) = self.answer {
            let _ = caller.send(answer);
        }
    }
}

pub(super) fn say(message: ToServer) -> v1::SessionRequest {
    v1::SessionRequest { message: Some(message) }
}

fn say_release(request_id: u64, hold: HoldId) -> v1::SessionRequest {
    say(ToServer::Release(v1::SessionRelease { request_id, hold_id: hold.reveal() }))
}
