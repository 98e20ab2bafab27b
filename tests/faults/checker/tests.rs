//! For each rule histories that keep it narrowly, and histories that violate just it.
//!
//! They are written in words, one line each, with the time in milliseconds first. An acquire is a letter, which is also
//! its client.

use serde_json::json;

use super::{Rule, check};
use crate::history::{Line, PROBE};

const LEASE_MS: u64 = 2_000;
const SESSION_MS: u64 = 2_000;

fn line(text: &str) -> Line {
    let words: Vec<&str> = text.split_whitespace().collect();
    let micros = |ms: &str| ms.parse::<u64>().unwrap() * 1_000;
    let client = |letter: &str| if letter == "probe" { PROBE } else { usize::from(letter.as_bytes()[0] - b'a') };
    let op = |letter: &str| format!("{}.1.0.0", client(letter));
    let process = |letter: &str| format!("{}.1", client(letter));
    let mut event = match words[1..] {
        [a, "asks", name, share, hung_on, wait] => {
            let (permits, limit) = share.split_once('/').unwrap();
            let (permits, limit): (u32, u32) = (permits.parse().unwrap(), limit.parse().unwrap());
            let wait_ms = wait.parse::<u64>().ok();
            let ask = json!({
                "name": name, "permits": permits, "limit": limit, "hung_on": hung_on, "wait_ms": wait_ms,
            });
            json!({ "event": "asked", "op": op(a), "ask": ask })
        }
        [a, "has", token, "until", until] => {
            let token: u64 = token.parse().unwrap();
            json!({ "event": "granted", "op": op(a), "token": token, "until": micros(until) })
        }
        [a, "valid", "until", until] => json!({ "event": "valid", "op": op(a), "until": micros(until) }),
        [a, "lost", reason, "since", since] => {
            json!({ "event": "lost", "op": op(a), "reason": reason, "since": micros(since) })
        }
        [a, "gives", "back"] => json!({ "event": "giving_back", "op": op(a) }),
        [a, "gave", "back"] => json!({ "event": "given_back", "op": op(a), "failure": null }),
        [a, "refused", why] => json!({ "event": "refused", "op": op(a), "why": why }),
        [a, "drops"] => json!({ "event": "dropped", "op": op(a) }),
        [a, "fails", reason] => json!({ "event": "failed", "op": op(a), "reason": reason, "message": "" }),
        [a, what @ ("killed" | "stopped" | "continued")] => json!({ "event": what, "process": process(a) }),
        [a, "ends", when] => json!({ "event": "ended", "process": process(a), "in_time": when == "well" }),
        ["queue", name, ref waiting @ ..] => {
            json!({ "event": "queue", "name": name, "waiting": waiting.iter().map(|a| op(a)).collect::<Vec<_>>() })
        }
        ["breaks", of, kind, number] => {
            let number: usize = number.parse().unwrap_or_else(|_| client(number));
            let fault = json!({
                "of": of, "kind": kind,
                "server": number, "client": number, "partition": number, "for_ms": 0, "down_ms": 0,
            });
            json!({ "event": "fault_begins", "number": 0, "fault": fault })
        }
        ["mended"] => json!({ "event": "fault_ends", "number": 0 }),
        ["left", "over", name] => json!({ "event": "left_over", "name": name, "holders": 1, "waiters": 0 }),
        _ => panic!("{text}"),
    };
    event["at"] = micros(words[0]).into();
    serde_json::from_value(event).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn history(topology: &str, lines: &[&str]) -> Vec<Line> {
    let client = json!({ "seed": 0, "sessions": "keep", "session_timeout_ms": SESSION_MS, "workers": 1 });
    let run = json!({
        "at": 0, "event": "run", "seed": 0, "seconds": 60, "topology": topology, "servers": 2,
        "server_lease_ms": LEASE_MS, "min_acks": 0, "clients": [client, client, client, client],
    });
    let run = serde_json::from_value(run).unwrap();
    std::iter::once(run).chain(lines.iter().map(|text| line(text))).collect()
}

#[track_caller]
fn violates(rules: &[Rule], lines: &[&str]) {
    let findings = check(&history("single", lines));
    let found: Vec<Rule> = findings.violations.iter().map(|violation| violation.rule).collect();
    assert_eq!(found, rules, "{lines:#?}\n{:#?}", findings.violations);
}

#[track_caller]
fn is_fine(lines: &[&str]) {
    violates(&[], lines);
}

const A_HOLDS: [&str; 2] = ["10 a asks x 9/9 keep -", "20 a has 1 until 3000"];

/// What comes after A holds.
fn then<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    A_HOLDS.iter().chain(lines).copied().collect()
}

