//! The rules once more, in the most obvious way: lists that are searched from front to back, no indexes, no sharing of
//! code with the machine. Where the two differ, one of them is wrong.

use crate::reference::{Answer, Grave, Holder, Lease, News, Note, Reference, Resource, Waiter};
use crate::steps::{Action, Ask, Step, Thing, Want, Who};

impl Ask {
    pub(crate) fn session(&self) -> Option<u8> {
        if let Who::Session { session, .. } = self.who { Some(session) } else { None }
    }

    pub(crate) fn number(&self) -> Option<(u8, u64)> {
        if let Who::Session { session, request, .. } = self.who { Some((session, request)) } else { None }
    }

    fn key(&self) -> Option<(u8, &'static str)> {
        if let Who::Session { session, key: Some(key), .. } = self.who { Some((session, key)) } else { None }
    }

    fn request_id(&self) -> Option<&'static str> {
        if let Who::Lease { request, .. } = self.who { request } else { None }
    }

    fn limit(&self) -> u32 {
        if let Want::Permits(_, limit) = self.want { limit } else { 0 }
    }
}

/// Whether a hold of `have` contains one of `want`.
fn covers(have: Want, want: Want) -> bool {
    match (have, want) {
        (Want::Permits(have, limit), Want::Permits(want, other)) => limit == other && want <= have,
        (Want::Exclusive, _) | (Want::Shared, Want::Shared) => true,
        _ => false,
    }
}

impl Resource {
    fn fits(&self, want: Want) -> bool {
        match want {
            Want::Exclusive => self.holders.is_empty(),
            Want::Shared => self.holders.iter().all(|holder| holder.ask.want == Want::Shared),
            Want::Permits(permits, limit) => {
                let taken = |holder: &Holder| if let Want::Permits(taken, _) = holder.ask.want { taken } else { 0 };
                self.holders.iter().map(taken).sum::<u32>() + permits <= limit
            }
        }
    }

    fn named(&self) -> Vec<u32> {
        self.holders.iter().take(8).map(|holder| holder.ask.hold).collect()
    }

    fn holder(&mut self, hold: u32) -> Option<&mut Holder> {
        self.holders.iter_mut().find(|holder| holder.ask.hold == hold)
    }
}

impl Holder {
    fn granted(&self) -> Answer {
        Answer::Granted { hold: self.ask.hold, entries: self.entries.len().max(1), until: self.until() }
    }

    /// When it ends by itself, by the wall clock.
    pub(crate) fn until(&self) -> Option<u64> {
        self.lease.map(|lease| lease.wall)
    }

    fn news(&self, to: Option<(u8, u64)>) -> Note {
        let (hold, entries, until) = (self.ask.hold, self.entries.len().max(1), self.until());
        Note { thing: self.ask.thing, what: News::Granted { to, hold, entries, until } }
    }
}

/// The rules.
impl Reference {
    /// Carries out one step.
    pub(crate) fn step(&mut self, step: &Step) {
        self.now += step.pause;
        self.wall = step.set_wall.unwrap_or(self.wall + step.pause);
        self.notes.clear();
        self.expire();
        self.answer = match &step.action {
            Action::Acquire(ask) => {
                self.asks.push(*ask);
                self.issued = self.issued.max(ask.hold);
                self.acquire(*ask)
            }
            Action::Renew { hold, thing, ttl } => self.renew(*hold, *thing, *ttl),
            Action::ReleaseAsSession { hold, session } => self.release_entry(*hold, *session),
            Action::ReleaseAsBearer { hold, thing } => self.release_whole(*hold, *thing),
            Action::CancelLease { hold, give_back } => self.cancel_lease(*hold, *give_back),
            Action::CancelRequest { session, request, give_back } => {
                self.cancel_request(*session, *request, *give_back)
            }
            Action::EndSession { session, timeout } => {
                let all = self.holds_of(*session);
                self.end_all(&all, if *timeout { "Expired" } else { "Disconnected" });
                Answer::Ended(all.len())
            }
            Action::Resume { session, claims, pending } => self.resume(*session, claims, pending),
            Action::Lose(holds) => self.lose(holds),
            Action::Shut { thing, jammed } => {
                self.shut.retain(|(shut, _)| shut != thing);
                self.shut.push((*thing, *jammed));
                Answer::Nothing
            }
            Action::Open(thing) => {
                self.shut.retain(|(shut, _)| shut != thing);
                self.serve();
                Answer::Nothing
            }
            Action::Expire => Answer::Nothing,
            Action::Get(thing) => match self.resource(*thing) {
                Some(resource) => Answer::Seen(resource.holders.len(), resource.queue.len()),
                None => Answer::Seen(0, 0),
            },
        };
    }

