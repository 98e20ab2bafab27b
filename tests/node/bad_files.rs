//! Whatever stands where a lock file belongs: a clear error, or a loss that the holder is told of; never two holders.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

use lockstead_client::{Client, Error, ErrorReason, Guard, LossReason};
use lockstead_tests::{PATIENCE, Server};
use rustix::fs::{CWD, FileType, Mode, RenameFlags};

use crate::fixture::{Node, text};
use crate::foreign::{Foreign, Program, can_lock};

/// The server refuses, with these words, and has no trouble with anything else.
async fn refused(node: &Node, name: &str, words: &str) {
    for result in [node.lock(name).acquire().await.map(|_| ()), node.lock(name).try_acquire().await.map(|_| ())] {
        match result {
            Err(Error::Refused { reason: ErrorReason::LockFileUnusable, message, .. }) => {
                assert!(message.contains(words), "{name}: {message}");
                let path = node.directory.path().to_str().unwrap();
                assert!(!message.contains(path), "where the files are is nobody's business: {message}");
            }
            other => panic!("{name} is not refused: {other:?}"),
        }
    }
    assert_eq!(node.lock(name).get().await.unwrap().waiter_count, 0);
    node.lock("fine").acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn what_is_no_file_is_not_locked() {
    let node = Node::start().await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("target"), "data").unwrap();
    fs::create_dir(outside.path().join("folder")).unwrap();

    symlink(outside.path().join("target"), node.file("link.lock")).unwrap();
    refused(&node, "link", "symbolic link").await;
    symlink("nowhere", node.file("dangling.lock")).unwrap();
    refused(&node, "dangling", "symbolic link").await;
    symlink("fine.lock", node.file("inside.lock")).unwrap();
    refused(&node, "inside", "symbolic link").await;
    symlink(outside.path().join("folder"), node.file("way")).unwrap();
    refused(&node, "way/lock", "symbolic link").await;
    refused(&node, "way/deeper/lock", "symbolic link").await;
    fs::create_dir(node.file("folder.lock")).unwrap();
    refused(&node, "folder", "no file").await;
    rustix::fs::mknodat(CWD, node.file("fifo.lock"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    refused(&node, "fifo", "no file").await;
    let _socket = std::os::unix::net::UnixListener::bind(node.file("socket.lock")).unwrap();
    refused(&node, "socket", "no file").await;
    fs::write(node.file("file"), "").unwrap();
    refused(&node, "file/lock", "folder").await;

    assert!(!node.file("nowhere").exists());
    assert_eq!(fs::read_dir(outside.path().join("folder")).unwrap().count(), 0, "nothing is made outside");
    assert_eq!(fs::read(outside.path().join("target")).unwrap(), b"data");
}

#[tokio::test]
async fn no_name_leads_out_of_the_directory() {
    let node = Node::start().await;
    for name in
        ["..a", "...", "a/...", ".lockstead/last", "a\\..\\b", "%2e%2e/a", "%", &"ä".repeat(127), &"%.".repeat(120)]
    {
        let guard = node.lock(name).acquire().await.unwrap();
        assert!(node.lock(name).try_acquire().await.unwrap().is_none());
        guard.release().await.unwrap();
    }
    assert_eq!(
        fs::read_dir(node.directory.path().parent().unwrap())
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".lock") })
            .count(),
        0
    );
    let count = fs::read_to_string(node.file(".lockstead/last")).unwrap();
    assert!(count[..16].bytes().all(|byte| byte.is_ascii_digit()), "it is the engine's own still: {count}");
}

/// A file with data in it is as good as any, and stays as it is.
#[tokio::test]
async fn what_a_file_holds_stays() {
    let node = Node::start().await;
    fs::write(node.file("data.lock"), "12345\n").unwrap();
    let before = fs::metadata(node.file("data.lock")).unwrap();
    node.lock("data").acquire().await.unwrap().release().await.unwrap();
    let after = fs::metadata(node.file("data.lock")).unwrap();
    assert_eq!(fs::read(node.file("data.lock")).unwrap(), b"12345\n");
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
}

async fn assert_lost(guard: &Guard) {
    let loss = tokio::time::timeout(PATIENCE, guard.lost()).await.expect("the holder is told");
    assert_eq!(loss.reason, LossReason::BackendLost, "{loss:?}");
}

