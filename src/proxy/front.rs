//! What the listener that a connection came to asks of every request on it: HTTPS, a rate; and who its client is.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::admit::{Admitted, host_of};
use super::denial::Denial;
use super::rate::{RateLimiter, address_key};
use super::refusal::Refusal;
use crate::config::settings::Listener;
use crate::policy::fields;

/// Paths that certificate authorities ask for in cleartext (RFC 8555 §8.3): never redirected.
const ACME: &str = "/.well-known/acme-challenge/";

/// A listener's demands. Shared by its connections; those that are open keep theirs when it is reloaded.
#[derive(Debug, Default)]
pub struct Front {
    https_redirect: Option<u16>,
    /// Strict-Transport-Security, where the client speaks TLS.
    pub hsts: Option<HeaderValue>,
    rate: Option<Arc<RateLimiter>>,
}

/// Put into a request's extensions when it carries who its client is, found out by larder. What an app makes of it may
/// be for that client alone, as with Authorization.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identified;

impl Front {
    /// As the settings want it. What was counted so far goes on counting where the bound is the same.
    pub fn new(settings: &Listener, before: Option<&Front>) -> Self {
        let kept = before.and_then(|before| before.rate.clone());
        let rate = settings.limits.rate.map(|limit| match kept.filter(|kept| kept.limit() == limit) {
            Some(kept) => kept,
            None => Arc::new(RateLimiter::new(limit)),
        });
        Front { https_redirect: settings.https_redirect, hsts: settings.hsts.clone(), rate }
    }

    /// Whether the listener lets every request through, and counts none.
    pub(super) fn is_open(&self) -> bool {
        self.rate.is_none() && self.https_redirect.is_none()
    }

    /// Whether the listener lets a request through.
    pub(super) fn check(&self, admitted: &Admitted) -> Result<(), Box<Denial>> {
        if let Some(rate) = &self.rate {
            rate.check(address_key(admitted.client))?;
        }
        match self.https_redirect {
            Some(port) if admitted.scheme == "http" && !admitted.target.path().starts_with(ACME) => {
                Err(to_https(admitted, port))
            }
            _ => Ok(()),
        }
    }
}

/// 308 keeps the method, so that nothing sent in cleartext by mistake turns into a GET.
fn to_https(admitted: &Admitted, port: u16) -> Box<Denial> {
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let location = format!("https://{}{port}{}", host_of(&admitted.authority), admitted.target);
    Denial::of(Refusal::HttpsRedirect).with(header::LOCATION, &location)
}

/// Tells the app who a request's client is, in fields that larder alone writes.
pub(super) fn identify<'a>(request: &mut Parts, known: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) {
    let mut identified = false;
    for (name, value) in known {
        request.headers.append(name.clone(), value.clone());
        identified = true;
    }
    if identified {
        request.extensions.insert(Identified);
        // What it nominates is gone already. It must not take away what has just been added when the request goes out.
        request.headers.remove(header::CONNECTION);
    }
}

/// Removes fields of these names, and those that CGI and WSGI apps can't tell from them.
pub(super) fn forget_claims(headers: &mut HeaderMap, names: &[HeaderName]) {
    fields::remove_where(headers, |given| {
        names.iter().any(|name| *given == name || given.as_str().replace('_', "-") == name.as_str())
    });
}

/// The address that counts as one client: IPv6 providers give each of theirs a /64 network or more.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_removed_whatever_they_are_written_with() {
        let mut headers = HeaderMap::new();
        for name in ["x-client-subject", "x_client_subject", "x-client_subject", "x-client-subject-other"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("me"));
        }
        forget_claims(&mut headers, &[HeaderName::from_static("x-client-subject")]);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-client-subject-other"]);
    }

    #[test]
    fn ipv6_addresses_count_by_their_network() {
        for (address, network) in
            [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")]
        {
            assert_eq!(network_of(address.parse().unwrap()), network.parse::<IpAddr>().unwrap());
        }
    }
}
