//! The table `[control]`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::scalar::Written;
use crate::config::values::{Endpoint, Name, Secret};

/// The control API.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Control {
    /// Address of the control API, or `off`. Default: 127.0.0.1:9146.
    pub(in crate::config) address: Option<Written<Endpoint>>,
    /// Bearer token that clients of the control API present; it allows everything. Default: generated at the first
    /// start.
    pub(in crate::config) token: Option<Written<Secret>>,
    /// Where a generated token is kept. Default: `control-token` in the state directory of the service or user.
    pub(in crate::config) token_file: Option<String>,
    /// Further tokens, each for somebody, which allow less. Default: none.
    pub(in crate::config) tokens: Vec<ScopedToken>,
    /// Host values accepted beside the address itself and localhost. Default: none.
    pub(in crate::config) allowed_hosts: Option<Vec<String>>,
}

/// A token for somebody.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "token", "scopes"]))]
pub(in crate::config) struct ScopedToken {
    /// Names its holder in the audit log.
    pub(in crate::config) name: Option<Written<Name>>,
    /// Its text.
    pub(in crate::config) token: Option<Written<Secret>>,
    /// What it allows.
    #[schemars(length(min = 1))]
    pub(in crate::config) scopes: Vec<Scope>,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Scope {
    /// Looking: what is stored, figures, the settings.
    Read,
    /// Purging, and reading what became of a purge.
    Purge,
    /// Everything.
    Admin,
}
