//! Which server to try next, and when.

use std::collections::VecDeque;
use std::time::Duration;

/// The longest pause after a first failure, and after any.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Goes round the servers: through each round without a pause, and more slowly with every round in vain.
#[derive(Debug)]
pub(super) struct Route {
    /// Every server once. Each client has an order of its own, so that those of a server that goes away spread over all
    /// that are left.
    order: Vec<usize>,
    /// Those not tried yet in this round, the next one first.
    ahead: VecDeque<usize>,
    /// The one that has, or had last, the stream in use.
    home: usize,
    rounds_in_vain: u32,
    /// The last failure of each server.
    failures: Vec<Option<String>>,
    pub(super) pauses: Pauses,
}

/// How long to pause before something is tried again: up to 100 ms, then up to twice as long each time, up to 1 s; and at
/// least half of that, at random, so that many clients don't all come back at once.
#[derive(Debug)]
pub(super) struct Pauses {
    random: u64,
}

impl Route {
    pub(super) fn new(servers: usize, seed: u64) -> Self {
        // Xorshift gets nowhere from zero.
        let mut pauses = Pauses { random: seed | 1 };
        let mut order: Vec<usize> = (0..servers).collect();
        for last in (1..servers).rev() {
            order.swap(last, pauses.below(last + 1));
        }
        Self {
            ahead: order.iter().copied().collect(),
            home: order.first().copied().unwrap_or_default(),
            order,
            rounds_in_vain: 0,
            failures: vec![None; servers],
            pauses,
        }
    }

    /// The servers to try now, the first one first.
    pub(super) fn ahead(&self) -> Vec<usize> {
        self.ahead.iter().copied().collect()
    }

    /// The server that has, or had last, the stream in use.
    pub(super) fn home(&self) -> usize {
        self.home
    }

    /// There is a connection to a server: what comes of it remains to be seen.
    pub(super) fn reached(&mut self, server: usize) {
        self.ahead.retain(|other| *other != server);
    }

    /// The stream with that server is the one in use.
    pub(super) fn arrived(&mut self, server: usize) {
        self.home = server;
    }

    /// A server failed, for the given reason.
    pub(super) fn failed(&mut self, server: usize, why: &str) {
        self.ahead.retain(|other| *other != server);
        self.note(server, why);
    }

    /// Remembers what is wrong with a server, for those who ask.
    pub(super) fn note(&mut self, server: usize, why: &str) {
        if let Some(failure) = self.failures.get_mut(server) {
            *failure = Some(why.to_owned());
        }
    }

    /// The session is well alive where it is: if that stream fails, its server deserves an attempt before all others.
    pub(super) fn proved(&mut self) {
        self.rounds_in_vain = 0;
        if self.ahead.len() < self.order.len() {
            self.new_round();
            self.try_first(self.home);
        }
    }

    /// Starts a round at once, which ends where the session is or was.
    pub(super) fn new_round(&mut self) {
        let home = self.order.iter().position(|server| *server == self.home).unwrap_or_default();
        let (before, after) = self.order.split_at((home + 1).min(self.order.len()));
        self.ahead = after.iter().chain(before).copied().collect();
    }

    /// A server is there and well.
    pub(super) fn try_first(&mut self, server: usize) {
        self.ahead.retain(|other| *other != server);
        self.ahead.push_front(server);
    }

    /// A server is there, but wants nobody now.
    pub(super) fn try_last(&mut self, server: usize) {
        self.ahead.retain(|other| *other != server);
        self.ahead.push_back(server);
    }

    /// How long to pause before the next attempt: not at all before every server has been tried once.
    pub(super) fn pause(&mut self) -> Duration {
        if !self.ahead.is_empty() {
            return Duration::ZERO;
        }
        self.new_round();
        self.rounds_in_vain += 1;
        self.pauses.after(self.rounds_in_vain)
    }

    pub(super) fn failures(&self) -> &[Option<String>] {
        &self.failures
    }
}

impl Pauses {
    /// The pause after so many failures in a row.
    pub(super) fn after(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(8);
        let half = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE) / 2;
        half + half * self.next_random() / 1024
    }

    /// 0 to `end` - 1, for small numbers.
    fn below(&mut self, end: usize) -> usize {
        self.next_random() as usize * end / 1024
    }

    /// 0 to 1023.
    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 54) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries all servers ahead, in vain.
    fn go_round(route: &mut Route) -> Vec<usize> {
        let round = route.ahead();
        for server in &round {
            route.failed(*server, "no");
        }
        round
    }

    #[test]
    fn pauses_grow_from_50_ms_to_1_s_and_are_scattered() {
        let mut route = Route::new(1, 7);
        let mut pause = || {
            go_round(&mut route);
            route.pause().as_millis()
        };
        let pauses: Vec<u128> = (0..40).map(|_| pause()).collect();
        assert!((50..100).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses[5..].iter().all(|pause| (500..1000).contains(pause)), "{pauses:?}");
        assert!(pauses[5..].iter().any(|pause| *pause != pauses[5]), "{pauses:?}");
        go_round(&mut route);
        route.proved();
        assert_eq!(route.pause(), Duration::ZERO);
        go_round(&mut route);
        assert!(route.pause().as_millis() < 100);
    }

    #[test]
    fn there_is_no_pause_before_every_server_was_tried() {
        let mut route = Route::new(3, 7);
        for _ in 0..3 {
            assert_eq!(route.pause(), Duration::ZERO);
            let next = route.ahead()[0];
            route.reached(next);
            route.failed(next, "no");
        }
        assert!(!route.pause().is_zero());
        assert_eq!(route.ahead().len(), 3);
    }

    #[test]
    fn clients_begin_with_different_servers_and_go_on_to_different_ones() {
        let mut orders: Vec<_> =
            (0..200).map(|seed: u64| Route::new(3, seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
        let mut orders: Vec<_> = orders.iter_mut().map(go_round).collect();
        orders.sort_unstable();
        orders.dedup();
        assert_eq!(orders.len(), 6, "every order there is: {orders:?}");
    }

    #[test]
    fn a_proved_server_is_tried_again_first_and_one_that_is_to_be_left_last() {
        let mut route = Route::new(3, 7);
        let all = route.ahead();
        route.reached(all[1]);
        assert_eq!(route.ahead(), [all[0], all[2]]);
        route.arrived(all[1]);
        route.proved();
        assert_eq!(route.ahead(), [all[1], all[2], all[0]]);
        route.new_round();
        assert_eq!(route.ahead(), [all[2], all[0], all[1]]);
        route.try_first(all[1]);
        assert_eq!(route.ahead(), [all[1], all[2], all[0]]);
        route.try_last(all[1]);
        assert_eq!(route.ahead(), [all[2], all[0], all[1]]);
    }
}
