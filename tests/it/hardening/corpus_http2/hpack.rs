//! Header compression (RFC 7541): what cannot be decoded ends the connection.

use super::{Step, Vector, connection};
use crate::support::frames::{END_HEADERS, END_STREAM, HEADERS};

pub(super) const VECTORS: &[Vector] = &[
    connection("index of zero", &[Step::Frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80")]),
    connection("index beyond the table", &[Step::Frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/\xff\x7f")]),
    connection("name index beyond the table", &[Step::Frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/\x7f\x7f\x01x")]),
    connection("integer that never ends", &[Step::Frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")]),
    connection("table larger than allowed", &[Step::Frame(HEADERS, END_HEADERS | END_STREAM, 1, b"?\xff\xff\x7f\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/")]),
    connection("table size behind a field", &[Step::Frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/ ")]),
    connection("string longer than the block", &[Step::Frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/\0\x01x\x7f\xff\0a")]),
    connection("block that ends within a field", &[Step::Frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:pat")]),
    connection("Huffman code of the end of string", &[Step::Frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/\0\x01x\x84\xff\xff\xff\xff")]),
    connection("Huffman padding that is too long", &[Step::Frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\0\x07:method\x03GET\0\x07:scheme\x04http\0\n:authority\x08app.test\0\x05:path\x01/\0\x01x\x82\x1f\xff")]),
];
