//! What the engine answers by itself, and what it asks Redis for.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use lockstead_core::limits::{DESCRIBED_PARTIES_MAX, NAMED_HOLDERS_MAX, PAGE_BYTES_MAX};
use lockstead_core::{
    Acquire, AcquireRef, Acquired, Cancel, Cancelled, Census, EndReason, EndSession, Get, Grant, HoldId, IfGranted,
    List, Name, Party, Refusal, Release, Released, Releaser, Renew, ResourceKey, ResourceView, ResumeSession,
    SessionId, Time,
};
use tokio::sync::oneshot;

use super::call::{AWAY, Then, end_session, give_back, move_session};
use super::record::{hold_bytes, prefix_bytes, resource_bytes, session_bytes};
use super::status::{readiness, view};
use super::table::{Hold, Index, Known, Repeat, State, Table};
use super::{RedisEngine, Shared, figure, lock};
use crate::{Answer, Capabilities, Engine, EngineError, Readiness, Result, SharedKey, StoreView, at_hand};

impl Engine for RedisEngine {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { outlives_server: true }
    }

    fn acquire(&self, acquire: Acquire) -> Answer<Acquired> {
        let shared = &self.shared;
        let resource = acquire.resource();
        let partition = shared.partition_of(&resource);
        let mut table = shared.table();
        match table.look_up(&acquire) {
            Err(refusal) => return refused(refusal),
            Ok(Known::Answer(answer)) => return at_hand(Ok(answer)),
            Ok(Known::Waits(_)) if !acquire.queue => {
                drop(table);
                return self.named_holders(partition, &resource);
            }
            Ok(Known::Waits(hold)) => {
                drop(table);
                let args = vec![b"P".to_vec(), hold_bytes(hold)];
                return shared.ask(partition, args, |reply| Then::Position { hold, reply });
            }
            Ok(Known::Asked(hold)) => {
                let (reply, answer) = oneshot::channel();
                if let Some(State::Asked(repeats)) = table.get_mut(hold).map(|hold| &mut hold.state) {
                    repeats.push(Repeat { may_queue: acquire.queue, reply });
                }
                return on_its_way(answer);
            }
            Ok(Known::New) => {}
        }
        let is_new = table.get(acquire.hold).is_none();
        if is_new {
            table.ask(partition, &acquire);
        }
        let (session, attempt, ttl, request) = match &acquire.party {
            Party::Session { session, .. } => (session_bytes(*session), table.attempt(*session), Duration::ZERO, None),
            Party::Lease { ttl, request } => (shared.pseudo_session(), 0, *ttl, request.as_ref()),
        };
        let details = table.get(acquire.hold).map(|hold| hold.details().write()).unwrap_or_default();
        let (hold, claim) = (acquire.hold, acquire.claim);
        let args = vec![
            b"A".to_vec(),
            hold_bytes(hold),
            resource_bytes(&resource),
            figure(claim.permits()),
            figure(claim.limit()),
            session,
            figure(attempt),
            figure(ttl.as_millis()),
            request.map_or_else(Vec::new, |request| request.as_str().as_bytes().to_vec()),
            figure(u8::from(acquire.queue)),
            details,
        ];
        // While the table is locked, so that what is about the same hold goes out in the same order.
        shared.ask(partition, args, |reply| Then::Acquire { hold, kind: resource.kind, reply })
    }

    fn renew(&self, renew: Renew) -> Answer<Grant> {
        let Renew { resource, hold, ttl } = renew;
        let ttl = ttl.map_or(0, |ttl| ttl.as_millis());
        let args = vec![b"W".to_vec(), hold_bytes(hold), resource_bytes(&resource), figure(ttl)];
        self.shared.ask(self.shared.partition_of(&resource), args, |reply| Then::Renew { hold, reply })
    }

    fn release(&self, release: Release) -> Answer<Released> {
        let hold = release.hold;
        match release.by {
            Releaser::Bearer(resource) => {
                let args = vec![b"R".to_vec(), hold_bytes(hold), resource_bytes(&resource)];
                self.shared.ask(self.shared.partition_of(&resource), args, |reply| Then::ReleaseAny { hold, reply })
            }
            Releaser::Session(session) => {
                let mut table = self.shared.table();
                if !table.holds_for(session, hold) {
                    let ended = table.ended.get(hold);
                    return refused(
                        ended.map_or(Refusal::HoldNotFound, |ended| Refusal::NotHolder { ended: Some(ended) }),
                    );
                }
                let left = table.give_up_entry(hold, None);
                if left > 0 {
                    return at_hand(Ok(Released { entries: u32::try_from(left).unwrap_or(u32::MAX) }));
                }
                self.release_own(&mut table, hold)
            }
        }
    }

    fn cancel(&self, cancel: Cancel) -> Answer<Cancelled> {
        let mut table = self.shared.table();
        let (hold, entry) = match cancel.acquire {
            AcquireRef::Hold(hold) => (Some(hold), None),
            AcquireRef::Request(session, request) => (table.by_request(session, request), Some(request)),
        };
        let Some((hold, known)) = hold.and_then(|hold| Some((hold, table.get(hold)?))) else {
            return at_hand(Ok(Cancelled::Unknown));
        };
        let (partition, kind) = (known.partition, known.resource.kind);
        let give_back_it = cancel.if_granted == IfGranted::GiveBack;
        if known.is_held() {
            if !give_back_it {
                return at_hand(Ok(Cancelled::Kept));
            }
            if table.give_up_entry(hold, entry) > 0 {
                return at_hand(Ok(Cancelled::GivenBack));
            }
        }
        let args = vec![b"C".to_vec(), hold_bytes(hold), figure(u8::from(give_back_it))];
        self.shared.ask(partition, args, |reply| Then::Cancel { hold, kind, reply })
    }

    fn end_session(&self, end: EndSession) -> Answer<usize> {
        let session = end.session;
        let mut table = self.shared.table();
        let (partitions, attempt) = (table.partitions(session), table.attempt(session));
        let Some(count) = table.remove_session(session, Some(end.reason)) else { return at_hand(Ok(0)) };
        let ask = |partition| {
            let args = end_session(session_bytes(session), attempt);
            self.shared.ask(partition, args, |reply| Then::End { session, reply })
        };
        let answers: Vec<_> = partitions.into_iter().map(ask).collect();
        Answer::Right(
            async move { join_all(answers).await.into_iter().try_for_each(|ended| ended).map(|()| count) }.boxed(),
        )
    }

    fn resume_session(&self, resume: ResumeSession) -> Answer<Vec<HoldId>> {
        let shared = self.shared.clone();
        let (session, attempt) = (resume.session, resume.attempt);
        // Redis hears of it in any case: an earlier attempt may yet arrive at another server, and must not win.
        shared.table().expect(session, attempt, shared.settings.partitions);
        let ask = |partition| {
            let args = move_session(session, attempt, Vec::new());
            shared.ask(partition, args, |reply| Then::Move { session, attempt, has_begun: false, reply })
        };
        let answers: Vec<Answer<bool>> = (0..self.shared.settings.partitions).map(ask).collect();
        Answer::Right(
            async move {
                // If this fails half way, what has come stays, and the next attempt, here or elsewhere, finds it.
                let moved: Vec<bool> = join_all(answers).await.into_iter().collect::<Result<_>>()?;
                if moved.contains(&false) {
                    // A later attempt has it, or will in a moment.
                    shared.table().remove_session(session, None);
                    return Ok(resume.holds.iter().map(|(hold, _)| *hold).collect());
                }
                Ok(shared.reconcile(&resume))
            }
            .boxed(),
        )
    }

    fn get(&self, get: Get) -> Answer<ResourceView> {
        let args = vec![b"Q".to_vec(), resource_bytes(&get.0), figure(DESCRIBED_PARTIES_MAX)];
        self.shared.ask(self.shared.partition_of(&get.0), args, |reply| Then::Get { reply })
    }

    fn list(&self, list: List) -> Answer<Vec<ResourceView>> {
        let after = list.after.as_ref().map(Name::as_str).filter(|after| *after >= list.prefix.as_str());
        let args = vec![
            b"I".to_vec(),
            prefix_bytes(list.kind, &list.prefix),
            after.map_or_else(Vec::new, |after| prefix_bytes(list.kind, after)),
            figure(list.at_most),
            figure(DESCRIBED_PARTIES_MAX),
            figure(PAGE_BYTES_MAX),
        ];
        let ask = |partition| self.shared.ask(partition, args.clone(), |reply| Then::List { reply });
        let answers: Vec<Answer<Vec<ResourceView>>> = (0..self.shared.settings.partitions).map(ask).collect();
        let at_most = list.at_most;
        Answer::Right(
            async move { Ok(first_page(join_all(answers).await.into_iter().collect::<Result<_>>()?, at_most)) }.boxed(),
        )
    }

    fn census(&self) -> Census {
        self.shared.table().census()
    }

    fn valid_until(&self) -> Option<Time> {
        Some(lock(&self.shared.promises).promise(lockstead_clock::time()))
    }

    fn readiness(&self) -> Readiness {
        readiness(&lock(&self.shared.statuses))
    }

    fn store(&self) -> Option<StoreView> {
        let epoch_changes = self.shared.epoch_changes.load(Ordering::Relaxed);
        Some(StoreView { epoch_changes, ..view(&lock(&self.shared.statuses)) })
    }

    fn shared_key(&self) -> Option<SharedKey> {
        *lock(&self.shared.key)
    }
}

