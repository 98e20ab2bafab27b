//! `lockstead acquire` and `lockstead release`: leases, for scripts.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use lockstead_core::{HoldId, bounds, duration};

use super::Exit;
use super::client::{ClaimArgs, ClientArgs, ScopeArgs, WaitArg, fail};
use super::say::say;

/// Acquire a lease and print its hold id
///
/// The lease ends after its ttl, or by `lockstead release`. To hold for as long as a command runs, use `lockstead run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 acquired; 64 wrong usage; 69 no server that can serve;
74 the hold id can't be printed; 75 held by others, or the wait is over; 77 refused.

  id=$(lockstead acquire backup --ttl 5m) || exit
  ./backup.sh
  lockstead release backup \"$id\"")]
pub(super) struct AcquireArgs {
    #[command(flatten)]
    claim: ClaimArgs,

    /// How long the lease is good, 100ms to 24h
    #[arg(long, value_name = "D", default_value = "30s", value_parser = ttl)]
    ttl: Duration,

    /// How long to wait for it, such as 30s, or `forever`; 0s tries once
    #[arg(long, value_name = "D", default_value = "0s")]
    wait: WaitArg,

    /// Print everything about the lease as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientArgs,
}

/// Release what `lockstead acquire` acquired
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 released; 64 wrong usage; 69 no server that can serve;
77 no such hold, or it has ended.")]
pub(super) struct ReleaseArgs {
    /// Name of the lock or semaphore
    name: String,

    /// What `lockstead acquire` printed
    #[arg(value_name = "HOLD_ID", env = "LOCKSTEAD_HOLD_ID", hide_env_values = true, value_parser = hold_id)]
    hold_id: HoldId,

    /// NAME is a semaphore
    #[arg(long)]
    semaphore: bool,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    client: ClientArgs,
}

fn hold_id(text: &str) -> Result<HoldId, String> {
    HoldId::parse(text).map_err(|invalid| invalid.to_string())
}

fn ttl(text: &str) -> Result<Duration, String> {
    bounds::ttl(duration::parse(text)?).map_err(|invalid| invalid.to_string())
}

pub(super) async fn acquire(args: AcquireArgs) -> ExitCode {
    let builder = args.client.builder(args.claim.owner.as_deref());
    let client = match builder.connect().await {
        Ok(client) => client,
        Err(error) => return fail(&error),
    };
    let lease = match args.claim.lease(&client, args.wait.0, args.ttl).await {
        Ok(lease) => lease,
        Err(error) => return fail(&error),
    };
    let told = if args.json { super::show::lease(&lease).to_string() } else { lease.hold_id().reveal() };
    if let Err(error) = writeln!(std::io::stdout(), "{told}") {
        // Without its id nobody could release it.
        say(format_args!("the hold id can't be printed, so the lease is given back: {error}"));
        _ = lease.release().await;
        return Exit::Output.into();
    }
    ExitCode::SUCCESS
}

pub(super) async fn release(args: ReleaseArgs) -> ExitCode {
    let client = match args.client.builder(None).connect().await {
        Ok(client) => client,
        Err(error) => return fail(&error),
    };
    let released = if args.semaphore {
        // The limit is of no account here.
        client.semaphore(&args.name, 1).scope(args.scope.scope()).release(args.hold_id).await
    } else {
        client.lock(&args.name).scope(args.scope.scope()).release(args.hold_id).await
    };
    match released {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}
