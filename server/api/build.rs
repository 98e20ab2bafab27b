//! Generates the gRPC types from proto/, with a compiler written in Rust, so that a build needs no `protoc`.

use std::path::PathBuf;

use prost::Message;

const PROTO_DIR: &str = "../../proto";
/// What clients see.
const SHOWN: [&str; 2] = ["lockstead/v1/lock_service.proto", "lockstead/v1/error.proto"];
/// What only the benchmark uses.
const BENCH: &str = "lockstead/bench/v1/echo_service.proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={PROTO_DIR}");
    let shown = protox::compile(SHOWN, [PROTO_DIR])?;
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("descriptors.bin"), shown.encode_to_vec())?;
    let files = protox::compile(SHOWN.into_iter().chain([BENCH]), [PROTO_DIR])?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::LeanCodec")
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .compile_fds(files)?;
    Ok(())
}
