//! SETTINGS (RFC 9113 §6.5).

use super::{Step, Vector, connection};
use crate::support::frames::{ACK, SETTINGS};

pub(super) const VECTORS: &[Vector] = &[
    connection("SETTINGS on a stream", &[Step::Frame(SETTINGS, 0, 1, b"")]),
    connection("SETTINGS of five bytes", &[Step::Frame(SETTINGS, 0, 0, b"\0\x03\0\0\0")]),
    connection("acknowledgement with a payload", &[Step::Frame(SETTINGS, ACK, 0, b"\0\x03\0\0\0d")]),
    connection("ENABLE_PUSH of 2", &[Step::Frame(SETTINGS, 0, 0, b"\0\x02\0\0\0\x02")]),
    connection("initial window beyond 31 bits", &[Step::Frame(SETTINGS, 0, 0, b"\0\x04\x80\0\0\0")]),
    connection("largest frame of 100 bytes", &[Step::Frame(SETTINGS, 0, 0, b"\0\x05\0\0\0d")]),
    connection("largest frame beyond 24 bits", &[Step::Frame(SETTINGS, 0, 0, b"\0\x05\x01\0\0\0")]),
];
