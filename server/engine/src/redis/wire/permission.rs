//! What the user that Lockstead logs in as must be permitted.

use std::sync::LazyLock;

use redis::Value;

use super::connection::Connection;
use super::error::WireError;
use super::script::Script;
use super::target::Address;

/// What Lockstead needs, as `ACL SETUSER` takes it: `wait` only with `--redis-min-acks`, `cluster|slots` only in a Cluster.
pub const RULE: &str = "~lockstead:* &lockstead:* +evalsha +script|load +info +time +wait +cluster|slots +ssubscribe \
     +spublish +hget +hset +hdel +hmget +hincrby +hkeys +hsetnx +zadd +zrem +zscore +zrange +zrangebyscore \
     +zrangebylex +zlexcount +rpush +lpop";

/// Every command but those that ask, with arguments that Redis takes; what the scripts call stands here too.
const ON_KEYS: [&str; 17] = [
    "evalsha s 1 KEY",
    "hget KEY f",
    "hset KEY f v",
    "hdel KEY f",
    "hmget KEY f",
    "hincrby KEY f 1",
    "hkeys KEY",
    "hsetnx KEY f v",
    "zadd KEY 0 m",
    "zrem KEY m",
    "zscore KEY m",
    "zrange KEY 0 1",
    "zrangebyscore KEY 0 1",
    "zrangebylex KEY - +",
    "zlexcount KEY - +",
    "rpush KEY v",
    "lpop KEY",
];
const ON_CHANNELS: [&str; 2] = ["ssubscribe KEY", "spublish KEY m"];
const ALONE: [&str; 2] = ["info", "time"];
const WITH_ACKS: &str = "wait 0 0";
const IN_CLUSTER: &str = "cluster slots";

/// Asks Redis which of some commands the user may not say. Nothing is executed.
///
/// `ARGV`: for each command the number of its words, and the words. Answers the numbers, from 1, of those refused.
static CHECK: LazyLock<Script> = LazyLock::new(|| {
    let source = "
        local refused, number, at = {}, 0, 1
        while at <= #ARGV do
            local words = tonumber(ARGV[at])
            number = number + 1
            if not redis.acl_check_cmd(unpack(ARGV, at + 1, at + words)) then
                refused[#refused + 1] = number
            end
            at = at + words + 1
        end
        return refused";
    Script::new(source, false)
});

/// Refuses a user who lacks something, and says by which rule it is mended.
pub(super) async fn check(connection: &Connection, partition: u16, min_acks: u32) -> Result<(), WireError> {
    let acks = (min_acks > 0).then_some(WITH_ACKS);
    let cluster = connection.info.is_in_cluster.then_some(IN_CLUSTER);
    let commands: Vec<_> = ON_KEYS.into_iter().chain(ON_CHANNELS).chain(ALONE).chain(acks).chain(cluster).collect();
    let key = format!("lockstead:{{{partition}}}:permission");
    let mut ask = redis::pipe();
    ask.cmd("SCRIPT").arg("LOAD").arg(&CHECK.source).ignore();
    let check = ask.cmd("EVALSHA").arg(&CHECK.sha1).arg(0);
    for command in &commands {
        let words: Vec<_> = command.split(' ').map(|word| if word == "KEY" { &key } else { word }).collect();
        check.arg(words.len()).arg(words);
    }
    let mut refused = Vec::new();
    for answer in connection.ask(&ask).await? {
        match answer {
            Value::ServerError(error) => return Err(connection.judge(&error)),
            Value::Array(numbers) => refused = numbers,
            _ => {}
        }
    }
    let refused: Vec<_> = refused
        .iter()
        .filter_map(|number| match number {
            Value::Int(number) => commands.get(usize::try_from(number - 1).ok()?).copied(),
            _ => None,
        })
        .collect();
    if refused.is_empty() { Ok(()) } else { Err(sentence(&connection.node, &rules(&refused))) }
}

/// The rules that permit commands. A command is refused for its key, too; if all are, it is most likely that.
fn rules(refused: &[&str]) -> String {
    let mut rules = Vec::new();
    if ON_KEYS.iter().all(|command| refused.contains(command)) {
        rules.push("~lockstead:*".to_owned());
    }
    if ON_CHANNELS.iter().all(|command| refused.contains(command)) {
        rules.push("&lockstead:*".to_owned());
    }
    rules.extend(refused.iter().map(|command| rule(command)));
    rules.join(" ")
}

fn rule(command: &str) -> String {
    let word = command.split(' ').next().unwrap_or(command);
    format!("+{}", if command == IN_CLUSTER { "cluster|slots" } else { word })
}

/// For a user who may not even ask what it may, or from whom something was taken away since.
pub(super) fn lacking(node: &Address) -> WireError {
    sentence(node, RULE)
}

/// For a user who may not use the database of the number in the address. Only those who name one need it.
pub(super) fn lacking_database(node: &Address) -> WireError {
    sentence(node, "+select")
}

/// The user's name is not repeated: it may be a password that was written in the wrong place.
fn sentence(node: &Address, rules: &str) -> WireError {
    WireError::Misconfigured(format!(
        "the user in --redis (without one: default) lacks permissions at {node}; on every node, run ACL SETUSER with its \
         name and: {rules}"
    ))
}

/// Whether an error says so. Within a script the code is a general one, and the words differ between versions.
pub(super) fn is_lacking(code: &str, detail: &str) -> bool {
    code == "NOPERM"
        || detail.starts_with("ACL failure in script")
        || detail.starts_with("The user executing the script can't")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_rule_names_every_command_that_is_checked() {
        let mut all: Vec<_> = ON_KEYS.into_iter().chain(ON_CHANNELS).chain(ALONE).map(rule).collect();
        all.extend([WITH_ACKS, IN_CLUSTER].map(rule));
        all.extend(["+script|load", "~lockstead:*", "&lockstead:*"].map(str::to_owned));
        let mut named: Vec<_> = RULE.split(' ').collect();
        all.sort();
        named.sort_unstable();
        assert_eq!(named, all);
    }

    #[test]
    fn the_rule_permits_what_the_scripts_call_and_no_more() {
        let mut called = BTreeSet::new();
        for script in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/redis/scripts")).unwrap() {
            let source = std::fs::read_to_string(script.unwrap().path()).unwrap();
            let names = source.split("call('").skip(1).filter_map(|rest| rest.split_once('\''));
            called.extend(names.map(|(name, _)| format!("+{}", name.to_lowercase())));
        }
        let by_the_wire = ["+evalsha", "+script|load", "+wait", "+cluster|slots", "+ssubscribe"];
        let permitted = RULE.split(' ').filter(|rule| rule.starts_with('+') && !by_the_wire.contains(rule));
        assert_eq!(called, permitted.map(str::to_owned).collect());
    }

    #[test]
    fn keys_are_asked_for_only_if_no_command_may_have_them() {
        assert_eq!(rules(&["hget KEY f", "spublish KEY m"]), "+hget +spublish");
        assert!(rules(&ON_KEYS).starts_with("~lockstead:* +evalsha +hget"));
        assert_eq!(rules(&ON_CHANNELS), "&lockstead:* +ssubscribe +spublish");
    }
}
