//! What is asked of `/v1/purge` and `larder purge`, and whether what they tell of it is true.

use serde_json::{Value, json};

use super::{Api, Cli, configured};
use crate::support::client::{Connection, request};
use crate::support::larder::Larder;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// An app with pages that differ in all that a purge may name.
async fn app() -> Upstream {
    Upstream::start(|request| {
        let reply = Reply::ok().header("cache-control", "max-age=600, stale-while-revalidate=600");
        match request.path() {
            "/style.css" => reply.header("content-type", "text/css").header("xkey", "look").body("p {}"),
            "/gone" => Reply::status("404 Not Found").header("cache-control", "max-age=600").body("gone"),
            "/varied" => reply.header("vary", "x-a").header("cache-groups", "\"g\"").body("varied"),
            path => reply.header("content-type", "text/html").header("surrogate-key", "pages").body(path),
        }
    })
    .await
}

/// What is stored: five keys with six responses.
const STORED: [(&str, &str); 6] =
    [("/a/1", ""), ("/a/2?q=x", ""), ("/style.css", ""), ("/gone", ""), ("/varied", "1"), ("/varied", "2")];

async fn is_hit(larder: &Larder, (path, a): (&str, &str)) -> bool {
    larder.get(path, &[("x-a", a)]).await.is_hit()
}

async fn store_all(larder: &Larder) {
    for page in STORED {
        larder.until("a hit", async || is_hit(larder, page).await).await;
    }
}