/// Does something to the file of a lock that is held, and sees that the holders lose it, and that the next one and
/// another program exclude each other.
async fn loses(what: &str, harm: impl Fn(&Path)) {
    let node = Node::start().await;
    let path = node.file("gone.lock");
    let guards =
        [node.lock("gone").shared().acquire().await.unwrap(), node.lock("gone").shared().acquire().await.unwrap()];
    let bystander = node.lock("bystander").acquire().await.unwrap();
    let waiting = node.wait_for(node.lock("gone"), "gone", 1).await;
    harm(&path);
    for guard in &guards {
        assert_lost(guard).await;
    }
    bystander.ensure_held().unwrap();
    if path.is_file() && !path.is_symlink() || !path.exists() {
        let guard = waiting.granted().await;
        assert!(guard.token() > guards[1].token(), "{what}");
        assert!(!can_lock(Program::Flock, &path, "exclusive").await, "{what}");
        guard.release().await.unwrap();
        assert!(can_lock(Program::Flock, &path, "exclusive").await, "{what}");
        return;
    }
    // Whoever waits gets it when that is mended.
    assert!(waiting.waits());
    if path.is_dir() {
        fs::remove_dir(&path).unwrap();
    } else {
        fs::remove_file(&path).unwrap();
    }
    waiting.granted().await.release().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_taken_away_is_lost() {
    loses("removed", |path| fs::remove_file(path).unwrap()).await;
    loses("moved away", |path| fs::rename(path, path.with_extension("old")).unwrap()).await;
    loses("another in its place", |path| {
        fs::write(path.with_extension("new"), "").unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_that_turns_into_something_else_is_lost() {
    loses("a directory", |path| {
        let folder = path.with_extension("folder");
        fs::create_dir(&folder).unwrap();
        rustix::fs::renameat_with(CWD, &folder, CWD, path, RenameFlags::EXCHANGE).unwrap();
    })
    .await;
    loses("a link to what it was", |path| {
        let (old, link) = (path.with_extension("old"), path.with_extension("link"));
        fs::hard_link(path, &old).unwrap();
        symlink(&old, &link).unwrap();
        fs::rename(&link, path).unwrap();
    })
    .await;
}

/// The kernel tells, so that nobody has to wait until somebody looks after the file.
#[tokio::test]
async fn a_loss_is_told_of_at_once() {
    let node = Node::start().await;
    let mut times = Vec::new();
    for _ in 0..9 {
        let guard = node.lock("gone").acquire().await.unwrap();
        let before = lockstead_client::now();
        fs::remove_file(node.file("gone.lock")).unwrap();
        assert_lost(&guard).await;
        times.push(lockstead_client::now().since(before));
    }
    times.sort_unstable();
    assert!(times[4] < Duration::from_millis(200), "{times:?}");
}

/// No file of the lock is touched, so the kernel does not tell.
#[tokio::test]
async fn a_folder_that_is_moved_away_is_noticed_as_well() {
    let node = Node::start().await;
    let guard = node.lock("folder/gone").acquire().await.unwrap();
    fs::rename(node.file("folder"), node.file("elsewhere")).unwrap();
    assert_lost(&guard).await;
    let guard = node.lock("folder/gone").acquire().await.unwrap();
    assert!(!can_lock(Program::Flock, &node.file("folder/gone.lock"), "exclusive").await);
    guard.release().await.unwrap();
}

/// However many they are: with the directory all its files are elsewhere.
#[tokio::test]
async fn a_directory_that_is_moved_away_is_lost_by_all_at_once() {
    const HOLDS: usize = 2_500;
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("locks");
    let server = Server::start_with(&["--lock-dir", text(&directory)]);
    let client = Client::connect(&server.url).await.unwrap();
    let acquire = |number| client.lock(format!("many/{number}")).node_scope().acquire();
    let guards = futures::future::try_join_all((0..HOLDS).map(acquire)).await.unwrap();
    fs::rename(&directory, folder.path().join("elsewhere")).unwrap();
    let all_lost = futures::future::join_all(guards.iter().map(Guard::lost));
    let losses = tokio::time::timeout(PATIENCE, all_lost).await.expect("all holders are told");
    assert!(losses.iter().all(|loss| loss.reason == LossReason::BackendLost), "{losses:?}");
}

/// One that joins finds out before the kernel has told.
#[tokio::test]
async fn nobody_joins_holders_of_a_file_that_is_gone() {
    let node = Node::start().await;
    let first = node.lock("gone").shared().acquire().await.unwrap();
    fs::remove_file(node.file("gone.lock")).unwrap();
    let second = node.lock("gone").shared().acquire().await.unwrap();
    assert_lost(&first).await;
    assert!(!can_lock(Program::Flock, &node.file("gone.lock"), "exclusive").await);
    second.ensure_held().unwrap();
}

/// Whoever removes the file that it has locked, as some libraries do, leaves no two holders behind.
#[tokio::test]
async fn a_file_that_others_remove_while_they_hold_it() {
    let node = Node::start().await;
    for _ in 0..20 {
        let foreign =
            Foreign::start(Program::Python("portalocker_temporary"), &node.file("temporary.lock"), "exclusive");
        let foreign = foreign.holding().await;
        let waiting = node.wait_for(node.lock("temporary"), "temporary", 1).await;
        foreign.release().await;
        let guard = waiting.granted().await;
        assert!(!can_lock(Program::Flock, &node.file("temporary.lock"), "exclusive").await);
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_slot_that_is_removed_costs_its_holder_alone() {
    let node = Node::start().await;
    let first = node.semaphore("pool", 3).acquire().await.unwrap();
    let second = node.semaphore("pool", 3).permits(2).acquire().await.unwrap();
    fs::remove_file(node.file("pool.02.lock")).unwrap();
    assert_lost(&second).await;
    first.ensure_held().unwrap();
    let again = node.semaphore("pool", 3).permits(2).acquire().await.unwrap();
    assert!(!can_lock(Program::Flock, &node.file("pool.02.lock"), "exclusive").await);
    assert!(node.semaphore("pool", 3).try_acquire().await.unwrap().is_none());
    again.release().await.unwrap();
}
