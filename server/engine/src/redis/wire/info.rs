//! What a node says about itself.

use super::error::{TOO_OLD, WireError};
use super::target::Address;

/// A node as it was when the connection was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeInfo {
    pub(super) is_primary: bool,
    pub(super) is_in_cluster: bool,
}

impl NodeInfo {
    /// Reads the answer to INFO, and refuses a node that can't be used whatever it is asked for.
    pub(super) fn read(info: &str, node: &Address) -> Result<Self, WireError> {
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default()
        };
        // Valkey gives a version of Redis here that it is compatible with, 7.2.4 since its beginning.
        let major: u32 = field("redis_version").split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        let is_sentinel = field("redis_mode") == "sentinel" || field("server_mode") == "sentinel";
        if is_sentinel {
            let hint = "write redis+sentinel:// for redis://";
            return Err(WireError::Misconfigured(format!("{node} is a Sentinel, not a database: {hint}")));
        }
        if major < 7 {
            return Err(WireError::Misconfigured(format!("Redis at {node} {TOO_OLD}")));
        }
        let eviction = field("maxmemory_policy");
        if eviction.starts_with("allkeys-") {
            // Neither an epoch nor anything else would show that a part of what it knew is gone.
            return Err(WireError::Misconfigured(format!(
                "Redis at {node} may drop any key when its memory is full ({eviction}); run CONFIG SET maxmemory-policy \
                 noeviction on every node, and write it into its configuration"
            )));
        }
        if field("loading") == "1" {
            return Err(WireError::Elsewhere(format!("Redis at {node} is loading its data")));
        }
        Ok(Self { is_primary: field("role") == "master", is_in_cluster: field("cluster_enabled") == "1" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(info: &str) -> Result<NodeInfo, WireError> {
        NodeInfo::read(&info.replace('\n', "\r\n"), &Address { host: "a".to_owned(), port: 1 })
    }

    #[test]
    fn versions_from_7_will_do() {
        for version in ["7.0.15", "7.2.4", "8.0.0", "10.1.0"] {
            read(&format!("redis_version:{version}\nrole:master\nloading:0\n")).unwrap();
        }
        for version in ["6.2.14", "2.8", "", "x"] {
            let refused = read(&format!("redis_version:{version}\nrole:master\n")).unwrap_err();
            assert_eq!(refused, WireError::Misconfigured(format!("Redis at a:1 {TOO_OLD}")));
        }
    }

    #[test]
    fn what_may_drop_keys_will_not_do() {
        for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
            let refused = read(&format!("redis_version:7.0.0\nmaxmemory_policy:{policy}\nrole:master")).unwrap_err();
            assert!(matches!(&refused, WireError::Misconfigured(why) if why.contains(policy)), "{refused:?}");
        }
        // Ours never expire by themselves, so they are not volatile.
        for policy in ["noeviction", "volatile-lru", "volatile-ttl", ""] {
            read(&format!("redis_version:7.0.0\nmaxmemory_policy:{policy}\nrole:master")).unwrap();
        }
    }

    #[test]
    fn roles_are_told_apart() {
        let info =
            |role, cluster| read(&format!("redis_version:7.0.0\nrole:{role}\ncluster_enabled:{cluster}")).unwrap();
        assert_eq!(info("master", 0), NodeInfo { is_primary: true, is_in_cluster: false });
        assert_eq!(info("slave", 1), NodeInfo { is_primary: false, is_in_cluster: true });
        let loading = read("redis_version:7.0.0\nloading:1\nrole:master");
        assert!(matches!(loading, Err(WireError::Elsewhere(_))), "{loading:?}");
        for line in ["redis_mode:sentinel", "server_mode:sentinel"] {
            let sentinel = read(&format!("redis_version:7.0.0\n{line}"));
            assert!(
                matches!(&sentinel, Err(WireError::Misconfigured(what)) if what.contains("Sentinel")),
                "{sentinel:?}"
            );
        }
    }
}
