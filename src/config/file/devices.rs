//! The table `devices`.

use http::HeaderName;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::OneOrMany;
use crate::config::scalar::Written;
use crate::config::values::Name;

/// Classes of devices.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Devices {
    /// The classes in order; the first that matches the User-Agent wins. Default: bot, tablet, mobile.
    pub(in crate::config) classes: Option<Vec<DeviceClass>>,
    /// The class of all other devices. Default: desktop.
    pub(in crate::config) default: Option<Written<Name>>,
    /// The request field that tells the upstream the class. Default: X-Device-Class.
    pub(in crate::config) field: Option<Written<HeaderName>>,
    /// Whether the upstream is told. Default: true.
    pub(in crate::config) send: Option<bool>,
}

/// A class of devices.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "user_agent"]))]
pub(in crate::config) struct DeviceClass {
    /// Its name, in the key and for the upstream. Several classes may have the same.
    pub(in crate::config) name: Option<Written<Name>>,
    /// A regular expression that is found in the User-Agent, or several of them.
    pub(in crate::config) user_agent: Option<OneOrMany<Regex>>,
}
