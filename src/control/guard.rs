//! Who may use the control API: holders of a token with the scope that is asked for, addressing it by a name it has,
//! from no foreign web page.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::IntCounter;
use tokio::sync::Semaphore;

use super::problem::Problem;
use crate::config::settings::Scope;
use crate::proxy::token::{self, Holder, Tokens};
use crate::telemetry::metrics::Metrics;

/// How long the answer to a wrong token is held back.
const PENALTY: Duration = Duration::from_millis(250);
/// Answers held back at once; wrong tokens beyond are turned away with 429.
const PENALTIES_AT_ONCE: usize = 8;

/// Both ends of the connection a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client's.
    pub peer: SocketAddr,
    /// Ours, as the client reached it.
    pub local: SocketAddr,
}

/// Who a request comes from, as audit lines name it. An extension of every request that is admitted.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The other end of the connection.
    pub(super) peer: SocketAddr,
    /// Whose token it presented.
    pub(super) holder: Arc<Holder>,
}

/// The rules of admission.
#[derive(Debug)]
pub struct Guard {
    tokens: Tokens,
    allowed_hosts: Vec<String>,
    penalty: Duration,
    penalties: Semaphore,
    /// By [`Denial`].
    denied: [IntCounter; Denial::ALL.len()],
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denial {
    /// Addressed by a name that is not ours: DNS rebinding.
    Host,
    /// Sent by a page of another site.
    CrossSite,
    /// A body in a media type that web forms can send.
    MediaType,
    /// No token.
    NoToken,
    /// Not a token.
    WrongToken,
    /// A token without the scope that is asked for.
    Scope,
    /// Too many wrong tokens at once.
    TooMany,
}

impl Denial {
    const ALL: [Denial; 7] = [
        Denial::Host,
        Denial::CrossSite,
        Denial::MediaType,
        Denial::NoToken,
        Denial::WrongToken,
        Denial::Scope,
        Denial::TooMany,
    ];

    const fn word(self) -> &'static str {
        match self {
            Denial::Host => "host",
            Denial::CrossSite => "cross-site",
            Denial::MediaType => "media-type",
            Denial::NoToken => "no-token",
            Denial::WrongToken => "wrong-token",
            Denial::Scope => "scope",
            Denial::TooMany => "too-many",
        }
    }
}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        let (status, detail, field) = match self {
            Denial::Host => (StatusCode::FORBIDDEN, "Host names no address of the control API", None),
            Denial::CrossSite => (StatusCode::FORBIDDEN, "requests from pages of other sites are refused", None),
            Denial::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "bodies must be application/json", None),
            Denial::NoToken => (
                StatusCode::UNAUTHORIZED,
                "a bearer token is required",
                Some((header::WWW_AUTHENTICATE, "Bearer realm=\"larder control\"")),
            ),
            Denial::WrongToken => (
                StatusCode::UNAUTHORIZED,
                "this is no token of the control API",
                Some((header::WWW_AUTHENTICATE, "Bearer realm=\"larder control\", error=\"invalid_token\"")),
            ),
            // Answered by `allow`, which knows the scope.
            Denial::Scope => (StatusCode::FORBIDDEN, "the token lacks a scope", None),
            Denial::TooMany => {
                (StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens", Some((header::RETRY_AFTER, "1")))
            }
        };
        let mut response = Problem::new(status, detail).into_response();
        if let Some((name, value)) = field {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl Guard {
    /// Admits holders of `tokens` that address the API by an IP address it has, as `localhost`, or by one of
    /// `allowed_hosts` (with or without port).
    pub fn new(tokens: Tokens, allowed_hosts: Vec<String>, metrics: &Metrics) -> Self {
        Guard {
            tokens,
            allowed_hosts,
            penalty: PENALTY,
            penalties: Semaphore::new(PENALTIES_AT_ONCE),
            denied: Denial::ALL.map(|denial| metrics.control_denied(denial.word())),
        }
    }

    #[cfg(test)]
    pub(super) fn without_penalty(self) -> Self {
        Guard { penalty: Duration::ZERO, ..self }
    }

    fn check(&self, local: IpAddr, request: &Parts) -> Result<&Arc<Holder>, Denial> {
        let host = self.host(local, request).ok_or(Denial::Host)?;
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        if is_cross_site(&request.headers, host, reads) {
            return Err(Denial::CrossSite);
        }
        if !reads && request.headers.get(header::CONTENT_TYPE).is_some_and(|value| !is_json(value)) {
            return Err(Denial::MediaType);
        }
        let presented = token::presented(&request.headers).ok_or(Denial::NoToken)?;
        self.tokens.holder(presented).ok_or(Denial::WrongToken)
    }

    /// The Host field when it, and an absolute-form target's authority, are among our names.
    fn host<'r>(&self, local: IpAddr, request: &'r Parts) -> Option<&'r str> {
        if request.uri.authority().is_some_and(|authority| !self.is_ours(local, authority)) {
            return None;
        }
        let host = only(&request.headers, &header::HOST)?.to_str().ok()?;
        let authority: Authority = host.parse().ok()?;
        self.is_ours(local, &authority).then_some(host)
    }

    /// The port does not matter: it may be mapped, and a rebound name betrays itself by the name.
    fn is_ours(&self, local: IpAddr, authority: &Authority) -> bool {
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host();
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            let ip = ip.to_canonical();
            if ip.is_loopback() || ip == local.to_canonical() {
                return true;
            }
        }
        host.eq_ignore_ascii_case("localhost")
            || self
                .allowed_hosts
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(authority.as_str()))
    }
}