    fn resource(&mut self, thing: Thing) -> Option<&mut Resource> {
        self.resources.iter_mut().find(|resource| resource.thing == thing)
    }

    fn expire(&mut self) {
        loop {
            let leases = self.resources.iter().flat_map(|resource| &resource.holders);
            let due =
                leases.filter_map(|holder| Some((holder.lease?.until, holder.ask))).filter(|(at, _)| *at <= self.now);
            let Some((_, ask)) = due.min_by_key(|(at, ask)| (*at, ask.hold)) else { return };
            self.notes.push(Note { thing: ask.thing, what: News::Ended { to: None, hold: ask.hold, how: "Expired" } });
            self.end_all(&[ask.hold], "Expired");
        }
    }

    /// Ends them all, and only then lets others in.
    fn end_all(&mut self, holds: &[u32], how: &'static str) {
        for hold in holds {
            if let Some(ask) = self.take_out(*hold) {
                self.graves.push(Grave { ask, how });
            }
        }
        self.serve();
    }

    /// Takes a holder or a waiter away; tells what it was if it was a holder.
    fn take_out(&mut self, hold: u32) -> Option<Ask> {
        let mut holder_ask = None;
        for resource in &mut self.resources {
            resource.queue.retain(|waiter| waiter.ask.hold != hold);
            if let Some(index) = resource.holders.iter().position(|holder| holder.ask.hold == hold) {
                holder_ask = Some(resource.holders.remove(index).ask);
            }
        }
        holder_ask
    }

    /// Lets in whoever is next, everywhere, until nobody fits.
    fn serve(&mut self) {
        let is_shut = |thing| self.shut.iter().any(|(shut, _)| *shut == thing);
        for resource in self.resources.iter_mut().filter(|resource| !is_shut(resource.thing)) {
            while resource.queue.first().is_some_and(|head| resource.fits(head.ask.want)) {
                let ask = resource.queue.remove(0).ask;
                let mut holder = hold_now(ask, self.now, self.wall);
                self.notes.push(holder.news(ask.number()));
                while let Some(index) = resource.queue.iter().position(|waiter| {
                    ask.key().is_some() && waiter.ask.key() == ask.key() && covers(ask.want, waiter.ask.want)
                }) {
                    let number = resource.queue.remove(index).ask.number();
                    holder.entries.extend(number.map(|(_, request)| request));
                    self.notes.push(holder.news(number));
                }
                resource.holders.push(holder);
            }
        }
        self.forget_unused();
    }

    fn forget_unused(&mut self) {
        self.resources.retain(|resource| !resource.holders.is_empty() || !resource.queue.is_empty());
    }

    fn lose(&mut self, holds: &[u32]) -> Answer {
        let mut lost = Vec::new();
        for hold in holds.iter().copied() {
            let holder = self.resources.iter_mut().find_map(|resource| resource.holder(hold)).map(|it| it.ask);
            if let Some(ask) = holder.filter(|_| !lost.contains(&hold)) {
                let (to, thing) = (ask.session(), ask.thing);
                self.notes.push(Note { thing, what: News::Ended { to, hold, how: "BackendLost" } });
                lost.push(hold);
            }
        }
        self.end_all(&lost, "BackendLost");
        Answer::Nothing
    }

