//! JSON Web Tokens: those of OIDC providers and of Kubernetes' service accounts.

use std::sync::Arc;

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{AlgorithmFamily, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::Unauthenticated;
use super::key_set::KeySet;
use super::policy::Principal;

/// How far clocks may differ.
const LEEWAY_SECONDS: u64 = 10;

/// Who signs tokens, and for whom.
#[derive(Debug)]
pub(super) struct Issuer {
    /// As its tokens say it.
    pub(super) name: String,
    /// A token must be for one of these.
    pub(super) audience: Vec<String>,
    pub(super) keys: Arc<KeySet>,
    /// What of a token names its owner.
    pub(super) principal_claim: String,
    /// What of it lists the owner's groups.
    pub(super) groups_claim: String,
    /// Stands before the name and the groups, so that no other kind of credentials can name the same.
    pub(super) prefix: String,
}

/// The issuer that a token says it is of, if that one is known. Nothing is proved by it.
pub(super) fn issuer_of<'a>(issuers: &'a [Issuer], token: &str) -> Option<&'a Issuer> {
    if issuers.is_empty() || token.split('.').count() != 3 {
        return None;
    }
    let claims = insecure_decode_claims::<Map<String, Value>>(token).ok()?;
    let said = claims.get("iss")?.as_str()?;
    issuers.iter().find(|issuer| issuer.name == said)
}

impl Issuer {
    /// Whose token it is, if it is good.
    pub(super) async fn verify(&self, token: &str) -> Result<Principal, Unauthenticated> {
        let bad = Unauthenticated::BadCredentials;
        let header = decode_header(token).map_err(|_| bad("the token can't be read"))?;
        let key = self.keys.key(header.kid.as_deref()).await?;
        // A key that is published proves nothing if whoever has it can sign with it.
        if key.family() == AlgorithmFamily::Hmac {
            return Err(bad("the token is signed in a way that is not good enough"));
        }
        let mut validation = Validation::new_for_family(key.family());
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.name]);
        validation.set_audience(&self.audience);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        let claims = decode::<Map<String, Value>>(token, &key, &validation).map_err(|error| bad(why(error.kind())))?;
        self.principal(&claims.claims)
    }

    fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, Unauthenticated> {
        let nameless = Unauthenticated::BadCredentials("the token does not name its owner");
        let name = claims.get(&self.principal_claim).and_then(Value::as_str).filter(|name| !name.is_empty());
        let groups = claims.get(&self.groups_claim).and_then(Value::as_array);
        let groups = groups.into_iter().flatten().filter_map(Value::as_str);
        let groups = groups.map(|group| format!("{}{group}", self.prefix)).collect();
        Ok(Principal { name: format!("{}{}", self.prefix, name.ok_or(nameless)?), groups })
    }
}

fn why(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not good yet",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks its expiry, issuer or audience",
        _ => "the token is not one of its issuer's",
    }
}
