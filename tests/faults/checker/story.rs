//! The lines of a history, put together: what became of each acquire, and when what was broken.

use std::collections::{BTreeMap, HashMap};

use super::{Rule, Violation};
use crate::fault::Fault;
use crate::history::{Ask, Event, HungOn, Line, Micros, Op, Process, Refusal};
use crate::plan::Site;

/// What is put to all times by which something must be over: machines are slow sometimes.
pub(super) const MARGIN: Micros = 1_000_000;

/// One acquire.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub(super) op: Op,
    pub(super) ask: Ask,
    pub(super) asked: Micros,
    /// When it was known to stand in the queue.
    pub(super) queued: Option<Micros>,
    pub(super) outcome: Outcome,
    /// The last deadline that the holder knew.
    pub(super) until: Micros,
    pub(super) loss: Option<Loss>,
    pub(super) giving_back: Option<Micros>,
    pub(super) given_back: Option<Micros>,
}

/// What came of an acquire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nobody has said.
    Open,
    Granted {
        at: Micros,
        token: u64,
    },
    Refused {
        at: Micros,
        why: Refusal,
    },
    Dropped {
        at: Micros,
    },
    /// An error: it may have been granted.
    Unknown {
        at: Micros,
        reason: String,
        message: String,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) noticed: Micros,
    pub(super) since: Micros,
    pub(super) reason: String,
}

/// A time in which a client believes that it holds; its end is not part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belief<'a> {
    pub(super) story: &'a Story,
    pub(super) token: u64,
    pub(super) begin: Micros,
    pub(super) end: Micros,
}

/// A fault, from its beginning until it was mended.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    pub(super) fault: Fault,
    pub(super) begin: Micros,
    pub(super) end: Micros,
}

/// A life of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) killed: Option<Micros>,
    pub(super) ended: Option<(Micros, bool)>,
    /// From each stop to its continuation.
    pub(super) stops: Vec<(Micros, Micros)>,
}

/// A whole run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) site: Site,
    pub(super) stories: BTreeMap<Op, Story>,
    pub(super) outages: Vec<Outage>,
    pub(super) lives: BTreeMap<Process, Life>,
    /// When the machine stood still.
    pub(super) stalls: Vec<(Micros, Micros)>,
    /// Still held or waited for at the end.
    pub(super) left_over: Vec<(Micros, String)>,
    pub(super) end: Micros,
}

impl Run {
    /// Reads a history. Lines of different processes may be in any order, those of one process are as it wrote them.
    pub(super) fn read(lines: &[Line]) -> Result<Self, Violation> {
        let mut lines: Vec<&Line> = lines.iter().collect();
        lines.sort_by_key(|line| line.at);
        let broken = |at, what: &str| Violation { rule: Rule::History, at, ops: Vec::new(), what: what.to_owned() };
        let site =
            lines.iter().find_map(|line| if let Event::Run(site) = &line.event { Some(site.clone()) } else { None });
        let mut run = Self {
            site: site.ok_or_else(|| broken(0, "it does not say what ran"))?,
            stories: BTreeMap::new(),
            outages: Vec::new(),
            lives: BTreeMap::new(),
            stalls: Vec::new(),
            left_over: Vec::new(),
            end: lines.last().map_or(0, |line| line.at),
        };
        let mut open_faults = HashMap::new();
        for Line { at, event } in lines {
            if let Some(op) = event.op() {
                run.tell(*at, op, event).map_err(|what| broken(*at, &format!("{op} {what}")))?;
            } else {
                run.note(*at, event, &mut open_faults);
            }
        }
        Ok(run)
    }

