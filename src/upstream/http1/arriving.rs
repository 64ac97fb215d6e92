//! The head of a response as far as it has come, and the interim responses before it.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::body::Body;
use super::response::{self, Asked};
use crate::upstream::{InterimCallback, MAX_RESPONSE_HEAD};

/// Most interim responses before the final one.
const MAX_INTERIM: usize = 64;

/// What has come and is not read yet.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    bytes: Vec<u8>,
    /// How much of it holds no end of a head.
    scanned: usize,
    interim: usize,
}

impl Arriving {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The final response, if its head is there; interim ones before it are told.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn next(
        &mut self,
        asked: Asked,
        on_interim: Option<&InterimCallback>,
    ) -> Result<Option<Response<Body>>, &'static str> {
        loop {
            if !response::may_begin(&self.bytes) {
                return Err("no status line of HTTP/1");
            }
            let end = response::end(&self.bytes, self.scanned);
            if end.unwrap_or(self.bytes.len()) > MAX_RESPONSE_HEAD {
                return Err("the head is too large");
            }
            let Some(end) = end else {
                self.scanned = self.bytes.len();
                return Ok(None);
            };
            let mut bytes = Bytes::from(std::mem::take(&mut self.bytes));
            let (head, fields) = response::parse(bytes.split_to(end))?;
            // RFC 9110 §15.2: any number of them may come, but nobody needs as many.
            if !head.status().is_informational() || head.status() == StatusCode::SWITCHING_PROTOCOLS {
                return response::frame(head, &fields, asked, bytes).map(Some);
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err("too many interim responses");
            }
            if let Some(tell) = on_interim {
                tell(head.status(), head.headers());
            }
            (self.bytes, self.scanned) = (bytes.to_vec(), 0);
        }
    }
}
