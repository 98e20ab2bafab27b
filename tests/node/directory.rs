//! The lock directory as a whole: permissions, file systems, and what can happen to it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use lockstead_client::{Client, Error, ErrorReason};
use lockstead_tests::{PATIENCE, Server, lockstead, serve};
use rustix::fs::{CWD, RenameFlags};
use rustix::process::geteuid;
use serde_json::Value;
use tempfile::TempDir;

use crate::fixture::{Node, text};
use crate::foreign::{Program, can_lock};

/// Somebody who is not root.
const NOBODY: u32 = 65534;

/// A server that can't start, by a command that ends with `lockstead serve`'s flags.
async fn refused(mut command: Command, directory: &Path, flags: &[&str]) -> (Option<i32>, String) {
    command.args(["--listen", "127.0.0.1:0", "--lock-dir", text(directory)]).args(flags).stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    let ended = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await.expect("it ends");
    let Output { status, stderr, stdout } = ended.unwrap();
    assert!(stdout.is_empty(), "it did not listen");
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn a_directory_that_can_not_be_used_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for directory in [folder.path().join("file"), folder.path().join("file/below"), "/proc/lockstead".into()] {
        let (code, message) = refused(serve(), &directory, &[]).await;
        assert_eq!(code, Some(64), "{message}");
        assert!(message.contains(text(&directory)) && message.contains("--lock-dir"), "{message}");
    }
    let (code, message) = refused(serve(), folder.path(), &["--lock-family", "lockf"]).await;
    assert!(code == Some(64) && message.contains("lockf"), "{message}");
}

/// What is not asked for is done without.
#[tokio::test]
async fn without_a_directory_there_is_no_node_scope() {
    let mut command = serve();
    command.args(["--listen", "127.0.0.1:0"]).env("XDG_RUNTIME_DIR", "/proc").stderr(Stdio::null());
    let server = Server::start_as(command);
    let client = Client::connect(&server.url).await.unwrap();
    client.lock("x").acquire().await.unwrap().release().await.unwrap();
    let refused = client.lock("x").node_scope().acquire().await;
    assert!(matches!(refused, Err(Error::Refused { reason: ErrorReason::InvalidScope, .. })), "{refused:?}");
}

#[tokio::test]
async fn the_server_says_what_it_offers() {
    let node = Node::start().await;
    let info = reqwest::get(format!("{}/v1/info", node.server.url)).await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(info["scopes"]["node"]["engine"], "node", "{info}");
    assert_eq!(info["scopes"]["node"]["capabilities"]["outlives_server"], false, "{info}");
    assert_eq!(info["scopes"]["cluster"]["engine"], "memory", "{info}");
}

/// By the same name in both scopes, and each listed in its own.
#[tokio::test]
async fn the_scopes_have_nothing_to_do_with_each_other() {
    let node = Node::start().await;
    let of_node = node.lock("x").acquire().await.unwrap();
    let of_cluster = node.client.lock("x").acquire().await.unwrap();
    assert_eq!(node.client.list_locks("").node_scope().all().await.unwrap().len(), 1);
    of_node.release().await.unwrap();
    of_cluster.ensure_held().unwrap();
    assert_eq!(node.client.list_locks("").node_scope().all().await.unwrap().len(), 0);
}

fn strace(inject: &str, log: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", text(log), "-e", inject]).arg(lockstead()).arg("serve");
    strace
}

#[tokio::test]
async fn a_file_system_without_locks_is_told_of_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, log) = (folder.path().join("locks"), folder.path().join("log"));
    for (inject, told) in [
        ("inject=flock:error=EOPNOTSUPP", "not supported"),
        ("inject=flock:error=ENOLCK", "No locks"),
        // Says yes to everybody.
        ("inject=flock:retval=0", "two can lock"),
    ] {
        let (code, message) = refused(strace(inject, &log), &directory, &[]).await;
        assert_eq!(code, Some(64), "{inject}: {message}");
        for part in ["does not support", told, text(&directory), "--lock-dir"] {
            assert!(message.contains(part), "{inject}: no {part} in {message}");
        }
    }
    Node::start_on(Arc::new(folder), &[]).await.lock("x").acquire().await.unwrap().release().await.unwrap();
}

/// A small file system of its own.
struct Small(TempDir);

