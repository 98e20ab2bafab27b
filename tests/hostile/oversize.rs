//! Headers, messages and bodies that are too large, or of which too many are under way at once.

use std::time::Duration;

use futures::future::join_all;
use lockstead_client::now;
use lockstead_tests::http2::{self, Frame, flag, frame, kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::attacked::Attacked;

const GROWTH_MAX_BYTES: usize = 64 << 20;
/// All that is on its way in together may have 256 MiB; beside that come buffers and copies.
const INCOMING_GROWTH_MAX_BYTES: usize = 384 << 20;
const LARGE_BYTES: usize = 32 << 20;
const LARGE_MESSAGES: usize = 24;
const PIECE_BYTES: usize = 16 << 10;
const DROPPED_WITHIN: Duration = Duration::from_secs(40);

/// Sends more and more headers, until the server answers or hangs up.
async fn send_headers_for_ever(address: &str) -> String {
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let sending = async {
        to.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n").await?;
        loop {
            to.write_all(format!("x-{}: {}\r\n", "y".repeat(100), "z".repeat(1_000)).as_bytes()).await?;
        }
    };
    let mut answer = Vec::new();
    let (_, _): (std::io::Result<()>, _) = tokio::join!(sending, from.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The same over HTTP/2: headers whose end never comes. How the connection was ended.
async fn continue_headers_for_ever(address: &str) -> Vec<u8> {
    let (mut speaker, mut hearer) = http2::connect(address, None).await.unwrap();
    let sending = tokio::spawn(async move {
        let many = (0..16).map(|_| ("x-many", "z")).collect::<Vec<_>>();
        let block = http2::header_block(&many);
        let begun = frame(kind::HEADERS, flag::NONE, 1, &http2::header_block(&[(":method", "GET")]));
        let mut said = speaker.say(&begun).await;
        while said.is_ok() {
            said = speaker.say(&frame(kind::CONTINUATION, flag::NONE, 1, &block)).await;
        }
    });
    let mut end = Vec::new();
    while let Some(heard) = hearer.hear().await {
        if heard.kind == kind::GOAWAY {
            end = heard.payload;
        }
    }
    sending.await.unwrap();
    end
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_without_end() {
    let attacked = Attacked::start().await;
    let answers = join_all((0..50).map(|_| send_headers_for_ever(attacked.address()))).await;
    // Where sending goes on, a reset can overtake the answer.
    let refused = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 431")).count();
    assert!(answers.iter().all(|answer| answer.is_empty() || answer.starts_with("HTTP/1.1 431")), "{answers:?}");
    let ends = join_all((0..50).map(|_| continue_headers_for_ever(attacked.address()))).await;
    let told = ends.iter().filter(|end| !end.is_empty()).count();
    println!("HTTP/1: {refused} of 50 were told 431; HTTP/2: {told} of 50 were told to go away");
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}

/// Says that a large message comes, on many calls of one connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_which_only_the_length_comes() {
    let attacked = Attacked::start().await;
    let (mut speaker, mut hearer) = http2::connect(attacked.address(), None).await.unwrap();
    let hearing = tokio::spawn(async move { while hearer.hear().await.is_some() {} });
    let length = u32::try_from(LARGE_BYTES).unwrap().to_be_bytes();
    let begun = [&[0][..], &length, &[0; 500]].concat();
    for call in 0..3_000 {
        let stream = 2 * call + 1;
        let method = if call % 2 == 0 { "Session" } else { "Acquire" };
        let words = [http2::call(stream, method), frame(kind::DATA, flag::NONE, stream, &begun)].concat();
        if speaker.say(&words).await.is_err() {
            break;
        }
    }
    attacked.serves().await;
    hearing.abort();
    drop(speaker);
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}

/// How much of a call the server takes now: on the stream, and on the connection.
struct Windows {
    stream: usize,
    connection: usize,
}

impl Windows {
    /// As every connection begins.
    const USUAL: usize = 65_535;

    fn open(&self) -> usize {
        self.stream.min(self.connection)
    }

    fn take(&mut self, bytes: usize) {
        self.stream -= bytes;
        self.connection -= bytes;
    }

    /// Notes what a frame says about them.
    fn note(&mut self, said: &Frame) {
        let number = |payload: &[u8]| payload.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        match (said.kind, said.stream) {
            (kind::WINDOW_UPDATE, 0) => self.connection += number(&said.payload),
            (kind::WINDOW_UPDATE, _) => self.stream += number(&said.payload),
            (kind::SETTINGS, _) => {
                for setting in said.payload.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                    self.stream = (self.stream + number(&setting[2..])).saturating_sub(Self::USUAL);
                }
            }
            _ => {}
        }
    }
}

/// Sends all of a large first message of a session but its last byte. Returns when the call is over.
async fn send_almost_all(address: String) {
    let (mut speaker, mut hearer) = http2::connect(&address, None).await.unwrap();
    speaker.say(&http2::call(1, "Session")).await.unwrap();
    let mut windows = Windows { stream: Windows::USUAL, connection: Windows::USUAL };
    let length = u32::try_from(LARGE_BYTES).unwrap().to_be_bytes();
    let mut piece = [&[0][..], &length, &[0; PIECE_BYTES]].concat();
    let mut left = LARGE_BYTES - 1;
    loop {
        while left > 0 && windows.open() > 0 {
            piece.truncate(PIECE_BYTES.min(left).min(windows.open()));
            if speaker.say(&frame(kind::DATA, flag::NONE, 1, &piece)).await.is_err() {
                return;
            }
            windows.take(piece.len());
            left -= piece.len();
            piece = vec![0; PIECE_BYTES];
        }
        let Some(said) = hearer.hear().await else { return };
        windows.note(&said);
        let is_refused = said.kind == kind::HEADERS && said.flags & flag::END_STREAM != 0;
        if said.kind == kind::RST_STREAM || is_refused {
            return;
        }
        if let Some(answer) = said.answer()
            && speaker.say(&answer).await.is_err()
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_messages_that_never_end_wait_for_their_turn_and_are_refused() {
    let attacked = Attacked::start().await;
    let begun = now();
    let sending = (0..LARGE_MESSAGES).map(|_| tokio::spawn(send_almost_all(attacked.address().to_owned())));
    let sending: Vec<_> = sending.collect();
    let over = tokio::time::timeout(DROPPED_WITHIN, join_all(sending)).await;
    assert!(over.is_ok(), "some are still there after {DROPPED_WITHIN:?}");
    println!("all refused after {:?}", now().since(begun));
    attacked.assert_unharmed(INCOMING_GROWTH_MAX_BYTES).await;
}
