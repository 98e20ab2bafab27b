//! A stream that a session is attached to.

use std::collections::VecDeque;

use futures::StreamExt;
use futures::stream::BoxStream;
use lockstead_core::limits::REPLIES_IN_FLIGHT_MAX;
use tokio::sync::mpsc;

use super::message::{Message, Reply};
use crate::service::error::Error;

/// What the client says. `None`, or an error, means that nothing more will come: the stream broke.
pub type Inbound = BoxStream<'static, Result<Message, Error>>;

/// What the transport writes: replies, and at the end possibly an error.
pub type OutboundItem = Result<Reply, Error>;

/// Where replies go.
pub type Outbound = mpsc::Sender<OutboundItem>;

/// A channel for one attachment's replies.
pub fn attachment_channel() -> (Outbound, mpsc::Receiver<OutboundItem>) {
    mpsc::channel(REPLIES_IN_FLIGHT_MAX)
}

/// Both directions of a stream, with back-pressure: what the client does not read piles up here and not in the channel,
/// and while there is a pile the client is not read.
pub(super) struct Attachment {
    inbound: Inbound,
    outbound: Outbound,
    pile: VecDeque<OutboundItem>,
}

/// What an attachment has to tell.
pub(super) enum Heard {
    /// A message.
    Message(Message),
    /// Replies that had piled up were written.
    Written,
    /// The client said something that can't be read, which ends the stream.
    Unreadable(Error),
    /// The stream broke.
    Broken,
}

impl Attachment {
    pub(super) fn new(inbound: Inbound, outbound: Outbound) -> Self {
        Self { inbound, outbound, pile: VecDeque::new() }
    }

    /// Writes as soon as the transport takes it, in order.
    pub(super) fn send(&mut self, item: OutboundItem) {
        if self.pile.is_empty() {
            match self.outbound.try_send(item) {
                Err(mpsc::error::TrySendError::Full(item)) => self.pile.push_back(item),
                // A closed one is a broken stream, which `hear` finds.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        } else {
            self.pile.push_back(item);
        }
    }

    /// Returns when something happens on the stream. Safe to drop and call again.
    pub(super) async fn hear(&mut self) -> Heard {
        if self.pile.is_empty() {
            tokio::select! {
                biased;
                next = self.inbound.next() => match next {
                    Some(Ok(message)) => Heard::Message(message),
                    Some(Err(error)) => Heard::Unreadable(error),
                    None => Heard::Broken,
                },
                () = self.outbound.closed() => Heard::Broken,
            }
        } else {
            match self.outbound.reserve().await {
                Ok(permit) => {
                    if let Some(item) = self.pile.pop_front() {
                        permit.send(item);
                    }
                    Heard::Written
                }
                Err(_) => Heard::Broken,
            }
        }
    }

    /// The next message, if it has arrived already and may be read now.
    pub(super) fn hear_now(&mut self) -> Option<Heard> {
        use futures::FutureExt;
        if !self.pile.is_empty() {
            return None;
        }
        match self.inbound.next().now_or_never()? {
            Some(Ok(message)) => Some(Heard::Message(message)),
            Some(Err(error)) => Some(Heard::Unreadable(error)),
            None => Some(Heard::Broken),
        }
    }
}
