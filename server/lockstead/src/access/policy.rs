//! The rules: who may do what with which names.

use std::fmt;

use lockstead_core::Scope;
use serde::Deserialize;

use super::Unauthenticated;
use super::certificate;
use super::credentials::Credentials;
use super::jwt::{self, Issuer};
use super::quota::Quota;
use super::token::{self, Digest};

/// What can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Acquire, renew, release, hold.
    Acquire,
    /// See who holds and who waits.
    Read,
    /// See what concerns others: the sessions of the server.
    Administer,
}

/// Whom credentials stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// As rules name it.
    pub name: String,
    /// As rules name them after `group:`.
    pub groups: Vec<String>,
}

/// An access file, checked.
#[derive(Debug, Default)]
pub(super) struct Policy {
    pub(super) tokens: Vec<token::Entry>,
    pub(super) issuers: Vec<Issuer>,
    pub(super) certificates: Option<certificate::Naming>,
    pub(super) rules: Vec<Rule>,
    /// The first that is about somebody counts.
    pub(super) quotas: Vec<(Vec<Who>, Quota)>,
}

/// Allows something. What no rule allows is refused.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) who: Vec<Who>,
    pub(super) may: Vec<Action>,
    pub(super) prefix: Prefix,
    /// Empty: every scope.
    pub(super) scopes: Vec<Scope>,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// `ci`
    Named(String),
    /// `system:serviceaccount:shop:*`, or `*` for everybody who is known.
    Beginning(String),
    /// `group:builders`
    Member(String),
}

/// The names that a rule is about: a level and all below it, or what begins with a text that ends with a `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prefix(String);

impl Policy {
    pub(super) fn for_certificates() -> Self {
        let everything = Rule {
            who: vec![Who::parse("*")],
            may: vec![Action::Acquire, Action::Read, Action::Administer],
            prefix: Prefix::default(),
            scopes: Vec::new(),
        };
        Self { certificates: Some(certificate::Naming::default()), rules: vec![everything], ..Self::default() }
    }

    /// Whose credentials these are; of a token of the file, also which.
    pub(super) async fn identify(
        &self,
        credentials: Credentials,
    ) -> Result<(Principal, Option<Digest>), Unauthenticated> {
        match credentials {
            Credentials::Certificate(certificate) => {
                let naming = self.certificates.as_ref();
                let unwanted = Unauthenticated::BadCredentials("client certificates are not wanted, but a token");
                Ok((naming.ok_or(unwanted)?.principal(&certificate)?, None))
            }
            Credentials::Bearer(token) => {
                if let Some(issuer) = jwt::issuer_of(&self.issuers, &token) {
                    return Ok((issuer.verify(&token).await?, None));
                }
                let digest = Digest::of(&token);
                let unknown = Unauthenticated::BadCredentials("the token is not known");
                let entry = token::find(&self.tokens, &digest).ok_or(unknown)?;
                if entry.is_expired() {
                    return Err(Unauthenticated::BadCredentials("the token has expired"));
                }
                Ok((entry.principal.clone(), Some(digest)))
            }
        }
    }

    /// Whose a token is, if it is still good.
    pub(super) fn owner_of(&self, digest: &Digest) -> Option<&Principal> {
        token::find(&self.tokens, digest).filter(|entry| !entry.is_expired()).map(|entry| &entry.principal)
    }

    pub(super) fn allows(&self, principal: &Principal, action: Action, scope: Scope, name: &str) -> bool {
        self.rules_for(principal, action, scope).any(|rule| rule.prefix.covers(name))
    }

    /// Whether there is a rule about this one at all.
    pub(super) fn allows_any(&self, principal: &Principal) -> bool {
        self.rules.iter().any(|rule| rule.who.iter().any(|who| who.is(principal)))
    }

    /// Whether it is allowed for every name with this beginning.
    pub(super) fn allows_prefix(&self, principal: &Principal, action: Action, scope: Scope, prefix: &str) -> bool {
        self.rules_for(principal, action, scope).any(|rule| rule.prefix.covers_all(prefix))
    }

