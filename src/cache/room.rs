//! What bytes take of memory.

/// Bytes that the allocator hands out for so many: jemalloc has four sizes from one power of two to the next.
pub(super) fn allotted(bytes: u64) -> u64 {
    let power = bytes.saturating_sub(1).checked_ilog2().unwrap_or(0);
    bytes.next_multiple_of((1 << power >> 2).max(16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_as_the_allocator_does() {
        for (bytes, expected) in [
            (0, 0),
            (1, 16),
            (16, 16),
            (17, 32),
            (100, 112),
            (128, 128),
            (129, 160),
            (1024, 1024),
            (1025, 1280),
            (1281, 1536),
            (3585, 4096),
            (4097, 5120),
            (1 << 20, 1 << 20),
            ((1 << 20) + 1, 5 << 18),
        ] {
            assert_eq!(allotted(bytes), expected, "{bytes}");
        }
    }
}
