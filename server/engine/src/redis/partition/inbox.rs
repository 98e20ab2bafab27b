//! What other servers' calls have to say to this one.

use std::collections::VecDeque;

use redis::Value;
use tokio::sync::mpsc;

use super::Break;
use super::news::News;

/// The pushes of one subscription, in their order.
pub(in crate::redis) struct Inbox {
    arriving: mpsc::UnboundedReceiver<Vec<u8>>,
    arrived: VecDeque<Push>,
}

/// Redis counts what it sends to each server, so that a gap shows.
pub(super) struct Push {
    pub(super) count: u64,
    pub(super) news: News,
}

impl Inbox {
    pub(super) fn new() -> (mpsc::UnboundedSender<Vec<u8>>, Self) {
        let (sender, arriving) = mpsc::unbounded_channel();
        (sender, Self { arriving, arrived: VecDeque::new() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// Returns when there is something more, or the connection is closed.
    pub(super) async fn more(&mut self) -> Result<(), Break> {
        let push = self.arriving.recv().await.ok_or(Break::Rejoin)?;
        self.take(&push)
    }

    /// Takes in what has come.
    pub(super) fn take_all(&mut self) -> Result<(), Break> {
        while let Ok(push) = self.arriving.try_recv() {
            self.take(&push)?;
        }
        Ok(())
    }

    /// The oldest, if it is among the first `up_to`.
    pub(super) fn next(&mut self, up_to: u64) -> Option<Push> {
        let is_due = self.arrived.front().is_some_and(|push| push.count <= up_to);
        if is_due { self.arrived.pop_front() } else { None }
    }

    fn take(&mut self, push: &[u8]) -> Result<(), Break> {
        // What can't be read can't be left out either.
        self.arrived.push_back(Push::read(push).ok_or(Break::Rejoin)?);
        Ok(())
    }
}

impl Push {
    fn read(push: &[u8]) -> Option<Self> {
        let Packed(count, event) = rmp_serde::from_slice(push).ok()?;
        Some(Self { count, news: News::read(&event.into_value())? })
    }
}

/// What `cmsgpack` wrote.
#[derive(serde::Deserialize)]
struct Packed(u64, PackedValue);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum PackedValue {
    Number(u64),
    Array(Vec<PackedValue>),
    Bytes(serde_bytes::ByteBuf),
}

impl PackedValue {
    fn into_value(self) -> Value {
        match self {
            Self::Number(number) => Value::Int(i64::try_from(number).unwrap_or(i64::MAX)),
            Self::Array(values) => Value::Array(values.into_iter().map(Self::into_value).collect()),
            Self::Bytes(bytes) => Value::BulkString(bytes.into_vec()),
        }
    }
}
