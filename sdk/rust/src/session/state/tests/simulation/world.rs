//! Servers that share a store, as far as one client's session is concerned. What is on its way to the client, to a server,
//! or from the store to a server arrives when the simulation wants it to, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::*;

/// Which server, and which of the streams with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId(pub(super) usize, pub(super) u32);

/// One stream: what is on its way on it.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) to_server: VecDeque<Option<ToServer>>,
    pub(super) to_client: VecDeque<std::result::Result<FromServer, Failure>>,
}

/// A hold in the store.
#[derive(Debug)]
struct StoreHold {
    name: String,
    request: u64,
}

/// What the store tells a server.
#[derive(Debug)]
enum News {
    Granted(u64, u128),
    Moved,
}

/// A server, and what it knows of the session.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) draining: bool,
    session: Option<Local>,
    news: VecDeque<News>,
}

#[derive(Debug)]
struct Local {
    stream: Option<StreamId>,
    /// Acquires of this server's session that wait, and whose grant is to be told.
    pending: BTreeSet<u64>,
    /// Which acquires each hold stands for, the oldest first. Those that another server answered are numbered from the top.
    entries: BTreeMap<u128, Vec<u64>>,
    keys: BTreeMap<String, u128>,
}

/// See the module.
pub(super) struct World {
    pub(super) servers: Vec<Server>,
    pub(super) pipes: BTreeMap<StreamId, Pipe>,
    releases_with_stream: bool,
    /// Whether the store lets a server that has lost the session without knowing it end its holds.
    trusts_the_late: bool,
    /// The server that has the session, by the last attempt.
    session: Option<(usize, u32)>,
    holds: BTreeMap<u128, StoreHold>,
    queues: BTreeMap<String, VecDeque<u64>>,
    last_hold: u128,
    pub(super) opens: u32,
}

impl World {
    pub(super) fn new(servers: usize, releases_with_stream: bool, trusts_the_late: bool) -> Self {
        Self {
            servers: (0..servers).map(|_| Server::default()).collect(),
            pipes: BTreeMap::new(),
            releases_with_stream,
            trusts_the_late,
            session: None,
            holds: BTreeMap::new(),
            queues: BTreeMap::new(),
            last_hold: 0,
            opens: 0,
        }
    }

    pub(super) fn has_hold(&self, id: u128) -> bool {
        self.holds.contains_key(&id)
    }

    pub(super) fn waits(&self, request: u64) -> bool {
        self.queues.values().any(|queue| queue.contains(&request))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.queues.values().all(VecDeque::is_empty)
    }

    /// The server that the client's session is with now.
    pub(super) fn home(&self) -> Option<usize> {
        self.session.map(|(server, _)| server)
    }

    /// Whether nothing is on its way to any server, nor to the client on the stream that it reads.
    pub(super) fn is_quiet(&self, line: Option<StreamId>) -> bool {
        self.pipes.values().all(|pipe| pipe.to_server.is_empty())
            && line.is_none_or(|line| self.pipes[&line].to_client.is_empty())
            && self.servers.iter().all(|server| server.news.is_empty())
    }

    /// A server announces that it will stop.
    pub(super) fn drain(&mut self, server: usize) {
        self.servers[server].draining = true;
        let stream = self.servers[server].session.as_ref().and_then(|session| session.stream);
        self.tell(stream, FromServer::Draining(v1::SessionDraining::default()));
    }

    fn tell(&mut self, stream: Option<StreamId>, message: FromServer) {
        if let Some(pipe) = stream.and_then(|stream| self.pipes.get_mut(&stream)) {
            pipe.to_client.push_back(Ok(message));
        }
    }

    pub(super) fn end_stream(&mut self, stream: Option<StreamId>, failure: Failure) {
        if let Some(pipe) = stream.and_then(|stream| self.pipes.get_mut(&stream)) {
            pipe.to_client.push_back(Err(failure));
        }
    }

