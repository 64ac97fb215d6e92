//! What a route's unsafe requests purge, and who may purge by the method PURGE.

use ipnet::IpNet;

use super::ScopedToken;

/// What is purged when an unsafe request of a route succeeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalidation {
    /// Tags.
    pub tags: Vec<Template>,
    /// Prefixes, as purges have them.
    pub prefixes: Vec<Template>,
    /// Globs, as purges have them.
    pub globs: Vec<String>,
    /// Regular expressions, as purges have them.
    pub regexes: Vec<String>,
    /// Whether what matches becomes stale instead of going.
    pub soft: bool,
}

/// Text with places that a request fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Piece>);

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// `{host}`: the host asked for; in a tag without port, in a prefix as keys have it.
    Host,
    /// `{path}`: the path as received.
    Path,
    /// `{name}`: what the group of that name matched in the path, by the route's regular expression.
    Group(String),
}

/// The method PURGE on the listeners of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeMethod {
    /// Clients that may; never empty.
    pub allow: Vec<IpNet>,
    /// Tokens of which they must present one that may purge; `None`: their address is enough.
    pub tokens: Option<Vec<ScopedToken>>,
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Host => f.write_str("{host}"),
            Piece::Path => f.write_str("{path}"),
            Piece::Group(name) => write!(f, "{{{name}}}"),
        })
    }
}
