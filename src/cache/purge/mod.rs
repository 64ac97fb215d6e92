//! Purging: what is named, the log that every tier and every fetch asks, and its file.
//!
//! [`target`] says what a purge names, [`matcher`] compiles its patterns, [`log`] keeps purges in their order for as
//! long as anything stored may be older, `journal` keeps that across restarts, `apply` puts a purge in force,
//! `memory` takes it out of memory, and [`receipt`] says what became of it. `docs/PURGING.md` says what all this
//! guarantees.

mod apply;
mod journal;
pub mod log;
pub mod matcher;
mod memory;
pub mod receipt;
pub mod target;

#[cfg(test)]
mod tests;

pub use apply::{MEMORY, Ordered, Outstanding, Purging};
pub use journal::purges_in;
pub use log::{Heard, Logged, PurgeLog, Shared, UnderWay, Verdict};
pub use matcher::{BadTarget, Patterns};
pub use memory::Found;
pub use receipt::{Receipt, Receipts};
pub use target::{Meta, Mode, Purge, PurgeTarget, StatusRange, told};
