//! The client against servers that are plain, protected, watched by sentinels, in a cluster, and against their faults.

use std::time::{Duration, Instant};

use larder::cache::redis::breaker::State;
use larder::cache::redis::client::{Client, Options};
use larder::cache::redis::fault::Fault;
use larder::config::settings::redis::{RedisAddress, RedisServer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redis::cmd;

use crate::support::redis::{Between, Cluster, Mood, Redis, Watched};
use crate::support::{machine, within};

/// Longest time that an operation may take in these tests: machines under test are slow.
const DEADLINE: Duration = Duration::from_millis(50);

fn at(address: RedisAddress) -> RedisServer {
    RedisServer {
        address,
        tls: false,
        ca_file: None,
        username: None,
        password: None,
        sentinel_password: None,
        database: 0,
    }
}

pub(super) fn server(port: u16) -> RedisServer {
    at(RedisAddress::Server("127.0.0.1".to_owned(), port))
}

fn start(server: &RedisServer) -> Client {
    let options = Options { purpose: "bodies", prefix: "larder".to_owned(), deadline: DEADLINE, connections: 2 };
    Client::start(server, options)
}

async fn until(client: &Client, what: &str, is_so: impl Fn(&Client) -> bool) {
    within(what, async {
        while !is_so(client) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn put(client: &Client, key: &str, value: &str) -> Result<(), Fault> {
    client.write(cmd("SET").arg(client.key(key)).arg(value).arg("PX").arg(60_000)).await
}

async fn get(client: &Client, key: &str) -> Result<Option<String>, Fault> {
    client.read(cmd("GET").arg(client.key(key))).await
}

/// It takes a value and gives it back.
async fn works(client: &Client) {
    until(client, "a connection", Client::is_up).await;
    put(client, "page", "cooked").await.unwrap();
    assert_eq!(get(client, "page").await.unwrap().as_deref(), Some("cooked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_speaks_to_plain_servers_databases_and_sockets() {
    let redis = Redis::with(&["--unixsocket", "redis.sock"]).await;
    works(&start(&server(redis.port))).await;
    assert_eq!(redis.cli(&["GET", "larder:page"]), "cooked");

    works(&start(&RedisServer { database: 3, ..server(redis.port) })).await;
    assert_eq!(redis.cli(&["-n", "3", "GET", "larder:page"]), "cooked");

    redis.cli(&["FLUSHALL"]);
    works(&start(&at(RedisAddress::Unix(redis.dir.path().join("redis.sock"))))).await;
    assert_eq!(redis.cli(&["GET", "larder:page"]), "cooked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_needs_the_right_password_and_permissions() {
    let redis = Redis::with(&["--requirepass", "s3cret"]).await;
    for password in [None, Some("wrong")] {
        let client = start(&RedisServer { password: password.map(str::to_owned), ..server(redis.port) });
        until(&client, "a refusal", |client| client.figures().fault == Some(Fault::Auth)).await;
        assert_eq!(get(&client, "page").await, Err(Fault::Auth));
    }
    let right = Some("s3cret".to_owned());
    works(&start(&RedisServer { password: right.clone(), ..server(redis.port) })).await;

    let acl = ["ACL", "SETUSER", "reader", "on", ">r3ad", "~larder:*", "+get", "+exists"];
    redis.cli(&[&["-a", "s3cret", "--no-auth-warning"][..], &acl[..]].concat());
    let (username, password) = (Some("reader".to_owned()), Some("r3ad".to_owned()));
    let reader = start(&RedisServer { username, password, ..server(redis.port) });
    until(&reader, "a connection", Client::is_up).await;
    assert_eq!(get(&reader, "page").await.unwrap().as_deref(), Some("cooked"));
    assert_eq!(put(&reader, "page", "raw").await, Err(Fault::Permission));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_speaks_tls_and_believes_its_authority_alone() {
    let files = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let file = |name: &str, text: String| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (ca, cert, key) =
        (file("ca.pem", ca.pem()), file("cert.pem", cert.pem()), file("key.pem", key.serialize_pem()));
    let port = crate::support::redis::free_port().to_string();
    let _redis = Redis::with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let tls = |host: &str, ca_file: Option<&str>| RedisServer {
        tls: true,
        ca_file: ca_file.map(Into::into),
        ..at(RedisAddress::Server(host.to_owned(), port.parse().unwrap()))
    };
    works(&start(&tls("localhost", Some(&ca)))).await;
    for (host, ca_file) in [("localhost", None), ("127.0.0.1", Some(&*ca))] {
        let client = start(&tls(host, ca_file));
        until(&client, "a refusal", |client| client.figures().connects > 1).await;
        assert!(!client.is_up(), "{host} {ca_file:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_leaves_a_stopped_server_alone_after_one_deadline_and_comes_back() {
    let _machine = machine().await;
    let redis = Redis::start().await;
    let client = start(&server(redis.port));
    works(&client).await;

    redis.stop(true);
    let began = Instant::now();
    let mut slow = 0;
    for _ in 0..1000 {
        let asked = Instant::now();
        assert!(get(&client, "page").await.is_err());
        slow += u32::from(asked.elapsed() > DEADLINE / 2);
    }
    assert!(slow <= 2, "{slow} of 1000 waited; {:?} in all", began.elapsed());
    assert_eq!(client.figures().fault, Some(Fault::Timeout));

    redis.stop(false);
    let back = Instant::now();
    works(&client).await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_comes_back_after_a_restart() {
    let mut redis = Redis::start().await;
    let client = start(&server(redis.port));
    works(&client).await;
    redis.kill();
    until(&client, "the loss", |client| client.figures().fault == Some(Fault::Unreachable)).await;
    assert_eq!(get(&client, "page").await, Err(Fault::Unreachable));
    redis.start_again().await;
    let back = Instant::now();
    works(&client).await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_treats_a_slow_silent_or_cut_way_as_away() {
    let _machine = machine().await;
    let redis = Redis::start().await;
    let between = Between::before(redis.address()).await;
    let client = start(&server(between.address.port()));
    works(&client).await;
    for (mood, fault) in
        [(Mood::Slow(200), Fault::Timeout), (Mood::Silent, Fault::Timeout), (Mood::Cut, Fault::Unreachable)]
    {
        between.set(mood);
        until(&client, "the fault", |client| client.figures().state != State::Closed).await;
        until(&client, "its name", |client| client.figures().fault == Some(fault)).await;
        let asked = Instant::now();
        assert!(get(&client, "page").await.is_err(), "{mood:?}");
        assert!(asked.elapsed() < DEADLINE, "{mood:?}: not asked while it is open");
        between.set(Mood::Honest);
        let back = Instant::now();
        works(&client).await;
        assert!(back.elapsed() < Duration::from_secs(5), "{mood:?}: {:?}", back.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_reads_on_while_a_full_server_or_a_replica_refuses_writes() {
    let redis = Redis::with(&["--maxmemory-policy", "noeviction"]).await;
    let client = start(&server(redis.port));
    works(&client).await;
    for (break_it, mend_it, fault) in [
        (&["CONFIG", "SET", "maxmemory", "1"][..], &["CONFIG", "SET", "maxmemory", "0"][..], Fault::Full),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"], Fault::ReadOnly),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            Fault::WritesRefused,
        ),
    ] {
        redis.cli(break_it);
        assert_eq!(put(&client, "other", "x").await, Err(fault));
        assert!(!client.takes_writes());
        until(&client, "new connections", Client::is_up).await;
        assert_eq!(get(&client, "page").await.unwrap().as_deref(), Some("cooked"), "{fault:?}");
        redis.cli(mend_it);
        until(&client, "the next try", Client::takes_writes).await;
        works(&client).await;
        assert_eq!(client.figures().write_fault, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_follows_a_failover_by_sentinel() {
    let mut watched = Watched::start().await;
    let sentinels = vec![("127.0.0.1".to_owned(), watched.sentinel.port)];
    let client = start(&at(RedisAddress::Sentinel { sentinels, master: "app".to_owned() }));
    works(&client).await;

    watched.primary.kill();
    watched.replica.until(&["ROLE"], |role| role.starts_with("master")).await;
    let back = Instant::now();
    within("writes to the new primary", async {
        while put(&client, "page", "cooked again").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    assert_eq!(watched.replica.cli(&["GET", "larder:page"]), "cooked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_speaks_to_a_cluster_and_survives_the_loss_of_a_primary() {
    let mut cluster = Cluster::start().await;
    let nodes = cluster.nodes.iter().map(|node| ("127.0.0.1".to_owned(), node.port)).collect();
    let client = start(&at(RedisAddress::Cluster(nodes)));
    until(&client, "a connection", Client::is_up).await;
    for at in 0..30 {
        put(&client, &format!("page{at}"), "cooked").await.unwrap();
    }
    let held: Vec<u64> = cluster.nodes[..3].iter().map(|node| node.cli(&["DBSIZE"]).parse().unwrap()).collect();
    assert!(held.iter().all(|held| *held > 0), "spread over all three: {held:?}");

    let alone = start(&server(cluster.nodes[0].port));
    until(&alone, "a connection", |client| client.is_up() || client.figures().fault == Some(Fault::Cluster)).await;
    for at in 0..30 {
        let _ = get(&alone, &format!("page{at}")).await;
    }
    assert_eq!(alone.figures().fault, Some(Fault::Cluster), "spoken to as a single server");

    cluster.nodes[0].kill();
    cluster.nodes[1].until(&["CLUSTER", "INFO"], |info| info.contains("cluster_state:fail")).await;
    cluster.nodes[1].until(&["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok")).await;
    let back = Instant::now();
    within("all slots again", async {
        for at in 0..30 {
            while put(&client, &format!("page{at}"), "cooked again").await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    })
    .await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
}

/// A slot moves from one primary to another: ASK while it does, MOVED afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_finds_what_moves_between_the_nodes_of_a_cluster() {
    let cluster = Cluster::start().await;
    let nodes = cluster.nodes.iter().map(|node| ("127.0.0.1".to_owned(), node.port)).collect();
    let client = start(&at(RedisAddress::Cluster(nodes)));
    until(&client, "a connection", Client::is_up).await;
    // In one slot by their tag.
    let keys = ["{page}1", "{page}2"];
    let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", "larder:{page}1"]);
    put(&client, keys[0], "old").await.unwrap();
    let holds = |node: &&crate::support::redis::Redis| node.cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot]) == "1";
    let ids: Vec<String> = cluster.nodes.iter().map(|node| node.cli(&["CLUSTER", "MYID"])).collect();
    let from = cluster.nodes[..3].iter().position(|node| holds(&node)).unwrap();
    let to = (from + 1) % 3;
    let (source, target) = (&cluster.nodes[from], &cluster.nodes[to]);
    assert_eq!(target.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[from]]), "OK");
    assert_eq!(source.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[to]]), "OK");
    let trips = client.figures().openings;
    assert_eq!(get(&client, keys[0]).await.unwrap().as_deref(), Some("old"), "still at its old place");
    assert_eq!(get(&client, keys[1]).await, Ok(None), "asked for at the new one");
    put(&client, keys[1], "new").await.unwrap();
    let port = target.port.to_string();
    assert_eq!(source.cli(&["MIGRATE", "127.0.0.1", &port, "larder:{page}1", "0", "5000"]), "OK");
    for key in keys {
        assert!(get(&client, key).await.unwrap().is_some(), "{key}: all are at the new one");
    }
    for node in &cluster.nodes[..3] {
        assert_eq!(node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[to]]), "OK");
    }
    for key in keys {
        assert!(get(&client, key).await.unwrap().is_some(), "{key}: moved for good");
        put(&client, key, "newer").await.unwrap();
    }
    let figures = client.figures();
    assert_eq!((figures.openings, figures.state), (trips, State::Closed), "no fault");
}
