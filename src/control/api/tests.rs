//! The control API and the metrics listener over real sockets, in front of operations that note what they are asked.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::tests::{TOKEN, scoped, start};
use super::*;

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
    fn media_type(&self) -> &str {
        self.field("content-type")
    }
    fn field(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }
}

/// Sends a request as it stands and reads until the other end closes.
async fn send_raw(address: &str, request: String) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
    let status = head[9..12].parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn send(address: &str, method: &str, path: &str, fields: &str, body: &str) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{length}{fields}\r\n");
    send_raw(address, head + body).await
}

/// With the token and, where there is a body, its media type.
async fn ask(address: &str, method: &str, path: &str, body: &str) -> Answer {
    let media_type = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    send(address, method, path, &format!("authorization: Bearer {TOKEN}\r\n{media_type}"), body).await
}

/// The total and the targets of an answer.
fn counted(answer: &Answer) -> (u64, Vec<(String, u64)>) {
    let json = answer.json();
    let target = |target: &Value| (target["target"].as_str().unwrap().to_owned(), target["purged"].as_u64().unwrap());
    (json["total"].as_u64().unwrap(), json["targets"].as_array().unwrap().iter().map(target).collect())
}

#[tokio::test]
async fn purge_takes_every_kind_of_target_one_or_many() {
    let running = start().await;
    for (request, expected) in [
        (json!({ "url": "http://a/x" }), vec![("http://a/x", 2)]),
        (json!({ "urls": ["http://a/1", "http://a/absent"] }), vec![("http://a/1", 2), ("http://a/absent", 0)]),
        (json!({ "url": ["http://a/1"], "tag": "t", "soft": true }), vec![("http://a/1", 2), ("tag t", 2)]),
        (
            json!({ "prefix": "/a", "globs": ["/b/*"], "regex": "^c" }),
            vec![("prefix /a", 2), ("glob /b/*", 2), ("regex ^c", 2)],
        ),
        (json!({ "key": "GET http://a/" }), vec![("key GET http://a/", 2)]),
        (json!({ "status": 404 }), vec![("status 404", 2)]),
        (json!({ "status": [404, "5xx"] }), vec![("status 404", 2), ("status 5xx", 2)]),
        (json!({ "content_type": "image/*" }), vec![("content type image/*", 2)]),
        (json!({ "group": { "origin": "http://a", "name": "g" } }), vec![("group g of http://a", 2)]),
        (json!({ "all": true }), vec![("*", 40)]),
    ] {
        let answer = ask(&running.control, "POST", "/v1/purge", &request.to_string()).await;
        assert_eq!(answer.status, 200, "{request}: {}", answer.body);
        let expected: Vec<_> = expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        assert_eq!(counted(&answer), (expected.iter().map(|(_, count)| count).sum(), expected), "{request}");
        assert_eq!(answer.json()["receipt"]["id"], "known");
    }
    assert_eq!(running.operations.purged.lock()[3..5], ["http://a/1 softly", "tag t softly"]);
}

