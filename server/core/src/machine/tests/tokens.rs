//! Fencing tokens. That they grow, and that a hold keeps its own, is checked in every script; here are the clock's tricks.

use super::script::{Script, run};
use crate::limits::TOKEN_END;
use crate::{Acquired, WallTime};

#[test]
fn tokens_grow_while_the_wall_clock_stands_or_goes_back() {
    run("
        wall 1000s                ->
        A: exclusive x lease      -> granted A
        release A of lock:x       -> released
        B: exclusive x lease      -> granted B
        C: exclusive x lease      -> queued C at 1
        wall 10s                  ->
        release B of lock:x       -> released; lease C granted
        release C of lock:x       -> released
        wall 0s                   ->
        D: exclusive x s1#1       -> granted D
        wall 2000s                ->
        E: exclusive y s1#2       -> granted E
    ");
}

fn token(script: &mut Script, label: &str) -> u64 {
    let acquire = script.read_acquire(label, "exclusive", label, "lease", &[]);
    match script.machine.apply(script.now, acquire).outcome {
        Ok(Acquired::Granted(grant)) => grant.token.get(),
        other => panic!("not granted: {other:?}"),
    }
}

#[test]
fn tokens_start_from_the_wall_clock_and_count_on() {
    let mut script = Script::default();
    script.now.wall = WallTime::from_micros(1_000_000);
    assert_eq!([token(&mut script, "a"), token(&mut script, "b")], [1_000_000, 1_000_001]);
    script.now.wall = WallTime::from_micros(2_000_000);
    assert_eq!([token(&mut script, "c"), token(&mut script, "d")], [2_000_000, 2_000_001]);
}

#[test]
fn a_mad_clock_does_not_use_up_the_tokens() {
    let mut script = Script::default();
    script.now.wall = WallTime::from_micros(u64::MAX);
    let (first, second) = (token(&mut script, "a"), token(&mut script, "b"));
    assert!(first < second && second < TOKEN_END);
}
