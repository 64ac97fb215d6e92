//! A response's head from memory and its body from a file, by the kernel.
//!
//! Each call makes no more than one segment go. Where the kernel paces what it sends (BBR), a second one of the same call
//! comes too soon after the first, for however fast a network: it then waits for a timer, which in a virtual machine
//! costs more than sending. With the body in one call, or copied, half as many hits of 128 KiB went out.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::net::SendFlags;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::cache::file_copies::FileCopy;

/// The most that the kernel makes one segment of, which it may leave to the network card to cut up: an IP packet without
/// its own and TCP's usual fields.
const LARGEST_SEGMENT: usize = 65_483;

/// Sends a head and the last `left` bytes of a body; how many of both were taken.
pub(super) fn poll_send(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    head: &[u8],
    copy: &FileCopy,
    left: usize,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match socket.try_io(Interest::WRITABLE, || send(socket, head, copy, left)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
    }
}

fn send(socket: &TcpStream, head: &[u8], copy: &FileCopy, mut left: usize) -> io::Result<usize> {
    let segment = segment(socket);
    let mut sent = match head {
        [] => 0,
        // Held back until the body follows: by itself it would wake the client once more.
        head => rustix::net::send(socket, head, SendFlags::MORE | SendFlags::NOSIGNAL)?,
    };
    let mut is_full = sent < head.len();
    while left > 0 && !is_full {
        let room = segment - sent % segment;
        let took = match copy.send(left, room.min(left), socket) {
            // What has gone counts; the next call tells why no more did.
            Err(_) if sent > 0 => break,
            took => took?,
        };
        is_full = took < room;
        sent += took;
        left -= took;
    }
    Ok(sent)
}

/// Bytes of as many of the connection's segments as go together.
fn segment(socket: &TcpStream) -> usize {
    let one = SockRef::from(socket).tcp_mss().map_or(LARGEST_SEGMENT, |one| (one as usize).clamp(1, LARGEST_SEGMENT));
    LARGEST_SEGMENT / one * one
}
