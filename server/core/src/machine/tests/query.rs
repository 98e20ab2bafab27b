//! Get and list.

use std::time::Duration;

use super::script::{Script, resource};
use crate::limits::{DESCRIBED_PARTIES_MAX, NAMED_HOLDERS_MAX};
use crate::{Acquired, Claim, Get, Kind, List, Mode, Name, Permits, ResourceView, WallTime};

fn get(script: &mut Script, key: &str) -> ResourceView {
    script.machine.apply(script.now, Get(resource(key))).outcome
}

fn list(script: &mut Script, kind: Kind, prefix: &str, after: Option<&str>, at_most: usize) -> Vec<String> {
    let after = after.map(|name| Name::parse(name).unwrap());
    let list = List { kind, prefix: prefix.to_owned(), after, at_most };
    let views = script.machine.apply(script.now, list).outcome;
    assert!(views.iter().all(|view| view.key.kind == kind && view.holder_count + view.waiter_count > 0));
    views.iter().map(|view| view.key.name.to_string()).collect()
}

#[test]
fn a_view_tells_who_holds_and_who_waits() {
    let mut script = Script::default();
    let at = |seconds| WallTime::default().saturating_add(Duration::from_secs(seconds));
    let (two, three) = (Permits::new(2, 5).unwrap(), Permits::new(3, 5).unwrap());
    for step in [
        "wall 100s",
        "A: 3/5 x lease meta=m ttl=30s",
        "at 1s",
        "B: 2/5 x s1#1",
        "C: 3/5 x s1#2",
        "at 2s",
        "D: 2/5 x lease",
    ] {
        script.step(step);
    }
    let view = get(&mut script, "sem:x");
    assert_eq!((view.key, view.limit), (resource("sem:x"), Some(5)));
    assert_eq!((view.holder_count, view.waiter_count), (2, 2));

    let [a, b] = view.holders.as_slice() else { panic!("two hold") };
    assert_eq!((a.owner.as_str(), b.owner.as_str()), ("A", "B"));
    assert_eq!((a.claim, b.claim), (Claim::Semaphore(three), Claim::Semaphore(two)));
    assert_eq!((a.acquired_at, b.acquired_at), (at(100), at(101)));
    assert_eq!((a.expires_at, b.expires_at), (Some(at(130)), None));
    assert_eq!(a.metadata.iter().collect::<Vec<_>>(), [("key", "m")]);
    assert!(b.metadata.is_empty() && a.token < b.token);

    let waiters: Vec<_> = view.waiters.iter().map(|w| (w.owner.as_str(), w.position, w.queued_at, w.claim)).collect();
    assert_eq!(waiters, [("C", 1, at(101), Claim::Semaphore(three)), ("D", 2, at(102), Claim::Semaphore(two))]);
}

#[test]
fn a_granted_waiter_holds_since_its_grant() {
    let mut script = Script::default();
    for step in ["wall 100s", "A: exclusive x s1#1", "B: shared x s2#1", "at 5s", "release A by s1"] {
        script.step(step);
    }
    let view = get(&mut script, "lock:x");
    assert_eq!(view.limit, None, "a lock has no limit to show");
    assert_eq!(view.holders[0].claim, Claim::Lock(Mode::Shared));
    assert_eq!(view.holders[0].acquired_at, WallTime::default().saturating_add(Duration::from_secs(105)));
}

#[test]
fn an_unused_resource_is_described_without_parties() {
    let mut script = Script::default();
    script.step("A: 1/5 x s1#1");
    script.step("release A by s1");
    let view = get(&mut script, "sem:x");
    assert_eq!((view.limit, view.holder_count, view.waiter_count), (None, 0, 0));
    assert!(view.holders.is_empty() && view.waiters.is_empty());
    assert_eq!(script.machine.census(), crate::Census::default());
}

#[test]
fn descriptions_are_bounded_and_counts_are_not() {
    let mut script = Script::default();
    let many = DESCRIBED_PARTIES_MAX + 1;
    for number in 0..many {
        script.step(&format!("h{number}: shared x s1#{number}"));
        script.step(&format!("w{number}: exclusive y s2#{number}"));
    }
    script.step("last: exclusive y s3#1");
    let (x, y) = (get(&mut script, "lock:x"), get(&mut script, "lock:y"));
    assert_eq!((x.holders.len(), x.holder_count), (DESCRIBED_PARTIES_MAX, many));
    assert_eq!((y.waiters.len(), y.waiter_count), (DESCRIBED_PARTIES_MAX, many));
    assert_eq!((x.holders[0].owner.as_str(), y.waiters[0].owner.as_str()), ("h0", "w1"));

    let acquire = script.read_acquire("t", "exclusive", "x", "lease", &["try"]);
    let Ok(Acquired::Held { holders }) = script.machine.apply(script.now, acquire).outcome else { panic!("held") };
    assert_eq!(holders.len(), NAMED_HOLDERS_MAX);
    assert_eq!(
        script.machine.census(),
        crate::Census { resources: 2, holds: 2 * many + 1, waiters: many, longest_queue: many }
    );
}

#[test]
fn lists_go_by_prefix_in_order_and_by_kind() {
    let mut script = Script::default();
    for (number, name) in ["b", "a/2", "a", "a/1", "ab", "a/1/x", "ä", "B"].iter().enumerate() {
        script.step(&format!("L{number}: exclusive {name} s1#{number}"));
    }
    script.step("S: 1/1 a/sem s2#1");
    let all = ["B", "a", "a/1", "a/1/x", "a/2", "ab", "b", "ä"];
    let cases: [(&str, Option<&str>, usize, &[&str]); 13] = [
        ("", None, 100, &all),
        ("", None, 3, &all[..3]),
        ("", Some("a/1"), 3, &all[3..6]),
        ("", Some("a/11"), 100, &all[4..]),
        ("", Some("ä"), 100, &[]),
        ("a", None, 100, &["a", "a/1", "a/1/x", "a/2", "ab"]),
        ("a/", None, 100, &["a/1", "a/1/x", "a/2"]),
        ("a/", Some("a/1"), 1, &["a/1/x"]),
        ("a/", Some("a/2"), 100, &[]),
        ("a/", Some("B"), 1, &["a/1"]),
        ("a/", Some("b"), 100, &[]),
        ("c", None, 100, &[]),
        ("", None, 0, &[]),
    ];
    for (prefix, after, at_most, expected) in cases {
        assert_eq!(list(&mut script, Kind::Lock, prefix, after, at_most), expected, "{prefix} {after:?} {at_most}");
    }
    assert_eq!(list(&mut script, Kind::Semaphore, "", None, 100), ["a/sem"]);
    assert_eq!(list(&mut script, Kind::Semaphore, "b", None, 100), [""; 0]);
}

#[test]
fn a_list_leaves_out_what_is_over_by_now() {
    let mut script = Script::default();
    script.step("A: exclusive a lease ttl=5s");
    script.step("B: exclusive b lease ttl=6s");
    script.now.time = script.now.time.saturating_add(Duration::from_secs(5));
    assert_eq!(list(&mut script, Kind::Lock, "", None, 100), ["b"]);
}
