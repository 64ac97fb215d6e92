//! URLs of Redis. No message repeats one: they carry passwords.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::config::scalar::{Invalid, Scalar};
use crate::config::settings::redis::{RedisAddress, RedisServer};

/// The URL of a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct RedisUrl(pub(in crate::config) RedisServer);

/// What keys in Redis begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct RedisPrefix(pub(in crate::config) String);

const FORMS: &str = "write redis://user:password@host:6379/0, rediss:// for TLS, unix:///path, \
                     redis+sentinel://host,host/master or redis+cluster://host,host";

/// How the server is found.
enum Kind {
    Server,
    Sentinel,
    Cluster,
}

impl Scalar for RedisUrl {
    const FORMAT: &'static str = "redis-url";
    const WHAT: &'static str = "the URL of a Redis";
    const PATTERN: Option<&'static str> = Some("^(rediss?(\\+sentinel|\\+cluster)?|(redis\\+)?unix)://");

    fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| Invalid::new(format!("that is no URL of a Redis: {why}")).help(FORMS);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let (tls, kind) = match scheme {
            "redis" => (false, Kind::Server),
            "rediss" => (true, Kind::Server),
            "redis+sentinel" => (false, Kind::Sentinel),
            "rediss+sentinel" => (true, Kind::Sentinel),
            "redis+cluster" => (false, Kind::Cluster),
            "rediss+cluster" => (true, Kind::Cluster),
            "unix" | "redis+unix" => return unix(rest).map(RedisUrl).map_err(|why| wrong(&why)),
            _ => return Err(wrong("its scheme is none that is known")),
        };
        network(tls, &kind, rest).map(RedisUrl).map_err(|why| wrong(&why))
    }
}

impl Scalar for RedisPrefix {
    const FORMAT: &'static str = "redis-prefix";
    const WHAT: &'static str = "a prefix of keys";
    const PATTERN: Option<&'static str> = Some("^[A-Za-z0-9_.:-]+$");

    fn parse(text: &str) -> Result<Self, Invalid> {
        let sound = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b));
        if sound {
            Ok(RedisPrefix(text.to_owned()))
        } else {
            Err(Invalid::new(format!("`{text}` is no prefix")).help("prefixes are letters, digits, `_`, `.`, `:`, `-`"))
        }
    }
}

fn network(tls: bool, kind: &Kind, rest: &str) -> Result<RedisServer, String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (username, password) = login.split_once(':').unwrap_or((login, ""));
    let default_port = if matches!(kind, Kind::Sentinel) { 26379 } else { 6379 };
    let mut hosts = hosts.split(',').map(|host| host_and_port(host, default_port)).collect::<Result<Vec<_>, _>>()?;
    let (address, database) = match kind {
        Kind::Server if hosts.len() == 1 => {
            let (host, port) = hosts.swap_remove(0);
            (RedisAddress::Server(host, port), path)
        }
        Kind::Server => return Err("it names several hosts".to_owned()),
        Kind::Sentinel => {
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            let master = decoded(master)?.ok_or("the name of the sentinels' master is missing")?;
            (RedisAddress::Sentinel { sentinels: hosts, master }, database)
        }
        Kind::Cluster if path.is_empty() => (RedisAddress::Cluster(hosts), ""),
        Kind::Cluster => return Err("a cluster has no databases".to_owned()),
    };
    Ok(RedisServer {
        address,
        tls,
        ca_file: None,
        username: decoded(username)?,
        password: decoded(password)?,
        sentinel_password: None,
        database: number(database)?,
    })
}

fn unix(rest: &str) -> Result<RedisServer, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err("the path of the socket is not absolute".to_owned());
    }
    let mut server = RedisServer {
        address: RedisAddress::Unix(PathBuf::from(path)),
        tls: false,
        ca_file: None,
        username: None,
        password: None,
        sentinel_password: None,
        database: 0,
    };
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=').unwrap_or((parameter, "")) {
            ("db", value) => server.database = number(value)?,
            ("user", value) => server.username = decoded(value)?,
            ("pass", value) => server.password = decoded(value)?,
            (name, _) => return Err(format!("there is no parameter `{name}`; there are `db`, `user` and `pass`")),
        }
    }
    Ok(server)
}

fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':').map(Some).ok_or("what follows `]` is no port")?),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let sound = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b));
    if !sound {
        return Err("a host is missing or none".to_owned());
    }
    let port = match port.map(str::parse) {
        None => default_port,
        Some(Ok(0)) | Some(Err(_)) => return Err("a port is none".to_owned()),
        Some(Ok(port)) => port,
    };
    Ok((host.to_owned(), port))
}

fn number(text: &str) -> Result<i64, String> {
    match text {
        "" => Ok(0),
        digits => digits.parse::<u16>().map(i64::from).map_err(|_| "the database is no number".to_owned()),
    }
}

/// Without percent-encoding; `None`: empty.
fn decoded(text: &str) -> Result<Option<String>, String> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "a part of it is not UTF-8".to_owned())?;
    Ok(Some(decoded.into_owned()).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_urls_are_read() {
        let host = |host: &str, port| (host.to_owned(), port);
        for (text, address, login, tls, database) in [
            ("redis://cache", RedisAddress::Server("cache".into(), 6379), (None, None), false, 0),
            (
                "redis://:p%40ss@10.0.0.1:7000/3",
                RedisAddress::Server("10.0.0.1".into(), 7000),
                (None, Some("p@ss")),
                false,
                3,
            ),
            ("rediss://u:p@[::1]:7000", RedisAddress::Server("::1".into(), 7000), (Some("u"), Some("p")), true, 0),
            (
                "unix:///run/redis.sock?db=2&pass=a%2Fb",
                RedisAddress::Unix("/run/redis.sock".into()),
                (None, Some("a/b")),
                false,
                2,
            ),
            (
                "redis+sentinel://u:a@b@s1,s2:26380/main/1",
                RedisAddress::Sentinel { sentinels: vec![host("s1", 26379), host("s2", 26380)], master: "main".into() },
                (Some("u"), Some("a@b")),
                false,
                1,
            ),
            (
                "rediss+cluster://n1:7001,n2",
                RedisAddress::Cluster(vec![host("n1", 7001), host("n2", 6379)]),
                (None, None),
                true,
                0,
            ),
        ] {
            let RedisUrl(read) = RedisUrl::parse(text).unwrap();
            assert_eq!(read.address, address, "{text}");
            assert_eq!((read.username.as_deref(), read.password.as_deref()), login, "{text}");
            assert_eq!((read.tls, read.database), (tls, database), "{text}");
        }
    }

    #[test]
    fn redis_urls_that_are_none_are_refused_without_repeating_them() {
        for (text, part) in [
            ("s3cret", "scheme"),
            ("http://:s3cret@a", "scheme"),
            ("redis://:s3cret@", "host"),
            ("redis://:s3cret@a,b", "several"),
            ("redis://:s3cret@a:99999", "port"),
            ("redis://:s3cret@a/x", "number"),
            ("redis+sentinel://:s3cret@a", "master"),
            ("redis+cluster://:s3cret@a/1", "databases"),
            ("unix://s3cret", "absolute"),
            ("unix:///a?passwort=s3cret", "parameter"),
            ("redis://:s3cret%ff@a", "UTF-8"),
        ] {
            let invalid = RedisUrl::parse(text).unwrap_err();
            assert!(invalid.message.contains(part), "{text}: {invalid:?}");
            assert!(!format!("{invalid:?}").contains("s3cret"), "{text}: {invalid:?}");
        }
    }

    #[test]
    fn redis_servers_are_shown_without_their_secrets() {
        for (text, shown) in [
            ("redis://u:s3cret@[::1]/2", "redis://[::1]:6379/2"),
            ("unix:///a.sock?pass=s3cret&db=1", "unix:///a.sock?db=1"),
            ("rediss+sentinel://:s3cret@a,b/m/1", "rediss+sentinel://a:26379,b:26379/m/1"),
            ("redis+cluster://:s3cret@a:1", "redis+cluster://a:1"),
        ] {
            let RedisUrl(server) = RedisUrl::parse(text).unwrap();
            assert_eq!(server.to_string(), shown);
            assert_eq!(format!("{server:?}"), shown);
            if let Ok(RedisUrl(again)) = RedisUrl::parse(shown) {
                assert_eq!(again.address, server.address);
            }
        }
    }
}