/// What comes first of the partitions' pages, as far as it makes one page.
fn first_page(pages: Vec<Vec<ResourceView>>, at_most: usize) -> Vec<ResourceView> {
    let mut views: Vec<_> = pages.into_iter().flatten().collect();
    views.sort_by(|one, other| one.key.cmp(&other.key));
    views.truncate(at_most);
    let mut bytes = 0;
    let fits = |view: &ResourceView| {
        let fits = bytes < PAGE_BYTES_MAX;
        bytes += view.size();
        fits
    };
    views.into_iter().take_while(fits).collect()
}

impl RedisEngine {
    fn named_holders(&self, partition: Index, resource: &ResourceKey) -> Answer<Acquired> {
        let args = vec![b"Q".to_vec(), resource_bytes(resource), figure(NAMED_HOLDERS_MAX)];
        let view = self.shared.ask(partition, args, |reply| Then::Get { reply });
        Answer::Right(view.map(|view| Ok(Acquired::Held { holders: view?.holders })).boxed())
    }

    fn release_own(&self, table: &mut Table, hold: HoldId) -> Answer<Released> {
        let Some(known) = table.remove(hold, Some(EndReason::Released)) else {
            return refused(Refusal::HoldNotFound);
        };
        let args = vec![b"R".to_vec(), hold_bytes(hold), Vec::new()];
        self.shared.ask(known.partition, args, |reply| Then::ReleaseOwn { reply })
    }
}

