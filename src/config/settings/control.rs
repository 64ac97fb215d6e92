//! The control API, and what its tokens allow.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The control API.
#[derive(Clone, PartialEq, Eq)]
pub struct Control {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether nobody asked for that address; see [`Settings::metrics_assumed`](super::Settings::metrics_assumed).
    pub assumed: bool,
    /// Bearer token from file or environment, which allows everything. `None`: read from `token_file`, which is
    /// generated (mode 0600) at the first start.
    pub token: Option<String>,
    /// Where a generated token is kept.
    pub token_file: PathBuf,
    /// Further tokens, which allow what each says.
    pub tokens: Vec<ScopedToken>,
    /// Host values accepted beside the listening address and `localhost` (against DNS rebinding).
    pub allowed_hosts: Vec<String>,
}

/// A token with a name.
#[derive(Clone, PartialEq, Eq)]
pub struct ScopedToken {
    /// Names its holder in audit lines.
    pub name: String,
    /// Its text, never empty.
    pub token: String,
    /// What it allows; at least one.
    pub scopes: Vec<Scope>,
}

/// What a token may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Looking: what is stored, figures, the settings.
    Read,
    /// Purging, and reading what became of a purge.
    Purge,
    /// Everything: the other scopes, reloading, taking servers out.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Purge, Scope::Admin];

    /// As it is written in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Purge => "purge",
            Scope::Admin => "admin",
        }
    }

    /// Whether who has this scope may do what asks for the other.
    pub fn covers(self, asked: Scope) -> bool {
        self == asked || self == Scope::Admin
    }
}

impl Control {
    /// What the holder of the one token that is no [`ScopedToken`] is called.
    pub const HOLDER: &'static str = "control";
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("address", &self.address)
            .field("assumed", &self.assumed)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("token_file", &self.token_file)
            .field("tokens", &self.tokens)
            .field("allowed_hosts", &self.allowed_hosts)
            .finish()
    }
}

impl std::fmt::Debug for ScopedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ScopedToken({} {:?} ***)", self.name, self.scopes)
    }
}
