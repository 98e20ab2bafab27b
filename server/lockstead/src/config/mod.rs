//! Settings of the server: from flags, then `LOCKSTEAD_…` variables, then a TOML file, then defaults.

pub(crate) mod fuzzing;
mod node;
mod otlp;
mod redis;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstead_core::duration;
use lockstead_engine::RedisTargetError;
use serde::Deserialize;
use thiserror::Error;

pub use node::{LockFamily, Node};
pub use otlp::Otlp;
pub use redis::{Redis, RedisUrls};

use crate::telemetry::LogFormat;
use crate::tls::TlsFiles;

const DEFAULT_LISTEN: &str = "127.0.0.1:7420";
const DEFAULT_MAX_CONNECTIONS: usize = 50_000;
const CONNECTIONS_MAX: usize = 1_000_000;
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The server's flags. Each can also be a variable or stand in the file; what is nearer to the command line wins.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// TOML file with settings: the long names of these flags, with `_` for `-`
    #[arg(long, value_name = "FILE", env = "LOCKSTEAD_CONFIG")]
    pub config: Option<PathBuf>,

    /// Address for gRPC and HTTP; port 0 picks a free one and prints it [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDR", env = "LOCKSTEAD_LISTEN")]
    pub listen: Option<String>,

    /// Let everybody who can reach --listen do everything
    ///
    /// Without it, and without --access or --tls-client-ca, the server listens on loopback only.
    #[arg(long, env = "LOCKSTEAD_INSECURE")]
    pub insecure: bool,

    /// A second address, plain HTTP, for /healthz, /readyz and /metrics alone, without credentials [default: none]
    #[arg(long, value_name = "ADDR", env = "LOCKSTEAD_MONITOR_LISTEN")]
    pub monitor_listen: Option<String>,

    /// PEM file with the server's certificate, and those between it and its authority; makes --listen speak TLS
    ///
    /// It, its key and --tls-client-ca are read again when they change.
    #[arg(long, value_name = "FILE", env = "LOCKSTEAD_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the private key of --tls-cert
    #[arg(long, value_name = "FILE", env = "LOCKSTEAD_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// PEM file with the authorities of clients' certificates (mutual TLS)
    ///
    /// Whoever shows a certificate of theirs is let in, and may do what --access allows; without --access, everything.
    #[arg(long, value_name = "FILE", env = "LOCKSTEAD_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,

    /// TOML file that says who may do what: tokens, JWT issuers, certificates, rules and quotas
    ///
    /// It is read again when it changes. See docs/access.md; `lockstead token` makes a token.
    #[arg(long, value_name = "FILE", env = "LOCKSTEAD_ACCESS")]
    pub access: Option<PathBuf>,

    /// How many connections there may be; more are closed at once [default: 50000]
    #[arg(long, value_name = "N", env = "LOCKSTEAD_MAX_CONNECTIONS")]
    pub max_connections: Option<usize>,

    /// Redis that keeps the truth for many servers; without it this server keeps it in memory, alone
    ///
    /// One Redis, `redis://[USER:PASSWORD@]HOST:6379`, or `rediss://…` with TLS; some nodes of a Redis Cluster, with commas
    /// between; or Sentinels: `redis+sentinel://HOST:26379/PRIMARY`. A password is better put into the variable or the file,
    /// since others on this machine can see the flags of a process.
    #[arg(long, value_name = "URL[,URL…]", env = "LOCKSTEAD_REDIS", hide_env_values = true)]
    pub redis: Option<RedisUrls>,

    /// PEM file with the certificates that sign Redis' own, if those are none that the system trusts
    #[arg(long, value_name = "FILE", env = "LOCKSTEAD_REDIS_CA")]
    pub redis_ca: Option<PathBuf>,

    /// How many replicas of Redis must have a grant before it counts [default: 0]
    ///
    /// With 0, a failover can lose the last grants, and a primary that is cut off goes on granting for a while; fencing tokens
    /// tell the holders apart even then. With 1 or more this can't happen, and grants wait for the replicas; with fewer
    /// replicas alive nothing is granted.
    #[arg(long, value_name = "N", env = "LOCKSTEAD_REDIS_MIN_ACKS")]
    pub redis_min_acks: Option<u32>,

    /// How long holds outlive the last word of their server, such as 10s [default: 10s]
    ///
    /// From 1s to 5m, and the same for all servers of one Redis. It is how long the clients of a server that died have to go
    /// to another one, how long others wait for what they held if they don't, and how long nothing is granted after Redis has
    /// lost data. A server that can't reach Redis for so long tells its clients that their holds are lost. It needs --redis:
    /// what a server keeps in memory ends with that server.
    #[arg(long, value_name = "D", env = "LOCKSTEAD_SERVER_LEASE", value_parser = duration::parse)]
    pub server_lease: Option<Duration>,

    /// Folder for the lock files of the node scope, made if there is none [default: `lockstead` in the runtime directory]
    ///
    /// The runtime directory is `$XDG_RUNTIME_DIR`, or /run. Whoever may use the folder may use its locks: what is made in it
    /// has its permissions. Without the flag, a server that can't use the folder goes without the node scope.
    #[arg(long, value_name = "DIR", env = "LOCKSTEAD_LOCK_DIR")]
    pub lock_dir: Option<PathBuf>,

    /// Which of the kernel's locks the node scope takes [default: flock]
    ///
    /// With `flock` it shares files with flock(1), Python's portalocker and filelock; with `both` also with programs that use
    /// fcntl or lockf, such as Python's fasteners.
    #[arg(long, value_name = "FAMILY", env = "LOCKSTEAD_LOCK_FAMILY")]
    pub lock_family: Option<LockFamily>,

    /// How long a shutdown waits for sessions to move and for requests in progress, such as 10s [default: 10s]
    #[arg(long, value_name = "D", env = "LOCKSTEAD_DRAIN_TIMEOUT", value_parser = duration::parse)]
    pub drain_timeout: Option<Duration>,

    /// How log lines look, on standard error; what is logged is set by `RUST_LOG` [default: text]
    #[arg(long, value_name = "FORMAT", env = "LOCKSTEAD_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Address of an OpenTelemetry collector to send traces to, such as `http://localhost:4317`; without it there are none
    ///
    /// They go out by OTLP over gRPC. A request belongs to the trace that its `traceparent` header (of gRPC: its metadata)
    /// names. Headers that the collector wants go into the variable `OTEL_EXPORTER_OTLP_HEADERS`.
    #[arg(long, value_name = "URL", env = "LOCKSTEAD_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,

    /// The share of requests to trace if their callers do not say, from 0 to 1 [default: 1]
    #[arg(long, value_name = "RATIO", env = "LOCKSTEAD_TRACE_SAMPLE_RATIO")]
    pub trace_sample_ratio: Option<f64>,
}

