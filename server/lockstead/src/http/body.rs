//! Bodies of requests: read with a limit, and as JSON whatever they call themselves, since `curl -d` calls everything a
//! form.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::header::EXPECT;
use bytes::BytesMut;
use http_body_util::BodyExt;
use lockstead_api::v1::ErrorReason;
use serde::de::DeserializeOwned;

use super::json;
use super::problem::{Problem, Result};

/// Largest body of a request.
pub(super) const BODY_MAX_BYTES: usize = 64 << 10;

/// How long what follows a refused body is read and thrown away, so that its sender gets to read the answer.
const LINGER: Duration = Duration::from_secs(10);

/// The body of a request as a `T`. An empty one, or `null`, is `T`'s default.
pub(super) struct Content<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for Content<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let bytes = read(request).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        Ok(Self(json::decode::<Option<T>>(&bytes)?.unwrap_or_default()))
    }
}

async fn read(request: Request) -> Result<Bytes> {
    let waits_for_continue = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    if body.size_hint().lower() > BODY_MAX_BYTES as u64 {
        return Err(refuse(body, waits_for_continue));
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |error| Problem::new(ErrorReason::InvalidBody, format!("the body can't be read: {error}"));
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if bytes.len() + data.len() > BODY_MAX_BYTES {
            return Err(refuse(body, waits_for_continue));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// Refuses a body that is too large. A connection that is closed while its peer still sends is reset, and the reset can
/// overtake the answer; so the rest is read for a while. A client that asked before sending has not begun to.
fn refuse(body: Body, waits_for_continue: bool) -> Problem {
    if !waits_for_continue {
        tokio::spawn(tokio::time::timeout(LINGER, discard(body)));
    }
    Problem::too_large(format!("the body is too large; it can have {BODY_MAX_BYTES} bytes"))
}

async fn discard(mut body: Body) {
    while let Some(Ok(_)) = body.frame().await {}
}
