//! What the commands that talk to a server have in common.

use std::process::ExitCode;
use std::time::Duration;

use lockstead_client::{AcquireBuilder, Client, ClientBuilder, Error, NotAcquired};
use lockstead_core::duration;

use super::Exit;

/// Which server to ask.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClientArgs {
    /// Address of the server; several, separated by commas, are tried in turn
    #[arg(long, value_name = "URL", env = "LOCKSTEAD_SERVER", default_value = "http://127.0.0.1:7420", global = true)]
    pub(super) server: String,
}

/// What to acquire.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClaimArgs {
    /// Name of the lock or semaphore; `/` separates levels
    pub(super) name: String,

    /// Share the lock with other shared holders
    #[arg(long, conflicts_with_all = ["permits", "limit"])]
    pub(super) shared: bool,

    /// How many permits of the semaphore NAME to take [default with --limit: 1]
    #[arg(long, value_name = "K", requires = "limit")]
    pub(super) permits: Option<u32>,

    /// How many permits the semaphore NAME has; all who use it must say the same
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u32>,

    /// Who holds it, for others to read [default: host and process id]
    #[arg(long, value_name = "TEXT")]
    pub(super) owner: Option<String>,
}

/// A wait on the command line.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitArg(pub(super) lockstead_core::Wait);

impl std::str::FromStr for WaitArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self(lockstead_core::Wait::Forever));
        }
        let wait = lockstead_core::Wait::up_to(duration::parse(text)?).map_err(|invalid| invalid.to_string())?;
        Ok(Self(wait))
    }
}

impl ClientArgs {
    /// A client that is not connected yet, with the owner that people should see.
    pub(super) fn builder(&self, owner: Option<String>) -> ClientBuilder {
        Client::builder().server(&self.server).owner(owner.unwrap_or_else(default_owner))
    }
}

impl ClaimArgs {
    /// The acquire that these arguments ask for.
    pub(super) fn acquire(&self, client: &Client, wait: lockstead_core::Wait) -> AcquireBuilder {
        let acquire = match self.limit {
            Some(limit) => client.semaphore(&self.name, limit).permits(self.permits.unwrap_or(1)),
            None if self.shared => client.lock(&self.name).shared(),
            None => client.lock(&self.name),
        };
        match wait {
            lockstead_core::Wait::No => acquire.wait(Duration::ZERO),
            lockstead_core::Wait::UpTo(wait) => acquire.wait(wait),
            lockstead_core::Wait::Forever => acquire,
        }
    }
}

/// Host and process id.
pub(super) fn default_owner() -> String {
    let host = rustix::system::uname();
    format!("{} pid {}", host.nodename().to_string_lossy(), std::process::id())
}

/// Says what went wrong, and finds the exit code for it.
pub(super) fn fail(error: &Error) -> ExitCode {
    eprintln!("lockstead: {error}");
    let exit = match error {
        Error::NotAcquired(not_acquired) => {
            name_holders(not_acquired);
            Exit::NotAcquired
        }
        Error::Unavailable(_) => Exit::Unavailable,
        Error::Lost(_) => Exit::Lost,
        Error::InvalidConfig(_) => Exit::Usage,
        _ => Exit::Refused,
    };
    exit.into()
}

fn name_holders(not_acquired: &NotAcquired) {
    for holder in &not_acquired.holders {
        let owner = if holder.owner.is_empty() { "somebody without a name" } else { &holder.owner };
        eprintln!("lockstead: held by {owner}, fencing token {}", holder.fencing_token);
    }
}
