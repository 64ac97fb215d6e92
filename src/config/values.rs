//! Values with a grammar of their own: addresses, URLs of servers, patterns, names of fields and of things.

mod front;
mod invalidation;
mod log;
pub(super) mod redis;
mod upstream;

use std::net::SocketAddr;

use globset::GlobBuilder;
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use ipnet::IpNet;
use regex::Regex;

use super::scalar::{Deadline, Invalid, Memory, Scalar, Size, Span};
use super::settings::{
    BodyPattern, HashBy, HostPattern, ListenAddress, LogTarget, PathPattern, RateKey, StatusRange, Template,
    UpstreamHost, UpstreamServer, ValuePattern,
};

pub(super) use front::{AuthUrl, Mode, Rate};
use invalidation::no_place;
pub(super) use invalidation::{MAX_PATTERN, PurgeGlob};
pub(super) use log::LogFilter;
pub(super) use upstream::UrlPath;

/// Tells whether a text is a value of some kind.
type Check = fn(&str) -> Result<(), Invalid>;

/// The check of a kind of value, by its name in the schema.
pub(super) fn check_of(format: &str) -> Option<Check> {
    fn check<T: Scalar>(text: &str) -> Result<(), Invalid> {
        T::parse(text).map(drop)
    }
    macro_rules! find {
        ($($kind:ty),* $(,)?) => {
            $(if format == <$kind>::FORMAT { return Some(check::<$kind>); })*
        };
    }
    find!(
        Span,
        Deadline,
        Size,
        Memory,
        SocketAddr,
        Endpoint,
        UpstreamServer,
        UpstreamHost,
        HostPattern,
        PathPattern,
        ValuePattern,
        HeaderName,
        EditedField,
        HeaderValue,
        Method,
        StatusCode,
        IpNet,
        Name,
        Extension,
        MediaType,
        LogTarget,
        LogFilter,
        Secret,
        ParameterName,
        ListenAddress,
        Mode,
        Rate,
        RateKey,
        AuthUrl,
        redis::RedisUrl,
        redis::RedisPrefix,
        UrlPath,
        Regex,
        StatusRange,
        BodyPattern,
        HashBy,
        Template,
        PurgeGlob,
    );
    None
}

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Off,
    At(SocketAddr),
}

/// A field that may be edited: not one that frames the message or that larder writes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EditedField(pub(super) HeaderName);

/// A name in metrics, logs and messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(pub(super) String);

/// A file extension, lower case, without its dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extension(pub(super) String);

/// A media type or a pattern of such, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MediaType(pub(super) String);

/// The name of a cookie or query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParameterName(pub(super) String);

/// A bearer token; empty: none given.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl Scalar for SocketAddr {
    const FORMAT: &'static str = "address";
    const WHAT: &'static str = "an address with a port";

    fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse().map_err(|_| {
            let invalid = Invalid::new(format!("`{text}` is no address with a port"));
            match text.trim_start_matches(':').parse::<u16>() {
                Ok(port) => invalid.help(format!("`0.0.0.0:{port}` is that port on all addresses")),
                Err(_) => invalid.help("write an IP address and a port, e.g. `127.0.0.1:8080` or `[::]:8080`"),
            }
        })
    }
}

impl Scalar for Endpoint {
    const FORMAT: &'static str = "address-or-off";
    const WHAT: &'static str = "an address with a port, or `off`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        if text == "off" { Ok(Endpoint::Off) } else { SocketAddr::parse(text).map(Endpoint::At) }
    }
}

impl Scalar for UpstreamServer {
    const FORMAT: &'static str = "server-url";
    const WHAT: &'static str = "the URL of a server";
    const PATTERN: Option<&'static str> = Some("^(https?://[^/?#@]+/?|unix:/.+)$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        let form = "write `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`";
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(UpstreamServer::on_socket(path)),
                false => Err(Invalid::new(format!("`{text}` names no absolute path of a socket")).help(form)),
            };
        }
        let scheme_end = text.find("://");
        let tls = match scheme_end.map(|end| text[..end].to_ascii_lowercase()).as_deref() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(Invalid::new(format!("unknown scheme `{other}` of a server")).help(form)),
            None => {
                let help = if text.is_empty() { form.to_owned() } else { format!("write `http://{text}`") };
                return Err(Invalid::new(format!("`{text}` is no URL of a server: it lacks `http://`")).help(help));
            }
        };
        let invalid =
            |why: &str| Err(Invalid::new(format!("`{}` is no URL of a server: {why}", masked(text))).help(form));
        let Ok(uri) = text.parse::<Uri>() else { return invalid("it can't be read as a URL") };
        let Some(authority) = uri.authority() else { return invalid("it names no host") };
        if authority.as_str().contains('@') {
            return Err(Invalid::new("user and password in the URL of a server are not used")
                .help("set Authorization by `request_headers` of the route"));
        }
        if !matches!(uri.path(), "" | "/") {
            let help = format!("a route's `rewrite = {{ add_prefix = {:?} }}` puts it before the path", uri.path());
            return invalid("a path is not used, requests keep their own").map_err(|invalid| invalid.help(help));
        }
        if uri.query().is_some() || text.contains('#') {
            return invalid("a query or a fragment is not used, requests keep their own");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return invalid("it names no host");
        }
        let port_text = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port = match port_text.strip_prefix(':').map(str::parse) {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(Ok(port @ 1..)) => port,
            Some(_) => return invalid("its port is none from 1 to 65535"),
        };
        Ok(UpstreamServer::new(tls, host.to_ascii_lowercase(), port))
    }
}

