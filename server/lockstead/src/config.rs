//! Settings of the server: from flags, then `LOCKSTEAD_…` variables, then a TOML file, then defaults.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockstead_core::duration;
use serde::Deserialize;
use thiserror::Error;

use crate::telemetry::LogFormat;

const DEFAULT_LISTEN: &str = "127.0.0.1:7420";
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

    /// How long a shutdown waits for requests in progress, such as 10s [default: 10s]
    #[arg(long, value_name = "D", env = "LOCKSTEAD_DRAIN_TIMEOUT", value_parser = duration::parse)]
    pub drain_timeout: Option<Duration>,

    /// How log lines look, on standard error; what is logged is set by `RUST_LOG` [default: text]
    #[arg(long, value_name = "FORMAT", env = "LOCKSTEAD_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// What the file may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    #[serde(default, deserialize_with = "read_duration")]
    drain_timeout: Option<Duration>,
    log_format: Option<LogFormat>,
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen: a host and a port.
    pub listen: String,
    /// How long a shutdown waits for requests in progress.
    pub drain_timeout: Duration,
    /// How log lines look.
    pub log_format: LogFormat,
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
    #[error("the configuration file {path} is wrong: {source}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What, and where.
        source: Box<toml::de::Error>,
    },
    /// The address is none.
    #[error("`{0}` is no address to listen on; write a host and a port, such as 127.0.0.1:7420 or [::1]:7420")]
    Listen(String),
}

impl Settings {
    /// Puts the settings together.
    pub fn load(args: ServeArgs) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        let listen = args.listen.or(file.listen).unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        let has_port =
            listen.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !has_port {
            return Err(ConfigError::Listen(listen));
        }
        Ok(Self {
            listen,
            drain_timeout: args.drain_timeout.or(file.drain_timeout).unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            log_format: args.log_format.or(file.log_format).unwrap_or_default(),
        })
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Wrong { path: path.to_owned(), source: Box::new(source) })
    }
}

fn read_duration<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(source)?;
    duration::parse(&text).map(Some).map_err(serde::de::Error::custom)
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
    fn a_bad_setting_says_what_is_wrong() {
        for (text, told) in [
            ("lisen = 'x'", "lisen"),
            ("drain_timeout = 5", "drain_timeout"),
            ("drain_timeout = '5'", "not a duration"),
            ("log_format = 'xml'", "xml"),
            ("listen = '7420'", "7420"),
            ("listen = ", "listen"),
        ] {
            let message = with_file(text, ServeArgs::default()).unwrap_err().to_string();
            assert!(message.contains(told), "{text}: {message}");
        }
        let nowhere = ServeArgs { config: Some("/nowhere/at/all.toml".into()), ..ServeArgs::default() };
        assert!(Settings::load(nowhere).unwrap_err().to_string().contains("/nowhere/at/all.toml"));
    }
}
