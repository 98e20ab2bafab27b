//! Bodies of requests: read with a limit, and as JSON whatever they call themselves, since `curl -d` calls everything a
//! form.

use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use bytes::BytesMut;
use http_body_util::BodyExt;
use lockstead_api::v1::ErrorReason;
use lockstead_core::duration;
use lockstead_core::limits::{HTTP_BODY_MAX_BYTES, INCOMING_UNCOUNTED_MAX_BYTES};
use serde::de::DeserializeOwned;

use super::json;
use super::problem::{Problem, Result};
use crate::room;

/// A body must be complete within this, however slowly it comes.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The body of a request as a `T`. An empty one, or `null`, is `T`'s default.
pub(super) struct Content<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for Content<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let bytes = tokio::time::timeout(BODY_WITHIN, read(request)).await;
        let late = |_| {
            let why = format!("the body was not complete within {}", duration::format(BODY_WITHIN));
            Problem::new(ErrorReason::InvalidBody, why)
        };
        let bytes = bytes.map_err(late)??;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        Ok(Self(json::decode::<Option<T>>(&bytes)?.unwrap_or_default()))
    }
}

async fn read(request: Request) -> Result<Bytes> {
    let too_large = || Problem::too_large(format!("the body is too large; it can have {HTTP_BODY_MAX_BYTES} bytes"));
    let mut body = request.into_body();
    if body.size_hint().lower() > HTTP_BODY_MAX_BYTES as u64 {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    let mut place = None;
    while let Some(frame) = body.frame().await {
        let broken = |error| Problem::new(ErrorReason::InvalidBody, format!("the body can't be read: {error}"));
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if bytes.len() + data.len() > HTTP_BODY_MAX_BYTES {
            return Err(too_large());
        }
        if place.is_none() && bytes.len() + data.len() > INCOMING_UNCOUNTED_MAX_BYTES {
            place = Some(room::take(HTTP_BODY_MAX_BYTES).await);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}
