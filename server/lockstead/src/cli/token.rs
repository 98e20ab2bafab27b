//! `lockstead token`.

use std::io::Write;
use std::process::ExitCode;

use super::Exit;
use super::say::say;
use crate::access::Token;

/// Make a token for a server with access control
///
/// Prints the token on standard output, for whoever is to show it, and on standard error the entry for the server's access
/// file, which has only a digest of it. Nothing is sent anywhere or kept.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct TokenArgs {
    /// Whom the token stands for, as the rules of the access file name it
    principal: String,

    /// A group that the principal belongs to; may be given more than once
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
}

const AFTER_HELP: &str = "\
For example:
  lockstead token ci 2>>access.toml >ci.token     # then add a [[rule]] that says what ci may do
  lockstead ls --token-file ci.token";

pub(super) fn token(args: &TokenArgs) -> ExitCode {
    let token = Token::generate();
    let mut entry = toml::Table::new();
    entry.insert("principal".to_owned(), args.principal.clone().into());
    if !args.groups.is_empty() {
        entry.insert("groups".to_owned(), args.groups.clone().into());
    }
    entry.insert("sha256".to_owned(), token.digest().into());
    // Texts can always be written as TOML.
    let entry = toml::to_string(&entry).unwrap_or_default();
    let written = writeln!(std::io::stdout(), "{}", token.reveal())
        .and_then(|()| writeln!(std::io::stderr(), "[[token]]\n{entry}"));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("the token can't be written: {error}"));
            Exit::Unavailable.into()
        }
    }
}
