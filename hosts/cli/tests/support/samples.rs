//! Test support: samples that are recognised wherever they come out, and their bytes.
#![allow(dead_code, reason = "each test program uses a part")]

/// Returns samples of which no part resembles another, none of them 0, with an amplitude of a quarter of full scale.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<i16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 48) as i16 / 4) | 1
        })
        .collect()
}

/// Returns the samples as 16-bit little-endian bytes.
pub(crate) fn bytes_of(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Returns the samples of 16-bit little-endian bytes.
pub(crate) fn samples_of(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}
