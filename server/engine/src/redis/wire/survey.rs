//! Finding out which node has which partition.

use std::sync::Arc;

use super::Shared;
use super::error::WireError;
use super::routes::{Map, read_slots};
use super::sentinel::primary_known_to;
use super::target::{Address, Guide};

impl Shared {
    /// Asks those who should know, one after the other, until one does.
    pub(super) async fn survey(self: &Arc<Self>) -> Result<Map, WireError> {
        let mut failure = None;
        for address in self.whom_to_ask() {
            let answer = match &self.target.guide {
                Guide::Nodes => self.ask_node(&address).await,
                Guide::Sentinels { primary } => {
                    primary_known_to(&address, &self.target, primary, self.answer_within).await.map(Map::One)
                }
            };
            match answer {
                Ok(map) => return Ok(map),
                // What must be mended is told first.
                Err(error) => {
                    if !matches!(failure, Some(WireError::Misconfigured(_))) {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| WireError::Misconfigured("--redis names no node".to_owned())))
    }

    async fn ask_node(self: &Arc<Self>, node: &Address) -> Result<Map, WireError> {
        let connection = self.connection(node, None).await?;
        if connection.info.is_in_cluster {
            let slots = connection.ask_one(redis::pipe().cmd("CLUSTER").arg("SLOTS")).await?;
            return read_slots(slots, node);
        }
        if self.target.addresses.len() > 1 {
            return Err(WireError::Misconfigured(format!(
                "--redis names several nodes, but {node} is not in a Cluster; name one, or its Sentinels by redis+sentinel://"
            )));
        }
        Ok(Map::One(node.clone()))
    }

    /// In a new order each time, or one that knows less than the others would always be believed. Nodes that are
    /// connected come first: the others may have gone.
    fn whom_to_ask(&self) -> Vec<Address> {
        let mut state = self.state();
        let mut all = self.target.addresses.clone();
        if matches!(self.target.guide, Guide::Nodes) {
            let more: Vec<_> = state.nodes.iter().filter(|node| !all.contains(node)).cloned().collect();
            all.extend(more);
        }
        let turn = state.surveys % all.len();
        state.surveys += 1;
        all.rotate_left(turn);
        all.sort_by_key(|node| !state.is_connected(node));
        all
    }
}
