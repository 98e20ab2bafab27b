//! Which node has which partition.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::Value;

use super::error::WireError;
use super::target::Address;

/// What is known about where the keys are, until somebody finds that it is wrong.
pub(super) struct Routes {
    map: Map,
    doubted: AtomicBool,
}

/// Who has the keys.
pub(super) enum Map {
    /// One node has all of them.
    One(Address),
    /// The nodes of a Cluster have a part each.
    Slots(Vec<(RangeInclusive<u16>, Address)>),
}

impl Routes {
    pub(super) fn new(map: Map) -> Self {
        Self { map, doubted: AtomicBool::new(false) }
    }

    /// The node that has the keys of a partition; `None` if none has.
    pub(super) fn node_of(&self, partition: u16) -> Option<&Address> {
        match &self.map {
            Map::One(node) => Some(node),
            Map::Slots(slots) => {
                let slot = slot_of(partition);
                slots.iter().find_map(|(range, node)| range.contains(&slot).then_some(node))
            }
        }
    }

    /// Every node, each once.
    pub(super) fn nodes(&self) -> Vec<Address> {
        let mut nodes = Vec::new();
        match &self.map {
            Map::One(node) => nodes.push(node.clone()),
            Map::Slots(slots) => {
                for (_, node) in slots {
                    if !nodes.contains(node) {
                        nodes.push(node.clone());
                    }
                }
            }
        }
        nodes
    }

    /// They led to the wrong node, or to none: they are looked up again before the next link.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    pub(super) fn are_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }
}

/// Reads what `asked` answered to CLUSTER SLOTS.
pub(super) fn read_slots(answer: Value, asked: &Address) -> Result<Map, WireError> {
    let ranges = match answer {
        Value::Array(ranges) => ranges.into_iter().map(|range| read_range(range, asked)).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    ranges.map(Map::Slots).ok_or_else(|| {
        WireError::Misconfigured(format!("{asked} answers CLUSTER SLOTS in a way that Lockstead does not understand"))
    })
}

/// First slot, last slot, primary, replicas; a node is host, port and more.
fn read_range(range: Value, asked: &Address) -> Option<(RangeInclusive<u16>, Address)> {
    let Value::Array(range) = range else { return None };
    let (Value::Int(first), Value::Int(last), Value::Array(primary)) = (range.first()?, range.get(1)?, range.get(2)?)
    else {
        return None;
    };
    let host = match primary.first()? {
        Value::BulkString(host) if !host.is_empty() => String::from_utf8(host.clone()).ok()?,
        // The node does not know how others reach it; whoever asked has reached it.
        _ => asked.host.clone(),
    };
    let Value::Int(port) = primary.get(1)? else { return None };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    Some((first..=last, Address { host, port: u16::try_from(*port).ok()? }))
}

/// The slot of every key with the hash tag `{partition}`.
fn slot_of(partition: u16) -> u16 {
    crc16(partition.to_string().as_bytes()) % 16_384
}

/// CRC-16/XMODEM, as the Cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let mut crc = crc ^ (u16::from(*byte) << 8);
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".into())]);
        Value::Array(vec![Value::Int(first), Value::Int(last), node.clone(), node])
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // CLUSTER KEYSLOT says so.
        assert_eq!([0, 1, 7, 15].map(slot_of), [13_907, 9_842, 1_716, 4_178]);
    }

    #[test]
    fn each_partition_has_the_node_of_its_slot() {
        let answer = Value::Array(vec![
            range(0, 8_000, Value::BulkString(b"a".into()), 1),
            range(8_001, 10_000, Value::Nil, 2),
            range(10_001, 16_000, Value::BulkString(b"a".into()), 1),
        ]);
        let routes = Routes::new(read_slots(answer, &address("asked", 9)).unwrap());
        assert_eq!(routes.node_of(7), Some(&address("a", 1)));
        assert_eq!(routes.node_of(1), Some(&address("asked", 2)));
        assert_eq!(routes.node_of(0), Some(&address("a", 1)));
        assert_eq!(routes.nodes(), [address("a", 1), address("asked", 2)]);
        let none = Routes::new(read_slots(Value::Array(Vec::new()), &address("asked", 9)).unwrap());
        assert_eq!(none.node_of(7), None);
    }

    #[test]
    fn an_answer_of_another_shape_is_refused() {
        for answer in [Value::Nil, Value::Array(vec![Value::Nil]), Value::Array(vec![range(0, 70_000, Value::Nil, 1)])]
        {
            assert!(matches!(read_slots(answer, &address("a", 1)), Err(WireError::Misconfigured(_))));
        }
    }
}
