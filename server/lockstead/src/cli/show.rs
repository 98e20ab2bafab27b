//! `lockstead ls` and `lockstead get`: what is held, and by whom.

use std::io::Write;
use std::process::ExitCode;
use std::time::SystemTime;

use comfy_table::{CellAlignment, Table, TableStyle};
use jiff::Timestamp;
use lockstead_client::{Client, Error, Kind, Lease, Mode, Resource};
use lockstead_core::duration;
use serde_json::{Value, json};

use super::client::{ClientArgs, ScopeArgs, fail};

/// List what is held or waited for
#[derive(Debug, clap::Args)]
pub(super) struct LsArgs {
    /// Only names that start with this
    #[arg(default_value = "")]
    prefix: String,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    client: ClientArgs,
}

/// Show who holds NAME and who waits for it
#[derive(Debug, clap::Args)]
pub(super) struct GetArgs {
    /// Name of the lock or semaphore
    name: String,

    /// NAME is a semaphore
    #[arg(long)]
    semaphore: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn ls(args: LsArgs) -> ExitCode {
    match list(&args).await {
        Ok(resources) if args.json => {
            for resource in &resources {
                _ = writeln!(std::io::stdout(), "{}", resource_json(resource));
            }
            ExitCode::SUCCESS
        }
        Ok(resources) => {
            print_list(&resources);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

pub(super) async fn get(args: GetArgs) -> ExitCode {
    let found = async {
        let client = args.client.builder(None).connect().await?;
        let scope = args.scope.scope();
        if args.semaphore {
            client.semaphore(&args.name, 1).scope(scope).get().await
        } else {
            client.lock(&args.name).scope(scope).get().await
        }
    };
    match found.await {
        Ok(resource) if args.json => _ = writeln!(std::io::stdout(), "{}", resource_json(&resource)),
        Ok(resource) => print_one(&resource),
        Err(error) => return fail(&error),
    }
    ExitCode::SUCCESS
}

async fn list(args: &LsArgs) -> Result<Vec<Resource>, Error> {
    let client: Client = args.client.builder(None).connect().await?;
    let scope = args.scope.scope();
    let mut resources = client.list_locks(&args.prefix).scope(scope).all().await?;
    resources.extend(client.list_semaphores(&args.prefix).scope(scope).all().await?);
    resources.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(resources)
}

fn print_list(resources: &[Resource]) {
    let mut table = table(["NAME", "KIND", "HELD BY", "WAITING", "TOKEN", "SINCE"]);
    for resource in resources {
        let first = resource.holders.first();
        let others = resource.holder_count.saturating_sub(1);
        let mut held_by = first.map(|holder| named(&holder.owner)).unwrap_or_default();
        if others > 0 {
            held_by = format!("{held_by} and {others} more");
        }
        table.add_row([
            resource.name.clone(),
            kind(resource),
            held_by,
            resource.waiter_count.to_string(),
            first.map(|holder| holder.token.to_string()).unwrap_or_default(),
            first.map(|holder| time(holder.acquired_at)).unwrap_or_default(),
        ]);
    }
    align_right(&mut table, [3, 4]);
    _ = writeln!(std::io::stdout(), "{table}");
}

fn print_one(resource: &Resource) {
    if resource.holders.is_empty() && resource.waiters.is_empty() {
        _ = writeln!(std::io::stdout(), "{} is free", resource.name);
        return;
    }
    _ = writeln!(std::io::stdout(), "{}, {}", resource.name, kind(resource));
    let mut holders = table(["HELD BY", "HAS", "TOKEN", "SINCE", "UNTIL"]);
    for holder in &resource.holders {
        holders.add_row([
            named(&holder.owner),
            demand(holder.mode, holder.permits),
            holder.token.to_string(),
            time(holder.acquired_at),
            time(holder.expires_at),
        ]);
    }
    align_right(&mut holders, [2]);
    _ = writeln!(std::io::stdout(), "\n{holders}");
    if !resource.waiters.is_empty() {
        let mut waiters = table(["WAITING", "WANTS", "POSITION", "SINCE"]);
        for waiter in &resource.waiters {
            let position = waiter.position.to_string();
            waiters.add_row([
                named(&waiter.owner),
                demand(waiter.mode, waiter.permits),
                position,
                time(waiter.queued_at),
            ]);
        }
        align_right(&mut waiters, [2]);
        _ = writeln!(std::io::stdout(), "\n{waiters}");
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(header);
    table
}

fn align_right<const N: usize>(table: &mut Table, columns: [usize; N]) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn demand(mode: Option<Mode>, permits: u32) -> String {
    match mode {
        Some(Mode::Exclusive) => "exclusive".to_owned(),
        Some(Mode::Shared) => "shared".to_owned(),
        None => format!("{permits} permits"),
    }
}

/// As RFC 3339.
fn time(time: Option<SystemTime>) -> String {
    time.and_then(|time| Timestamp::try_from(time).ok()).map(|time| time.to_string()).unwrap_or_default()
}

fn named(owner: &str) -> String {
    if owner.is_empty() { "(no name)".to_owned() } else { owner.to_owned() }
}

fn kind(resource: &Resource) -> String {
    match resource.kind {
        Kind::Lock => "lock".to_owned(),
        Kind::Semaphore => format!("semaphore of {}", resource.limit),
    }
}

fn resource_json(resource: &Resource) -> Value {
    let holders = resource.holders.iter().map(|holder| {
        json!({
            "owner": holder.owner,
            "metadata": holder.metadata,
            "fencing_token": holder.token,
            "has": demand(holder.mode, holder.permits),
            "acquired_at": time(holder.acquired_at),
            "expires_at": holder.expires_at.map(|until| time(Some(until))),
        })
    });
    let waiters = resource.waiters.iter().map(|waiter| {
        json!({
            "owner": waiter.owner,
            "wants": demand(waiter.mode, waiter.permits),
            "position": waiter.position,
            "queued_at": time(waiter.queued_at),
        })
    });
    json!({
        "name": resource.name,
        "kind": match resource.kind { Kind::Lock => "lock", Kind::Semaphore => "semaphore" },
        "holders": holders.collect::<Vec<_>>(),
        "waiters": waiters.collect::<Vec<_>>(),
        "holder_count": resource.holder_count,
        "waiter_count": resource.waiter_count,
    })
}

/// A lease for its holder; the hold id is the holder's to keep secret.
pub(super) fn lease(lease: &Lease) -> Value {
    json!({
        "name": lease.name(),
        "hold_id": lease.hold_id().reveal(),
        "fencing_token": lease.token(),
        "ttl": duration::format(lease.ttl()),
        "expires_at": time(lease.expires_at()),
    })
}
