//! The real things that a run is made of, and what breaks them: servers, clients and Redis as processes of their own, and
//! the wires between them.

mod clients;
mod redis;
mod servers;

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

pub(crate) use clients::Clients;
pub(crate) use redis::Redis;
pub(crate) use servers::Servers;

use crate::fault::Fault;

/// Something that can break.
pub(crate) trait Breakable {
    /// How.
    type Fault: Clone + Into<Fault>;

    /// Lets it break, and returns when it is mended.
    async fn suffer(&mut self, fault: &Self::Fault);
}

/// A program that the kernel kills when the runner ends, however that ends. (The runner has one thread, and so it is that
/// thread's end which counts.)
fn program(path: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(path).kill_on_drop(true);
    command
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
