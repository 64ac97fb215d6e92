//! Redis as a tier that several machines share, and as the way purges travel between them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `[cache.redis]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Where stored responses are kept; `None`: nowhere, Redis carries purges alone.
    pub bodies: Option<RedisServer>,
    /// Where purges travel; `None`: nowhere, this node is alone.
    pub purging: Option<RedisServer>,
    /// What this node is called in receipts of purges; `None`: host name and a random part.
    pub node: Option<String>,
    /// What every key in Redis begins with.
    pub prefix: String,
    /// Longest time that one operation may take.
    pub timeout: Duration,
    /// Connections for stored responses.
    pub connections: usize,
    /// Larger records, in bytes, are not kept in Redis.
    pub max_object: u64,
    /// Whether the nodes fetch a URL once for all of them.
    pub collapse: bool,
    /// Whether a node that cannot know what was purged forwards rather than serving what it holds.
    pub strict: bool,
    /// Most purges kept in the stream for nodes that are away.
    pub purge_history: usize,
}

/// A Redis, one way or another.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisServer {
    /// Where it is.
    pub address: RedisAddress,
    /// Whether it is spoken to by TLS.
    pub tls: bool,
    /// PEM file of the certificate authorities trusted in the place of the system's.
    pub ca_file: Option<PathBuf>,
    /// User of the access control list; `None`: the default user.
    pub username: Option<String>,
    /// The user's password; `None`: none is asked for.
    pub password: Option<String>,
    /// Password of the sentinels; `None`: none is asked for.
    pub sentinel_password: Option<String>,
    /// Number of the database.
    pub database: i64,
}

/// Where a Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    /// `redis://host:port`: one server.
    Server(String, u16),
    /// `unix:///path`: one server on this machine.
    Unix(PathBuf),
    /// `redis+sentinel://host:port,…/master`: the server that the sentinels name.
    Sentinel {
        /// The sentinels.
        sentinels: Vec<(String, u16)>,
        /// What they call the group of servers.
        master: String,
    },
    /// `redis+cluster://host:port,…`: a cluster, some nodes of which are known.
    Cluster(Vec<(String, u16)>),
}

impl fmt::Display for RedisServer {
    /// As a URL without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let list = |hosts: &[(String, u16)]| {
            let shown: Vec<String> = hosts.iter().map(|(host, port)| authority(host, *port)).collect();
            shown.join(",")
        };
        match &self.address {
            RedisAddress::Server(host, port) => write!(f, "{scheme}://{}", authority(host, *port))?,
            RedisAddress::Unix(path) => write!(f, "unix://{}", path.display())?,
            RedisAddress::Sentinel { sentinels, master } => {
                write!(f, "{scheme}+sentinel://{}/{master}", list(sentinels))?;
            }
            RedisAddress::Cluster(nodes) => write!(f, "{scheme}+cluster://{}", list(nodes))?,
        }
        match (&self.address, self.database) {
            (_, 0) => Ok(()),
            (RedisAddress::Unix(_), database) => write!(f, "?db={database}"),
            (_, database) => write!(f, "/{database}"),
        }
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