    /// Lets a server read one message of a stream.
    pub(super) fn read(&mut self, stream: StreamId) {
        let Some(message) = self.pipes.get_mut(&stream).and_then(|pipe| pipe.to_server.pop_front()) else { return };
        let StreamId(server, _) = stream;
        if let Some(ToServer::Resume(resume)) = &message {
            return self.resume(stream, resume);
        }
        if let Some(ToServer::Open(_)) = &message {
            self.session = Some((server, 0));
            self.opens += 1;
            self.servers[server].session = Some(Local::on(stream));
            let (session_id, resume_secret) = ("s".to_owned(), "secret".to_owned());
            let opened =
                v1::SessionOpened { session_id, resume_secret, session_timeout: VALID_FOR, valid_for: VALID_FOR };
            return self.tell(Some(stream), FromServer::Opened(opened));
        }
        let current = self.servers[server].session.as_ref().and_then(|session| session.stream) == Some(stream);
        if !current {
            return;
        }
        match message {
            Some(ToServer::Ping(v1::Ping { sequence })) => {
                self.tell(Some(stream), FromServer::Pong(v1::Pong { sequence, valid_for: VALID_FOR }));
            }
            Some(ToServer::Acquire(ask)) => self.acquire(stream, &ask),
            Some(ToServer::Release(ask)) => {
                let id = u128::from_str_radix(&ask.hold_id, 16).unwrap();
                let answer = match self.give_up_entry(server, id, None) {
                    Some(entries) => released(ask.request_id, entries),
                    None => failed(ask.request_id, ErrorReason::NotHolder),
                };
                self.tell(Some(stream), answer);
            }
            Some(ToServer::Cancel(v1::SessionCancel { request_id })) => {
                self.cancel(server, request_id);
                let reason = v1::not_acquired::Reason::Cancelled.into();
                let why = Some(v1::NotAcquired { reason, ..v1::NotAcquired::default() });
                self.tell(Some(stream), FromServer::NotAcquired(v1::SessionNotAcquired { request_id, why }));
            }
            None => {
                self.servers[server].session.as_mut().unwrap().stream = None;
                if self.releases_with_stream && self.home() == Some(server) {
                    self.session = None;
                    self.holds.clear();
                    self.queues.clear();
                }
            }
            Some(_) => {}
        }
    }

    fn acquire(&mut self, stream: StreamId, ask: &v1::SessionAcquire) {
        let StreamId(server, _) = stream;
        let request_id = ask.request_id;
        if self.servers[server].draining || self.home() != Some(server) {
            return self.tell(Some(stream), failed(request_id, ErrorReason::Draining));
        }
        let name = ask.claim.as_ref().unwrap().name.clone();
        let local = self.servers[server].session.as_mut().unwrap();
        let known = local.entries.iter().find(|(_, entries)| entries.contains(&request_id)).map(|(id, _)| *id);
        let again = known.or_else(|| local.keys.get(&ask.owner_key).copied().filter(|_| !ask.owner_key.is_empty()));
        let unheard = || self.holds.iter().find(|(_, hold)| hold.request == request_id).map(|(id, _)| *id);
        let id = if let Some(id) = again.or_else(unheard) {
            id
        } else if self.queues.get(&name).is_some_and(|queue| queue.contains(&request_id)) {
            return self.pend(server, request_id);
        } else if let Some(id) = self.grant(&name, request_id) {
            id
        } else if ask.wait.is_some() {
            self.queues.entry(name).or_default().push_back(request_id);
            return self.pend(server, request_id);
        } else {
            let why = None;
            return self.tell(Some(stream), FromServer::NotAcquired(v1::SessionNotAcquired { request_id, why }));
        };
        let local = self.servers[server].session.as_mut().unwrap();
        if !ask.owner_key.is_empty() {
            local.keys.insert(ask.owner_key.clone(), id);
        }
        let entries = local.entries.entry(id).or_default();
        if !entries.contains(&request_id) {
            entries.push(request_id);
        }
        let entries = u32::try_from(entries.len()).unwrap();
        self.tell(Some(stream), acquired(request_id, id, entries));
    }

    fn pend(&mut self, server: usize, request_id: u64) {
        self.servers[server].session.as_mut().unwrap().pending.insert(request_id);
    }

    /// Gives a free lock to an acquire.
    fn grant(&mut self, name: &str, request: u64) -> Option<u128> {
        if self.holds.values().any(|hold| hold.name == name) {
            return None;
        }
        self.last_hold += 1;
        self.holds.insert(self.last_hold, StoreHold { name: name.to_owned(), request });
        Some(self.last_hold)
    }

    /// Takes an entry from a hold, the oldest if it is not named; answers how many are left.
    fn give_up_entry(&mut self, server: usize, id: u128, request: Option<u64>) -> Option<u32> {
        let may_end = self.trusts_the_late || self.home() == Some(server);
        let local = self.servers[server].session.as_mut()?;
        let entries = local.entries.get_mut(&id)?;
        let entry = request.or_else(|| entries.first().copied())?;
        entries.retain(|other| *other != entry);
        let left = u32::try_from(entries.len()).unwrap();
        if left == 0 {
            local.entries.remove(&id);
            local.keys.retain(|_, hold| *hold != id);
            if may_end {
                self.end(id);
            }
        }
        Some(left)
    }

    /// Ends a hold in the store, and serves the queue behind it.
    fn end(&mut self, id: u128) {
        let Some(StoreHold { name, .. }) = self.holds.remove(&id) else { return };
        let Some(next) = self.queues.get_mut(&name).and_then(VecDeque::pop_front) else { return };
        if let (Some(id), Some(home)) = (self.grant(&name, next), self.home()) {
            self.servers[home].news.push_back(News::Granted(next, id));
        }
    }

