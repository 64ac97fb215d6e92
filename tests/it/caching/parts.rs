//! RFC 9111 §3.3, §3.4: parts of responses are stored, combined and completed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use larder::cache::purge::PurgeTarget;

use super::Fields;
use crate::support::client;
use crate::support::proxy::Proxy;
use crate::support::reply::{Gate, Reply};
use crate::support::upstream::{Recorded, Upstream};
use crate::support::within;

stories![
    parts_answer_smaller_ranges,
    parts_of_the_same_are_combined_by_asking_for_what_is_missing,
    parts_are_completed_for_who_wants_the_whole,
    parts_never_stand_for_the_whole,
    parts_without_a_strong_validator_are_never_combined,
    parts_of_what_has_changed_give_way,
    parts_that_are_stale_are_validated_as_parts,
    parts_and_if_range,
    parts_that_make_no_sense_are_passed_on_and_not_stored,
    parts_with_another_length_than_they_say_are_cut_for_all,
    parts_are_variants_and_purged_and_invalidated_like_wholes,
    parts_are_fetched_once_for_all_who_want_the_same,
    parts_of_what_is_too_large_as_a_whole,
    parts_remain_of_what_broke_off,
    parts_that_break_off_are_cut_for_their_readers,
    parts_are_sent_while_they_come,
    parts_that_cannot_be_had_stand_for_nothing_else,
];

const TEXT: &str = "0123456789abcdefghij";

/// What a file server answers that knows ranges and conditions (RFC 9110 §13.2.2).
fn file(request: &Recorded, text: &str, tag: &str) -> Reply {
    let given = |name: &str| request.fields.get(name);
    let head = |status: &str| {
        let reply = Reply::status(status).header("cache-control", "max-age=60").header("content-type", "video/mp4");
        if tag.is_empty() { reply } else { reply.header("etag", tag) }
    };
    if given("if-none-match").is_some_and(|tags| tags.split(", ").any(|it| it == tag)) {
        return head("304 Not Modified");
    }
    let range = given("range").filter(|_| given("if-range").is_none_or(|it| it == tag));
    let Some((first, last)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return head("200 OK").body(text);
    };
    let (first, last) = match (first, last) {
        ("", length) => (text.len() - length.parse::<usize>().unwrap(), text.len() - 1),
        (first, "") => (first.parse().unwrap(), text.len() - 1),
        (first, last) => (first.parse().unwrap(), last.parse::<usize>().unwrap().min(text.len() - 1)),
    };
    let content_range = format!("bytes {first}-{last}/{}", text.len());
    head("206 Partial Content").header("content-range", &content_range).body(&text[first..=last])
}

pub(super) async fn file_server() -> (Upstream, Proxy) {
    let upstream = Upstream::start(|request| file(request, TEXT, "\"v1\"")).await;
    let proxy = Proxy::before(&upstream);
    (upstream, proxy)
}

