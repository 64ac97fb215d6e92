//! Which connection an exchange gets: reuse, order, caps, queue, servers in turn.

use super::*;
use crate::config::settings::Dns;

#[tokio::test]
async fn connection_is_reused_after_a_complete_response() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let script = async {
        let mut line = server.accept().await;
        let head = line.serve(OK).await;
        line.serve("HTTP/1.1 304 Not Modified\r\n\r\n").await;
        line.serve("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nend\r\n0\r\n\r\n").await;
        line.serve(OK).await;
        (line, head)
    };
    let ((_line, head), ()) = tokio::join!(script, async {
        for expected in ["ok", "", "end", "ok"] {
            assert_eq!(get_text(&pool).await.unwrap(), expected);
        }
    });
    assert_eq!(head, "GET /page?x=1 HTTP/1.1\r\nhost: shop.example\r\n\r\n");
    let stats = server_stats(&pool);
    assert_eq!((stats.open, stats.idle, stats.connects, stats.reuses), (1, 1, 1, 3));
    assert_eq!(stats.errors, []);
}

/// Opens two connections; the first's response ends last, so that it is on top. Returns them in the order opened.
pub(super) async fn two_idle(server: &Scripted, pool: &Pool) -> (Line, Line) {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    let (first, mut line1) = tokio::join!(get(pool), server.serve(head));
    let (second, mut line2) = tokio::join!(get(pool), server.serve(head));
    line2.send("ok").await;
    text(second.unwrap()).await.unwrap();
    line1.send("ok").await;
    text(first.unwrap()).await.unwrap();
    (line1, line2)
}

#[tokio::test]
async fn most_recently_used_connection_is_taken_first() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (mut line1, _line2) = two_idle(&server, &pool).await;
    let (answer, _) = tokio::join!(get_text(&pool), line1.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
    assert_eq!(server_stats(&pool).idle, 2);
}

#[tokio::test]
async fn idle_connections_beyond_max_idle_are_closed_oldest_first() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { max_idle: 1, ..server.settings() });
    let (mut line1, mut line2) = two_idle(&server, &pool).await;
    line2.closed().await;
    let (answer, _) = tokio::join!(get_text(&pool), line1.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn idle_connection_is_closed_after_idle_timeout() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { idle_timeout: SHORT, ..server.settings() });
    let (answer, mut line) = tokio::join!(get_text(&pool), server.serve(OK));
    answer.unwrap();
    line.closed().await;
    eventually(|| server_stats(&pool).open == 0).await;
    // And once more: the sweeping must start anew.
    let (answer, mut line) = tokio::join!(get_text(&pool), server.serve(OK));
    answer.unwrap();
    line.closed().await;
}

#[tokio::test]
async fn connection_of_the_maximum_age_is_closed() {
    let server = Scripted::listen().await;
    for (max_age, kept) in [(SHORT, true), (Duration::ZERO, false)] {
        let pool = pool(Upstream { max_age, ..server.settings() });
        let (answer, mut line) = tokio::join!(get_text(&pool), server.serve(OK));
        answer.unwrap();
        assert_eq!(server_stats(&pool).idle == 1, kept);
        line.closed().await;
        eventually(|| server_stats(&pool).open == 0).await;
    }
}

#[tokio::test]
async fn connections_are_not_kept_when_max_idle_is_zero() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { max_idle: 0, max_connections: 1, ..server.settings() });
    for _ in 0..2 {
        let (answer, mut line) = tokio::join!(get_text(&pool), server.serve(OK));
        assert_eq!(answer.unwrap(), "ok");
        line.closed().await;
    }
}

#[tokio::test]
async fn dropped_pool_closes_its_idle_connections() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (answer, mut line) = tokio::join!(get_text(&pool), server.serve(OK));
    answer.unwrap();
    drop(pool);
    line.closed().await;
}

#[tokio::test]
async fn checks_end_with_the_pool_that_made_them() {
    let server = Scripted::listen().await;
    let mut settings = server.settings();
    (settings.health.path, settings.health.interval) = (Some("/up".to_owned()), SHORT);
    let pool = pool(settings);
    let checked = Arc::downgrade(&pool.servers[0]);
    let _lines = [server.serve(OK).await, server.serve(OK).await];
    drop(pool);
    // Who checks once more has to have the server for that.
    eventually(|| checked.strong_count() == 0).await;
}

#[tokio::test]
async fn queue_is_left_with_an_error_after_queue_timeout() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { max_connections: 1, queue_timeout: SHORT, ..server.settings() });
    let (held, _line) = tokio::join!(get(&pool), server.serve(OK));
    let held = held.unwrap();
    assert_eq!(kind(get(&pool).await), UpstreamErrorKind::QueueTimeout);
    let stats = server_stats(&pool);
    assert_eq!(stats.errors, [(UpstreamErrorKind::QueueTimeout, 1)]);
    assert_eq!((stats.waiting, stats.open), (0, 1));
    drop(held);
}

