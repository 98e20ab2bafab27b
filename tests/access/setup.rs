//! A server with an access file, and those that it knows.

use std::fs::File;
use std::path::PathBuf;

use lockstead_client::{Builder, Client};
use lockstead_tests::{Server, serve};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::issuer::Issuer;

/// Whose token it is may do everything.
pub(crate) const ADMIN: &str = "token-of-admin";
/// May acquire below `shop`, and see nothing.
pub(crate) const SHOP: &str = "token-of-shop";
/// Is known, and has no rule.
pub(crate) const GUEST: &str = "token-of-guest";
/// Was good once.
pub(crate) const EXPIRED: &str = "token-of-yesterday";

/// A server, its access file, and who signs JWTs for it.
pub(crate) struct Guarded {
    pub(crate) server: Server,
    pub(crate) issuer: Issuer,
    folder: TempDir,
}

impl Guarded {
    pub(crate) fn start() -> Self {
        Self::start_with("", &[])
    }

    /// With more in the access file, and more flags.
    pub(crate) fn start_with(more: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::new("https://issuer.example");
        let (keys, file) = (folder.path().join("keys.json"), folder.path().join("access.toml"));
        std::fs::write(&keys, issuer.key_set()).unwrap();
        let text = format!(
            "{}{}\n\n[[jwt]]\nissuer = 'https://issuer.example'\naudience = ['lockstead']\nprefix = 'jwt:'\njwks_file = '{}'\n{more}",
            TOKENS.map(|(token, principal, more)| entry(token, principal, more)).concat(),
            RULES,
            keys.display(),
        );
        std::fs::write(&file, text).unwrap();
        let mut command = serve();
        command.args(["--listen", "127.0.0.1:0", "--access", file.to_str().unwrap()]).args(flags);
        command.stderr(File::create(folder.path().join("log")).unwrap());
        let server = Server::start_as(command);
        Self { server, issuer, folder }
    }

    pub(crate) fn access_file(&self) -> PathBuf {
        self.folder.path().join("access.toml")
    }

    /// What the server has said to its operator.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn client(&self, token: &str) -> Builder {
        Client::builder().server(&self.server.url).token(token)
    }
}

const TOKENS: [(&str, &str, &str); 4] = [
    (ADMIN, "admin", ""),
    (SHOP, "shop", "groups = ['sellers']\n"),
    (GUEST, "guest", ""),
    (EXPIRED, "admin", "expires = '2020-01-01T00:00:00Z'\n"),
];

const RULES: &str = "
[[rule]]
who = ['admin', 'jwt:admin']
may = ['acquire', 'read', 'administer']

[[rule]]
who = ['group:sellers']
may = ['acquire']
prefix = 'shop'
";

/// A token of an access file.
pub(crate) fn entry(token: &str, principal: &str, more: &str) -> String {
    format!("\n[[token]]\nprincipal = '{principal}'\nsha256 = '{}'\n{more}", sha256(token))
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
