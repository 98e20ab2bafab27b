//! Calls outside the session's stream, on the same connection.

use std::future::Future;
use std::time::Duration;

use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_clock::{sleep_until, sleep_until_some, time};
use lockstead_core::Time;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::Handle;
use crate::error::{self, Error, Result, Unavailable};

/// Between two attempts of a call.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UnaryPatience {
    /// As long as the connect timeout.
    Short,
    /// So much longer than that, since the server is asked to wait.
    Wait(Duration),
    /// As long as it takes, if there is a server.
    Forever,
}

/// One attempt of a call.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) service: LockServiceClient<Channel>,
    /// When it is sent.
    pub(crate) sent: Time,
    /// Whether the server may have carried out the call before.
    pub(crate) is_repeated: bool,
}

impl Handle {
    /// Calls the server with which the session is, and its successor if it goes away meanwhile: the call must be one
    /// that can be repeated.
    pub(crate) async fn call<T, F>(&self, patience: UnaryPatience, rpc: impl Fn(Attempt) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let timeout = self.config.connect_timeout;
        let mut connections = self.connection.clone();
        let mut find_by = time().saturating_add(timeout);
        let answer_by = match patience {
            UnaryPatience::Short => Some(find_by),
            UnaryPatience::Wait(wait) => Some(find_by.saturating_add(wait)),
            UnaryPatience::Forever => None,
        };
        let mut failure = self.unavailable("no connection");
        let mut is_repeated = false;
        loop {
            let connection = tokio::select! {
                connection = connections.wait_for(Option::is_some) => connection.map_err(|_| Error::Closed)?.clone(),
                () = sleep_until(find_by) => return Err(failure),
            };
            let Some(connection) = connection else { continue };
            let attempt = Attempt { service: LockServiceClient::new(connection.channel), sent: time(), is_repeated };
            let answer = tokio::select! {
                answer = rpc(attempt) => answer,
                // That server is gone, or the connection to it.
                changed = connections.changed() => {
                    changed.map_err(|_| Error::Closed)?;
                    find_by = time().saturating_add(timeout);
                    Err(Status::unavailable("the connection broke"))
                }
                () = sleep_until_some(answer_by) => return Err(failure),
            };
            match answer {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if !error::is_transient(&status) => return Err(Error::from_status(&status)),
                Err(status) => failure = self.gone_wrong(&status),
            }
            if time() >= find_by {
                return Err(failure);
            }
            is_repeated = true;
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn gone_wrong(&self, status: &Status) -> Error {
        match Error::from_status(status) {
            Error::Refused { reason: lockstead_api::v1::ErrorReason::Unspecified, .. } => {
                self.unavailable(&error::describe(status))
            }
            refused => refused,
        }
    }

    /// Which of several servers it was, a call does not know.
    fn unavailable(&self, why: &str) -> Error {
        let addresses = self.config.servers.iter().map(|server| server.address.as_str());
        let attempts = vec![(addresses.collect::<Vec<_>>().join(" or "), why.to_owned())];
        Error::Unavailable(Unavailable { after: self.config.connect_timeout, attempts })
    }
}
