//! The command line: one file a command.

pub mod app;
pub mod args;
pub mod cache;
mod cache_operations;
pub mod check;
pub mod control_client;
pub mod demo;
pub mod demo_app;
mod descriptors;
pub mod explain;
mod operations;
pub mod purge;
mod purges;
pub mod run;
pub mod stats;
pub mod upstreams;
