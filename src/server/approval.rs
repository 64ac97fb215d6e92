//! What the inspection makes of a stream of HTTP/1 bytes, without a connection: the way in for fuzzing, and for whoever
//! wants to know whether larder takes certain bytes for requests.

use super::head::HeadLimits;
use super::http1_framing::{Http1Framing, Verdict};
use crate::config::settings::Limits;
use crate::proxy::refusal::Refusal;

/// What of a stream of bytes is taken for requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The bytes that are handed on. An upgrade is not answered, so what follows one is not among them.
    pub passed: Vec<u8>,
    /// Complete heads among them.
    pub heads: u64,
    /// Why the stream is refused where they end. `None`: nothing against it, so far.
    pub refusal: Option<Refusal>,
}

/// Inspects `bytes` as they would come in pieces of at most `piece` bytes. The result does not depend on `piece`.
pub fn approve(bytes: &[u8], limits: &Limits, piece: usize) -> Approval {
    let bounds = HeadLimits::new(limits.head, limits.field, limits.fields, limits.uri);
    let mut framing = Http1Framing::new(bounds);
    let (mut passed, mut start, mut end) = (Vec::new(), 0, 0);
    let mut refusal = None;
    while end < bytes.len() && refusal.is_none() {
        end = end.saturating_add(piece.max(1)).min(bytes.len());
        while start < end && refusal.is_none() {
            match framing.inspect(&bytes[start..end]) {
                Verdict::Pass(len) => {
                    passed.extend_from_slice(&bytes[start..start + len]);
                    start += len;
                }
                Verdict::Drop(len) => start += len,
                Verdict::Hold => break,
                Verdict::Refuse(why) | Verdict::Break(why) => refusal = Some(why),
            }
        }
    }
    Approval { passed, heads: framing.heads(), refusal }
}
