//! HTTP/2 spoken by hand, frame by frame, for what no well-behaved client would do.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub mod kind {
    #![allow(missing_docs, reason = "they are called as in RFC 9113")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    #![allow(missing_docs, reason = "they are called as in RFC 9113")]
    pub const NONE: u8 = 0;
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
}

/// The setting that says how much may be sent on a stream before its receiver says more.
const INITIAL_WINDOW_SIZE: u16 = 4;
const HEAD_BYTES: usize = 9;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// See [`kind`].
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// Zero if it is about the connection.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

/// The half of a connection that speaks.
#[derive(Debug)]
pub struct Speaker(OwnedWriteHalf);

/// The half of a connection that hears.
#[derive(Debug)]
pub struct Hearer(OwnedReadHalf);

/// A frame as it is written.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The frame with which a client says its settings: how much it takes on a stream, if not the usual.
pub fn settings(window: Option<u32>) -> Vec<u8> {
    let setting = |window: u32| [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
    frame(kind::SETTINGS, flag::NONE, 0, &window.map(setting).unwrap_or_default())
}

/// Headers, as the payload of a frame, none of them compressed.
pub fn header_block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// As HPACK writes numbers, in seven bits and those that follow.
fn push_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap_or_default());
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap_or_default());
}

/// The frame that begins a request.
pub fn request(stream: u32, path: &str, more: &[(&str, &str)], flags: u8) -> Vec<u8> {
    let method = if path.starts_with("/lockstead.v1.") { "POST" } else { "GET" };
    let usual = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")];
    frame(kind::HEADERS, flag::END_HEADERS | flags, stream, &header_block(&[&usual, more].concat()))
}

/// The frame that begins a gRPC call.
pub fn call(stream: u32, method: &str) -> Vec<u8> {
    let path = format!("/lockstead.v1.LockService/{method}");
    request(stream, &path, &[("content-type", "application/grpc"), ("te", "trailers")], flag::NONE)
}

/// A message in the frame that gRPC puts around it.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes(), bytes].concat()
}

/// Connects, and says the preface and settings.
///
/// # Errors
/// If there is no server.
pub async fn connect(address: &str, window: Option<u32>) -> io::Result<(Speaker, Hearer)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (hearer, speaker) = stream.into_split();
    let mut speaker = Speaker(speaker);
    speaker.say(&[PREFACE, &settings(window)].concat()).await?;
    Ok((speaker, Hearer(hearer)))
}

/// Hears what a server says first, and answers it. From then on its windows are what its settings say.
///
/// # Errors
/// If the connection ends.
pub async fn settle(speaker: &mut Speaker, hearer: &mut Hearer) -> io::Result<()> {
    let (mut has_settings, mut has_window) = (false, false);
    while !(has_settings && has_window) {
        let heard = hearer.hear().await.ok_or(io::ErrorKind::UnexpectedEof)?;
        has_settings |= heard.kind == kind::SETTINGS && heard.flags & flag::ACK == 0;
        has_window |= heard.kind == kind::WINDOW_UPDATE;
        if let Some(answer) = heard.answer() {
            speaker.say(&answer).await?;
        }
    }
    Ok(())
}

impl Speaker {
    /// Writes frames, or anything else.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }
}

impl Hearer {
    /// The next frame; `None` at the end of the connection, however it comes.
    pub async fn hear(&mut self) -> Option<Frame> {
        let mut head = [0; HEAD_BYTES];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }
}

impl Frame {
    /// What a client has to answer to it so that the connection lives on.
    pub fn answer(&self) -> Option<Vec<u8>> {
        let is_question = self.flags & flag::ACK == 0;
        match self.kind {
            kind::SETTINGS if is_question => Some(frame(kind::SETTINGS, flag::ACK, 0, &[])),
            kind::PING if is_question => Some(frame(kind::PING, flag::ACK, 0, &self.payload)),
            _ => None,
        }
    }
}

/// Answers what has to be answered, until the connection ends. Returns how many frames came.
pub async fn stay_alive(speaker: &mut Speaker, hearer: &mut Hearer) -> usize {
    let mut heard = 0;
    while let Some(frame) = hearer.hear().await {
        heard += 1;
        if let Some(answer) = frame.answer()
            && speaker.say(&answer).await.is_err()
        {
            break;
        }
    }
    heard
}
