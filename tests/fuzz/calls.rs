//! Random messages on the calls that have one.

use std::time::Duration;

use fastrand::Rng;
use lockstead_api::v1;
use lockstead_api::v1::acquire_response::Outcome;
use lockstead_api::v1::hold_response::Event;
use lockstead_api::v1::lock_service_client::LockServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::yields::Yields;
use crate::{Findings, draw};

/// A caller goes away when its answer has not come within this.
const LEAVES_AFTER: Duration = Duration::from_millis(30);

pub(crate) async fn attack(channel: &Channel, rng: &mut Rng, findings: &Findings, yields: &Yields) {
    let mut client = LockServiceClient::new(channel.clone());
    match rng.u8(..7) {
        0 | 1 => {
            let request = draw::acquire(rng);
            let outcome = answer("Acquire", findings, client.acquire(request)).await;
            if let Some(Outcome::Acquired(hold)) = outcome.and_then(|answer| answer.outcome) {
                yields.note_lease(&hold);
            }
        }
        2 => _ = answer("Renew", findings, client.renew(draw::renew(rng, yields))).await,
        3 => {
            let request = draw::release(rng, yields);
            let hold_id = request.hold_id.clone();
            if answer("Release", findings, client.release(request)).await.is_some() {
                yields.note_released(&hold_id);
            }
        }
        4 => _ = answer("Get", findings, client.get(draw::get(rng))).await,
        5 => _ = answer("List", findings, client.list(draw::list(rng))).await,
        _ => hold(&mut client, rng, findings, yields).await,
    }
}

async fn answer<T>(
    what: &'static str,
    findings: &Findings,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Option<T> {
    match tokio::time::timeout(LEAVES_AFTER, call).await {
        Ok(Ok(answer)) => {
            findings.note(what, Code::Ok, String::new);
            Some(answer.into_inner())
        }
        Ok(Err(status)) => {
            findings.note(what, status.code(), || status.to_string());
            None
        }
        Err(_) => {
            findings.note(what, Code::Cancelled, String::new);
            None
        }
    }
}

/// Holds, and leaves in the middle of it.
async fn hold(client: &mut LockServiceClient<Channel>, rng: &mut Rng, findings: &Findings, yields: &Yields) {
    let Some(mut events) = answer("Hold", findings, client.hold(draw::hold_stream(rng))).await else { return };
    for _ in 0..rng.u8(1..4) {
        let Ok(event) = tokio::time::timeout(LEAVES_AFTER / 10, events.message()).await else { break };
        match event {
            Ok(Some(v1::HoldResponse { event: Some(Event::Acquired(hold)) })) => {
                let resource = hold.resource.clone().unwrap_or_default();
                yields.note_hold(resource, hold.hold_id);
            }
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(status) => {
                findings.note("Hold's events", status.code(), || status.to_string());
                break;
            }
        }
    }
}
