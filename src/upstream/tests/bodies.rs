//! Where messages end, what follows them, and what that means for the connection.

use http_body::Body;
use parking_lot::Mutex;

use super::*;

#[tokio::test]
async fn body_cut_short_is_an_error() {
    for (response, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart", UpstreamErrorKind::Reset),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\npart", UpstreamErrorKind::Reset),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n", UpstreamErrorKind::Reset),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\nxyz\r\n", UpstreamErrorKind::Protocol),
    ] {
        let server = Scripted::listen().await;
        let pool = pool(server.settings());
        let (answer, ()) = tokio::join!(get(&pool), async {
            server.serve(response).await;
        });
        assert_eq!(kind(text(answer.unwrap()).await), expected, "{response}");
        assert_eq!(server_stats(&pool).errors, [(expected, 1)]);
        eventually(|| server_stats(&pool).open == 0).await;
    }
}

#[tokio::test]
async fn malformed_head_is_a_protocol_error() {
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
    let large_head = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(70 * 1024));
    for response in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
        "HTTP/1.1 200 OK\r\n : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        &many_fields,
        &large_head,
    ] {
        let server = Scripted::listen().await;
        let pool = pool(server.settings());
        let (answer, mut line) = tokio::join!(get(&pool), server.serve(response));
        assert_eq!(kind(answer), UpstreamErrorKind::Protocol, "{response:.60}");
        line.closed().await;
    }
}

#[tokio::test]
async fn connection_is_not_reused_when_the_response_rules_it_out() {
    for (response, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok", "ok"),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok", "ok"),
        ("HTTP/1.1 204 No Content\r\nconnection: x, Close\r\n\r\n", ""),
    ] {
        let server = Scripted::listen().await;
        let pool = pool(server.settings());
        let (answer, mut line) = tokio::join!(get_text(&pool), server.serve(response));
        assert_eq!(answer.unwrap(), body);
        line.closed().await;
        eventually(|| server_stats(&pool).open == 0).await;
    }
}

#[tokio::test]
async fn bytes_after_the_response_never_answer_another_request() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let poisoned = format!("{OK}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison");
    let (answer, mut line) = tokio::join!(get_text(&pool), server.serve(&poisoned));
    assert_eq!(answer.unwrap(), "ok");
    let (answer, _line) = tokio::join!(get_text(&pool), server.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
    line.closed().await;
}

#[tokio::test]
async fn body_without_a_length_ends_with_the_connection() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (answer, ()) = tokio::join!(get(&pool), async {
        server.serve("HTTP/1.1 200 OK\r\n\r\nto the end").await;
    });
    let answer = answer.unwrap();
    assert!(answer.body().close_delimited());
    assert_eq!(text(answer).await.unwrap(), "to the end");
}

#[tokio::test]
async fn body_that_ends_soon_has_a_length_and_no_other_loses_anything() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (response, length, content) in [
        (format!("{chunked}3\r\nsma\r\n2\r\nll\r\n0\r\n\r\n"), Some(5), Some("small")),
        (format!("{chunked}0\r\n\r\n"), Some(0), Some("")),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nsmall".to_owned(), Some(5), Some("small")),
        (format!("{chunked}6\r\nenough\r\n4\r\nmore\r\n0\r\n\r\n"), None, Some("enoughmore")),
        (format!("{chunked}2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"), None, Some("ok")),
        (format!("{chunked}9\r\npart"), None, None),
    ] {
        let server = Scripted::listen().await;
        let pool = pool(server.settings());
        let (answer, ()) = tokio::join!(get(&pool), async {
            server.serve(&response).await;
        });
        let mut answer = answer.unwrap();
        assert_eq!(answer.body_mut().settle(6, LONG).await, length, "{response}");
        if length.is_some() {
            assert_eq!(answer.body().size_hint().exact(), length, "{response}");
        }
        assert_eq!(text(answer).await.ok().as_deref(), content, "{response}");
    }
}