    fn acquire(&mut self, ask: Ask) -> Answer {
        if let Some(answer) = self.repeat(&ask) {
            return answer;
        }
        let (now, wall) = (self.now, self.wall);
        let shut = self.shut.iter().find(|(thing, _)| *thing == ask.thing).copied();
        if self.resource(ask.thing).is_none() {
            let (holders, queue) = (Vec::new(), Vec::new());
            self.resources.push(Resource { thing: ask.thing, limit: ask.limit(), holders, queue });
        }
        let Some(resource) = self.resource(ask.thing) else { return Answer::Nothing };
        if ask.limit() != resource.limit {
            return Answer::Refused("LimitMismatch");
        }
        let is_mine = |holder: &Holder| ask.key().is_some() && holder.ask.key() == ask.key();
        if resource.holders.iter().any(is_mine) {
            let mut mine = resource.holders.iter_mut().filter(|holder| is_mine(holder));
            let Some(holder) = mine.find(|holder| covers(holder.ask.want, ask.want)) else {
                return Answer::Refused("ReentryTooLarge");
            };
            holder.entries.extend(ask.number().map(|(_, request)| request));
            return holder.granted();
        }
        if resource.queue.is_empty() && resource.fits(ask.want) {
            match shut {
                Some((_, true)) => {
                    self.forget_unused();
                    return Answer::Refused("OutOfOrder");
                }
                Some((_, false)) => {}
                None => {
                    let holder = hold_now(ask, now, wall);
                    let answer = holder.granted();
                    resource.holders.push(holder);
                    return answer;
                }
            }
        }
        if !ask.queue {
            let holders = resource.named();
            self.forget_unused();
            return Answer::Held(holders);
        }
        resource.queue.push(Waiter { ask, since: wall });
        Answer::Queued { hold: ask.hold, position: resource.queue.len() }
    }

    /// The answer to a request whose number or id is in use or, for an id, was used by a hold that ended.
    fn repeat(&self, ask: &Ask) -> Option<Answer> {
        let reused = Some(Answer::Refused("RequestIdReused"));
        let same_id = |other: &Ask| ask.request_id().is_some() && other.request_id() == ask.request_id();
        let same = |first: &Ask| Ask { hold: first.hold, queue: first.queue, ..*ask } == *first;
        let keyed = |first: &Ask| first.thing == ask.thing && ask.key().is_some() && first.key() == ask.key();
        for resource in &self.resources {
            for holder in &resource.holders {
                let same_number = ask.number().is_some_and(|(session, request)| {
                    holder.ask.session() == Some(session) && holder.entries.contains(&request)
                });
                if same_number || same_id(&holder.ask) {
                    let smaller_or_same = keyed(&holder.ask) && covers(holder.ask.want, ask.want);
                    return if same(&holder.ask) || smaller_or_same { Some(holder.granted()) } else { reused };
                }
            }
            for (index, waiter) in resource.queue.iter().enumerate() {
                let first = &waiter.ask;
                if (ask.number().is_some() && first.number() == ask.number()) || same_id(first) {
                    let same_or_keyed = same(first) || (keyed(first) && first.want == ask.want);
                    if !same_or_keyed {
                        return reused;
                    }
                    let queued = Answer::Queued { hold: first.hold, position: index + 1 };
                    return Some(if ask.queue { queued } else { Answer::Held(resource.named()) });
                }
            }
        }
        let grave = self.graves.iter().rev().find(|grave| same_id(&grave.ask))?;
        let same = grave.ask.thing == ask.thing && grave.ask.want == ask.want;
        if same { Some(Answer::Refused(grave.how)) } else { reused }
    }

    fn renew(&mut self, hold: u32, thing: Thing, ttl: Option<u64>) -> Answer {
        let (now, wall) = (self.now, self.wall);
        if let Some(resource) = self.resource(thing) {
            if let Some(holder) = resource.holder(hold) {
                let Some(old) = holder.lease else { return Answer::Refused("NotALease") };
                let ttl = ttl.unwrap_or(old.ttl);
                holder.lease = Some(lease_of(ttl, now, wall));
                return holder.granted();
            }
            if resource.queue.iter().any(|waiter| waiter.ask.hold == hold) {
                return Answer::Refused("HoldNotFound");
            }
        }
        self.why_not(hold, Some(thing))
    }

    fn release_entry(&mut self, hold: u32, session: u8) -> Answer {
        let own = |holder: &&mut Holder| holder.ask.session() == Some(session);
        match self.resources.iter_mut().find_map(|resource| resource.holder(hold).filter(own)) {
            Some(holder) if holder.entries.len() > 1 => {
                holder.entries.remove(0);
                Answer::Released(holder.entries.len())
            }
            Some(_) => {
                self.end_all(&[hold], "Released");
                Answer::Released(0)
            }
            None => self.why_not(hold, None),
        }
    }

    fn release_whole(&mut self, hold: u32, thing: Thing) -> Answer {
        let Some(to) = self.resource(thing).and_then(|resource| resource.holder(hold)).map(|it| it.ask.session())
        else {
            return self.why_not(hold, Some(thing));
        };
        if to.is_some() {
            self.notes.push(Note { thing, what: News::Ended { to, hold, how: "Released" } });
        }
        self.end_all(&[hold], "Released");
        Answer::Released(0)
    }

