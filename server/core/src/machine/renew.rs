//! Renew.

use super::{Command, Deadline, Ends, HoldState, Machine};
use crate::command::{Grant, Refusal, Renew};
use crate::gate::Gate;
use crate::time::Now;

impl Command for Renew {
    type Outcome = Result<Grant, Refusal>;

    fn run<G: Gate>(self, machine: &mut Machine<G>, now: Now) -> Self::Outcome {
        let id = self.hold;
        let Some(hold) = machine.holds.get_mut(&id).filter(|hold| hold.resource == self.resource) else {
            return Err(machine.why_not_held(id, Some(&self.resource)));
        };
        let HoldState::Held { ends, .. } = &mut hold.state else { return Err(Refusal::HoldNotFound) };
        let Ends::At(deadline) = ends else { return Err(Refusal::NotALease) };
        let old = *deadline;
        let ttl = self.ttl.unwrap_or(old.ttl);
        *deadline = Deadline::after(now, ttl);
        let new = *deadline;
        machine.deadlines.remove(&(old.at, id));
        machine.deadlines.insert((new.at, id));
        machine.describe_grant(id).ok_or(Refusal::HoldNotFound)
    }
}