#[tokio::test]
async fn body_that_takes_its_time_is_not_waited_for() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nsl\r\n";
    let (answer, mut line) = tokio::join!(get(&pool), server.serve(chunked));
    let mut answer = answer.unwrap();
    assert_eq!(answer.body_mut().settle(6, SHORT).await, None);
    line.send("2\r\now\r\n0\r\n\r\n").await;
    assert_eq!(text(answer).await.unwrap(), "slow");
}

#[tokio::test]
async fn dropped_body_closes_the_connection() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (answer, mut line) = tokio::join!(get(&pool), server.serve("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart"));
    drop(answer);
    line.closed().await;
    eventually(|| server_stats(&pool).open == 0).await;
}

#[tokio::test]
async fn trailers_pass() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let response =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
    let (answer, _line) = tokio::join!(get(&pool), server.serve(response));
    let collected = within(answer.unwrap().into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
    assert_eq!(server_stats(&pool).idle, 1);
}

#[tokio::test]
async fn answer_ahead_of_the_request_body_costs_the_connection() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (body, _client) = client_body("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc", 10, LONG).await;
    let (answer, mut line) = tokio::join!(send(&pool, Method::POST, body), async {
        let mut line = server.serve("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").await;
        assert_eq!(line.read(3).await, "abc");
        line
    });
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text(answer).await.unwrap(), "no");
    line.closed().await;
}

