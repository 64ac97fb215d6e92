//! Variants whose bodies are on disk alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const A: (&str, &str) = ("origin", "http://a.test");
const B: (&str, &str) = ("origin", "http://b.test");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variant_that_a_304_names_in_place_of_the_selected_one_is_read_from_disk() {
    let is_new = Arc::new(AtomicBool::new(false));
    let changed = is_new.clone();
    let upstream = Upstream::start(move |request| {
        let (tag, letter) = if changed.load(Ordering::SeqCst) { ("\"2\"", "y") } else { ("\"1\"", "x") };
        let names_it = request.fields.get("if-none-match").is_some_and(|tags| tags.contains(tag));
        let reply = if names_it { Reply::status("304 Not Modified") } else { Reply::ok().body(letter.repeat(2 << 20)) };
        reply.header("etag", tag).header("vary", "origin").header("cache-control", "max-age=60")
    })
    .await;
    let (text, _directory) = configured(&upstream, "");
    let proxy = Proxy::configured(&text);
    proxy.get("/large", &[B]).await;
    is_new.store(true, Ordering::SeqCst);
    proxy.get("/large", &[A]).await;
    proxy.app.proxy.cache.lower.settle().await;
    proxy.advance(61);
    for _ in 0..2 {
        let found = proxy.get("/large", &[B]).await;
        assert_eq!(found.status, 200, "{:?}", found.fields);
        assert!(found.body.content == vec![b'y'; 2 << 20]);
    }
    assert_eq!(upstream.count("/large"), 3, "each fetched once, and validated");
}
