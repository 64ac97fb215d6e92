//! The header by which a load balancer tells whose connection it passes on: PROXY protocol, versions 1 and 2.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest header of version 1, its CRLF included.
const LONGEST_TEXT: usize = 107;
/// What version 2 begins with, before version, family and length.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a version 2 header before the part whose length it states.
const FIXED: usize = 16;
/// The longest such part that is taken: addresses, and what balancers tell besides.
const LONGEST_BINARY: usize = 4096;
/// Shorter than any header of either version.
const FIRST: usize = 13;

/// Reads the header and not a byte more. The client and the address it connected to; `None`: the connection is the
/// balancer's own (a health check), or of a kind that has no such addresses.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    let mut header = vec![0; FIRST];
    stream.read_exact(&mut header).await?;
    if header.starts_with(SIGNATURE) {
        header.resize(FIXED, 0);
        stream.read_exact(&mut header[FIRST..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > LONGEST_BINARY {
            return Err(malformed());
        }
        header.resize(FIXED + rest, 0);
        stream.read_exact(&mut header[FIXED..]).await?;
        return binary(&header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(malformed());
    }
    // Byte by byte: what follows belongs to TLS or HTTP.
    while !header.ends_with(b"\n") {
        if header.len() == LONGEST_TEXT {
            return Err(malformed());
        }
        header.push(stream.read_u8().await?);
    }
    text(&header)
}

fn text(header: &[u8]) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    if !header.ends_with(b"\r\n") {
        return Err(malformed());
    }
    let header = v1::Header::try_from(header).map_err(|_| malformed())?;
    Ok(match header.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(it) => {
            Some(((it.source_address, it.source_port).into(), (it.destination_address, it.destination_port).into()))
        }
        v1::Addresses::Tcp6(it) => {
            Some(((it.source_address, it.source_port).into(), (it.destination_address, it.destination_port).into()))
        }
    })
}

fn binary(header: &[u8]) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    let header = v2::Header::try_from(header).map_err(|_| malformed())?;
    if header.command == v2::Command::Local {
        return Ok(None);
    }
    Ok(match header.addresses {
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        v2::Addresses::IPv4(it) => {
            Some(((it.source_address, it.source_port).into(), (it.destination_address, it.destination_port).into()))
        }
        v2::Addresses::IPv6(it) => {
            Some(((it.source_address, it.source_port).into(), (it.destination_address, it.destination_port).into()))
        }
    })
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no PROXY protocol header")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &[u8] = b"GET / HTTP/1.1\r\n";

    /// A version 2 header.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, rest].concat()
    }

    async fn of(header: &[u8]) -> Result<Option<String>, ()> {
        let bytes = [header, REST].concat();
        let mut stream = &bytes[..];
        let read = read(&mut stream).await.map_err(|_| ())?;
        assert_eq!(stream, REST, "not a byte more: {header:?}");
        Ok(read.map(|(client, ours)| format!("{client} {ours}")))
    }

    #[tokio::test]
    async fn headers_of_both_versions_are_read() {
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0x10, 0x00, 0x01, 0xbb];
        let tlvs = [&four[..], &[0x04, 0, 3, 1, 2, 3], &[0xe0, 0, 1, 9]].concat();
        let mut six = [0; 36];
        (six[0], six[1], six[15], six[31], six[33], six[35]) = (0x20, 0x01, 1, 2, 80, 81);
        let told = Some("192.0.2.1:4096 198.51.100.2:443".to_owned());
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\r\n".to_vec(), told.clone()),
            (b"PROXY TCP6 2001:: ::1 1 2\r\n".to_vec(), Some("[2001::]:1 [::1]:2".to_owned())),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(1, 0x11, &four), told.clone()),
            (v2(1, 0x11, &tlvs), told),
            (v2(1, 0x21, &six), Some("[2001::1]:80 [::2]:81".to_owned())),
            (v2(0, 0x11, &four), None),
            (v2(0, 0x00, &[]), None),
            (v2(1, 0x00, &[]), None),
            (v2(1, 0x31, &[0; 216]), None),
        ] {
            assert_eq!(of(&header).await, Ok(expected), "{}", String::from_utf8_lossy(&header));
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_an_error() {
        let long = format!("PROXY TCP4 {} 1.1.1.1 1 2\r\n", "1".repeat(120));
        for header in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 4096\r\n",
            b"PROXY TCP4 300.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1 99999\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            b"proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
            b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
            long.as_bytes(),
            &v2(1, 0x11, &[1, 2, 3]),
            &v2(2, 0x11, &[0; 12]),
            &v2(1, 0x41, &[0; 12]),
            &[&SIGNATURE[..], &[0x31, 0x11, 0, 12], &[0; 12]].concat(),
            &[&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat(),
            b"",
            b"PROXY",
        ] {
            assert!(read(&mut &*header).await.is_err(), "{}", String::from_utf8_lossy(header));
        }
    }
}