/// The middleware: admits a request or answers it.
pub(super) async fn admit(
    State(guard): State<Arc<Guard>>,
    Extension(ends): Extension<Ends>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut denial = match guard.check(ends.local.ip(), &parts) {
        Ok(holder) => {
            parts.extensions.insert(Caller { peer: ends.peer, holder: holder.clone() });
            return next.run(Request::from_parts(parts, body)).await;
        }
        Err(denial) => denial,
    };
    if denial == Denial::WrongToken {
        match guard.penalties.try_acquire() {
            Ok(_held) => tokio::time::sleep(guard.penalty).await,
            Err(_) => denial = Denial::TooMany,
        }
    }
    guard.denied[denial as usize].inc();
    tracing::warn!(target: "audit", peer = %ends.peer, reason = denial.word(), "denied");
    denial.into_response()
}

/// The middleware of an endpoint: what asks for a scope is for those who have it.
pub(super) async fn allow(
    State((guard, scope)): State<(Arc<Guard>, Scope)>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let Caller { peer, holder } = &caller;
    if holder.may(scope) {
        return next.run(request).await;
    }
    let (word, scope) = (Denial::Scope.word(), scope.word());
    guard.denied[Denial::Scope as usize].inc();
    tracing::warn!(
        target: "audit", %peer, token = holder.name, reason = word, scope, method = %request.method(),
        path = request.uri().path(), "denied"
    );
    let detail = format!("the token `{}` lacks the scope `{scope}`, which this needs", holder.name);
    let mut response = Problem::new(StatusCode::FORBIDDEN, detail).needing(scope).into_response();
    // RFC 6750 §3.1
    let challenge = format!("Bearer realm=\"larder control\", error=\"insufficient_scope\", scope=\"{scope}\"");
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Whether a browser says that another site's page sent this. Programs that are no browsers send neither field.
fn is_cross_site(headers: &HeaderMap, host: &str, reads: bool) -> bool {
    let from_elsewhere = headers.get_all("sec-fetch-site").iter().any(|site| match site.as_bytes() {
        b"same-origin" => false,
        // The operator typed the address.
        b"none" => !reads,
        _ => true,
    });
    let origin_elsewhere = headers.get_all(header::ORIGIN).iter().any(|origin| {
        let origin = origin.as_bytes();
        let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        !authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_bytes()))
    });
    from_elsewhere || origin_elsewhere
}

