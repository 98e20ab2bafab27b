//! Get and list.

use std::ops::Bound;

use super::{Command, Machine};
use crate::command::{Get, List};
use crate::gate::Gate;
use crate::limits::{DESCRIBED_PARTIES_MAX, PAGE_BYTES_MAX};
use crate::name::Name;
use crate::resource::{Kind, Resource, ResourceKey};
use crate::time::Now;
use crate::view::{HolderView, ResourceView, WaiterView};

impl Command for Get {
    type Outcome = ResourceView;

    fn run<G: Gate>(self, machine: &mut Machine<G>, _: Now) -> ResourceView {
        match machine.resources.get(&self.0) {
            Some(resource) => machine.view(&self.0, resource),
            None => ResourceView {
                key: self.0,
                limit: None,
                holders: Vec::new(),
                waiters: Vec::new(),
                holder_count: 0,
                waiter_count: 0,
            },
        }
    }
}

impl Command for List {
    type Outcome = Vec<ResourceView>;

    fn run<G: Gate>(self, machine: &mut Machine<G>, _: Now) -> Vec<ResourceView> {
        let key = |name| ResourceKey { kind: self.kind, name };
        let from = match self.after {
            Some(after) if after.as_str() >= self.prefix.as_str() => Bound::Excluded(key(after)),
            _ => Bound::Included(key(Name::lower_bound(&self.prefix))),
        };
        let mut bytes = 0;
        machine
            .resources
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| key.kind == self.kind && key.name.as_str().starts_with(&self.prefix))
            .take(self.at_most)
            .map_while(|(key, resource)| {
                let view = (bytes < PAGE_BYTES_MAX).then(|| machine.view(key, resource))?;
                bytes += view.size();
                Some(view)
            })
            .collect()
    }
}

impl<G: Gate> Machine<G> {
    fn view(&self, key: &ResourceKey, resource: &Resource) -> ResourceView {
        let waiters = resource.queue.iter().take(DESCRIBED_PARTIES_MAX).enumerate();
        ResourceView {
            key: key.clone(),
            limit: (key.kind == Kind::Semaphore).then_some(resource.limit),
            holders: self.holder_views(resource, DESCRIBED_PARTIES_MAX),
            waiters: waiters
                .filter_map(|(index, (_, id))| {
                    let hold = self.holds.get(&id)?;
                    let (owner, claim, queued_at) = (hold.owner.clone(), hold.claim, hold.since);
                    Some(WaiterView { owner, claim, queued_at, position: index + 1 })
                })
                .collect(),
            holder_count: resource.holders.len(),
            waiter_count: resource.queue.len(),
        }
    }

    pub(super) fn holder_views(&self, resource: &Resource, at_most: usize) -> Vec<HolderView> {
        let view = |(token, id)| {
            let hold = self.holds.get(&id)?;
            Some(HolderView {
                owner: hold.owner.clone(),
                metadata: hold.metadata.clone(),
                token,
                claim: hold.claim,
                acquired_at: hold.since,
                expires_at: hold.state.deadline().map(|deadline| deadline.wall),
            })
        };
        resource.holders.iter().take(at_most).filter_map(view).collect()
    }
}
