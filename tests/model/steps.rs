//! What can happen, in plain numbers and texts, and how it is drawn at random: from so few names, sessions and ids that
//! everything collides with everything.

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use crate::reference::Reference;

/// One step: some time passes, the wall clock may be set, a command comes.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Milliseconds that pass before the command.
    pub(crate) pause: u64,
    /// What the wall clock is set to, in milliseconds.
    pub(crate) set_wall: Option<u64>,
    /// Then this.
    pub(crate) action: Action,
}

/// A command.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Asks for a hold.
    Acquire(Ask),
    /// Renews a lease.
    Renew { hold: u32, thing: Thing, ttl: Option<u64> },
    /// A session releases.
    ReleaseAsSession { hold: u32, session: u8 },
    /// Anybody releases.
    ReleaseAsBearer { hold: u32, thing: Thing },
    /// Takes back the acquire of a lease.
    CancelLease { hold: u32, give_back: bool },
    /// Takes back an acquire of a session.
    CancelRequest { session: u8, request: u64, give_back: bool },
    /// A session ends, by timeout or by disconnection.
    EndSession { session: u8, timeout: bool },
    /// A session is resumed.
    Resume { session: u8, claims: Vec<(u32, u32)>, pending: Vec<u64> },
    /// What these holds rest on is gone.
    Lose(Vec<u32>),
    /// From now on the gate says that others hold it, or that it can't tell.
    Shut { thing: Thing, jammed: bool },
    /// The gate lets in again, and is asked.
    Open(Thing),
    /// Nothing but time.
    Expire,
    /// Describes a resource.
    Get(Thing),
}

/// A resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thing {
    /// Semaphore or lock.
    pub(crate) semaphore: bool,
    /// Its name.
    pub(crate) name: &'static str,
}

/// An acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The fresh id.
    pub(crate) hold: u32,
    /// Of what.
    pub(crate) thing: Thing,
    /// How much.
    pub(crate) want: Want,
    /// For whom.
    pub(crate) who: Who,
    /// Who asks.
    pub(crate) owner: &'static str,
    /// Not only a try.
    pub(crate) queue: bool,
}

/// How much of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// A lock, alone.
    Exclusive,
    /// A lock, with others.
    Shared,
    /// So many of so many permits.
    Permits(u32, u32),
}

