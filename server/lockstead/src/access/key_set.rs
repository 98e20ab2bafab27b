//! The keys that an issuer signs with, fetched from where it publishes them (a JSON Web Key Set).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{JwkSet, PublicKeyUse};
use tokio::sync::{Notify, watch};

use super::Unauthenticated;

/// How often they are fetched again, in case that some were withdrawn.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// Between two fetches, whatever tokens come: those with keys that do not exist must not load the issuer.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a fetch may take, and how long a caller waits for one.
const FETCH_WITHIN: Duration = Duration::from_secs(5);
const BYTES_MAX: usize = 1 << 20;

/// Where keys are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(PathBuf),
    Web(Web),
}

/// An address, and files that say how to go there. They are read for each fetch, since they may be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Web {
    pub(super) address: Uri,
    /// To be trusted instead of the system's.
    pub(super) authorities: Option<PathBuf>,
    /// A token to show there, as Kubernetes may want it.
    pub(super) token: Option<PathBuf>,
}

/// The keys as they were last, and a task that looks for newer ones. The task ends with this value.
#[derive(Debug)]
pub(super) struct KeySet {
    source: Source,
    keys: watch::Receiver<Fetched>,
    wanted: Arc<Notify>,
}

/// The outcome of the fetches until now.
#[derive(Clone, Default)]
struct Fetched {
    /// Of the last fetch that went well.
    keys: Option<Arc<Vec<Key>>>,
    /// How many there were.
    fetches: u64,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
}

impl KeySet {
    /// Must be called within a runtime, in which its task then lives.
    pub(super) fn new(source: Source) -> Self {
        let (fetched, keys) = watch::channel(Fetched::default());
        let wanted = Arc::new(Notify::new());
        tokio::spawn(keep_fresh(source.clone(), fetched, wanted.clone()));
        Self { source, keys, wanted }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The key with this id. Without one, the only key there is.
    pub(super) async fn key(&self, id: Option<&str>) -> Result<DecodingKey, Unauthenticated> {
        let mut keys = self.keys.clone();
        let first = keys.borrow_and_update().clone();
        if let Some(key) = first.find(id) {
            return Ok(key);
        }
        // It may be a new one. The first fetch is under way by itself.
        if first.fetches > 0 {
            self.wanted.notify_one();
        }
        let newer = tokio::time::timeout(FETCH_WITHIN, keys.wait_for(|now| now.fetches > first.fetches)).await;
        let now = newer.ok().and_then(Result::ok).map_or(first, |now| now.clone());
        match now.find(id) {
            Some(key) => Ok(key),
            None if now.keys.is_none() => Err(Unauthenticated::KeysUnavailable),
            None => {
                Err(Unauthenticated::BadCredentials("the token is signed with a key that its issuer does not have"))
            }
        }
    }
}

impl Fetched {
    fn find(&self, id: Option<&str>) -> Option<DecodingKey> {
        let keys = self.keys.as_ref()?;
        match id {
            Some(_) => keys.iter().find(|key| key.id.as_deref() == id).map(|key| key.key.clone()),
            None if keys.len() == 1 => keys.first().map(|key| key.key.clone()),
            None => None,
        }
    }
}

async fn keep_fresh(source: Source, fetched: watch::Sender<Fetched>, wanted: Arc<Notify>) {
    let mut was_well = true;
    loop {
        let keys = tokio::select! {
            keys = source.fetch() => keys,
            () = fetched.closed() => return,
        };
        match &keys {
            Ok(keys) if !was_well => tracing::info!(keys = keys.len(), %source, "an issuer's keys can be had again"),
            Ok(keys) => tracing::debug!(keys = keys.len(), %source, "an issuer's keys"),
            Err(why) if was_well => {
                tracing::warn!(why, %source, "an issuer's keys can't be had; going on with what there is");
            }
            Err(_) => {}
        }
        was_well = keys.is_ok();
        fetched.send_modify(|fetched| {
            fetched.fetches += 1;
            if let Ok(keys) = keys {
                fetched.keys = Some(Arc::new(keys));
            }
        });
        // What could not be had is tried again soon.
        let refresh = if was_well { REFRESH_EVERY } else { PAUSE };
        tokio::select! {
            () = fetched.closed() => return,
            () = tokio::time::sleep(refresh) => {}
            () = async { tokio::time::sleep(PAUSE).await; wanted.notified().await } => {}
        }
    }
}

impl Source {
    async fn fetch(&self) -> Result<Vec<Key>, String> {
        let text = match self {
            Self::File(path) => tokio::fs::read(path).await.map_err(|error| error.to_string())?,
            Self::Web(web) => {
                let answer = tokio::time::timeout(FETCH_WITHIN, web.get()).await;
                answer.map_err(|_| "no answer in time".to_owned())??.to_vec()
            }
        };
        let set: JwkSet = serde_json::from_slice(&text).map_err(|error| format!("this is no key set: {error}"))?;
        let to_sign =
            set.keys.iter().filter(|key| !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption)));
        // Keys of a kind that is not known here are of no use, but no reason to do without the others.
        let keys = to_sign.filter_map(|jwk| {
            let key = DecodingKey::from_jwk(jwk).ok()?;
            Some(Key { id: jwk.common.key_id.clone(), key })
        });
        Ok(keys.collect())
    }
}

impl Web {
    /// What goes there.
    pub(super) fn client(&self) -> Result<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>, String> {
        let builder = HttpsConnectorBuilder::new();
        let builder = if let Some(path) = &self.authorities {
            let roots = crate::tls::read_authorities(path).map_err(|error| error.to_string())?;
            let config = rustls::ClientConfig::builder_with_provider(crate::tls::provider());
            let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
            builder.with_tls_config(config.with_root_certificates(roots).with_no_client_auth())
        } else {
            let builder = builder.with_provider_and_native_roots(crate::tls::provider().as_ref().clone());
            builder.map_err(|error| format!("the system's certificates can't be read: {error}"))?
        };
        Ok(Client::builder(TokioExecutor::new()).build(builder.https_or_http().enable_http1().build()))
    }

    async fn get(&self) -> Result<Bytes, String> {
        let mut request = Request::get(self.address.clone()).body(Empty::new()).map_err(|error| error.to_string())?;
        if let Some(path) = &self.token {
            let token =
                tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
            let header = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
            let mut header = header.map_err(|_| format!("{} is no token", path.display()))?;
            header.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        let answer = self.client()?.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_else(|| error.to_string())
        })?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok(body.to_bytes())
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Web(web) => web.address.fmt(f),
        }
    }
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched").field("fetches", &self.fetches).finish_non_exhaustive()
    }
}