#[test]
fn two_that_hold_alone_at_once_violate_exclusion() {
    violates(&[Rule::Exclusion], &then(&["30 b asks x 9/9 keep -", "40 b has 2 until 3000"]));
    violates(&[Rule::Exclusion], &then(&["30 b asks x 1/9 keep -", "40 b has 2 until 3000"]));
    is_fine(&then(&["30 b asks y 9/9 keep -", "40 b has 1 until 3000"]));
}

#[test]
fn permits_add_up() {
    let two = ["10 a asks s 1/2 keep -", "20 a has 1 until 3000", "30 b asks s 1/2 keep -", "40 b has 2 until 3000"];
    is_fine(&two);
    let three: Vec<&str> = two.into_iter().chain(["50 c asks s 1/2 keep -", "60 c has 3 until 3000"]).collect();
    violates(&[Rule::Exclusion], &three);
}

#[test]
fn a_belief_ends_when_the_hold_is_about_to_be_given_back() {
    let b = ["30 b asks x 9/9 keep -", "51 b has 2 until 3000"];
    is_fine(&then(&[b[0], "50 a gives back", b[1]]));
    violates(&[Rule::Exclusion], &then(&[b[0], b[1], "52 a gives back"]));
    // It was given back when the answer came, but believed in no longer when it was asked.
    is_fine(&then(&[b[0], "50 a gives back", b[1], "90 a gave back"]));
}

#[test]
fn a_belief_ends_at_its_deadline_whether_its_client_runs_or_not() {
    let b = ["30 b asks x 9/9 keep -", "3000 b has 2 until 5000"];
    is_fine(&then(&["25 a stopped", b[0], b[1], "4000 a continued"]));
    let b = [b[0], "2999 b has 2 until 5000"];
    violates(&[Rule::Exclusion], &then(&["25 a stopped", b[0], b[1], "4000 a continued"]));
    violates(&[Rule::Exclusion], &then(&["25 a valid until 3500", b[0], "3400 b has 2 until 5000"]));
    is_fine(&then(&["25 a valid until 3500", b[0], "3500 b has 2 until 5000"]));
}

#[test]
fn a_belief_ends_with_a_loss_and_with_its_process() {
    let b = ["30 b asks x 9/9 keep -", "60 b has 2 until 3000"];
    is_fine(&then(&[
        b[0],
        "40 breaks server killed 0",
        "45 breaks redis flushed 0",
        "50 a lost BACKEND_LOST since 50",
        b[1],
    ]));
    is_fine(&then(&[b[0], "50 a killed", b[1]]));
    violates(&[Rule::Exclusion], &then(&[b[0], b[1], "70 a killed"]));
}

#[test]
fn a_released_session_is_free_from_the_break_of_its_stream_on() {
    let lines = |hung_on: &str, how: &str, end: &[&str]| {
        let a = format!("10 a asks x 9/9 {hung_on} -");
        let fault = format!("40 breaks {how} a");
        let begin =
            [&a, "20 a has 1 until 3000", "30 b asks x 9/9 keep -", &fault, "45 b has 2 until 3000", "46 mended"];
        check(&history("single", &[&begin, end].concat())).violations
    };
    let heard = ["50 a lost DISCONNECTED since 50"];
    assert_eq!(lines("release", "client reset", &heard), []);
    assert!(!lines("keep", "client reset", &heard).is_empty(), "one that is kept is not");
    assert!(!lines("release", "client stopped", &heard).is_empty(), "and nor does a stop break a stream");
    let given_back = ["49 a gives back"];
    assert_eq!(lines("release", "client reset", &given_back), [], "before its client heard of the break");
    assert!(!lines("keep", "client reset", &given_back).is_empty());
}

#[test]
fn a_memory_servers_end_is_the_end_of_its_holds() {
    let killed = then(&["30 b asks x 9/9 keep -", "40 breaks server killed 0", "45 b has 2 until 3000"]);
    assert_eq!(check(&history("memory", &killed)).violations, []);
    assert_eq!(check(&history("single", &killed)).violations.len(), 1);
}

#[test]
fn a_token_never_comes_twice() {
    violates(&[Rule::Tokens], &then(&["30 a gives back", "20 b asks x 9/9 keep -", "40 b has 1 until 3000"]));
}

#[test]
fn tokens_grow_with_time() {
    let late_news = [
        "10 a asks s 1/2 keep -",
        "11 b asks s 1/2 keep -",
        "20 a has 2 until 3000",
        "30 a gives back",
        "40 b has 1 until 3000",
    ];
    is_fine(&late_news);
    let mut backwards = late_news;
    backwards[1] = "25 b asks s 1/2 keep -";
    violates(&[Rule::Tokens], &backwards);
    // Also across the end of all data.
    violates(
        &[Rule::Tokens],
        &then(&[
            "30 a gives back",
            "40 breaks redis flushed 0",
            "50 mended",
            "60 b asks x 1/9 keep -",
            "70 b has 0 until 3000",
        ]),
    );
}

