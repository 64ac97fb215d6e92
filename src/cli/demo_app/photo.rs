//! The sample app's photograph, drawn in code: shelves at dusk, as a PNG.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 160;

/// The picture, 8 bits a channel, RGB (PNG, third edition).
pub(super) fn png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::with_capacity(13);
    header.extend(WIDTH.to_be_bytes());
    header.extend(HEIGHT.to_be_bytes());
    // Bit depth 8, colour type 2 (RGB), deflate, adaptive filtering, not interlaced.
    header.extend([8, 2, 0, 0, 0]);
    chunk(&mut png, *b"IHDR", &header);
    chunk(&mut png, *b"IDAT", &compressed(&rows()));
    chunk(&mut png, *b"IEND", &[]);
    png
}

/// Rows of pixels, each behind the number of its filter (0: none).
fn rows() -> Vec<u8> {
    let mut rows = Vec::with_capacity((HEIGHT * (WIDTH * 3 + 1)) as usize);
    for y in 0..HEIGHT {
        rows.push(0);
        for x in 0..WIDTH {
            rows.extend(pixel(x, y));
        }
    }
    rows
}

fn pixel(x: u32, y: u32) -> [u8; 3] {
    let shelf = y % 54;
    if shelf >= 48 {
        return [0xb9 - (y / 4) as u8, 0x8b - (y / 4) as u8, 0x5a - (y / 4) as u8];
    }
    let (jar, within) = (x / 40, x % 40);
    let lid = shelf == 12 + jar % 3 * 4;
    if (8..32).contains(&within) && shelf > 11 + jar % 3 * 4 {
        let light = (40 - within) as u8 * 2;
        return if lid { [0xd8, 0xb2, 0x6e] } else { [0x4a + light, 0x70 + light, 0x50 + light] };
    }
    // The sky behind: from dusk to night.
    [(90 - y / 2) as u8, (70 - y / 4) as u8, (110 - y / 3) as u8]
}

fn compressed(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("writing into memory does not fail")
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    let mut crc = Crc::new();
    crc.update(&kind);
    crc.update(data);
    png.extend((data.len() as u32).to_be_bytes());
    png.extend(kind);
    png.extend(data);
    png.extend(crc.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn png_chunks_are_whole_and_hold_every_pixel() {
        let png = png();
        let mut rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
        let mut kinds = Vec::new();
        let mut pixels = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let (kind_and_data, after) = rest[4..].split_at(4 + length);
            let mut crc = Crc::new();
            crc.update(kind_and_data);
            assert_eq!(after[..4], crc.sum().to_be_bytes());
            kinds.push(&kind_and_data[..4]);
            if kinds.last() == Some(&&b"IDAT"[..]) {
                flate2::read::ZlibDecoder::new(&kind_and_data[4..]).read_to_end(&mut pixels).unwrap();
            }
            rest = &after[4..];
        }
        assert_eq!(kinds, [b"IHDR", b"IDAT", b"IEND"]);
        assert_eq!(pixels.len(), 160 * (320 * 3 + 1));
    }
}
