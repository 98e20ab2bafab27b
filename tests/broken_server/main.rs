//! `lockstead serve`, but without the rule that nothing is granted after Redis has lost what it knew. It shows that the
//! fault runner finds what it is there to find.

use clap::Parser;
use futures::FutureExt;
use lockstead::config::{ServeArgs, Settings};
use lockstead::engine::Started;
use lockstead::server::Server;

use lockstead_engine::{Mutation, PARTITIONS, RedisEngine, RedisSettings, SharedKey};
use tokio::signal::unix::{SignalKind, signal};

type Failure = Box<dyn std::error::Error>;

/// Takes the arguments of the real server.
#[derive(Debug, Parser)]
enum Command {
    Serve(ServeArgs),
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Command::Serve(args) = Command::parse();
    let settings = Settings::load(args)?;
    let redis = settings.redis.as_ref().ok_or("it has nothing to break without --redis")?;
    let broken = RedisSettings {
        target: redis.target.clone(),
        server: fastrand::u64(..),
        key: SharedKey::from_bytes(std::array::from_fn(|_| fastrand::u8(..))),
        server_lease: redis.server_lease,
        min_acks: redis.min_acks,
        partitions: PARTITIONS,
        send_twice: false,
        mutation: Some(Mutation::NoEpochCheck),
    };
    let start = |router| {
        let engine = RedisEngine::start(broken, router);
        Ok(Started { engine: std::sync::Arc::new(engine), node: None, misconfigured: std::future::pending().boxed() })
    };
    let server = Server::bind_over(&settings, start).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    println!("lockstead is listening on http://{}", server.address());
    server.run(async { _ = terminate.recv().await }).await?;
    Ok(())
}
