//! HTTP/2 with prior knowledge: streams run side by side on one connection.

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request};
use http_body_util::Full;

use crate::support::http2::Connection;
use crate::support::larder::Larder;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_streams_do_not_wait_for_each_other() {
    let gate = Gate::new();
    let slow = gate.clone();
    let upstream = Upstream::start(move |request| match request.path() {
        "/slow" => Reply::ok().after(&slow).body("slow"),
        path => Reply::ok().body(path),
    })
    .await;
    let larder = Larder::before(&upstream.url()).await;
    let client = Connection::open(larder.address).await;

    let waiting = client.ask(client.get("/slow").body(Full::default()).unwrap());
    let others = async {
        upstream.arrived(1).await;
        let paths: Vec<_> = (0..20).map(|number| format!("/page/{number}")).collect();
        let asked = paths.iter().map(|path| client.ask(client.get(path).body(Full::default()).unwrap()));
        for (response, path) in join_all(asked).await.into_iter().zip(&paths) {
            assert_eq!(response.unwrap().into_body(), path.as_bytes());
        }
        gate.open();
    };
    let (slow, ()) = tokio::join!(waiting, others);
    assert_eq!(slow.unwrap().into_body(), &b"slow"[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_request_reaches_the_upstream_as_http1() {
    let upstream = Upstream::start(|request| Reply::ok().body(&request.body.content)).await;
    let larder = Larder::before(&upstream.url()).await;
    let client = Connection::open(larder.address).await;
    let mut post: Request<Full<Bytes>> = client.get("/echo?q=1").body(Full::from("thought")).unwrap();
    *post.method_mut() = Method::POST;
    let response = client.ask(post).await.unwrap();
    assert_eq!((response.version(), &**response.body()), (http::Version::HTTP_2, &b"thought"[..]));

    let received = &upstream.requests()[0];
    assert_eq!((&*received.method, &*received.target), ("POST", "/echo?q=1"));
    assert_eq!(received.fields.all("host").collect::<Vec<_>>(), [larder.address.to_string()]);
    assert_eq!(received.fields.get("x-forwarded-for"), Some("127.0.0.1"));
}
