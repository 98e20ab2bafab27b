//! Access control: who a caller is, and what that one may do.
//!
//! An access file says which tokens, JWT issuers and client certificates are known, and what their owners may do. It is
//! read again when it changes. Without it, and without certificates, everybody may do everything: the server then listens
//! on loopback only, unless told that this is fine.

mod certificate;
mod credentials;
mod door;
mod file;
pub(crate) mod fuzzing;
mod jwt;
mod key_set;
mod policy;
mod quota;
mod token;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use lockstead_core::{Name, ResourceKey, Scope};
use thiserror::Error;

pub use certificate::Certificate;
pub use door::Door;
pub use policy::{Action, Principal};
pub use quota::{Counted, CountedSession, CountedWait, OverQuota};
pub use token::Token;

use credentials::Credentials;
use policy::Policy;
use quota::Usage;

/// Why a caller is not let in. The sentence is for that caller.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unauthenticated {
    /// It said nothing.
    #[error("this server wants to know who asks: send a header `Authorization: Bearer TOKEN`, or a client certificate")]
    NoCredentials,
    /// What it said is not known, or not good any more.
    #[error("these credentials are not good here: {0}; whoever keeps the server's access file can give you others")]
    BadCredentials(&'static str),
    /// What would prove it can't be had now.
    #[error("the keys of the token's issuer can't be had just now, so nobody can tell whether the token is good")]
    KeysUnavailable,
}

/// What a caller may not do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// No rule allows it.
    #[error("`{principal}` may not {action} {what}; ask whoever keeps the server's access file for a rule")]
    Forbidden {
        /// Who asked.
        principal: String,
        /// For what.
        action: Action,
        /// Of what.
        what: String,
    },
    /// No rule is about the caller.
    #[error(
        "`{principal}` is known, but no rule allows it anything; ask whoever keeps the server's access file for one"
    )]
    Nothing {
        /// Who asked.
        principal: String,
    },
    /// The token that a stream was opened with is not known any more.
    #[error("the credentials that this stream was opened with are not good any more; connect again with newer ones")]
    Revoked,
}

/// An access file that can't be used.
#[derive(Debug, Error)]
#[error("the access file {path} {what}")]
pub struct AccessFileError {
    path: PathBuf,
    what: String,
}

/// Who may do what, as the access file says now. One for all callers.
#[derive(Debug)]
pub struct Access {
    policy: RwLock<Arc<Policy>>,
    /// Of those who have something, or asked a moment ago.
    usages: Mutex<HashMap<String, Arc<Usage>>>,
}

/// Who asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity(Option<Arc<Known>>);

/// A caller that was let in.
#[derive(Debug)]
struct Known {
    access: Arc<Access>,
    principal: Principal,
    usage: Arc<Usage>,
    /// If it came by a token of the file: which.
    token: Option<token::Digest>,
}

impl Access {
    /// As the file says.
    pub fn load(path: &Path) -> Result<Self, AccessFileError> {
        Ok(Self::with(read(path, &[])?))
    }

    /// Whoever has a good client certificate may do everything.
    pub fn for_certificates() -> Self {
        Self::with(Policy::for_certificates())
    }

    fn with(policy: Policy) -> Self {
        Self { policy: RwLock::new(Arc::new(policy)), usages: Mutex::default() }
    }

    /// Goes on with what the file says now. If it can't be used, nothing changes.
    pub fn reload(&self, path: &Path) -> Result<(), AccessFileError> {
        let policy = Arc::new(read(path, &self.policy().issuers)?);
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
        Ok(())
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds out who asks.
    pub(crate) async fn identify(self: &Arc<Self>, credentials: Credentials) -> Result<Identity, Unauthenticated> {
        let policy = self.policy();
        let (principal, token) = policy.identify(credentials).await?;
        let usage = self.usage(&principal);
        Ok(Identity(Some(Arc::new(Known { access: self.clone(), principal, usage, token }))))
    }

    fn usage(&self, principal: &Principal) -> Arc<Usage> {
        let mut usages = self.usages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(usage) = usages.get(&principal.name) {
            return usage.clone();
        }
        // Names come from outside, and there may be many.
        if usages.len() == usages.capacity() {
            let now = lockstead_clock::time();
            usages.retain(|_, usage| !usage.is_over(now));
        }
        usages.entry(principal.name.clone()).or_default().clone()
    }
}

/// Keys that are known for an issuer stay known.
fn read(path: &Path, known: &[jwt::Issuer]) -> Result<Policy, AccessFileError> {
    let wrong = |what| AccessFileError { path: path.to_owned(), what };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("can't be read: {error}")))?;
    file::parse(&text, known).map_err(|what| wrong(format!("is wrong: {what}")))
}

