//! The table `cache.tags`.

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::scalar::{Size, Written};

/// Tags by which the app lets responses be purged together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Tags {
    /// Response fields that carry tags; clients never see them. In those with `cache-tag` in their name commas separate,
    /// in those with `surrogate-key` spaces, in others both. Default: Surrogate-Key, Cache-Tag, xkey.
    pub(in crate::config) fields: Option<Vec<Written<HeaderName>>>,
    /// Most tags and cache groups of a response; one with more is not stored. Default: 1000.
    #[schemars(range(min = 1, max = 10000))]
    pub(in crate::config) most: Option<usize>,
    /// Longest tag; a response with a longer one is not stored. Default: 1KiB.
    pub(in crate::config) longest: Option<Written<Size>>,
}
