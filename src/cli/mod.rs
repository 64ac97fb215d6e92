//! The command line: one file a command.

pub mod control_client;
pub mod purge;
pub mod stats;
