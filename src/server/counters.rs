//! What the server counts; the metrics endpoint reads it when it is scraped.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::proxy::refusal::Refusal;

/// Counters of the client side, since the process began.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections open now, upgraded ones included.
    pub open: AtomicU64,
    /// Times that accepting failed, e.g. for want of file descriptors.
    pub accept_errors: AtomicU64,
    /// TLS handshakes that failed.
    pub tls_errors: AtomicU64,
    /// HTTP/2 connections closed for what the client did: frames that are none, floods, requests given up in masses.
    pub http2_errors: AtomicU64,
    /// Clients that sent no whole head, or finished no TLS handshake, in time.
    pub header_timeouts: AtomicU64,
    /// Clients that paused for too long within a request body.
    pub body_timeouts: AtomicU64,
    /// Clients that took no bytes of a response for too long.
    pub send_timeouts: AtomicU64,
    /// Idle connections closed by us.
    pub keep_alive_timeouts: AtomicU64,
    /// Whether the files of a TLS listener have changed to something that can't be used: 1, else 0.
    pub certificates_broken: AtomicU64,
    /// HTTP/1 requests refused by inspection, in the order of [`Refusal::ALL`].
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl ServerCounters {
    /// HTTP/1 requests that inspection refused, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.into_iter().zip(self.refused.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(super) fn count_refusal(&self, refusal: Refusal) {
        if let Some(at) = Refusal::ALL.iter().position(|one| *one == refusal) {
            add(&self.refused[at], 1);
        }
    }
}

/// Counts; no order between counters is promised.
pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_every_refusal_has_its_own_count() {
        let counters = ServerCounters::default();
        for (times, refusal) in Refusal::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| counters.count_refusal(refusal));
        }
        let counts: Vec<u64> = counters.refused().map(|(_, count)| count).collect();
        assert_eq!(counts, (0..Refusal::ALL.len() as u64).collect::<Vec<_>>());
    }
}
