//! Messages on their way in, kept from taking more memory or time than their share. Tonic knows one limit for all calls, which
//! has to be that of a large resume, and waits for ever.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::Request;
use futures::future::BoxFuture;
use hyper::body::{Frame, SizeHint};
use lockstead_api::v1::ErrorReason;
use lockstead_core::duration;
use lockstead_core::limits::{GRPC_MESSAGE_MAX_BYTES, GRPC_SMALL_MESSAGE_MAX_BYTES, INCOMING_UNCOUNTED_MAX_BYTES};
use tokio::time::Sleep;
use tonic::Status;

use crate::room::{self, Place};

/// A message must be complete within this from its first byte, however slowly it comes. So must the whole request of a call
/// that has but one.
const MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// Calls whose client goes on talking.
const SESSION: &str = "/lockstead.v1.LockService/Session";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// A service for strangers, who are not to take up room that others wait for.
const HEALTH: &str = "/grpc.health.v1.Health/";
const HEALTH_MESSAGE_MAX_BYTES: usize = 1 << 10;
/// What stands before each message: whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;

/// Bounds what comes in by this request.
pub(super) fn bound<B>(request: Request<B>) -> Request<Intake<B>> {
    let path = request.uri().path();
    let is_stream = path == SESSION || path == REFLECTION;
    let most = match path {
        SESSION => GRPC_MESSAGE_MAX_BYTES,
        path if path.starts_with(HEALTH) => HEALTH_MESSAGE_MAX_BYTES,
        _ => GRPC_SMALL_MESSAGE_MAX_BYTES,
    };
    request.map(|body| Intake::new(body, most, is_stream))
}

/// A body whose messages are bounded.
pub(super) struct Intake<B> {
    body: B,
    is_stream: bool,
    /// Bytes that the next message can have.
    most: usize,
    head: Vec<u8>,
    /// Bytes of the present message that have not come yet.
    left: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    place: Option<Place>,
    asked_place: Option<BoxFuture<'static, Place>>,
}

impl<B> Intake<B> {
    fn new(body: B, most: usize, is_stream: bool) -> Self {
        let head = Vec::with_capacity(HEAD_BYTES);
        Self { body, is_stream, most, head, left: 0, deadline: None, place: None, asked_place: None }
    }

    /// Whether something has to come soon.
    fn is_due(&self) -> bool {
        !self.is_stream || self.left > 0 || !self.head.is_empty()
    }

    /// Follows the messages through a piece of the body.
    fn follow(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            let wanted = if self.left > 0 { self.left } else { HEAD_BYTES - self.head.len() };
            let (piece, rest) = data.split_at(wanted.min(data.len()));
            data = rest;
            if self.left > 0 {
                self.left -= piece.len();
            } else {
                self.head.extend_from_slice(piece);
                let Ok([_, length @ ..]) = <[u8; HEAD_BYTES]>::try_from(self.head.as_slice()) else { continue };
                self.head.clear();
                self.begin(u32::from_be_bytes(length) as usize)?;
            }
            if self.left == 0 {
                self.end();
            }
        }
        Ok(())
    }

    fn begin(&mut self, length: usize) -> Result<(), Status> {
        if length > self.most {
            let why = format!("a message of {length} bytes is too large; here it can have {}", self.most);
            return Err(ErrorReason::InvalidBody.status(why));
        }
        self.left = length;
        if length > INCOMING_UNCOUNTED_MAX_BYTES {
            self.asked_place = Some(Box::pin(room::take(length)));
        }
        Ok(())
    }

    fn end(&mut self) {
        // Only the first message of a session can be a resume.
        self.most = self.most.min(GRPC_SMALL_MESSAGE_MAX_BYTES);
        (self.place, self.asked_place) = (None, None);
        if self.is_stream {
            self.deadline = None;
        }
    }

    /// Ready when there is room for the message that comes next.
    fn poll_place(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(asked) = &mut self.asked_place {
            self.place = Some(ready!(asked.as_mut().poll(context)));
            self.asked_place = None;
        }
        Poll::Ready(())
    }

    /// Ready when what has to come soon has not come in time.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_due() {
            return Poll::Pending;
        }
        self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(MESSAGE_WITHIN))).as_mut().poll(context)
    }
}

impl<B> HttpBody for Intake<B>
where
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let polled = self.poll_place(context).map(|()| Pin::new(&mut self.body).poll_frame(context));
        let Poll::Ready(Poll::Ready(polled)) = polled else {
            // Most messages are there at once, and need no clock.
            ready!(self.poll_deadline(context));
            let why = format!("the message was not complete within {}", duration::format(MESSAGE_WITHIN));
            return Poll::Ready(Some(Err(ErrorReason::InvalidBody.status(why).into())));
        };
        let frame = match polled {
            Some(Ok(frame)) => frame,
            ended => return Poll::Ready(ended.map(|error| error.map_err(Into::into))),
        };
        if let Some(data) = frame.data_ref() {
            self.follow(data)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;

    use super::*;

    const SMALL: usize = GRPC_SMALL_MESSAGE_MAX_BYTES;

    fn message(length: usize) -> Vec<u8> {
        [&[0][..], &u32::try_from(length).unwrap().to_be_bytes(), &vec![7; length]].concat()
    }

    /// What becomes of a body that comes in pieces of this size.
    async fn read(is_session: bool, bytes: &[u8], piece: usize) -> Result<usize, String> {
        let pieces: Vec<Result<Bytes, axum::Error>> =
            bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let body = Body::from_stream(futures::stream::iter(pieces));
        let read =
            Intake::new(body, if is_session { GRPC_MESSAGE_MAX_BYTES } else { SMALL }, is_session).collect().await;
        read.map(|all| all.to_bytes().len()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn messages_have_bounds_wherever_they_are_cut() {
        for piece in [1, 3, 5, 4096, 1 << 20] {
            let two = [message(SMALL), message(0), message(SMALL)].concat();
            assert_eq!(read(false, &two, piece).await, Ok(two.len()), "{piece}");
            for (is_session, bytes) in [
                (false, message(SMALL + 1)),
                (true, [message(0), message(SMALL + 1)].concat()),
                (false, [message(SMALL), message(SMALL + 1)].concat()),
            ] {
                let refused = read(is_session, &bytes, piece).await.unwrap_err();
                assert!(refused.contains("65537 bytes is too large"), "{piece}: {refused}");
            }
        }
        let resume = [message(SMALL + 1), message(SMALL)].concat();
        assert_eq!(read(true, &resume, 4096).await, Ok(resume.len()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_must_come_in_time_and_a_stream_may_be_silent_between_messages() {
        let after = |bytes: Vec<u8>| {
            let first = futures::stream::once(async { Ok::<_, axum::Error>(Bytes::from(bytes)) });
            Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()))
        };
        let half = message(10)[..8].to_vec();
        for (is_stream, bytes) in [(false, half.clone()), (true, half), (false, message(10)), (true, vec![0])] {
            let error = Intake::new(after(bytes.clone()), SMALL, is_stream).collect().await.unwrap_err();
            assert!(error.to_string().contains("not complete within 10s"), "{bytes:?}: {error}");
        }
        let silent = Intake::new(after(message(10)), SMALL, true).collect();
        assert!(tokio::time::timeout(MESSAGE_WITHIN * 100, silent).await.is_err(), "a stream may be silent");
    }
}