/// Tells the log of a refusal. Whoever is refused may come again at once, so of those within a second it is the first.
pub(crate) fn log_refusal(principal: Option<&str>, error: &dyn std::fmt::Display) {
    static LAST_SECOND: AtomicU64 = AtomicU64::new(0);
    let second = lockstead_clock::time().as_micros() / 1_000_000;
    if LAST_SECOND.swap(second, Ordering::Relaxed) != second {
        tracing::warn!(principal, %error, "a request was refused, and perhaps more within this second");
    }
}

impl Identity {
    /// Of a caller whom nobody asked.
    pub const fn anyone() -> Self {
        Self(None)
    }

    /// Its name, if it was asked for it.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|known| known.principal.name.as_str())
    }

    /// Whether it may do this to a resource of this name.
    pub fn check(&self, action: Action, scope: Scope, name: &Name) -> Result<(), Denied> {
        self.check_with(
            action,
            || format!("`{name}` in the {scope} scope"),
            |policy, principal| policy.allows(principal, action, scope, name.as_str()),
        )
    }

    /// Whether it may read every name that begins like this.
    pub fn check_prefix(&self, scope: Scope, prefix: &str) -> Result<(), Denied> {
        let what = || match prefix {
            "" => format!("all names of the {scope} scope"),
            prefix => format!("all names that begin with `{prefix}` in the {scope} scope"),
        };
        self.check_with(Action::Read, what, |policy, principal| {
            policy.allows_prefix(principal, Action::Read, scope, prefix)
        })
    }

    /// Whether it may do anything at all. Who is known but has no rule sees nothing of the server either.
    pub(crate) fn check_any(&self) -> Result<(), Denied> {
        let Some(known) = &self.0 else { return Ok(()) };
        if known.access.policy().allows_any(&known.principal) {
            return Ok(());
        }
        Err(Denied::Nothing { principal: known.principal.name.clone() })
    }

    /// Whether it may administer the server itself.
    pub fn check_server(&self) -> Result<(), Denied> {
        self.check_with(
            Action::Administer,
            || "the server; it takes a rule without a prefix".to_owned(),
            |policy, principal| policy.allows_prefix(principal, Action::Administer, Scope::Cluster, ""),
        )
    }

    fn check_with(
        &self,
        action: Action,
        what: impl FnOnce() -> String,
        allows: impl FnOnce(&Policy, &Principal) -> bool,
    ) -> Result<(), Denied> {
        let Some(known) = &self.0 else { return Ok(()) };
        let policy = known.access.policy();
        // What the file says of a token's owner now, not when it was shown.
        let principal = match &known.token {
            Some(token) => policy.owner_of(token).filter(|owner| owner.name == known.principal.name),
            None => Some(&known.principal),
        };
        if allows(&policy, principal.ok_or(Denied::Revoked)?) {
            return Ok(());
        }
        Err(Denied::Forbidden { principal: known.principal.name.clone(), action, what: what() })
    }

    /// Counts a request against the rate that it may ask at.
    pub fn count_request(&self) -> Result<(), OverQuota> {
        self.counted(|usage, quota| usage.count_request(quota, lockstead_clock::time()))
            .map_or(Ok(()), |counted| counted)
    }

    /// Counts a session, for as long as the value lives.
    pub fn count_session(&self) -> Result<Option<CountedSession>, OverQuota> {
        self.counted(Usage::count_session).transpose()
    }

    /// Counts a hold that is asked for, for as long as the value lives.
    pub fn count_hold(&self) -> Result<Option<Counted>, OverQuota> {
        self.counted(Usage::count_hold).transpose()
    }

    /// Counts a hold that it has already.
    pub fn count_held(&self) -> Option<Counted> {
        self.0.as_ref().map(|known| known.usage.count_held())
    }

    /// Counts a place in a queue, for as long as the value lives.
    pub fn count_wait(&self, scope: Scope, resource: ResourceKey) -> Result<Option<CountedWait>, OverQuota> {
        self.counted(|usage, quota| usage.count_wait(quota, scope, resource)).transpose()
    }

    fn counted<T>(&self, count: impl FnOnce(&Arc<Usage>, &quota::Quota) -> T) -> Option<T> {
        let known = self.0.as_ref()?;
        Some(count(&known.usage, known.access.policy().quota(&known.principal)))
    }
}
