//! Other programs at a lock file, as far as can be told, and their fair turn.
//!
//! The kernel hands a lock to whoever asks first once it is free. While one waiter of this server follows another it is
//! never free, and a program that polls would never get it. So once the server has had the lock for [`TURN`] while
//! another program was around, it lets go between two of its own holders, until that program has had the lock or has not
//! come for [`STAND_BACK`].

use std::time::Duration;

use lockstead_core::Time;

/// How long a server may hand a lock from one of its own waiters to the next while another program waits.
const TURN: Duration = Duration::from_millis(250);
/// How long it leaves the lock to the others then. The slowest of the usual programs looks every 250 ms.
const STAND_BACK: Duration = Duration::from_millis(300);
/// A program that opens the file anew for each try is away in between.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(1);

/// What is known of the others at one file.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Descriptors that they opened since the server looks. Not exact: the kernel tells equal events once.
    open: u32,
    last_seen: Option<Time>,
    stand_back_until: Option<Time>,
}

impl Others {
    /// One of them opened the file.
    pub(super) fn opened(&mut self, now: Time) {
        self.open += 1;
        self.last_seen = Some(now);
    }

    /// One of them closed it: has had the lock, or waits no more.
    pub(super) fn closed(&mut self) {
        self.open = self.open.saturating_sub(1);
        self.stand_back_until = None;
    }

    /// One of them holds the lock.
    pub(super) fn held(&mut self, now: Time) {
        self.last_seen = Some(now);
        self.stand_back_until = None;
    }

    /// Whether the lock, which the server has had since `taken`, is to be left to them now. If so, the server stands back.
    pub(super) fn have_their_turn(&mut self, taken: Time, now: Time) -> bool {
        let recently = |seen| now.since(seen) < COMES_BACK_WITHIN;
        let around = self.open > 0 || self.last_seen.is_some_and(recently);
        let due = around && now.since(taken) >= TURN;
        if due {
            self.stand_back_until = Some(now.saturating_add(STAND_BACK));
        }
        due
    }

    /// Whether the server stands back for them.
    pub(super) fn come_first(&self, now: Time) -> bool {
        self.stand_back_until.is_some_and(|until| now < until)
    }

    /// The server has the lock again. Who did not come while it stood back does not wait.
    pub(super) fn taken(&mut self) {
        if self.stand_back_until.take().is_some() {
            self.open = 0;
            self.last_seen = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn a_server_alone_never_stands_back() {
        let mut others = Others::default();
        assert!(!others.have_their_turn(at(0), at(10_000)));
        assert!(!others.come_first(at(10_000)));
    }

    #[test]
    fn who_waits_has_a_turn_after_the_server_has_had_its_own() {
        let mut others = Others::default();
        others.opened(at(1));
        assert!(!others.have_their_turn(at(0), at(249)));
        assert!(others.have_their_turn(at(0), at(250)));
        assert!(others.come_first(at(549)) && !others.come_first(at(550)));
    }

    #[test]
    fn the_turn_is_over_when_it_was_had() {
        for end in [|others: &mut Others| others.closed(), |others: &mut Others| others.held(at(300))] {
            let mut others = Others::default();
            others.opened(at(1));
            assert!(others.have_their_turn(at(0), at(250)));
            end(&mut others);
            assert!(!others.come_first(at(301)));
        }
    }

    #[test]
    fn who_does_not_come_is_not_waited_for_again() {
        let mut others = Others::default();
        others.opened(at(1));
        assert!(others.have_their_turn(at(0), at(250)));
        others.taken();
        assert!(!others.have_their_turn(at(550), at(900)));
        others.opened(at(901));
        assert!(others.have_their_turn(at(550), at(902)));
    }

    #[test]
    fn who_opens_the_file_for_each_try_waits_in_between_too() {
        let mut others = Others::default();
        others.opened(at(200));
        others.closed();
        assert!(others.have_their_turn(at(0), at(260)));
        others.taken();
        others.held(at(1000));
        assert!(!others.have_their_turn(at(0), at(2000)));
    }
}
