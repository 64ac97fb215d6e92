//! An operator purges a page by the control API.

use serde_json::{Value, json};

use crate::support::client::{Connection, Response, request};
use crate::support::larder::{Larder, TOKEN};
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_by_url_needs_the_token_and_counts() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=60").body("cooked")).await;
    let larder = Larder::before(&upstream.url()).await;
    let page = async || larder.get("/page", &[]).await;
    larder.until_hit("/page").await;
    // The host that the requests above name.
    let what = json!({ "url": "http://app.test/page" });

    let bearer = format!("Bearer {TOKEN}");
    let near_miss = format!("{bearer}x");
    for denied in [&[][..], &[("Authorization", &*near_miss)]] {
        assert_eq!(purge(&larder, denied, &what).await.status, 401);
    }
    assert!(page().await.is_hit());
    let done = purge(&larder, &[("Authorization", &bearer)], &what).await;
    let counted: Value = serde_json::from_str(&done.text()).unwrap();
    assert_eq!((done.status, &counted["total"]), (200, &json!(1)), "{counted}");
    assert!(!page().await.is_hit());
    larder.until_hit("/page").await;
    assert_eq!(upstream.count("/page"), 2);
}

async fn purge(larder: &Larder, fields: &[(&str, &str)], what: &Value) -> Response {
    let host = larder.control.to_string();
    let mut fields = fields.to_vec();
    fields.extend([("Host", &*host), ("Content-Type", "application/json")]);
    let mut connection = Connection::open(larder.control).await;
    connection.send(request("POST", "/v1/purge", &fields, &what.to_string())).await;
    connection.response("POST").await
}
