//! The disk tier: what it keeps over a restart, what it takes that memory does not, and what it does not let through.

mod private;
mod variants;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder::cache::key::CacheKey;
use tempfile::TempDir;

use crate::support::client::Connection;
use crate::support::larder::Larder;
use crate::support::process::POLL;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::{client, long, within};

/// A configuration with a disk tier in a directory, and that directory.
fn configured(upstream: &Upstream, more: &str) -> (String, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[upstreams.app]\nservers = [\"{}\"]\n[cache.disk]\npath = \"{}\"\nsize = \"1GiB\"\n{more}\n",
        upstream.url(),
        directory.path().join("cache").display()
    );
    (text, directory)
}

/// The same as a file, for the real program.
fn written(upstream: &Upstream, more: &str) -> (PathBuf, TempDir) {
    let (text, directory) = configured(upstream, more);
    let file = directory.path().join("larder.toml");
    fs::write(&file, format!("{text}[[listeners]]\naddress = \"127.0.0.1:0\"\n")).unwrap();
    (file, directory)
}

/// Waits until so many records are on disk and nothing waits.
async fn stored(larder: &Larder, entries: f64) {
    larder
        .until("records on disk", async || {
            larder.metric("larder_tier_entries", "disk").await == entries
                && larder.metric("larder_tier_waiting", "disk").await == 0.0
        })
        .await;
}

