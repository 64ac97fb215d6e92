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
mod files;
mod operations;
pub mod purge;
mod purges;
mod reloads;
pub mod run;
pub mod stats;
pub mod upstreams;