    fn rules_for<'a>(
        &'a self,
        principal: &'a Principal,
        action: Action,
        scope: Scope,
    ) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| {
            rule.may.contains(&action)
                && (rule.scopes.is_empty() || rule.scopes.contains(&scope))
                && rule.who.iter().any(|who| who.is(principal))
        })
    }

    /// How much somebody may use.
    pub(super) fn quota(&self, principal: &Principal) -> &Quota {
        let found = self.quotas.iter().find(|(who, _)| who.iter().any(|who| who.is(principal)));
        found.map_or(&Quota::NONE, |(_, quota)| quota)
    }
}

impl token::Entry {
    fn is_expired(&self) -> bool {
        let now = i64::try_from(lockstead_clock::wall_time().as_micros()).unwrap_or(i64::MAX);
        self.expires.is_some_and(|expires| now >= expires.as_microsecond())
    }
}

impl Who {
    pub(super) fn parse(text: &str) -> Self {
        if let Some(group) = text.strip_prefix("group:") {
            return Self::Member(group.to_owned());
        }
        match text.strip_suffix('*') {
            Some(beginning) => Self::Beginning(beginning.to_owned()),
            None => Self::Named(text.to_owned()),
        }
    }

    fn is(&self, principal: &Principal) -> bool {
        match self {
            Self::Named(name) => principal.name == *name,
            Self::Beginning(beginning) => principal.name.starts_with(beginning),
            Self::Member(group) => principal.groups.contains(group),
        }
    }
}

impl Prefix {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// `shop` covers `shop` and `shop/till`, but not `shopping`.
    fn covers(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(&self.0) else { return false };
        rest.is_empty() || self.ends_a_level() || rest.starts_with('/')
    }

    /// Whether every name with this beginning is covered.
    fn covers_all(&self, beginning: &str) -> bool {
        let Some(rest) = beginning.strip_prefix(&self.0) else { return false };
        self.ends_a_level() || rest.starts_with('/')
    }

    fn ends_a_level(&self) -> bool {
        self.0.is_empty() || self.0.ends_with('/')
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Acquire => "acquire",
            Self::Read => "read",
            Self::Administer => "administer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::new(text.to_owned())
    }

    #[test]
    fn a_prefix_ends_where_a_level_ends() {
        for (of, covered, not_covered) in [
            ("", &["a", "a/b"][..], &[][..]),
            ("shop", &["shop", "shop/till"], &["shopping", "shoe", "a/shop"]),
            ("shop/", &["shop/till", "shop/a/b"], &["shop", "shopping/"]),
            ("a/b", &["a/b", "a/b/c"], &["a", "a/bc"]),
        ] {
            assert!(covered.iter().all(|name| prefix(of).covers(name)), "{of}");
            assert!(!not_covered.iter().any(|name| prefix(of).covers(name)), "{of}");
        }
    }

    #[test]
    fn a_list_is_covered_as_a_whole_or_not() {
        for (of, covered, not_covered) in [
            ("", &["", "a"][..], &[][..]),
            ("shop", &["shop/", "shop/t"], &["", "shop", "shopping", "s"]),
            ("shop/", &["shop/", "shop/t"], &["", "shop"]),
        ] {
            assert!(covered.iter().all(|beginning| prefix(of).covers_all(beginning)), "{of}");
            assert!(!not_covered.iter().any(|beginning| prefix(of).covers_all(beginning)), "{of}");
        }
    }

    #[test]
    fn people_are_named_in_three_ways() {
        let principal = Principal { name: "app:till".to_owned(), groups: vec!["shop".to_owned()] };
        for (text, is) in [
            ("app:till", true),
            ("app:*", true),
            ("*", true),
            ("group:shop", true),
            ("app", false),
            ("app:till2", false),
            ("shop", false),
            ("group:*", false),
        ] {
            assert_eq!(Who::parse(text).is(&principal), is, "{text}");
        }
    }
}