#[test]
fn tokens_of_exclusive_holds_grow_with_belief() {
    let lines = [
        "10 b asks x 9/9 keep -",
        "15 a asks x 9/9 keep -",
        "20 a has 2 until 3000",
        "30 a gives back",
        "40 b has 1 until 3000",
    ];
    violates(&[Rule::Tokens], &lines);
}

const A_WAITS: [&str; 2] = ["10 a asks x 9/9 keep -", "20 queue x a"];

/// What comes after A was seen in the queue.
fn after_waiting<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    A_WAITS.iter().chain(lines).copied().collect()
}

#[test]
fn whoever_was_seen_to_wait_is_served_first() {
    let b = ["30 b asks x 9/9 keep -", "40 b has 1 until 3000", "50 b gives back"];
    violates(&[Rule::Order], &after_waiting(&[b[0], b[1], b[2], "60 a has 2 until 3000"]));
    is_fine(&after_waiting(&["25 a has 1 until 3000", "26 a gives back", b[0], "40 b has 2 until 3000"]));
    // Asked before A was seen there: A may have come second.
    let b = ["15 b asks x 9/9 keep -", "40 b has 1 until 3000", "50 b gives back"];
    is_fine(&after_waiting(&[b[0], b[1], b[2], "60 a has 2 until 3000"]));
}

#[test]
fn nobody_barges_past_one_who_still_waits() {
    let b = ["30 b asks x 9/9 keep 0", "40 b has 1 until 3000"];
    violates(&[Rule::Order], &after_waiting(&b));
    violates(&[Rule::Order], &after_waiting(&[b[0], b[1], "350 a drops"]));
    // The news that it has it, too, may have been on its way.
    is_fine(&after_waiting(&[b[0], b[1], "50 a drops"]));
    is_fine(&after_waiting(&[b[0], "35 a drops", b[1]]));
    is_fine(&after_waiting(&[b[0], "35 a killed", b[1]]));
}

#[test]
fn a_wait_that_was_over_is_in_nobodys_way() {
    let lines = |wait: &str| {
        let a = format!("10 a asks x 9/9 keep {wait}");
        let lines = [&a, "20 queue x a", "30 b asks x 9/9 keep -", "100 b has 1 until 3000", "500 a refused wait_over"];
        check(&history("single", &lines)).violations.len()
    };
    assert_eq!(lines("90"), 0);
    assert_eq!(lines("300"), 0);
    assert_eq!(lines("400"), 1);
}

#[test]
fn places_may_be_lost_where_something_was_broken() {
    let b = ["30 b asks x 9/9 keep -", "40 b has 1 until 3000"];
    is_fine(&after_waiting(&["35 breaks server killed 0", "36 mended", b[0], b[1]]));
    is_fine(&after_waiting(&["35 breaks client reset a", "36 mended", b[0], b[1]]));
    violates(&[Rule::Order], &after_waiting(&["35 breaks client reset c", "36 mended", b[0], b[1]]));
    // Long ago.
    let lines = ["1 breaks server killed 0", "2 mended", "9010 a asks x 9/9 keep -", "9020 queue x a"];
    let b = ["9030 b asks x 9/9 keep -", "9040 b has 1 until 12000"];
    violates(&[Rule::Order], &[lines[0], lines[1], lines[2], lines[3], b[0], b[1]]);
}

#[test]
fn a_loss_has_a_cause() {
    let lost = |reason: &str, fault: &str| {
        let lost = format!("50 a lost {reason} since 50");
        let fault = format!("40 breaks {fault} a");
        let lines = then(&[&fault, "45 mended", &lost]).into_iter().map(str::to_owned).collect::<Vec<_>>();
        check(&history("single", &lines.iter().map(String::as_str).collect::<Vec<_>>())).violations.len()
    };
    violates(&[Rule::Losses], &then(&["50 a lost EXPIRED since 50"]));
    assert_eq!(lost("BACKEND_LOST", "redis failed_over"), 0);
    assert_eq!(lost("BROKEN", "redis failed_over"), 1, "nobody breaks holds here");
    assert_eq!(lost("BACKEND_LOST", "redis reset"), 1, "a broken connection is no reason");
    assert_eq!(lost("EXPIRED", "client cut"), 1, "it was too short");
    assert_eq!(lost("DISCONNECTED", "client reset"), 1, "the session is kept");
    assert_eq!(lost("EXPIRED", "server killed"), 1, "there is another server");
}

#[test]
fn long_outages_and_several_at_once_are_causes() {
    let cut = ["40 breaks client cut a", "1040 mended", "1050 a lost EXPIRED since 1050"];
    is_fine(&then(&cut));
    violates(&[Rule::Losses], &then(&["40 breaks client cut b", cut[1], cut[2]]));
    is_fine(&then(&[
        "40 breaks redis reset 0",
        "41 mended",
        "42 breaks server killed 0",
        "50 a lost EXPIRED since 50",
    ]));
}