/// Every kind of target, and which of [`STORED`] it takes.
fn kinds() -> Vec<(Value, &'static [usize])> {
    vec![
        (json!({ "url": "http://app.test/varied" }), &[4, 5]),
        (json!({ "urls": ["http://APP.test:80/a/2?q=x", "http://app.test/a/2", "https://app.test/a/1"] }), &[1]),
        (json!({ "key": "GET http://app.test/style.css" }), &[2]),
        (json!({ "prefix": "/a/" }), &[0, 1]),
        (json!({ "prefixes": ["app.test/st", "http://app.test/gone", "other.test/"] }), &[2, 3]),
        (json!({ "glob": "/*/[12]" }), &[0, 1]),
        (json!({ "regex": "^app.test/.*[a-z]$" }), &[2, 3, 4, 5]),
        (json!({ "tag": "pages" }), &[0, 1]),
        (json!({ "tags": ["look", "none"] }), &[2]),
        (json!({ "group": { "origin": "http://app.test", "name": "g" } }), &[4, 5]),
        (json!({ "content_type": "text/*" }), &[0, 1, 2]),
        (json!({ "status": 404 }), &[3]),
        (json!({ "statuses": ["4xx", 301] }), &[3]),
        (json!({ "all": true }), &[0, 1, 2, 3, 4, 5]),
        (json!({ "url": "http://app.test/a/1", "tag": "pages", "status": "2xx" }), &[0, 1, 2, 4, 5]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_target_takes_what_it_names_and_says_so() {
    let upstream = app().await;
    let larder = Larder::before(&upstream.url()).await;
    let api = Api::of(&larder);
    for (what, taken) in kinds() {
        store_all(&larder).await;
        let mut dry = what.clone();
        dry["dry_run"] = true.into();
        let (status, told) = api.post("/v1/purge", &dry).await;
        assert_eq!((status, &told["total"]), (200, &json!(taken.len())), "dry: {what}: {told}");
        let sample = told["sample"].as_array().unwrap();
        assert!(!sample.is_empty() && sample.iter().all(|url| url.as_str().unwrap().starts_with("http://app.test/")));
        assert!(told["receipt"].is_null() && told["uncounted"].is_null(), "{told}");

        let (status, told) = api.post("/v1/purge", &what).await;
        assert_eq!((status, &told["total"]), (200, &json!(taken.len())), "{what}: {told}");
        let by_target: u64 = told["targets"].as_array().unwrap().iter().map(|it| it["purged"].as_u64().unwrap()).sum();
        assert_eq!(by_target, taken.len() as u64, "each is counted once: {told}");
        let receipt = &told["receipt"];
        assert_eq!(
            (&receipt["state"], &receipt["soft"], &receipt["nodes"]),
            (&json!("done"), &json!(false), &json!([]))
        );
        assert_eq!(receipt["tiers"], json!([{ "tier": "memory", "matched": taken.len(), "state": "done" }]));
        let (status, again) = api.get(&format!("/v1/purges/{}", receipt["id"].as_str().unwrap())).await;
        assert_eq!((status, &again), (200, receipt));
        for (at, page) in STORED.into_iter().enumerate() {
            assert_eq!(is_hit(&larder, page).await, !taken.contains(&at), "{what}: {page:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soft_purge_leaves_what_it_takes_to_stand_in() {
    let upstream = app().await;
    let larder = Larder::before(&upstream.url()).await;
    let api = Api::of(&larder);
    for (mut what, taken) in kinds() {
        store_all(&larder).await;
        larder
            .until("all to be fresh", async || {
                let mut fresh = true;
                for page in STORED {
                    fresh &=
                        !larder.get(page.0, &[("x-a", page.1)]).await.field("cache-status").contains("detail=stale");
                }
                fresh
            })
            .await;
        what["soft"] = true.into();
        let (_, told) = api.post("/v1/purge", &what).await;
        assert_eq!((&told["total"], &told["receipt"]["soft"]), (&json!(taken.len()), &json!(true)), "{what}: {told}");
        for at in taken.iter().filter(|at| STORED[**at].0 != "/gone") {
            let page = larder.get(STORED[*at].0, &[("x-a", STORED[*at].1)]).await;
            assert!(
                page.field("cache-status").ends_with("detail=stale-while-revalidate"),
                "{}",
                page.field("cache-status")
            );
        }
    }
    let (_, unknown) = api.get("/v1/purges/unknown").await;
    assert_eq!(unknown["status"], 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_targets_go_at_once_and_one_more_does_not() {
    let upstream = app().await;
    let larder = Larder::before(&upstream.url()).await;
    let (api, mut client) = (Api::of(&larder), Connection::open(larder.address).await);
    for number in 0..200 {
        client.get(&format!("/a/{number}"), &[]).await;
    }
    larder.until("all to be stored", async || larder.metric("larder_cache_entries", "").await == 200.0).await;
    let urls: Vec<_> = (0..10_001).map(|number| format!("http://app.test/a/{number}")).collect();
    let (status, refused) = api.post("/v1/purge", &json!({ "urls": urls })).await;
    assert_eq!(status, 422);
    assert!(refused["detail"].as_str().unwrap().contains("more than 10000 targets"), "{refused}");
    assert_eq!(larder.metric("larder_cache_entries", "").await, 200.0, "nothing is purged");

    let prefixes: Vec<_> = (100..5000).map(|number| format!("/a/{number}")).collect();
    let (status, told) = api.post("/v1/purge", &json!({ "urls": urls[..5100], "prefixes": prefixes })).await;
    assert_eq!((status, &told["total"]), (200, &json!(200)), "{}", told["detail"]);
    assert_eq!((told["targets"].as_array().unwrap().len(), &told["receipt"]["targets"]), (10_000, &json!(10_000)));
    assert_eq!(told["targets"][199], json!({ "target": "http://app.test/a/199", "purged": 1 }));
    assert_eq!(larder.metric("larder_cache_entries", "").await, 0.0);
    assert_eq!(larder.metric("larder_purges_total", "control").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_that_are_wrong_are_told_and_the_others_are_purged_with_a_receipt() {
    let upstream = app().await;
    let larder = Larder::before(&upstream.url()).await;
    let api = Api::of(&larder);
    store_all(&larder).await;
    let what = json!({ "urls": ["/a/1", "ftp://app.test/", "http://app.test/gone"], "glob": "/[", "regex": "(" });
    let (status, problem) = api.post("/v1/purge", &what).await;
    assert_eq!(status, 422);
    let told: Vec<_> = problem["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["purged"].as_u64().unwrap(), it["error"].is_string()))
        .collect();
    assert_eq!(told, [(0, true), (0, true), (1, false), (0, true), (0, true)], "{problem}");
    assert_eq!((&problem["receipt"]["state"], &problem["receipt"]["targets"]), (&json!("done"), &json!(1)));
    assert!(!is_hit(&larder, ("/gone", "")).await && is_hit(&larder, ("/a/1", "")).await);
    let (status, problem) = api.post("/v1/purge", &json!({ "regex": "(" })).await;
    assert_eq!((status, &problem["receipt"]), (422, &Value::Null), "nothing was purged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_that_name_nothing_are_refused() {
    let upstream = app().await;
    let larder = Larder::before(&upstream.url()).await;
    let api = Api::of(&larder);
    for (what, told) in [
        (json!({ "tag": "" }), "an empty tag names nothing"),
        (json!({ "tags": [" "] }), "an empty tag names nothing"),
        (json!({ "group": { "origin": "http://app.test", "name": "" } }), "an empty group names nothing"),
        (json!({ "key": "" }), "an empty key names nothing"),
        (json!({ "content_type": "" }), "an empty content type names nothing"),
        (json!({ "prefix": "" }), "an empty pattern names nothing"),
        (json!({ "url": "" }), "an empty URL names nothing"),
        (json!({ "url": "app.test/page" }), "app.test/page: the scheme is missing"),
    ] {
        let (status, problem) = api.post("/v1/purge", &what).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == 422 && detail.starts_with(told), "{what}: {problem}");
        assert_eq!(problem["receipt"], Value::Null, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_tells_what_went_and_what_is_not_counted() {
    let (upstream, directory) = (app().await, tempfile::tempdir().unwrap());
    let disk = format!("[cache.disk]\npath = \"{}\"\nsize = \"64MiB\"", directory.path().join("disk").display());
    let (_, larder) = configured(&upstream, &directory, &disk).await;
    let cli = Cli::of(&larder);
    store_all(&larder).await;
    larder.until("all on disk", async || larder.metric("larder_tier_stores_total", "disk").await >= 6.0).await;
    for (line, told) in [
        (
            &["purge", "--tag", "pages", "--prefix", "/st", "--dry-run"][..],
            "prefix /st: 1 stored response would be purged\ntag pages: 2 stored responses would be purged\n  e.g. ",
        ),
        (&["purge", "--tag", "look", "--soft"], "tag look: 1 stored response made stale\ndisk: "),
        (
            &["purge", "http://app.test/varied", "http://app.test/none", "--status", "404", "--wait"],
            "http://app.test/varied: 2 stored responses purged\nhttp://app.test/none: 0 stored responses matched\n\
             status 404: 1 stored response purged\ndisk: ",
        ),
        (&["purge", "--all"], "everything: 3 stored responses purged\ndisk: "),
        (&["purge", "--all"], "everything: 0 stored responses matched\ndisk: "),
    ] {
        let output = cli.run(line).await;
        assert!(output.starts_with(told), "{line:?}: {output}");
        assert_eq!(output.contains("counted in memory only; what is in disk goes too\n"), line.contains(&"--dry-run"));
    }
    let answer: Value = serde_json::from_str(&cli.run(&["purge", "--json", "--tag", "x"]).await).unwrap();
    assert_eq!((&answer["total"], &answer["receipt"]["durable"]), (&json!(0), &json!(true)), "{answer}");
    for page in STORED {
        assert!(!is_hit(&larder, page).await, "{page:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_by_rule_and_by_method_are_told_in_the_audit_log() {
    let (upstream, directory) = (app().await, tempfile::tempdir().unwrap());
    let more = "[control]\ntokens = [{ name = \"cms\", token = \"cms-token\", scopes = [\"purge\"] }]\n\
                purge_method = { allow = [\"127.0.0.1\"] }\n[[routes]]\nname = \"forms\"\nmatch = { path = \"/forms/\" }\n\
                invalidate = [{ tag = \"pages\", prefix = \"/st\" }]\n[[routes]]";
    let (_, mut larder) = configured(&upstream, &directory, more).await;
    store_all(&larder).await;
    let mut client = Connection::open(larder.address).await;
    client.send(request("POST", "/forms/1", &[], "x")).await;
    assert_eq!(client.response("POST").await.status, 200);
    for (token, status) in [("cms-token", 200), ("wrong", 401)] {
        let bearer = format!("Bearer {token}");
        client.send(request("PURGE", "/gone", &[("Authorization", &bearer)], "")).await;
        assert_eq!(client.response("PURGE").await.status, status);
    }
    let line = async |larder: &mut Larder, part: &'static str| {
        larder
            .process
            .line(part, |line| line.contains(" audit: ").then_some(line)?.contains(part).then(|| line.to_owned()))
            .await
    };
    for (part, others) in [
        ("reason=\"rule\"", &["peer=127.0.0.1", "route=\"forms\"", "method=POST", "tag pages", "count=3", "id="][..]),
        ("reason=\"purge-method\"", &["peer=127.0.0.1", "token=\"cms\"", "http://app.test/gone", "count=1", "id="]),
        ("reason=\"unauthorized\"", &["peer=127.0.0.1", "denied", "PURGE"]),
    ] {
        let line = line(&mut larder, part).await;
        others.iter().for_each(|other| assert!(line.contains(other), "{other} in {line}"));
    }
    assert!(!larder.process.output().contains("cms-token"));
}
