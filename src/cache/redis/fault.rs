//! What can be wrong with a Redis, in words for logs and metrics.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why an operation failed or was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// There is no connection yet.
    Connecting,
    /// Nobody answers at the address, or the connection broke.
    Unreachable,
    /// No answer within the deadline.
    Timeout,
    /// User or password is wrong or missing.
    Auth,
    /// The user may not run a command, or may not use a key.
    Permission,
    /// It is a replica, and a write was refused.
    ReadOnly,
    /// It has no memory left, and its policy is to refuse writes.
    Full,
    /// It cannot write to its disk, or has too few replicas, and refuses writes.
    WritesRefused,
    /// It loads its data.
    Loading,
    /// The cluster is not complete, or the replica's primary is away.
    Down,
    /// It is a node of a cluster, and was not spoken to as such.
    Cluster,
    /// The file of certificate authorities cannot be read.
    CaFile,
    /// It answered with something else.
    Protocol,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 13] = [
        Fault::Connecting,
        Fault::Unreachable,
        Fault::Timeout,
        Fault::Auth,
        Fault::Permission,
        Fault::ReadOnly,
        Fault::Full,
        Fault::WritesRefused,
        Fault::Loading,
        Fault::Down,
        Fault::Cluster,
        Fault::CaFile,
        Fault::Protocol,
    ];

    /// Of an error.
    pub(super) fn of(error: &RedisError) -> Fault {
        let by_kind = match error.kind() {
            ErrorKind::AuthenticationFailed => Some(Fault::Auth),
            ErrorKind::Io if error.is_timeout() => Some(Fault::Timeout),
            ErrorKind::Io
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel
            | ErrorKind::EmptySentinelList => Some(Fault::Unreachable),
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::BusyLoading => Some(Fault::Loading),
                ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot => Some(Fault::Cluster),
                ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown | ServerErrorKind::TryAgain => {
                    Some(Fault::Down)
                }
                ServerErrorKind::ReadOnly => Some(Fault::ReadOnly),
                ServerErrorKind::NoPerm => Some(Fault::Permission),
                _ => None,
            },
            _ => None,
        };
        by_kind.unwrap_or_else(|| match error.code() {
            Some("NOAUTH" | "WRONGPASS") => Fault::Auth,
            Some("OOM") => Fault::Full,
            Some("MISCONF" | "NOREPLICAS") => Fault::WritesRefused,
            _ => Fault::Protocol,
        })
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Fault::Connecting => "connecting",
            Fault::Unreachable => "unreachable",
            Fault::Timeout => "timeout",
            Fault::Auth => "auth",
            Fault::Permission => "permission",
            Fault::ReadOnly => "read-only",
            Fault::Full => "full",
            Fault::WritesRefused => "writes-refused",
            Fault::Loading => "loading",
            Fault::Down => "down",
            Fault::Cluster => "cluster",
            Fault::CaFile => "ca-file",
            Fault::Protocol => "protocol",
        }
    }

    /// What an operator would do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Fault::Connecting | Fault::Unreachable => "is it running, and reachable from here?",
            Fault::Timeout => "it is stopped, overloaded or far away; `timeout` is the longest an operation may take",
            Fault::Auth => "user or password is wrong or missing",
            Fault::Permission => "its access control list must allow the user what docs/TIERS.md names",
            Fault::ReadOnly => "it is a replica; name the primary, or the sentinels",
            Fault::Full => "it is full and evicts nothing: set `maxmemory-policy allkeys-lru`, or give it more memory",
            Fault::WritesRefused => "it refuses writes: its disk fails, or it has too few replicas",
            Fault::Loading => "it loads its data; this passes",
            Fault::Down => "its cluster or its primary is down",
            Fault::Cluster => "it is a node of a cluster: write the URL as redis+cluster://",
            Fault::CaFile => "the file that `ca_file` names cannot be read",
            Fault::Protocol => "it answers with something unexpected",
        }
    }

    /// Whether it is writes alone that are refused.
    pub(super) const fn is_of_writes(self) -> bool {
        matches!(self, Fault::ReadOnly | Fault::Full | Fault::WritesRefused)
    }
}
