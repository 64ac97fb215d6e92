//! When a request is sent a second time, and when never.

use super::*;

/// A pool with one idle connection.
async fn warm(server: &Scripted) -> (Arc<Pool>, Line) {
    let pool = pool(server.settings());
    let (answer, line) = tokio::join!(get_text(&pool), server.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
    (pool, line)
}

/// Takes a request on a connection and closes it without an answer.
async fn take_and_close(mut line: Line) -> String {
    line.head().await
}

#[tokio::test]
async fn connection_closed_while_idle_is_replaced_for_any_method() {
    for method in [Method::GET, Method::POST] {
        let server = Scripted::listen().await;
        let (pool, line) = warm(&server).await;
        drop(line);
        eventually(|| server_stats(&pool).open == 0).await;
        let (answer, _line) = tokio::join!(send(&pool, method, RequestBody::Empty), server.serve(OK));
        assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
        assert_eq!((server_stats(&pool).reuses, server_stats(&pool).repeats), (0, 0));
    }
}

#[tokio::test]
async fn idempotent_request_is_sent_once_more_when_a_reused_connection_closes() {
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let server = Scripted::listen().await;
        let (pool, line) = warm(&server).await;
        let script = async {
            let first = take_and_close(line).await;
            let mut line = server.accept().await;
            assert_eq!(line.serve("HTTP/1.1 204 No Content\r\n\r\n").await, first);
            line
        };
        let (answer, _line) = tokio::join!(send(&pool, method, RequestBody::Empty), script);
        assert_eq!(answer.unwrap().status(), StatusCode::NO_CONTENT);
        let stats = server_stats(&pool);
        assert_eq!((stats.repeats, stats.connects, stats.errors), (1, 2, vec![]));
    }
}

#[tokio::test]
async fn request_is_sent_at_most_twice() {
    let server = Scripted::listen().await;
    let (pool, line) = warm(&server).await;
    let script = async {
        take_and_close(line).await;
        take_and_close(server.accept().await).await;
    };
    let (answer, ()) = tokio::join!(get(&pool), script);
    assert_eq!(kind(answer), UpstreamErrorKind::Reset);
    assert_eq!(server_stats(&pool).connects, 2);
}

#[tokio::test]
async fn new_connection_that_closes_is_not_retried() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (answer, _) = tokio::join!(get(&pool), async { take_and_close(server.accept().await).await });
    let error = answer.unwrap_err();
    assert_eq!(error.kind, UpstreamErrorKind::Reset);
    assert!(!error.retry_safe());
    assert_eq!(server_stats(&pool).connects, 1);
}

#[tokio::test]
async fn post_is_never_sent_twice() {
    let server = Scripted::listen().await;
    let (pool, line) = warm(&server).await;
    let (answer, head) = tokio::join!(send(&pool, Method::POST, RequestBody::Empty), take_and_close(line));
    assert!(head.starts_with("POST "), "{head}");
    assert_eq!(kind(answer), UpstreamErrorKind::Reset);
    assert_eq!((server_stats(&pool).connects, server_stats(&pool).repeats), (1, 0));
}

#[tokio::test]
async fn request_with_a_body_does_not_meet_a_connection_closed_while_idle() {
    let server = Scripted::listen().await;
    let (pool, line) = warm(&server).await;
    let (body, _client) = client_body("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", 10, LONG).await;
    drop(line);
    eventually(|| server_stats(&pool).idle == 0).await;
    let (answer, _line) = tokio::join!(send(&pool, Method::POST, body), async {
        let mut line = server.accept().await;
        line.head().await;
        assert_eq!(line.read(3).await, "abc");
        line.send(OK).await;
        line
    });
    assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
    assert_eq!((server_stats(&pool).connects, server_stats(&pool).repeats), (2, 0));
}

#[tokio::test]
async fn request_with_a_body_is_never_sent_twice() {
    let server = Scripted::listen().await;
    let (pool, line) = warm(&server).await;
    let (body, _client) = client_body("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", 10, LONG).await;
    let (answer, _) = tokio::join!(send(&pool, Method::PUT, body), take_and_close(line));
    assert_eq!(kind(answer), UpstreamErrorKind::Reset);
    assert_eq!(server_stats(&pool).connects, 1);
}

#[tokio::test]
async fn answer_begun_on_a_reused_connection_is_not_asked_for_again() {
    let server = Scripted::listen().await;
    let (pool, mut line) = warm(&server).await;
    let (answer, ()) = tokio::join!(get(&pool), async {
        line.serve("HTTP/1.1 2").await;
        drop(line);
    });
    assert_eq!(kind(answer), UpstreamErrorKind::Reset);
    assert_eq!(server_stats(&pool).connects, 1);
}

#[tokio::test]
async fn retry_takes_the_room_of_an_idle_connection() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { max_connections: 2, ..server.settings() });
    let (latest, mut oldest) = super::connections::two_idle(&server, &pool).await;
    let (answer, _line) = tokio::join!(get_text(&pool), async {
        take_and_close(latest).await;
        oldest.closed().await;
        server.serve(OK).await
    });
    assert_eq!(answer.unwrap(), "ok");
}

#[tokio::test]
async fn retry_finds_its_place_although_the_cap_is_one() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { max_connections: 1, queue_timeout: Duration::ZERO, ..server.settings() });
    let (answer, line) = tokio::join!(get_text(&pool), server.serve(OK));
    answer.unwrap();
    let (answer, _line) = tokio::join!(get_text(&pool), async {
        take_and_close(line).await;
        server.serve(OK).await
    });
    assert_eq!(answer.unwrap(), "ok");
}
