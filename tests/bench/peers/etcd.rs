//! etcd's lock API. The few messages that it takes are written by hand, from etcd's `v3lock.proto` and `rpc.proto`.

use http::uri::PathAndQuery;
use lockstead_tests::{Daemon, Port};
use tempfile::TempDir;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::installed;
use crate::Failure;
use crate::contender::Service;
use crate::crowd::Member;
use crate::locker::Locker;

const LEASE_SECONDS: i64 = 600;
/// More than a long run writes.
const QUOTA_BYTES: &str = "8589934592";

#[derive(Clone, PartialEq, prost::Message)]
struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    ttl: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LeaseGrantResponse {
    #[prost(int64, tag = "2")]
    id: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LockRequest {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(int64, tag = "2")]
    lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LockResponse {
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UnlockRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UnlockResponse {}

/// A worker on a connection that others share, with a lease of its own: two that share one share their locks.
pub(crate) struct EtcdLocker {
    grpc: Grpc<Channel>,
    lease: i64,
}

impl EtcdLocker {
    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await?;
        let answer = self.grpc.unary(Request::new(request), PathAndQuery::from_static(path), ProstCodec::default());
        Ok(answer.await?.into_inner())
    }
}

impl Locker for EtcdLocker {
    /// The key that is held.
    type Held = Vec<u8>;

    async fn open(address: &str, workers: usize) -> Result<Vec<Self>, Failure> {
        let channel = Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true).connect().await?;
        let mut lockers = Vec::new();
        for _ in 0..workers {
            let mut locker = Self { grpc: Grpc::new(channel.clone()), lease: 0 };
            let asked = LeaseGrantRequest { ttl: LEASE_SECONDS };
            let granted: LeaseGrantResponse = locker.call("/etcdserverpb.Lease/LeaseGrant", asked).await?;
            locker.lease = granted.id;
            lockers.push(locker);
        }
        Ok(lockers)
    }

    async fn acquire(&mut self, lock: &str) -> Result<Self::Held, Failure> {
        let asked = LockRequest { name: lock.as_bytes().to_vec(), lease: self.lease };
        let held: LockResponse = self.call("/v3lockpb.Lock/Lock", asked).await?;
        Ok(held.key)
    }

    async fn release(&mut self, key: Self::Held) -> Result<(), Failure> {
        let _: UnlockResponse = self.call("/v3lockpb.Lock/Unlock", UnlockRequest { key }).await?;
        Ok(())
    }
}

/// One member. `flags`: how it differs from what etcd does by itself.
pub(crate) async fn start(name: &'static str, flags: &[&str]) -> Result<Service<EtcdLocker>, Failure> {
    installed("etcd")?;
    let folder: TempDir = tempfile::tempdir()?;
    let (clients, peers) = (Port::free(), Port::free());
    let url = |port: &Port| format!("http://127.0.0.1:{}", port.number);
    let (clients_url, peers_url, data) = (url(&clients), url(&peers), folder.path().display().to_string());
    let cluster = format!("compare={peers_url}");
    let mut arguments = vec!["--name", "compare", "--data-dir", &data, "--logger", "zap", "--log-outputs", "stdout"];
    arguments.extend(["--listen-client-urls", &clients_url, "--advertise-client-urls", &clients_url]);
    arguments.extend(["--listen-peer-urls", &peers_url, "--initial-advertise-peer-urls", &peers_url]);
    arguments.extend(["--initial-cluster", &cluster, "--quota-backend-bytes", QUOTA_BYTES]);
    arguments.extend(flags);
    let etcd = Daemon::start("etcd", &arguments, "serving client traffic").await;
    let process = etcd.id();
    Ok(Service::new(name, clients_url, vec![process], Member::Etcd, (etcd, clients, peers, folder)))
}
