//! `lockstead ready`: what health checks of containers and scripts ask. It needs no curl beside it.

use std::io::Write;
use std::process::ExitCode;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use lockstead_core::limits::HTTP_BODY_MAX_BYTES;
use serde_json::Value;
use tokio::net::TcpStream;

use super::Exit;
use super::client::ClientArgs;
use super::say::say;

/// Ask whether a server is ready to serve
///
/// It is not while it starts, while it drains, and while its engine can't be reached; then it says why. Of several servers
/// one that is ready is enough. The question is a plain `GET /readyz` without credentials, which a server with TLS or access
/// control answers at its monitor port.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 ready; 64 wrong usage; 69 not ready, or no answer.

  lockstead ready --server http://127.0.0.1:7421 || echo \"not now\"")]
pub(super) struct ReadyArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Why a server can't be asked, or is not ready.
enum NotReady {
    Address(String),
    Other(String),
}

pub(super) async fn ready(args: ReadyArgs) -> ExitCode {
    let within = args.client.connect_timeout;
    let mut exit = Exit::Usage;
    for address in args.client.server.split(',').map(str::trim) {
        let answer = tokio::time::timeout(within, ask(address)).await;
        match answer.unwrap_or_else(|_| Err(NotReady::Other("it does not answer in time".to_owned()))) {
            Ok(()) => {
                _ = writeln!(std::io::stdout(), "{address} is ready");
                return ExitCode::SUCCESS;
            }
            Err(NotReady::Address(why)) => say(format_args!("`{address}` {why}")),
            Err(NotReady::Other(why)) => {
                say(format_args!("{address} is not ready: {why}"));
                exit = Exit::Unavailable;
            }
        }
    }
    exit.into()
}

async fn ask(address: &str) -> Result<(), NotReady> {
    let wrong = || NotReady::Address("is no address of a server; write one such as http://127.0.0.1:7421".to_owned());
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let request = Request::get("/readyz").header("host", authority.as_str()).body(Empty::<Bytes>::new());
    let request = request.map_err(|_| wrong())?;
    // Without the brackets of an IPv6 address.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let (status, body) = answer((host, authority.port_u16().unwrap_or(80)), request)
        .await
        .map_err(|error| NotReady::Other(error.to_string()))?;
    if status == StatusCode::OK {
        return Ok(());
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem["detail"].as_str();
    Err(NotReady::Other(detail.map_or_else(|| format!("it answers with {status}"), str::to_owned)))
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn answer(target: (&str, u16), request: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), Failure> {
    let stream = TcpStream::connect(target).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It carries the bytes, and ends by itself when the answer has been read.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), HTTP_BODY_MAX_BYTES).collect().await?;
    Ok((status, body.to_bytes()))
}
