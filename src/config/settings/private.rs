//! Private caching for each session.

/// A private cache for each session, by a cookie. The bounds hold for all routes that name the same cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateCache {
    /// The cookie that names a session.
    pub cookie: String,
    /// Most sessions; the least recently used goes first.
    pub max_sessions: usize,
    /// Most bytes of all sessions together, overhead included.
    pub max_bytes: u64,
    /// Most bytes of one session.
    pub max_session_bytes: u64,
}
