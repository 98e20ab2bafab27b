//! Until when a session's holds can be relied on: shared by the session's task, which moves the deadline on, and by all
//! guards, which read it at any instant, whether that task runs or not.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstead_core::Time;

use crate::loss::{HoldState, Loss};

/// Set in the deadline once it has passed and somebody saw it.
const EXPIRED: u64 = 1 << 63;
/// Set in the deadline when the session ended otherwise, for the reason in `end`.
const ENDED: u64 = 1 << 62;
const OVER: u64 = EXPIRED | ENDED;

/// The validity of one session.
///
/// It ends once, and for one reason. Whoever finds the deadline passed decides this for all, with a compare-and-swap on
/// the same word that an answered ping would move on: either the guard saw it end, or the ping extended it.
#[derive(Debug)]
pub(crate) struct Validity {
    /// Microseconds, and above them the two flags.
    deadline: AtomicU64,
    /// When the state turns to "at risk" if no answer comes.
    at_risk_from: AtomicU64,
    /// Set before [`ENDED`].
    end: OnceLock<Loss>,
}

impl Validity {
    /// Valid until `deadline`, and at risk from `at_risk_from` on.
    pub(crate) fn new(deadline: Time, at_risk_from: Time) -> Self {
        Self {
            deadline: AtomicU64::new(deadline.as_micros() & !OVER),
            at_risk_from: AtomicU64::new(at_risk_from.as_micros()),
            end: OnceLock::new(),
        }
    }

    /// The server has confirmed the session. What it promised before still stands, so the deadline does not move back.
    /// False if it is too late: validity does not come back.
    pub(crate) fn confirm(&self, now: Time, deadline: Time, at_risk_from: Time) -> bool {
        self.move_deadline(now, at_risk_from, |current| current.max(deadline.as_micros() & !OVER))
    }

    /// Another server has taken the session, and does not answer for what the one before it promised: the deadline moves
    /// to wherever this one says. False as for [`Validity::confirm`].
    pub(crate) fn replace(&self, now: Time, deadline: Time, at_risk_from: Time) -> bool {
        self.move_deadline(now, at_risk_from, |_| deadline.as_micros() & !OVER)
    }

    fn move_deadline(&self, now: Time, at_risk_from: Time, next: impl Fn(u64) -> u64) -> bool {
        let mut current = self.deadline.load(Ordering::Acquire);
        loop {
            if self.is_past(now, current) {
                return false;
            }
            let exchanged =
                self.deadline.compare_exchange_weak(current, next(current), Ordering::AcqRel, Ordering::Acquire);
            match exchanged {
                Ok(_) => break,
                Err(changed) => current = changed,
            }
        }
        self.at_risk_from.store(at_risk_from.as_micros(), Ordering::Release);
        true
    }

    /// The server can't be heard from now on.
    pub(crate) fn put_at_risk(&self, now: Time) {
        self.at_risk_from.fetch_min(now.as_micros(), Ordering::AcqRel);
    }

    /// Ends the validity, unless it has ended already.
    pub(crate) fn end(&self, now: Time, loss: Loss) {
        if self.end.set(loss).is_err() {
            return;
        }
        let mut current = self.deadline.load(Ordering::Acquire);
        while !self.is_past(now, current) {
            match self.deadline.compare_exchange_weak(current, current | ENDED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(changed) => current = changed,
            }
        }
    }

    /// Why the holds of the session are lost, if they are.
    pub(crate) fn loss(&self, now: Time) -> Option<Loss> {
        let current = self.deadline.load(Ordering::Acquire);
        if !self.is_past(now, current) {
            return None;
        }
        let current = self.deadline.load(Ordering::Acquire);
        let ended = if current & ENDED == 0 { None } else { self.end.get().cloned() };
        Some(ended.unwrap_or_else(|| Loss::expired(Time::from_micros(current & !OVER))))
    }

    /// How the holds of the session stand.
    pub(crate) fn state(&self, now: Time) -> HoldState {
        match self.loss(now) {
            Some(loss) => HoldState::Lost(loss),
            None if now.as_micros() >= self.at_risk_from.load(Ordering::Acquire) => HoldState::AtRisk,
            None => HoldState::Held,
        }
    }