#[tokio::test]
async fn queued_request_gets_the_connection_given_back() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { max_connections: 1, ..server.settings() });
    let (held, mut line) = tokio::join!(get(&pool), server.serve(OK));
    let (queued, ()) = tokio::join!(get_text(&pool), async {
        eventually(|| server_stats(&pool).waiting == 1).await;
        text(held.unwrap()).await.unwrap();
        line.serve(OK).await;
    });
    assert_eq!(queued.unwrap(), "ok");
    assert_eq!(server_stats(&pool).connects, 1);
}

#[tokio::test]
async fn queued_request_opens_a_connection_when_the_one_before_was_closed() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { max_connections: 1, ..server.settings() });
    let (held, mut line) = tokio::join!(get(&pool), server.serve(OK));
    let (queued, ()) = tokio::join!(get_text(&pool), async {
        eventually(|| server_stats(&pool).waiting == 1).await;
        drop(held.unwrap());
        line.closed().await;
        server.serve(OK).await;
    });
    assert_eq!(queued.unwrap(), "ok");
    eventually(|| server_stats(&pool).connects == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_requests_at_once_share_the_connections_under_the_cap() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { max_connections: 3, ..server.settings() });
    tokio::spawn(async move {
        loop {
            let mut line = server.accept().await;
            tokio::spawn(async move {
                loop {
                    line.serve(OK).await;
                }
            });
        }
    });
    let clients: Vec<_> = (0..30)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    assert_eq!(get_text(&pool).await.unwrap(), "ok");
                }
            })
        })
        .collect();
    for client in clients {
        within(client).await.unwrap();
    }
    let stats = server_stats(&pool);
    assert!(stats.connects <= 3, "{stats:?}");
    assert_eq!((stats.idle, stats.reuses), (stats.open, 600 - stats.connects));
}

#[tokio::test]
async fn abandoned_request_closes_its_connection_and_frees_its_place() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { max_connections: 1, ..server.settings() });
    let mut line = {
        let mut abandoned = pin!(get(&pool));
        let script = async {
            let mut line = server.accept().await;
            line.head().await;
            line
        };
        tokio::select! {
            _ = &mut abandoned => panic!("nothing was answered"),
            line = script => line,
        }
    };
    line.closed().await;
    let (answer, _line) = tokio::join!(get_text(&pool), server.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn servers_are_asked_in_turn() {
    let (one, two) = (Scripted::listen().await, Scripted::listen().await);
    let pool = pool(settings(vec![one.address(), two.address()]));
    for server in [&one, &two] {
        let (answer, _line) = tokio::join!(get_text(&pool), server.serve(OK));
        assert_eq!(answer.unwrap(), "ok");
    }
    assert_eq!(pool.stats().servers.iter().map(|server| server.connects).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn refused_connection_passes_the_request_to_the_next_server() {
    let gone = Scripted::listen().await.address();
    let server = Scripted::listen().await;
    let pool = pool(settings(vec![gone, server.address()]));
    let (answer, _line) = tokio::join!(get_text(&pool), server.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
    assert_eq!(server_stats(&pool).errors, [(UpstreamErrorKind::Connect, 1)]);
}

#[tokio::test]
async fn server_at_its_cap_passes_the_request_to_the_next() {
    let (one, two) = (Scripted::listen().await, Scripted::listen().await);
    let pool = pool(Upstream { max_connections: 1, ..settings(vec![one.address(), two.address()]) });
    let (held, _line1) = tokio::join!(get(&pool), one.serve(OK));
    let (answer, mut line2) = tokio::join!(get_text(&pool), two.serve(OK));
    answer.unwrap();
    // It is the first server's turn again.
    let (answer, _) = tokio::join!(get_text(&pool), line2.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
    drop(held);
}

#[tokio::test]
async fn unreachable_upstream_is_a_connect_error_that_may_be_retried() {
    let gone = Scripted::listen().await.address();
    let error = get(&pool(settings(vec![gone]))).await.unwrap_err();
    assert_eq!(error.kind, UpstreamErrorKind::Connect);
    assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
    assert!(error.retry_safe());
}

#[tokio::test]
async fn unknown_name_is_a_resolve_error() {
    let nowhere = UpstreamServer::new(false, "nowhere.invalid", 80);
    let dns = Dns { servers: vec![([127, 0, 0, 1], 1).into()], timeout: SHORT, ..Dns::default() };
    let pool = pool(Upstream { dns, ..settings(vec![nowhere]) });
    assert_eq!(kind(get(&pool).await), UpstreamErrorKind::Resolve);
}