/// What the file may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    #[serde(default)]
    insecure: bool,
    monitor_listen: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
    access: Option<PathBuf>,
    max_connections: Option<usize>,
    #[serde(default, deserialize_with = "read_duration")]
    drain_timeout: Option<Duration>,
    log_format: Option<LogFormat>,
    redis: Option<RedisUrls>,
    redis_ca: Option<PathBuf>,
    redis_min_acks: Option<u32>,
    #[serde(default, deserialize_with = "read_duration")]
    server_lease: Option<Duration>,
    lock_dir: Option<PathBuf>,
    lock_family: Option<LockFamily>,
    otlp_endpoint: Option<String>,
    trace_sample_ratio: Option<f64>,
}

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen: a host and a port.
    pub listen: String,
    /// Whether it may be reached from elsewhere although nobody is asked who it is.
    pub insecure: bool,
    /// Where probes and metrics are to be had without credentials.
    pub monitor_listen: Option<String>,
    /// The certificates, if it speaks TLS.
    pub tls: Option<TlsFiles>,
    /// The file that says who may do what.
    pub access: Option<PathBuf>,
    /// How many connections there may be.
    pub max_connections: usize,
    /// How long a shutdown waits for sessions to move and for requests in progress.
    pub drain_timeout: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What keeps the truth, if it is not this server's memory.
    pub redis: Option<Redis>,
    /// Where the locks of the node scope are.
    pub node: Node,
    /// Where traces go, if anywhere.
    pub otlp: Option<Otlp>,
}

