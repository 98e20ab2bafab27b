//! What is wanted, as ratios within a round.

use serde::Serialize;

use super::Results;
use super::spread::{Spread, number};
use crate::contender::Workload;
use crate::crowd::Crowd;
use crate::figures::{
    BYTES_PER_HOLD, GAVE_UP, GROWTH, GROWTH_OF_FREE, IDLE_CPU, KIB_PER_SESSION, P50, PER_SECOND, SECONDS, count,
};
use crate::plan::Plan;

/// An acquire and a release are two messages each way.
const MESSAGES_OF_A_PAIR: f64 = 2.0;

/// From where a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub(super) fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("at least {}", number(bound)),
            Self::AtMost(bound) => format!("at most {}", number(bound)),
        }
    }

    /// How far a value is from it, from 1 on if it is met.
    fn reached(self, value: f64) -> f64 {
        match self {
            Self::AtLeast(bound) => value / bound,
            Self::AtMost(bound) if value <= bound => 1.0,
            Self::AtMost(bound) => bound / value,
        }
    }
}

/// One figure of one contender.
#[derive(Clone, Copy)]
struct Place {
    workload: Workload,
    contender: &'static str,
    figure: &'static str,
}

/// A target and what became of it.
#[derive(Serialize)]
pub(super) struct Judged {
    /// Of the list of targets.
    pub(super) number: &'static str,
    pub(super) what: String,
    pub(super) bound: Bound,
    /// `None` if something that it takes was not measured.
    measured: Option<Spread>,
}

impl Judged {
    pub(super) fn measured_text(&self) -> String {
        self.measured.as_ref().map_or_else(|| "not measured".to_owned(), Spread::text)
    }

    /// By the median.
    pub(super) fn verdict(&self) -> String {
        let Some(measured) = &self.measured else { return String::new() };
        let reached = self.bound.reached(measured.median);
        if reached >= 1.0 { "met".to_owned() } else { format!("**missed**, {} of it", number(reached)) }
    }
}

/// All targets.
pub(super) fn judge(results: &Results, plan: &Plan) -> Vec<Judged> {
    let mut judge = Judge { results, judged: Vec::new() };
    judge.pairs();
    judge.hand_over(plan);
    judge.crowds(plan);
    judge.unary(plan);
    judge.scale(plan);
    judge.node();
    judge.judged
}

struct Judge<'a> {
    results: &'a Results,
    judged: Vec<Judged>,
}