    fn cancel(&mut self, server: usize, request: u64) {
        let Some(local) = self.servers[server].session.as_mut() else { return };
        local.pending.remove(&request);
        let held = local.entries.iter().find(|(_, entries)| entries.contains(&request)).map(|(id, _)| *id);
        if let Some(id) = held {
            self.give_up_entry(server, id, Some(request));
            return;
        }
        if self.trusts_the_late || self.home() == Some(server) {
            self.queues.values_mut().for_each(|queue| queue.retain(|waiting| *waiting != request));
            // Granted, but the news is on its way.
            let granted = self.holds.iter().find(|(_, hold)| hold.request == request).map(|(id, _)| *id);
            let unheard = |id: &u128| !self.servers[server].session.as_ref().unwrap().entries.contains_key(id);
            if let Some(id) = granted.filter(unheard) {
                self.end(id);
            }
        }
    }

    fn resume(&mut self, stream: StreamId, resume: &v1::ResumeSession) {
        let StreamId(server, _) = stream;
        let refusal = match self.session {
            _ if self.servers[server].draining => Some(ErrorReason::Draining),
            None => Some(ErrorReason::SessionNotFound),
            Some((_, attempt)) if resume.attempt <= attempt => Some(ErrorReason::SessionSuperseded),
            Some(_) => None,
        };
        if let Some(reason) = refusal {
            return self.end_stream(Some(stream), refused(reason));
        }
        let before = self.session.replace((server, resume.attempt)).unwrap().0;
        let mut old = None;
        if before == server {
            // What it was told by the store counts, too.
            self.hear_all(server);
            old = self.servers[server].session.take();
            self.end_stream(old.as_ref().and_then(|old| old.stream), refused(ErrorReason::SessionSuperseded));
        } else {
            self.servers[before].news.push_back(News::Moved);
            self.servers[server].news.clear();
        }
        let claimed: BTreeMap<u128, u64> = resume.holds.iter().map(claim).collect();
        let pending: BTreeSet<u64> = resume.pending_request_ids.iter().copied().collect();
        self.queues.values_mut().for_each(|queue| queue.retain(|request| pending.contains(request)));
        let mut local = Local::on(stream);
        let mut given_up = Vec::new();
        for (id, hold) in &self.holds {
            let claimed = claimed.get(id).copied().unwrap_or_default();
            let entries = match old.as_ref().and_then(|old| old.entries.get(id)) {
                Some(entries) => {
                    let (repeated, answered): (Vec<u64>, Vec<u64>) =
                        entries.iter().partition(|entry| pending.contains(entry));
                    let kept = answered.into_iter().take(usize::try_from(claimed).unwrap());
                    kept.chain(repeated).collect()
                }
                None if claimed == 0 && pending.contains(&hold.request) => vec![hold.request],
                None => (0..claimed).map(|number| u64::MAX - number).collect::<Vec<u64>>(),
            };
            if entries.is_empty() {
                given_up.push(*id);
            } else {
                // The only key there is, for the only name with one.
                if hold.name == RE_ENTRANT {
                    local.keys.insert(RE_ENTRANT.to_owned(), *id);
                }
                local.entries.insert(*id, entries);
            }
        }
        self.servers[server].session = Some(local);
        let gone = resume.holds.iter().filter(|held| !self.holds.contains_key(&claim(held).0));
        let lost = gone.map(|held| lost(claim(held).0, WireLoss::ServerLost)).collect();
        for id in given_up {
            self.end(id);
        }
        self.tell(Some(stream), FromServer::Resumed(v1::SessionResumed { valid_for: VALID_FOR, lost }));
    }

    fn hear_all(&mut self, server: usize) {
        while !self.servers[server].news.is_empty() {
            self.hear(server);
        }
    }

    /// Lets a server hear the next news from the store.
    pub(super) fn hear(&mut self, server: usize) {
        match self.servers[server].news.pop_front() {
            None => {}
            // By the time it hears of the move, the session may have come back.
            Some(News::Moved) if self.home() == Some(server) => {}
            Some(News::Moved) => {
                let stream = self.servers[server].session.take().and_then(|session| session.stream);
                self.end_stream(stream, refused(ErrorReason::SessionSuperseded));
            }
            Some(News::Granted(request, id)) => {
                if !self.holds.contains_key(&id) {
                    return;
                }
                let Some(local) = &mut self.servers[server].session else { return };
                let entries = local.entries.entry(id).or_default();
                if !entries.contains(&request) {
                    entries.push(request);
                }
                // One that was repeated meanwhile has heard it.
                let stream = local.stream.filter(|_| local.pending.remove(&request));
                self.tell(stream, acquired(request, id, 1));
            }
        }
    }
}

/// The name of the lock that is re-entered, and the key.
pub(super) const RE_ENTRANT: &str = "r";

impl Local {
    fn on(stream: StreamId) -> Self {
        Self { stream: Some(stream), pending: BTreeSet::new(), entries: BTreeMap::new(), keys: BTreeMap::new() }
    }
}

fn claim(held: &v1::HeldHold) -> (u128, u64) {
    (u128::from_str_radix(&held.hold_id, 16).unwrap(), u64::from(held.entries))
}
