//! A short run of the gRPC fuzzer. For a long one: `lockstead-fuzz grpc --seconds 300 --seed N`.

use lockstead_tests::program;
use tokio::process::Command;

#[tokio::test]
async fn random_bytes_and_messages_harm_nobody() {
    let run = Command::new(program("lockstead-fuzz")).args(["grpc", "--seconds", "15", "--seed", "1"]).output();
    let run = run.await.unwrap();
    let (found, log) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    println!("{found}");
    assert!(run.status.success(), "{found}\n{log}");
}