fn is_json(media_type: &HeaderValue) -> bool {
    let essence = media_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// The field's value when there is exactly one.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use axum::routing::get;
    use axum::{Router, middleware};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::control::server;
    use crate::control::tests::TOKEN;
    use crate::proxy::token::Token;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));
    const BEARER: (&str, &str) = ("authorization", "Bearer correct-horse-battery-staple");
    const HOST: (&str, &str) = ("host", "localhost:9091");

    fn whole() -> Tokens {
        Tokens::new(Some(Token::new(TOKEN)), &[])
    }

    fn check(method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<(), Denial> {
        let allowed = vec!["admin.example".to_owned(), "ops.example:444".to_owned()];
        let guard = Guard::new(whole(), allowed, &Metrics::new(&[]));
        let mut request = axum::http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        guard.check(LOCAL, &request.body(()).unwrap().into_parts().0).map(drop)
    }

    #[test]
    fn guard_admits_by_names_of_its_own_only() {
        let table = [
            ("localhost", true),
            ("LocalHost:1", true),
            ("127.0.0.1:9091", true),
            ("[::1]:9091", true),
            ("10.0.0.5:9091", true),
            ("[::ffff:10.0.0.5]", true),
            ("admin.example", true),
            ("admin.example:8443", true),
            ("ops.example:444", true),
            ("ops.example:445", false),
            ("10.0.0.6:9091", false),
            ("evil.example", false),
            ("evil.example:9091", false),
            ("localhost.evil.example", false),
            ("notlocalhost", false),
            ("evil.example@localhost", false),
            ("localhost@evil.example", false),
            ("127.0.0.1.nip.io", false),
            ("", false),
            ("local host", false),
        ];
        for (host, admitted) in table {
            let expected = if admitted { Ok(()) } else { Err(Denial::Host) };
            assert_eq!(check("GET", "/v1/stats", &[("host", host), BEARER]), expected, "{host:?}");
        }
        assert_eq!(check("GET", "/v1/stats", &[BEARER]), Err(Denial::Host), "no Host");
        assert_eq!(check("GET", "/v1/stats", &[HOST, HOST, BEARER]), Err(Denial::Host), "two Hosts");
        assert_eq!(check("GET", "http://evil.example/v1/stats", &[HOST, BEARER]), Err(Denial::Host));
        assert_eq!(check("GET", "http://localhost/v1/stats", &[HOST, BEARER]), Ok(()));
    }

    #[test]
    fn guard_refuses_pages_of_other_sites() {
        let table = [
            ("POST", "origin", "http://localhost:9091", true),
            ("POST", "origin", "https://LOCALHOST:9091", true),
            ("POST", "origin", "http://localhost", false),
            ("POST", "origin", "http://localhost:9091.evil.example", false),
            ("POST", "origin", "https://evil.example", false),
            ("POST", "origin", "null", false),
            ("POST", "origin", "", false),
            ("GET", "origin", "https://evil.example", false),
            ("POST", "sec-fetch-site", "same-origin", true),
            ("POST", "sec-fetch-site", "same-site", false),
            ("POST", "sec-fetch-site", "cross-site", false),
            ("POST", "sec-fetch-site", "none", false),
            ("GET", "sec-fetch-site", "none", true),
            ("GET", "sec-fetch-site", "cross-site", false),
        ];
        for (method, name, value, admitted) in table {
            let expected = if admitted { Ok(()) } else { Err(Denial::CrossSite) };
            assert_eq!(
                check(method, "/v1/purge", &[HOST, BEARER, (name, value)]),
                expected,
                "{method} {name}: {value}"
            );
        }
        let both = [HOST, BEARER, ("origin", "http://localhost:9091"), ("origin", "https://evil.example")];
        assert_eq!(check("POST", "/v1/purge", &both), Err(Denial::CrossSite), "the second Origin counts too");
    }

    #[test]
    fn guard_refuses_media_types_that_forms_send() {
        let table = [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("multipart/form-data; boundary=application/json", false),
            ("application/jsonp", false),
            ("", false),
        ];
        for (media_type, admitted) in table {
            let expected = if admitted { Ok(()) } else { Err(Denial::MediaType) };
            let fields = [HOST, BEARER, ("content-type", media_type)];
            assert_eq!(check("POST", "/v1/reload", &fields), expected, "{media_type}");
        }
        assert_eq!(check("POST", "/v1/reload", &[HOST, BEARER]), Ok(()), "no body, no media type");
    }

    #[test]
    fn guard_admits_the_token_and_no_near_miss() {
        let table = [
            ("Bearer correct-horse-battery-staple", Ok(())),
            ("bearer  correct-horse-battery-staple ", Ok(())),
            ("Bearer correct-horse-battery-stapl", Err(Denial::WrongToken)),
            ("Bearer correct-horse-battery-staplf", Err(Denial::WrongToken)),
            ("Bearer Correct-horse-battery-staple", Err(Denial::WrongToken)),
            ("Bearer correct-horse-battery-staple,x", Err(Denial::WrongToken)),
            ("Bearer ", Err(Denial::NoToken)),
            ("Bearer", Err(Denial::NoToken)),
            ("Bearercorrect-horse-battery-staple", Err(Denial::NoToken)),
            ("Basic correct-horse-battery-staple", Err(Denial::NoToken)),
            ("correct-horse-battery-staple", Err(Denial::NoToken)),
            ("", Err(Denial::NoToken)),
        ];
        for (value, expected) in table {
            assert_eq!(check("GET", "/v1/stats", &[HOST, ("authorization", value)]), expected, "{value:?}");
        }
        assert_eq!(check("GET", "/v1/stats", &[HOST]), Err(Denial::NoToken));
        let twice = [HOST, ("authorization", "Bearer wrong"), BEARER];
        assert_eq!(check("GET", "/v1/stats", &twice), Err(Denial::NoToken), "which of two counts is not ours to guess");
    }

    #[tokio::test]
    async fn guard_turns_a_flood_of_wrong_tokens_away_but_not_the_right_one() {
        let guard = Guard { penalties: Semaphore::new(0), ..Guard::new(whole(), Vec::new(), &Metrics::new(&[])) };
        let router = Router::new()
            .route("/", get(async || "admitted"))
            .layer(middleware::from_fn_with_state(Arc::new(guard), admit));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server::serve(listener, Arc::new(ArcSwap::from_pointee(router)), stop.clone()));
        for (token, status, field) in [("wrong", "429", "retry-after: 1\r\n"), (TOKEN, "200", "content-length: 8\r\n")]
        {
            let request = format!(
                "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
            );
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(field), "{answer}");
        }
        stop.cancel();
        serving.await.unwrap();
    }

    #[test]
    fn guard_counts_every_kind_of_denial_from_zero() {
        let metrics = Metrics::new(&[]);
        let guard = Guard::new(whole(), Vec::new(), &metrics);
        let text = metrics.render(&Default::default());
        for (index, denial) in Denial::ALL.into_iter().enumerate() {
            assert_eq!(denial as usize, index);
            let line = format!("larder_control_denied_total{{reason=\"{}\"}} 0\n", denial.word());
            assert!(text.contains(&line), "{line}");
        }
        assert_eq!(guard.denied.len(), Denial::ALL.len());
    }
}
