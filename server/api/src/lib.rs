//! Lockstead's gRPC types, generated from `proto/`, and how they and their errors turn into the core's types and back.

mod codec;
pub mod convert;
pub mod status;

/// The package `lockstead.v1`, as generated.
#[allow(missing_docs, clippy::pedantic, reason = "generated; its documentation is in the proto files")]
pub mod v1 {
    tonic::include_proto!("lockstead.v1");
}

/// The echo that benchmarks compare with: package `lockstead.bench.v1`, as generated.
#[allow(missing_docs, clippy::pedantic, reason = "generated; its documentation is in the proto files")]
pub mod bench {
    tonic::include_proto!("lockstead.bench.v1");
}

/// What gRPC reflection shows.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