/// A URL without user and password, for messages.
fn masked(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://***{}", &url[..scheme], &url[at..]),
        _ => url.to_owned(),
    }
}

impl Scalar for UpstreamHost {
    const FORMAT: &'static str = "host-choice";
    const WHAT: &'static str = "`client`, `server` or a host";

    fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "client" => Ok(UpstreamHost::Client),
            "server" => Ok(UpstreamHost::Server),
            _ => {
                let authority = text.parse::<Authority>().ok().filter(|found| !found.as_str().contains('@'));
                authority
                    .and_then(|found| HeaderValue::from_str(found.as_str()).ok())
                    .map(UpstreamHost::Fixed)
                    .ok_or_else(|| {
                        Invalid::new(format!("`{text}` is no host"))
                            .help("write `client`, `server` or e.g. `app.example.org`")
                    })
            }
        }
    }
}

impl Scalar for HostPattern {
    const FORMAT: &'static str = "host-pattern";
    const WHAT: &'static str = "a host";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let (suffix, host) = match text.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, text),
        };
        if host.contains('*') {
            return Err(Invalid::new(format!("`{text}` is no host: `*` stands for the first labels only"))
                .help("write e.g. `*.example.org`"));
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_address = bare.parse::<std::net::IpAddr>().is_ok();
        if !is_address && host.contains(':') {
            return Err(Invalid::new(format!("`{text}` is no host: routes match hosts without their port")));
        }
        let readable = host.parse::<Authority>().is_ok_and(|authority| !authority.as_str().contains('@'));
        if host.is_empty() || !(readable || is_address) {
            return Err(
                Invalid::new(format!("`{text}` is no host")).help("write e.g. `example.org` or `*.example.org`")
            );
        }
        let host = host.to_ascii_lowercase();
        Ok(if suffix { HostPattern::Suffix(format!(".{host}")) } else { HostPattern::Exact(host) })
    }
}

impl Scalar for PathPattern {
    const FORMAT: &'static str = "path-pattern";
    const WHAT: &'static str = "a path pattern";
    const PATTERN: Option<&'static str> = Some("^(/|= ?/|~ ?)");

    fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(path) = text.strip_prefix('=').map(str::trim_start).filter(|path| path.starts_with('/')) {
            return Ok(PathPattern::Exact(path.to_owned()));
        }
        if let Some(expression) = text.strip_prefix('~') {
            return regex(expression.trim_start()).map(PathPattern::Regex);
        }
        if !text.starts_with('/') {
            return Err(Invalid::new(format!("`{text}` is no path pattern"))
                .help("write `/prefix/`, `= /exact`, a glob such as `/a/**/*.html`, or `~ regex`"));
        }
        if !text.contains(['*', '?', '[', '{']) {
            return Ok(PathPattern::Prefix(text.to_owned()));
        }
        no_place(text, "`*` stands for any segment; `~ ^/a/(?<id>[^/]+)` names one")?;
        GlobBuilder::new(text)
            .literal_separator(true)
            .build()
            .map(|glob| PathPattern::Glob(glob.compile_matcher()))
            .map_err(|error| Invalid::new(format!("`{text}` is no glob: {}", error.kind())))
    }
}

impl Scalar for ValuePattern {
    const FORMAT: &'static str = "value-pattern";
    const WHAT: &'static str = "a value, `*` or `~ regex`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix('~') {
            Some(expression) => regex(expression.trim_start()).map(ValuePattern::Regex),
            None if text == "*" => Ok(ValuePattern::Present),
            None => Ok(ValuePattern::Exact(text.to_owned())),
        }
    }
}

fn regex(expression: &str) -> Result<Regex, Invalid> {
    Regex::new(expression).map_err(|error| {
        // regex draws its own caret over several lines; the last one says what is wrong.
        let shown = error.to_string();
        let why = shown.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Invalid::new(format!("`{expression}` is no regular expression: {why}"))
    })
}

