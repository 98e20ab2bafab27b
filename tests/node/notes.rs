//! Who holds, for people to read.

use std::path::Path;

use lockstead_tests::PATIENCE;

use crate::fixture::Node;

/// Waits until a note says what is asked for.
async fn note(path: &Path, says: impl Fn(&str) -> bool) -> String {
    let read = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if says(&text) {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    read.unwrap_or_else(|_| panic!("{} says {:?}", path.display(), std::fs::read_to_string(path)))
}

#[tokio::test]
async fn the_holder_is_named_beside_the_lock_as_long_as_it_holds() {
    let node = Node::start().await;
    let path = node.file("jobs/nightly.holder");
    let guard = node.lock("jobs/nightly").owner("backup.sh").acquire().await.unwrap();
    let text = note(&path, |text| !text.is_empty()).await;
    let pid = node.server.id().to_string();
    for part in ["backup.sh", &guard.token().to_string(), &pid, "exclusive"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let next = node.wait_for(node.lock("jobs/nightly").owner("the next"), "jobs/nightly", 1).await;
    guard.release().await.unwrap();
    let next = next.granted().await;
    note(&path, |text| text.contains("the next") && !text.contains("backup.sh")).await;
    next.release().await.unwrap();
    note(&path, str::is_empty).await;
    assert_eq!(std::fs::read(node.file("jobs/nightly.lock")).unwrap(), b"", "the lock itself is not written to");
}

#[tokio::test]
async fn all_who_share_are_named_and_each_slot_names_its_own() {
    let node = Node::start().await;
    let lock = |owner| node.lock("shared").shared().owner(owner).acquire();
    let guards = [lock("one").await.unwrap(), lock("two").await.unwrap()];
    note(&node.file("shared.holder"), |text| text.contains("one") && text.contains("two")).await;
    let [one, _two] = guards;
    one.release().await.unwrap();
    note(&node.file("shared.holder"), |text| !text.contains("one") && text.contains("two")).await;

    let permit = |owner| node.semaphore("pool", 2).owner(owner).acquire();
    let _guards = [permit("one").await.unwrap(), permit("two").await.unwrap()];
    note(&node.file("pool.00.holder"), |text| text.contains("one") && text.contains("1 of 2")).await;
    note(&node.file("pool.01.holder"), |text| text.contains("two")).await;
}

#[tokio::test]
async fn what_is_no_note_stays_as_it_is() {
    let node = Node::start().await;
    std::fs::write(node.file("data.holder"), "data").unwrap();
    let guard = node.lock("data").acquire().await.unwrap();
    let other = node.lock("other").acquire().await.unwrap();
    // By then the note of the first would have been written.
    note(&node.file("other.holder"), |text| !text.is_empty()).await;
    guard.release().await.unwrap();
    other.release().await.unwrap();
    assert_eq!(std::fs::read(node.file("data.holder")).unwrap(), b"data");
}

#[tokio::test]
async fn a_short_hold_leaves_no_note() {
    let node = Node::start().await;
    for number in 0..20 {
        node.lock(&format!("short/{number}")).acquire().await.unwrap().release().await.unwrap();
    }
    let long = node.lock("long").acquire().await.unwrap();
    note(&node.file("long.holder"), |text| !text.is_empty()).await;
    // On a busy machine some may have been long.
    assert!((0..20).any(|number| !node.file(&format!("short/{number}.holder")).exists()));
    long.release().await.unwrap();
}