    fn why_not(&mut self, hold: u32, thing: Option<Thing>) -> Answer {
        if let Some(grave) = self.graves.iter().find(|grave| grave.ask.hold == hold) {
            return Answer::Refused(grave.how);
        }
        let in_use = thing.and_then(|thing| self.resource(thing)).is_some_and(|resource| !resource.holders.is_empty());
        Answer::Refused(if in_use { "NotHolder" } else { "HoldNotFound" })
    }

    fn cancel_lease(&mut self, hold: u32, give_back: bool) -> Answer {
        let Some(thing) = self.live_asks().iter().find(|ask| ask.hold == hold).map(|ask| ask.thing) else {
            return Answer::Unknown;
        };
        self.cancel(hold, thing, give_back)
    }

    fn cancel_request(&mut self, session: u8, request: u64, give_back: bool) -> Answer {
        for resource in &mut self.resources {
            for holder in &mut resource.holders {
                if holder.ask.session() == Some(session) && holder.entries.contains(&request) {
                    if give_back && holder.entries.len() > 1 {
                        holder.entries.retain(|entry| *entry != request);
                        return Answer::GivenBack;
                    }
                    let (hold, thing) = (holder.ask.hold, holder.ask.thing);
                    return self.cancel(hold, thing, give_back);
                }
            }
        }
        // Among those who wait only: a holder that has given up the entry of this number may still be called by it.
        let mut waiting = self.resources.iter().flat_map(|resource| &resource.queue).map(|waiter| waiter.ask);
        match waiting.find(|ask| ask.number() == Some((session, request))) {
            Some(ask) => self.cancel(ask.hold, ask.thing, give_back),
            None => Answer::Unknown,
        }
    }

    fn is_waiting(&self, hold: u32) -> bool {
        self.resources.iter().flat_map(|resource| &resource.queue).any(|waiter| waiter.ask.hold == hold)
    }

    fn cancel(&mut self, hold: u32, thing: Thing, give_back: bool) -> Answer {
        if self.is_waiting(hold) {
            self.take_out(hold);
            self.serve();
            return Answer::Withdrawn(self.resource(thing).map_or_else(Vec::new, |resource| resource.named()));
        }
        if !give_back {
            return Answer::Kept;
        }
        // No grave: it leaves no trace.
        self.take_out(hold);
        self.serve();
        Answer::GivenBack
    }

    fn resume(&mut self, session: u8, claims: &[(u32, u32)], pending: &[u64]) -> Answer {
        let mut gone = Vec::new();
        for resource in &mut self.resources {
            for holder in resource.holders.iter_mut().filter(|holder| holder.ask.session() == Some(session)) {
                let claimed =
                    claims.iter().find(|(hold, _)| *hold == holder.ask.hold).map_or(0, |(_, entries)| *entries);
                // Those about to be repeated count as the newest.
                let (repeated, mut kept): (Vec<_>, Vec<_>) =
                    holder.entries.iter().partition(|request| pending.contains(request));
                kept.truncate(claimed as usize);
                kept.extend(repeated);
                if kept.is_empty() {
                    gone.push(holder.ask.hold);
                } else {
                    holder.entries = kept;
                }
            }
            for waiter in &resource.queue {
                if waiter.ask.number().is_some_and(|(of, request)| of == session && !pending.contains(&request)) {
                    gone.push(waiter.ask.hold);
                }
            }
        }
        self.end_all(&gone, "Released");
        let holds = |hold: u32| {
            let mut holders = self.resources.iter().flat_map(|resource| &resource.holders);
            holders.any(|holder| holder.ask.hold == hold && holder.ask.session() == Some(session))
        };
        Answer::Lost(claims.iter().map(|(hold, _)| *hold).filter(|hold| !holds(*hold)).collect())
    }
}

fn hold_now(ask: Ask, now: u64, wall: u64) -> Holder {
    let entries = ask.number().map(|(_, request)| request).into_iter().collect();
    let lease = if let Who::Lease { ttl, .. } = ask.who { Some(lease_of(ttl, now, wall)) } else { None };
    Holder { ask, entries, lease, since: wall }
}

fn lease_of(ttl: u64, now: u64, wall: u64) -> Lease {
    Lease { until: now + ttl, wall: wall + ttl, ttl }
}
