//! What must not leave the process: pages of one session, and what is found by a rule that this process has learnt.

use super::*;

const RULES: &str = "[cache.rules]\nprivate = { cookie = \"sid\", max_session_bytes = \"8MiB\" }";
const ANNA: (&str, &str) = ("cookie", "sid=anna");

/// All files of records, and of those that are just being written.
fn files(directory: &TempDir) -> usize {
    let new = fs::read_dir(directory.path().join("cache/new")).unwrap();
    let writing: usize = new.map(|new| fs::read_dir(new.unwrap().path()).unwrap().count()).sum();
    writing + records(directory.path()).len()
}

/// Reads so much of a body that is sent in chunks.
async fn read(client: &mut Connection, len: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < len {
        read.extend(client.chunk().await);
    }
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_pages_too_large_for_memory_are_not_written_to_disk() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |_| {
        Reply::ok().header("cache-control", "private, max-age=60").piece(vec![b'x'; 3 << 20]).gate(&opener).piece("end")
    })
    .await;
    let (text, directory) = configured(&upstream, RULES);
    let proxy = Proxy::configured(&text);
    let mut client = Connection::open(proxy.address).await;
    client.send(client::request("GET", "/page", &[ANNA], "")).await;
    client.head().await;
    read(&mut client, 3 << 20).await;
    assert_eq!(files(&directory), 0);
    gate.open();
    assert_eq!(read(&mut client, 3).await, b"end");
    let again = proxy.get("/page", &[ANNA]).await;
    assert!(again.is_hit() && again.body.content.len() == (3 << 20) + 3, "{:?}", again.fields);
    proxy.app.proxy.cache.lower.settle().await;
    assert_eq!(files(&directory), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_that_ends_keeps_out_what_was_under_way_also_where_it_is_large() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| match request.path() {
        "/logout" => Reply::ok().header("set-cookie", "sid=; Max-Age=0"),
        _ => Reply::ok()
            .header("cache-control", "private, max-age=60")
            .piece(vec![b'x'; 3 << 20])
            .gate(&opener)
            .piece("end"),
    })
    .await;
    let (text, _directory) = configured(&upstream, RULES);
    let proxy = Proxy::configured(&text);
    let mut client = Connection::open(proxy.address).await;
    client.send(client::request("GET", "/page", &[ANNA], "")).await;
    client.head().await;
    read(&mut client, 3 << 20).await;
    proxy.ask("POST", "/logout", &[ANNA], "").await;
    gate.open();
    assert_eq!(read(&mut client, 3).await, b"end");
    assert!(!proxy.get("/page", &[ANNA]).await.is_hit());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_by_no_vary_search_leaves_no_record_that_nobody_finds() {
    let upstream = Upstream::start(|_| {
        let head = Reply::ok().header("cache-control", "max-age=60").header("no-vary-search", "params=(\"utm\")");
        head.body(vec![b'x'; 3 << 20])
    })
    .await;
    let (text, directory) = configured(&upstream, "");
    let proxy = Proxy::configured(&text);
    proxy.get("/page?utm=1", &[]).await;
    let again = proxy.get("/page?utm=2", &[]).await;
    assert!(again.is_hit() && again.body.content.len() == 3 << 20, "{:?}", again.fields);
    proxy.app.proxy.cache.lower.settle().await;
    assert_eq!(files(&directory), 0);
}
