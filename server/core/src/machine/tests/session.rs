//! End and resume of a session.

use super::script::run;

#[test]
fn the_end_of_a_session_gives_back_all_it_has() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x s2#1       -> queued B at 1
        C: shared y s2#2          -> granted C
        D: exclusive y s1#2       -> queued D at 1
        E: shared y s3#1          -> queued E at 2
        end s1                    -> 2 ended; s2#1 gets B; s3#1 gets E
        end s1                    -> 0 ended
        end s9                    -> 0 ended
        show lock:y               -> C, E |
    ");
}

/// In whatever order the machine takes them: it goes by the ids, which are random.
#[test]
fn none_of_its_own_waiters_is_granted_in_passing() {
    for number in 0..20 {
        let script = "
            A: exclusive x s1#1       -> granted A
            B: exclusive x s1#2       -> queued B at 1
            C: exclusive x s2#1       -> queued C at 2
            D: exclusive x s1#3/k     -> queued D at 3
            E: exclusive x s1#4/k     -> queued E at 4
            end s1                    -> 4 ended; s2#1 gets C
            show lock:x               -> C |
        ";
        run(&script.replace('A', &format!("A{number}")).replace('B', &format!("B{number}")));
    }
}

#[test]
fn late_calls_are_told_how_the_session_ended() {
    run("
        A: exclusive x s1#1/k     -> granted A
        B: exclusive x s1#2/k     -> granted A x2
        C: exclusive y s2#1       -> granted C
        end s1 Expired            -> 1 ended
        end s2                    -> 1 ended
        release A by s1           -> NotHolder: Expired
        release C of lock:y       -> NotHolder: Disconnected
        A': exclusive x s1#1/k    -> granted A'
    ");
}

#[test]
fn leases_do_not_end_with_a_session() {
    run("
        A: exclusive x lease      -> granted A
        B: exclusive y s1#1       -> granted B
        end s1                    -> 1 ended
        show lock:x               -> A |
    ");
}

#[test]
fn what_a_resumed_session_does_not_list_is_given_back() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive y s1#2       -> granted B
        C: exclusive y s2#1       -> queued C at 1
        D: exclusive z s2#2       -> granted D
        E: exclusive z s1#3       -> queued E at 1
        F: exclusive z s1#4       -> queued F at 2
        resume s1 A #4            -> none lost; s2#1 gets C
        show lock:x               -> A |
        show lock:z               -> D | F
        release B by s1           -> NotHolder: Released
        resume s1                 -> none lost
        show lock:x               -> |
        show lock:z               -> D |
    ");
}

#[test]
fn a_pending_acquire_keeps_what_it_got() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive x s1#2       -> queued B at 1
        resume s1 #1 #2           -> none lost
        A': exclusive x s1#1      -> granted A
        B': exclusive x s1#2      -> queued B at 1
        resume s1 #2              -> none lost; s1#2 gets B
        B': exclusive x s1#2      -> granted B
    ");
}

#[test]
fn entries_are_cut_down_to_what_is_listed() {
    run("
        A: exclusive x s1#1/k     -> granted A
        B: exclusive x s1#2/k     -> granted A x2
        C: exclusive x s1#3/k     -> granted A x3
        D: exclusive x s1#4/k     -> granted A x4
        resume s1 A*9             -> none lost
        resume s1 A*3             -> none lost
        resume s1 A*1 #2          -> none lost
        B': exclusive x s1#2/k    -> granted A x2
        release A by s1           -> 1 left
        release A by s1           -> released
    ");
}

#[test]
fn an_entry_that_was_cut_off_may_come_again() {
    run("
        A: exclusive x s1#1/k     -> granted A
        B: exclusive x s1#2/k     -> granted A x2
        resume s1 A               -> none lost
        cancel s1#2 keep          -> Unknown
        B: exclusive x s1#2/k     -> granted A x2
        resume s1 #2              -> none lost
        B': exclusive x s1#2/k    -> granted A
    ");
}

#[test]
fn what_is_listed_but_gone_is_reported() {
    run("
        A: exclusive x s1#1       -> granted A
        B: exclusive y s2#1       -> granted B
        C: exclusive y s1#2       -> queued C at 1
        L: exclusive z lease      -> granted L
        release A of lock:x       -> released; s1 loses A: Released
        resume s1 A B L Z #2      -> lost A, B, L, Z
        show lock:y               -> B | C
        resume s1 C               -> lost C
        show lock:y               -> B |
        D: exclusive x s1#3       -> granted D
        resume s1 D*0             -> lost D
        resume s9 D               -> lost D
    ");
}
