//! Grants that others than the machine's own clients have a say in.

use super::script::{Script, resource, run};

#[test]
fn who_is_kept_out_waits_or_goes_away() {
    run("
        shut lock:x               ->
        A: exclusive x s1#1 try   -> held by
        show lock:x               -> |
        A: exclusive x s1#1       -> queued A at 1
        B: exclusive x lease      -> queued B at 2
        A': exclusive x s1#1      -> queued A at 1
        show lock:x               -> | A, B
        open lock:x               ->
        show lock:x               -> | A, B
        knock lock:x              -> s1#1 gets A
        release A by s1           -> released; lease B granted
    ");
}

#[test]
fn nobody_passes_a_head_that_is_kept_out() {
    run("
        shut sem:x                ->
        A: 3/4 x s1#1             -> queued A at 1
        open sem:x                ->
        B: 1/4 x s2#1             -> queued B at 2
        C: 1/4 x s2#2 try         -> held by
        knock sem:x               -> s1#1 gets A; s2#1 gets B
    ");
}

#[test]
fn knocking_in_vain_changes_nothing() {
    run("
        knock lock:x              ->
        A: exclusive x s1#1       -> granted A
        knock lock:x              ->
        B: exclusive x s2#1       -> queued B at 1
        knock lock:x              ->
        shut lock:x               ->
        release A by s1           -> released
        knock lock:x              ->
        show lock:x               -> | B
    ");
}

#[test]
fn the_gate_is_asked_for_whoever_is_next() {
    run("
        A: shared x s1#1          -> granted A
        B: exclusive x s2#1       -> queued B at 1
        C: shared x s3#1          -> queued C at 2
        shut lock:x               ->
        release A by s1           -> released
        cancel s2#1 back          -> withdrawn, held by
        show lock:x               -> | C
        open lock:x               ->
        D: shared x s4#1          -> queued D at 2
        end s3                    -> 1 ended; s4#1 gets D
    ");
}

#[test]
fn other_resources_are_not_concerned() {
    run("
        shut lock:x               ->
        A: exclusive y s1#1       -> granted A
        B: 1/1 x s1#2             -> granted B
        C: exclusive x s1#3       -> queued C at 1
        cancel s1#3 keep          -> withdrawn, held by
        show lock:x               -> |
    ");
}

#[test]
fn a_re_entry_passes_the_gate_too() {
    run("
        A: exclusive x s1#1/k     -> granted A
        shut lock:x               ->
        B: exclusive x s1#2/k     -> granted A x2
        C: exclusive x s1#3       -> queued C at 1
        D: exclusive x s1#4/k     -> granted A x3
    ");
}

#[test]
fn what_is_let_in_brings_its_own_re_entries() {
    run("
        shut lock:x               ->
        A: exclusive x s1#1/k     -> queued A at 1
        B: exclusive x s1#2/k     -> queued B at 2
        open lock:x               ->
        knock lock:x              -> s1#1 gets A; s1#2 gets A x2
        release A by s1           -> 1 left
        release A by s1           -> released
    ");
}

#[test]
fn a_gate_that_is_out_of_order_refuses_the_new_and_keeps_those_who_wait() {
    run("
        jam lock:x                ->
        A: exclusive x s1#1       -> OutOfOrder: jammed
        A: exclusive x s1#1 try   -> OutOfOrder: jammed
        show lock:x               -> |
        shut lock:x               ->
        A: exclusive x s1#1       -> queued A at 1
        jam lock:x                ->
        knock lock:x              ->
        B: exclusive x s2#1       -> queued B at 2
        show lock:x               -> | A, B
        open lock:x               ->
        knock lock:x              -> s1#1 gets A
    ");
}

#[test]
fn an_expiry_lets_in_whom_the_gate_lets_in() {
    run("
        A: exclusive x lease ttl=5s  -> granted A
        B: exclusive x s1#1       -> queued B at 1
        shut lock:x               ->
        at 5s                     -> lease A ends: Expired
        show lock:x               -> | B
        open lock:x               ->
        at 6s                     ->
        knock lock:x              -> s1#1 gets B
    ");
}

#[test]
fn holders_hear_that_what_they_hold_is_gone_before_others_get_it() {
    run("
        A: shared x s1#1          -> granted A
        B: shared x lease=r       -> granted B
        C: exclusive x s2#1       -> queued C at 1
        lose A B                  -> s1 loses A: BackendLost; lease B ends: BackendLost; s2#1 gets C
        release A by s1           -> NotHolder: BackendLost
        renew B of lock:x         -> NotHolder: BackendLost
        B': shared x lease=r      -> NotHolder: BackendLost
        lose A B                  ->
    ");
}

#[test]
fn only_holders_lose_something() {
    run("
        A: 1/2 x s1#1             -> granted A
        B: 2/2 x s2#1             -> queued B at 1
        lose B Z                  ->
        show sem:x                -> A | B
        lose A                    -> s1 loses A: BackendLost; s2#1 gets B
    ");
}

#[test]
fn the_gate_may_give_greater_tokens() {
    run("
        A: exclusive x s1#1       -> granted A
        tokens 5000               ->
        B: exclusive y s1#2       -> granted B
        tokens 10                 ->
        C: exclusive z s1#3       -> granted C
    ");
    let mut script = Script::default();
    script.step("tokens 5000");
    script.step("A: exclusive x s1#1");
    script.step("tokens 10");
    script.step("B: exclusive y s1#2");
    let mut token = |key| script.machine.apply(script.now, crate::Get(resource(key))).outcome.holders[0].token.get();
    assert_eq!([token("lock:x"), token("lock:y")], [5000, 5001]);
}

#[test]
fn it_is_known_who_waits_for_the_gate_alone() {
    let mut script = Script::default();
    let mut closed = |line: &str| {
        script.step(line);
        script.machine.is_closed(&resource("lock:x"))
    };
    assert!(!closed("shut lock:x"));
    assert!(!closed("A: exclusive x s1#1 try"));
    assert!(closed("B: exclusive x s1#2"));
    assert!(closed("knock lock:x"));
    assert!(!closed("cancel s1#2 keep"));
    assert!(closed("C: exclusive x s1#3"));
    assert!(closed("open lock:x"));
    assert!(!closed("knock lock:x"));
    // It waits for another client.
    assert!(!closed("D: exclusive x s1#4"));
}