impl Shared {
    /// Makes a session that is here what its client says it is. Returns which of the claimed holds are gone.
    fn reconcile(&self, resume: &ResumeSession) -> Vec<HoldId> {
        let session: SessionId = resume.session;
        let pending: BTreeSet<u64> = resume.pending.iter().copied().collect();
        let claims: HashMap<HoldId, u32> = resume.holds.iter().copied().collect();
        let mut table = self.table();
        let mut given_up = Vec::new();
        for hold in table.of_session(session) {
            let claimed = claims.get(&hold).copied().unwrap_or(0);
            if !table.reconcile(hold, claimed, &pending) {
                given_up.push(hold);
            }
        }
        // Waiters first, so that none of them is granted in passing.
        given_up.sort_by_key(|hold| table.get(*hold).is_some_and(Hold::is_held));
        for hold in given_up {
            if let Some(known) = table.remove(hold, Some(EndReason::Released)) {
                self.send(known.partition, give_back(hold), Then::Owed);
            }
        }
        let gone = |hold: &HoldId| !table.holds_for(session, *hold);
        resume.holds.iter().map(|(hold, _)| *hold).filter(gone).collect()
    }
}

pub(super) fn on_its_way<T: Send + 'static>(answer: oneshot::Receiver<Result<T>>) -> Answer<T> {
    Answer::Right(answer.map(|answer| answer.unwrap_or(Err(EngineError::Unavailable(AWAY)))).boxed())
}

fn refused<T>(refusal: Refusal) -> Answer<T> {
    at_hand(Err(refusal.into()))
}