/// Range and If-Range of all requests that the upstream got.
fn asked(upstream: &Upstream) -> Vec<String> {
    let line = |request: &Recorded| {
        let of = |name: &str| request.fields.get(name).map(str::to_owned);
        [Some(request.method.clone()), of("range"), of("if-range"), of("if-none-match")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    };
    upstream.requests().iter().map(line).collect()
}

async fn parts_answer_smaller_ranges() {
    for tag in ["\"v1\"", "W/\"v1\"", ""] {
        let upstream = Upstream::start(move |request| file(request, TEXT, tag)).await;
        let proxy = Proxy::before(&upstream);
        let first = proxy.get("/film", &[("range", "bytes=5-14")]).await;
        assert_eq!((first.status, first.text().as_str()), (206, "56789abcde"));
        assert_eq!(first.field("cache-status"), "larder; fwd=uri-miss; ttl=60; stored");
        for (range, status, content_range, body) in [
            ("bytes=5-14", 206, "bytes 5-14/20", "56789abcde"),
            ("bytes=7-8", 206, "bytes 7-8/20", "78"),
            ("bytes=20-", 416, "bytes */20", "416 Range Not Satisfiable\n"),
        ] {
            let hit = proxy.get("/film", &[("range", range)]).await;
            assert_eq!((hit.status, hit.field("content-range"), hit.text().as_str()), (status, content_range, body));
            assert!(hit.is_hit(), "{range}");
            if status == 206 {
                assert_eq!(hit.field("content-length"), body.len().to_string());
            }
        }
        let several = proxy.get("/film", &[("range", "bytes=5-6, 10-11")]).await;
        assert!(several.is_hit() && several.text().contains("Content-Range: bytes 10-11/20\r\n\r\nab\r\n"));
        assert_eq!(upstream.count("/film"), 1, "{tag}");
    }
}

async fn parts_of_the_same_are_combined_by_asking_for_what_is_missing() {
    let (upstream, proxy) = file_server().await;
    let ask = async |range: &str| {
        let response = proxy.get("/film", &[("range", range)]).await;
        (response.text(), response.field("cache-status").to_owned())
    };
    let miss = |status: &str| format!("larder; fwd=partial{status}; ttl=60; stored");
    let hit = || "larder; hit; ttl=60".to_owned();
    assert_eq!(ask("bytes=5-9").await.0, "56789");
    assert_eq!(ask("bytes=3-7").await, ("34567".to_owned(), miss("")));
    assert_eq!(ask("bytes=3-9").await, ("3456789".to_owned(), hit()));
    assert_eq!(ask("bytes=12-13").await, ("cd".to_owned(), miss("")));
    assert_eq!(ask("bytes=8-13").await, ("89abcd".to_owned(), miss("")));
    assert_eq!(ask("bytes=4-12").await, ("456789abc".to_owned(), hit()));
    // The whole: both ends are missing, then only the last is asked for.
    assert_eq!(ask("bytes=15-").await.0, "fghij");
    assert_eq!(ask("bytes=0-2").await.0, "012");
    let whole = proxy.get("/film", &[]).await;
    assert_eq!((whole.status, whole.text().as_str()), (200, TEXT));
    assert_eq!(whole.field("cache-status"), miss("; fwd-status=206"));
    assert_eq!((whole.field("content-length"), whole.fields.get("content-range")), ("20", None));
    let again = proxy.get("/film", &[]).await;
    assert_eq!((again.is_hit(), again.status, again.text().as_str()), (true, 200, TEXT));
    let conditional = "\"v1\"";
    assert_eq!(
        asked(&upstream),
        [
            "GET bytes=5-9".to_owned(),
            format!("GET bytes=3-4 {conditional}"),
            format!("GET bytes=12-13 {conditional}"),
            format!("GET bytes=10-11 {conditional}"),
            format!("GET bytes=15- {conditional}"),
            format!("GET bytes=0-2 {conditional}"),
            format!("GET bytes=14-14 {conditional}"),
        ]
    );
}

async fn parts_are_completed_for_who_wants_the_whole() {
    // A server may give another part than was asked for: it is what it says it is.
    let upstream = Upstream::start(|request| match request.fields.get("range") {
        Some("bytes=-9") => Reply::status("206 Partial Content")
            .header("cache-control", "max-age=60")
            .header("etag", "\"v1\"")
            .header("x-new", "old")
            .header("content-range", "bytes 0-8/20")
            .body(&TEXT[..9]),
        _ => file(request, TEXT, "\"v1\"").header("x-new", "new"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    let part = proxy.get("/film", &[("range", "bytes=-9")]).await;
    assert_eq!((part.status, part.field("content-range"), part.text().as_str()), (206, "bytes 0-8/20", &TEXT[..9]));
    let whole = proxy.get("/film", &[]).await;
    assert_eq!((whole.status, whole.text().as_str(), whole.field("x-new")), (200, TEXT, "new"));
    assert_eq!(asked(&upstream), ["GET bytes=-9", "GET bytes=9- \"v1\""]);
    for (fields, status, text) in
        [(&[][..], 200, TEXT), (&[("range", "bytes=-2")], 206, "ij"), (&[("if-none-match", "\"v1\"")], 304, "")]
    {
        let hit = proxy.get("/film", fields).await;
        assert_eq!((hit.is_hit(), hit.status, hit.text().as_str()), (true, status, text));
    }
    // In all its forms: the answer to a HEAD, too.
    let head = proxy.ask("HEAD", "/film", &[], "").await;
    assert_eq!((head.is_hit(), head.status, head.field("content-length")), (true, 200, "20"));
}

async fn parts_never_stand_for_the_whole() {
    for tag in ["\"v1\"", "W/\"v1\"", ""] {
        let upstream = Upstream::start(move |request| file(request, TEXT, tag)).await;
        let proxy = Proxy::before(&upstream);
        proxy.get("/film", &[("range", "bytes=5-14")]).await;
        let cached = proxy.get("/film", &[("cache-control", "only-if-cached")]).await;
        assert_eq!((cached.status, cached.field("cache-status")), (504, "larder; detail=only-if-cached"));
        let head = proxy.ask("HEAD", "/film", &[], "").await;
        assert_eq!((head.status, head.field("content-length")), (200, "20"));
        assert_eq!(head.field("cache-status"), "larder; fwd=partial; detail=method");
        // RFC 9111 §3.3: nor is a condition on the whole answered from a part.
        let condition = proxy.get("/film", &[("if-none-match", "\"v1\"")]).await;
        assert!(!condition.is_hit());
        let whole = proxy.get("/film", &[("range", "lines=1-2")]).await;
        assert_eq!((whole.status, whole.text().as_str()), (200, TEXT), "{tag}");
    }
}

async fn parts_without_a_strong_validator_are_never_combined() {
    for tag in ["W/\"v1\"", ""] {
        let upstream = Upstream::start(move |request| file(request, TEXT, tag)).await;
        let proxy = Proxy::before(&upstream);
        for (range, text) in [("bytes=5-9", "56789"), ("bytes=10-14", "abcde"), ("bytes=8-11", "89ab")] {
            let response = proxy.get("/film", &[("range", range)]).await;
            assert_eq!((response.is_hit(), response.text().as_str()), (false, text), "{tag} {range}");
        }
        assert_eq!(asked(&upstream), ["GET bytes=5-9", "GET bytes=10-14", "GET bytes=8-11"]);
    }
}

async fn parts_of_what_has_changed_give_way() {
    // The gap is answered with the whole of what is there now; or, against the rules, by something else.
    let other = "ABCDEFGHIJKLMNOPQRST";
    let partial = |range: &str, tag: &str, text: &str| {
        Reply::status("206 Partial Content")
            .header("cache-control", "max-age=60")
            .header("etag", tag)
            .header("content-range", range)
            .body(text)
    };
    for (row, answer, requests) in [
        (0, None, 2),
        (1, Some(partial("bytes 10-19/20", "\"v2\"", "KLMNOPQRST")), 3),
        (2, Some(partial("bytes 10-20/21", "\"v1\"", "KLMNOPQRSTU")), 3),
        (3, Some(partial("bytes 11-19/20", "\"v1\"", "LMNOPQRST")), 3),
        (4, Some(partial("bytes 10-19/20", "W/\"v1\"", "KLMNOPQRST")), 3),
        (5, Some(Reply::status("206 Partial Content").header("etag", "\"v1\"").body("KLMNOPQRST")), 3),
        (6, Some(Reply::status("416 Range Not Satisfiable").header("content-range", "bytes */20")), 3),
        (7, Some(Reply::status("304 Not Modified").header("etag", "\"v1\"")), 3),
        (8, Some(partial("bytes 10-19/20", "\"v1\"", "KLMNOPQRST").header("set-cookie", "a=b")), 3),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let upstream = Upstream::start(move |request| match (asked.fetch_add(1, Ordering::SeqCst), &answer) {
            (0, _) => partial("bytes 0-9/20", "\"v1\"", &TEXT[..10]),
            (1, Some(answer)) => answer.clone(),
            _ => file(request, other, "\"v2\""),
        })
        .await;
        let proxy = Proxy::before(&upstream);
        proxy.get("/film", &[("range", "bytes=-10")]).await;
        let whole = proxy.get("/film", &[]).await;
        assert_eq!((whole.status, whole.text().as_str(), whole.field("etag")), (200, other, "\"v2\""), "row {row}");
        assert_eq!(upstream.count("/film"), requests, "row {row}");
        let hit = proxy.get("/film", &[("range", "bytes=0-1")]).await;
        assert_eq!((hit.is_hit(), hit.text().as_str()), (true, "AB"), "row {row}");
    }
}

async fn parts_that_are_stale_are_validated_as_parts() {
    for changed in [false, true] {
        let asked_before = Arc::new(AtomicUsize::new(0));
        let upstream = Upstream::start(move |request| match asked_before.fetch_add(1, Ordering::SeqCst) {
            0 => file(request, TEXT, "\"v1\""),
            _ if changed => file(request, "ABCDEFGHIJKLMNOPQRST", "\"v2\""),
            _ => file(request, TEXT, "\"v1\""),
        })
        .await;
        let proxy = Proxy::before(&upstream);
        proxy.get("/film", &[("range", "bytes=5-9")]).await;
        proxy.advance(60);
        // Nothing but the part is fetched, whatever it is.
        let response = proxy.get("/film", &[("range", "bytes=6-8")]).await;
        let (text, said) = match changed {
            true => ("GHI", "larder; fwd=stale; ttl=60; stored"),
            false => ("678", "larder; fwd=stale; fwd-status=304; ttl=60; stored"),
        };
        assert_eq!((response.status, response.text().as_str(), response.field("cache-status")), (206, text, said));
        assert_eq!(asked(&upstream)[1], "GET bytes=6-8 \"v1\"");
        assert!(proxy.get("/film", &[("range", "bytes=7-8")]).await.is_hit());
        assert_eq!(proxy.get("/film", &[("range", "bytes=5-5")]).await.is_hit(), !changed);
    }
}

async fn parts_and_if_range() {
    let (upstream, proxy) = file_server().await;
    proxy.get("/film", &[("range", "bytes=5-9")]).await;
    let same = proxy.get("/film", &[("range", "bytes=6-7"), ("if-range", "\"v1\"")]).await;
    assert_eq!((same.is_hit(), same.text().as_str()), (true, "67"));
    // Who has something else gets all of what is there, and the upstream decides what that is.
    let other = proxy.get("/film", &[("range", "bytes=6-7"), ("if-range", "\"v0\"")]).await;
    assert_eq!((other.status, other.text().as_str()), (200, TEXT));
    assert_eq!(asked(&upstream), ["GET bytes=5-9", "GET bytes=6-7 \"v0\""]);
    assert!(proxy.get("/film", &[]).await.is_hit());
    // The coded variants are larder's own: of them no part is to be had.
    let coded = proxy.get("/other", &[("range", "bytes=6-7"), ("if-range", "W/\"v1~br\"")]).await;
    assert_eq!((coded.status, coded.text().as_str()), (200, TEXT));
}

async fn parts_that_make_no_sense_are_passed_on_and_not_stored() {
    let partial = |content_range: &str, text: &str| {
        let reply = Reply::status("206 Partial Content").header("cache-control", "max-age=60").header("etag", "\"v1\"");
        let reply = if content_range.is_empty() { reply } else { reply.header("content-range", content_range) };
        reply.body(text)
    };
    let multipart = "--x\r\nContent-Range: bytes 5-5/20\r\n\r\n5\r\n--x--\r\n";
    for (reply, reason) in [
        (partial("", "56789"), "partial"),
        (partial("bytes 5-9/*", "56789"), "partial"),
        (partial("bytes 5-9/9", "56789"), "partial"),
        (partial("bytes 9-5/20", "56789"), "partial"),
        (partial("bytes 5-9", "56789"), "partial"),
        (partial("lines 5-9/20", "56789"), "partial"),
        (partial("bytes 5-9/20", "5678"), "partial"),
        (partial("bytes 5-9/20", "56789").header("content-range", "bytes 5-9/20"), "partial"),
        (partial("", multipart).header("content-type", "multipart/byteranges; boundary=x"), "partial"),
        (partial("bytes 5-9/20", "56789").header("cache-control", "no-store"), "no-store"),
        (partial("bytes 5-9/20", "56789").header("cache-control", "private"), "private"),
        (partial("bytes 5-9/20", "56789").header("set-cookie", "a=b"), "set-cookie"),
        (partial("bytes 5-9/20", "56789").header("vary", "*"), "vary-any"),
    ] {
        let text = format!("{reply:?}");
        let upstream = Upstream::start(move |_| reply.clone()).await;
        let proxy = Proxy::before(&upstream);
        for asked in 1..3 {
            let response = proxy.get("/film", &[("range", "bytes=5-9")]).await;
            let said = format!("larder; fwd=uri-miss; detail={reason}");
            assert_eq!((response.status, response.field("cache-status")), (206, &*said), "{text}");
            assert_eq!(upstream.count("/film"), asked);
        }
    }
    // Nobody asked for a part.
    let upstream = Upstream::start(move |_| partial("bytes 5-9/20", "56789")).await;
    let proxy = Proxy::before(&upstream);
    for _ in 0..2 {
        let response = proxy.get("/film", &[]).await;
        assert_eq!(response.field("cache-status"), "larder; fwd=uri-miss; detail=partial");
    }
}

async fn parts_with_another_length_than_they_say_are_cut_for_all() {
    for text in ["567", "56789abc"] {
        let upstream = Upstream::start(move |_| {
            Reply::status("206 Partial Content")
                .header("cache-control", "max-age=60")
                .header("etag", "\"v1\"")
                .header("content-range", "bytes 5-9/20")
                .piece(text)
        })
        .await;
        let proxy = Proxy::before(&upstream);
        let mut exchange = proxy.clients.begin("/film", &[("range", "bytes=5-9")]).await;
        if let Some(head) = exchange.try_head().await {
            let body = exchange.body(&head).await;
            assert!(!body.whole && body.content.len() < 5, "{body:?}");
        }
        let cached = proxy.get("/film", &[("range", "bytes=5-6"), ("cache-control", "only-if-cached")]).await;
        assert_eq!(cached.status, 504, "{text}");
    }
}

async fn parts_are_variants_and_purged_and_invalidated_like_wholes() {
    let upstream = Upstream::start(|request| match &*request.method {
        "GET" => file(request, TEXT, "\"v1\"").header("vary", "Foo"),
        _ => Reply::ok(),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    const ONE: Fields = &[("range", "bytes=5-9"), ("foo", "1")];
    const TWO: Fields = &[("range", "bytes=5-9"), ("foo", "2")];
    let hit = async |fields| proxy.get("/film", fields).await.is_hit();
    proxy.get("/film", ONE).await;
    assert!(!hit(TWO).await && hit(ONE).await && hit(TWO).await);
    proxy.ask("POST", "/film", &[], "x").await;
    assert!(!hit(ONE).await && hit(ONE).await);
    proxy.purge(PurgeTarget::All);
    assert!(!hit(ONE).await);
    // A purge meanwhile keeps a part out as it does a whole.
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| file(request, TEXT, "\"v1\"").after(&opener)).await;
    let proxy = Proxy::before(&upstream);
    let purging = async {
        upstream.arrived(1).await;
        proxy.purge(PurgeTarget::All);
        gate.open();
    };
    let (part, ()) = tokio::join!(proxy.get("/film", ONE), purging);
    assert_eq!(part.text(), "56789");
    assert!(!proxy.get("/film", ONE).await.is_hit());
}

async fn parts_are_fetched_once_for_all_who_want_the_same() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| file(request, TEXT, "\"v1\"").after(&opener)).await;
    let proxy = Proxy::before(&upstream);
    let clients = proxy.clients;
    let crowd = |range: &'static str, count: usize| -> JoinSet<_> {
        (0..count).map(|_| async move { clients.get("/film", &[("range", range)]).await.text() }).collect()
    };
    let (same, other) = (crowd("bytes=5-9", 20), crowd("bytes=10-11", 1));
    // Nobody waits for another part than its own.
    upstream.arrived(2).await;
    within("requests to join a fetch", async {
        while proxy.app.proxy.cache.flights.joined() < 19 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    gate.open();
    assert!(within("all answers", same.join_all()).await.iter().all(|text| text == "56789"));
    assert_eq!(within("the other", other.join_all()).await, ["ab"]);
    assert_eq!(upstream.count("/film"), 2);
    // What came side by side is combined.
    assert!(proxy.get("/film", &[("range", "bytes=7-10")]).await.is_hit());
}

async fn parts_of_what_is_too_large_as_a_whole() {
    // A player probes, seeks, and goes on from there.
    const LENGTH: usize = 4 << 20;
    let upstream = Upstream::start(move |request| file(request, &"x".repeat(LENGTH), "\"v1\"")).await;
    let proxy = Proxy::with_rules(&upstream, "max_object = \"64KiB\"");
    let probe = proxy.get("/film", &[("range", "bytes=0-1")]).await;
    assert_eq!((probe.status, probe.field("content-range")), (206, &*format!("bytes 0-1/{LENGTH}")));
    assert_eq!((probe.text().as_str(), probe.body.whole), ("xx", true));
    assert_eq!(probe.field("cache-status"), "larder; fwd=uri-miss; fwd-status=200; detail=too-large");
    // Now that it is known to be large, not even the beginning is asked for as a whole.
    let probe = proxy.get("/film", &[("range", "bytes=0-1")]).await;
    assert_eq!((probe.status, probe.field("cache-status")), (206, "larder; fwd=uri-miss; ttl=60; stored"));
    let open = proxy.get("/film", &[("range", "bytes=2000000-")]).await;
    assert_eq!((open.status, open.body.content.len()), (206, LENGTH - 2_000_000));
    assert!(open.field("cache-status").ends_with("detail=too-large"), "{}", open.field("cache-status"));
    for start in (0..8).map(|step| 1_000_000 + step * 16_384) {
        let range = format!("bytes={start}-{}", start + 16_383);
        assert!(!proxy.get("/film", &[("range", &range)]).await.is_hit());
        assert!(proxy.get("/film", &[("range", &range)]).await.is_hit());
    }
    // No more than one object may take is kept of it, the newest parts.
    let hit = async |start: usize| proxy.get("/film", &[("range", &format!("bytes={start}-{start}"))]).await.is_hit();
    assert!(hit(1_000_000 + 7 * 16_384).await && hit(1_000_000 + 4 * 16_384).await && !hit(1_000_000).await);
    let memory = &proxy.app.proxy.cache.memory;
    assert!(memory.bytes() < 80 << 10 && memory.filling() == 0, "{}", memory.bytes());
    let whole = proxy.get("/film", &[]).await;
    assert_eq!((whole.status, whole.body.content.len(), whole.body.whole), (200, LENGTH, true));
}

async fn parts_remain_of_what_broke_off() {
    // RFC 9111 §3.3: with a strong validator the rest can be had later.
    for (tag, second) in [("\"v1\"", "GET bytes=5- \"v1\""), ("W/\"v1\"", "GET"), ("", "GET")] {
        let asked_before = Arc::new(AtomicUsize::new(0));
        let upstream = Upstream::start(move |request| match asked_before.fetch_add(1, Ordering::SeqCst) {
            0 => {
                let reply = Reply::ok().header("cache-control", "max-age=60").header("content-length", "20");
                let reply = if tag.is_empty() { reply } else { reply.header("etag", tag) };
                reply.piece(&TEXT[..5]).cut()
            }
            _ => file(request, TEXT, tag),
        })
        .await;
        let proxy = Proxy::before(&upstream);
        let cut = proxy.get("/film", &[]).await;
        assert_eq!((cut.text().as_str(), cut.body.whole), (&TEXT[..5], false));
        let whole = proxy.get("/film", &[]).await;
        assert_eq!((whole.status, whole.text().as_str(), whole.is_hit()), (200, TEXT, false));
        assert_eq!(asked(&upstream), ["GET", second]);
        assert_eq!(proxy.get("/film", &[]).await.text(), TEXT);
    }
}

async fn parts_that_break_off_are_cut_for_their_readers() {
    let asked_before = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start(move |request| match asked_before.fetch_add(1, Ordering::SeqCst) {
        1 => Reply::status("206 Partial Content")
            .header("cache-control", "max-age=60")
            .header("etag", "\"v1\"")
            .header("content-range", "bytes 10-19/20")
            .header("content-length", "10")
            .piece("abc")
            .cut(),
        _ => file(request, TEXT, "\"v1\""),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/film", &[("range", "bytes=5-9")]).await;
    let cut = proxy.get("/film", &[("range", "bytes=5-")]).await;
    assert_eq!((cut.status, cut.text().as_str(), cut.body.whole), (206, "56789abc", false));
    let rest = proxy.get("/film", &[("range", "bytes=5-")]).await;
    assert_eq!((rest.text().as_str(), rest.body.whole), (&TEXT[5..], true));
    assert_eq!(asked(&upstream)[1..], ["GET bytes=10- \"v1\"", "GET bytes=13- \"v1\""]);
}

async fn parts_are_sent_while_they_come() {
    let gate = Gate::new();
    let opener = gate.clone();
    let upstream = Upstream::start(move |request| match request.fields.get("if-range") {
        None => file(request, TEXT, "\"v1\""),
        Some(_) => Reply::status("206 Partial Content")
            .header("cache-control", "max-age=60")
            .header("etag", "\"v1\"")
            .header("content-range", "bytes 10-19/20")
            .header("content-length", "10")
            .piece("abc")
            .gate(&opener)
            .piece("defghij"),
    })
    .await;
    let proxy = Proxy::before(&upstream);
    proxy.get("/film", &[("range", "bytes=5-9")]).await;
    let mut exchange = proxy.clients.begin("/film", &[("range", "bytes=5-")]).await;
    let head = exchange.head().await;
    assert_eq!(client::status(&head), 206);
    // What is there, and what has come, is with the client before the rest has left the upstream.
    gate.open();
    assert_eq!(String::from_utf8(exchange.body(&head).await.content).unwrap(), &TEXT[5..]);
}

/// An app that lets everything be cached, also that it has no such range.
async fn parts_that_cannot_be_had_stand_for_nothing_else() {
    let upstream = Upstream::start(|request| match request.fields.get("range") {
        Some("bytes=0-4") => file(request, TEXT, "\"v1\""),
        Some(_) => Reply::status("416 Range Not Satisfiable").header("cache-control", "public, max-age=60"),
        None => file(request, TEXT, "\"v1\""),
    })
    .await;
    for before in [&[][..], &["bytes=0-4"]] {
        let proxy = Proxy::before(&upstream);
        for range in before {
            assert_eq!(proxy.get("/film", &[("range", range)]).await.status, 206);
        }
        for range in ["bytes=900-", "bytes=900-"] {
            let refused = proxy.get("/film", &[("range", range)]).await;
            assert_eq!(refused.status, 416);
        }
        let whole = proxy.get("/film", &[]).await;
        assert_eq!((whole.status, whole.text().as_str()), (200, TEXT), "after {before:?}");
    }
}
