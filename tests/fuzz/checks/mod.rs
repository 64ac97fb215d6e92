//! What must hold for any bytes at all, a file for each fuzz target. The integration tests hold the seeds against the
//! same functions, so that a check which no longer holds is seen without a fuzzer.

#![allow(dead_code, reason = "each fuzz target uses one of them")]

pub mod cache_key;
pub mod config;
pub mod fields;
pub mod policy;
pub mod purge_journal;
pub mod ranges;
pub mod record;
pub mod request_head;
pub mod response;

/// A fuzz target: its name, and what is asked of the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every one.
pub const TARGETS: [Target; 8] = [
    ("cache_key", cache_key::check),
    ("config", config::check),
    ("policy", policy::check),
    ("purge_journal", purge_journal::check),
    ("ranges", ranges::check),
    ("record", record::check),
    ("request_head", request_head::check),
    ("response", response::check),
];