#[tokio::test]
async fn request_body_is_reframed_and_streamed() {
    let chunked = "transfer-encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\n\r\n";
    for (method, framing, sent_framing, sent) in [
        (Method::POST, "content-length: 3\r\n\r\nabc", "content-length: 3", "abc"),
        (Method::POST, chunked, "transfer-encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
        (Method::GET, chunked, "transfer-encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
    ] {
        let server = Scripted::listen().await;
        let pool = pool(server.settings());
        let bytes = format!("{method} / HTTP/1.1\r\nhost: a\r\n{framing}");
        let (body, _client) = client_body(&bytes, 3, LONG).await;
        let (answer, _line) = tokio::join!(send(&pool, method, body), async {
            let mut line = server.accept().await;
            let head = line.head().await;
            assert!(head.contains(sent_framing), "{head}");
            assert_eq!(line.read(sent.len()).await, sent);
            line.send(OK).await;
            line
        });
        assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
        assert_eq!(server_stats(&pool).idle, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn held_body_that_hardly_grows_is_given_up() {
    let (body, mut client) = client_body("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 600\r\n\r\n", 1000, LONG).await;
    let held = tokio::spawn(body.held(1000));
    for _ in 0..2 {
        // Enough in three goes, each in time.
        for _ in 0..3 {
            tokio::time::sleep(LONG / 4).await;
            client.write_all(&[b'x'; 90]).await.unwrap();
        }
    }
    assert!(!held.is_finished());
    for _ in 0..5 {
        tokio::time::sleep(LONG / 4).await;
        let _ = client.write_all(b"x").await;
    }
    assert_eq!(kind(held.await.unwrap()), UpstreamErrorKind::RequestBodyTimeout);
}

#[tokio::test]
async fn held_body_is_whole_and_has_its_length_or_streams_behind_what_is_there() {
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    for (bytes, most, held, length, whole) in [
        (format!("{chunked}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 100, "abcde", Some(5), true),
        (format!("{chunked}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 2, "abcde", None, false),
        (format!("{chunked}0\r\n\r\n"), 100, "", Some(0), true),
        (format!("{chunked}3\r\nabc\r\n0\r\nx: y\r\n\r\n"), 100, "abc", None, true),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nabcde".to_owned(), 2, "abcde", Some(5), true),
    ] {
        let (body, _client) = client_body(&bytes, 10, LONG).await;
        let mut body = within(body.held(most)).await.unwrap();
        assert_eq!(http_body::Body::size_hint(&body).exact(), length, "{bytes}");
        let sent = body.take();
        assert_eq!(body.is_whole(), whole, "{bytes}");
        for body in [Some(sent), Some(body).filter(RequestBody::is_whole)].into_iter().flatten() {
            assert_eq!(within(body.collect()).await.unwrap().to_bytes(), held, "{bytes}");
        }
    }
}

#[tokio::test]
async fn request_body_over_its_cap_is_cut_off() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let bytes = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    let (body, _client) = client_body(bytes, 5, LONG).await;
    let (answer, ()) = tokio::join!(send(&pool, Method::POST, body), async {
        let mut line = server.accept().await;
        line.head().await;
        let mut rest = String::new();
        let _end_or_reset = within(line.0.read_to_string(&mut rest)).await;
        assert!(!rest.contains("def") && !rest.ends_with("0\r\n\r\n"), "{rest}");
    });
    let error = answer.unwrap_err();
    assert_eq!((error.kind, error.status()), (UpstreamErrorKind::RequestTooLarge, StatusCode::PAYLOAD_TOO_LARGE));
}

#[tokio::test]
async fn request_body_announced_over_its_cap_reaches_no_server() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (body, _client) = client_body("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n", 5, LONG).await;
    assert_eq!(kind(send(&pool, Method::POST, body).await), UpstreamErrorKind::RequestTooLarge);
    assert_eq!(server_stats(&pool).connects, 0);
}

#[tokio::test]
async fn client_that_leaves_mid_body_fails_the_request() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let (body, client) = client_body("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc", 10, LONG).await;
    let (answer, ()) = tokio::join!(send(&pool, Method::POST, body), async {
        let mut line = server.accept().await;
        line.head().await;
        line.read(3).await;
        drop(client);
        line.closed().await;
    });
    assert_eq!(kind(answer), UpstreamErrorKind::RequestBody);
}

#[tokio::test]
async fn interim_responses_are_told_as_they_come() {
    let server = Scripted::listen().await;
    let pool = pool(server.settings());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let on_interim: InterimCallback =
        Arc::new(move |status, fields: &HeaderMap| tell.lock().push((status.as_u16(), fields.get("link").cloned())));
    let exchange = Exchange { on_interim: Some(on_interim), ..exchange(&pool) };
    let (answer, ()) = tokio::join!(ask(&pool, request(Method::GET, RequestBody::Empty), exchange), async {
        let mut line = server.serve("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n").await;
        eventually(|| told.lock().len() == 1).await;
        line.send(&format!("HTTP/1.1 102 Processing\r\n\r\n{OK}")).await;
    });
    assert_eq!(text(answer.unwrap()).await.unwrap(), "ok");
    assert_eq!(*told.lock(), [(103, Some("</a.css>".parse().unwrap())), (102, None)]);
}

#[tokio::test]
async fn upgraded_connection_is_a_tunnel_that_keeps_its_place() {
    let server = Scripted::listen().await;
    let pool = pool(Upstream { max_connections: 1, queue_timeout: SHORT, ..server.settings() });
    let mut request = request(Method::GET, RequestBody::Empty);
    request.headers_mut().insert("upgrade", "echo".parse().unwrap());
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\nfirst";
    let (answer, mut line) = tokio::join!(ask(&pool, request, exchange(&pool)), server.serve(switch));
    let mut tunnel = answer.unwrap().body_mut().take_tunnel().unwrap();

    let mut first = [0; 5];
    within(tunnel.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"first");
    tunnel.write_all(b"ping").await.unwrap();
    assert_eq!(line.read(4).await, "ping");

    assert_eq!(server_stats(&pool).open, 1);
    assert_eq!(kind(get(&pool).await), UpstreamErrorKind::QueueTimeout);
    drop(tunnel);
    line.closed().await;
    assert_eq!(server_stats(&pool).open, 0);
    let (answer, _line) = tokio::join!(get_text(&pool), server.serve(OK));
    assert_eq!(answer.unwrap(), "ok");
}
