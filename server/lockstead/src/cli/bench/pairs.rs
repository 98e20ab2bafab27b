//! Acquire and release of a lock that nobody else wants.

use std::time::Duration;

use lockstead_client::Client;

use super::load::{Measured, Operation, run};
use super::{Bench, Failure};

const LEASE_TTL: Duration = Duration::from_secs(30);

/// On one session, so many pairs at a time.
pub(super) async fn session(bench: &Bench, in_flight: usize) -> Result<Measured, Failure> {
    bench.announce("acquire+release, one session", in_flight);
    let client = bench.client().connect().await?;
    let measured = run(in_flight, bench.args.time, |worker| Session(client.clone(), lock_name(worker))).await?;
    client.close().await?;
    Ok(measured)
}

/// As unary calls, so many pairs at a time.
pub(super) async fn unary(bench: &Bench, in_flight: usize) -> Result<Measured, Failure> {
    bench.announce("acquire+release, unary calls", in_flight);
    let client = bench.client().connect().await?;
    let measured = run(in_flight, bench.args.time, |worker| Unary(client.clone(), lock_name(worker))).await?;
    client.close().await?;
    Ok(measured)
}

fn lock_name(worker: usize) -> String {
    format!("bench/pair/{worker}")
}

struct Session(Client, String);

impl Operation for Session {
    async fn once(&mut self) -> Result<(), Failure> {
        let guard = self.0.lock(&self.1).wait(Duration::ZERO).acquire().await?;
        guard.release().await?;
        Ok(())
    }
}

struct Unary(Client, String);

impl Operation for Unary {
    async fn once(&mut self) -> Result<(), Failure> {
        let lease = self.0.lock(&self.1).wait(Duration::ZERO).lease(LEASE_TTL).acquire().await?;
        lease.release().await?;
        Ok(())
    }
}
