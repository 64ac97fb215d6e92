//! HTTP/1.1 on the wire: how heads and bodies come in and go out, and what is left on a connection.

use super::*;

/// Begins a future when its task has used up tokio's cooperative budget.
async fn without_budget<T>(future: impl Future<Output = T>) -> T {
    let (mut future, mut begun) = (pin!(future), false);
    std::future::poll_fn(|cx| {
        while !begun && pin!(tokio::task::coop::consume_budget()).poll(cx).is_ready() {}
        begun = true;
        future.as_mut().poll(cx)
    })
    .await
}

#[tokio::test]
async fn stale_bytes_are_seen_by_a_task_that_has_used_up_its_budget() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (answer, mut line) = tokio::join!(get_text(&pool), server.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
    // Without a pause: nothing but the kernel knows of these bytes when the connection is taken.
    line.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison").await;
    let asked = without_budget(get_text(&pool));
    let (answer, _line) = tokio::join!(asked, server.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
    line.closed().await;
}

#[tokio::test]
async fn response_may_come_byte_by_byte() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1;x\r\nk\r\n0\r\na: b\r\n\r\n",
    ] {
        let server = Scripted::listen().await;
        let pool = pool(server.settings());
        let (answer, _line) = tokio::join!(get_text(&pool), async {
            let mut line = server.accept().await;
            line.head().await;
            for byte in response.split_inclusive(|_: char| true) {
                line.send(byte).await;
                tokio::task::yield_now().await;
            }
            line
        });
        assert_eq!(answer.unwrap(), "ok");
        assert_eq!(server_stats(&pool).idle, 1);
    }
}

#[tokio::test]
async fn large_bodies_come_whole_and_leave_the_connection_in_order() {
    let content = "0123456789abcdef".repeat(40_000);
    let (first, second) = content.split_at(300_000);
    for response in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{content}", content.len()),
        format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            first.len(),
            second.len()
        ),
    ] {
        let server = Scripted::listen().await;
        let pool = pool(server.settings());
        let (answer, mut line) = tokio::join!(get_text(&pool), server.serve(&response));
        assert!(answer.unwrap() == content);
        let (answer, _) = tokio::join!(get_text(&pool), line.serve(OK));
        assert_eq!(answer.unwrap(), "ok");
    }
}

#[tokio::test]
async fn bare_line_feeds_and_leading_lines_are_protocol_errors() {
    for response in [
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\n\r\nok",
        "HTTP/1.1 200 OK\r\nx: a\nset-cookie: b\r\ncontent-length: 2\r\n\r\nok",
        "\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let server = Scripted::listen().await;
        let pool = pool(server.settings());
        let (answer, mut line) = tokio::join!(get(&pool), server.serve(response));
        assert_eq!(kind(answer), UpstreamErrorKind::Protocol, "{response}");
        line.closed().await;
    }
}

#[tokio::test]
async fn interim_responses_are_bounded() {
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
    for (count, expected) in [(64, None), (65, Some(UpstreamErrorKind::Protocol))] {
        let server = Scripted::listen().await;
        let pool = pool(server.settings());
        let response = hints.repeat(count) + OK;
        let (answer, _line) = tokio::join!(get(&pool), server.serve(&response));
        assert_eq!(answer.err().map(|error| error.kind), expected);
    }
}

#[tokio::test]
async fn trailers_of_a_request_go_out_when_they_were_announced() {
    let bytes = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\nx-other: 8\r\n\r\n";
    for (announced, sent) in
        [(Some("x-sum, content-length"), "3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"), (None, "3\r\nabc\r\n0\r\n\r\n")]
    {
        let server = Scripted::listen().await;
        let pool = pool(server.settings());
        let (body, _client) = client_body(bytes, 10, LONG).await;
        let mut request = request(Method::POST, body);
        if let Some(announced) = announced {
            request.headers_mut().insert("trailer", announced.parse().unwrap());
        }
        let (answer, _line) = tokio::join!(ask(&pool, request, exchange(&pool)), async {
            let mut line = server.accept().await;
            line.head().await;
            assert_eq!(line.read(sent.len()).await, sent);
            line.send(OK).await;
            line
        });
        assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
        assert_eq!(server_stats(&pool).idle, 1);
    }
}

#[tokio::test]
async fn request_goes_on_while_its_answer_is_read() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (body, mut client) = client_body("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc", 10, LONG).await;
    let mut line = {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let (answer, mut line) = tokio::join!(send(&pool, Method::POST, body), server.serve(head));
        let reading = text(answer.unwrap());
        let (read, ()) = tokio::join!(reading, async {
            assert_eq!(line.read(3).await, "abc");
            client.write_all(b"def").await.unwrap();
            assert_eq!(line.read(3).await, "def");
            line.send("3\r\nyes\r\n0\r\n\r\n").await;
        });
        assert_eq!(read.unwrap(), "yes");
        line
    };
    line.closed().await;
}
