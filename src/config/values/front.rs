//! Values of listeners and guards: where to listen, rates, permissions.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;

use crate::config::scalar::{Invalid, Scalar};
use crate::config::settings::{ListenAddress, RateKey, UpstreamServer};

/// So many requests in a second, minute or hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Rate {
    pub(in crate::config) count: NonZeroU32,
    pub(in crate::config) per: Duration,
}

/// Permissions of a file, octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Mode(pub(in crate::config) u32);

/// A URL that is asked whether a request may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct AuthUrl {
    pub(in crate::config) server: UpstreamServer,
    pub(in crate::config) target: PathAndQuery,
}

impl Scalar for ListenAddress {
    const FORMAT: &'static str = "listen-address";
    const WHAT: &'static str = "an address to listen on";

    fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(path) = text.strip_prefix("unix:") {
            // The kernel's bound for the path of a socket, its final NUL included.
            return match path.len() {
                0 => Err(Invalid::new("`unix:` lacks the path of a socket").help("write `unix:/run/larder/http.sock`")),
                1..108 => Ok(ListenAddress::Unix(PathBuf::from(path))),
                _ => Err(Invalid::new("the path of a Unix socket has at most 107 bytes")),
            };
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b));
            return if valid {
                Ok(ListenAddress::Systemd(name.to_owned()))
            } else {
                Err(Invalid::new(format!("`{text}` names no socket"))
                    .help("write the `FileDescriptorName` of the socket unit, e.g. `systemd:http`"))
            };
        }
        SocketAddr::parse(text).map(ListenAddress::Tcp)
    }
}

impl Scalar for Rate {
    const FORMAT: &'static str = "rate";
    const WHAT: &'static str = "a rate";
    const PATTERN: Option<&'static str> = Some("^[0-9]+ ?/ ?(s|m|h)$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(format!("`{text}` is no rate")).help("write e.g. `10/s`, `100/m` or `1000/h`");
        let (count, unit) = text.split_once('/').ok_or_else(invalid)?;
        let per = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(invalid()),
        };
        let count = count.trim().parse().map_err(|_| invalid())?;
        Ok(Rate { count, per: Duration::from_secs(per) })
    }
}

impl Scalar for RateKey {
    const FORMAT: &'static str = "rate-key";
    const WHAT: &'static str = "what has a rate of its own";
    const PATTERN: Option<&'static str> = Some("^(address|route|header:.+|cookie:.+)$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        match (text, text.split_once(':')) {
            ("address", _) => Ok(RateKey::Address),
            ("route", _) => Ok(RateKey::Route),
            (_, Some(("header", name))) => HeaderName::parse(name).map(RateKey::Header),
            (_, Some(("cookie", name))) if !name.is_empty() => Ok(RateKey::Cookie(name.to_owned())),
            _ => Err(Invalid::new(format!("`{text}` is nothing that has a rate"))
                .help("one of `address`, `route`, `header:NAME`, `cookie:NAME`")),
        }
    }
}

impl Scalar for Mode {
    const FORMAT: &'static str = "mode";
    const WHAT: &'static str = "permissions, octal";
    const PATTERN: Option<&'static str> = Some("^0?[0-7]{3}$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 && text.len() >= 3 => Ok(Mode(mode)),
            _ => Err(Invalid::new(format!("`{text}` are no permissions")).help("write e.g. `\"0660\"`")),
        }
    }
}

impl Scalar for AuthUrl {
    const FORMAT: &'static str = "auth-url";
    const WHAT: &'static str = "the URL to ask";
    const PATTERN: Option<&'static str> = Some("^https?://[^/?#@]+(/.*)?$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        let path = text.find("://").and_then(|at| text[at + 3..].find('/').map(|slash| at + 3 + slash));
        let (server, target) = text.split_at(path.unwrap_or(text.len()));
        let target = if target.is_empty() { "/" } else { target };
        Ok(AuthUrl {
            server: UpstreamServer::parse(server)?,
            target: target.parse().map_err(|_| Invalid::new(format!("`{target}` is no path")))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_are_read() {
        for (text, expected) in [
            ("127.0.0.1:80", Some(ListenAddress::Tcp(([127, 0, 0, 1], 80).into()))),
            ("unix:/run/larder.sock", Some(ListenAddress::Unix("/run/larder.sock".into()))),
            ("systemd:http", Some(ListenAddress::Systemd("http".into()))),
            ("unix:", None),
            ("systemd:", None),
            ("systemd:a b", None),
            ("localhost:80", None),
        ] {
            assert_eq!(ListenAddress::parse(text).ok(), expected, "{text}");
            if let Some(address) = expected {
                assert_eq!(address.to_string(), text);
            }
        }
        assert!(ListenAddress::parse(&format!("unix:/{}", "x".repeat(107))).is_err());
    }

    #[test]
    fn rates_are_read() {
        for (text, expected) in [
            ("10/s", Some((10, 1))),
            ("100 / m", Some((100, 60))),
            ("1/h", Some((1, 3600))),
            ("0/s", None),
            ("10", None),
            ("10/d", None),
            ("-1/s", None),
            ("x/s", None),
        ] {
            let read = Rate::parse(text).ok().map(|rate| (rate.count.get(), rate.per.as_secs()));
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!(RateKey::parse("header:X-Key"), Ok(RateKey::Header(HeaderName::from_static("x-key"))));
        assert_eq!(RateKey::parse("cookie:a"), Ok(RateKey::Cookie("a".to_owned())));
        for text in ["", "header:", "cookie:", "ip"] {
            assert!(RateKey::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn permissions_and_urls_are_read() {
        assert_eq!(Mode::parse("0660"), Ok(Mode(0o660)));
        for text in ["8", "660x", "01777", ""] {
            assert!(Mode::parse(text).is_err(), "{text}");
        }
        let url = AuthUrl::parse("http://127.0.0.1:9000/verify?x=1").unwrap();
        assert_eq!((url.server.port, url.target.as_str()), (9000, "/verify?x=1"));
        assert_eq!(AuthUrl::parse("https://auth.test").unwrap().target.as_str(), "/");
        assert!(AuthUrl::parse("auth.test/verify").is_err());
    }
}
