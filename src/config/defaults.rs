//! What holds where the file says nothing. `proxy.example.toml` shows each of these; a test keeps the two equal.

mod upstream;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::scalar::Memory;
use super::settings::redis::Redis;
use super::settings::{
    AccessLog, ClientTimeouts, Coding, Compression, CompressionCoding, Limits, LogFormat, LogTarget, StaticClass,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Where clients connect.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Where metrics are served.
pub(super) const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9145);
/// Where the control API is served.
pub(super) const CONTROL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9146);
/// Name of the upstream that the command line defines.
pub(super) const UPSTREAM: &str = "app";
/// Name of the route when the file has none.
pub(super) const ROUTE: &str = "default";
/// Name of the file of a generated token, in the state directory.
pub(super) const TOKEN_FILE: &str = "control-token";
/// The memory tier's share.
pub(super) const MEMORY: Memory = Memory::Percent(25);
/// Largest body on disk.
pub(super) const DISK_MAX_OBJECT: u64 = 4 << 30;
/// Largest body that is kept in memory where there is a disk: larger ones are read as quickly as clients take them.
pub(super) const DISK_MEMORY_OBJECT: u64 = 1 << 20;
/// Longest wait for another request's fetch.
pub(super) const COLLAPSE_WAIT: Duration = Duration::from_secs(5);
/// How long an uncacheable answer is remembered as such.
pub(super) const UNCACHEABLE_MEMORY: Duration = Duration::from_secs(60);
/// Largest request body: room for the uploads that legacy apps take. It is streamed, so it costs no memory here;
/// the bound protects the app's disk.
pub(super) const MAX_REQUEST_BODY: u64 = 100 << 20;
/// How much of a request body is held before the app is asked: forms and API calls as a whole, files not.
pub(super) const BUFFER_REQUEST: usize = 64 << 10;
/// Query parameters by which advertisers, newsletters and analytics track visitors: no app makes its answer of them.
pub(super) const TRACKING: [&str; 42] = [
    "utm_*",
    // Google
    "gclid",
    "gclsrc",
    "dclid",
    "gbraid",
    "wbraid",
    "gad_source",
    "gad_campaignid",
    "srsltid",
    "_ga",
    "_gl",
    // Meta, Microsoft, Yandex, and others' click identifiers
    "fbclid",
    "igshid",
    "igsh",
    "msclkid",
    "yclid",
    "ysclid",
    "_openstat",
    "ttclid",
    "twclid",
    "li_fat_id",
    "epik",
    "rdt_cid",
    "ScCid",
    "irclickid",
    "wickedid",
    "s_kwcid",
    "ef_id",
    // Newsletters and marketing suites
    "mc_cid",
    "mc_eid",
    "mkt_tok",
    "vero_id",
    "oly_enc_id",
    "oly_anon_id",
    "_hsenc",
    "_hsmi",
    "__hstc",
    "__hssc",
    "__hsfp",
    "hsCtaTracking",
    "mtm_*",
    "_kx",
];
/// Longest wait for a place at an upstream.
pub(super) const PLACE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the program that decides who may.
pub(super) const AUTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for requests in flight at the end.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
/// The diagnostic log's filter.
pub(super) const LOG_LEVEL: &str = "info";

impl Default for Redis {
    fn default() -> Self {
        Redis {
            bodies: None,
            purging: None,
            node: None,
            prefix: "larder".to_owned(),
            // A miss costs an exchange with the app anyway: a look-up must not double it.
            timeout: Duration::from_millis(20),
            // Enough for two of Redis' I/O threads; operations share them.
            connections: 2,
            // What is larger would keep a node's other values waiting.
            max_object: 1 << 20,
            collapse: false,
            strict: false,
            purge_history: 10_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head: 32 << 10,
            field: 8 << 10,
            fields: 100,
            uri: 8 << 10,
            connections: 10_000,
            http2_streams: 100,
            ranges: 8,
        }
    }
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        ClientTimeouts {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(60),
        }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        AccessLog { target: LogTarget::Stdout, format: LogFormat::Json }
    }
}

impl Default for Compression {
    /// Brotli first: the smallest for text at a level that is as quick as gzip's; a hit is not compressed again.
    fn default() -> Self {
        let types = [
            "text/*",
            "*+json",
            "*+xml",
            "application/json",
            "application/javascript",
            "application/manifest+json",
            "application/vnd.ms-fontobject",
            "application/wasm",
            "application/x-javascript",
            "application/xml",
            "font/otf",
            "font/ttf",
            "image/bmp",
            "image/svg+xml",
            "image/vnd.microsoft.icon",
            "image/x-icon",
        ];
        Compression {
            codings: [Coding::Brotli, Coding::Zstd, Coding::Gzip].map(CompressionCoding::usual).to_vec(),
            min_size: 1 << 10,
            types: types.map(str::to_owned).to_vec(),
        }
    }
}

impl CompressionCoding {
    /// A coding at the level that suits compressing while a client waits.
    pub const fn usual(coding: Coding) -> Self {
        let level = match coding {
            Coding::Gzip => 6,
            Coding::Brotli => 4,
            Coding::Zstd => 3,
        };
        CompressionCoding { coding, level }
    }
}

/// Networks of clients that are trusted: loopback.
pub(super) fn trusted_clients() -> Vec<IpNet> {
    let v4 = IpNet::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
    let v6 = IpNet::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
    [v4, v6].into_iter().flatten().collect()
}

/// The built-in classes of static files, in order.
pub(super) fn static_classes() -> Vec<StaticClass> {
    let class = |name: &str, days: u32, extensions: &[&str], types: &[&str]| StaticClass {
        name: name.to_owned(),
        extensions: extensions.iter().map(|&extension| extension.to_owned()).collect(),
        types: types.iter().map(|&kind| kind.to_owned()).collect(),
        max_age: days * DAY,
        versioned_max_age: Some(365 * DAY),
        override_upstream: false,
        // A document or a recording behind a session is often one person's.
        with_cookies: !matches!(name, "documents" | "media"),
    };
    vec![
        class(
            "fonts",
            365,
            &["woff2", "woff", "ttf", "otf", "eot"],
            &[
                "font/*",
                "application/font-woff",
                "application/font-woff2",
                "application/x-font-woff",
                "application/x-font-ttf",
                "application/x-font-otf",
                "application/vnd.ms-fontobject",
            ],
        ),
        class(
            "images",
            30,
            &["png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico", "bmp", "apng", "jxl"],
            &["image/*"],
        ),
        class("styles", 7, &["css"], &["text/css"]),
        class(
            "scripts",
            7,
            &["js", "mjs", "wasm"],
            &["text/javascript", "application/javascript", "application/x-javascript", "application/wasm"],
        ),
        class(
            "media",
            30,
            &["mp4", "m4v", "webm", "ogv", "mov", "mp3", "m4a", "ogg", "oga", "opus", "wav", "flac"],
            &["video/*", "audio/*", "application/ogg"],
        ),
        class(
            "documents",
            1,
            &["pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "ods", "odp", "epub"],
            &[
                "application/pdf",
                "application/msword",
                "application/vnd.ms-excel",
                "application/vnd.ms-powerpoint",
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                "application/vnd.openxmlformats-officedocument.presentationml.presentation",
                "application/vnd.oasis.opendocument.text",
                "application/vnd.oasis.opendocument.spreadsheet",
                "application/vnd.oasis.opendocument.presentation",
                "application/epub+zip",
            ],
        ),
    ]
}
