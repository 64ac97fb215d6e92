//! Which class of device asks, on routes that keep their answers apart by it.

use http::{HeaderMap, HeaderValue, header};

use crate::config::settings::Devices;

/// The class of device by the User-Agent, told to the upstream as well: what a client said in that field is replaced,
/// so that the app's `Vary` may name it.
pub(super) fn classify<'a>(devices: &'a Devices, headers: &mut HeaderMap) -> &'a str {
    let user_agent = headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let class = devices.class(user_agent.as_deref().unwrap_or_default());
    if devices.send
        && let Ok(value) = HeaderValue::from_str(class)
    {
        headers.insert(devices.field.clone(), value);
    }
    class
}
