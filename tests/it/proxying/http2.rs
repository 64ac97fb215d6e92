//! HTTP/2 from clients and to upstreams; an exchange as gRPC has it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use super::before;
use crate::support::http2;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;
use crate::support::within;

#[tokio::test]
async fn http2_requests_reach_an_http1_upstream() {
    let upstream = Upstream::start(|request| Reply::ok().header("x-own", "1").body(&request.body.content)).await;
    let proxy = before(&upstream, "");
    let client = http2::Connection::open(proxy.address).await;
    let asked = client
        .get("/up?x=1")
        .method("POST")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(Bytes::from_static(b"content").into())
        .unwrap();
    let response = client.ask(asked).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.body()[..], &response.headers()["x-own"]),
        (200, &b"content"[..], &"1".parse().unwrap())
    );
    assert!(!response.headers().contains_key("connection") && !response.headers().contains_key("transfer-encoding"));
    let seen = &upstream.requests()[0];
    assert_eq!((&*seen.method, &*seen.target), ("POST", "/up?x=1"));
    assert_eq!(seen.fields.all("cookie").collect::<Vec<_>>(), ["a=1; b=2"]);
    assert_eq!(seen.fields.get("host"), Some(&*proxy.address.to_string()));
    assert!(seen.fields.get("via").is_some_and(|via| via.starts_with("2 larder (")));
    assert_eq!(seen.fields.get("content-length"), Some("7"));
}

#[tokio::test]
async fn http2_and_http1_clients_share_the_cache() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x")).await;
    let proxy = before(&upstream, "");
    let client = http2::Connection::open(proxy.address).await;
    client.ask(client.get("/").body(Default::default()).unwrap()).await.unwrap();
    let host = proxy.address.to_string();
    assert!(proxy.get("/", &[("Host", &host)]).await.is_hit());
}

#[tokio::test]
async fn http2_head_and_large_bodies() {
    let upstream =
        Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("x".repeat(1 << 20))).await;
    let proxy = before(&upstream, "");
    let client = http2::Connection::open(proxy.address).await;
    for _ in 0..2 {
        let whole = client.ask(client.get("/").body(Default::default()).unwrap()).await.unwrap();
        assert_eq!(whole.body().len(), 1 << 20);
        let head = client.ask(client.get("/").method("HEAD").body(Default::default()).unwrap()).await.unwrap();
        assert_eq!((head.headers()["content-length"].to_str().unwrap(), head.body().len()), ("1048576", 0));
    }
}

#[tokio::test]
async fn head_brings_no_content_of_larders_own() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"http://{nobody}\"]\n\
         [[routes]]\nmatch = {{ path = \"/old\" }}\nredirect = {{ to = \"/new\", status = 308 }}\n\
         [[routes]]\nmatch = {{ path = \"/inside\" }}\nupstream = \"app\"\naccess = {{ deny = [\"0.0.0.0/0\"] }}\n\
         [[routes]]\nmatch = {{ path = \"/app\" }}\nupstream = \"app\"\n"
    ));
    let client = http2::Connection::open(proxy.address).await;
    let only_cached = [("cache-control", "only-if-cached")];
    for (path, fields, status) in [
        ("/app", &[][..], 502),
        ("/app", &only_cached, 504),
        ("/old", &[], 308),
        ("/inside", &[], 403),
        ("/elsewhere", &[], 404),
    ] {
        let ask = async |method| {
            let asked =
                fields.iter().fold(client.get(path).method(method), |asked, (name, value)| asked.header(*name, *value));
            client.ask(asked.body(Default::default()).unwrap()).await.unwrap()
        };
        let (head, get) = (ask("HEAD").await, ask("GET").await);
        assert_eq!((head.status().as_u16(), head.body().len()), (status, 0), "{path}");
        let length = get.body().len().to_string();
        assert_eq!(
            head.headers().get("content-length").map_or("0", |length| length.to_str().unwrap()),
            length,
            "{path}"
        );
        assert_eq!(proxy.ask("HEAD", path, fields, "").await.status, status, "{path}");
    }
    let cut = |line: &str| line.starts_with("larder_cut_responses_total{") && !line.ends_with(" 0");
    let text = proxy.metrics_text().await;
    assert!(!text.lines().any(cut), "{text}");
}

