//! The sample app that `larder demo` puts itself in front of. It behaves as a legacy app does: it compresses
//! nothing, says nothing about caching on its files, and some of its pages are slow.

mod photo;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;

const INDEX: &str = include_str!("demo_assets/index.html");
const STYLE: &str = include_str!("demo_assets/style.css");
const SCRIPT: &str = include_str!("demo_assets/app.js");
const LOGO: &str = include_str!("demo_assets/logo.svg");
const FONT: &[u8] = include_bytes!("demo_assets/pantry.woff2");

/// How long `/api/slow` takes.
const SLOW: Duration = Duration::from_secs(1);
/// How long `/api/cached` takes.
const COOKING: Duration = Duration::from_millis(500);
/// Bytes of a form that are read.
const MAX_FORM: usize = 4096;
/// Sessions that are remembered; the app forgets all of them when there are more.
const MAX_SESSIONS: usize = 10_000;
/// Entity tag of `/old`, which never changes.
const OLD_TAG: &str = "\"old-1\"";
/// Pause after an `accept` that failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the sample app until `shutdown` is cancelled and exchanges under way have ended.
pub async fn serve(listener: TcpListener, shutdown: CancellationToken) {
    let app = Arc::new(App::new());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, app.clone(), shutdown.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the sample app could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, app: Arc<App>, shutdown: CancellationToken) {
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let serving = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection to the sample app");
    }
}

/// What the app remembers between requests.
struct App {
    clock: Clock,
    /// Work done for the API, so that an answer shows whether it was made anew.
    cooked: AtomicU64,
    /// Visits by session.
    sessions: Mutex<HashMap<String, u64>>,
    /// What the form's last sender wrote.
    note: Mutex<String>,
    photo: Bytes,
}

impl App {
    fn new() -> Self {
        App {
            clock: Clock::system(),
            cooked: AtomicU64::new(0),
            sessions: Mutex::default(),
            note: Mutex::new("nothing yet".to_owned()),
            photo: photo::png().into(),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        if path == "/form" && request.method() == Method::POST {
            return self.take_form(request.into_body()).await;
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "this page can only be read\n");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match &*path {
            "/" => ok("text/html; charset=utf-8", INDEX),
            "/style.css" => ok("text/css; charset=utf-8", STYLE),
            "/app.3f9a1c2b.js" => ok("text/javascript; charset=utf-8", SCRIPT),
            "/font.woff2" => ok("font/woff2", FONT),
            "/logo.svg" => ok("image/svg+xml", LOGO),
            "/photo.png" => ok("image/png", self.photo.clone()),
            "/api/slow" => self.slow().await,
            "/api/cached" => self.cached().await,
            "/session" => self.session(request.headers()),
            "/form" => self.form(),
            "/old" => old(request.headers()),
            _ => page(StatusCode::NOT_FOUND, "text/plain", "there is no such page\n"),
        }
    }

    /// A second of work and no word about caching.
    async fn slow(&self) -> Response<Full<Bytes>> {
        tokio::time::sleep(SLOW).await;
        let answer = json!({ "cooked": self.cook(), "at_ms": self.clock.now().as_millis() });
        ok("application/json", answer.to_string())
    }

    /// Half a second of work that may be kept; long enough to be compressed.
    async fn cached(&self) -> Response<Full<Bytes>> {
        tokio::time::sleep(COOKING).await;
        let shelves: Vec<_> = (1..=40).map(|shelf| json!({ "shelf": shelf, "jar": "plums", "full": true })).collect();
        let answer = json!({ "cooked": self.cook(), "at_ms": self.clock.now().as_millis(), "shelves": shelves });
        let mut response = ok("application/json", answer.to_string());
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=30"));
        response
    }

    fn cook(&self) -> u64 {
        self.cooked.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A page of one's own: known by a cookie, counting its visits.
    fn session(&self, fields: &HeaderMap) -> Response<Full<Bytes>> {
        let mut sessions = self.sessions.lock();
        let known = session_id(fields).filter(|id| sessions.contains_key(*id)).map(str::to_owned);
        let new = known.is_none();
        let id = known.unwrap_or_else(new_session_id);
        if sessions.len() >= MAX_SESSIONS {
            sessions.clear();
        }
        let visits = sessions.entry(id.clone()).or_default();
        *visits += 1;
        let text = format!(
            "<!doctype html><title>Your page</title><h1>Hello, {id}</h1><p>Visits of this session: {visits}.</p>\n"
        );
        let mut response = ok("text/html; charset=utf-8", text);
        if new {
            let cookie = format!("session={id}; Path=/; HttpOnly; SameSite=Lax");
            let cookie = HeaderValue::try_from(cookie).expect("hexadecimal digits are visible ASCII");
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }

    fn form(&self) -> Response<Full<Bytes>> {
        let note = escaped(&self.note.lock());
        let text = format!(
            "<!doctype html><title>The form</title><h1>Note on the pantry's door</h1><p>It says: {note}</p>\n\
             <form method=\"post\" action=\"/form\"><input name=\"note\" maxlength=\"200\">\n\
             <button>Write</button></form>\n"
        );
        ok("text/html; charset=utf-8", text)
    }

    /// Takes the note and sends the browser back to read it.
    async fn take_form(&self, body: Incoming) -> Response<Full<Bytes>> {
        let Ok(body) = Limited::new(body, MAX_FORM).collect().await else {
            return page(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "that is too long for the door\n");
        };
        let Some(note) = form_value(&body.to_bytes(), "note") else {
            return page(StatusCode::BAD_REQUEST, "text/plain", "the field \"note\" is missing\n");
        };
        *self.note.lock() = note;
        let mut response = page(StatusCode::SEE_OTHER, "text/plain", "");
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/form"));
        response
    }
}

/// A page that must be validated each time, and can be.
fn old(fields: &HeaderMap) -> Response<Full<Bytes>> {
    let known = fields.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == OLD_TAG || tag == "*")
    });
    let mut response = if known {
        let mut unchanged = Response::new(Full::default());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        ok("text/plain; charset=utf-8", "This page has not changed for years, but the app wants to be asked.\n")
    };
    response.headers_mut().insert(header::ETAG, HeaderValue::from_static(OLD_TAG));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn ok(media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    page(StatusCode::OK, media_type, body)
}

fn page(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// The value of the cookie `session`.
fn session_id(fields: &HeaderMap) -> Option<&str> {
    fields
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix("session="))
}

fn new_session_id() -> String {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("the system gives random bytes once it has booted");
    random.iter().fold(String::with_capacity(16), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    })
}

/// The value of one field of an `application/x-www-form-urlencoded` body.
fn form_value(body: &[u8], name: &str) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let value = body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let spaced = value.replace('+', " ");
    Some(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// Text for HTML: what a stranger wrote stays text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
