//! Renew and expiry.

use std::time::Duration;

use super::script::{Script, run};
use crate::Time;

#[test]
fn a_lease_ends_at_its_deadline_and_the_next_is_served() {
    run("
        A: exclusive x lease ttl=5s -> granted A
        B: exclusive x s1#1       -> queued B at 1
        at 4999ms                 ->
        show lock:x               -> A | B
        at 5s                     -> lease A ends: Expired; s1#1 gets B
    ");
}

#[test]
fn what_is_due_has_ended_before_a_command_takes_effect() {
    let mut script = Script::default();
    assert_eq!(script.step("A: exclusive x lease ttl=5s"), "granted A");
    script.now.time = script.now.time.saturating_add(Duration::from_secs(5));
    assert_eq!(script.step("B: exclusive x s1#1 try"), "granted B; lease A ends: Expired");
    script.now.time = Time::default();
    assert_eq!(script.step("C: exclusive y lease ttl=5s"), "granted C");
    script.now.time = script.now.time.saturating_add(Duration::from_secs(5));
    assert_eq!(script.step("renew C of lock:y"), "NotHolder: Expired; lease C ends: Expired");
}

#[test]
fn leases_end_in_the_order_of_their_deadlines() {
    run("
        A: 1/2 x lease ttl=9s     -> granted A
        B: 1/2 x lease ttl=5s     -> granted B
        C: 2/2 x lease ttl=1s     -> queued C at 1
        D: 1/1 y lease ttl=7s     -> granted D
        at 10s                    -> lease B ends: Expired; lease D ends: Expired; lease A ends: Expired; lease C granted
        at 10999ms                ->
        at 11s                    -> lease C ends: Expired
    ");
}

#[test]
fn the_ttl_of_a_waiter_counts_from_its_grant() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x lease ttl=5s -> queued B at 1
        at 60s                    ->
        release A by s1           -> released; lease B granted
        at 64999ms                ->
        at 65s                    -> lease B ends: Expired
    ");
}

#[test]
fn a_renewal_counts_from_now_and_keeps_the_token() {
    run("
        A: exclusive x lease ttl=5s -> granted A
        at 4s                     ->
        renew A of lock:x         -> renewed A for 5s
        at 8s                     ->
        renew A of lock:x 60s     -> renewed A for 1m
        at 10s                    ->
        renew A of lock:x         -> renewed A for 1m
        renew A of lock:x 1s      -> renewed A for 1s
        at 10999ms                ->
        at 11s                    -> lease A ends: Expired
    ");
}

#[test]
fn a_repeated_request_does_not_renew() {
    run("
        A: exclusive x lease=a ttl=5s -> granted A
        at 4s                     ->
        A': exclusive x lease=a ttl=5s -> granted A
        at 5s                     -> lease A ends: Expired
    ");
}

#[test]
fn only_a_lease_of_that_resource_is_renewed() {
    run("
        A: exclusive x lease      -> granted A
        B: exclusive x lease      -> queued B at 1
        C: exclusive y s1#1       -> granted C
        renew A of lock:y         -> NotHolder
        renew A of sem:x          -> HoldNotFound
        renew B of lock:x         -> HoldNotFound
        renew C of lock:y         -> NotALease
        renew Z of lock:x         -> NotHolder
        renew Z of lock:z         -> HoldNotFound
        release A of lock:x       -> released; lease B granted
        renew A of lock:x         -> NotHolder: Released
        at 30s                    -> lease B ends: Expired
        renew B of lock:x         -> NotHolder: Expired
    ");
}

#[test]
fn the_next_deadline_is_the_earliest() {
    let mut script = Script::default();
    let after = |seconds| Some(Time::default().saturating_add(Duration::from_secs(seconds)));
    let steps = [
        ("A: exclusive x lease ttl=9s", after(9)),
        ("B: exclusive y lease ttl=5s", after(5)),
        ("C: exclusive y lease ttl=1s", after(5)),
        ("S: exclusive z s1#1", after(5)),
        ("renew B of lock:y 20s", after(9)),
        ("release A of lock:x", after(20)),
        ("cancel B back", after(1)),
        ("cancel C back", None),
    ];
    for (step, next) in steps {
        script.step(step);
        assert_eq!(script.machine.next_deadline(), next, "after: {step}");
    }
}

#[test]
fn a_clock_that_goes_back_ends_nothing_early() {
    run("
        at 60s                    ->
        A: exclusive x lease ttl=5s -> granted A
        at 10s                    ->
        at 64s                    ->
        at 65s                    -> lease A ends: Expired
    ");
}