#[test]
fn a_loss_is_told_at_once() {
    let cause = ["30 breaks redis failed_over 0", "40 mended"];
    violates(&[Rule::Losses], &then(&[cause[0], cause[1], "1500 a lost BACKEND_LOST since 50"]));
    let stopped = ["45 a stopped", "1400 a continued", "1500 a lost BACKEND_LOST since 50"];
    is_fine(&then(&[cause[0], cause[1], stopped[0], stopped[1], stopped[2]]));
}

#[test]
fn every_call_of_a_client_that_ended_well_was_answered() {
    violates(&[Rule::Progress], &["10 a asks x 9/9 keep -", "20 a ends well"]);
    is_fine(&["10 a asks x 9/9 keep -", "20 a killed"]);
    is_fine(&["10 a asks x 9/9 keep -", "15 a drops", "20 a ends well"]);
    violates(&[Rule::Progress], &["20 a ends late"]);
}

#[test]
fn failures_are_of_the_kind_that_faults_cause() {
    let broken = ["5 breaks redis stopped 0", "12 mended"];
    is_fine(&[broken[0], "10 a asks x 9/9 keep -", broken[1], "15 a fails UNAVAILABLE"]);
    violates(&[Rule::Progress], &["10 a asks x 9/9 keep -", "15 a fails UNAVAILABLE"]);
    violates(&[Rule::Progress], &[broken[0], "10 a asks x 9/9 keep -", broken[1], "15 a fails PROTOCOL"]);
    violates(&[Rule::Progress], &["10 a asks x 9/9 keep -", "15 a fails PROTOCOL"]);
    violates(&[Rule::Progress], &["10 a asks x 9/9 keep -", "15 a refused deadlock"]);
    is_fine(&["10 a asks x 9/9 keep -", "15 a refused held"]);
    // A lease that ended while its client stood still.
    let stopped = ["11 breaks client stopped a", "14 mended", "15 a fails NOT_HOLDER"];
    is_fine(&["10 a asks x 9/9 ttl -", stopped[0], stopped[1], stopped[2]]);
    violates(&[Rule::Progress], &["10 a asks x 9/9 ttl -", stopped[2]]);
    violates(&[Rule::Progress], &["10 a asks x 9/9 keep -", stopped[0], stopped[1], stopped[2]]);
}

#[test]
fn nobody_waits_for_what_nobody_holds() {
    let b = ["30 b asks x 9/9 keep -", "40 queue x b", "50 a gives back", "60 a gave back"];
    let until = |b_has: &'static str| then(&[b[0], b[1], b[2], b[3], b_has, "9000 b gives back"]);
    is_fine(&until("600 b has 2 until 10000"));
    violates(&[Rule::Progress], &until("1000 b has 2 until 10000"));
    violates(&[Rule::Progress], &then(&[b[0], b[1], b[2], b[3], "5000 b drops"]));
    // It was not given back, so it may have been held until everything that can end it was over.
    is_fine(&then(&[b[0], b[1], "5000 b has 2 until 10000"]));
    // A session gives back at once what was dropped, a lease ends by itself.
    violates(&[Rule::Progress], &then(&[b[0], b[1], b[2], "5000 b has 2 until 10000"]));
    is_fine(&["10 a asks x 9/9 ttl -", "20 a has 1 until 2000", b[0], b[1], b[2], "3300 b has 2 until 10000"]);
    let c = ["70 c asks x 9/9 keep -", "80 c killed"];
    is_fine(&then(&[b[0], b[1], b[2], b[3], c[0], c[1], "3000 b has 2 until 10000"]));
    is_fine(&then(&[b[0], b[1], b[2], b[3], "70 breaks redis stopped 0", "80 mended", "3000 b has 2 until 10000"]));
}

#[test]
fn in_the_end_everything_can_be_had() {
    let probe =
        ["10 probe asks x 9/9 keep 400", "20 probe has 1 until 3000", "30 probe gives back", "40 probe gave back"];
    is_fine(&probe);
    violates(&[Rule::Progress], &probe[..3]);
    violates(&[Rule::Progress], &[probe[0], "410 probe refused wait_over"]);
    violates(&[Rule::Progress], &[probe[0], "410 probe fails UNAVAILABLE"]);
    violates(&[Rule::Progress], &["20 left over x"]);
}

#[test]
fn a_history_without_its_beginning_is_none() {
    violates(&[Rule::History], &["10 a has 1 until 20"]);
    let findings = check(&[line("10 a killed")]);
    assert_eq!(findings.violations[0].rule, Rule::History);
}