/// A setting that can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file {path} can't be read: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that is no setting.
    #[error("the configuration file {path} is wrong: {what}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What, and where.
        what: String,
    },
    /// The address is none.
    #[error("`{0}` is no address to listen on; write a host and a port, such as 127.0.0.1:7420 or [::1]:7420")]
    Listen(String),
    /// None, or more than a process can have.
    #[error(
        "--max-connections {0} can't be used; it is a number from 1 to {CONNECTIONS_MAX}, and {DEFAULT_MAX_CONNECTIONS} unless given"
    )]
    MaxConnections(usize),
    /// Some of the files for TLS, but not all that it takes.
    #[error("{0} needs {1} beside it; give both or neither")]
    Tls(&'static str, &'static str),
    /// It can't be reached as it was said.
    #[error("--redis: {0}")]
    Redis(#[from] RedisTargetError),
    /// A setting that is in vain without Redis.
    #[error("{0} says how to use Redis, but there is no --redis to say where it is")]
    NoRedis(&'static str),
    /// Too long or too short.
    #[error("a --server-lease of {0} can't be used; it is 1s to 5m")]
    ServerLease(String),
    /// The address of the collector is none. It may hold a password, so it is not said again.
    #[error(
        "--otlp-endpoint is no address to send traces to; write http://HOST:4317, or https://… for TLS, without a user"
    )]
    Otlp,
    /// No share.
    #[error("a --trace-sample-ratio of {0} can't be used; it is a number from 0 to 1")]
    SampleRatio(f64),
    /// A setting that is in vain without a collector.
    #[error("--trace-sample-ratio says how much to trace, but there is no --otlp-endpoint to send traces to")]
    NoOtlp,
}

impl Settings {
    /// Puts the settings together.
    pub fn load(args: ServeArgs) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        Self::of(args, file)
    }

    fn of(args: ServeArgs, file: File) -> Result<Self, ConfigError> {
        let listen = args.listen.or(file.listen).unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        let monitor_listen = args.monitor_listen.or(file.monitor_listen);
        if let Some(wrong) =
            [Some(&listen), monitor_listen.as_ref()].into_iter().flatten().find(|listen| !has_port(listen))
        {
            return Err(ConfigError::Listen(wrong.clone()));
        }
        Ok(Self {
            listen,
            insecure: args.insecure || file.insecure,
            monitor_listen,
            tls: tls_files(
                args.tls_cert.or(file.tls_cert),
                args.tls_key.or(file.tls_key),
                args.tls_client_ca.or(file.tls_client_ca),
            )?,
            access: args.access.or(file.access),
            max_connections: connections_max(args.max_connections.or(file.max_connections))?,
            drain_timeout: args.drain_timeout.or(file.drain_timeout).unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            log_format: args.log_format.or(file.log_format).unwrap_or_default(),
            redis: Redis::new(redis::Said {
                urls: args.redis.or(file.redis),
                ca: args.redis_ca.or(file.redis_ca),
                min_acks: args.redis_min_acks.or(file.redis_min_acks),
                server_lease: args.server_lease.or(file.server_lease),
            })?,
            node: Node::new(args.lock_dir.or(file.lock_dir), args.lock_family.or(file.lock_family)),
            otlp: Otlp::new(
                args.otlp_endpoint.or(file.otlp_endpoint),
                args.trace_sample_ratio.or(file.trace_sample_ratio),
            )?,
        })
    }
}