fn detail(response: &client::Response) -> &str {
    response.field("cache-status").split("detail=").nth(1).unwrap_or_default()
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// All files of records.
fn records(directory: &Path) -> Vec<PathBuf> {
    let shards = fs::read_dir(directory.join("cache/records")).unwrap();
    shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap()).map(|file| file.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_survive_kill_and_restart() {
    let large = body(3 << 20);
    let served = large.clone();
    let upstream = Upstream::start(move |request| match request.path() {
        "/large" => Reply::ok().header("cache-control", "max-age=600").body(served.clone()),
        "/vary" => {
            let language = request.fields.get("accept-language").unwrap_or_default().to_owned();
            Reply::ok().header("cache-control", "max-age=600").header("vary", "accept-language").body(language)
        }
        _ => Reply::ok().header("cache-control", "max-age=600").header("etag", "\"1\"").body("cooked"),
    })
    .await;
    let (file, _directory) = written(&upstream, "");
    let mut larder = Larder::configured(&file).await;
    larder.get("/page", &[]).await;
    larder.get("/vary", &[("accept-language", "de")]).await;
    larder.get("/vary", &[("accept-language", "en")]).await;
    assert!(larder.get("/large", &[]).await.body.content == large);
    // A response, a list of fields with two, and the large one.
    stored(&larder, 5.0).await;
    larder.process.kill();

    let larder = Larder::configured(&file).await;
    let page = larder.get("/page", &[]).await;
    assert!(page.is_hit() && page.text() == "cooked", "{:?}", page.fields);
    assert_eq!((detail(&page), page.field("etag")), ("disk", "\"1\""));
    let again = larder.get("/page", &[]).await;
    assert!(again.is_hit() && detail(&again).is_empty(), "it is in memory now");
    for language in ["en", "de"] {
        let varied = larder.get("/vary", &[("accept-language", language)]).await;
        assert!(varied.is_hit() && varied.text() == language);
    }
    assert!(!larder.get("/vary", &[("accept-language", "fr")]).await.is_hit());
    let found = larder.get("/large", &[]).await;
    assert!(found.is_hit() && found.body.content == large);
    let part = larder.get("/large", &[("range", "bytes=2000000-2000009")]).await;
    assert!(part.status == 206 && part.is_hit() && part.body.content == large[2_000_000..2_000_010]);
    assert_eq!((upstream.count("/page"), upstream.count("/large"), upstream.count("/vary")), (1, 1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_clients_after_a_restart_are_one_read() {
    let upstream =
        Upstream::start(|_| Reply::ok().header("cache-control", "max-age=600").body(vec![b'x'; 500_000])).await;
    let (file, _directory) = written(&upstream, "");
    let mut larder = Larder::configured(&file).await;
    larder.get("/page", &[]).await;
    stored(&larder, 1.0).await;
    larder.process.kill();

    let larder = Larder::configured(&file).await;
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let address = larder.address;
            tokio::spawn(async move { client::get(address, "/page", &[]).await })
        })
        .collect();
    for asked in asked {
        let response = asked.await.unwrap();
        assert!(response.is_hit() && response.body.content.len() == 500_000);
    }
    assert_eq!(larder.metric("larder_tier_hits_total", "disk").await, 1.0);
    assert_eq!(upstream.count("/page"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_response_on_disk_is_validated() {
    let upstream = Upstream::start(|request| match request.fields.get("if-none-match") {
        Some("\"1\"") => Reply::status("304 Not Modified").header("cache-control", "max-age=60"),
        _ => Reply::ok().header("cache-control", "max-age=60").header("etag", "\"1\"").body(vec![b'x'; 2 << 20]),
    })
    .await;
    let (text, _directory) = configured(&upstream, "");
    let proxy = Proxy::configured(&text);
    proxy.get("/large", &[]).await;
    proxy.advance(61);
    for _ in 0..2 {
        let found = proxy.get("/large", &[]).await;
        assert!(found.body.content == vec![b'x'; 2 << 20], "{:?}", found.fields);
        assert!(found.body.whole);
    }
    assert_eq!(upstream.count("/large"), 2, "fetched once, validated once");
    proxy.app.proxy.cache.lower.settle().await;
    let key = CacheKey::from_text("GET http://app.test/large".to_owned(), "GET http://app.test/large".len()).unwrap();
    let memory = &proxy.app.proxy.cache.memory;
    for response in memory.get(&key).unwrap().variants() {
        memory.remove_variant(&key, response);
    }
    let found = proxy.get("/large", &[]).await;
    assert!(found.is_hit() && detail(&found) == "disk", "the confirmation is on disk as well: {:?}", found.fields);
    assert_eq!(upstream.count("/large"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_response_is_served_while_it_is_written_and_stored_in_the_end() {
    let gate = Gate::new();
    let large = body(8 << 20);
    let (first, rest) = (large[..6 << 20].to_vec(), large[6 << 20..].to_vec());
    let open = gate.clone();
    let upstream = Upstream::start(move |_| {
        Reply::ok()
            .header("cache-control", "max-age=600")
            .header("content-length", "8388608")
            .piece(first.clone())
            .gate(&open)
            .piece(rest.clone())
    })
    .await;
    let (text, directory) = configured(&upstream, "");
    let proxy = Proxy::configured(&text);
    let mut leader = Connection::open(proxy.address).await;
    leader.send(client::request("GET", "/large", &[], "")).await;
    let head = leader.head().await;
    upstream.arrived(1).await;
    // One that comes late reads what is on disk by now, then what comes.
    let mut late = Connection::open(proxy.address).await;
    late.send(client::request("GET", "/large", &[], "")).await;
    let late_head = late.head().await;
    assert!(late_head.fields.get("cache-status").unwrap().contains("collapsed"));
    let figures = || proxy.app.proxy.cache.memory.filling();
    within("the body to go to disk", async {
        while fs::read_dir(directory.path().join("cache/new")).unwrap().all(|new| {
            fs::read_dir(new.unwrap().path()).unwrap().all(|file| file.unwrap().metadata().unwrap().len() < 5 << 20)
        }) {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    assert!(figures() <= 2 << 20, "memory holds a window of it: {}", figures());
    gate.open();
    assert!(leader.body(&head).await.content == large);
    assert!(late.body(&late_head).await.content == large);
    let again = proxy.get("/large", &[]).await;
    assert!(again.is_hit() && again.body.content == large);
    assert_eq!(upstream.count("/large"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_response_that_is_cut_is_not_stored() {
    let upstream = Upstream::start(|_| {
        Reply::ok()
            .header("cache-control", "max-age=600")
            .header("content-length", "8388608")
            .piece(vec![1; 4 << 20])
            .cut()
    })
    .await;
    let (text, directory) = configured(&upstream, "");
    let proxy = Proxy::configured(&text);
    for count in 1..=2 {
        let cut = proxy.get("/large", &[]).await;
        assert!(!cut.body.whole);
        assert_eq!(upstream.count("/large"), count);
    }
    assert!(records(directory.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_record_is_a_miss_and_a_damaged_block_a_cut() {
    let upstream = Upstream::start(|request| {
        let body = if request.path() == "/large" { vec![b'x'; 4 << 20] } else { b"cooked".to_vec() };
        Reply::ok().header("cache-control", "max-age=600").body(body)
    })
    .await;
    let (file, directory) = written(&upstream, "");
    let mut larder = Larder::configured(&file).await;
    larder.get("/page", &[]).await;
    larder.get("/large", &[]).await;
    stored(&larder, 2.0).await;
    larder.process.kill();
    for path in records(directory.path()) {
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - 9;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let larder = Larder::configured(&file).await;
    let page = larder.get("/page", &[]).await;
    assert!(!page.is_hit() && page.text() == "cooked");
    let large = larder.get("/large", &[]).await;
    assert!(large.is_hit() && !large.body.whole, "its last block is the one");
    assert!(large.body.content.iter().all(|byte| *byte == b'x'), "never a wrong byte");
    let again = larder.get("/large", &[]).await;
    assert!(again.body.whole && again.body.content == vec![b'x'; 4 << 20]);
    assert_eq!((upstream.count("/page"), upstream.count("/large")), (2, 2));
    assert!(larder.metric("larder_tier_damaged_total", "disk").await >= 2.0);
}

/// Purges through the control API; the receipt.
async fn purge(larder: &Larder, order: &str) -> serde_json::Value {
    let answer = control(larder, "POST", "/v1/purge", order).await;
    assert_eq!(answer["receipt"]["durable"], true, "{answer}");
    answer["receipt"].clone()
}

async fn control(larder: &Larder, method: &str, path: &str, body: &str) -> serde_json::Value {
    let token = format!("Bearer {}", crate::support::larder::TOKEN);
    let host = larder.control.to_string();
    let fields = [("authorization", &*token), ("content-type", "application/json"), ("host", &host)];
    let mut control = Connection::open(larder.control).await;
    control.send(client::request(method, path, &fields, body)).await;
    let answer = control.response(method).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

/// Waits until no tier has anything left of what was purged.
async fn worked_off(larder: &Larder) {
    larder
        .until("purges to be worked off", async || {
            control(larder, "GET", "/v1/cache/health", "").await["outstanding_purges"] == 0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_by_tag_is_worked_off_on_disk_and_a_soft_one_outlives_the_process() {
    let upstream = Upstream::start(|request| {
        let tag = if request.path() == "/kept" { "kept" } else { "news" };
        let reply = Reply::ok().header("cache-control", "max-age=600, stale-while-revalidate=600");
        reply.header("surrogate-key", tag).body("cooked")
    })
    .await;
    let (file, directory) = written(&upstream, "");
    let mut larder = Larder::configured(&file).await;
    for path in ["/kept", "/1", "/2"] {
        larder.get(path, &[]).await;
    }
    stored(&larder, 3.0).await;
    larder.process.kill();

    // Nobody asks for them: memory is empty, the disk alone has them.
    let mut larder = Larder::configured(&file).await;
    purge(&larder, "{\"tag\":\"news\"}").await;
    worked_off(&larder).await;
    assert_eq!(records(directory.path()).len(), 1);
    purge(&larder, "{\"tag\":\"kept\",\"soft\":true}").await;
    worked_off(&larder).await;
    larder.process.kill();

    let larder = Larder::configured(&file).await;
    let kept = larder.get("/kept", &[]).await;
    assert!(kept.field("cache-status").contains("stale"), "{:?}", kept.fields);
    assert_eq!(kept.text(), "cooked");
    assert!(!larder.get("/1", &[]).await.is_hit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_unsafe_request_made_outdated_stays_so_though_larder_is_killed_at_once() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=600").body("cooked")).await;
    let (file, _directory) = written(&upstream, "");
    for round in 0..4 {
        let mut larder = Larder::configured(&file).await;
        let path = format!("/{round}");
        larder.get(&path, &[]).await;
        larder.until("the record", async || larder.metric("larder_tier_stores_total", "disk").await == 1.0).await;
        let mut changing = Connection::open(larder.address).await;
        changing.send(client::request("POST", &path, &[], "x")).await;
        assert_eq!(changing.response("POST").await.status, 200);
        larder.process.kill();
        let larder = Larder::configured(&file).await;
        assert!(!larder.get(&path, &[]).await.is_hit(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_and_invalidation_reach_the_disk() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=600").body("cooked")).await;
    let (file, _directory) = written(&upstream, "");
    let mut larder = Larder::configured(&file).await;
    for path in ["/kept", "/purged", "/changed"] {
        larder.get(path, &[]).await;
    }
    stored(&larder, 3.0).await;
    purge(&larder, "{\"url\":\"http://app.test/purged\"}").await;
    let mut changing = Connection::open(larder.address).await;
    changing.send(client::request("POST", "/changed", &[], "x")).await;
    changing.response("POST").await;
    stored(&larder, 1.0).await;
    larder.process.kill();

    let larder = Larder::configured(&file).await;
    assert!(larder.get("/kept", &[]).await.is_hit());
    for path in ["/purged", "/changed"] {
        assert!(!larder.get(path, &[]).await.is_hit(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_that_may_not_be_kept_any_more_goes_from_the_disk_too() {
    let upstream = Upstream::start(|request| {
        let first = request.fields.get("if-none-match").is_none();
        let reply = Reply::ok().header("etag", "\"1\"").body("cooked");
        reply.header("cache-control", if first { "max-age=60" } else { "no-store" })
    })
    .await;
    let (text, _directory) = configured(&upstream, "");
    let proxy = Proxy::configured(&text);
    proxy.get("/page", &[]).await;
    proxy.advance(61);
    proxy.get("/page", &[]).await;
    proxy.app.proxy.cache.lower.settle().await;
    assert_eq!(proxy.app.proxy.cache.lower.figures()[0].entries, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_beyond_the_bounds_are_not_stored() {
    let upstream = Upstream::start(|request| {
        let len = if request.path() == "/most" { 2 << 20 } else { (2 << 20) + 1 };
        Reply::ok().header("cache-control", "max-age=600").piece(vec![1; len])
    })
    .await;
    let (text, directory) = configured(&upstream, "max_object = \"2MiB\"");
    let proxy = Proxy::configured(&text);
    for path in ["/most", "/more"] {
        assert!(proxy.get(path, &[]).await.body.whole);
    }
    assert!(proxy.get("/most", &[]).await.is_hit());
    assert!(!proxy.get("/more", &[]).await.is_hit());
    assert_eq!(records(directory.path()).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_larder_on_the_directory_says_so_and_serves_without_it() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=600").body("cooked")).await;
    let (file, _directory) = written(&upstream, "");
    let first = Larder::configured(&file).await;
    let mut second = Larder::configured(&file).await;
    second.process.line("why the disk is off", |line| line.contains("another larder uses it").then_some(())).await;
    assert_eq!(first.metric("larder_tier_up", "disk").await, 1.0);
    assert_eq!(second.metric("larder_tier_up", "disk").await, 0.0);
    second.get("/page", &[]).await;
    assert!(second.get("/page", &[]).await.is_hit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_goes_over_to_a_new_process_with_the_purges_of_both() {
    let slow = Gate::new();
    let held = slow.clone();
    let upstream = Upstream::start(move |request| match request.path() {
        "/slow" => Reply::ok().header("cache-control", "no-store").piece("one").gate(&held).piece("two"),
        path => Reply::ok().header("cache-control", "max-age=600").header("surrogate-key", &path[1..]).body("cooked"),
    })
    .await;
    let (file, directory) = written(&upstream, "");
    let mut larder = Larder::configured(&file).await;
    for path in ["/kept", "/new", "/old"] {
        larder.get(path, &[]).await;
    }
    stored(&larder, 3.0).await;
    // What keeps the old process from ending.
    let mut download = Connection::open(larder.address).await;
    download.send(client::request("GET", "/slow", &[], "")).await;
    upstream.arrived(4).await;
    let mut idle = Connection::open(larder.address).await;
    let mut writing = Connection::open(larder.address).await;
    for connection in [&mut idle, &mut writing] {
        assert!(connection.get("/kept", &[]).await.is_hit());
    }

    larder.process.signal("USR2");
    let pid = |line: &str| line.split_once("a new process takes over pid=")?.1.trim().parse::<u32>().ok();
    let second = larder.process.line("that a new process takes over", pid).await;
    larder.process.line("that it finishes", |line| line.contains("finishing requests").then_some(())).await;
    let receipt = purge(&larder, r#"{"tag": "new"}"#).await;
    assert!(receipt["tiers"][0]["matched"].is_null(), "{receipt}");
    assert!(!idle.get("/kept", &[]).await.is_hit(), "of what was purged since it knows nothing");
    writing.send(client::request("POST", "/old", &[], "")).await;
    assert_eq!(writing.response("POST").await.status, 200);

    slow.open();
    assert!(download.response("GET").await.body.whole);
    larder.process.hand_over_to(second).await;
    larder.until("the disk to be on", async || larder.metric("larder_tier_up", "disk").await == 1.0).await;
    let found = async |larder: &Larder, path: &str| detail(&larder.get(path, &[]).await) == "disk";
    assert!(found(&larder, "/kept").await, "what was stored before is of use");
    worked_off(&larder).await;
    larder.process.signal("KILL");
    let left: Vec<_> = fs::read_dir(directory.path().join("cache")).unwrap().flatten().collect();
    assert!(!left.iter().any(|file| file.file_name().to_string_lossy().starts_with("purges-")));

    let larder = Larder::configured(&file).await;
    larder.until("the disk to be on", async || larder.metric("larder_tier_up", "disk").await == 1.0).await;
    for (path, kept) in [("/kept", true), ("/new", false), ("/old", false)] {
        assert_eq!(found(&larder, path).await, kept, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_of_a_process_that_was_killed_before_the_disk_was_its_own_holds() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=600").body("cooked")).await;
    let (file, _directory) = written(&upstream, "");
    let mut first = Larder::configured(&file).await;
    first.get("/page", &[]).await;
    first.get("/other", &[]).await;
    stored(&first, 2.0).await;
    let mut second = Larder::configured(&file).await;
    assert_eq!(purge(&second, r#"{"url": "http://app.test/page"}"#).await["state"], "done");
    second.process.kill();
    first.process.kill();
    let third = Larder::configured(&file).await;
    assert!(!third.get("/page", &[]).await.is_hit());
    assert!(third.get("/other", &[]).await.is_hit());
}

/// A disk of so many bytes, where this process may mount one.
struct Small(TempDir);

impl Small {
    fn mount(options: &str) -> Option<Small> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path());
        mount.output().is_ok_and(|done| done.status.success()).then(|| Small(directory))
    }

    fn remount(&self, options: &str) {
        let mut mount = std::process::Command::new("mount");
        let done = mount.args(["-o", &format!("remount,{options}")]).arg(self.0.path()).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_and_read_only_disk_is_switched_off_and_comes_back() {
    let upstream = Upstream::start(|request| {
        let len = if request.path().starts_with("/large") { 3 << 20 } else { 200_000 };
        Reply::ok().header("cache-control", "max-age=600").body(vec![b'x'; len])
    })
    .await;
    let Some(disk) = Small::mount("size=8m") else {
        eprintln!("nothing can be mounted here: that disks fill up is not tested");
        return;
    };
    let (text, _directory) = configured(&upstream, "");
    let cache = text.lines().find(|line| line.starts_with("path = ")).unwrap().to_owned();
    let proxy =
        Proxy::configured(&text.replace(&cache, &format!("path = \"{}\"", disk.0.path().join("cache").display())));
    let state = || proxy.app.proxy.cache.lower.figures()[0].state;
    let until = async |wanted: &str| {
        within(wanted, async {
            while state() != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    };
    // Another program takes the room.
    let hog = disk.0.path().join("hog");
    fs::write(&hog, vec![0; 6 << 20]).unwrap();
    let all = async || {
        for path in ["/large", "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8"] {
            let response = proxy.get(path, &[]).await;
            assert!(response.status == 200 && response.body.whole, "{path}: {:?}", response.fields);
            assert!(response.body.content.iter().all(|byte| *byte == b'x'));
        }
    };
    all().await;
    until("full").await;
    all().await;
    assert!(proxy.get("/1", &[]).await.is_hit(), "memory goes on");
    fs::remove_file(&hog).unwrap();
    until("on").await;
    assert!(proxy.get("/large-2", &[]).await.body.whole);
    assert!(proxy.get("/large-2", &[]).await.is_hit(), "it takes what is large again");

    disk.remount("ro");
    assert!(proxy.get("/9", &[]).await.body.whole);
    until("read-only").await;
    all().await;
    assert!(proxy.get("/large-2", &[]).await.is_hit(), "what is there is served");
    disk.remount("rw");
    until("on").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_on_a_read_only_disk_serves_what_is_there() {
    let upstream = Upstream::start(|request| {
        Reply::ok().header("cache-control", "max-age=600").header("surrogate-key", &request.path()[1..]).body("cooked")
    })
    .await;
    let Some(disk) = Small::mount("size=8m") else {
        eprintln!("nothing can be mounted here: that disks are read-only is not tested");
        return;
    };
    let (text, directory) = configured(&upstream, "");
    let path = format!("path = \"{}\"", disk.0.path().join("cache").display());
    let cache = text.lines().find(|line| line.starts_with("path = ")).unwrap();
    let file = directory.path().join("larder.toml");
    fs::write(&file, format!("{}[[listeners]]\naddress = \"127.0.0.1:0\"\n", text.replace(cache, &path))).unwrap();
    let mut larder = Larder::configured(&file).await;
    for path in ["/kept", "/purged"] {
        larder.get(path, &[]).await;
    }
    stored(&larder, 2.0).await;
    larder.process.kill();
    disk.remount("ro");

    let mut larder = Larder::configured(&file).await;
    assert_eq!(detail(&larder.get("/kept", &[]).await), "disk");
    let state =
        async |larder: &Larder| control(larder, "GET", "/v1/cache/health", "").await["tiers"][1]["state"].clone();
    assert_eq!(state(&larder).await, "read-only");
    let mut receipts = Vec::new();
    for order in [r#"{"tag": "purged"}"#, r#"{"tag": "other"}"#] {
        receipts.push(control(&larder, "POST", "/v1/purge", order).await["receipt"].clone());
    }
    assert!(!larder.get("/purged", &[]).await.is_hit());
    let said = larder.process.output().matches("purges cannot be written").count();
    assert_eq!(said, 1, "{}", larder.process.output());
    disk.remount("rw");
    larder.until("the disk to be on", async || state(&larder).await == "on").await;
    for receipt in receipts {
        assert_eq!(receipt["durable"], false);
        let path = format!("/v1/purges/{}", receipt["id"].as_str().unwrap());
        larder.until("it to be durable", async || control(&larder, "GET", &path, "").await["durable"] == true).await;
    }
    larder.process.kill();
    let larder = Larder::configured(&file).await;
    assert_eq!(detail(&larder.get("/kept", &[]).await), "disk");
    assert!(!larder.get("/purged", &[]).await.is_hit());
}

/// A start finds what it needs by its name alone, however many records there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_with_many_records_serves_at_once() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=600").body("cooked")).await;
    let (file, directory) = written(&upstream, "");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("\"1GiB\"", "\"16GiB\"")).unwrap();
    let mut larder = Larder::configured(&file).await;
    larder.get("/page", &[]).await;
    stored(&larder, 1.0).await;
    larder.process.kill();
    let one = records(directory.path()).remove(0);
    let count: u64 = if long() { 1_000_000 } else { 20_000 };
    let shards = directory.path().join("cache/records");
    for number in 0..count {
        // Copies under other names: they belong to other slots, and are never asked for.
        let name = format!("{:016x}{number:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let path = shards.join(&name[..2]).join(&name);
        if number % 60_000 == 0 {
            fs::copy(&one, &path).unwrap();
        } else {
            // A hard link costs no inode; a file has at most 65,000.
            let source = number - number % 60_000;
            let source = format!("{:016x}{source:016x}", source.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            fs::hard_link(shards.join(&source[..2]).join(&source), &path).unwrap();
        }
    }
    let began = std::time::Instant::now();
    let larder = Larder::configured(&file).await;
    assert!(larder.get("/page", &[]).await.is_hit());
    let took = began.elapsed();
    println!("a start with {count} records serves after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    // A million takes a while on a busy machine, in the background.
    while larder.metric("larder_tier_entries", "disk").await != (count + 1) as f64 {
        assert!(began.elapsed() < Duration::from_secs(300), "not all of them are known");
        tokio::time::sleep(POLL).await;
    }
    println!("all of them are known after {:?}", began.elapsed());
    assert!(larder.get("/other", &[]).await.text() == "cooked");
}

/// Any byte of a record flipped, and the record cut anywhere: a miss that is answered rightly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_with_any_byte_flipped_or_cut_is_a_miss() {
    let upstream = Upstream::start(|_| Reply::ok().header("cache-control", "max-age=600").body("cooked")).await;
    let (text, directory) = configured(&upstream, "");
    let proxy = Proxy::configured(&text);
    proxy.get("/page", &[]).await;
    let lower = &proxy.app.proxy.cache.lower;
    lower.settle().await;
    let path = records(directory.path()).remove(0);
    let len = fs::read(&path).unwrap().len();
    let key = CacheKey::from_text("GET http://app.test/page".to_owned(), "GET http://app.test/page".len()).unwrap();
    let mut rounds = 0;
    for at in 0..len {
        for cut in [false, true] {
            // Another record each time: what was wrong has been removed, and the page stored again.
            let mut wrong = fs::read(&path).unwrap();
            assert_eq!(wrong.len(), len, "at {at}");
            match cut {
                true => wrong.truncate(at),
                false => wrong[at] ^= 1 << (at % 8),
            }
            fs::write(&path, wrong).unwrap();
            proxy.app.proxy.cache.memory.remove(&key);
            let page = proxy.get("/page", &[]).await;
            assert_eq!((page.status, page.text().as_str(), page.is_hit()), (200, "cooked", false), "at {at}");
            rounds += 1;
            lower.settle().await;
        }
    }
    assert_eq!((lower.figures()[0].damaged, lower.figures()[0].state), (rounds, "on"));
    proxy.app.proxy.cache.memory.remove(&key);
    assert!(proxy.get("/page", &[]).await.is_hit(), "the last one is sound");
}
