//! What is deployed: the image and the Helm chart.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has failed")]

mod chart;
mod dockerfile;
mod docs;
mod golden;
mod image;
mod pods;
mod readme;
mod refused;
mod settings;

use std::path::PathBuf;

/// A file or folder of the repository.
fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The text of one.
fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A checked-in file that is made by a test: compares it, or writes it anew if that is asked for.
fn check(path: &str, fresh: &str) {
    if std::env::var_os("LOCKSTEAD_BLESS").is_some() {
        std::fs::write(repository(path), fresh).unwrap();
    }
    let checked_in = std::fs::read_to_string(repository(path)).unwrap_or_default();
    if let Some((number, (is, should))) = differing_line(&checked_in, fresh) {
        panic!(
            "{path} is stale from line {number} on:\n  is      {is}\n  should  {should}\nrefresh it with: \
             LOCKSTEAD_BLESS=1 cargo test --workspace --test deploy checked_in"
        );
    }
}

fn differing_line<'a>(one: &'a str, other: &'a str) -> Option<(usize, (&'a str, &'a str))> {
    let end = ["(the end)"];
    let lines = one.split('\n').chain(end).zip(other.split('\n').chain(end));
    (1..).zip(lines).find(|(_, (one, other))| one != other)
}

/// A program that `tests/setup` installs for these tests.
fn python_program(name: &str) -> PathBuf {
    let program = repository("tests/.venv/bin").join(name);
    assert!(program.exists(), "{name} is missing; run tests/setup");
    program
}