fn connections_max(said: Option<usize>) -> Result<usize, ConfigError> {
    match said {
        None => Ok(DEFAULT_MAX_CONNECTIONS),
        Some(most @ 1..=CONNECTIONS_MAX) => Ok(most),
        Some(most) => Err(ConfigError::MaxConnections(most)),
    }
}

fn has_port(listen: &str) -> bool {
    listen.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn tls_files(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> Result<Option<TlsFiles>, ConfigError> {
    match (cert, key, client_ca) {
        (Some(cert), Some(key), client_ca) => Ok(Some(TlsFiles { cert, key, client_ca })),
        (None, None, None) => Ok(None),
        (Some(_), None, _) => Err(ConfigError::Tls("--tls-cert", "--tls-key")),
        (None, Some(_), _) => Err(ConfigError::Tls("--tls-key", "--tls-cert")),
        (None, None, Some(_)) => Err(ConfigError::Tls("--tls-client-ca", "--tls-cert and --tls-key")),
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|what| ConfigError::Wrong { path: path.to_owned(), what })
    }

    /// Reads the text of a file. The error says what is wrong with it.
    fn parse(text: &str) -> Result<Self, String> {
        // It shows the line, which may be one with a password.
        toml::from_str(text).map_err(|error: toml::de::Error| without_userinfo(&error.to_string()))
    }
}

fn read_duration<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(source)?;
    duration::parse(&text).map(Some).map_err(serde::de::Error::custom)
}

