//! Other programs at a lock file, as far as can be told, and their fair turn.
//!
//! The kernel hands a lock to whoever asks first once it is free. While one client of this server follows another it is
//! free for moments at most, and a program that polls would never get it. So once the server has kept out a program that
//! is around for [`TURN`], it lets go between two of its own holders, until that program has had the lock or has not come
//! for [`STAND_BACK`]. Who does not come may be slow, or have the file open for something else: the next turn is offered
//! later and later.

use std::time::Duration;

use lockstead_core::Time;

/// How long a server may hand a lock from one of its own holders to the next while another program waits.
const TURN: Duration = Duration::from_millis(250);
/// How long it leaves the lock to the others then. The slowest of the usual programs looks every 250 ms.
const STAND_BACK: Duration = Duration::from_millis(300);
/// A program that opens the file anew for each try is away in between.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(1);
/// After so many turns that nobody came for, the time to the next (16 s) does not double any more.
const MISSED_MAX: u32 = 6;

/// What is known of the others at one file.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Descriptors that they opened since the server looks. Not exact: the kernel tells equal events once.
    open: u32,
    last_seen: Option<Time>,
    /// Since when they can't have had the lock but for moments.
    kept_out_since: Option<Time>,
    stand_back_until: Option<Time>,
    /// Turns in a row that they did not come for.
    missed: u32,
    /// Since when the lock is free because no client wants it.
    free_since: Option<Time>,
}

impl Others {
    /// One of them opened the file.
    pub(super) fn opened(&mut self, now: Time) {
        if !self.are_around(now) {
            self.kept_out_since = Some(now);
            self.missed = 0;
        }
        self.open += 1;
        self.last_seen = Some(now);
    }

    /// One of them closed it: has had the lock, or waits no more.
    pub(super) fn closed(&mut self) {
        self.open = self.open.saturating_sub(1);
        if self.stand_back_until.take().is_some() {
            self.missed = 0;
        }
    }

    /// One of them holds the lock.
    pub(super) fn held(&mut self, now: Time) {
        self.last_seen = Some(now);
        self.kept_out_since = None;
        self.stand_back_until = None;
        self.missed = 0;
        self.free_since = None;
    }

    /// Whether one of them, as far as is known, has the file open.
    pub(super) fn have_it_open(&self) -> bool {
        self.open > 0
    }

    /// Whether the lock is to be left to them now. If so, the server stands back.
    pub(super) fn have_their_turn(&mut self, now: Time) -> bool {
        if self.free_since.is_some() && !self.have_a_chance(now) {
            self.kept_out_since = None;
        }
        let patience = TURN * 2_u32.pow(self.missed);
        let due = self.are_around(now) && self.kept_out_since.is_some_and(|since| now.since(since) >= patience);
        if due {
            self.kept_out_since = None;
            self.free_since = None;
            self.stand_back_until = Some(now.saturating_add(STAND_BACK));
        }
        due
    }

    /// Whether the server stands back for them.
    pub(super) fn come_first(&self, now: Time) -> bool {
        self.stand_back_until.is_some_and(|until| now < until)
    }

    /// The server has the lock.
    pub(super) fn taken(&mut self, now: Time) {
        if self.stand_back_until.take().is_some() {
            self.missed = (self.missed + 1).min(MISSED_MAX);
        }
        self.free_since = None;
        self.kept_out_since.get_or_insert(now);
    }

    /// The server has let go of the lock, since no client wants it.
    pub(super) fn let_go(&mut self, now: Time) {
        self.free_since = Some(now);
    }

    /// Whether the lock is free, and has not been for as long as a turn takes.
    pub(super) fn have_a_chance(&self, now: Time) -> bool {
        self.free_since.is_some_and(|since| now.since(since) < STAND_BACK)
    }

    fn are_around(&self, now: Time) -> bool {
        self.have_it_open() || self.last_seen.is_some_and(|seen| now.since(seen) < COMES_BACK_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    /// The server has the lock.
    fn taken() -> Others {
        let mut others = Others::default();
        others.taken(at(0));
        others
    }

    #[test]
    fn a_server_alone_never_stands_back() {
        let mut others = taken();
        assert!(!others.have_their_turn(at(10_000)));
        assert!(!others.come_first(at(10_000)));
    }

    #[test]
    fn who_waits_has_a_turn_after_the_server_has_had_its_own() {
        let mut others = taken();
        others.opened(at(100));
        assert!(!others.have_their_turn(at(349)));
        assert!(others.have_their_turn(at(350)));
        assert!(others.come_first(at(649)) && !others.come_first(at(650)));
    }

    #[test]
    fn the_turn_is_over_when_it_was_had() {
        for end in [|others: &mut Others| others.closed(), |others: &mut Others| others.held(at(300))] {
            let mut others = taken();
            others.opened(at(1));
            assert!(others.have_their_turn(at(251)));
            end(&mut others);
            assert!(!others.come_first(at(301)));
            others.taken(at(301));
            assert!(!others.have_their_turn(at(550)));
        }
    }

    #[test]
    fn who_does_not_come_has_another_turn_but_later_each_time() {
        let mut others = taken();
        others.opened(at(0));
        let mut now = 0;
        for patience in [250, 500, 1000, 2000, 4000, 8000, 16_000, 16_000] {
            assert!(!others.have_their_turn(at(now + patience - 1)));
            assert!(others.have_their_turn(at(now + patience)));
            now += patience + 300;
            others.taken(at(now));
        }
        assert!(others.have_their_turn(at(now + 16_000)));
        others.held(at(now + 16_100));
        others.taken(at(now + 16_200));
        assert!(others.have_their_turn(at(now + 16_450)), "it came at last");
    }

    #[test]
    fn who_opens_the_file_for_each_try_waits_in_between_too() {
        let mut others = taken();
        others.opened(at(0));
        others.closed();
        others.opened(at(200));
        others.closed();
        assert!(others.have_their_turn(at(260)));
        others.taken(at(560));
        assert!(!others.have_their_turn(at(2000)), "it does not come back");
    }

    /// Between two clients of which the second came a moment too late to take over from the first.
    #[test]
    fn a_moment_in_which_the_lock_is_free_is_no_turn() {
        let mut others = taken();
        others.opened(at(0));
        for now in [50, 100, 150, 200] {
            others.let_go(at(now));
            assert!(!others.have_their_turn(at(now + 1)));
            others.taken(at(now + 1));
        }
        others.let_go(at(250));
        assert!(others.have_their_turn(at(251)));
    }

    #[test]
    fn who_did_not_come_while_the_lock_was_free_does_not_wait() {
        let mut others = taken();
        others.opened(at(0));
        others.let_go(at(1000));
        assert!(others.have_a_chance(at(1299)) && !others.have_a_chance(at(1300)));
        assert!(!others.have_their_turn(at(1300)));
        others.taken(at(1300));
        assert!(!others.have_their_turn(at(1549)) && others.have_their_turn(at(1550)));
    }
}
