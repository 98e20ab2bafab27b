//! What the reference keeps: plain lists, of which every step makes new ones by the [`crate::rules`].

use crate::steps::{Ask, Thing};

/// All there is to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reference {
    /// Milliseconds on the monotonic clock.
    pub(crate) now: u64,
    /// Milliseconds on the wall clock.
    pub(crate) wall: u64,
    /// Those in use.
    pub(crate) resources: Vec<Resource>,
    /// Those whose gate is shut; whether because it can't tell who is in.
    pub(crate) shut: Vec<(Thing, bool)>,
    /// Holds that have ended, oldest first.
    pub(crate) graves: Vec<Grave>,
    /// Every acquire so far, by its fresh id.
    pub(crate) asks: Vec<Ask>,
    /// The largest hold id so far.
    pub(crate) issued: u32,
    /// Of the last step.
    pub(crate) answer: Answer,
    /// Of the last step.
    pub(crate) notes: Vec<Note>,
}

/// A resource in use.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// Which.
    pub(crate) thing: Thing,
    pub(crate) limit: u32,
    /// Oldest first.
    pub(crate) holders: Vec<Holder>,
    /// Next first.
    pub(crate) queue: Vec<Waiter>,
}

/// One that holds.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    /// The request that was granted.
    pub(crate) ask: Ask,
    /// The session's numbers for it.
    pub(crate) entries: Vec<u64>,
    /// Its end, unless it hangs on a session.
    pub(crate) lease: Option<Lease>,
    /// By the wall clock.
    pub(crate) since: u64,
}

/// How a lease ends by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// When.
    pub(crate) until: u64,
    /// The same by the wall clock, as it was foretold.
    pub(crate) wall: u64,
    /// How long it was to last.
    pub(crate) ttl: u64,
}

/// One that waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    /// For this.
    pub(crate) ask: Ask,
    /// By the wall clock.
    pub(crate) since: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Grave {
    pub(crate) ask: Ask,
    pub(crate) how: &'static str,
}

/// What a command answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Answer {
    /// Nothing to say.
    #[default]
    Nothing,
    /// Holds, for so many entries, until then by the wall clock if it is a lease.
    Granted { hold: u32, entries: usize, until: Option<u64> },
    /// Waits.
    Queued { hold: u32, position: usize },
    /// Neither; these hold.
    Held(Vec<u32>),
    /// Released, so many entries left.
    Released(usize),
    /// Left the queue; these hold.
    Withdrawn(Vec<u32>),
    /// A grant was given back.
    GivenBack,
    /// A grant was kept.
    Kept,
    /// No such acquire.
    Unknown,
    /// So many holds and waiters ended.
    Ended(usize),
    /// These claimed holds are gone.
    Lost(Vec<u32>),
    /// So many hold, so many wait.
    Seen(usize, usize),
    /// Not done.
    Refused(&'static str),
}

/// What others hear.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    /// About what.
    pub(crate) thing: Thing,
    /// What.
    pub(crate) what: News,
}

/// What happened to somebody.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum News {
    /// A waiter holds.
    Granted { to: Option<(u8, u64)>, hold: u32, entries: usize, until: Option<u64> },
    /// A hold ended.
    Ended { to: Option<u8>, hold: u32, how: &'static str },
}

/// What steps are drawn from.
impl Reference {
    /// All ids so far, whatever became of them.
    pub(crate) fn known_holds(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.asks.iter().map(|ask| ask.hold)
    }

    /// Those that were asked for as leases.
    pub(crate) fn known_leases(&self) -> impl Iterator<Item = u32> + '_ {
        self.asks.iter().filter(|ask| ask.session().is_none()).map(|ask| ask.hold)
    }

    /// What is held or waited for.
    pub(crate) fn live_asks(&self) -> Vec<Ask> {
        let of = |resource: &Resource| {
            let holders = resource.holders.iter().map(|holder| holder.ask);
            holders.chain(resource.queue.iter().map(|waiter| waiter.ask)).collect::<Vec<_>>()
        };
        self.resources.iter().flat_map(of).collect()
    }

    /// Leases that hold or wait, and what they are of.
    pub(crate) fn live_leases(&self) -> Vec<(u32, Thing)> {
        self.live_asks().iter().filter(|ask| ask.session().is_none()).map(|ask| (ask.hold, ask.thing)).collect()
    }

    /// Holds and the sessions that can release them.
    pub(crate) fn release_hints(&self) -> Vec<(u32, u8)> {
        self.live_asks().iter().filter_map(|ask| Some((ask.hold, ask.session()?))).collect()
    }

    /// Holders and waiters of a session.
    pub(crate) fn holds_of(&self, session: u8) -> Vec<u32> {
        self.live_asks().iter().filter(|ask| ask.session() == Some(session)).map(|ask| ask.hold).collect()
    }

    /// What an id was asked for.
    pub(crate) fn thing_of(&self, hold: u32) -> Option<Thing> {
        self.asks.iter().find(|ask| ask.hold == hold).map(|ask| ask.thing)
    }
}
