//! The service as one caller may use it.

use std::ops::Deref;

use lockstead_core::{Name, Owner, RequestId, Scope, Wait};
use sha2::{Digest, Sha256};

use super::Service;
use super::error::Result;
use super::request::Ask;
use crate::access::{Action, Counted, CountedWait, Identity, log_refusal};

/// The service, and who uses it. Whatever a request may ask for is a method of this, so nobody can forget to say who asks.
#[derive(Clone)]
pub struct Caller {
    service: Service,
    identity: Identity,
}

impl Service {
    /// What this caller can ask for.
    pub fn caller(&self, identity: Identity) -> Caller {
        Caller { service: self.clone(), identity }
    }
}

impl Caller {
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The service for everybody, to take along.
    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    /// Lets a request go on that wants to see something.
    pub(super) fn may_read(&self, scope: Scope, name: &Name) -> Result<()> {
        self.may(|identity| identity.check(Action::Read, scope, name))
    }

    /// The same, of everything that begins like this.
    pub(super) fn may_list(&self, scope: Scope, prefix: &str) -> Result<()> {
        self.may(|identity| identity.check_prefix(scope, prefix))
    }

    /// The same, of the server itself.
    pub(super) fn may_administer_server(&self) -> Result<()> {
        self.may(Identity::check_server)
    }

    /// Lets a request go on that wants to acquire. Whoever does not say who holds has its principal for an owner.
    pub(super) fn may_acquire(&self, ask: &mut Ask) -> Result<()> {
        self.may(Identity::count_request)?;
        self.may(|identity| identity.check(Action::Acquire, ask.scope, &ask.name))?;
        if ask.owner.as_str().is_empty()
            && let Some(name) = self.identity.name()
        {
            ask.owner = Owner::parse(name).unwrap_or_default();
        }
        Ok(())
    }

    /// Counts a hold that is asked for, for as long as the value lives.
    pub(super) fn count_hold(&self) -> Result<Option<Counted>> {
        self.identity.count_hold().or_else(|_| {
            // Some leases may have ended without a word.
            self.service.router.leases.sweep();
            self.may(Identity::count_hold)
        })
    }

    /// Counts the place in a queue that an acquire may take, for as long as the value lives.
    pub(super) fn count_place(&self, ask: &Ask) -> Result<Option<CountedWait>> {
        if ask.wait == Wait::No {
            return Ok(None);
        }
        self.may(|identity| identity.count_wait(ask.scope, ask.resource()))
    }

    /// Lets a request go on that is about a hold which the caller has. It costs nothing: whoever may not give back keeps.
    pub(super) fn may_keep(&self, scope: Scope, name: &Name) -> Result<()> {
        self.may(|identity| identity.check(Action::Acquire, scope, name))
    }

    /// Lets anything go on that costs.
    pub(super) fn may_ask(&self) -> Result<()> {
        self.may(Identity::count_request)
    }

    /// Tells the metrics of what is refused.
    pub(super) fn may<T, E: Into<super::Error>>(
        &self,
        check: impl FnOnce(&Identity) -> std::result::Result<T, E>,
    ) -> Result<T> {
        check(&self.identity).map_err(|refused| {
            let refused = refused.into();
            self.service.metrics.refused(&refused);
            log_refusal(self.identity.name(), &refused);
            refused
        })
    }

    /// A request id as the engines see it: nobody else's requests are repeated by guessing theirs.
    pub(super) fn own_request_id(&self, id: RequestId) -> RequestId {
        let Some(name) = self.identity.name() else { return id };
        let mut hash = Sha256::new();
        hash.update(name.len().to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(id.as_str().as_bytes());
        let text = hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        // A hash in hexadecimal digits is one.
        RequestId::parse(&text).unwrap_or(id)
    }
}

impl Deref for Caller {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}
