//! A server that is killed: the kernel frees what it held, and tokens go on.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstead_client::Client;
use lockstead_tests::{PATIENCE, Process, serve};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::fixture::Node;
use crate::foreign::{Foreign, Program, can_lock};

const HOLDS: usize = 50;
const KILLS: u64 = 10;
/// Far above any wall clock, so that only what is written down can make tokens grow.
const AHEAD: u64 = 1 << 52;

#[tokio::test]
async fn a_killed_server_frees_every_lock_at_once() {
    let mut node = Node::start_with(&["--lock-family", "both"]).await;
    let mut guards = Vec::new();
    for number in 0..HOLDS {
        let lock = node.lock(&format!("kill/{number}"));
        guards.push(if number % 2 == 0 { lock.acquire().await } else { lock.shared().acquire().await }.unwrap());
    }
    guards.push(node.semaphore("kill/pool", 2).permits(2).acquire().await.unwrap());
    let waiting = Foreign::start(Program::Flock, &node.file("kill/0.lock"), "exclusive");
    let mut paths: Vec<_> = (0..HOLDS).map(|number| node.file(&format!("kill/{number}.lock"))).collect();
    paths.extend([node.file("kill/pool.00.lock"), node.file("kill/pool.01.lock")]);
    for path in &paths {
        assert!(!can_lock(Program::Flock, path, "exclusive").await, "{path:?}");
    }
    node.server.signal(Signal::KILL);
    node.server.wait();
    waiting.holding().await.kill().await;
    for path in &paths {
        assert!(can_lock(Program::Flock, path, "exclusive").await, "{path:?}");
    }
    assert!(can_lock(Program::Python("fasteners_lock"), &paths[0], "exclusive").await);
    drop(guards);
}

#[tokio::test]
async fn tokens_grow_over_kills_at_any_moment() {
    let mut node = Node::start().await;
    let seen = Arc::new(AtomicU64::new(0));
    for kill in 0..KILLS {
        let token = node.lock("tokens").acquire().await.unwrap().token();
        let before = seen.swap(token, Ordering::SeqCst);
        assert!(token > before, "{token} after {before}");
        let clients: Vec<_> =
            (0..4).map(|number| tokio::spawn(acquire(node.server.url.clone(), number, seen.clone()))).collect();
        let grown = async {
            // Each time at another moment.
            while seen.load(Ordering::SeqCst) < token + 50 * (kill + 1) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, grown).await.unwrap();
        node.server.signal(Signal::KILL);
        node.server.wait();
        for client in clients {
            client.abort();
            _ = client.await;
        }
        if kill == 0 {
            set_clock_back(&node.file(".lockstead"));
            seen.store(AHEAD, Ordering::SeqCst);
        }
        node = Node::start_on(node.directory, &[]).await;
    }
}

/// As if the machine had been started since, and its clock set back.
fn set_clock_back(own_folder: &Path) {
    std::fs::write(own_folder.join("last"), "").unwrap();
    std::fs::write(own_folder.join("ceiling"), format!("{AHEAD:016}")).unwrap();
}

/// At each step of a start, and of the first grants, that touches a file.
#[tokio::test]
async fn tokens_grow_over_a_kill_at_each_step() {
    let node = Node::start().await;
    let directory = node.directory.clone();
    drop(node);
    set_clock_back(&directory.path().join(".lockstead"));
    let mut last = AHEAD;
    for call in ["pwrite64", "fsync", "renameat", "flock"] {
        for nth in 1.. {
            let (token, is_killed) = run_until_killed_at(call, nth, &directory).await;
            let node = Node::start_on(directory.clone(), &[]).await;
            let next = node.lock("steps").acquire().await.unwrap().token();
            assert!(next > token.max(last), "{next} after {token} and {last}, killed at {call} {nth}");
            assert!(token == 0 || token > last, "{token} after {last}, before it is killed at {call} {nth}");
            last = next;
            if !is_killed {
                assert!(nth > 1, "{call} is not called");
                break;
            }
        }
    }
}

/// Starts a server that is killed at its nth call, and asks it for a few locks. The last token it gave, and whether it was
/// killed.
async fn run_until_killed_at(call: &str, nth: u32, directory: &TempDir) -> (u64, bool) {
    let of_server = serve();
    let mut command = tokio::process::Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
    command.arg(of_server.get_program()).args(of_server.get_args()).args(["--listen", "127.0.0.1:0", "--lock-dir"]);
    // With it ends what it traces.
    command.arg(directory.path()).stderr(Stdio::null()).process_group(0);
    let mut server = Process::start(command);
    let mut token = 0;
    let Some(line) = server.next_line().await else { return (token, true) };
    let url = line.rsplit(' ').next().unwrap();
    for number in 0..3 {
        let acquire = reqwest::Client::new().post(format!("{url}/v1/locks/killed%2F{number}/acquire"));
        let body = serde_json::json!({"scope": "node", "ttl": "30s"}).to_string();
        let Ok(answer) = acquire.body(body).send().await else { return (token, true) };
        let answer: serde_json::Value = answer.json().await.unwrap();
        token = answer["fencing_token"].as_u64().unwrap_or_else(|| panic!("{answer}"));
    }
    server.signal_group(Signal::KILL);
    server.wait().await;
    (token, false)
}

/// Acquires as fast as it can for as long as it can.
async fn acquire(url: String, number: usize, seen: Arc<AtomicU64>) {
    let client = Client::connect(&url).await.unwrap();
    while let Ok(guard) = client.lock(format!("busy/{number}")).node_scope().acquire().await {
        seen.fetch_max(guard.token(), Ordering::SeqCst);
        if guard.release().await.is_err() {
            return;
        }
    }
}
