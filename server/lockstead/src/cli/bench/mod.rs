//! `lockstead bench`: how fast this server is, beside a bare echo over the same transport in the same run.
//!
//! Unless it is told of a server, it starts one as a process of its own, so that client and server share the machine as
//! they would with anybody. Speeds of different machines, and of different runs, do not compare; the ratios do.

mod echo;
mod hand_over;
mod load;
mod pairs;
mod report;
mod server;

use std::process::ExitCode;
use std::time::Duration;

use lockstead_client::{Builder, Client};
use lockstead_core::duration;

use super::Exit;
use report::{Report, Row};
use server::Child;
pub(super) use server::{ECHO_COMMAND, SERVER_COMMAND, echo, serve};

/// Measure acquire+release and hand-over, beside a bare echo
///
/// Every figure stands beside that of an echo over the same kind of stream in the same run: the ratio says how much of
/// what the transport can do is left for locks.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// How long each measurement takes
    #[arg(long, value_name = "D", default_value = "2s", value_parser = duration::parse)]
    time: Duration,

    /// Operations in flight, for acquire+release
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16,64,256", value_parser = at_least::<1>)]
    in_flight: Vec<usize>,

    /// Waiters on one lock, for hand-over
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "2,16,64", value_parser = at_least::<2>)]
    waiters: Vec<usize>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    /// Measure this server instead of one of its own; the echo stays its own
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

fn at_least<const MIN: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number >= MIN);
    number.ok_or_else(|| format!("a whole number from {MIN} on is expected"))
}

/// What the measurements talk to.
struct Bench {
    args: BenchArgs,
    /// Of the server under test.
    address: String,
    /// Of the echo.
    echo_address: String,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(super) async fn bench(args: BenchArgs) -> ExitCode {
    match measure(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockstead: the benchmark failed: {error}");
            Exit::Unavailable.into()
        }
    }
}

async fn measure(args: BenchArgs) -> Result<(), Failure> {
    let own = if args.server.is_none() { Some(Child::start(SERVER_COMMAND).await?) } else { None };
    let echo_server = Child::start(ECHO_COMMAND).await?;
    let address = args.server.clone().or(own.as_ref().map(|own| own.address.clone())).unwrap_or_default();
    let bench = Bench { args, address, echo_address: echo_server.address.clone() };
    let mut report = Report::default();
    for in_flight in bench.args.in_flight.clone() {
        let echo = echo::stream(&bench, in_flight).await?;
        let pairs = pairs::session(&bench, in_flight).await?;
        report.add(Row::new("echo, one stream", in_flight, &echo));
        report.add(Row::pairs("acquire+release, one session", in_flight, &pairs, &echo));
    }
    for in_flight in bench.args.in_flight.clone() {
        let echo = echo::unary(&bench, in_flight).await?;
        let pairs = pairs::unary(&bench, in_flight).await?;
        report.add(Row::new("echo, unary calls", in_flight, &echo));
        report.add(Row::pairs("acquire+release, unary calls", in_flight, &pairs, &echo));
    }
    for waiters in bench.args.waiters.clone() {
        let echo = echo::stream(&bench, waiters).await?;
        let hand_over = hand_over::one_lock(&bench, waiters).await?;
        report.add(Row::new("echo, one stream", waiters, &echo));
        report.add(Row::hand_over("hand-over, one lock", waiters, &hand_over, &echo));
    }
    if let Some(own) = own {
        own.stop().await;
    }
    echo_server.stop().await;
    report.print(bench.args.json);
    Ok(())
}

impl Bench {
    fn client(&self) -> Builder {
        Client::builder().server(&self.address).owner("lockstead bench")
    }

    /// Progress, on a terminal: a full run takes a while.
    fn announce(&self, what: &str, in_flight: usize) {
        if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            eprintln!("measuring: {what}, {in_flight} in flight, {}", duration::format(self.args.time));
        }
    }
}
