//! The access file as it is written, and its way to a policy.

use std::path::PathBuf;
use std::sync::Arc;

use axum::http::Uri;
use lockstead_core::Scope;
use lockstead_core::limits::NAME_MAX_BYTES;
use serde::Deserialize;

use super::certificate::Naming;
use super::jwt::Issuer;
use super::key_set::{KeySet, Source, Web};
use super::policy::{Action, Policy, Prefix, Principal, Rule, Who};
use super::quota::Quota;
use super::token::{Digest, Entry};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "token")]
    tokens: Vec<TokenTable>,
    #[serde(default, rename = "jwt")]
    issuers: Vec<JwtTable>,
    certificate: Option<CertificateTable>,
    #[serde(default, rename = "rule")]
    rules: Vec<RuleTable>,
    #[serde(default, rename = "quota")]
    quotas: Vec<QuotaTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenTable {
    principal: String,
    #[serde(default)]
    groups: Vec<String>,
    sha256: String,
    expires: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JwtTable {
    issuer: String,
    audience: Vec<String>,
    jwks_file: Option<PathBuf>,
    jwks_url: Option<String>,
    jwks_ca: Option<PathBuf>,
    jwks_token_file: Option<PathBuf>,
    #[serde(default = "sub")]
    principal_claim: String,
    #[serde(default = "groups")]
    groups_claim: String,
    #[serde(default)]
    prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateTable {
    #[serde(default)]
    prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    who: Vec<String>,
    may: Vec<Action>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    scopes: Vec<ScopeWord>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaTable {
    who: Vec<String>,
    sessions: Option<u32>,
    holds: Option<u32>,
    waiters_per_name: Option<u32>,
    requests_per_second: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ScopeWord {
    Cluster,
    Node,
}

fn sub() -> String {
    "sub".to_owned()
}

fn groups() -> String {
    "groups".to_owned()
}

/// Reads an access file. The error says what is wrong with it, and nothing that is secret.
pub(super) fn parse(text: &str, known: &[Issuer]) -> Result<Policy, String> {
    let file: File = toml::from_str(text).map_err(|error| without_values(text, &error))?;
    let tokens = file.tokens.into_iter().map(token).collect::<Result<Vec<_>, _>>()?;
    let issuers = file.issuers.into_iter().map(|table| issuer(table, known)).collect::<Result<Vec<_>, _>>()?;
    let rules = file.rules.into_iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    let quotas = file.quotas.into_iter().map(quota).collect::<Result<Vec<_>, _>>()?;
    let certificates = file.certificate.map(|table| Naming { prefix: table.prefix });
    if tokens.is_empty() && issuers.is_empty() && certificates.is_none() {
        return Err("it has no [[token]], no [[jwt]] and no [certificate], so nobody could be let in".to_owned());
    }
    let has_tokens = !tokens.is_empty();
    let prefixes = issuers.iter().map(|issuer| issuer.prefix.as_str());
    check_prefixes(has_tokens, prefixes.chain(certificates.iter().map(|naming| naming.prefix.as_str())).collect())?;
    Ok(Policy { tokens, issuers, certificates, rules, quotas })
}

/// What is wrong and where, without the line itself or a value in it, which may be a token.
fn without_values(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
    let told: String =
        error.message().split('"').enumerate().filter(|(at, _)| at % 2 == 0).map(|(_, part)| part).collect();
    format!("line {line}: {told}")
}

/// Nobody may have the name, or the groups, that somebody has who is known in another way.
fn check_prefixes(has_tokens: bool, mut prefixes: Vec<&str>) -> Result<(), String> {
    let is_alone = !has_tokens && prefixes.len() == 1;
    prefixes.sort_unstable();
    let is_doubtful = prefixes.contains(&"") || prefixes.windows(2).any(|pair| pair[0] == pair[1]);
    if is_alone || !is_doubtful {
        return Ok(());
    }
    let why = "there is more than one way to be known, so each [[jwt]] and the [certificate] needs a prefix of its own, such as \
               prefix = \"k8s:\"; else a name or group of one could stand for that of another";
    Err(why.to_owned())
}

fn token(table: TokenTable) -> Result<Entry, String> {
    let TokenTable { principal, groups, sha256, expires } = table;
    if principal.is_empty() {
        return Err("the principal of a [[token]] is empty".to_owned());
    }
    let no_digest = "is no SHA-256 of 64 hexadecimal digits; `lockstead token` makes a token and its entry";
    let digest =
        Digest::parse(&sha256).ok_or_else(|| format!("the sha256 of the token of `{principal}` {no_digest}"))?;
    let time = |text: String| {
        let no_time = |_| format!("the expiry of the token of `{principal}` is no time such as 2027-01-31T00:00:00Z");
        text.parse::<jiff::Timestamp>().map_err(no_time)
    };
    let expires = expires.map(time).transpose()?;
    Ok(Entry { digest, principal: Principal { name: principal, groups }, expires })
}

fn issuer(table: JwtTable, known: &[Issuer]) -> Result<Issuer, String> {
    let of = format!("the [[jwt]] of `{}`", table.issuer);
    if table.issuer.is_empty() || table.audience.is_empty() || table.audience.iter().any(String::is_empty) {
        return Err(format!("{of} must name an issuer and an audience"));
    }
    let source = match (table.jwks_file, table.jwks_url) {
        (Some(path), None) => Source::File(path),
        (None, Some(address)) => {
            let address = address.parse::<Uri>().ok().filter(|address| address.host().is_some());
            let address =
                address.ok_or_else(|| format!("{of} has a jwks_url that is no address; write https://HOST/PATH"))?;
            let is_near =
                address.host().is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]");
            if address.scheme_str() != Some("https") && !is_near {
                return Err(format!(
                    "{of} has a jwks_url without TLS, so anybody on the way could be the issuer; write https://"
                ));
            }
            let web = Web { address, authorities: table.jwks_ca, token: table.jwks_token_file };
            web.client().map_err(|why| format!("{of}: {why}"))?;
            Source::Web(web)
        }
        _ => return Err(format!("{of} must say where its keys are: either jwks_url or jwks_file")),
    };
    Ok(Issuer {
        name: table.issuer,
        audience: table.audience,
        keys: keys_from(source, known),
        principal_claim: table.principal_claim,
        groups_claim: table.groups_claim,
        prefix: table.prefix,
    })
}

/// Those that are there already, if they come from the same place: it may be out of reach just now.
fn keys_from(source: Source, known: &[Issuer]) -> Arc<KeySet> {
    let same = known.iter().find(|issuer| *issuer.keys.source() == source);
    same.map_or_else(|| Arc::new(KeySet::new(source)), |issuer| issuer.keys.clone())
}

fn rule(table: RuleTable) -> Result<Rule, String> {
    let RuleTable { who, may, prefix, scopes } = table;
    if may.is_empty() {
        return Err("a [[rule]] allows nothing: its `may` is empty".to_owned());
    }
    if prefix.len() > NAME_MAX_BYTES || prefix.starts_with('/') {
        return Err(format!("no name begins like the prefix `{prefix}` of a [[rule]]"));
    }
    let scopes = scopes.into_iter().map(|scope| match scope {
        ScopeWord::Cluster => Scope::Cluster,
        ScopeWord::Node => Scope::Node,
    });
    Ok(Rule { who: people(&who, "[[rule]]")?, may, prefix: Prefix::new(prefix), scopes: scopes.collect() })
}

fn quota(table: QuotaTable) -> Result<(Vec<Who>, Quota), String> {
    let QuotaTable { who, sessions, holds, waiters_per_name, requests_per_second } = table;
    Ok((people(&who, "[[quota]]")?, Quota { sessions, holds, waiters_per_name, requests_per_second }))
}

fn people(who: &[String], of: &str) -> Result<Vec<Who>, String> {
    if who.is_empty() || who.iter().any(String::is_empty) {
        return Err(format!("a {of} is about nobody: its `who` is empty"));
    }
    Ok(who.iter().map(|text| Who::parse(text)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[tokio::test]
    async fn a_file_is_read() {
        let text = format!(
            "[[token]]\nprincipal = 'ci'\ngroups = ['builders']\nsha256 = '{DIGEST}'\nexpires = '2100-01-01T00:00:00Z'\n\
             [[jwt]]\nissuer = 'i'\naudience = ['lockstead']\njwks_file = '/keys.json'\nprefix = 'k8s:'\n\
             [certificate]\nprefix = 'cert:'\n\
             [[rule]]\nwho = ['group:builders']\nmay = ['acquire', 'read']\nprefix = 'ci/'\nscopes = ['cluster']\n\
             [[quota]]\nwho = ['*']\nholds = 5"
        );
        let policy = parse(&text, &[]).unwrap();
        let ci = &policy.tokens[0].principal;
        assert!(policy.allows(ci, Action::Acquire, Scope::Cluster, "ci/a"));
        assert!(!policy.allows(ci, Action::Acquire, Scope::Node, "ci/a"));
        assert!(!policy.allows(ci, Action::Administer, Scope::Cluster, "ci/a"));
        assert!(!policy.allows(ci, Action::Acquire, Scope::Cluster, "other"));
        assert_eq!(policy.quota(ci), &Quota { holds: Some(5), ..Quota::NONE });
        assert_eq!(policy.owner_of(&Digest::of("abc")), Some(ci));
        assert_eq!(policy.owner_of(&Digest::of("abd")), None);
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let token = format!("[[token]]\nprincipal = 'ci'\nsha256 = '{DIGEST}'\n");
        for (text, told) in [
            ("", "nobody could be let in"),
            ("[[tokens]]", "tokens"),
            ("[[token]]\nprincipal = 'ci'\nsha256 = 'abc'", "token of `ci`"),
            ("[[token]]\nprincipal = ''\nsha256 = 'abc'", "principal of a [[token]]"),
            (&format!("{token}expires = 'tomorrow'"), "expiry of the token of `ci`"),
            (&format!("{token}[[rule]]\nwho = []\nmay = ['read']"), "about nobody"),
            (&format!("{token}[[rule]]\nwho = ['ci']\nmay = []"), "allows nothing"),
            (&format!("{token}[[rule]]\nwho = ['ci']\nmay = ['write']"), "write"),
            (&format!("{token}[[rule]]\nwho = ['ci']\nmay = ['read']\nprefix = '/a'"), "`/a`"),
            (&format!("{token}[[quota]]\nwho = ['ci']\nholds = -1"), "-1"),
            ("[[jwt]]\nissuer = 'i'\naudience = ['a']", "either jwks_url or jwks_file"),
            ("[[jwt]]\nissuer = 'i'\naudience = []\njwks_file = '/k'", "an audience"),
            ("lockstead_hunter2", "line 1: "),
            ("a = 1\nsha256 = hunter2", "line 2: "),
            (&format!("{token}groups = 'hunter2'"), "line 4: "),
            (&format!("{token}[certificate]"), "a prefix of its own"),
            ("[[jwt]]\nissuer = 'i'\naudience = ['a']\njwks_url = 'http://k/keys'", "without TLS"),
            ("[[jwt]]\nissuer = 'i'\naudience = ['a']\njwks_url = '/k'", "jwks_url that is no address"),
            ("[[jwt]]\nissuer = 'i'\naudience = ['a']\njwks_url = 'https://k'\njwks_ca = '/nowhere'", "/nowhere"),
        ] {
            let error = parse(text, &[]).unwrap_err();
            assert!(error.contains(told) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
