//! Purging: what is named, the log that every tier and every fetch asks, and its file.
//!
//! [`target`] says what a purge names, [`matcher`] compiles its patterns, [`log`] keeps purges in their order for as
//! long as anything stored may be older, and `journal` keeps that across restarts. `docs/PURGING.md` says what all
//! this guarantees.

mod journal;
pub mod log;
pub mod matcher;
pub mod target;

pub use journal::JournalError;
pub use log::{Logged, PurgeLog, UnderWay, Verdict};
pub use matcher::{BadTarget, Patterns};
pub use target::{Meta, Mode, Purge, PurgeTarget, StatusRange};
