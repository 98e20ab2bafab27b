//! The session stream: from messages on the wire to a session of the service, and back.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use lockstead_api::status::blame_message;
use lockstead_api::v1;
use lockstead_core::duration;
use lockstead_tasks::Starter;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::trace::StreamTrace;
use super::{decode, encode};
use crate::service::session::{Actor, Inbound, Outbound, attachment_channel};
use crate::service::{Caller, Error, Result};

/// How long a new stream may be silent.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(10);

/// Answers at once with a stream, so that a client may wait for the answer's headers before it says anything. What comes in is
/// seen to as a task of the connection, which goes on by itself if the session outlives that.
pub(super) fn serve(
    caller: Caller,
    wire: Streaming<v1::SessionRequest>,
    trace: StreamTrace,
    tasks: Starter,
) -> BoxStream<'static, std::result::Result<v1::SessionResponse, Status>> {
    let (outbound, replies) = attachment_channel();
    let heard = trace.clone();
    tasks.clone().start(async move {
        match begin(&caller, wire, heard, outbound.clone()).await {
            Ok(None) => {}
            // On its own: from here on it is up to the session how long the stream lives.
            Ok(Some(session)) => tasks.start(session.run()),
            // A client that is gone need not hear of it.
            Err(error) => _ = outbound.send(Err(error)).await,
        }
    });
    let told = ReceiverStream::new(replies).inspect(move |item| trace.said(item));
    told.map(|item| item.map(encode::reply).map_err(Status::from)).boxed()
}

/// Begins with what the client says first. Returns a session that has been opened here.
async fn begin(
    caller: &Caller,
    mut wire: Streaming<v1::SessionRequest>,
    trace: StreamTrace,
    outbound: Outbound,
) -> Result<Option<Actor>> {
    let first = tokio::select! {
        first = tokio::time::timeout(FIRST_MESSAGE_WITHIN, wire.message()) => first,
        () = caller.drain().begun() => return Err(Error::Draining),
    };
    let first = match first {
        Ok(Ok(Some(first))) => decode::first(first)?,
        Ok(Ok(None)) => return Err(Error::bad_session("the stream ended before it said open or resume")),
        Ok(Err(status)) => return Err(Error::Unreadable(blame_message(status).message().to_owned())),
        Err(_) => {
            let silence = duration::format(FIRST_MESSAGE_WITHIN);
            let why = format!("nothing was said for {silence}; the first message is open or resume");
            return Err(Error::bad_session(why));
        }
    };
    match first {
        decode::First::Open(options) => caller.open_session(options, inbound(wire, trace), outbound).map(Some),
        decode::First::Resume(resume) => {
            caller.resume_session(resume, inbound(wire, trace), outbound).await.map(|()| None)
        }
    }
}

fn inbound(wire: Streaming<v1::SessionRequest>, trace: StreamTrace) -> Inbound {
    let messages = wire.map(move |message| match message {
        Ok(message) => decode::message(message).inspect(|message| trace.heard(message)).map(Some),
        Err(status) => {
            let blamed = blame_message(status);
            // Anything but the message's fault is the connection's: it broke.
            if blamed.code() == tonic::Code::InvalidArgument {
                Err(Error::Unreadable(blamed.message().to_owned()))
            } else {
                Ok(None)
            }
        }
    });
    // A stream that broke has no more to say.
    messages
        .take_while(|message| std::future::ready(!matches!(message, Ok(None))))
        .filter_map(|message| std::future::ready(message.transpose()))
        .boxed()
}
