//! Where Redis is: what `--redis` and `--redis-ca` say, checked before anything is reached for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio_rustls::TlsConnector;
use url::Url;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// What Sentinel's own sample configuration calls the primary.
const PRIMARY_NAME: &str = "mymaster";

/// Where Redis is. Neither `Debug` nor `Display` shows who logs in, or how.
#[derive(Clone)]
pub struct Target {
    pub(super) guide: Guide,
    /// Of Redis nodes, or of Sentinels.
    pub(super) addresses: Vec<Address>,
    pub(super) login: Login,
    pub(super) sentinel_login: Login,
    pub(super) database: i64,
    pub(super) tls: Option<TlsConnector>,
}

/// Who knows which node to talk to.
#[derive(Clone)]
pub(super) enum Guide {
    /// The nodes themselves: there is one, or they form a Cluster.
    Nodes,
    /// Sentinels know the primary by this name.
    Sentinels { primary: String },
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Who logs in, and how.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// Redis URLs, or a CA file, that can't be used. Repeats nothing of a URL, since in one that is wrong a password may be
/// anywhere.
#[derive(Debug, Error)]
pub enum TargetError {
    /// One URL can't be used.
    #[error("Redis URL number {number} {fault}")]
    Url {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Two URLs don't fit together.
    #[error("the Redis URLs must all have the same {0}, or name it only once")]
    Differ(&'static str),
    /// The file with the CA's certificates can't be used.
    #[error("the CA file {path} can't be used: {reason}")]
    Ca {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A CA is given, and nothing to check by it.
    #[error("a CA file is of use with rediss:// and rediss+sentinel:// only")]
    CaWithoutTls,
    /// The system has no CA certificates.
    #[error("this system has no CA certificates to check Redis' certificate by; name a CA file")]
    NoSystemCa,
}

/// What is wrong with a Redis URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It does not parse.
    #[error(
        "is no URL; write redis://HOST:PORT, and within a user name or password %25 for %, %2F for /, %3F for ?, %23 for #, \
         %40 for @ and %2C for a comma"
    )]
    NoUrl,
    /// It is a URL of something else.
    #[error("must begin with redis://, rediss://, redis+sentinel:// or rediss+sentinel://")]
    Scheme,
    /// A user without a password: most likely a password that should stand after a colon.
    #[error("has a user name but no password; a password alone is written redis://:PASSWORD@HOST")]
    NoPassword,
    /// Something percent-encoded is no text.
    #[error("has something percent-encoded that is not UTF-8")]
    Encoding,
    /// The path is no number.
    #[error("has something after the host that is not the number of a database")]
    Database,
    /// The path is no name.
    #[error("has something after the host that is not the name of a primary")]
    Primary,
    /// A query or a fragment that Redis URLs do not have.
    #[error("has a query or a fragment; Sentinels' take sentinel_username and sentinel_password, others nothing")]
    Query,
}

impl Target {
    /// Reads a comma-separated list of URLs, and certificates to check Redis by instead of the system's. What any of the
    /// URLs says about login, database or primary goes for all; a URL without a scheme has that of the one before it.
    pub fn parse(urls: &str, ca: Option<&Path>) -> Result<Self, TargetError> {
        let mut parts: Vec<Part> = Vec::new();
        for (number, text) in (1..).zip(urls.split(',')) {
            let part = Part::parse(text.trim(), parts.last().map(|part| part.scheme));
            parts.push(part.map_err(|fault| TargetError::Url { number, fault })?);
        }
        let scheme = agreed(&parts, "scheme", |part| Some(part.scheme))?.unwrap_or_default();
        let login = agreed(&parts, "user name and password", |part| part.login.clone())?;
        let database = agreed(&parts, "database", |part| part.database)?.unwrap_or_default();
        let sentinel_login =
            agreed(&parts, "sentinel_username and sentinel_password", |part| part.sentinel_login.clone())?;
        let primary = agreed(&parts, "name of the primary", |part| part.primary.clone())?;
        let guide = if scheme.sentinels {
            Guide::Sentinels { primary: primary.unwrap_or_else(|| PRIMARY_NAME.to_owned()) }
        } else {
            Guide::Nodes
        };
        let tls = match (scheme.tls, ca) {
            (true, ca) => Some(connector(ca)?),
            (false, None) => None,
            (false, Some(_)) => return Err(TargetError::CaWithoutTls),
        };
        let addresses = parts.into_iter().map(|part| part.address).collect();
        Ok(Self { guide, addresses, login, sentinel_login, database, tls })
    }

