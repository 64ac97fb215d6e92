//! The table `[[listeners]]`.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::scalar::{Span, Written};
use crate::config::settings::ListenAddress;
use crate::config::values::{EditedField, Mode, Rate};

/// A listening socket for clients.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["address"]))]
pub(in crate::config) struct Listener {
    /// Address and port (port 0 picks a free one), `unix:/path` of a socket, or `systemd:NAME` of a socket that the
    /// service manager passes on.
    pub(in crate::config) address: Option<Written<ListenAddress>>,
    /// Permissions of a Unix socket, octal. Default: 0660.
    pub(in crate::config) mode: Option<Written<Mode>>,
    /// Certificates; without them the listener speaks cleartext.
    pub(in crate::config) tls: Option<Tls>,
    /// Networks whose connections must begin with a PROXY protocol header, version 1 or 2, which names the client.
    /// Connections from elsewhere are refused. Default: none, and no such header is taken.
    pub(in crate::config) proxy_protocol: Option<Vec<Written<IpNet>>>,
    /// Port of HTTPS to which cleartext requests are redirected. Default: none, they are served.
    #[schemars(range(min = 1, max = 65535))]
    pub(in crate::config) https_redirect: Option<u16>,
    /// Strict-Transport-Security on responses over TLS. Default: none.
    pub(in crate::config) hsts: Option<Hsts>,
    /// Bounds of this listener.
    pub(in crate::config) limits: ListenerLimits,
}

/// Certificates of a listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["certificates"]))]
pub(in crate::config) struct Tls {
    /// Chosen by the name that a client asks for (SNI); the first serves clients that name no known host.
    #[schemars(length(min = 1))]
    pub(in crate::config) certificates: Vec<Certificate>,
    /// Offer HTTP/2. Default: true.
    pub(in crate::config) http2: Option<bool>,
    /// PEM file of the authorities whose client certificates are accepted. Default: none are asked for.
    pub(in crate::config) client_ca: Option<String>,
    /// Whether a client must have a certificate of these authorities. Default: required.
    pub(in crate::config) client_certificate: Option<ClientCertificate>,
    /// Request field in which the app gets the subject of the client's certificate. Default: none.
    pub(in crate::config) subject_field: Option<Written<EditedField>>,
}

/// Whether a client must have a certificate.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum ClientCertificate {
    /// The handshake fails without one.
    Required,
    /// It may do without; one that is shown must be valid.
    Optional,
}

/// PEM files of one certificate. Relative paths count from the directory of this file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["cert", "key"]))]
pub(in crate::config) struct Certificate {
    /// Certificate chain, leaf first.
    pub(in crate::config) cert: Option<String>,
    /// Private key.
    pub(in crate::config) key: Option<String>,
}

/// Strict-Transport-Security (RFC 6797).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["max_age"]))]
pub(in crate::config) struct Hsts {
    /// How long browsers insist on HTTPS.
    pub(in crate::config) max_age: Option<Written<Span>>,
    /// Also for all names below. Default: false.
    pub(in crate::config) subdomains: Option<bool>,
    /// Ask for browsers' preload lists. Default: false.
    pub(in crate::config) preload: Option<bool>,
}

/// Bounds of a listener.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct ListenerLimits {
    /// Most open connections; further ones are closed at once. Default: `limits.connections` alone.
    #[schemars(range(min = 1))]
    pub(in crate::config) connections: Option<usize>,
    /// Most open connections of one address, an IPv6 one by its /64 network; further ones are closed at once.
    /// Default: no bound.
    #[schemars(range(min = 1))]
    pub(in crate::config) connections_per_address: Option<usize>,
    /// Requests of one address over time, e.g. `100/s` or `1000/m`. Default: no bound.
    pub(in crate::config) rate: Option<Written<Rate>>,
    /// Requests beyond the rate that may come at once. Default: a second's worth.
    #[schemars(range(min = 1))]
    pub(in crate::config) burst: Option<u32>,
}
