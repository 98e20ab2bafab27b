//! As much of ZooKeeper's protocol as its lock recipe needs: frames with a length before them, numbers in network order,
//! answers in the order of their questions.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::Failure;

const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const PING_EVERY: Duration = Duration::from_secs(10);

const CREATE: i32 = 1;
const DELETE: i32 = 2;
const EXISTS: i32 = 3;
const CHILDREN: i32 = 8;
const PING: i32 = 11;

const LASTING: i32 = 0;
const SEQUENTIAL_OF_SESSION: i32 = 3;

/// Numbers that stand for no question.
const OF_WATCH: i32 = -1;
const OF_PING: i32 = -2;

const NO_NODE: i32 = -101;
const NODE_EXISTS: i32 = -110;

/// An answer: its error, and what follows.
type Answer = (i32, Vec<u8>);

/// A session.
pub(crate) struct Connection {
    frames: mpsc::UnboundedSender<Vec<u8>>,
    pending: Arc<Mutex<Pending>>,
    _tasks: JoinSet<()>,
}

/// Who waits for what.
#[derive(Default)]
struct Pending {
    last: i32,
    answers: VecDeque<(i32, oneshot::Sender<Answer>)>,
    watches: HashMap<String, Vec<oneshot::Sender<()>>>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Self, Failure> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let timeout = i32::try_from(SESSION_TIMEOUT.as_millis())?;
        let hello = Frame::new().int(0).long(0).int(timeout).long(0).bytes(&[0; 16]).finish();
        stream.write_all(&hello).await?;
        let (from, to) = stream.into_split();
        let mut from = BufReader::with_capacity(64 << 10, from);
        read_frame(&mut from).await?;
        let (frames, outgoing) = mpsc::unbounded_channel();
        let pending = Arc::new(Mutex::new(Pending::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(write(to, outgoing));
        tasks.spawn(read(from, pending.clone()));
        tasks.spawn(ping(frames.clone()));
        Ok(Self { frames, pending, _tasks: tasks })
    }

    /// Makes a node that stays, unless it is there.
    pub(crate) async fn create_lasting(&self, path: &str) -> Result<(), Failure> {
        match self.create(path, LASTING).await? {
            (0 | NODE_EXISTS, _) => Ok(()),
            (error, _) => Err(refused(error)),
        }
    }

    /// Makes a node with a number of its own, which goes with the session. Returns its path.
    pub(crate) async fn create_sequential(&self, path: &str) -> Result<String, Failure> {
        match self.create(path, SEQUENTIAL_OF_SESSION).await? {
            (0, body) => Reader(&body).text(),
            (error, _) => Err(refused(error)),
        }
    }

    async fn create(&self, path: &str, flags: i32) -> Result<Answer, Failure> {
        // One rule: anybody may do anything.
        let rules = |frame: Frame| frame.int(1).int(31).bytes(b"world").bytes(b"anyone");
        self.ask(CREATE, None, |frame| rules(frame.bytes(path.as_bytes()).bytes(b"")).int(flags)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        match self.ask(DELETE, None, |frame| frame.bytes(path.as_bytes()).int(-1)).await? {
            (0, _) => Ok(()),
            (error, _) => Err(refused(error)),
        }
    }

    pub(crate) async fn children(&self, path: &str) -> Result<Vec<String>, Failure> {
        match self.ask(CHILDREN, None, |frame| frame.bytes(path.as_bytes()).flag(false)).await? {
            (0, body) => {
                let mut reader = Reader(&body);
                (0..reader.int()?).map(|_| reader.text()).collect()
            }
            (error, _) => Err(refused(error)),
        }
    }

    /// Returns when the node has changed or gone, at once if it is not there.
    pub(crate) async fn until_changed(&self, path: &str) -> Result<(), Failure> {
        let (sender, changed) = oneshot::channel();
        match self.ask(EXISTS, Some((path, sender)), |frame| frame.bytes(path.as_bytes()).flag(true)).await? {
            (0, _) => Ok(changed.await?),
            (NO_NODE, _) => Ok(()),
            (error, _) => Err(refused(error)),
        }
    }

    async fn ask(
        &self,
        what: i32,
        watch: Option<(&str, oneshot::Sender<()>)>,
        fill: impl FnOnce(Frame) -> Frame,
    ) -> Result<Answer, Failure> {
        let (sender, answer) = oneshot::channel();
        {
            let mut pending = lock(&self.pending);
            pending.last += 1;
            let number = pending.last;
            pending.answers.push_back((number, sender));
            if let Some((path, sender)) = watch {
                pending.watches.entry(path.to_owned()).or_default().push(sender);
            }
            // While it is locked, so that the order of questions is that of the queue.
            self.frames.send(fill(Frame::new().int(number).int(what)).finish())?;
        }
        Ok(answer.await?)
    }
}

fn lock(pending: &Mutex<Pending>) -> std::sync::MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(error: i32) -> Failure {
    format!("ZooKeeper answered with error {error}").into()
}

async fn write(mut to: OwnedWriteHalf, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) {
    let mut batch = Vec::new();
    while let Some(frame) = frames.recv().await {
        batch.clear();
        batch.extend_from_slice(&frame);
        while let Ok(frame) = frames.try_recv() {
            batch.extend_from_slice(&frame);
        }
        if to.write_all(&batch).await.is_err() {
            return;
        }
    }
}

/// Ends with the connection; whoever waits then hears that nobody answers.
async fn read(mut from: BufReader<OwnedReadHalf>, pending: Arc<Mutex<Pending>>) {
    while let Ok(frame) = read_frame(&mut from).await {
        if take_answer(&frame, &pending).is_err() {
            break;
        }
    }
    *lock(&pending) = Pending::default();
}

fn take_answer(frame: &[u8], pending: &Mutex<Pending>) -> Result<(), Failure> {
    let mut reader = Reader(frame);
    let (number, _, error) = (reader.int()?, reader.long()?, reader.int()?);
    let mut pending = lock(pending);
    match number {
        OF_PING => {}
        OF_WATCH => {
            let (_, _) = (reader.int()?, reader.int()?);
            for watcher in pending.watches.remove(&reader.text()?).unwrap_or_default() {
                // It may not wait any more.
                _ = watcher.send(());
            }
        }
        number => {
            let (expected, answer) = pending.answers.pop_front().ok_or("an answer to no question")?;
            if expected != number {
                return Err("an answer out of turn".into());
            }
            _ = answer.send((error, reader.0.to_vec()));
        }
    }
    Ok(())
}

async fn ping(frames: mpsc::UnboundedSender<Vec<u8>>) {
    loop {
        tokio::time::sleep(PING_EVERY).await;
        if frames.send(Frame::new().int(OF_PING).int(PING).finish()).is_err() {
            return;
        }
    }
}

async fn read_frame(from: &mut BufReader<OwnedReadHalf>) -> Result<Vec<u8>, Failure> {
    let length = usize::try_from(from.read_i32().await?)?;
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

/// A frame that is being written.
struct Frame(Vec<u8>);

impl Frame {
    fn new() -> Self {
        // Its length comes last.
        Self(vec![0; 4])
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn int(self, number: i32) -> Self {
        self.put(&number.to_be_bytes())
    }

    fn long(self, number: i64) -> Self {
        self.put(&number.to_be_bytes())
    }

    fn flag(self, flag: bool) -> Self {
        self.put(&[u8::from(flag)])
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        self.int(i32::try_from(bytes.len()).unwrap_or(i32::MAX)).put(bytes)
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// A frame that is being read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8], Failure> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("an answer that is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32, Failure> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn long(&mut self) -> Result<i64, Failure> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn text(&mut self) -> Result<String, Failure> {
        let length = usize::try_from(self.int()?)?;
        Ok(String::from_utf8(self.take(length)?.to_vec())?)
    }
}
