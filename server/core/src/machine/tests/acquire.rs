//! Acquire: who is granted, who waits, who is turned away.

use super::script::{Script, run};

#[test]
fn an_exclusive_lock_excludes_and_queues_in_order_of_arrival() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x s2#1       -> queued B at 1
        C: shared x lease         -> queued C at 2
        D: exclusive x s2#2       -> queued D at 3
        release A by s1           -> released; s2#1 gets B
        release B by s2           -> released; lease C granted
        release C of lock:x       -> released; s2#2 gets D
        release D by s2           -> released
        show lock:x               -> |
    ");
}

#[test]
fn shared_neighbours_are_granted_together() {
    run("
        A: exclusive x s1#1       -> granted A
        B: shared x s2#1          -> queued B at 1
        C: shared x s3#1          -> queued C at 2
        D: exclusive x s4#1       -> queued D at 3
        E: shared x s5#1          -> queued E at 4
        release A by s1           -> released; s2#1 gets B; s3#1 gets C
        release C by s3           -> released
        release B by s2           -> released; s4#1 gets D
        release D by s4           -> released; s5#1 gets E
        F: shared x s6#1          -> granted F
        show lock:x               -> E, F |
    ");
}

#[test]
fn a_semaphore_grants_while_its_permits_last() {
    run("
        A: 2/5 x s1#1             -> granted A
        B: 3/5 x s2#1             -> granted B
        C: 1/5 x s3#1 try         -> held by A, B
        C: 1/5 x s3#1             -> queued C at 1
        D: 1/5 x s4#1             -> queued D at 2
        E: 1/5 x s5#1             -> queued E at 3
        release A by s1           -> released; s3#1 gets C; s4#1 gets D
        show sem:x                -> B, C, D | E
    ");
}

#[test]
fn nobody_barges() {
    run("
        A: shared x s1#1          -> granted A
        B: exclusive x s2#1       -> queued B at 1
        C: shared x s3#1 try      -> held by A
        C: shared x lease try     -> held by A
        C: shared x s3#1          -> queued C at 2
        P: 1/3 x s1#2             -> granted P
        Q: 3/3 x s2#2             -> queued Q at 1
        R: 1/3 x s3#2 try         -> held by P
        R: 2/3 x s3#2             -> queued R at 2
        show lock:x               -> A | B, C
        show sem:x                -> P | Q, R
    ");
}

#[test]
fn a_large_request_at_the_head_is_not_starved() {
    run("
        A: 1/3 x s1#1             -> granted A
        B: 1/3 x s1#2             -> granted B
        C: 3/3 x s2#1             -> queued C at 1
        D: 1/3 x s3#1             -> queued D at 2
        release A by s1           -> released
        release B by s1           -> released; s2#1 gets C
        release C by s2           -> released; s3#1 gets D
    ");
}

#[test]
fn a_lock_and_a_semaphore_of_one_name_are_two_resources() {
    run("
        A: exclusive x s1#1       -> granted A
        B: 1/1 x s2#1             -> granted B
        C: exclusive y s2#2       -> granted C
        release A of sem:x        -> NotHolder
        show lock:x               -> A |
        show sem:x                -> B |
    ");
}

#[test]
fn a_repeated_number_gives_the_first_hold_or_its_place() {
    run("
        A: exclusive x s1#1       -> granted A
        A': exclusive x s1#1      -> granted A
        A': exclusive x s1#1 try  -> granted A
        B: shared x s2#1          -> queued B at 1
        C: shared x s2#2          -> queued C at 2
        C': shared x s2#2         -> queued C at 2
        release A by s1           -> released; s2#1 gets B; s2#2 gets C
        C': shared x s2#2         -> granted C
        show lock:x               -> B, C |
    ");
}

#[test]
fn a_repeated_request_id_gives_the_first_hold_or_its_place() {
    run("
        A: 2/2 x lease=a          -> granted A
        at 1s                     ->
        A': 2/2 x lease=a         -> granted A
        B: 1/2 x lease=b          -> queued B at 1
        B': 1/2 x lease=b         -> queued B at 1
        N: 1/2 x lease            -> queued N at 2
        N': 1/2 x lease           -> queued N' at 3
        at 30s                    -> lease A ends: Expired; lease B granted; lease N granted
        B': 1/2 x lease=b         -> granted B
    ");
}

/// A try answers as a try, and takes nothing from the first request, which goes on waiting.
#[test]
fn a_try_that_repeats_a_waiting_request_hears_who_holds() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x lease=b    -> queued B at 1
        B': exclusive x lease=b try -> held by A
        release A by s1           -> released; lease B granted
    ");
}

#[test]
fn a_request_that_got_nothing_leaves_no_trace() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x s2#1 try   -> held by A
        B: shared y s2#1          -> granted B
        C: exclusive x lease=c try -> held by A
        C: shared y lease=c       -> granted C
    ");
}

#[test]
fn something_else_under_the_same_id_is_refused() {
    let first = [("exclusive x s1#1", "s1#1"), ("exclusive x lease=r", "lease=r")];
    for (holds, party) in first {
        for change in ["shared x P", "exclusive y P", "1/1 x P", "exclusive x P owner=B", "exclusive x P meta=m"] {
            let mut script = Script::default();
            assert_eq!(script.step(&format!("A: {holds}")), "granted A");
            let changed = format!("A': {}", change.replace('P', party));
            assert_eq!(script.step(&changed), "RequestIdReused", "{changed}");
            assert_eq!(script.step("show lock:x"), "A |");
        }
    }
    run("
        A: exclusive x lease=r    -> granted A
        A': exclusive x lease=r ttl=31s -> RequestIdReused
        B: exclusive z s1#1       -> granted B
        B': exclusive z s1#1/k    -> RequestIdReused
    ");
}

#[test]
fn something_else_under_the_number_of_a_re_entrant_acquire_is_refused() {
    run("
        A: shared x s1#1/k        -> granted A
        A': exclusive x s1#1/k    -> RequestIdReused
        A': shared x s1#1/j       -> RequestIdReused
        A': shared x s1#1         -> RequestIdReused
        A': shared y s1#1/k       -> RequestIdReused
        P: 2/5 x s1#2/k           -> granted P
        P': 3/5 x s1#2/k          -> RequestIdReused
        P': 2/4 x s1#2/k          -> RequestIdReused
        B: exclusive x s2#1/k     -> queued B at 1
        B': shared x s2#1/k       -> RequestIdReused
        B': exclusive x s2#1/k    -> queued B at 1
    ");
}

#[test]
fn the_request_of_a_lease_that_ended_is_told_how() {
    run("
        A: exclusive x lease=a    -> granted A
        B: exclusive y lease=b    -> granted B
        release A of lock:x       -> released
        A': exclusive x lease=a   -> NotHolder: Released
        A': shared x lease=a      -> RequestIdReused
        A': exclusive y lease=a   -> RequestIdReused
        at 30s                    -> lease B ends: Expired
        B': exclusive y lease=b   -> NotHolder: Expired
        show lock:y               -> |
    ");
}

#[test]
fn the_limit_of_a_semaphore_holds_while_it_is_in_use() {
    run("
        A: 1/3 x s1#1             -> granted A
        B: 1/4 x s2#1             -> LimitMismatch: 3
        B: 1/2 x s2#1 try         -> LimitMismatch: 3
        B: 3/3 x s2#1             -> queued B at 1
        release A by s1           -> released; s2#1 gets B
        C: 1/4 x s1#1             -> LimitMismatch: 3
        release B by s2           -> released
        C: 1/4 x s1#1             -> granted C
        D: 4/4 y s1#2             -> granted D
    ");
}

#[test]
fn re_entry_passes_the_queue_and_must_be_released_as_often() {
    run("
        A: exclusive x s1#1/k     -> granted A
        B: exclusive x s2#1       -> queued B at 1
        C: exclusive x s1#2/k     -> granted A x2
        D: shared x s1#3/k try    -> granted A x3
        C': exclusive x s1#2/k    -> granted A x3
        show lock:x               -> A | B
        release A by s1           -> 2 left
        release A by s1           -> 1 left
        release A by s1           -> released; s2#1 gets B
        release A by s1           -> NotHolder: Released
    ");
}

#[test]
fn only_the_same_key_of_the_same_session_re_enters() {
    run("
        A: exclusive x s1#1/k     -> granted A
        B: exclusive x s1#2/j     -> queued B at 1
        C: exclusive x s1#3       -> queued C at 2
        D: exclusive x s2#1/k     -> queued D at 3
        E: exclusive x s1#4/j try -> held by A
        F: exclusive y s1#5/k     -> granted F
        G: 1/1 x s1#6/k           -> granted G
        H: exclusive z s3#1       -> granted H
        I: exclusive z s3#2       -> queued I at 1
    ");
}

#[test]
fn re_entry_takes_no_more_than_is_held() {
    run("
        A: shared x s1#1/k        -> granted A
        B: exclusive x s1#2/k     -> ReentryTooLarge
        B: shared x s1#2/k        -> granted A x2
        P: 2/5 x s1#3/k           -> granted P
        Q: 3/5 x s1#4/k           -> ReentryTooLarge
        Q: 1/4 x s1#4/k           -> LimitMismatch: 5
        Q: 1/5 x s1#4/k           -> granted P x2
        release P by s1           -> 1 left
        release P by s1           -> released
        Q: 3/5 x s1#4/k           -> granted Q
    ");
}

#[test]
fn queued_re_entries_merge_when_the_first_is_granted() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x s2#1/k     -> queued B at 1
        C: exclusive x s3#1       -> queued C at 2
        D: shared x s2#2/k        -> queued D at 3
        E: shared x s2#3/j        -> queued E at 4
        release A by s1           -> released; s2#1 gets B; s2#2 gets B x2
        show lock:x               -> B | C, E
        D': shared x s2#2/k       -> granted B x2
        release B by s2           -> 1 left
        release B by s2           -> released; s3#1 gets C
    ");
}

#[test]
fn a_queued_re_entry_that_is_larger_waits_for_its_own_turn() {
    run("
        A: exclusive x s1#1       -> granted A
        B: shared x s2#1/k        -> queued B at 1
        C: exclusive x s2#2/k     -> queued C at 2
        D: shared x s2#3/k        -> queued D at 3
        release A by s1           -> released; s2#1 gets B; s2#3 gets B x2
        release B by s2           -> 1 left
        release B by s2           -> released; s2#2 gets C
    ");
}

/// Two re-entrant acquires that could not merge are two holds, and each of them can be re-entered.
#[test]
fn each_hold_of_an_owner_key_can_be_re_entered() {
    run("
        A: 5/5 x s1#1             -> granted A
        B: 2/5 x s2#1/k           -> queued B at 1
        C: 3/5 x s2#2/k           -> queued C at 2
        release A by s1           -> released; s2#1 gets B; s2#2 gets C
        D: 4/5 x s2#3/k           -> ReentryTooLarge
        D: 3/5 x s2#3/k           -> granted C x2
        E: 2/5 x s2#4/k           -> granted B x2
        release C by s2           -> 1 left
        release C by s2           -> released
        F: 2/5 x s2#5/k           -> granted B x3
        G: 3/5 x s2#6/k           -> ReentryTooLarge
    ");
}

#[test]
fn a_hold_is_not_re_entered_without_end() {
    let mut script = Script::default();
    for request in 0..crate::limits::ENTRIES_PER_HOLD_MAX {
        let acquire = script.read_acquire("A", "exclusive", "x", &format!("s1#{request}/k"), &[]);
        assert!(script.machine.apply(script.now, acquire).outcome.is_ok());
    }
    assert_eq!(script.step("B: exclusive x s1#10000/k"), "TooManyEntries");
    assert_eq!(script.step("release A by s1"), "9999 left");
    assert_eq!(script.step("B: exclusive x s1#10000/k"), "granted A x10000");
}

#[test]
fn queues_and_sessions_have_a_limit() {
    let mut script = Script::default();
    assert_eq!(script.step("A: exclusive x s1#0"), "granted A");
    for number in 1..=crate::limits::WAITERS_PER_RESOURCE_MAX {
        let acquire = script.read_acquire(&format!("w{number}"), "shared", "x", &format!("s2#{number}"), &[]);
        assert!(script.machine.apply(script.now, acquire).outcome.is_ok());
    }
    assert_eq!(script.step("B: exclusive x s1#1"), "QueueFull");
    assert_eq!(script.step("B: exclusive x s1#1 try"), "held by A");
    assert_eq!(script.step("C: exclusive y s2#0"), "SessionFull");
    assert_eq!(script.step("C: exclusive y s1#1"), "granted C");
    assert_eq!(script.step("cancel s2#200000 keep"), "withdrawn, held by A");
    assert_eq!(script.step("D: exclusive z s2#0"), "granted D");
    assert_eq!(script.step("B: exclusive x s1#2"), "queued B at 200000");
}
