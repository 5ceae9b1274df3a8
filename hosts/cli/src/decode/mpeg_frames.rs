//! Application side: tells files of MPEG audio frames, which begin with no name of their kind, from noise.
//!
//! Source: ISO/IEC 11172-3, section 2.4.2.3 (header of layers I to III), ISO/IEC 13818-3 (lower rates), and ISO/IEC 13818-7,
//! section 6.2 (ADTS).

/// Number of successive frames that must have the same layer and rate: bytes by chance do so once in billions of files.
const FRAMES: usize = 3;
/// Number of bytes that hold that many frames of any kind, if the file is that long.
pub(super) const MOST_BYTES: u64 = 8_192 * FRAMES as u64;

/// Rates of MPEG 1 in hertz, by index; MPEG 2 has half of them and MPEG 2.5 a quarter.
const RATES_HZ: [usize; 3] = [44_100, 48_000, 32_000];
/// Bit rates of layers I, II and III of MPEG 1, in kbit/s, by index.
const KBITS_1: [[usize; 15]; 3] = [
    [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
];
/// Bit rates of layer I, and of layers II and III, of MPEG 2 and 2.5.
const KBITS_2: [[usize; 15]; 2] = [
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// One frame's header.
struct Header {
    /// Version, layer and rate, which are the same in all frames of a file.
    kind: [usize; 3],
    /// Length of the frame with its header, in bytes.
    bytes: usize,
}

/// Returns whether these first bytes of a file could be those of such frames, so that more of them are worth reading.
pub(super) fn has_sync(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, second, ..] if second & 0xe0 == 0xe0)
}

/// Returns whether a file begins with successive frames. A file of only two has nothing behind them.
pub(super) fn begins_with_frames(bytes: &[u8]) -> bool {
    let mut at = 0;
    let mut kind = None;
    for frame in 0..FRAMES {
        let Some(rest) = bytes.get(at..) else { return false };
        if rest.is_empty() && frame > 1 {
            break;
        }
        match header(rest) {
            Some(header) if kind.is_none_or(|kind| kind == header.kind) => {
                kind = Some(header.kind);
                at += header.bytes;
            }
            _ => return false,
        }
    }
    true
}

fn header(bytes: &[u8]) -> Option<Header> {
    let &[0xff, second, third, ..] = bytes else { return None };
    let [version, layer] = [second >> 3 & 3, second >> 1 & 3].map(usize::from);
    if second & 0xf6 == 0xf0 {
        return adts_header(bytes);
    }
    // Layers are counted down from 3, which is layer I; version 1 and layer 0 are reserved.
    if second & 0xe0 != 0xe0 || version == 1 || layer == 0 {
        return None;
    }
    let rate_hz = RATES_HZ.get(usize::from(third >> 2 & 3))? >> [2, 0, 1, 0][version];
    let is_version_1 = version == 3;
    let table = match is_version_1 {
        true => &KBITS_1[3 - layer],
        false => &KBITS_2[(3 - layer).min(1)],
    };
    // A free bit rate (0) tells no length.
    let bits = 1_000 * table.get(usize::from(third >> 4)).copied().filter(|&kbits| kbits > 0)?;
    let padding = usize::from(third >> 1 & 1);
    let bytes = match layer {
        3 => (12 * bits / rate_hz + padding) * 4,
        1 if !is_version_1 => 72 * bits / rate_hz + padding,
        _ => 144 * bits / rate_hz + padding,
    };
    Some(Header { kind: [version, layer, rate_hz], bytes })
}

fn adts_header(bytes: &[u8]) -> Option<Header> {
    let &[_, second, third, fourth, fifth, sixth, ..] = bytes else { return None };
    let rate = usize::from(third >> 2 & 15);
    let length = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
    // Seven bytes of header at least; the rates have 13 indices.
    (rate < 13 && length > 7).then_some(Header { kind: [usize::from(second), 0, rate], bytes: length })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns frames with these first four bytes and the given length.
    fn frames(first: [u8; 4], bytes: usize, count: usize) -> Vec<u8> {
        let mut frame = first.to_vec();
        frame.resize(bytes, 0);
        frame.repeat(count)
    }

    #[test]
    fn frames_of_the_length_that_their_headers_tell_are_found() {
        // MPEG 1 layer III, 128 kbit/s at 44.1 kHz; MPEG 2 layer III, 64 kbit/s at 22.05 kHz; layer II, 192 kbit/s at 48 kHz.
        for (first, bytes) in [
            ([0xff, 0xfb, 0x90, 0], 417),
            ([0xff, 0xf3, 0x80, 0], 208),
            ([0xff, 0xfd, 0xa4, 0], 576),
            ([0xff, 0xff, 0x84, 0], 256),
        ] {
            for count in [2, 3, 5] {
                assert!(begins_with_frames(&frames(first, bytes, count)), "{first:x?}, {count} frames");
            }
            assert!(!begins_with_frames(&frames(first, bytes + 1, 5)), "{first:x?}, too long");
        }
        // ADTS with frames of 300 bytes: 300 = 0b00_0010_0101_100.
        let adts = frames([0xff, 0xf1, 0x50, 0x80], 300, 4);
        let adts: Vec<u8> =
            adts.chunks(300).flat_map(|frame| [&frame[..4], &[0x25, 0x9f], &frame[6..]].concat()).collect();
        assert!(begins_with_frames(&adts));
    }

    #[test]
    fn noise_with_a_sync_has_no_frames() {
        let mut state = 3u64;
        for round in 0..200_000 {
            let mut bytes: Vec<u8> = (0..3_000)
                .step_by(8)
                .flat_map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_le_bytes()
                })
                .collect();
            (bytes[0], bytes[1]) = (0xff, bytes[1] | 0xe0);
            // A short file's first frame would be longer than the file.
            for length in [3_000, 200, 4] {
                let bytes = &bytes[..length];
                assert!(has_sync(bytes) && !begins_with_frames(bytes), "round {round}: {:x?}", &bytes[..4]);
            }
        }
    }
}
