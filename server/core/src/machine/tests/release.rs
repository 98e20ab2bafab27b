//! Release and cancel: how holds and waiters go, and who comes after them.

use super::script::run;

#[test]
fn only_the_session_of_a_hold_releases_it() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x s2#1       -> queued B at 1
        L: exclusive y lease      -> granted L
        release A by s2           -> HoldNotFound
        release B by s2           -> HoldNotFound
        release L by s1           -> HoldNotFound
        show lock:x               -> A | B
        show lock:y               -> L |
    ");
}

#[test]
fn a_bearer_releases_with_the_hold_id_and_its_resource() {
    run("
        A: exclusive x lease      -> granted A
        B: exclusive x lease      -> queued B at 1
        C: 1/1 x s1#1             -> granted C
        release A of lock:y       -> HoldNotFound
        release A of sem:x        -> NotHolder
        release B of lock:x       -> NotHolder
        release Z of lock:x       -> NotHolder
        release Z of lock:z       -> HoldNotFound
        release A of lock:x       -> released; lease B granted
        release A of lock:x       -> NotHolder: Released
    ");
}

#[test]
fn a_bearer_ends_a_sessions_hold_with_all_entries_and_the_session_is_told() {
    run("
        A: exclusive x s1#1/k     -> granted A
        B: exclusive x s1#2/k     -> granted A x2
        C: exclusive x s2#1       -> queued C at 1
        release A of lock:x       -> released; s1 loses A: Released; s2#1 gets C
        release A by s1           -> NotHolder: Released
        B': exclusive x s1#2/k    -> queued B' at 1
    ");
}

#[test]
fn of_entries_the_oldest_is_released_so_that_the_newest_can_be_cancelled() {
    run("
        A: exclusive x s1#1/k     -> granted A
        B: exclusive x s1#2/k     -> granted A x2
        C: exclusive x s2#1       -> queued C at 1
        release A by s1           -> 1 left
        cancel s1#2 back          -> GivenBack; s2#1 gets C
    ");
}

#[test]
fn who_is_over_is_told_how_and_who_was_never_there_is_not_found() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive y lease ttl=5s -> granted B
        C: exclusive z s2#1       -> granted C
        release A by s1           -> released
        at 5s                     -> lease B ends: Expired
        end s2                    -> 1 ended
        release A by s1           -> NotHolder: Released
        release B of lock:y       -> NotHolder: Expired
        release C by s2           -> NotHolder: Disconnected
        release Z by s1           -> HoldNotFound
    ");
}

#[test]
fn a_waiter_that_is_cancelled_lets_those_behind_it_in() {
    run("
        A: 3/5 x s1#1             -> granted A
        B: 4/5 x s2#1             -> queued B at 1
        C: 1/5 x s3#1             -> queued C at 2
        D: 1/5 x lease            -> queued D at 3
        E: 1/5 x lease            -> queued E at 4
        cancel s2#1 back          -> withdrawn, held by A, C, D; s3#1 gets C; lease D granted
        cancel E keep             -> withdrawn, held by A, C, D
        cancel E keep             -> Unknown
        show sem:x                -> A, C, D |
    ");
}

#[test]
fn cancelling_in_the_middle_grants_nobody() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x s2#1       -> queued B at 1
        C: shared x s3#1          -> queued C at 2
        D: shared x s3#2          -> queued D at 3
        cancel s3#1 keep          -> withdrawn, held by A
        D': shared x s3#2         -> queued D at 2
        release A by s1           -> released; s2#1 gets B
    ");
}

#[test]
fn a_grant_is_kept_or_given_back_as_asked() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x lease=b    -> queued B at 1
        cancel s1#1 keep          -> Kept
        show lock:x               -> A | B
        cancel s1#1 back          -> GivenBack; lease B granted
        cancel s1#1 back          -> Unknown
        cancel B keep             -> Kept
        cancel B back             -> GivenBack
        cancel s9#1 back          -> Unknown
        show lock:x               -> |
    ");
}

#[test]
fn what_was_taken_back_may_come_again() {
    run("
        A: exclusive x lease=a    -> granted A
        B: exclusive x lease=b    -> queued B at 1
        cancel B back             -> withdrawn, held by A
        B2: shared x lease=b      -> queued B2 at 1
        cancel A back             -> GivenBack; lease B2 granted
        A2: shared x lease=a ttl=31s -> granted A2
        release A of lock:x       -> NotHolder
        at 40s                    -> lease B2 ends: Expired; lease A2 ends: Expired
        release A of lock:x       -> HoldNotFound
        C: exclusive x s1#1       -> granted C
        cancel s1#1 back          -> GivenBack
        C2: shared x s1#1         -> granted C2
    ");
}

#[test]
fn giving_back_a_re_entry_gives_back_that_entry() {
    run("
        A: exclusive x s1#1/k     -> granted A
        B: exclusive x s1#2/k     -> granted A x2
        C: exclusive x s2#1       -> queued C at 1
        cancel s1#1 back          -> GivenBack
        cancel s1#1 back          -> Unknown
        cancel s1#2 keep          -> Kept
        D: shared x s1#1/k        -> granted A x2
        D': shared x s1#1/k       -> granted A x2
        cancel s1#1 back          -> GivenBack
        cancel s1#2 back          -> GivenBack; s2#1 gets C
    ");
}

#[test]
fn a_merged_re_entry_can_be_cancelled_by_its_number() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x s2#1/k     -> queued B at 1
        C: exclusive x s2#2/k     -> queued C at 2
        release A by s1           -> released; s2#1 gets B; s2#2 gets B x2
        cancel s2#2 back          -> GivenBack
        release B by s2           -> released
    ");
}

#[test]
fn a_cancelled_re_entrant_waiter_does_not_merge() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x s2#1/k     -> queued B at 1
        C: exclusive x s2#2/k     -> queued C at 2
        cancel s2#2 keep          -> withdrawn, held by A
        release A by s1           -> released; s2#1 gets B
    ");
}