    /// Whether Sentinels name the primary. A failover may lose writes then that no replica has confirmed.
    pub fn is_behind_sentinels(&self) -> bool {
        matches!(self.guide, Guide::Sentinels { .. })
    }
}

/// What all URLs say that say anything.
fn agreed<T: Default + PartialEq>(
    parts: &[Part],
    what: &'static str,
    get: impl Fn(&Part) -> T,
) -> Result<T, TargetError> {
    let mut said = parts.iter().map(get).filter(|said| *said != T::default());
    let first = said.next().unwrap_or_default();
    if said.all(|other| other == first) { Ok(first) } else { Err(TargetError::Differ(what)) }
}

/// One URL.
struct Part {
    scheme: Scheme,
    address: Address,
    login: Login,
    database: Option<i64>,
    primary: Option<String>,
    sentinel_login: Login,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scheme {
    tls: bool,
    sentinels: bool,
}

impl Part {
    fn parse(text: &str, scheme_before: Option<Scheme>) -> Result<Self, Fault> {
        let url = match scheme_before {
            Some(scheme) if !text.contains("://") => Url::parse(&format!("{}://{text}", scheme.name())),
            _ => Url::parse(text),
        };
        let url = url.map_err(|_| Fault::NoUrl)?;
        let scheme = Scheme::named(url.scheme()).ok_or(Fault::Scheme)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(Fault::NoUrl)?;
        let address = Address {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port().unwrap_or(if scheme.sentinels { SENTINEL_PORT } else { REDIS_PORT }),
        };
        let mut part = Self {
            scheme,
            address,
            login: Login::read(Some(url.username()), url.password())?,
            database: None,
            primary: None,
            sentinel_login: Login::default(),
        };
        let path = Some(url.path().trim_start_matches('/')).filter(|path| !path.is_empty());
        if scheme.sentinels {
            part.primary = path.map(primary_name).transpose()?;
            part.sentinel_login = sentinel_login(&url)?;
        } else {
            part.database =
                path.map(|path| path.parse::<u16>().map(i64::from)).transpose().map_err(|_| Fault::Database)?;
        }
        let takes_query = scheme.sentinels || url.query().is_none();
        if takes_query && url.fragment().is_none() { Ok(part) } else { Err(Fault::Query) }
    }
}

/// Sentinel takes letters, digits, dots, hyphens and underscores.
fn primary_name(path: &str) -> Result<String, Fault> {
    let is_name = path.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_'));
    if is_name { Ok(path.to_owned()) } else { Err(Fault::Primary) }
}

fn sentinel_login(url: &Url) -> Result<Login, Fault> {
    let (mut user, mut password) = (None, None);
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        // Not as in a form, where a plus sign is a space.
        match pair.split_once('=') {
            Some(("sentinel_username", value)) => user = Some(value),
            Some(("sentinel_password", value)) => password = Some(value),
            _ => return Err(Fault::Query),
        }
    }
    Login::read(user, password)
}

impl Scheme {
    fn named(name: &str) -> Option<Self> {
        [false, true]
            .into_iter()
            .flat_map(|tls| [false, true].map(|sentinels| Self { tls, sentinels }))
            .find(|scheme| scheme.name() == name)
    }

    fn name(self) -> &'static str {
        match (self.tls, self.sentinels) {
            (false, false) => "redis",
            (true, false) => "rediss",
            (false, true) => "redis+sentinel",
            (true, true) => "rediss+sentinel",
        }
    }
}

impl Login {
    fn read(user: Option<&str>, password: Option<&str>) -> Result<Self, Fault> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| Fault::Encoding);
        let present = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(decode).transpose();
        let login = Self { user: present(user)?, password: present(password)? };
        if login.user.is_some() && login.password.is_none() { Err(Fault::NoPassword) } else { Ok(login) }
    }
}

