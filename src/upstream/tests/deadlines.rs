//! The deadline of each phase of an exchange.

use super::*;

fn with_timeouts(server: &Scripted, first_byte: Duration, idle: Duration) -> Arc<Pool> {
    pool(Upstream { timeouts: UpstreamTimeouts { connect: LONG, first_byte, idle, total: None }, ..server.settings() })
}

#[tokio::test]
async fn silent_server_meets_the_first_byte_deadline_and_loses_the_connection() {
    let server = Scripted::listen().await;
    let pool = with_timeouts(&server, SHORT, LONG);
    let (answer, ()) = tokio::join!(get(&pool), async {
        let mut line = server.accept().await;
        line.head().await;
        line.closed().await;
    });
    let error = answer.unwrap_err();
    assert_eq!((error.kind, error.status()), (UpstreamErrorKind::FirstByteTimeout, StatusCode::GATEWAY_TIMEOUT));
    eventually(|| server_stats(&pool).open == 0).await;
}

#[tokio::test]
async fn first_byte_deadline_does_not_run_while_the_client_is_waited_for() {
    let server = Scripted::listen().await;
    let pool = with_timeouts(&server, SHORT, LONG);
    let (body, mut client) = client_body("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc", 10, LONG).await;
    let (answer, _line) = tokio::join!(send(&pool, Method::POST, body), async {
        let mut line = server.accept().await;
        line.head().await;
        assert_eq!(line.read(3).await, "abc");
        // Three times the deadline passes before the client goes on.
        assert!(tokio::time::timeout(SHORT * 3, line.0.read_u8()).await.is_err());
        client.write_all(b"def").await.unwrap();
        assert_eq!(line.read(3).await, "def");
        line.send(OK).await;
        line
    });
    assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
    assert_eq!(server_stats(&pool).idle, 1);
}

#[tokio::test]
async fn paused_response_body_meets_the_idle_deadline() {
    let server = Scripted::listen().await;
    let pool = with_timeouts(&server, LONG, SHORT);
    let (answer, mut line) = tokio::join!(get(&pool), server.serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart"));
    assert_eq!(kind(text(answer.unwrap()).await), UpstreamErrorKind::IdleTimeout);
    line.closed().await;
    assert_eq!(server_stats(&pool).errors, [(UpstreamErrorKind::IdleTimeout, 1)]);
}

#[tokio::test]
async fn paused_request_body_meets_its_idle_deadline() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (body, _client) = client_body("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc", 10, SHORT).await;
    let (answer, ()) = tokio::join!(send(&pool, Method::POST, body), async {
        let mut line = server.accept().await;
        line.head().await;
        line.read(3).await;
        line.closed().await;
    });
    let error = answer.unwrap_err();
    assert_eq!((error.kind, error.status()), (UpstreamErrorKind::RequestBodyTimeout, StatusCode::REQUEST_TIMEOUT));
}

#[tokio::test]
async fn tls_handshake_that_never_ends_meets_the_connect_deadline() {
    let server = Scripted::listen().await;
    let address = UpstreamServer { tls: true, ..server.address() };
    let timeouts = UpstreamTimeouts { connect: SHORT, first_byte: LONG, idle: LONG, total: None };
    let ca = super::http2_and_tls::Authority::new();
    let settings = Upstream { timeouts, ca_file: Some(ca.file.path().to_owned()), ..settings(vec![address]) };
    let pool = pool(settings);
    let (answer, _line) = tokio::join!(get(&pool), server.accept());
    assert_eq!(kind(answer), UpstreamErrorKind::ConnectTimeout);
}

#[tokio::test]
async fn whole_exchange_meets_its_deadline_before_the_head_and_within_the_body() {
    let server = Scripted::listen().await;
    let total = |total| UpstreamTimeouts { connect: LONG, first_byte: LONG, idle: LONG, total: Some(total) };
    let quick = pool(Upstream { timeouts: total(SHORT), ..server.settings() });
    let (answer, mut line) = tokio::join!(get(&quick), async {
        let mut line = server.accept().await;
        line.head().await;
        line
    });
    let error = answer.unwrap_err();
    assert_eq!((error.kind, error.status()), (UpstreamErrorKind::TotalTimeout, StatusCode::GATEWAY_TIMEOUT));
    line.closed().await;
    let slow = pool(Upstream { timeouts: total(10 * SHORT), ..server.settings() });
    let answer = async { text(get(&slow).await?).await };
    let (answer, mut line) = tokio::join!(answer, async {
        let mut line = server.accept().await;
        line.serve("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
        // It never pauses, and is cut all the same.
        while line.0.write_all(b"more").await.is_ok() {
            tokio::time::sleep(SHORT / 3).await;
        }
        line
    });
    assert_eq!(kind(answer), UpstreamErrorKind::TotalTimeout);
    line.closed().await;
}

#[tokio::test]
async fn tls_handshake_has_a_deadline_of_its_own_where_it_is_given() {
    let server = Scripted::listen().await;
    let ca = super::http2_and_tls::Authority::new();
    let address = UpstreamServer { tls: true, ..server.address() };
    let ca_file = Some(ca.file.path().to_owned());
    let pool = pool(Upstream { tls_timeout: Some(SHORT), ca_file, ..settings(vec![address]) });
    let (answer, _line) = tokio::join!(get(&pool), server.accept());
    assert_eq!(kind(answer), UpstreamErrorKind::ConnectTimeout);
}
