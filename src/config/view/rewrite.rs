//! Rewrites and redirects in the words of the file.

use serde_json::{Map, Value, json};

use crate::config::settings::{Redirect, Rewrite};

pub(super) fn rewrite(rewrite: Option<&Rewrite>) -> Value {
    let Some(Rewrite { strip_prefix, replace, add_prefix, host, cookie_domains }) = rewrite else { return Value::Null };
    let domains: Map<_, _> = cookie_domains.iter().map(|(from, to)| (from.clone(), to.as_str().into())).collect();
    json!({
        "strip_prefix": strip_prefix,
        "pattern": replace.as_ref().map(|(regex, _)| regex.as_str()),
        "replacement": replace.as_ref().map(|(_, with)| with),
        "add_prefix": add_prefix,
        "host": host.as_ref().map(|host| String::from_utf8_lossy(host.as_bytes())),
        "cookie_domains": domains,
    })
}

pub(super) fn redirect(redirect: Option<&Redirect>) -> Value {
    let Some(Redirect { to, status }) = redirect else { return Value::Null };
    json!({ "to": to, "status": status.as_u16() })
}