#[tokio::test]
async fn purge_that_is_a_dry_run_purges_nothing() {
    let running = start().await;
    let answer = ask(&running.control, "POST", "/v1/purge", r#"{"tag": "t", "dry_run": true}"#).await;
    assert_eq!((answer.status, &answer.json()["sample"]), (200, &json!(["http://a/x"])));
    assert!(answer.json()["receipt"].is_null() && running.operations.purged.lock().is_empty());
}

#[tokio::test]
async fn purge_takes_ten_thousand_targets() {
    let running = start().await;
    let urls: Vec<_> = (0..10_000).map(|at| format!("http://shop.example/catalogue/page-{at}?colour=blue")).collect();
    let answer = ask(&running.control, "POST", "/v1/purge", &json!({ "urls": urls }).to_string()).await;
    assert_eq!((answer.status, counted(&answer).0), (200, 20_000));
}

#[tokio::test]
async fn receipt_of_a_purge_is_kept() {
    let running = start().await;
    let answer = ask(&running.control, "GET", "/v1/purges/known", "").await;
    assert_eq!((answer.status, &answer.json()["tiers"][0]["matched"]), (200, &json!(2)));
    assert_eq!(ask(&running.control, "GET", "/v1/purges/unknown", "").await.status, 404);
}

#[tokio::test]
async fn purge_of_some_bad_urls_says_what_became_of_each() {
    let running = start().await;
    let answer = ask(&running.control, "POST", "/v1/purge", r#"{"urls": ["http://a/x", "ftp://a/y"]}"#).await;
    assert_eq!((answer.status, answer.media_type()), (422, "application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["detail"], "ftp://a/y: not an absolute http or https URL");
    assert_eq!(problem["targets"][0], json!({ "target": "http://a/x", "purged": 2 }));
    assert_eq!(problem["targets"][1]["error"], problem["detail"]);
}

#[tokio::test]
async fn purge_refuses_what_it_does_not_understand() {
    let running = start().await;
    let too_many = json!({ "urls": vec!["http://a/"; purge::MAX_TARGETS + 1] }).to_string();
    let too_large = json!({ "url": "x".repeat(MAX_BODY) }).to_string();
    let table = [
        ("{", 400),
        ("{}", 422),
        ("[]", 422),
        (r#"{"urls": []}"#, 422),
        (r#"{"soft": true}"#, 422),
        (r#"{"all": false}"#, 422),
        (r#"{"all": "true"}"#, 422),
        (r#"{"url": "http://a/", "all": true}"#, 422),
        (r#"{"url": "http://a/", "softly": true}"#, 422),
        (r#"{"url": "http://a/", "url": "http://b/"}"#, 422),
        (r#"{"url": "http://a/", "urls": ["http://b/"]}"#, 422),
        (r#"{"url": 5}"#, 422),
        (r#"{"status": "4x"}"#, 422),
        (r#"{"status": 1000}"#, 422),
        (r#"{"group": "g"}"#, 422),
        (&too_many, 422),
        (&too_large, 413),
    ];
    for (body, status) in table {
        let answer = ask(&running.control, "POST", "/v1/purge", body).await;
        let shown = &body[..body.len().min(60)];
        assert_eq!((answer.status, answer.media_type()), (status, "application/problem+json"), "{shown}");
        assert_eq!(answer.json()["status"], status, "{shown}");
    }
    let bare = send(&running.control, "POST", "/v1/purge", &format!("authorization: Bearer {TOKEN}\r\n"), "{}").await;
    assert_eq!(bare.status, 415, "no media type");
    assert!(running.operations.purged.lock().is_empty());
}

#[tokio::test]
async fn cache_is_inspected_by_queries_that_are_checked() {
    let running = start().await;
    for (path, status) in [
        ("/v1/cache/entries?tag=news&status=2xx&limit=5", 200),
        ("/v1/cache/entries?limit=0", 422),
        ("/v1/cache/entries?limit=1001", 422),
        ("/v1/cache/entries?limit=many", 422),
        ("/v1/cache/entries?what=else", 422),
        ("/v1/cache/entries?glob=%5B", 422),
        ("/v1/cache/entry?url=http://a/x", 200),
        ("/v1/cache/entry?url=nonsense", 422),
        ("/v1/cache/entry", 422),
    ] {
        let answer = ask(&running.control, "GET", path, "").await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    assert_eq!(ask(&running.control, "GET", "/v1/cache/entries?limit=7", "").await.json()["next"], "7");
}

#[tokio::test]
async fn reload_tells_changes_or_the_error() {
    let running = start().await;
    let answer = ask(&running.control, "POST", "/v1/reload", "").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "changes": ["routes: 1 added"] })));

    running.operations.broken_config.store(true, Ordering::Relaxed);
    let answer = ask(&running.control, "POST", "/v1/reload", "").await;
    assert_eq!((answer.status, answer.media_type()), (422, "application/problem+json"));
    assert_eq!(answer.json()["detail"], "proxy.toml:3:1: unknown key");
}

#[tokio::test]
async fn nothing_is_told_or_done_without_the_token() {
    let running = start().await;
    let json = "content-type: application/json\r\n";
    let body = r#"{"all": true}"#;
    let table = [
        (String::new(), 401, "no-token"),
        (format!("authorization: Bearer {TOKEN}x\r\n"), 401, "wrong-token"),
        (format!("authorization: Bearer {TOKEN}\r\norigin: http://evil.example\r\n"), 403, "cross-site"),
        (format!("authorization: Bearer {TOKEN}\r\nsec-fetch-site: cross-site\r\n"), 403, "cross-site"),
    ];
    for (fields, status, word) in &table {
        let answer = send(&running.control, "POST", "/v1/purge", &format!("{json}{fields}"), body).await;
        assert_eq!((answer.status, answer.media_type()), (*status, "application/problem+json"), "{word}");
        if *status == 401 {
            assert!(answer.field("www-authenticate").starts_with("Bearer realm="));
        }
        assert!(!answer.body.contains(TOKEN));
    }
    let form = format!("authorization: Bearer {TOKEN}\r\ncontent-type: text/plain\r\n");
    assert_eq!(send(&running.control, "POST", "/v1/purge", &form, body).await.status, 415);
    let rebound = format!(
        "GET /v1/stats HTTP/1.1\r\nhost: evil.example\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(send_raw(&running.control, rebound).await.status, 403);
    for path in ["/", "/v1/stats", "/v1/config", "/v1/openapi.json", "/v1/none"] {
        assert_eq!(send(&running.control, "GET", path, "", "").await.status, 401, "{path}");
    }
    assert!(running.operations.purged.lock().is_empty());

    let metrics = running.telemetry.metrics.render(&Default::default());
    for (word, count) in [("wrong-token", 1), ("cross-site", 2), ("media-type", 1), ("host", 1), ("no-token", 6)] {
        let line = format!("larder_control_denied_total{{reason=\"{word}\"}} {count}\n");
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
}

#[tokio::test]
async fn every_endpoint_is_for_those_who_have_its_scope() {
    let running = start().await;
    let mut denied = 0;
    for endpoint in endpoints() {
        let path = endpoint.path.replace("{id}", "known");
        let query = if endpoint.id == "cache_entry" { "?url=http://a/x" } else { "" };
        let body = if endpoint.request.is_some() { r#"{"url": "http://a/"}"# } else { "" };
        let media_type = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        for scope in Scope::ALL {
            let fields = format!("authorization: Bearer {}\r\n{media_type}", scoped(scope));
            let method = endpoint.method.as_str();
            let answer = send(&running.control, method, &format!("{path}{query}"), &fields, body).await;
            let may = scope.covers(endpoint.scope);
            assert_eq!(answer.status, if may { 200 } else { 403 }, "{method} {path} with {scope:?}: {}", answer.body);
            if !may {
                denied += 1;
                let (problem, needed) = (answer.json(), endpoint.scope.word());
                assert_eq!((answer.media_type(), &problem["scope"]), ("application/problem+json", &json!(needed)));
                let detail = format!("the token `{}` lacks the scope `{needed}`, which this needs", scope.word());
                assert_eq!(problem["detail"], detail);
                let challenge = answer.field("www-authenticate");
                assert!(challenge.contains("insufficient_scope") && challenge.contains(needed), "{challenge}");
            }
        }
    }
    assert_eq!(running.operations.purged.lock().len(), 2, "of those who may purge");
    let metrics = running.telemetry.metrics.render(&Default::default());
    assert!(metrics.contains(&format!("larder_control_denied_total{{reason=\"scope\"}} {denied}\n")), "{metrics}");
}

#[tokio::test]
async fn path_that_is_none_tells_nothing_without_a_token_and_asks_for_no_scope() {
    let running = start().await;
    for (fields, status) in [(String::new(), 401), (format!("authorization: Bearer {}\r\n", scoped(Scope::Read)), 404)]
    {
        assert_eq!(send(&running.control, "GET", "/v1/none", &fields, "").await.status, status);
    }
    let fields = format!("authorization: Bearer {}\r\n", scoped(Scope::Read));
    assert_eq!(send(&running.control, "DELETE", "/v1/reload", &fields, "").await.status, 405);
}

/// The members of an answer are those its schema names, and none that the schema requires is missing.
fn assert_conforms(document: &Value, schema: &Value, value: &Value) {
    if let Some(name) = schema["$ref"].as_str() {
        let definition = document.pointer(name.trim_start_matches('#'));
        return assert_conforms(document, definition.unwrap_or_else(|| panic!("{name} is not defined")), value);
    }
    if let Some(items) = schema.get("items") {
        for element in value.as_array().expect("an array") {
            assert_conforms(document, items, element);
        }
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let members = value.as_object().expect("an object");
    for (name, member) in members {
        assert_conforms(document, properties.get(name).unwrap_or_else(|| panic!("{name} is undocumented")), member);
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(members.contains_key(name.as_str().unwrap()), "{name} is missing");
    }
}

#[tokio::test]
async fn openapi_document_tells_the_truth() {
    let running = start().await;
    let document = ask(&running.control, "GET", "/v1/openapi.json", "").await.json();
    let paths = document["paths"].as_object().unwrap();

    let routed: BTreeSet<_> =
        endpoints().iter().map(|endpoint| (endpoint.path, endpoint.method.as_str().to_ascii_lowercase())).collect();
    let documented: BTreeSet<_> = paths
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|method| (path.as_str(), method.clone())))
        .collect();
    assert_eq!(routed, documented);

    for (path, methods) in paths {
        let asked = match &**path {
            "/v1/cache/entry" => "/v1/cache/entry?url=http://a/x".to_owned(),
            other => other.replace("{id}", "known"),
        };
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let operation = &methods[method.to_ascii_lowercase()];
            let body = if operation["requestBody"].is_object() { r#"{"url": "http://a/"}"# } else { "" };
            let answer = ask(&running.control, method, &asked, body).await;
            if operation.is_null() {
                assert_eq!(answer.status, 405, "{method} {path}");
                let problem = &document["components"]["schemas"]["Problem"];
                assert_conforms(&document, problem, &answer.json());
            } else {
                assert_eq!((answer.status, answer.media_type()), (200, "application/json"), "{method} {path}");
                let endpoint = endpoints().into_iter().find(|it| it.path == path && it.method == *method);
                let scope = endpoint.expect("it is routed").scope.word();
                assert_eq!(operation["security"], json!([{ "token": [scope] }]), "{method} {path}");
                let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
                assert_conforms(&document, schema, &answer.json());
            }
        }
    }
    assert_eq!(document["openapi"], "3.1.0");
    let stats = &document["components"]["schemas"]["Stats"]["properties"];
    assert!(stats["cache"].is_object() && stats["requests"].is_object(), "{stats}");
}

#[tokio::test]
async fn metrics_listener_answers_monitoring_only() {
    let running = start().await;
    let get = async |path| send(&running.metrics, "GET", path, "", "").await;

    let metrics = get("/metrics").await;
    assert_eq!((metrics.status, metrics.body.as_str()), (200, "larder_cache_entries 3\n"));
    assert_eq!(metrics.media_type(), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(send(&running.metrics, "HEAD", "/metrics", "", "").await.body, "");

    assert_eq!(get("/readyz").await.status, 200);
    running.operations.draining.store(true, Ordering::Relaxed);
    let ready = get("/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "draining\n"));
    assert_eq!(get("/healthz").await.status, 200, "alive all the same");

    assert_eq!(get("/").await.status, 404);
    assert_eq!(get("/v1/stats").await.status, 404);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(send(&running.metrics, "POST", path, "", "").await.status, 405, "{path}");
    }
}
