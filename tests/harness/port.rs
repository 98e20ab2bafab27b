//! Ports for servers that a test stops and starts again.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port on 127.0.0.1 that no other test uses, also while nobody listens there: a UDP socket of the same number marks
/// it as taken. Below 22768, so that the bus of a Cluster (10,000 above) stays out of the range of outgoing connections.
#[derive(Debug)]
pub struct Port {
    /// Which.
    pub number: u16,
    _mark: UdpSocket,
}

const FIRST: u32 = 10_768;
const COUNT: u32 = 12_000;

impl Port {
    /// Takes one.
    ///
    /// # Panics
    /// If all are taken.
    pub fn free() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Test processes begin at different ports, or they would all try the same ones first.
        let begin = std::process::id().wrapping_mul(97);
        let numbers = (0..COUNT).map(|_| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT + FIRST);
        let free = numbers.filter_map(|number| {
            let number = u16::try_from(number).ok()?;
            let mark = UdpSocket::bind(("127.0.0.1", number)).ok()?;
            let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
            (is_free(number) && is_free(number + 10_000)).then_some(Self { number, _mark: mark })
        });
        { free }.next().expect("a port is free")
    }
}
