//! The Dockerfile, as far as it can be read.

use std::process::Command;

use crate::{python_program, read, repository};

#[test]
fn its_linter_has_nothing_to_say() {
    let told = Command::new(python_program("hadolint")).arg(repository("Dockerfile")).output().unwrap();
    assert!(told.status.success() && told.stdout.is_empty(), "{}", String::from_utf8_lossy(&told.stdout));
}

/// Without a member's manifest cargo would refuse the whole workspace, and only in a build that takes minutes.
#[test]
fn it_has_the_manifest_of_every_member() {
    let (workspace, dockerfile) = (read("Cargo.toml"), read("Dockerfile"));
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: Vec<_> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() >= 7, "{members:?}");
    for member in members {
        let line = format!("\nCOPY {member}/Cargo.toml {member}/\n");
        assert!(dockerfile.contains(&line), "the Dockerfile has no line{line}");
    }
}

#[test]
fn it_has_a_compiler_that_is_new_enough_and_the_version_of_the_server() {
    let (workspace, dockerfile) = (read("Cargo.toml"), read("Dockerfile"));
    let minor = |text: &str, before: &str| -> u32 {
        let (_, rest) = text.split_once(before).unwrap();
        rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    assert!(minor(&dockerfile, "FROM docker.io/library/rust:1.") >= minor(&workspace, "rust-version = \"1."));
    assert!(dockerfile.contains(&format!("\nARG VERSION={}\n", env!("CARGO_PKG_VERSION"))));
}
