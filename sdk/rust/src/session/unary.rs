//! Calls outside the session's stream, on the same connection as long as that serves.

use std::future::Future;
use std::time::Duration;

use lockstead_api::v1::lock_service_client::LockServiceClient;
use lockstead_clock::{sleep_until, sleep_until_some, time};
use lockstead_core::Time;
use tokio::sync::watch;
use tonic::{Response, Status};

use super::{Connection, Handle};
use crate::error::{self, Error, Result, Unavailable};
use crate::transport::{Route, Transport};

/// Between the first two attempts of a call; each further pause is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long another server than the session's may be silent, on the level of the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

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
    pub(crate) service: LockServiceClient<Transport>,
    /// When it is sent.
    pub(crate) sent: Time,
    /// Whether the server may have carried out the call before.
    pub(crate) is_repeated: bool,
}

impl Handle {
    /// Calls the server with which the session is, and its successor if it goes away meanwhile. One that answers that it
    /// can't serve now is not the only one: the others are asked in turn. So the call must be one that can be repeated.
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
        let mut failure = None;
        let give_up = |failure: Option<Error>| Err(failure.unwrap_or_else(|| self.unavailable("no connection")));
        let (mut home, mut turn) = (None, 0);
        let (mut pause, mut is_repeated) = (FIRST_PAUSE, false);
        loop {
            let connection = tokio::select! {
                biased;
                connection = connections.wait_for(Option::is_some) => connection.map_err(|_| Error::Closed)?.clone(),
                () = sleep_until(answer_by.map_or(find_by, |answer_by| answer_by.min(find_by))) => return give_up(failure),
            };
            let Some(connection) = connection else { continue };
            if home.replace(connection.server) != Some(connection.server) {
                turn = 0;
            }
            let elsewhere = self.elsewhere(connection.server, turn);
            let is_at_home = elsewhere.is_none();
            let service = LockServiceClient::new(elsewhere.unwrap_or(connection.channel));
            let answer = tokio::select! {
                biased;
                answer = rpc(Attempt { service, sent: time(), is_repeated }) => answer,
                gone = until_gone(&mut connections), if is_at_home => {
                    gone.map_err(|_| Error::Closed)?;
                    Err(Status::unavailable("the connection broke"))
                }
                () = sleep_until_some(answer_by) => return give_up(failure),
            };
            match answer {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if !error::is_transient(&status) => return Err(Error::from_status(&status)),
                Err(status) => failure = Some(self.gone_wrong(&status)),
            }
            // There was a server. From now on, there has to be one again.
            find_by = time().saturating_add(timeout);
            (turn, is_repeated) = (turn + 1, true);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A connection to another server than the session's, if it is another one's turn.
    fn elsewhere(&self, home: usize, turn: usize) -> Option<Transport> {
        let servers = &self.config.servers;
        let server = (home + turn) % servers.len();
        let route = servers.get(server).filter(|_| server != home)?.route.clone();
        // The session's connection is watched by its pings. This one has to watch itself.
        let endpoint = route.endpoint.connect_timeout(self.config.attempt_timeout());
        let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE);
        Some(Route { endpoint, ..route }.connect_lazy())
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

/// Returns when the connection that was used last is gone, or of no use any more.
async fn until_gone(
    connections: &mut watch::Receiver<Option<Connection>>,
) -> std::result::Result<(), watch::error::RecvError> {
    loop {
        connections.changed().await?;
        if !connections.borrow_and_update().as_ref().is_some_and(|connection| connection.in_peace) {
            return Ok(());
        }
    }
}
