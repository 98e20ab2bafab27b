//! Somebody who signs tokens, as an OIDC provider or Kubernetes would.

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};

/// An issuer with one key.
pub(crate) struct Issuer {
    name: String,
    key_id: String,
    key: EncodingKey,
}

impl Issuer {
    pub(crate) fn new(name: &str) -> Self {
        Self::with_key_id(name, "key-1")
    }

    pub(crate) fn with_key_id(name: &str, key_id: &str) -> Self {
        // On the curve P-256.
        let key = KeyPair::generate().unwrap();
        Self { name: name.to_owned(), key_id: key_id.to_owned(), key: EncodingKey::from_ec_der(key.serialized_der()) }
    }

    /// What it publishes.
    pub(crate) fn key_set(&self) -> String {
        let mut key = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        key.common.key_id = Some(self.key_id.clone());
        json!({ "keys": [key] }).to_string()
    }

    /// A good token of this owner.
    pub(crate) fn token(&self, owner: &str) -> String {
        self.token_with(&json!({ "sub": owner }))
    }

    /// A token that says this, and for the rest what a good one says.
    pub(crate) fn token_with(&self, claims: &Value) -> String {
        let mut all = json!({ "iss": self.name, "aud": "lockstead", "exp": seconds_from_now(600) });
        for (claim, value) in claims.as_object().unwrap() {
            all[claim] = value.clone();
        }
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, &all, &self.key).unwrap()
    }
}

/// A time as tokens say it.
pub(crate) fn seconds_from_now(seconds: i64) -> i64 {
    i64::try_from(lockstead_clock::wall_time().as_micros() / 1_000_000).unwrap() + seconds
}
