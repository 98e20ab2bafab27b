//! `acquire`, `release`, `ls` and `get`.

use lockstead_client::Client;
use lockstead_tests::Server;
use serde_json::Value;

use super::{ask, assert_code, command, output, text};

#[tokio::test]
async fn a_lease_is_acquired_and_released_by_its_id() {
    let server = Server::start();
    let acquired = ask(&server.url, &["acquire", "x", "--ttl", "1m", "--owner", "me"]).await;
    assert_code(&acquired, 0);
    let printed = text(&acquired.stdout);
    let hold_id = printed.strip_suffix('\n').unwrap();
    assert!(hold_id.len() == 32 && hold_id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{printed:?}");

    let refused = ask(&server.url, &["acquire", "x"]).await;
    assert_code(&refused, 75);
    assert!(refused.stdout.is_empty() && text(&refused.stderr).contains("held by me"), "{refused:?}");
    assert_code(&ask(&server.url, &["acquire", "x", "--wait", "100ms", "--shared"]).await, 75);

    assert_code(&ask(&server.url, &["release", "y", hold_id]).await, 77);
    assert_code(&ask(&server.url, &["release", "--semaphore", "x", hold_id]).await, 77);
    let mut release = command(&server.url, &["release", "x"]);
    assert_code(&output(release.env("LOCKSTEAD_HOLD_ID", hold_id)).await, 0);
    let again = ask(&server.url, &["release", "x", hold_id]).await;
    assert_code(&again, 77);
    assert!(text(&again.stderr).contains("NOT_HOLDER"), "{again:?}");
    assert_code(&ask(&server.url, &["release", "x", &"0".repeat(32)]).await, 77);
}

#[tokio::test]
async fn a_lease_of_a_semaphore_tells_all_about_itself_in_json() {
    let server = Server::start();
    let arguments = ["acquire", "x", "--limit", "3", "--permits", "2", "--ttl", "90s", "--json"];
    let acquired = ask(&server.url, &arguments).await;
    let lease: Value = serde_json::from_slice(&acquired.stdout).unwrap();
    assert_eq!((&lease["name"], &lease["ttl"]), (&"x".into(), &"90s".into()), "{lease}");
    assert!(lease["fencing_token"].as_u64().is_some_and(|token| token < 1 << 53), "{lease}");
    assert!(lease["expires_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{lease}");
    let hold_id = lease["hold_id"].as_str().unwrap();

    let shown = ask(&server.url, &["get", "--semaphore", "x", "--json"]).await;
    assert!(!text(&shown.stdout).contains(hold_id), "the hold id is a secret");
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["holders"][0]["fencing_token"], lease["fencing_token"], "{shown}");
    assert_eq!((&shown["kind"], &shown["holder_count"]), (&"semaphore".into(), &1.into()), "{shown}");
    assert_eq!(shown["holders"][0]["has"], "2 permits", "{shown}");

    assert_code(&ask(&server.url, &["acquire", "x", "--limit", "4"]).await, 77);
    assert_code(&ask(&server.url, &["release", "--semaphore", "x", hold_id]).await, 0);
}

#[tokio::test]
async fn ls_and_get_show_holders_and_waiters() {
    let server = Server::start();
    let client = Client::builder().server(&server.url).owner("holder").connect().await.unwrap();
    let free = ask(&server.url, &["get", "jobs/a"]).await;
    assert_eq!(text(&free.stdout), "jobs/a is free\n");
    assert_eq!(text(&ask(&server.url, &["ls", "--json"]).await.stdout), "");

    let guard = client.lock("jobs/a").acquire().await.unwrap();
    let permits = client.semaphore("jobs/b", 5).permits(2).acquire().await.unwrap();
    let other = client.lock("other").shared().acquire().await.unwrap();
    let request = client.lock("jobs/a").owner("waiter").shared();
    let waiting = tokio::spawn(request.acquire());
    while client.lock("jobs/a").get().await.unwrap().waiter_count == 0 {
        tokio::task::yield_now().await;
    }

    let list = text(&ask(&server.url, &["ls"]).await.stdout);
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 4, "{list}");
    assert!(lines[0].contains("NAME") && lines[3].contains("other"), "{list}");
    assert!(lines[1].contains("jobs/a") && lines[1].contains("holder"), "{list}");
    assert!(lines[1].contains(&guard.token().to_string()), "{list}");
    assert!(lines[2].contains("semaphore of 5") && lines[2].contains(&permits.token().to_string()), "{list}");

    let list = text(&ask(&server.url, &["ls", "jobs/", "--json"]).await.stdout);
    let list: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = list.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["jobs/a", "jobs/b"]);
    assert_eq!(list[0]["waiters"][0]["wants"], "shared", "{list:?}");
    assert_eq!(list[0]["waiters"][0]["owner"], "waiter", "{list:?}");

    let one = text(&ask(&server.url, &["get", "jobs/a"]).await.stdout);
    for part in ["jobs/a, lock", "holder", "exclusive", "waiter", "shared", &guard.token().to_string()] {
        assert!(one.contains(part), "no {part} in {one}");
    }
    drop((permits, other));
    guard.release().await.unwrap();
    drop(waiting.await.unwrap().unwrap());
}