impl Scalar for Regex {
    const FORMAT: &'static str = "regex";
    const WHAT: &'static str = "a regular expression";

    fn parse(text: &str) -> Result<Self, Invalid> {
        regex(text)
    }
}

impl Scalar for HeaderName {
    const FORMAT: &'static str = "field-name";
    const WHAT: &'static str = "the name of a header field";
    const PATTERN: Option<&'static str> = Some("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse().map_err(|_| Invalid::new(format!("`{text}` is no name of a header field")))
    }
}

impl Scalar for EditedField {
    const FORMAT: &'static str = "edited-field-name";
    const WHAT: &'static str = "the name of a header field";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let name = HeaderName::parse(text)?;
        match name.as_str() {
            "host" => Err(Invalid::new("`host` can't be edited").help("set `host` of the upstream")),
            "connection" | "content-length" | "keep-alive" | "proxy-connection" | "te" | "trailer"
            | "transfer-encoding" | "upgrade" => {
                Err(Invalid::new(format!("`{name}` can't be edited: it belongs to the connection")))
            }
            _ => Ok(EditedField(name)),
        }
    }
}

impl Scalar for HeaderValue {
    const FORMAT: &'static str = "field-value";
    const WHAT: &'static str = "the value of a header field";

    fn parse(text: &str) -> Result<Self, Invalid> {
        HeaderValue::from_str(text)
            .map_err(|_| Invalid::new("the value of a header field can't contain line ends or control characters"))
    }
}

impl Scalar for Method {
    const FORMAT: &'static str = "method";
    const WHAT: &'static str = "a method";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let method: Method = text.parse().map_err(|_| Invalid::new(format!("`{text}` is no method")))?;
        let upper = text.to_ascii_uppercase();
        if upper != text {
            return Err(Invalid::new(format!("`{text}` is no method: methods are case-sensitive"))
                .help(format!("write `{upper}`")));
        }
        Ok(method)
    }
}

impl Scalar for StatusCode {
    const FORMAT: &'static str = "status";
    const WHAT: &'static str = "a status code";
    const PATTERN: Option<&'static str> = Some("^[2-5][0-9][0-9]$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse::<StatusCode>()
            .ok()
            .filter(|status| (200..600).contains(&status.as_u16()))
            .ok_or_else(|| Invalid::new(format!("`{text}` is no final status code")).help("write e.g. `404`"))
    }
}

impl Scalar for IpNet {
    const FORMAT: &'static str = "network";
    const WHAT: &'static str = "a network or address";

    fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).map_err(|_| {
            Invalid::new(format!("`{text}` is no network")).help("write e.g. `10.0.0.0/8`, `fd00::/8` or `192.0.2.1`")
        })
    }
}

impl Scalar for Name {
    const FORMAT: &'static str = "name";
    const WHAT: &'static str = "a name";
    const PATTERN: Option<&'static str> = Some("^[A-Za-z0-9_-]+$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        let sound = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if sound {
            Ok(Name(text.to_owned()))
        } else {
            Err(Invalid::new(format!("`{text}` is no name")).help("names are letters, digits, `-` and `_`"))
        }
    }
}

impl Scalar for Extension {
    const FORMAT: &'static str = "extension";
    const WHAT: &'static str = "a file extension";
    const PATTERN: Option<&'static str> = Some("^[A-Za-z0-9_-]+$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        match Name::parse(text) {
            Ok(Name(text)) => Ok(Extension(text.to_ascii_lowercase())),
            Err(_) => {
                let invalid = Invalid::new(format!("`{text}` is no file extension"));
                Err(invalid.help("write it without dot and wildcard, e.g. `woff2`"))
            }
        }
    }
}

impl Scalar for MediaType {
    const FORMAT: &'static str = "media-type";
    const WHAT: &'static str = "a media type";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let token = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let sound = match text.split_once('/') {
            Some((kind, subtype)) => token(kind) && (subtype == "*" || token(subtype)),
            None => text.strip_prefix("*+").is_some_and(token),
        };
        if sound {
            Ok(MediaType(text.to_ascii_lowercase()))
        } else {
            Err(Invalid::new(format!("`{text}` is no media type")).help("write e.g. `text/css`, `image/*` or `*+json`"))
        }
    }
}

impl Scalar for Secret {
    const FORMAT: &'static str = "secret";
    const WHAT: &'static str = "a token";

    fn parse(text: &str) -> Result<Self, Invalid> {
        // What a client can't send in a field could never match.
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Secret(text.to_owned()))
        } else {
            Err(Invalid::new("a token is of visible ASCII characters, without spaces"))
        }
    }
}

impl Scalar for ParameterName {
    const FORMAT: &'static str = "parameter-name";
    const WHAT: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() { Err(Invalid::new("a name can't be empty")) } else { Ok(ParameterName(text.to_owned())) }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests;