/// Takes out what stands between `://` and the last `@` of an address, or of several.
fn without_userinfo(text: &str) -> String {
    let ends = |letter: char| letter.is_whitespace() || letter == '\'' || letter == '"';
    let Some((before, rest)) = text.split_once("://") else { return text.to_owned() };
    let (address, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
    let address = address.rsplit_once('@').map_or_else(|| address.to_owned(), |(_, host)| format!("…@{host}"));
    format!("{before}://{address}{}", without_userinfo(after))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn with_file(text: &str, args: ServeArgs) -> Result<Settings, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Settings::load(ServeArgs { config: Some(file.path().to_owned()), ..args })
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let defaults = Settings::load(ServeArgs::default()).unwrap();
        assert_eq!(defaults.listen, DEFAULT_LISTEN);
        let text = "listen = '127.0.0.1:1'\ndrain_timeout = '3s'\nlog_format = 'json'";
        let flags = ServeArgs { listen: Some("127.0.0.1:2".to_owned()), ..ServeArgs::default() };
        let settings = with_file(text, flags).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:2");
        assert_eq!((settings.drain_timeout, settings.log_format), (Duration::from_secs(3), LogFormat::Json));
    }

    #[test]
    fn redis_is_asked_for_by_its_addresses() {
        assert!(Settings::load(ServeArgs::default()).unwrap().redis.is_none());
        let text = "redis = 'redis://a:1, redis://:hunter2@b:2'\nredis_min_acks = 1\nserver_lease = '3s'";
        let flags = ServeArgs { redis_min_acks: Some(2), ..ServeArgs::default() };
        let settings = with_file(text, flags).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
        let redis = settings.redis.unwrap();
        assert_eq!((redis.min_acks, redis.server_lease), (2, Duration::from_secs(3)));
        assert!(!redis.target.is_behind_sentinels());
        let redis = with_file("redis = 'redis+sentinel://a/b'", ServeArgs::default()).unwrap().redis.unwrap();
        assert!(redis.target.is_behind_sentinels());
        assert_eq!((redis.min_acks, redis.server_lease), (0, Duration::from_secs(10)));
    }

    #[test]
    fn a_bad_setting_of_redis_says_what_is_wrong_and_no_secret() {
        let certificates = tempfile::NamedTempFile::new().unwrap();
        let empty = certificates.path().to_str().unwrap();
        let tls = "redis = 'rediss://u:hunter2@h'\nredis_ca =";
        for (text, told) in [
            ("redis = ''", "--redis: Redis URL number 1"),
            ("redis = 'http://u:hunter2@h'", "number 1"),
            ("redis = 'redis://h,redis://u:hunt,er2@i'", "number 2"),
            ("rediss = 'redis://u:hunter2@h,redis://u:hunter2@i'", "rediss"),
            ("redis_min_acks = 'redis://u:hunter2@h'", "redis_min_acks"),
            ("redis_min_acks = 1", "--redis-min-acks"),
            ("redis_min_acks = -1", "redis_min_acks"),
            ("redis_ca = '/x'", "--redis-ca"),
            ("redis = 'redis://u:hunter2@h'\nredis_ca = '/x'", "rediss://"),
            (&format!("{tls} '/nowhere/ca.pem'"), "/nowhere/ca.pem"),
            (&format!("{tls} '{empty}'"), empty),
            ("server_lease = '999ms'", "--server-lease of 999ms"),
            ("server_lease = '301s'", "1s to 5m"),
            ("server_lease = '10s'", "--server-lease says how to use Redis"),
        ] {
            let message = with_file(text, ServeArgs::default()).unwrap_err().to_string();
            assert!(message.contains(told) && !message.contains("hunter2"), "{text}: {message}");
        }
    }

    #[test]
    fn the_lock_directory_is_asked_for_or_not() {
        let node = Settings::load(ServeArgs::default()).unwrap().node;
        assert!(node.directory.ends_with("lockstead") && !node.is_asked_for && node.family == LockFamily::Flock);
        let flags = ServeArgs { lock_dir: Some("/a".into()), ..ServeArgs::default() };
        let node = with_file("lock_dir = '/b'\nlock_family = 'both'", flags).unwrap().node;
        assert_eq!(node, Node { directory: "/a".into(), family: LockFamily::Both, is_asked_for: true });
    }

    #[test]
    fn traces_are_asked_for_by_their_collector() {
        assert_eq!(Settings::load(ServeArgs::default()).unwrap().otlp, None);
        let text = "otlp_endpoint = 'https://collector:4317'";
        let flags = ServeArgs { trace_sample_ratio: Some(0.25), ..ServeArgs::default() };
        let otlp = |endpoint: &str, sample_ratio| Some(Otlp { endpoint: endpoint.to_owned(), sample_ratio });
        assert_eq!(with_file(text, flags).unwrap().otlp, otlp("https://collector:4317", 0.25));
        let flags = ServeArgs { otlp_endpoint: Some("http://[::1]:4317".to_owned()), ..ServeArgs::default() };
        assert_eq!(with_file(text, flags).unwrap().otlp, otlp("http://[::1]:4317", 1.0));
    }

    #[test]
    fn a_bad_setting_says_what_is_wrong() {
        for (text, told) in [
            ("lisen = 'x'", "lisen"),
            ("drain_timeout = 5", "drain_timeout"),
            ("drain_timeout = '5'", "not a duration"),
            ("log_format = 'xml'", "xml"),
            ("lock_family = 'lockf'", "lockf"),
            ("listen = '7420'", "7420"),
            ("listen = ", "listen"),
            ("otlp_endpoint = 'collector:4317'", "--otlp-endpoint"),
            ("otlp_endpoint = 'http://u:hunter2@collector:4317'", "without a user"),
            ("otlp_endpoint = ''", "--otlp-endpoint"),
            ("otlp_endpoint = 'http://c:4317'\ntrace_sample_ratio = 1.5", "1.5"),
            ("otlp_endpoint = 'http://c:4317'\ntrace_sample_ratio = nan", "NaN"),
            ("trace_sample_ratio = 0.5", "there is no --otlp-endpoint"),
        ] {
            let message = with_file(text, ServeArgs::default()).unwrap_err().to_string();
            assert!(message.contains(told) && !message.contains("hunter2"), "{text}: {message}");
        }
        let nowhere = ServeArgs { config: Some("/nowhere/at/all.toml".into()), ..ServeArgs::default() };
        assert!(Settings::load(nowhere).unwrap_err().to_string().contains("/nowhere/at/all.toml"));
    }
}
