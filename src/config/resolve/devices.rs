//! Classes of devices: the built-in ones, or those of the file.

use http::HeaderName;
use regex::RegexSet;

use super::Resolver;
use crate::config::file::{self, OneOrMany};
use crate::config::scalar::Written;
use crate::config::settings::{DeviceClass, Devices};
use crate::config::values::Name;

/// The built-in classes. Tablets of the second kind are those that say Android and not Mobile, which only the order
/// can tell.
const BUILT_IN: [(&str, &[&str]); 4] = [
    (
        "bot",
        &[r"(?i)(^|[^u])bot\b", r"(?i)crawl|spider|slurp|facebookexternalhit|lighthouse|^(curl|wget|python|go-http)"],
    ),
    ("tablet", &[r"(?i)ipad|kindle|silk/|playbook", r"(?i)\btablet *[;)]"]),
    ("mobile", &[r"(?i)mobi|iphone|ipod|phone|opera mini"]),
    ("tablet", &[r"(?i)android"]),
];

impl Default for Devices {
    fn default() -> Self {
        let class = |(name, user_agent): (&str, &[&str])| DeviceClass {
            name: name.to_owned(),
            user_agent: user_agent.iter().map(|&expression| expression.to_owned()).collect(),
        };
        let mut devices = Devices {
            classes: BUILT_IN.map(class).to_vec(),
            default: "desktop".to_owned(),
            field: HeaderName::from_static("x-device-class"),
            send: true,
            set: RegexSet::empty(),
            class_of: Vec::new(),
        };
        devices.compile().expect("a test compiles them");
        devices
    }
}

impl Resolver<'_> {
    pub(super) fn devices(&mut self, written: file::Devices) -> Devices {
        let usual = Devices::default();
        let mut devices = Devices {
            classes: match written.classes {
                Some(classes) => classes.into_iter().filter_map(class).collect(),
                None => usual.classes,
            },
            default: written.default.map_or(usual.default, |Written(Name(name))| name),
            field: written.field.map_or(usual.field, |Written(name)| name),
            send: written.send.unwrap_or(usual.send),
            ..usual
        };
        if devices.compile().is_err() {
            self.problem("devices.classes", "the expressions are too large together", None);
        }
        devices
    }
}

/// `None` where something is missing, which the check reports.
fn class(written: file::DeviceClass) -> Option<DeviceClass> {
    let (Written(Name(name)), OneOrMany(expressions)) = (written.name?, written.user_agent?);
    Some(DeviceClass { name, user_agent: expressions.iter().map(|it| it.as_str().to_owned()).collect() })
}
