//! curl asks larder: HTTP/1.1, HTTP/2 with prior knowledge, TLS with ALPN and SNI.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::support::larder::Larder;
use crate::support::process::run;
use crate::support::reply::Reply;
use crate::support::upstream::Upstream;

/// What curl tells after a transfer.
const SUMMARY: &str = "\n%{http_version} %{response_code} %{size_download}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_over_cleartext_gets_the_same_by_both_versions() {
    let upstream = page().await;
    let larder = Larder::before(&upstream.url()).await;
    let url = format!("http://{}/page", larder.address);
    for (option, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2"), ("--http1.1", "1.1")] {
        let said = curl(&[option, &url]).await;
        assert_eq!(said.trim_end(), format!("{}\n{version} 200 2000", "x".repeat(2000)), "{option}");
    }
    assert_eq!(upstream.count("/page"), 1, "one stored response serves both versions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_posts_with_every_version() {
    let upstream = Upstream::start(|request| {
        Reply::status("303 See Other").header("location", "/done").body(&request.body.content)
    })
    .await;
    let larder = Larder::before(&upstream.url()).await;
    let url = format!("http://{}/form", larder.address);
    // Redirects are not followed: curl 7.88 breaks a cleartext HTTP/2 connection that it uses again (curl#10634).
    for (option, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let said = curl(&[option, "--data", "note=plums", &url]).await;
        assert_eq!(said.trim_end(), format!("note=plums\n{version} 303 10"), "{option}");
    }
    let posts = upstream.requests();
    assert_eq!(posts.len(), 2);
    assert!(posts.iter().all(|post| post.body.content == b"note=plums" && post.body.whole), "{posts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_decodes_what_larder_coded() {
    let upstream = page().await;
    let larder = Larder::before(&upstream.url()).await;
    let url = format!("http://{}/page", larder.address);
    for coding in ["gzip", "br", "zstd"] {
        let accept = format!("Accept-Encoding: {coding}");
        let said = curl(&["--include", "--compressed", "--header", &accept, &url]).await;
        let (head, body) = said.split_once("\n\n").unwrap();
        assert!(head.to_ascii_lowercase().contains(&format!("content-encoding: {coding}")), "{said}");
        assert!(body.starts_with(&"x".repeat(2000)), "{coding}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_over_tls_agrees_on_a_version_by_alpn() {
    let upstream = page().await;
    let directory = tempfile::tempdir().unwrap();
    let larder = tls_larder(directory.path(), &upstream.url()).await;
    let port = larder.address.port();
    for (option, host, version) in [
        ("--http2", "one.test", "2"),
        ("--http1.1", "one.test", "1.1"),
        ("--http2", "two.test", "2"),
        ("--http1.1", "two.test", "1.1"),
    ] {
        // A certificate of the other name would fail verification: each is its own authority.
        let authority = directory.path().join(format!("{host}.pem"));
        let (resolve, url) = (format!("{host}:{port}:127.0.0.1"), format!("https://{host}:{port}/page"));
        // Twice, on one connection.
        let said = curl(&["--cacert", authority.to_str().unwrap(), "--resolve", &resolve, option, &url, &url]).await;
        let once = format!("{}\n{version} 200 2000", "x".repeat(2000));
        assert_eq!(said.lines().collect::<String>(), once.repeat(2).replace('\n', ""), "{option} {host}");
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2, "one forward for each host");
    assert!(requests.iter().all(|request| request.fields.get("x-forwarded-proto") == Some("https")), "{requests:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_refused_by_its_own_check_of_a_certificate() {
    let upstream = page().await;
    let directory = tempfile::tempdir().unwrap();
    let larder = tls_larder(directory.path(), &upstream.url()).await;
    let (authority, url) =
        (directory.path().join("two.test.pem"), format!("https://one.test:{}/", larder.address.port()));
    let resolve = format!("one.test:{}:127.0.0.1", larder.address.port());
    let finished = Command::new("curl")
        .args(["--silent", "--max-time", "20", "--noproxy", "*", "--cacert", authority.to_str().unwrap()])
        .args(["--resolve", &resolve, &url])
        .output()
        .unwrap();
    assert_eq!(finished.status.code(), Some(60), "certificates are chosen by name, not handed out at will");
    assert_eq!(upstream.requests().len(), 0);
}

/// An upstream with one page that may be stored and is worth coding.
async fn page() -> Upstream {
    Upstream::start(|_| {
        Reply::ok().header("cache-control", "max-age=60").header("content-type", "text/plain").body("x".repeat(2000))
    })
    .await
}

/// A larder with a TLS listener and two certificates, `one.test` and `two.test`.
async fn tls_larder(directory: &Path, upstream: &str) -> Larder {
    for host in ["one.test", "two.test"] {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([host.to_owned()]).unwrap();
        fs::write(directory.join(format!("{host}.pem")), cert.pem()).unwrap();
        fs::write(directory.join(format!("{host}.key")), signing_key.serialize_pem()).unwrap();
    }
    let listen: SocketAddr = ([127, 0, 0, 1], 0).into();
    let config = directory.join("proxy.toml");
    let text = format!(
        "[[listeners]]\n\
         address = \"{listen}\"\n\
         tls = {{ certificates = [\n\
         {{ cert = \"one.test.pem\", key = \"one.test.key\" }},\n\
         {{ cert = \"two.test.pem\", key = \"two.test.key\" }},\n\
         ] }}\n\
         [upstreams.app]\n\
         servers = [\"{upstream}\"]\n"
    );
    fs::write(&config, text).unwrap();
    Larder::configured(&config).await
}

/// Runs curl, which must succeed; its output ends with [`SUMMARY`].
async fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    // No proxy of the machine's, no configuration of the user's.
    command.args(["--disable", "--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]);
    run(command.args(["--write-out", SUMMARY]).args(arguments)).await
}