impl Small {
    fn mount() -> Self {
        assert!(geteuid().is_root(), "only root can mount a full directory");
        let directory = tempfile::tempdir().unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k,nr_inodes=16", "none"]).arg(directory.path()));
        Self(directory)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.0.path()));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}

async fn start(directory: &Path) -> (Server, Client) {
    let server = Server::start_with(&["--lock-dir", text(directory)]);
    let client = Client::connect(&server.url).await.unwrap();
    (server, client)
}

#[tokio::test]
async fn a_full_directory_is_an_error_for_new_locks_alone() {
    let small = Small::mount();
    let path = small.0.path();
    let (_server, client) = start(path).await;
    let held = client.lock("known").node_scope().acquire().await.unwrap();
    for number in 0.. {
        if fs::write(path.join(format!("filler{number}")), "").is_err() {
            break;
        }
    }
    match client.lock("new").node_scope().acquire().await {
        Err(Error::Refused { reason: ErrorReason::LockFileUnusable, message, .. }) => {
            assert!(message.contains("full"), "{message}");
        }
        other => panic!("not refused: {other:?}"),
    }
    held.release().await.unwrap();
    client.lock("known").node_scope().acquire().await.unwrap().release().await.unwrap();
    fs::remove_file(path.join("filler0")).unwrap();
    client.lock("new").node_scope().acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_directory_that_is_full_already_stops_the_start() {
    let small = Small::mount();
    fs::write(small.0.path().join("filler"), vec![0; 1 << 20]).unwrap_err();
    for number in 0.. {
        if fs::write(small.0.path().join(format!("filler{number}")), "").is_err() {
            break;
        }
    }
    let (code, message) = refused(serve(), small.0.path(), &[]).await;
    assert!(code == Some(64) && message.contains("No space left"), "{message}");
}

/// `lockstead serve` as somebody who is not root.
fn serve_as_nobody() -> Command {
    assert!(geteuid().is_root(), "only root can start a server as somebody else");
    let of_root = serve();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(of_root.get_program()).args(of_root.get_args());
    for (name, value) in of_root.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[tokio::test]
async fn a_directory_of_others_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    for mode in [0o500, 0o755] {
        fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
        let (code, message) = refused(serve_as_nobody(), directory.path(), &[]).await;
        assert!(code == Some(64) && message.contains("Permission denied"), "{mode:o}: {message}");
    }
}

/// Where everybody may write, somebody may have been there first.
#[tokio::test]
async fn tokens_are_not_kept_where_others_can_change_them() {
    let directory = tempfile::tempdir().unwrap();
    let [own_folder, of_another] = [".lockstead", "of another"].map(|name| directory.path().join(name));
    fs::create_dir(&of_another).unwrap();
    chown(&of_another, Some(NOBODY), None).unwrap();
    fs::rename(&of_another, &own_folder).unwrap();
    let (code, message) = refused(serve(), directory.path(), &[]).await;
    assert!(code == Some(64) && message.contains(".lockstead"), "{message}");

    // And later neither.
    fs::rename(&own_folder, &of_another).unwrap();
    let (server, client) = start(directory.path()).await;
    let exchange = || rustix::fs::renameat_with(CWD, &own_folder, CWD, &of_another, RenameFlags::EXCHANGE).unwrap();
    exchange();
    let told = readyz(&server, 503).await;
    assert!(told.contains("another user"), "{told}");
    client.lock("x").node_scope().acquire().await.unwrap().release().await.unwrap();
    assert_eq!(fs::read_dir(&own_folder).unwrap().count(), 0);
    exchange();
    readyz(&server, 200).await;
}

#[tokio::test]
async fn what_is_made_has_the_permissions_of_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o7777;
    for (name, of_directory, of_folder, of_file, of_own) in [
        ("new", None, 0o700, 0o600, 0o700),
        ("group", Some(0o2770), 0o2770, 0o660, 0o2770),
        ("readers", Some(0o755), 0o755, 0o644, 0o750),
        ("all", Some(0o1777), 0o1777, 0o666, 0o770),
    ] {
        let directory = folder.path().join(name);
        if let Some(mode) = of_directory {
            fs::create_dir(&directory).unwrap();
            fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        }
        let (_server, client) = start(&directory).await;
        client.lock("a/b").node_scope().acquire().await.unwrap().release().await.unwrap();
        assert_eq!(mode(&format!("{name}/a")), of_folder, "{name}");
        assert_eq!(mode(&format!("{name}/a/b.lock")), of_file, "{name}");
        assert_eq!(mode(&format!("{name}/.lockstead")), of_own, "{name}");
        for file in ["last", "ceiling"] {
            assert_eq!(mode(&format!("{name}/.lockstead/{file}")), of_file & 0o660, "{name}");
        }
    }
}

