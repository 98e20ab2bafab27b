//! Joining a partition: this server and Redis agree on what it has.

use std::collections::{HashMap, HashSet};
use std::iter::once;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lockstead_core::{EndReason, Event, HoldId, SessionId, Token, WallTime, duration};
use redis::Value;

use super::call::{end_session, give_back, read_holds, read_made, read_reason};
use super::partition::{Answer, BATCH_MAX, Break, Granted, Inbox, News, Partition, hand_over};
use super::record::{self, bytes, number, text, ttl_and_request};
use super::table::{Hold, Made, State, Table};
use super::wire::{Link, WireError};
use super::{figure, lock};
use crate::SharedKey;

/// What Redis shows under this server's name.
#[derive(Default)]
struct Shown {
    sessions: HashMap<Vec<u8>, u32>,
    holds: HashMap<HoldId, (Option<Token>, WallTime)>,
}

/// What is to be done to make both sides agree, and what the answer is about.
struct Step {
    args: Vec<Vec<u8>>,
    about: About,
}

enum About {
    /// A session that this server has.
    Session(SessionId),
    /// A hold or waiter that this server has.
    Hold(HoldId),
    /// The server itself.
    Server,
}

impl Partition {
    /// Returns once this server's calls count here, with what is pushed to it since it began.
    pub(super) async fn join(&mut self, link: &Link) -> Result<Inbox, Break> {
        let begin = [b"L".to_vec(), figure(self.last_token), figure(self.last_ticket)];
        let answer = self.call(link, false, once(&begin[..])).await?;
        self.check_agreement(&answer)?;
        if !self.epoch.is_empty() && self.epoch != answer.epoch {
            self.shared.epoch_changes.fetch_add(1, Ordering::Relaxed);
        }
        self.epoch.clone_from(&answer.epoch);
        // Only now: what was pushed before may be of an earlier epoch, and all that came of it is read next.
        let inbox = self.subscribe(link).await?;
        self.granted.clear();
        self.disagrees = false;
        let shown = self.read_all(link).await?;
        let (steps, surplus) = self.compare(&shown);
        for steps in steps.chunks(BATCH_MAX) {
            let answer = self.call_in_epoch(link, steps.iter().map(|step| step.args.as_slice())).await?;
            for (step, result) in steps.iter().zip(&answer.results) {
                self.on_step(&step.about, result);
            }
        }
        self.commit(link).await?;
        self.pay_what_is_owed();
        // Only now, and before all else: what this gives to waiters of this server would have passed them over until then.
        for args in surplus {
            self.catch_up(args);
        }
        Ok(inbox)
    }

