//! The state machine against a naive reference, over random sequences of commands; and two servers on one Redis, or on a
//! Cluster, against the same.
//!
//! Every run draws a new seed. A failure prints it; `PROPTEST_RNG_SEED=<seed> cargo test -p lockstead-tests --test model`
//! draws the same sequences again. `PROPTEST_CASES=<n>` sets how many.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod machine;
mod reference;
mod rules;
mod servers;
mod sites;
mod steps;
mod words;

use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use machine::Sut;
use reference::{Note, Reference};
use servers::Timeless;
use sites::{Cluster, OneRedis};
use steps::Step;

/// Cases of one run, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 10_000;
/// The same where each command is a call or two.
const CASES_ON_REDIS: u32 = 200;
/// The same where servers join all partitions before a case begins.
const CASES_ON_A_CLUSTER: u32 = 60;
/// How long it looks for a shorter sequence that fails, unless `PROPTEST_MAX_SHRINK_TIME` says otherwise. Each that fails has
/// waited for seconds for what did not come; the search would take an hour.
const SHRINK_MS_ON_REDIS: u32 = 60_000;

struct Model;

impl ReferenceStateMachine for Model {
    type State = Reference;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Reference> {
        Just(Reference::default()).boxed()
    }

    fn transitions(state: &Reference) -> BoxedStrategy<Step> {
        steps::step(state)
    }

    fn preconditions(state: &Reference, step: &Step) -> bool {
        steps::names_are_fresh(state, step)
    }

    fn apply(mut state: Reference, step: &Step) -> Reference {
        state.step(step);
        state
    }
}

impl StateMachineTest for Model {
    type SystemUnderTest = Sut;
    type Reference = Self;

    fn init_test(_: &Reference) -> Sut {
        Sut::default()
    }

    fn apply(mut sut: Sut, reference: &Reference, step: Step) -> Sut {
        let (answer, notes) = sut.step(&step);
        assert_eq!(answer, reference.answer, "the answer to {step:?}");
        assert_eq!(by_thing(notes), by_thing(reference.notes.clone()), "the events of {step:?}");
        sut.assert_same_picture(reference);
        sut
    }
}

/// Only within a resource does the order of events mean something.
fn by_thing(mut notes: Vec<Note>) -> Vec<Note> {
    notes.sort_by_key(|note| note.thing);
    notes
}

#[test]
fn the_machine_does_what_the_reference_does() {
    run::<Model>(CASES, 0);
}

#[test]
fn servers_on_one_redis_do_what_the_reference_does() {
    run::<Timeless<OneRedis>>(CASES_ON_REDIS, SHRINK_MS_ON_REDIS);
}

#[test]
fn servers_on_a_cluster_do_what_the_reference_does() {
    run::<Timeless<Cluster>>(CASES_ON_A_CLUSTER, SHRINK_MS_ON_REDIS);
}

/// `shrink_ms`: 0 for as long as it takes.
fn run<M>(cases: u32, shrink_ms: u32)
where
    M: StateMachineTest<Reference = M> + ReferenceStateMachine<State = Reference, Transition = Step> + 'static,
{
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if std::env::var_os("PROPTEST_MAX_SHRINK_TIME").is_none() {
        config.max_shrink_time = shrink_ms;
    }
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => RandomState::new().hash_one("seed"),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let sequences = M::sequential_strategy(1..40_usize);
    let outcome = TestRunner::new(config.clone()).run(&sequences, |(reference, steps, seen)| {
        M::test_sequential(config.clone(), reference, steps, seen);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("PROPTEST_RNG_SEED={seed} shows this again: {failure}");
    }
}