/// Whoever was there first, and whatever the umask.
#[tokio::test]
async fn servers_of_two_users_of_a_group_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    chown(directory.path(), None, Some(NOBODY)).unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o2770)).unwrap();
    let (_server, client) = start(directory.path()).await;
    let mut command = serve_as_nobody();
    command.args(["--listen", "127.0.0.1:0", "--lock-dir", text(directory.path())]);
    let server_of_nobody = Server::start_as(command);
    let client_of_nobody = Client::connect(&server_of_nobody.url).await.unwrap();
    let of_root = || client.lock("a/b").node_scope();
    let of_nobody = || client_of_nobody.lock("a/b").node_scope();
    let guard = of_root().acquire().await.unwrap();
    assert!(of_nobody().try_acquire().await.unwrap().is_none());
    let token = guard.token();
    guard.release().await.unwrap();
    let guard = of_nobody().acquire().await.unwrap();
    assert!(guard.token() > token && of_root().try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
}

/// flock(2) needs no permission to write; a file that can't even be read is an error.
#[tokio::test]
async fn files_of_others() {
    let directory = tempfile::tempdir().unwrap();
    chown(directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    for (name, mode) in [("readable.lock", 0o644), ("secret.lock", 0o600)] {
        fs::write(directory.path().join(name), "").unwrap();
        fs::set_permissions(directory.path().join(name), Permissions::from_mode(mode)).unwrap();
    }
    let mut command = serve_as_nobody();
    command.args(["--listen", "127.0.0.1:0", "--lock-dir", text(directory.path())]);
    let server = Server::start_as(command);
    let client = Client::connect(&server.url).await.unwrap();
    let guard = client.lock("readable").node_scope().acquire().await.unwrap();
    assert!(!can_lock(Program::Flock, &directory.path().join("readable.lock"), "shared").await);
    guard.release().await.unwrap();
    let refused = client.lock("secret").node_scope().acquire().await;
    assert!(
        matches!(&refused, Err(Error::Refused { reason: ErrorReason::LockFileUnusable, message, .. })
        if message.contains("permission")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_directory_that_is_emptied_or_replaced_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("locks");
    let (server, client) = start(&directory).await;
    let lock = || client.lock("a/b").node_scope();
    let mut last = 0;
    for harm in [
        |directory: &Path| fs::remove_dir_all(directory.join(".lockstead")).unwrap(),
        |directory: &Path| fs::remove_dir_all(directory).unwrap(),
        |directory: &Path| fs::rename(directory, directory.with_extension("old")).unwrap(),
    ] {
        let guard = lock().acquire().await.unwrap();
        assert!(guard.token() > last);
        last = guard.token();
        guard.release().await.unwrap();
        harm(&directory);
        let guard = lock().acquire().await.unwrap();
        assert!(guard.token() > last);
        last = guard.token();
        assert!(!can_lock(Program::Flock, &directory.join("a/b.lock"), "exclusive").await);
        guard.release().await.unwrap();
    }
    // In time the count is where another server looks for it, too.
    let restored = async {
        while !directory.join(".lockstead/ceiling").exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, restored).await.unwrap();
    let (_another, other) = start(&directory).await;
    assert!(other.lock("a/b").node_scope().acquire().await.unwrap().token() > last);
    drop(server);
}

/// What `/readyz` says once it answers with this status.
async fn readyz(server: &Server, status: u16) -> String {
    let answered = async {
        loop {
            let answer = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
            if answer.status().as_u16() == status {
                return answer.text().await.unwrap();
            }
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("an answer in time")
}

#[tokio::test]
async fn a_server_that_can_not_use_its_directory_any_more_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("locks");
    let (server, _client) = start(&directory).await;
    readyz(&server, 200).await;
    fs::rename(&directory, folder.path().join("away")).unwrap();
    fs::write(&directory, "in its place").unwrap();
    let told = readyz(&server, 503).await;
    assert!(told.contains("lock directory"), "{told}");
    fs::remove_file(&directory).unwrap();
    readyz(&server, 200).await;
}
