//! A request that may not go on, with the answer that its client gets.

use http::header::{self, HeaderName};
use http::{HeaderValue, Response};

use super::body::Body;
use super::refusal::Refusal;
use super::respond;

/// A refusal and its answer.
#[derive(Debug)]
pub(super) struct Denial {
    pub(super) refusal: Refusal,
    pub(super) response: Response<Body>,
}

impl Denial {
    /// With the usual answer.
    pub(super) fn of(refusal: Refusal) -> Box<Self> {
        Box::new(Denial { refusal, response: respond::own(refusal.status()) })
    }

    /// With an answer of somebody else's.
    pub(super) fn answered(refusal: Refusal, response: Response<Body>) -> Box<Self> {
        Box::new(Denial { refusal, response })
    }

    /// Adds a field.
    pub(super) fn with(mut self: Box<Self>, name: HeaderName, value: &str) -> Box<Self> {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.response.headers_mut().insert(name, value);
        }
        self
    }

    /// Says when to try again, in seconds.
    pub(super) fn retry_after(self: Box<Self>, seconds: u64) -> Box<Self> {
        self.with(header::RETRY_AFTER, &seconds.to_string())
    }
}
