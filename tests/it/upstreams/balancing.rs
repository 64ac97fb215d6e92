//! Which server a request goes to.

use std::collections::BTreeSet;

use super::{before, named};
use crate::support::process::POLL;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::Upstream;
use crate::support::within;

/// The texts of so many answers, each asked for by `POST`.
async fn asked(proxy: &Proxy, count: usize, fields: &[(&str, &str)]) -> String {
    let mut texts = String::new();
    for _ in 0..count {
        texts += &proxy.ask("POST", "/", fields, "").await.text();
    }
    texts
}

#[tokio::test]
async fn servers_are_asked_by_weight_and_backups_only_in_need() {
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let proxy = Proxy::configured(&format!(
        "[upstreams.app]\nservers = [{{ url = \"{}\", weight = 3 }}, \"{}\", {{ url = \"{}\", backup = true }}]\n",
        a.url(),
        b.url(),
        c.url()
    ));
    let texts = asked(&proxy, 8, &[]).await;
    assert_eq!((texts.matches('a').count(), texts.matches('b').count()), (6, 2), "{texts}");
    // A POST on a connection that is being closed could not be sent again.
    tokio::join!(a.stop(), b.stop());
    within("their connections to be known as closed", async {
        while proxy.metrics_text().await.lines().any(is_idle_connection) {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    assert_eq!(asked(&proxy, 3, &[]).await, "ccc");
}

/// Whether a line of the metrics counts idle connections, and there are some.
fn is_idle_connection(line: &str) -> bool {
    line.starts_with("larder_upstream_connections{") && line.contains("state=\"idle\"") && !line.ends_with(" 0")
}

#[tokio::test]
async fn visitor_stays_on_one_server_by_cookie_header_or_address() {
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    for (hash_by, field) in [("cookie sid", "Cookie"), ("header X-User", "X-User")] {
        let proxy = before(&[&a, &b, &c], &format!("balance = \"hash\"\nhash_by = \"{hash_by}\""));
        // Where servers listen decides who gets whom: of so many, each has one, but for three times in 10^11.
        let mut servers = BTreeSet::new();
        for visitor in 0..64 {
            if visitor >= 12 && servers.len() == 3 {
                break;
            }
            let value = if field == "Cookie" { format!("x=1; sid={visitor}") } else { visitor.to_string() };
            let texts = asked(&proxy, 3, &[(field, &value)]).await;
            assert_eq!(texts, texts[..1].repeat(3), "{hash_by} {visitor}");
            servers.insert(texts[..1].to_owned());
        }
        assert_eq!(servers.into_iter().collect::<String>(), "abc", "{hash_by}");
        let texts = asked(&proxy, 4, &[]).await;
        assert_eq!(texts, texts[..1].repeat(4), "without it, the address counts");
    }
}

#[tokio::test]
async fn fetches_for_the_cache_are_balanced_as_well() {
    let (a, b) = (named("a").await, named("b").await);
    let proxy = before(&[&a, &b], "");
    for number in 0..6 {
        proxy.get(&format!("/{number}"), &[]).await;
    }
    assert_eq!((a.requests().len(), b.requests().len()), (3, 3));
}

#[tokio::test]
async fn least_connections_avoid_a_server_that_is_slow() {
    let gate = Gate::new();
    let held = gate.clone();
    let slow = Upstream::start(move |_| Reply::ok().after(&held).body("slow")).await;
    let quick = named("q").await;
    for balance in ["least_connections", "p2c"] {
        let proxy = before(&[&slow, &quick], &format!("balance = \"{balance}\""));
        let before = slow.requests().len();
        let mut held = Vec::new();
        while slow.requests().len() == before {
            let mut client = crate::support::client::Connection::open(proxy.address).await;
            client.send(crate::support::client::request("POST", "/", &[], "")).await;
            let seen = slow.requests().len() + quick.requests().len();
            held.push(client);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert!(held.len() < 20, "{seen}");
        }
        assert_eq!(asked(&proxy, 10, &[]).await, "q".repeat(10), "{balance}");
    }
    gate.open();
}
