//! The disk tier as it is written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::scalar::{Size, Written};

/// Stored responses on disk: they survive restarts, and may be larger than memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Disk {
    /// A directory for this larder alone; it is made where there is none. Relative paths count from the directory of
    /// this file. Empty: no disk tier.
    pub(in crate::config) path: Option<String>,
    /// Most bytes of files in it.
    pub(in crate::config) size: Option<Written<Size>>,
    /// Largest body stored there. Default: 4GiB, or a quarter of `size` where that is less.
    pub(in crate::config) max_object: Option<Written<Size>>,
    /// Bodies larger than this are on disk alone, smaller ones in memory as well. Default: 1MiB.
    pub(in crate::config) memory_object: Option<Written<Size>>,
}
