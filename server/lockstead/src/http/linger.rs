//! Bodies that nobody wants to read, read for a while.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;

/// How long.
const LINGER: Duration = Duration::from_secs(10);

/// Lets the caller of a request that is refused before its body has come read the answer: a connection that is closed while
/// its peer still sends is reset, and the reset can overtake the answer.
pub(super) async fn read_what_is_left(request: Request, next: Next) -> Response {
    // Who asks before sending has not begun to.
    let asks_first = request.headers().contains_key(EXPECT);
    if asks_first || request.body().is_end_stream() {
        return next.run(request).await;
    }
    next.run(request.map(|body| Body::new(Lingering { body, at_end: false }))).await
}

/// Dropped before its end, it throws away what is left.
struct Lingering {
    body: Body,
    at_end: bool,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.at_end |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if self.at_end || self.is_end_stream() {
            return;
        }
        // Without a runtime there is no connection either.
        if let Ok(runtime) = Handle::try_current() {
            let body = std::mem::take(&mut self.body);
            runtime.spawn(tokio::time::timeout(LINGER, discard(body)));
        }
    }
}

async fn discard(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
}