/// A request as an HTTP/2 upstream saw it.
type Seen = Arc<Mutex<Vec<http::request::Parts>>>;

/// An upstream that speaks HTTP/2 and answers as a gRPC server does: the status comes in the trailers.
async fn grpc() -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let record = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let record = record.clone();
            let service = service_fn(move |request| answer(request, record.clone()));
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (url, seen)
}

async fn answer(
    request: Request<Incoming>,
    seen: Seen,
) -> Result<Response<StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>>>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    seen.lock().unwrap().push(parts);
    let content = body.collect().await?.to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = [Frame::data(content), Frame::trailers(trailers)].map(Ok);
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(StreamBody::new(futures_util::stream::iter(frames))).unwrap())
}

#[tokio::test]
async fn grpc_passes_with_its_trailers() {
    let (url, seen) = grpc().await;
    let proxy = Proxy::configured(&format!("[upstreams.app]\nservers = [\"{url}\"]\nprotocol = \"http2\"\n"));
    let stream = within("a connection", TcpStream::connect(proxy.address)).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let message = Bytes::from_static(b"\0\0\0\0\x03abc");
    let mut metadata = HeaderMap::new();
    metadata.insert("x-sum", "7".parse().unwrap());
    let frames = [Frame::data(message.clone()), Frame::trailers(metadata)].map(Ok::<_, Infallible>);
    let request = Request::post("http://rpc.test/pkg.Service/Call")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(futures_util::stream::iter(frames)))
        .unwrap();
    let response = within("a response", sender.send_request(request)).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/grpc".parse().unwrap())
    );
    assert_eq!(response.headers()["via"], "2 larder");
    let body = within("the body", response.collect()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), message);

    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].uri, "http://rpc.test/pkg.Service/Call");
    assert_eq!(seen[0].headers["te"], "trailers");
    assert!(!seen[0].headers.contains_key("connection") && !seen[0].headers.contains_key("host"));
}

#[tokio::test]
async fn http2_upstream_serves_http1_clients_and_the_cache() {
    let (url, seen) = grpc().await;
    let proxy = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"{url}\"]\nprotocol = \"http2\"\n[cache.rules]\nttl = \"1m\"\n"
    ));
    let posted = proxy.ask("POST", "/", &[], "content").await;
    assert_eq!((posted.text().as_str(), posted.body.whole), ("content", true));
    assert!(!proxy.get("/", &[]).await.is_hit());
    assert!(proxy.get("/", &[]).await.is_hit());
    let other = proxy.ask("OPTIONS", "*", &[], "").await;
    assert_eq!(other.status, 200);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[2].uri.path(), "*");
}

#[tokio::test]
async fn http2_streams_run_side_by_side() {
    let upstream = Upstream::start(|request| Reply::ok().body(&request.target)).await;
    let proxy = before(&upstream, "");
    let client = http2::Connection::open(proxy.address).await;
    let asked = (0..50).map(|number| client.ask(client.get(&format!("/{number}")).body(Default::default()).unwrap()));
    let responses = futures_util::future::join_all(asked).await;
    for (number, response) in responses.into_iter().enumerate() {
        assert_eq!(response.unwrap().body(), &format!("/{number}"));
    }
}

#[tokio::test]
async fn http2_upload_too_large_is_413() {
    let upstream = Upstream::start(|_| Reply::ok().body("x")).await;
    let proxy = before(&upstream, "[[routes]]\nmax_request_body = \"10\"");
    let client = http2::Connection::open(proxy.address).await;
    let asked = client.get("/").method("POST").body(Bytes::from_static(b"0123456789a").into()).unwrap();
    assert_eq!(client.ask(asked).await.unwrap().status(), 413);
    assert_eq!(upstream.connections(), 0);
    let small = client.get("/").method("POST").body(Bytes::from_static(b"0123456789").into()).unwrap();
    assert_eq!(client.ask(small).await.unwrap().status(), 200, "the connection serves on");
}