    /// Whether it has ended, and somebody saw it.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline.load(Ordering::Acquire) & OVER != 0
    }

    /// When it ends, or ended.
    pub(crate) fn deadline(&self) -> Time {
        let current = self.deadline.load(Ordering::Acquire);
        let ended = if current & ENDED == 0 { None } else { self.end.get() };
        ended.map_or(Time::from_micros(current & !OVER), |loss| loss.at)
    }

    /// Whether it is over, `current` being the deadline as last read. Decides it for all if the deadline has passed.
    fn is_past(&self, now: Time, mut current: u64) -> bool {
        loop {
            if current & OVER != 0 {
                return true;
            }
            if now.as_micros() < current {
                return false;
            }
            match self.deadline.compare_exchange_weak(current, current | EXPIRED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(changed) => current = changed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::LossReason;

    const fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn lost(state: HoldState) -> Loss {
        match state {
            HoldState::Lost(loss) => loss,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn held_then_at_risk_then_lost() {
        let validity = Validity::new(at(10), at(6));
        assert_eq!(validity.state(at(5)), HoldState::Held);
        assert_eq!(validity.state(at(6)), HoldState::AtRisk);
        assert_eq!(validity.state(Time::from_micros(9_999_999)), HoldState::AtRisk);
        assert_eq!(lost(validity.state(at(10))), Loss::expired(at(10)));
    }

    #[test]
    fn a_confirmation_in_time_extends_it() {
        let validity = Validity::new(at(10), at(6));
        validity.put_at_risk(at(2));
        assert_eq!(validity.state(at(3)), HoldState::AtRisk);
        assert!(validity.confirm(at(3), at(13), at(9)));
        assert_eq!(validity.state(at(8)), HoldState::Held);
        assert_eq!(validity.deadline(), at(13));
    }

    #[test]
    fn a_shorter_promise_does_not_take_back_a_longer_one() {
        let validity = Validity::new(at(10), at(6));
        assert!(validity.confirm(at(3), at(8), at(7)));
        assert_eq!(validity.deadline(), at(10));
    }

    #[test]
    fn another_servers_promise_replaces_it() {
        let validity = Validity::new(at(10), at(6));
        assert!(validity.replace(at(3), at(8), at(7)));
        assert_eq!((validity.deadline(), validity.state(at(6))), (at(8), HoldState::Held));
        assert!(!validity.replace(at(8), at(20), at(15)), "too late");
        assert!(validity.is_over());
    }

    #[test]
    fn expiry_is_decided_by_whoever_sees_it_first() {
        let validity = Validity::new(at(10), at(6));
        assert!(validity.loss(at(10)).is_some());
        assert!(!validity.confirm(at(9), at(20), at(15)), "even if the clock was read before");
        assert_eq!(lost(validity.state(at(9))).reason, LossReason::Expired);
        validity.end(at(9), Loss::new(LossReason::Broken, "later", at(9)));
        assert_eq!(lost(validity.state(at(11))), Loss::expired(at(10)));
        assert_eq!(validity.deadline(), at(10));
    }

    #[test]
    fn the_first_end_stays() {
        let validity = Validity::new(at(10), at(6));
        let loss = Loss::new(LossReason::Disconnected, "the stream broke", at(4));
        validity.end(at(4), loss.clone());
        validity.end(at(5), Loss::new(LossReason::Broken, "later", at(5)));
        assert_eq!(lost(validity.state(at(20))), loss);
        assert_eq!(validity.deadline(), at(4));
        assert!(!validity.confirm(at(5), at(20), at(15)));
    }

    #[test]
    fn an_end_after_the_deadline_is_an_expiry() {
        let validity = Validity::new(at(10), at(6));
        validity.end(at(12), Loss::new(LossReason::ServerLost, "gone", at(12)));
        assert_eq!(lost(validity.state(at(12))), Loss::expired(at(10)));
    }

    #[test]
    fn all_threads_agree_on_how_it_ended() {
        for _ in 0..500 {
            let validity = Validity::new(at(10), at(6));
            let (mut seen, mut confirmed) = (Vec::new(), false);
            std::thread::scope(|scope| {
                let guards: Vec<_> = (0..2).map(|_| scope.spawn(|| validity.loss(at(10)).is_some())).collect();
                confirmed = validity.confirm(at(9), at(20), at(15));
                seen = guards.into_iter().map(|guard| guard.join().unwrap()).collect();
            });
            assert_eq!(validity.loss(at(10)).is_some(), !confirmed);
            assert!(confirmed || seen.contains(&true));
        }
    }
}
