//! Private caching for each session.

use std::sync::Arc;

use http::HeaderName;

use super::Resolver;
use crate::config::file;
use crate::config::scalar::{Size, Written};
use crate::config::settings::PrivateCache;

const MAX_SESSIONS: usize = 10_000;
const MAX_BYTES: u64 = 64 << 20;
const MAX_SESSION_BYTES: u64 = 1 << 20;

impl Resolver<'_> {
    /// `path` is where the rules stand that it is taken from.
    pub(super) fn private(&mut self, written: Option<&file::Private>, path: &str) -> Option<Arc<PrivateCache>> {
        let written = written?;
        let size =
            |written: &Option<Written<Size>>, usual| written.as_ref().map_or(usual, |Written(Size(bytes))| *bytes);
        // The check reports a cookie that is missing.
        let cookie = written.cookie.clone()?;
        // RFC 6265 §4.1.1: the name of a cookie is a token, as that of a field is.
        if cookie.parse::<HeaderName>().is_err() {
            self.problem(format!("{path}.cookie"), format!("`{cookie}` is no name of a cookie"), None);
        }
        let max_bytes = size(&written.max_bytes, MAX_BYTES);
        let max_session_bytes = size(&written.max_session_bytes, MAX_SESSION_BYTES.min(max_bytes));
        if max_session_bytes > max_bytes {
            let message = "`max_session_bytes` is more than `max_bytes`";
            self.problem(format!("{path}.max_session_bytes"), message, None);
        }
        let max_sessions = written.max_sessions.unwrap_or(MAX_SESSIONS);
        Some(Arc::new(PrivateCache { cookie, max_sessions, max_bytes, max_session_bytes }))
    }
}
