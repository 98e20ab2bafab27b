//! Calls of the Redis engine's script on one connection, without waiting for answers.

use futures::FutureExt;
use futures::future::BoxFuture;
use lockstead_engine::REDIS_KEYS;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::Failure;

/// Longer than any run: nobody keeps a heartbeat here.
const LEASE_MS: &[u8] = b"86400000";
/// The window in which an empty Redis grants nothing is as long as the lease of whoever sees it first: not at all.
const NO_LEASE_MS: &[u8] = b"0";
const WAITERS_MAX: &[u8] = b"200000";
const BUFFER_BYTES: usize = 64 << 10;

/// An operation of the script: its letter and its arguments.
pub(super) type Args = Vec<Vec<u8>>;

/// What Redis answers.
#[derive(Debug)]
enum Reply {
    Text(Vec<u8>),
    Many(Vec<Reply>),
    Error(String),
}

/// One connection.
pub(super) struct Wire {
    from: BufReader<OwnedReadHalf>,
    to: BufWriter<OwnedWriteHalf>,
    sha1: String,
    /// How this client is called there, which no other is.
    name: [u8; 16],
}

impl Wire {
    pub(super) async fn open(port: u16) -> Result<Self, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (from, to) = stream.into_split();
        let source = lockstead_engine::redis_script();
        let sha1 = redis::Script::new(&source).get_hash().to_owned();
        let (from, to) = (BufReader::with_capacity(BUFFER_BYTES, from), BufWriter::with_capacity(BUFFER_BYTES, to));
        let mut wire = Self { from, to, sha1, name: format!("{:016x}", fastrand::u64(..)).as_bytes().try_into()? };
        wire.send(&redis::cmd("SCRIPT").arg("LOAD").arg(source).get_packed_command()).await?;
        wire.answer().await?;
        Ok(wire)
    }

    /// Sends a command; with the next ones, as long as there are answers to see to.
    pub(super) async fn send(&mut self, packed: &[u8]) -> Result<(), Failure> {
        Ok(self.to.write_all(packed).await?)
    }

    /// The letters of the results of the next call that is answered.
    pub(super) async fn results(&mut self) -> Result<Vec<String>, Failure> {
        Ok(self.call_answer().await?.1)
    }

    /// The epoch, and the letters of the results.
    async fn call_answer(&mut self) -> Result<(Vec<u8>, Vec<String>), Failure> {
        let answer = self.answer().await?;
        let unreadable = || format!("the script answered {answer:?}").into();
        let Reply::Many(parts) = &answer else { return Err(unreadable()) };
        let [Reply::Text(status), Reply::Text(epoch), _, _, Reply::Many(results), ..] = parts.as_slice() else {
            return Err(unreadable());
        };
        let letter = |result: &Reply| match result {
            Reply::Many(parts) => match parts.first() {
                Some(Reply::Text(letter)) => String::from_utf8_lossy(letter).into_owned(),
                _ => String::new(),
            },
            _ => String::new(),
        };
        if status == b"ok" { Ok((epoch.clone(), results.iter().map(letter).collect())) } else { Err(unreadable()) }
    }

    async fn answer(&mut self) -> Result<Reply, Failure> {
        if self.from.buffer().is_empty() {
            self.to.flush().await?;
        }
        match read_reply(&mut self.from).await? {
            Reply::Error(error) => Err(error.into()),
            reply => Ok(reply),
        }
    }
}

fn read_reply(from: &mut BufReader<OwnedReadHalf>) -> BoxFuture<'_, Result<Reply, Failure>> {
    let read = async move {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line).await?;
        let line = line.strip_suffix(b"\r\n").ok_or("an answer that is cut off")?;
        let (kind, rest) = line.split_first().ok_or("an answer without a kind")?;
        let length = || std::str::from_utf8(rest)?.parse::<i64>().map_err(Failure::from);
        Ok(match kind {
            b'+' | b':' => Reply::Text(rest.to_vec()),
            b'-' => Reply::Error(String::from_utf8_lossy(rest).into_owned()),
            b'$' => match usize::try_from(length()?) {
                Ok(length) => {
                    let mut text = vec![0; length + 2];
                    from.read_exact(&mut text).await?;
                    text.truncate(length);
                    Reply::Text(text)
                }
                Err(_) => Reply::Text(Vec::new()),
            },
            b'*' => {
                let mut many = Vec::new();
                for _ in 0..length()? {
                    many.push(read_reply(from).await?);
                }
                Reply::Many(many)
            }
            _ => return Err("an answer of an unknown kind".into()),
        })
    };
    read.boxed()
}

/// A partition that this client has joined, as a server does it.
pub(super) struct Partition {
    keys: Vec<String>,
    inboxes: String,
    name: [u8; 16],
    sha1: String,
    epoch: Vec<u8>,
    /// Of the last call.
    number: u64,
}

impl Partition {
    pub(super) async fn join(wire: &mut Wire, index: u16) -> Result<Self, Failure> {
        // Keys that no server would take for its own.
        let keys = REDIS_KEYS.iter().map(|key| format!("compare:{{{index}}}:{key}")).collect();
        let inboxes = format!("compare:{{{index}}}:inbox:");
        let (name, sha1) = (wire.name, wire.sha1.clone());
        let mut partition = Self { keys, inboxes, name, sha1, epoch: Vec::new(), number: 0 };
        let text = |text: &str| text.as_bytes().to_vec();
        wire.send(&partition.packed(NO_LEASE_MS, &[], &[])).await?;
        wire.call_answer().await?;
        let begin = vec![text("L"), text("0"), text("0")];
        wire.send(&partition.packed(LEASE_MS, &[], &[begin])).await?;
        let (epoch, _) = wire.call_answer().await?;
        let commit = vec![text("K"), epoch.clone(), text("16"), text("a key")];
        wire.send(&partition.packed(LEASE_MS, &[], &[commit])).await?;
        match wire.results().await?.as_slice() {
            [joined] if joined == "K" => Ok(Self { epoch, ..partition }),
            other => Err(format!("a partition can't be joined: {other:?}").into()),
        }
    }

    /// The next call, with these operations.
    pub(super) fn call(&mut self, operations: &[Args]) -> Vec<u8> {
        let epoch = self.epoch.clone();
        self.packed(LEASE_MS, &epoch, operations)
    }

    fn packed(&mut self, lease: &[u8], epoch: &[u8], operations: &[Args]) -> Vec<u8> {
        self.number += 1;
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.sha1).arg(self.keys.len()).arg(&self.keys);
        call.arg(&self.name).arg(self.number).arg(epoch).arg(lease).arg(&self.inboxes).arg(WAITERS_MAX);
        for argument in operations.iter().flatten() {
            call.arg(argument.as_slice());
        }
        call.get_packed_command()
    }
}
