//! What the gate has to do with: asking it again, and what it takes away.

use std::collections::BTreeSet;

use super::{Command, HoldState, Machine};
use crate::command::{EndReason, Event, Knock, Lose};
use crate::gate::Gate;
use crate::resource::ResourceKey;
use crate::time::Now;

impl Command for Knock {
    type Outcome = ();

    fn run<G: Gate>(self, machine: &mut Machine<G>, now: Now) {
        machine.serve(now, &self.0);
    }
}

impl Command for Lose {
    type Outcome = ();

    fn run<G: Gate>(self, machine: &mut Machine<G>, now: Now) {
        let reason = EndReason::BackendLost;
        let mut touched = BTreeSet::new();
        for id in self.0 {
            let held = machine.holds.get(&id).is_some_and(|hold| matches!(hold.state, HoldState::Held { .. }));
            if held && let Some(hold) = machine.remove(id, Some(reason)) {
                let (to, resource) = (hold.session(), hold.resource);
                machine.events.push(Event::Ended { to, hold: id, resource: resource.clone(), reason });
                touched.insert(resource);
            }
        }
        for resource in touched {
            machine.serve(now, &resource);
        }
    }
}

impl<G: Gate> Machine<G> {
    /// The gate.
    pub fn gate(&mut self) -> &mut G {
        &mut self.gate
    }

    /// Whether the head of this queue waits for nothing but the gate.
    pub fn is_closed(&self, key: &ResourceKey) -> bool {
        self.resources.get(key).is_some_and(|resource| resource.closed)
    }
}