    /// Adds a line to an acquire's story.
    fn tell(&mut self, at: Micros, op: Op, event: &Event) -> Result<(), &'static str> {
        if let Event::Asked { ask, .. } = event {
            let story = Story {
                op,
                ask: ask.clone(),
                asked: at,
                queued: None,
                outcome: Outcome::Open,
                until: 0,
                loss: None,
                giving_back: None,
                given_back: None,
            };
            return if self.stories.insert(op, story).is_some() { Err("was asked twice") } else { Ok(()) };
        }
        let story = self.stories.get_mut(&op).ok_or("was never asked")?;
        match event {
            Event::Granted { token, until, .. } => {
                story.outcome = Outcome::Granted { at, token: *token };
                story.until = *until;
            }
            Event::Refused { why, .. } => story.outcome = Outcome::Refused { at, why: *why },
            Event::Dropped { .. } => story.outcome = Outcome::Dropped { at },
            Event::Failed { reason, message, .. } => {
                story.outcome = Outcome::Unknown { at, reason: reason.clone(), message: message.clone() };
            }
            Event::Valid { until, .. } => story.until = story.until.max(*until),
            Event::Lost { reason, since, .. } => {
                story.loss = Some(Loss { noticed: at, since: *since, reason: reason.clone() });
            }
            Event::GivingBack { .. } => story.giving_back = Some(at),
            Event::GivenBack { .. } => story.given_back = Some(at),
            _ => {}
        }
        Ok(())
    }

    fn note(&mut self, at: Micros, event: &Event, open_faults: &mut HashMap<usize, usize>) {
        match event {
            Event::Started { process } => _ = self.lives.entry(*process).or_default(),
            Event::Killed { process } => self.life(*process).killed = Some(at),
            Event::Stopped { process } => self.life(*process).stops.push((at, Micros::MAX)),
            Event::Continued { process } => {
                if let Some((_, end)) = self.life(*process).stops.last_mut() {
                    *end = at;
                }
            }
            Event::Ended { process, in_time } => self.life(*process).ended = Some((at, *in_time)),
            Event::FaultBegins { number, fault } => {
                open_faults.insert(*number, self.outages.len());
                self.outages.push(Outage { fault: fault.clone(), begin: at, end: Micros::MAX });
            }
            Event::FaultEnds { number } => {
                if let Some(outage) = open_faults.remove(number).and_then(|index| self.outages.get_mut(index)) {
                    outage.end = at;
                }
            }
            Event::Stalled { for_ms } => self.stalls.push((at.saturating_sub(for_ms * 1_000), at)),
            Event::Queue { waiting, .. } => {
                for op in waiting {
                    if let Some(story) = self.stories.get_mut(op) {
                        story.queued.get_or_insert(at);
                    }
                }
            }
            Event::LeftOver { name, .. } => self.left_over.push((at, name.clone())),
            _ => {}
        }
    }

    fn life(&mut self, process: Process) -> &mut Life {
        self.lives.entry(process).or_default()
    }

    /// The acquires of each name.
    pub(super) fn by_name(&self) -> BTreeMap<&str, Vec<&Story>> {
        let mut names: BTreeMap<&str, Vec<&Story>> = BTreeMap::new();
        for story in self.stories.values() {
            names.entry(&story.ask.name).or_default().push(story);
        }
        names
    }

    /// When the acquire's client believed that it held; nothing if it never did, or for no time at all.
    pub(super) fn belief<'a>(&self, story: &'a Story) -> Option<Belief<'a>> {
        let Outcome::Granted { at: begin, token } = story.outcome else { return None };
        let killed = self.lives.get(&story.op.process).and_then(|life| life.killed);
        let lost = story.loss.as_ref().map(|loss| loss.since);
        let ends = [Some(story.until), story.giving_back, lost, killed];
        let end = ends.into_iter().flatten().min()?;
        let end = self.stream_end(story, begin, end).unwrap_or(end);
        (begin < end).then_some(Belief { story, token, begin, end })
    }

    /// A session that is released by the end of its stream is free for others at once, and the end is its client's
    /// notice; but the server may see it first, and the client may give the hold back meanwhile. So such a belief counts
    /// only until what ended the stream. And where one server is everything, its end is the end of all.
    fn stream_end(&self, story: &Story, begin: Micros, end: Micros) -> Option<Micros> {
        if self.site.outlives_servers() && story.ask.hung_on != HungOn::Release {
            return None;
        }
        let client = story.op.process.client;
        let outages = self.outages.iter().filter(|outage| outage.fault.ends_streams_of(client, &self.site));
        outages.filter(|outage| outage.begin < end && begin < outage.end).map(|outage| outage.begin.max(begin)).min()
    }

    /// For how long after the end of a fault its consequences may show.
    fn aftermath(&self, victim: Option<usize>) -> Micros {
        let lease = if victim.is_none() { self.lease() } else { 0 };
        lease + self.longest_session() + MARGIN
    }

    /// How long a server is missed. No lease of a client is longer, either.
    pub(super) fn lease(&self) -> Micros {
        self.site.server_lease_ms * 1_000
    }

    /// How long a client is missed.
    pub(super) fn longest_session(&self) -> Micros {
        self.site.clients.iter().map(|client| client.session_timeout_ms * 1_000).max().unwrap_or(0)
    }

    /// The faults that may show between two moments.
    pub(super) fn outages_between(&self, from: Micros, to: Micros) -> impl Iterator<Item = &Outage> {
        self.outages.iter().filter(move |outage| {
            outage.begin <= to && outage.end.saturating_add(self.aftermath(outage.fault.victim())) >= from
        })
    }

    /// Whether the machine stood still then, or shortly before.
    pub(super) fn stalled_between(&self, from: Micros, to: Micros) -> bool {
        let aftermath = self.aftermath(None);
        self.stalls.iter().any(|(begin, end)| *begin <= to && end + aftermath >= from)
    }

    /// Whether an acquire or hold may have suffered from something between two moments.
    pub(super) fn is_disturbed(&self, story: &Story, from: Micros, to: Micros) -> bool {
        let client = story.op.process.client;
        self.stalled_between(from, to) || self.outages_between(from, to).any(|outage| outage.fault.concerns(client))
    }

    /// When a process had come to its end.
    pub(super) fn gone_at(&self, process: Process) -> Option<Micros> {
        let life = self.lives.get(&process)?;
        life.killed.or(life.ended.map(|(at, _)| at))
    }
}