impl Judge<'_> {
    fn pairs(&mut self) {
        for in_flight in [64, 256] {
            let of = |contender| Place { workload: Workload::Pairs { in_flight }, contender, figure: PER_SECOND };
            let what = |beside: &str| format!("memory, pairs/s, {in_flight} in flight, to {beside}");
            let to_etcd = Bound::AtLeast(if in_flight == 64 { 15.0 } else { 25.0 });
            self.ratio(
                "1",
                what("echo messages/s ÷ 2"),
                of("memory"),
                of("echo"),
                MESSAGES_OF_A_PAIR,
                Bound::AtLeast(0.5),
            );
            let many = "echo to many callers";
            let to_many = what("the same to many callers");
            self.ratio("1", to_many, of("memory"), of(many), MESSAGES_OF_A_PAIR, Bound::AtLeast(0.5));
            self.ratio("1", what("etcd"), of("memory"), of("etcd"), 1.0, to_etcd);
            self.ratio("1", what("etcd without fsync"), of("memory"), of("etcd without fsync"), 1.0, to_etcd);
            self.ratio("1", what("direct redis lock"), of("memory"), of("direct redis lock"), 1.0, Bound::AtLeast(1.0));
        }
        for in_flight in [64, 256] {
            let of = |contender| Place { workload: Workload::Pairs { in_flight }, contender, figure: PER_SECOND };
            let what = |beside: &str| format!("redis, pairs/s, {in_flight} in flight, to {beside}");
            for scripts in ["scripts one by one", "scripts by partition", "scripts batched"] {
                self.ratio("2", what(scripts), of("redis"), of(scripts), 1.0, Bound::AtLeast(0.6));
            }
            self.ratio("2", what("etcd"), of("redis"), of("etcd"), 1.0, Bound::AtLeast(7.0));
            self.ratio(
                "2",
                what("etcd without fsync"),
                of("redis"),
                of("etcd without fsync"),
                1.0,
                Bound::AtLeast(7.0),
            );
        }
    }

    fn hand_over(&mut self, plan: &Plan) {
        for &waiters in &plan.waiters {
            let of = |contender| Place { workload: Workload::HandOver { waiters }, contender, figure: P50 };
            let alone = Place { workload: Workload::Pairs { in_flight: 1 }, contender: "redis publish", figure: P50 };
            let what = |engine: &str, beside: &str| format!("{engine}, hand-over p50, {waiters} waiters, to {beside}");
            let at_most = Bound::AtMost(3.0);
            self.ratio("3", what("memory", "echo p50, as many in flight"), of("memory"), of("echo"), 1.0, at_most);
            self.ratio("3", what("redis", "publish p50, one in flight"), of("redis"), alone, 1.0, at_most);
            self.ratio("3", what("redis", "publish p50, as many"), of("redis"), of("redis publish"), 1.0, at_most);
        }
        let of = |contender| Place { workload: Workload::HandOver { waiters: 16 }, contender, figure: P50 };
        for engine in ["memory", "redis"] {
            for etcd in ["etcd", "etcd without fsync"] {
                let what = format!("{etcd}, hand-over p50, 16 waiters, to {engine}");
                self.ratio("3", what, of(etcd), of(engine), 1.0, Bound::AtLeast(100.0));
                // Some of etcd's take a moment, and some a tenth of a second, which its median does not show.
                let often = |contender| Place { figure: PER_SECOND, ..of(contender) };
                let what = format!("{engine}, hand-overs/s, 16 waiters, to {etcd}");
                self.ratio("3", what, often(engine), often(etcd), 1.0, Bound::AtLeast(100.0));
            }
        }
    }

    fn crowds(&mut self, plan: &Plan) {
        for contender in ["memory", "redis"] {
            for (by, seconds) in [(Crowd::Client, 0.6), (Crowd::Curl, 0.8)] {
                let of =
                    |figure| Place { workload: Workload::Processes { count: plan.processes, by }, contender, figure };
                let what = |what: &str| format!("{contender}, {} processes by {by}, {what}", plan.processes);
                self.absolute("3", what("seconds"), of(SECONDS), Bound::AtMost(seconds));
                self.absolute("3", what("who gave up"), of(GAVE_UP), Bound::AtMost(0.0));
            }
        }
    }

    fn unary(&mut self, plan: &Plan) {
        for &in_flight in &plan.unary_in_flight {
            let of = |contender| Place { workload: Workload::Unary { in_flight }, contender, figure: PER_SECOND };
            let what = format!("memory, unary pairs/s, {in_flight} in flight, to echo calls/s ÷ 2");
            self.ratio("4", what, of("memory"), of("echo"), MESSAGES_OF_A_PAIR, Bound::AtLeast(0.8));
        }
    }

    fn scale(&mut self, plan: &Plan) {
        let (sessions, locks_each, idle) = (plan.sessions, plan.locks_each, plan.idle);
        let of = |workload, figure| Place { workload, contender: "memory", figure };
        let sessions = |figure| of(Workload::Sessions { sessions, locks_each, idle }, figure);
        let holds = |figure| of(Workload::Holds { count: plan.holds }, figure);
        let queue = of(Workload::Queue { waiters: plan.queue }, GROWTH);
        self.absolute("5", "KiB of the server a session".to_owned(), sessions(KIB_PER_SESSION), Bound::AtMost(40.0));
        self.absolute("5", "idle CPU, % of a core".to_owned(), sessions(IDLE_CPU), Bound::AtMost(5.0));
        self.absolute("5", "bytes of the engine a hold".to_owned(), holds(BYTES_PER_HOLD), Bound::AtMost(500.0));
        for (growth, of) in [(GROWTH_OF_FREE, "free locks"), (GROWTH, "held locks at random")] {
            let what = format!("cost of a pair, {} holds to {}, of {of}", plan.holds, plan.holds / 1_000);
            self.absolute("5", what, holds(growth), Bound::AtMost(1.5));
        }
        // A queue a hundred times as long: by so much its logarithm grows.
        let logarithms = count(plan.queue).ln() / count(plan.queue / 100).max(2.0).ln();
        let what = format!("cost of a grant in a queue of {} to that in one of {}", plan.queue, plan.queue / 100);
        self.absolute("5", what, queue, Bound::AtMost(logarithms));
    }

    fn node(&mut self) {
        let unary = Workload::Unary { in_flight: 1 };
        let of = |workload, contender| Place { workload, contender, figure: P50 };
        let echo = of(unary, "echo");
        for (what, workload) in [("unary", unary), ("session", Workload::Pairs { in_flight: 1 })] {
            let what = format!("node, {what} pair p50, 1 in flight, to two unary echoes");
            let measured = self.per_round(of(workload, "node"), Some(echo));
            let ratios = measured.into_iter().map(|(node, echo)| node / (MESSAGES_OF_A_PAIR * echo));
            let measured = Spread::of(ratios);
            self.judged.push(Judged { number: "6", what, bound: Bound::AtMost(3.0), measured });
        }
    }

    /// `of` to `to / share`, round by round.
    fn ratio(&mut self, number: &'static str, what: String, of: Place, to: Place, share: f64, bound: Bound) {
        let measured = Spread::of(self.per_round(of, Some(to)).into_iter().map(|(of, to)| of * share / to));
        self.judged.push(Judged { number, what, bound, measured });
    }

    fn absolute(&mut self, number: &'static str, what: String, of: Place, bound: Bound) {
        let measured = Spread::of(self.per_round(of, None).into_iter().map(|(of, _)| of));
        self.judged.push(Judged { number, what, bound, measured });
    }

    /// Both figures of the rounds that have both.
    fn per_round(&self, of: Place, to: Option<Place>) -> Vec<(f64, f64)> {
        let figure =
            |place: Place, round| self.results.row(place.workload, place.contender)?.in_round(round, place.figure);
        let both = |round| Some((figure(of, round)?, to.map_or(Some(1.0), |to| figure(to, round))?));
        (0..self.results.rounds).filter_map(both).collect()
    }
}
