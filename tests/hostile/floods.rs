//! HTTP/2 connections that make work as fast as they can.

use std::time::Duration;

use futures::future::join_all;
use lockstead_api::v1;
use lockstead_client::now;
use lockstead_tests::http2::{self, Hearer, Speaker, flag, frame, kind};
use prost::Message;

use crate::attacked::Attacked;

const CONNECTIONS: usize = 4;
const FLOODS_FOR: Duration = Duration::from_secs(3);
const GROWTH_MAX_BYTES: usize = 64 << 20;
/// Calls in progress on one connection, as many as it may have.
const CALLS: u32 = 10_000;
const CALLS_GROWTH_MAX_BYTES: usize = 128 << 20;

/// Says these words again and again, each time for the next stream, while it reads what comes. Returns how often, once the
/// server has had enough of it or the time is over.
async fn flood(address: String, words: impl Fn(u32) -> Vec<u8> + Send + 'static) -> u32 {
    let (mut speaker, mut hearer) = http2::connect(&address, None).await.unwrap();
    let hearing = tokio::spawn(async move { while hearer.hear().await.is_some() {} });
    let end = now().saturating_add(FLOODS_FOR);
    let mut times = 0;
    while now() < end {
        let many: Vec<u8> = (0..100).flat_map(|more| words(2 * (times + more) + 1)).collect();
        let said = tokio::time::timeout(FLOODS_FOR, speaker.say(&many)).await;
        if !matches!(said, Ok(Ok(()))) {
            break;
        }
        times += 100;
    }
    hearing.abort();
    times
}

/// Several connections do the same. Others are served meanwhile.
async fn assert_withstood(what: &'static str, words: impl Fn(u32) -> Vec<u8> + Clone + Send + 'static) {
    let attacked = Attacked::start().await;
    let floods = (0..CONNECTIONS).map(|_| tokio::spawn(flood(attacked.address().to_owned(), words.clone())));
    let floods = join_all(floods.collect::<Vec<_>>());
    let (times, ()) = tokio::join!(floods, attacked.serves());
    println!("{what}: {:?} times", times.into_iter().map(Result::unwrap).collect::<Vec<_>>());
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}

fn acquire(stream: u32) -> Vec<u8> {
    let claim = Some(v1::Claim { name: format!("flood/{}", stream % 50), ..v1::Claim::default() });
    let wait = Some(v1::Wait { how: Some(v1::wait::How::Forever(true)) });
    let request = v1::AcquireRequest { claim, wait, ..v1::AcquireRequest::default() };
    let message = http2::message(&request.encode_to_vec());
    [http2::call(stream, "Acquire"), frame(kind::DATA, flag::END_STREAM, stream, &message)].concat()
}

const CANCEL: [u8; 4] = [0, 0, 0, 8];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_reset_as_soon_as_they_are_made() {
    assert_withstood("rapid reset", |stream| {
        [acquire(stream), frame(kind::RST_STREAM, flag::NONE, stream, &CANCEL)].concat()
    })
    .await;
    assert_withstood("rapid reset of bare headers", |stream| {
        let headers = http2::request(stream, "/v1/info", &[], flag::END_STREAM);
        [headers, frame(kind::RST_STREAM, flag::NONE, stream, &CANCEL)].concat()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_ask_for_an_answer_or_for_nothing() {
    assert_withstood("pings", |stream| frame(kind::PING, flag::NONE, 0, &u64::from(stream).to_be_bytes())).await;
    assert_withstood("settings", |_| http2::settings(Some(65_535))).await;
    assert_withstood("updates of the window", |_| frame(kind::WINDOW_UPDATE, flag::NONE, 0, &[0, 0, 0, 1])).await;
    assert_withstood("empty data", |stream| {
        let first = if stream == 1 { http2::call(1, "Session") } else { Vec::new() };
        [first, frame(kind::DATA, flag::NONE, 1, &[])].concat()
    })
    .await;
    assert_withstood("unknown frames", |_| frame(0xfa, flag::NONE, 0, &[0; 100])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_whose_answers_nobody_reads() {
    let attacked = Attacked::start().await;
    let mut unread: Vec<Hearer> = Vec::new();
    let mut floods = Vec::new();
    for _ in 0..CONNECTIONS {
        let (mut speaker, hearer): (Speaker, Hearer) = http2::connect(attacked.address(), None).await.unwrap();
        unread.push(hearer);
        floods.push(tokio::spawn(async move {
            let pings = frame(kind::PING, flag::NONE, 0, &[7; 8]).repeat(1_000);
            // Until the server reads no more, or has hung up.
            while matches!(tokio::time::timeout(FLOODS_FOR, speaker.say(&pings)).await, Ok(Ok(()))) {}
        }));
    }
    join_all(floods).await;
    attacked.serves().await;
    drop(unread);
    attacked.assert_unharmed(GROWTH_MAX_BYTES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_calls_as_a_connection_may_have_and_more() {
    let attacked = Attacked::start().await;
    let (mut speaker, mut hearer) = http2::connect(attacked.address(), None).await.unwrap();
    // Before its window is known, so many calls would be more than may be sent, and the server would rightly hang up.
    http2::settle(&mut speaker, &mut hearer).await.unwrap();
    let hearing = tokio::spawn(async move {
        let mut refused = 0;
        while refused < 500 {
            match hearer.hear().await {
                Some(heard) if heard.kind == kind::RST_STREAM => refused += 1,
                Some(_) => {}
                None => break,
            }
        }
        refused
    });
    for call in 0..CALLS + 1_000 {
        if speaker.say(&acquire(2 * call + 1)).await.is_err() {
            break;
        }
    }
    let refused = hearing.await.unwrap();
    assert!(refused >= 500, "only {refused} calls above the limit were refused");
    attacked.serves().await;
    drop(speaker);
    attacked.assert_bounded(CALLS_GROWTH_MAX_BYTES).await;
}
