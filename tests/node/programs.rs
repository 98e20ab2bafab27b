//! Each program holds while the server waits, and the other way round.

use lockstead_client::Guard;

use crate::fixture::Node;
use crate::foreign::{Foreign, Program, can_lock};

/// Those that use flock(2). The file of the last is called otherwise in the program's own words.
const FLOCK_FAMILY: [Program; 6] = [
    Program::Flock,
    Program::Python("portalocker_lock"),
    Program::Python("portalocker_rlock"),
    Program::Python("portalocker_temporary"),
    Program::Python("filelock_lock"),
    Program::Python("portalocker_pid"),
];
/// Those that use fcntl(2).
const FCNTL_FAMILY: [Program; 3] =
    [Program::Python("fasteners_lock"), Program::Python("fasteners_reader_writer"), Program::Python("lockf")];
/// Those that can share.
const SHARING: [Program; 2] = [Program::Flock, Program::Python("portalocker_lock")];
const SHARING_FCNTL: [Program; 2] = [Program::Python("fasteners_reader_writer"), Program::Python("lockf")];

/// What the program calls the file of lock `jobs/nightly`.
fn path_for(node: &Node, program: Program) -> std::path::PathBuf {
    match program {
        Program::Python("portalocker_pid") => node.file("jobs/nightly"),
        _ => node.file("jobs/nightly.lock"),
    }
}

/// The server waits for the program, and the program for the server.
async fn exclude_each_other(node: &Node, program: Program) {
    std::fs::create_dir_all(node.file("jobs")).unwrap();
    let path = path_for(node, program);
    let foreign = Foreign::start(program, &path, "exclusive").holding().await;
    let request = || node.lock("jobs/nightly");
    assert!(request().try_acquire().await.unwrap().is_none(), "{program:?} holds");
    assert!(request().shared().try_acquire().await.unwrap().is_none(), "{program:?} holds");
    let waiting = node.wait_for(request(), "jobs/nightly", 1).await;
    let next = node.wait_for(request(), "jobs/nightly", 2).await;
    assert!(waiting.waits());
    foreign.release().await;

    let guard = waiting.granted().await;
    assert!(next.waits() && !can_lock(program, &path, "exclusive").await, "the server holds, not {program:?}");
    guard.ensure_held().unwrap();
    guard.release().await.unwrap();
    let guard = next.granted().await;
    let foreign = Foreign::start(program, &path, "exclusive");
    guard.release().await.unwrap();
    let foreign = foreign.holding().await;
    assert!(request().try_acquire().await.unwrap().is_none(), "{program:?} holds again");
    let waiting = node.wait_for(request(), "jobs/nightly", 1).await;
    foreign.kill().await;
    waiting.granted().await.release().await.unwrap();
}

#[tokio::test]
async fn programs_that_use_flock() {
    let node = Node::start().await;
    for program in FLOCK_FAMILY {
        exclude_each_other(&node, program).await;
    }
}

#[tokio::test]
async fn programs_of_both_families() {
    let node = Node::start_with(&["--lock-family", "both"]).await;
    for program in FLOCK_FAMILY.into_iter().chain(FCNTL_FAMILY) {
        exclude_each_other(&node, program).await;
    }
}

/// So that what the test above shows is due to the flag.
#[tokio::test]
async fn the_families_do_not_see_each_other() {
    let node = Node::start().await;
    for program in FCNTL_FAMILY {
        let path = node.file("alone.lock");
        let guard = node.lock("alone").acquire().await.unwrap();
        assert!(can_lock(program, &path, "exclusive").await, "{program:?}");
        guard.release().await.unwrap();
    }
}

async fn share(node: &Node, program: Program) {
    let path = node.file("shared.lock");
    let shared = || node.lock("shared").shared();
    let first = shared().acquire().await.unwrap();
    let foreign = Foreign::start(program, &path, "shared").holding().await;
    let second = shared().acquire().await.unwrap();
    assert!(!can_lock(program, &path, "exclusive").await, "{program:?}");
    assert!(node.lock("shared").try_acquire().await.unwrap().is_none());
    release([first, second]).await;

    assert!(node.lock("shared").try_acquire().await.unwrap().is_none(), "{program:?} shares it still");
    let writer = node.wait_for(node.lock("shared"), "shared", 1).await;
    let reader = node.wait_for(shared(), "shared", 2).await;
    foreign.release().await;
    let guard = writer.granted().await;
    assert!(reader.waits() && !can_lock(program, &path, "shared").await, "{program:?}");
    guard.release().await.unwrap();
    let guard = reader.granted().await;
    assert!(can_lock(program, &path, "shared").await, "{program:?}");
    guard.release().await.unwrap();
    assert!(can_lock(program, &path, "exclusive").await, "{program:?}");
}

async fn release(guards: impl IntoIterator<Item = Guard>) {
    for guard in guards {
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn programs_that_share() {
    let node = Node::start().await;
    for program in SHARING {
        share(&node, program).await;
    }
    let node = Node::start_with(&["--lock-family", "both"]).await;
    for program in SHARING.into_iter().chain(SHARING_FCNTL) {
        share(&node, program).await;
    }
}

#[tokio::test]
async fn a_lease_excludes_as_well_and_ends_by_itself() {
    let node = Node::start().await;
    let path = node.file("lease.lock");
    let lease = node.lock("lease").lease(std::time::Duration::from_millis(500)).acquire().await.unwrap();
    assert!(!can_lock(Program::Flock, &path, "shared").await);
    let foreign = Foreign::start(Program::Flock, &path, "exclusive").holding().await;
    assert!(lease.remaining().is_zero(), "not before its end");
    foreign.kill().await;
}

#[tokio::test]
async fn a_session_that_ends_lets_go() {
    let node = Node::start().await;
    let guard = node.lock("session").acquire().await.unwrap();
    assert!(!can_lock(Program::Flock, &node.file("session.lock"), "exclusive").await);
    node.client.close().await.unwrap();
    Foreign::start(Program::Flock, &node.file("session.lock"), "exclusive").holding().await.kill().await;
    assert!(guard.ensure_held().is_err());
}
