//! The sample app over a real socket.

use super::*;
use hyper::client::conn::http1 as client;

/// The app on a free port, and a connection to it.
struct Running {
    sender: client::SendRequest<Full<Bytes>>,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, shutdown.clone()));
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Running { sender, shutdown, serving }
    }

    async fn get(&mut self, path: &str) -> (http::response::Parts, String) {
        self.ask(Request::get(path).body(Full::default()).unwrap()).await
    }

    async fn ask(&mut self, mut request: Request<Full<Bytes>>) -> (http::response::Parts, String) {
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("app.test"));
        let (parts, body) = self.sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts, String::from_utf8_lossy(&body).into_owned())
    }
}

#[tokio::test]
async fn files_come_with_their_type_and_nothing_about_caching() {
    let mut app = Running::start().await;
    for (path, media_type, holds) in [
        ("/", "text/html; charset=utf-8", "/app.3f9a1c2b.js"),
        ("/style.css", "text/css; charset=utf-8", "/font.woff2"),
        ("/app.3f9a1c2b.js", "text/javascript; charset=utf-8", "cache-status"),
        ("/font.woff2", "font/woff2", "wOF2"),
        ("/logo.svg", "image/svg+xml", "<svg"),
        ("/photo.png", "image/png", "PNG"),
    ] {
        let request = Request::get(path).header(header::ACCEPT_ENCODING, "gzip, br").body(Full::default()).unwrap();
        let (parts, body) = app.ask(request).await;
        assert_eq!(parts.status, StatusCode::OK, "{path}");
        assert_eq!(parts.headers[header::CONTENT_TYPE], media_type, "{path}");
        assert!(body.contains(holds), "{path}");
        for absent in [header::CACHE_CONTROL, header::ETAG, header::CONTENT_ENCODING, header::SET_COOKIE] {
            assert!(!parts.headers.contains_key(&absent), "{path} {absent}");
        }
    }
}

#[tokio::test]
async fn whatever_the_front_page_refers_to_is_there() {
    let mut app = Running::start().await;
    let (_, index) = app.get("/").await;
    assert!(index.len() > 1024);
    let paths = index.split('"').filter(|text| text.starts_with('/')).collect::<std::collections::BTreeSet<_>>();
    assert!(paths.len() >= 8, "{paths:?}");
    for path in paths {
        assert_eq!(app.get(path).await.0.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn api_answers_are_made_anew_and_only_one_may_be_kept() {
    let mut app = Running::start().await;
    for (path, cooked, cache_control, least) in [
        ("/api/cached", 1, Some("max-age=30"), 1025),
        ("/api/cached", 2, Some("max-age=30"), 1025),
        ("/api/slow", 3, None, 1),
    ] {
        let (parts, body) = app.get(path).await;
        assert_eq!(parts.headers.get(header::CACHE_CONTROL).map(|value| value.to_str().unwrap()), cache_control);
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["cooked"], cooked);
        assert!(answer["at_ms"].as_i64().unwrap() > 1_700_000_000_000);
        assert!(body.len() >= least);
    }
}

#[tokio::test]
async fn session_counts_each_visitor_apart() {
    let mut app = Running::start().await;
    let mut cookies = Vec::new();
    for _ in 0..2 {
        let (parts, body) = app.get("/session").await;
        assert!(body.contains("session: 1."), "{body}");
        let cookie = parts.headers[header::SET_COOKIE].to_str().unwrap();
        cookies.push(cookie.split(';').next().unwrap().to_owned());
    }
    assert_ne!(cookies[0], cookies[1]);
    for visits in 2..=3 {
        let request = Request::get("/session").header(header::COOKIE, format!("theme=dark; {}", cookies[0]));
        let (parts, body) = app.ask(request.body(Full::default()).unwrap()).await;
        assert!(body.contains(&format!("session: {visits}.")), "{body}");
        assert!(!parts.headers.contains_key(header::SET_COOKIE));
    }
    let request = Request::get("/session").header(header::COOKIE, "session=made-up").body(Full::default()).unwrap();
    assert!(app.ask(request).await.0.headers.contains_key(header::SET_COOKIE), "an unknown session is begun anew");
}

#[tokio::test]
async fn form_shows_what_was_posted_as_text() {
    let mut app = Running::start().await;
    assert!(app.get("/form").await.1.contains("nothing yet"));
    let post = |body: &str| Request::post("/form").body(Full::from(body.to_owned())).unwrap();
    let (parts, _) = app.ask(post("to=all&note=plums+%26+%3Cb%3E")).await;
    assert_eq!(
        (parts.status, &parts.headers[header::LOCATION]),
        (StatusCode::SEE_OTHER, &HeaderValue::from_static("/form"))
    );
    assert!(app.get("/form").await.1.contains("It says: plums &amp; &lt;b&gt;<"));
    assert_eq!(app.ask(post("nothing=1")).await.0.status, StatusCode::BAD_REQUEST);
    assert_eq!(app.ask(post(&format!("note={}", "x".repeat(5000)))).await.0.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn old_page_is_validated_by_its_tag() {
    let mut app = Running::start().await;
    for (known, status) in [
        (None, 200),
        (Some("\"old-1\""), 304),
        (Some("\"other\", W/\"old-1\""), 304),
        (Some("*"), 304),
        (Some("\"other\""), 200),
    ] {
        let mut request = Request::get("/old").body(Full::default()).unwrap();
        if let Some(known) = known {
            request.headers_mut().insert(header::IF_NONE_MATCH, HeaderValue::from_static(known));
        }
        let (parts, body) = app.ask(request).await;
        assert_eq!(parts.status.as_u16(), status, "{known:?}");
        assert_eq!(body.is_empty(), status == 304);
        assert_eq!(
            (&parts.headers[header::ETAG], &parts.headers[header::CACHE_CONTROL]),
            (&HeaderValue::from_static("\"old-1\""), &HeaderValue::from_static("no-cache"))
        );
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let mut app = Running::start().await;
    assert_eq!(app.get("/nowhere").await.0.status, StatusCode::NOT_FOUND);
    let (parts, _) = app.ask(Request::delete("/style.css").body(Full::default()).unwrap()).await;
    assert_eq!(parts.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(parts.headers[header::ALLOW], "GET, HEAD");
    let (parts, body) = app.ask(Request::head("/style.css").body(Full::default()).unwrap()).await;
    assert_eq!((parts.status, &*body), (StatusCode::OK, ""));
}

#[tokio::test]
async fn shutdown_ends_serving() {
    let mut app = Running::start().await;
    app.get("/").await;
    app.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), app.serving).await.expect("ends").unwrap();
}
