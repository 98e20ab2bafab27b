//! What the commands that talk to a server have in common.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lockstead_client::{Builder, Client, Demand, Error, Guard, Lease, Lock, Request, Result, Semaphore};
use lockstead_core::{Scope, Wait, duration};

use super::Exit;
use super::say::say;

/// Which server to ask.
#[derive(Clone, clap::Args)]
pub(super) struct ClientArgs {
    /// Address of the server; of several, separated by commas, any one is used as long as it serves
    #[arg(long, value_name = "URL", env = "LOCKSTEAD_SERVER", default_value = "http://127.0.0.1:7420", global = true)]
    pub(super) server: String,

    /// How long to look for a server that answers
    #[arg(long, value_name = "D", default_value = "2s", value_parser = duration::parse, global = true)]
    pub(super) connect_timeout: Duration,

    /// File with the token that says who asks, for servers with access control; read again when it is used
    #[arg(long, value_name = "FILE", env = "LOCKSTEAD_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,

    /// That token itself; hidden, since others on this machine can see the flags of a process but not its variables
    #[arg(long, env = "LOCKSTEAD_TOKEN", hide = true, hide_env_values = true, global = true)]
    token: Option<String>,

    /// PEM file with the authorities of `https://` servers, instead of the system's
    #[arg(long, value_name = "FILE", env = "LOCKSTEAD_TLS_CA", global = true)]
    tls_ca: Option<PathBuf>,

    /// PEM file with the client's own certificate
    #[arg(long, value_name = "FILE", env = "LOCKSTEAD_CLIENT_CERT", requires = "client_key", global = true)]
    client_cert: Option<PathBuf>,

    /// PEM file with the private key of --client-cert
    #[arg(long, value_name = "FILE", env = "LOCKSTEAD_CLIENT_KEY", requires = "client_cert", global = true)]
    client_key: Option<PathBuf>,
}

/// Says where the server is; nothing of what it shows to that.
impl fmt::Debug for ClientArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientArgs").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Among whom a name is known.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct ScopeArgs {
    /// Among whom: all servers of the cluster, or the programs of the server's machine
    #[arg(long, value_name = "SCOPE", default_value = "cluster")]
    scope: ScopeName,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ScopeName {
    Cluster,
    Node,
}

impl ScopeArgs {
    pub(super) fn scope(self) -> Scope {
        match self.scope {
            ScopeName::Cluster => Scope::Cluster,
            ScopeName::Node => Scope::Node,
        }
    }
}

/// What to acquire.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClaimArgs {
    /// Name of the lock or semaphore; `/` separates levels
    pub(super) name: String,

    #[command(flatten)]
    pub(super) scope: ScopeArgs,

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
pub(super) struct WaitArg(pub(super) Wait);

impl std::str::FromStr for WaitArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "forever" {
            return Ok(Self(Wait::Forever));
        }
        let wait = Wait::up_to(duration::parse(text)?).map_err(|invalid| invalid.to_string())?;
        Ok(Self(wait))
    }
}

impl ClientArgs {
    /// A client that is not connected yet, with the owner that people should see.
    pub(super) fn builder(&self, owner: Option<&str>) -> Builder {
        let owner = owner.map_or_else(default_owner, str::to_owned);
        let mut builder = Client::builder().server(&self.server).connect_timeout(self.connect_timeout).owner(owner);
        if let Some(path) = &self.token_file {
            builder = builder.token_file(path);
        } else if let Some(token) = &self.token {
            builder = builder.token(token);
        }
        if let Some(path) = &self.tls_ca {
            builder = builder.tls_ca(path);
        }
        if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) {
            builder = builder.client_certificate(certificate, key);
        }
        builder
    }
}

impl ClaimArgs {
    /// Acquires it, for as long as the guard lives.
    pub(super) async fn acquire(&self, client: &Client, wait: Wait) -> Result<Guard> {
        match self.limit {
            Some(limit) => with_wait(self.permits_of(client, limit), wait).acquire().await,
            None => with_wait(self.lock_of(client), wait).acquire().await,
        }
    }

    /// Acquires it as a lease.
    pub(super) async fn lease(&self, client: &Client, wait: Wait, ttl: Duration) -> Result<Lease> {
        match self.limit {
            Some(limit) => with_wait(self.permits_of(client, limit), wait).lease(ttl).acquire().await,
            None => with_wait(self.lock_of(client), wait).lease(ttl).acquire().await,
        }
    }

    fn permits_of(&self, client: &Client, limit: u32) -> Request<Semaphore> {
        client.semaphore(&self.name, limit).scope(self.scope.scope()).permits(self.permits.unwrap_or(1))
    }

    fn lock_of(&self, client: &Client) -> Request<Lock> {
        let lock = client.lock(&self.name).scope(self.scope.scope());
        if self.shared { lock.shared() } else { lock }
    }
}

fn with_wait<K: Demand>(request: Request<K>, wait: Wait) -> Request<K> {
    match wait {
        Wait::No => request.wait(Duration::ZERO),
        Wait::UpTo(wait) => request.wait(wait),
        Wait::Forever => request,
    }
}

/// Host and process id.
pub(super) fn default_owner() -> String {
    let host = rustix::system::uname();
    format!("{} pid {}", host.nodename().to_string_lossy(), std::process::id())
}

/// Says what went wrong, and finds the exit code for it.
pub(super) fn fail(error: &Error) -> ExitCode {
    say(error);
    let exit = match error {
        Error::NotAcquired(_) => Exit::NotAcquired,
        Error::Unavailable(_) => Exit::Unavailable,
        Error::Lost(_) => Exit::Lost,
        Error::InvalidConfig(_) => Exit::Usage,
        Error::Refused { reason, .. } => match reason.code() {
            tonic::Code::InvalidArgument => Exit::Usage,
            tonic::Code::Unavailable => Exit::Unavailable,
            _ => Exit::Refused,
        },
        _ => Exit::Refused,
    };
    exit.into()
}
