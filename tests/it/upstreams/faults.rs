//! One of two servers fails under load, each time in another way: what clients, the app and the cache see of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::support::client::{Connection, request};
use crate::support::machine;
use crate::support::proxy::Proxy;
use crate::support::reply::Reply;
use crate::support::upstream::{Recorded, Upstream};

const CLIENTS: usize = 8;
const REQUESTS: usize = 60;

/// What happens to the first server for the middle third of the load.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Killed,
    Restarting,
    Hung,
    CutMidBody,
    Resetting,
    Flapping,
}

/// What was counted.
#[derive(Debug, Default)]
struct Row {
    requests: usize,
    failed_gets: usize,
    failed_posts: usize,
    cut_gets: usize,
    retries: u64,
    repeats: u64,
    duplicated_posts: usize,
    truncated_hits: usize,
}

fn page(path: &str) -> String {
    path.repeat(300)
}

/// A server that is well until `faulty` says by which fault it is struck.
fn answer(request: &Recorded, fault: Option<Fault>, number: usize) -> Reply {
    let whole = Reply::ok().header("cache-control", "max-age=60").body(page(request.path()));
    match fault {
        None | Some(Fault::Killed | Fault::Restarting) => whole,
        Some(Fault::Hung) => Reply::hang(),
        Some(Fault::Resetting) => Reply::close(),
        Some(Fault::Flapping) if number.is_multiple_of(2) => Reply::close(),
        Some(Fault::Flapping) => whole,
        Some(Fault::CutMidBody) => {
            let length = page(request.path()).len().to_string();
            let fields = Reply::ok().header("cache-control", "max-age=60").header("content-length", &length);
            fields.piece(&page(request.path())[..100]).cut()
        }
    }
}

/// Shared by the load and the servers: how far the load is.
#[derive(Debug, Default)]
struct Load {
    done: AtomicUsize,
}

impl Load {
    fn is_struck(&self) -> bool {
        let all = CLIENTS * REQUESTS;
        (all / 3..all * 2 / 3).contains(&self.done.load(Relaxed))
    }
}

async fn server(fault: Option<Fault>, load: &Arc<Load>) -> Upstream {
    let (load, number) = (load.clone(), AtomicUsize::new(0));
    Upstream::start(move |request| {
        let struck = fault.filter(|_| load.is_struck());
        answer(request, struck, number.fetch_add(1, Relaxed))
    })
    .await
}

async fn under(fault: Fault) -> Row {
    let load = Arc::new(Load::default());
    let mut first = Some(server(Some(fault), &load).await);
    let (address, second) = (first.as_ref().unwrap().address(), server(None, &load).await);
    let proxy = Arc::new(Proxy::configured(&format!(
        "[upstreams.app]\nservers = [\"http://{address}\", \"{}\"]\nfirst_byte_timeout = \"200ms\"\n\
         retries = {{ on = [\"reset\", \"timeout\"], budget = 100 }}\nejection = {{ time = \"50ms\" }}\n",
        second.url()
    )));
    let clients: Vec<_> = (0..CLIENTS).map(|client| tokio::spawn(run(client, proxy.clone(), load.clone()))).collect();
    let mut seen: Vec<Recorded> = Vec::new();
    if matches!(fault, Fault::Killed | Fault::Restarting) {
        until(&load, CLIENTS * REQUESTS / 3).await;
        for _ in 0..if fault == Fault::Killed { 1 } else { 3 } {
            seen.extend(first.take().iter().flat_map(Upstream::requests));
            tokio::time::sleep(Duration::from_millis(20)).await;
            if fault == Fault::Restarting {
                let script = |request: &Recorded| answer(request, None, 0);
                first = Some(Upstream::start_at(address, script).await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    let mut row = Row::default();
    for client in clients {
        let of_client = client.await.unwrap();
        row.requests += of_client.requests;
        row.failed_gets += of_client.failed_gets;
        row.failed_posts += of_client.failed_posts;
        row.cut_gets += of_client.cut_gets;
        row.truncated_hits += of_client.truncated_hits;
    }
    seen.extend(first.iter().flat_map(Upstream::requests));
    seen.extend(second.requests());
    let mut posts: HashMap<String, usize> = HashMap::new();
    for request in seen.iter().filter(|request| request.method == "POST") {
        *posts.entry(request.target.clone()).or_default() += 1;
    }
    row.duplicated_posts = posts.values().filter(|count| **count > 1).count();
    for pool in proxy.app.proxy.site().pools() {
        for server in pool.stats().servers {
            row.retries += server.retries;
            row.repeats += server.repeats;
        }
    }
    row
}

/// Waits until so many requests are done.
async fn until(load: &Load, count: usize) {
    crate::support::within("the load to get that far", async {
        while load.done.load(Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// One client's part: three pages and an order in turn, each on a connection of its own.
async fn run(client: usize, proxy: Arc<Proxy>, load: Arc<Load>) -> Row {
    let mut row = Row::default();
    for number in 0..REQUESTS {
        let (method, path) = match number % 4 {
            0 => ("POST", format!("/order/{client}/{number}")),
            // Some are asked for by all at once, some were stored long before.
            1 => ("GET", format!("/page/{}", number / 8)),
            _ => ("GET", format!("/page/{client}/{number}")),
        };
        let mut connection = Connection::open(proxy.address).await;
        connection.send(request(method, &path, &[], "")).await;
        let answer = connection.response(method).await;
        let right = answer.status == 200 && answer.body.whole && answer.text() == page(&path);
        row.requests += 1;
        row.failed_gets += usize::from(method == "GET" && answer.status != 200);
        row.failed_posts += usize::from(method == "POST" && !right);
        row.cut_gets += usize::from(method == "GET" && answer.status == 200 && !right);
        row.truncated_hits += usize::from(answer.is_hit() && !right);
        load.done.fetch_add(1, Relaxed);
    }
    // What was stored meanwhile is whole.
    for number in 0..REQUESTS / 8 {
        let path = format!("/page/{number}");
        let answer = proxy.get(&path, &[]).await;
        row.truncated_hits += usize::from(answer.is_hit() && answer.text() != page(&path));
    }
    row
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_under_load_never_duplicate_a_post_nor_truncate_a_hit() {
    let _alone = machine().await;
    println!("fault       requests failed-GET failed-POST cut-GET retries repeats dup-POST truncated-hits");
    for fault in [Fault::Killed, Fault::Restarting, Fault::Hung, Fault::CutMidBody, Fault::Resetting, Fault::Flapping] {
        let row = under(fault).await;
        println!(
            "{:<12}{:>8}{:>11}{:>12}{:>8}{:>8}{:>8}{:>9}{:>15}",
            format!("{fault:?}"),
            row.requests,
            row.failed_gets,
            row.failed_posts,
            row.cut_gets,
            row.retries,
            row.repeats,
            row.duplicated_posts,
            row.truncated_hits
        );
        assert_eq!((row.duplicated_posts, row.truncated_hits), (0, 0), "{fault:?}: {row:?}");
        assert_eq!(row.failed_gets, 0, "another server was there: {fault:?}: {row:?}");
        assert_eq!(row.cut_gets > 0, fault == Fault::CutMidBody, "what has begun can't be begun again: {row:?}");
        assert!(row.failed_posts < row.requests / 8, "{fault:?}: {row:?}");
    }
}
