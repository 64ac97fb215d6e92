//! How much of a response the kernel is to hold unsent.

use tokio::io::ReadBuf;

use super::*;
use crate::server::socket::{KERNEL_UNSENT, KERNEL_UNSENT_WHOLE};

/// A stream that notes how much it may hold unsent.
struct Noting(DuplexStream, Arc<Mutex<Vec<u32>>>);

impl ClientStream for Noting {
    fn hold_unsent(&self, bytes: u32) {
        self.1.lock().push(bytes);
    }
}

impl AsyncRead for Noting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Peer {
    /// Sends a request, and takes all of its response, which says how long it is.
    async fn take(&mut self, request: &str) {
        self.send(request).await;
        let head = self.until("\r\n\r\n").await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        self.stream.read_exact(&mut vec![0; length]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn http1_kernel_holds_what_is_all_of_a_response_and_little_of_what_is_long() {
    let notes = Arc::<Mutex<Vec<u32>>>::default();
    let mut peer = connect_through(|socket| Noting(socket, notes.clone()), Protocol::Http1, hits(Way::Plainly));
    let (little, whole) = (KERNEL_UNSENT, KERNEL_UNSENT_WHOLE);
    // It holds little at first.
    for (path, expected) in [
        ("/big", &[][..]),
        ("/medium", &[whole]),
        ("/plain", &[whole]),
        ("/medium", &[whole]),
        ("/big", &[whole, little]),
        ("/medium", &[whole, little, whole]),
        // By hyper, who is given responses of any length.
        ("/plain HTTP/1.1\r\nConnection: keep-alive", &[whole, little, whole, little]),
    ] {
        let line = if path.contains(' ') { path.to_owned() } else { format!("{path} HTTP/1.1") };
        peer.take(&format!("GET {line}\r\nHost: a\r\n\r\n")).await;
        assert_eq!(*notes.lock(), expected, "{path}");
    }
}

/// A hit that is answered while hyper rests says nothing about what hyper sends next.
#[tokio::test(start_paused = true)]
async fn http1_kernel_holds_little_for_hyper_after_a_hit_at_once() {
    let notes = Arc::<Mutex<Vec<u32>>>::default();
    let look: Look = Arc::new(|_, head, out| {
        if !head.starts_with(b"GET /hit") {
            return AtOnce::Other;
        }
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n");
        AtOnce::Answered(Content { bytes: Bytes::from_static(&[b'x'; 200_000]), copy: None })
    });
    let hits = Hits { http1: Some((look, go_on())), http2: None };
    let mut peer = connect_through(|socket| Noting(socket, notes.clone()), Protocol::Http1, hits);
    for (path, expected) in
        [("/plain", &[][..]), ("/hit", &[KERNEL_UNSENT_WHOLE]), ("/plain", &[KERNEL_UNSENT_WHOLE, KERNEL_UNSENT])]
    {
        peer.take(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(*notes.lock(), expected, "{path}");
    }
}