/// TLS that trusts the CAs in the file, or else those that the system trusts.
fn connector(ca: Option<&Path>) -> Result<TlsConnector, TargetError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let fault = |reason: String| TargetError::Ca { path: path.to_owned(), reason };
        let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| fault(error.to_string()))?;
            roots.add(certificate).map_err(|error| fault(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(fault("it holds no certificate in PEM format".to_owned()));
        }
    } else {
        // A system's store may hold certificates that nothing can be done with; the others count.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TargetError::NoSystemCa);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|_| TargetError::NoSystemCa)?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Guide::Sentinels { primary } = &self.guide {
            write!(f, "{primary} behind Sentinels at ")?;
        }
        for (index, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(urls: &str) -> String {
        Target::parse(urls, None).unwrap_err().to_string()
    }

    #[test]
    fn one_node_or_many() {
        let target = Target::parse("redis://10.0.0.1", None).unwrap();
        assert_eq!((target.to_string().as_str(), target.database), ("10.0.0.1:6379", 0));
        let target = Target::parse("redis://us%40er:p%2Css@a:1/2, redis://b, [::1]:3", None).unwrap();
        assert_eq!((target.to_string().as_str(), target.database), ("a:1, b:6379, [::1]:3", 2));
        assert_eq!((target.login.user.as_deref(), target.login.password.as_deref()), (Some("us@er"), Some("p,ss")));
        assert!(target.tls.is_none() && !target.is_behind_sentinels());
    }

    #[test]
    fn sentinels_with_a_login_of_their_own() {
        let urls = "redis+sentinel://u:p@a,b:1,c/main?sentinel_username=s&sentinel_password=q%26+";
        let target = Target::parse(urls, None).unwrap();
        assert_eq!(target.to_string(), "main behind Sentinels at a:26379, b:1, c:26379");
        assert_eq!((target.login.user.as_deref(), target.login.password.as_deref()), (Some("u"), Some("p")));
        let login = &target.sentinel_login;
        assert_eq!((login.user.as_deref(), login.password.as_deref()), (Some("s"), Some("q&+")));
        let target = Target::parse("redis+sentinel://a", None).unwrap();
        assert_eq!(target.to_string(), "mymaster behind Sentinels at a:26379");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (urls, told) in [
            ("", "number 1 is no URL"),
            ("redis", "number 1 is no URL"),
            ("redis://", "number 1 is no URL"),
            ("redis://a:70000", "number 1 is no URL"),
            ("redis://a,", "number 2 is no URL"),
            ("http://a", "must begin with redis://"),
            ("redis+unix:///a", "must begin with redis://"),
            ("redis://secret@a", "no password"),
            ("redis://u:%FF@a", "not UTF-8"),
            ("redis://a/main", "number of a database"),
            ("redis+sentinel://a/ma/in", "name of a primary"),
            ("redis://a?db=1", "query"),
            ("redis://a#b", "query"),
            ("redis+sentinel://a?db=1", "query"),
            ("redis://a,rediss://b", "same scheme"),
            ("redis://:p@a,redis://:q@b", "same user name and password"),
            ("redis://a/1,redis://b/2", "same database"),
            ("redis+sentinel://a/m,b/n", "same name of the primary"),
        ] {
            assert!(fault(urls).contains(told), "{urls}: {}", fault(urls));
        }
    }

    #[test]
    fn no_secret_is_shown_right_or_wrong() {
        for urls in [
            "redis://u:secret@a/x",
            "redis://secret@a",
            "redis://u:1/secret@a",
            "redis://u:1?secret@a",
            "redis://u:1#secret@a",
            "redis://u:secret%@a/x",
            "redis://a,redis://u:secret@b,redis://u:secret2@b",
            "redis://u:secret/@a",
            "redis+sentinel://a/secret!",
            "redis+sentinel://a?sentinel_password=secret&x",
        ] {
            let error = Target::parse(urls, None).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{urls}: {error:?}");
        }
        let target = Target::parse("redis+sentinel://u:secret@a?sentinel_password=secret", None).unwrap();
        assert!(!format!("{target} {target:?}").contains("secret"));
    }

    #[test]
    fn certificates_must_be_there_and_of_use() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let parse = |urls| Target::parse(urls, Some(file.path())).unwrap_err().to_string();
        assert!(parse("redis://a").contains("rediss://"));
        assert!(parse("rediss://a").contains("no certificate"));
        assert!(Target::parse("rediss://a", Some(Path::new("/nowhere"))).unwrap_err().to_string().contains("/nowhere"));
        assert!(Target::parse("rediss://a", None).unwrap().tls.is_some());
    }
}
