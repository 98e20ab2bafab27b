//! Random messages on session streams.

use std::time::Duration;

use fastrand::Rng;
use lockstead_api::v1;
use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_api::v1::session_response::Message as Hear;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::yields::Yields;
use crate::{Findings, draw};

const MESSAGES_MAX: usize = 60;
/// How long a client listens before it goes on talking.
const LISTENS_FOR: Duration = Duration::from_millis(3);

pub(crate) async fn attack(channel: &Channel, rng: &mut Rng, findings: &Findings, yields: &Yields) {
    let (sender, messages) = mpsc::unbounded_channel();
    _ = sender.send(draw::first(rng, yields));
    let call = LockServiceClient::new(channel.clone()).session(UnboundedReceiverStream::new(messages)).await;
    let mut answers = match call {
        Ok(answers) => answers.into_inner(),
        Err(status) => return findings.note("Session", status.code(), || status.to_string()),
    };
    for _ in 0..rng.usize(..MESSAGES_MAX) {
        if sender.send(draw::later(rng, yields)).is_err() {
            break;
        }
        if rng.u8(..4) == 0 && has_ended(&mut answers, findings, yields).await {
            return;
        }
    }
    // Half of them end the stream in order, the others just leave.
    drop(sender);
    if rng.bool() && !has_ended(&mut answers, findings, yields).await {
        findings.note("Session", Code::Cancelled, String::new);
    }
}

/// Listens for a while.
async fn has_ended(answers: &mut Streaming<v1::SessionResponse>, findings: &Findings, yields: &Yields) -> bool {
    while let Ok(answer) = tokio::time::timeout(LISTENS_FOR, answers.message()).await {
        let message = match answer {
            Ok(Some(answer)) => answer.message,
            Ok(None) => {
                findings.note("Session", Code::Ok, String::new);
                return true;
            }
            Err(status) => {
                findings.note("Session", status.code(), || status.to_string());
                return true;
            }
        };
        match message {
            Some(Hear::Opened(opened)) => yields.note_session(&opened),
            Some(Hear::Acquired(acquired)) => yields.note_hold(v1::ResourceId::default(), acquired.hold_id),
            Some(Hear::Failed(failed)) if failed.reason() == v1::ErrorReason::Internal => {
                findings.wrong(format!("an operation failed: {failed:?}"));
            }
            _ => {}
        }
    }
    false
}