/// Whom a hold belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A session, under its own number, perhaps re-entrant.
    Session { session: u8, request: u64, key: Option<&'static str> },
    /// Itself, for so many milliseconds, perhaps under a request id.
    Lease { ttl: u64, request: Option<&'static str> },
}

const SESSIONS: [u8; 3] = [1, 2, 3];
const REQUESTS: [u64; 6] = [1, 2, 3, 4, 5, 6];
const TTLS: [u64; 3] = [2, 3, 7];

/// Draws the next step.
pub(crate) fn step(reference: &Reference) -> BoxedStrategy<Step> {
    let pause = prop_oneof![8 => Just(0), 2 => 1..4_u64];
    let set_wall = prop_oneof![19 => Just(None), 1 => (0..3000_u64).prop_map(Some)];
    (pause, set_wall, action(reference)).prop_map(|(pause, set_wall, action)| Step { pause, set_wall, action }).boxed()
}

/// Whoever asks gives the hold a name that is new. Shrinking would not care.
pub(crate) fn names_are_fresh(reference: &Reference, step: &Step) -> bool {
    !matches!(step.action, Action::Acquire(ask) if ask.hold <= reference.issued)
}

fn action(reference: &Reference) -> BoxedStrategy<Action> {
    let fresh = reference.issued + 1;
    // Mostly ids that mean something, sometimes one that nobody ever saw.
    let hold = select(reference.known_holds().chain([0]).collect::<Vec<_>>());
    let lease = select(reference.known_leases().chain([0]).collect::<Vec<_>>());
    let session = || select(&SESSIONS[..]);
    let ttl = proptest::option::of(select(&TTLS[..]));
    let released = reference.release_hints();
    prop_oneof![
        40 => ask(fresh).prop_map(Action::Acquire),
        // The same again, or almost.
        20 => (any::<Index>(), ask(fresh), select(&REQUESTS[..]), 0..9_u8).prop_map(repeat_of(reference)),
        6 => (lease.clone(), thing(), ttl, any::<Index>()).prop_map(renew_of(reference)),
        16 => (any::<Index>(), hold.clone(), session(), 0..5_u8).prop_map(move |(index, hold, session, twist)| {
            match released.as_slice() {
                hints if twist > 0 && !hints.is_empty() => {
                    let (hold, session) = *index.get(hints);
                    Action::ReleaseAsSession { hold, session }
                }
                _ => Action::ReleaseAsSession { hold, session },
            }
        }),
        8 => (hold.clone(), thing(), any::<bool>()).prop_map(bearer_of(reference)),
        5 => (lease, any::<bool>()).prop_map(|(hold, give_back)| Action::CancelLease { hold, give_back }),
        7 => (session(), select(&REQUESTS[..]), any::<bool>())
            .prop_map(|(session, request, give_back)| Action::CancelRequest { session, request, give_back }),
        2 => (session(), any::<bool>()).prop_map(|(session, timeout)| Action::EndSession { session, timeout }),
        4 => resume(reference),
        2 => proptest::collection::vec(hold.clone(), 1..4).prop_map(Action::Lose),
        1 => (thing(), any::<bool>()).prop_map(|(thing, jammed)| Action::Shut { thing, jammed }),
        4 => open(reference),
        3 => Just(Action::Expire),
        1 => thing().prop_map(Action::Get),
    ]
    .boxed()
}

fn thing() -> impl Strategy<Value = Thing> {
    (prop_oneof![4 => Just("a"), 1 => Just("b"), 1 => Just("c")], any::<bool>())
        .prop_map(|(name, semaphore)| Thing { semaphore, name })
}

fn ask(hold: u32) -> impl Strategy<Value = Ask> {
    let limit = prop_oneof![14 => Just(5_u32), 1 => Just(4)];
    let key = prop_oneof![3 => Just(None), 5 => Just(Some("k")), 1 => Just(Some("j"))];
    let of_session = (select(&SESSIONS[..]), select(&REQUESTS[..]), key)
        .prop_map(|(session, request, key)| Who::Session { session, request, key });
    let request = prop_oneof![Just(None), select(&["r", "s", "t", "u"][..]).prop_map(Some)];
    let of_lease = (select(&TTLS[..]), request).prop_map(|(ttl, request)| Who::Lease { ttl, request });
    let who = prop_oneof![3 => of_session, 2 => of_lease];
    let owner = prop_oneof![9 => Just("p"), 1 => Just("q")];
    let queue = prop_oneof![5 => Just(true), 1 => Just(false)];
    (thing(), any::<bool>(), limit, 0..5_u32, who, owner, queue).prop_map(
        move |(thing, exclusive, limit, permits, who, owner, queue)| {
            let want = match (thing.semaphore, exclusive) {
                (true, _) => Want::Permits(permits.min(limit - 1) + 1, limit),
                (false, true) => Want::Exclusive,
                (false, false) => Want::Shared,
            };
            Ask { hold, thing, want, who, owner, queue }
        },
    )
}

fn repeat_of(reference: &Reference) -> impl Fn((Index, Ask, u64, u8)) -> Action + use<> {
    let asks = reference.live_asks();
    move |(index, other, request, twist)| {
        let Some(first) = (!asks.is_empty()).then(|| *index.get(&asks)) else { return Action::Acquire(other) };
        let again = Ask { hold: other.hold, ..first };
        Action::Acquire(match twist {
            0 => Ask { want: other.want, thing: other.thing, ..again },
            1 => Ask { owner: other.owner, queue: other.queue, ..again },
            2..=5 => next_of_same(again, other.want, request),
            _ => again,
        })
    }
}

/// The same party's next acquire: of a session with another number, but with the same owner key if it has one.
fn next_of_same(first: Ask, want: Want, request: u64) -> Ask {
    let same_kind = matches!(want, Want::Permits(..)) == first.thing.semaphore;
    let who = match first.who {
        Who::Session { session, key, .. } => Who::Session { session, request, key },
        lease @ Who::Lease { .. } => lease,
    };
    Ask { want: if same_kind { want } else { first.want }, who, ..first }
}

fn renew_of(reference: &Reference) -> impl Fn((u32, Thing, Option<u64>, Index)) -> Action + use<> {
    let live = reference.live_leases();
    move |(hold, thing, ttl, index)| {
        let (hold, thing) = if live.is_empty() || hold == 0 { (hold, thing) } else { *index.get(&live) };
        Action::Renew { hold, thing, ttl }
    }
}

fn bearer_of(reference: &Reference) -> impl Fn((u32, Thing, bool)) -> Action + use<> {
    let reference = reference.clone();
    move |(hold, thing, right)| {
        let thing = if right { reference.thing_of(hold).unwrap_or(thing) } else { thing };
        Action::ReleaseAsBearer { hold, thing }
    }
}

/// Mostly one that is shut.
fn open(reference: &Reference) -> impl Strategy<Value = Action> + use<> {
    let shut: Vec<_> = reference.shut.iter().map(|(thing, _)| *thing).collect();
    (any::<Index>(), thing())
        .prop_map(move |(index, other)| Action::Open(if shut.is_empty() { other } else { *index.get(&shut) }))
}

fn resume(reference: &Reference) -> impl Strategy<Value = Action> + use<> {
    let reference = reference.clone();
    select(&SESSIONS[..]).prop_flat_map(move |session| {
        let mut holds = reference.holds_of(session);
        // And one that it may have lost, or never had.
        holds.extend(reference.known_holds().last());
        holds.sort_unstable();
        holds.dedup();
        let most = holds.len();
        let claims = subsequence(holds, 0..=most).prop_flat_map(|holds| {
            let entries = proptest::collection::vec(0..4_u32, holds.len());
            entries.prop_map(move |entries| holds.iter().copied().zip(entries).collect::<Vec<_>>())
        });
        (claims, subsequence(REQUESTS.to_vec(), 0..=REQUESTS.len())).prop_map(move |(claims, pending)| Action::Resume {
            session,
            claims,
            pending,
        })
    })
}