    async fn call_in_epoch<'a>(
        &mut self,
        link: &Link,
        operations: impl Iterator<Item = &'a [Vec<u8>]> + Send,
    ) -> Result<Answer, Break> {
        let mut answer = self.call(link, false, operations).await?;
        if answer.epoch != self.epoch {
            return Err(Break::Rejoin);
        }
        let shared = self.shared.clone();
        for news in std::mem::take(&mut answer.news) {
            self.on_news(&mut shared.table(), news);
        }
        Ok(answer)
    }

    /// All servers must mean the same by a partition and by a lease.
    fn check_agreement(&self, answer: &Answer) -> Result<(), Break> {
        let Some([_, partitions, lease, ..]) = answer.results.first().and_then(record::array) else {
            return Ok(());
        };
        let settings = &self.shared.settings;
        let wrong = |why: String| Err(WireError::Misconfigured(why).into());
        match (number(partitions), number(lease)) {
            (Some(theirs), _) if theirs != u64::from(settings.partitions) => wrong(format!(
                "this Redis is in use with {theirs} partitions, this server has {}; use a Redis (or a database number) of its own",
                settings.partitions
            )),
            (_, Some(theirs)) if u128::from(theirs) != settings.server_lease.as_millis() => wrong(format!(
                "the servers of this Redis use --server-lease {}, this one {}; all must use the same. To change it, stop all servers, \
                 wait for the longer of the two, and delete the keys lockstead:* there",
                duration::format(Duration::from_millis(theirs)),
                duration::format(settings.server_lease)
            )),
            _ => Ok(()),
        }
    }

    async fn read_all(&mut self, link: &Link) -> Result<Shown, Break> {
        let mut shown = Shown::default();
        let mut next = Vec::new();
        loop {
            let answer = self.call_in_epoch(link, once(&[b"S".to_vec(), next][..])).await?;
            let page = answer.results.first().and_then(record::array).unwrap_or_default();
            let Some((after, sessions)) = page.split_first() else { return Ok(shown) };
            for session in sessions.chunks_exact(3) {
                self.note_shown(&mut shown, session);
            }
            next = bytes(after).unwrap_or_default().to_vec();
            if next.is_empty() {
                return Ok(shown);
            }
        }
    }

    /// Takes note of a session that Redis shows, with its holds. If it was about to come here, it has.
    fn note_shown(&self, shown: &mut Shown, session: &[Value]) {
        let [id, attempt, holds] = session else { return };
        let (Some(id), holds) = (bytes(id), read_holds(holds)) else { return };
        let attempt = number(attempt).and_then(|attempt| u32::try_from(attempt).ok());
        // One that is ending has no attempt; it is of no further use.
        shown.sessions.insert(id.to_vec(), attempt.unwrap_or(u32::MAX));
        shown.holds.extend(holds.iter().map(|(hold, record)| (*hold, (record.token, record.since))));
        let mut table = self.shared.table();
        if let Some(session) = record::read_session_id(id).filter(|session| table.expects(*session, self.index)) {
            for (hold, record) in holds {
                table.adopt(self.index, hold, session, record);
            }
            table.has_arrived(session, self.index);
        }
    }

    /// What must be done so that Redis shows what the table has, and what to give back of that which it shows and the table
    /// has not. Takes note of what Redis has granted meanwhile.
    fn compare(&mut self, shown: &Shown) -> (Vec<Step>, Vec<Vec<Vec<u8>>>) {
        let shared = self.shared.clone();
        let table = shared.table();
        let ours = table.of_partition(self.index);
        let pseudo = self.shared.pseudo_session();
        let mut steps = self.missing_sessions(&table, &ours, shown);
        let holds = shown.holds.keys().filter(|hold| table.get(**hold).is_none());
        let mut surplus: Vec<_> = holds.map(|hold| give_back(*hold)).collect();
        surplus.extend(self.surplus_sessions(&table, shown));
        for id in ours {
            let Some(hold) = table.get(id) else { continue };
            match (&hold.state, shown.holds.get(&id).copied()) {
                (State::Asked(_), _) | (State::Waiting { .. }, Some((None, _))) => {}
                (State::Waiting { .. }, Some((Some(token), since))) => {
                    self.granted.push(Granted { hold: id, made: Made { token, since, left: None } });
                }
                (State::Held { token, .. }, Some((Some(shown), _))) if *token == shown => {}
                _ => steps.push(Step { args: restore(id, hold, &pseudo), about: About::Hold(id) }),
            }
        }
        (steps, surplus)
    }

    /// Ends or hands over the sessions that this server has no more.
    fn surplus_sessions(&self, table: &Table, shown: &Shown) -> Vec<Vec<Vec<u8>>> {
        let pseudo = self.shared.pseudo_session();
        let let_go = |(session, attempt): (&Vec<u8>, &u32)| {
            let id = record::read_session_id(session);
            if *session == pseudo || id.is_some_and(|id| table.knows_session(id)) {
                return None;
            }
            let handed_over = id.and_then(|id| Some(hand_over(id, table.gone_to(id, self.index)?)));
            Some(handed_over.unwrap_or_else(|| end_session(session.clone(), *attempt)))
        };
        shown.sessions.iter().filter_map(let_go).collect()
    }

    fn missing_sessions(&self, table: &Table, ours: &[HoldId], shown: &Shown) -> Vec<Step> {
        let pseudo = self.shared.pseudo_session();
        let mut steps = Vec::new();
        let sessions: HashSet<SessionId> =
            ours.iter().filter_map(|id| table.get(*id).and_then(Hold::session)).collect();
        for session in sessions {
            let attempt = table.attempt(session);
            let id = record::session_bytes(session);
            if shown.sessions.get(&id) != Some(&attempt) {
                steps.push(Step { args: vec![b"Z".to_vec(), id, figure(attempt)], about: About::Session(session) });
            }
        }
        // Leases that wait here hang on the server itself.
        if !shown.sessions.contains_key(&pseudo) {
            steps.push(Step { args: vec![b"Z".to_vec(), pseudo, figure(0)], about: About::Server });
        }
        steps
    }

    fn on_step(&mut self, about: &About, result: &Value) {
        let parts = record::array(result).unwrap_or_default();
        let said = parts.first().and_then(text);
        let shared = self.shared.clone();
        let mut table = shared.table();
        let mut events = Vec::new();
        match (about, said) {
            (About::Session(session), Some("Z"))
                if parts.get(1).and_then(number) == Some(0) && table.remove_session(*session, None).is_some() =>
            {
                events.push(Event::Moved { session: *session });
            }
            (About::Hold(hold), Some("G")) => {
                if let [_, token, since] = parts
                    && let Some(made) = read_made(token, since, None)
                {
                    self.granted.push(Granted { hold: *hold, made });
                }
            }
            (About::Hold(hold), Some("X")) => {
                drop(table);
                return self.on_news(&mut shared.table(), News::Elsewhere { hold: *hold });
            }
            (About::Hold(hold), Some("N")) => {
                let known = parts.get(1).and_then(text).and_then(read_reason);
                let reason = known.unwrap_or(EndReason::BackendLost);
                let Some(ended) = table.remove(*hold, Some(reason)) else { return };
                let to = ended.session();
                // A lease that is over ended as leases do, unheard of while this server was away.
                if to.is_some() || reason == EndReason::Expired {
                    events.push(Event::Ended { to, hold: *hold, resource: ended.resource, reason });
                }
            }
            _ => {}
        }
        shared.tell(&table, events);
    }

    /// From here on this server's calls count.
    async fn commit(&mut self, link: &Link) -> Result<(), Break> {
        let known = *lock(&self.shared.key);
        let key = known.unwrap_or(self.shared.settings.key).as_bytes().to_vec();
        let partitions = figure(self.shared.settings.partitions);
        let commit = [b"K".to_vec(), self.epoch.clone(), partitions, key, figure(u8::from(known.is_some()))];
        let answer = self.call_in_epoch(link, once(&commit[..])).await?;
        let Some([_, _, _, key]) = answer.results.first().and_then(record::array) else {
            return Err(Break::Rejoin);
        };
        // Somebody else may have been the first meanwhile.
        self.check_agreement(&answer)?;
        self.pushes = answer.pushes;
        // Each partition keeps a key; the first one's is in force.
        if self.index == 0
            && let Some(key) = bytes(key).and_then(|key| key.try_into().ok())
        {
            *lock(&self.shared.key) = Some(SharedKey::from_bytes(key));
            self.shared.agreed.send_replace(true);
        }
        self.on_heartbeat(answer.sent.time);
        self.serve_queues_at = Some(lockstead_clock::time());
        self.note_window(answer.window);
        Ok(())
    }
}

/// The operation that puts a hold or waiter back.
fn restore(id: HoldId, hold: &Hold, pseudo: &[u8]) -> Vec<Vec<u8>> {
    let (token, ticket, left) = match &hold.state {
        State::Held { token, lease, .. } => {
            let left = lease.map_or(Duration::ZERO, |lease| lease.at.since(lockstead_clock::time()));
            (token.get(), 0, left)
        }
        State::Waiting { ticket } => (0, *ticket, Duration::ZERO),
        State::Asked(_) => (0, 0, Duration::ZERO),
    };
    let session = hold.session().map_or_else(|| pseudo.to_vec(), record::session_bytes);
    let (asked, request) = ttl_and_request(&hold.party);
    let ttl = match &hold.state {
        State::Held { lease: Some(lease), .. } => lease.ttl,
        _ => asked,
    };
    vec![
        b"Y".to_vec(),
        record::hold_bytes(id),
        record::resource_bytes(&hold.resource),
        figure(hold.claim.permits()),
        figure(hold.claim.limit()),
        session,
        figure(ttl.as_millis()),
        request,
        figure(token),
        figure(ticket),
        figure(hold.since.as_micros()),
        hold.details().write(),
        figure(left.as_millis()),
    ]
}
