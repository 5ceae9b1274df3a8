//! Tests of reading and writing WAV files.

use super::*;
use crate::noise::Rng;

struct TempFolder(PathBuf);

impl TempFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("handsfree-wav-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn encode(channels: u16, rate_hz: u32, bits: u16, values: &[f64]) -> Vec<u8> {
    let float = bits == 0;
    let spec = WavSpec {
        channels,
        sample_rate: rate_hz,
        bits_per_sample: if float { 32 } else { bits },
        sample_format: if float { SampleFormat::Float } else { SampleFormat::Int },
    };
    let mut bytes = Vec::new();
    let mut writer = hound::WavWriter::new(Cursor::new(&mut bytes), spec).unwrap();
    for value in values {
        if float {
            writer.write_sample(*value as f32).unwrap();
        } else {
            writer.write_sample((value * 2_f64.powi(i32::from(bits) - 1)).round() as i32).unwrap();
        }
    }
    writer.finalize().unwrap();
    bytes
}

#[test]
fn reads_every_coding_and_channel_count() {
    let seed = 31;
    println!("seed {seed}");
    let folder = TempFolder::new("codings");
    let mut rng = Rng::new(seed);
    for bits in [8_u16, 16, 24, 32, 0] {
        for channels in 1..=8_u16 {
            let rate_hz = rng.range(4_000, 192_000) as u32;
            let values: Vec<f64> =
                (0..usize::from(channels) * 50).map(|_| rng.uniform() * 1.9 - 0.95).collect();
            // The extension is wrong on purpose.
            let path = folder.file("clip.mp3", &encode(channels, rate_hz, bits, &values));
            let clip = read(&path).unwrap();
            assert_eq!((clip.rate_hz, clip.channels, clip.frames()), (rate_hz, channels, 50));
            assert_eq!(clip.notice, None, "{bits} bits");
            let step = if bits == 0 || bits > 24 { 1e-6 } else { 2_f64.powi(-i32::from(bits)) * 1.01 };
            for (expected, &actual) in values.iter().zip(&clip.samples) {
                assert!((expected - f64::from(actual)).abs() <= step, "{bits} bits, {channels} channels");
            }
            let mono = clip.to_mono_at(rate_hz);
            let mean = values[..usize::from(channels)].iter().sum::<f64>() / f64::from(channels);
            assert!((f64::from(mono[0]) - mean).abs() <= step + 1e-6);
        }
    }
}

#[test]
fn reads_or_rejects_a_file_truncated_anywhere() {
    let folder = TempFolder::new("truncated");
    let values: Vec<f64> = (0..300).map(|n| f64::from(n) / 400.0).collect();
    for bits in [16, 24, 0] {
        let whole = encode(2, 48_000, bits, &values);
        let full = read(folder.file("whole.wav", &whole)).unwrap();
        for length in 0..whole.len() {
            let path = folder.file("cut.wav", &whole[..length]);
            match read(&path) {
                Ok(clip) => {
                    let notice = clip.notice.clone().unwrap();
                    assert!(notice.contains("cut.wav") && notice.contains("cut short"), "{notice}");
                    assert_eq!(clip.samples[..], full.samples[..clip.samples.len()]);
                }
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains("cut.wav"), "{message}");
                    assert!(length < 80, "{length} bytes of {}: {message}", whole.len());
                }
            }
        }
    }
}

#[test]
fn reads_a_streamed_file_without_a_length_to_its_end() {
    let folder = TempFolder::new("streamed");
    let mut bytes = encode(1, 16_000, 16, &[0.1, 0.2, 0.3]);
    for length in [0, u32::MAX] {
        bytes[40..44].copy_from_slice(&length.to_le_bytes());
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        let clip = read(folder.file("pipe.wav", &bytes)).unwrap();
        assert_eq!(clip.frames(), 3);
        assert!(clip.notice.unwrap().contains("does not state the length"));
    }
}

/// Returns a file with an extended format chunk and the given bytes of samples.
fn extensible(tag: u16, valid_bits: u16, container_bits: u16, data: &[u8]) -> Vec<u8> {
    let block = container_bits / 8;
    let mut bytes = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0odd\0fmt \x28\0\0\0".to_vec();
    bytes.extend([0xfe, 0xff, 1, 0]);
    bytes.extend(48_000_u32.to_le_bytes());
    bytes.extend((48_000 * u32::from(block)).to_le_bytes());
    for value in [block, container_bits, 22, valid_bits, 4, 0, tag] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn valid_bits_are_read_from_the_top_of_their_container() {
    let seed = 12;
    let folder = TempFolder::new("valid-bits");
    let mut rng = Rng::new(seed);
    let values: Vec<f64> = (0..500).map(|_| rng.uniform() * 1.9 - 0.95).collect();
    for (valid_bits, container_bits) in
        [(24, 32), (20, 32), (16, 32), (20, 24), (16, 24), (12, 16), (32, 32), (24, 24), (16, 16)]
    {
        let scale = f64::from(1_u32 << (valid_bits - 1));
        let unused = container_bits - valid_bits;
        for is_at_bottom in [false, true] {
            let shift = if is_at_bottom { 0 } else { unused };
            let data: Vec<u8> = values
                .iter()
                .flat_map(|value| {
                    let sample = ((value * scale) as i32) << shift;
                    sample.to_le_bytes()[..container_bits as usize / 8].to_vec()
                })
                .collect();
            let file = extensible(1, valid_bits as u16, container_bits as u16, &data);
            let clip = read(folder.file("ext.wav", &file)).unwrap();
            let name = format!("seed {seed}: {valid_bits} in {container_bits}, at bottom: {is_at_bottom}");
            assert_eq!(clip.notice.is_some(), is_at_bottom && unused > 0, "{name}: {:?}", clip.notice);
            assert_eq!(clip.frames(), values.len(), "{name}");
            for (expected, &actual) in values.iter().zip(&clip.samples) {
                assert!(
                    (expected - f64::from(actual)).abs() <= 1.01 / scale + 1e-7,
                    "{name}: {expected} {actual}"
                );
            }
        }
    }
}

/// A quiet begin whose values would fit at the bottom decides nothing in a file, because the loud samples behind it do not fit.
#[test]
fn the_whole_file_decides_where_its_valid_bits_are() {
    let folder = TempFolder::new("placement");
    let quiet = (0..40_000_i32).map(|n| n % 100);
    let data: Vec<u8> = quiet.chain([1 << 30, -1 << 30]).flat_map(i32::to_le_bytes).collect();
    let clip = read(folder.file("quiet.wav", &extensible(1, 24, 32, &data))).unwrap();
    assert_eq!(clip.notice, None);
    assert_eq!(clip.samples[40_000..], [0.5, -0.5]);
    assert!(clip.samples[..40_000].iter().all(|sample| sample.abs() < 1e-7));
}

#[test]
fn float_samples_of_both_lengths_are_read() {
    let folder = TempFolder::new("floats");
    let values = [0.25_f64, -0.5, 0.75, 1.5];
    let narrow: Vec<u8> = values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect();
    let wide: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    for (bits, data) in [(32, narrow), (64, wide)] {
        let clip = read(folder.file("float.wav", &extensible(3, bits, bits, &data))).unwrap();
        assert_eq!(
            (clip.samples, clip.notice),
            (values.map(|value| value as f32).to_vec(), None),
            "{bits} bits"
        );
    }
    // A container of 64 bits is not read as integers.
    let message = read(folder.file("long.wav", &extensible(1, 64, 64, &[0; 32]))).unwrap_err().to_string();
    assert!(message.contains("64-bit PCM"), "{message}");
}

/// Returns files with the same samples under every header, each with its length or a length that is not known.
fn long_files(rate_hz: u32, tag: u16, bits: u16, data: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let block = bits / 8;
    let mut format = tag.to_le_bytes().to_vec();
    format.extend(1_u16.to_le_bytes());
    format.extend(rate_hz.to_le_bytes());
    format.extend((rate_hz * u32::from(block)).to_le_bytes());
    format.extend(block.to_le_bytes());
    format.extend(bits.to_le_bytes());
    let riff = |name: &[u8; 4], ds64: Option<u64>, length: u32| {
        let mut bytes = name.to_vec();
        bytes.extend(u32::MAX.to_le_bytes());
        bytes.extend(b"WAVE");
        if let Some(length) = ds64 {
            bytes.extend(b"ds64\x1c\0\0\0");
            for value in [length.saturating_add(80), length, length / u64::from(block)] {
                bytes.extend(value.to_le_bytes());
            }
            bytes.extend([0; 4]);
        }
        bytes.extend(b"fmt \x10\0\0\0");
        bytes.extend(&format);
        bytes.extend(b"data");
        bytes.extend(length.to_le_bytes());
        bytes.extend(data);
        bytes
    };
    let w64 = |length: u64| {
        let mut bytes = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0".to_vec();
        bytes.extend((length + 104).to_le_bytes());
        let guid = |name: &[u8]| [name, b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"].concat();
        bytes.extend(guid(b"wave"));
        // A chunk of an odd length is padded to eight bytes.
        bytes.extend(guid(b"junk"));
        bytes.extend(27_u64.to_le_bytes());
        bytes.extend(b"odd\0\0\0\0\0");
        bytes.extend(guid(b"fmt "));
        bytes.extend(40_u64.to_le_bytes());
        bytes.extend(&format);
        bytes.extend(guid(b"data"));
        bytes.extend((length + 24).to_le_bytes());
        bytes.extend(data);
        bytes
    };
    let length = data.len() as u64;
    vec![
        ("riff", riff(b"RIFF", None, length as u32)),
        ("rf64", riff(b"RF64", Some(length), u32::MAX)),
        ("bw64", riff(b"BW64", Some(length), u32::MAX)),
        ("w64", w64(length)),
        ("riff 0", riff(b"RIFF", None, 0)),
        ("riff ffffffff", riff(b"RIFF", None, u32::MAX)),
        ("rf64 unknown", riff(b"RF64", Some(0), u32::MAX)),
        ("rf64 unknown", riff(b"RF64", Some(u64::MAX), u32::MAX)),
    ]
}

/// The reader of whole files and that of pieces must agree, also on what is behind the samples.
#[test]
fn every_header_is_read_whole_and_piece_by_piece() {
    let folder = TempFolder::new("headers");
    let values: Vec<i16> = (0..40_000).map(|n| ((n * 37) % 20_000 - 10_000) as i16).collect();
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    for (name, bytes) in long_files(22_050, 1, 16, &data) {
        let clip = read(folder.file("long.wav", &bytes)).unwrap();
        let samples: Vec<i16> = clip.samples.iter().map(|&sample| to_i16(sample).0).collect();
        assert_eq!((clip.rate_hz, samples == values), (22_050, true), "{name}: {} samples", samples.len());
        let mut stream = WavStream::open(&bytes[..]).unwrap();
        let (mut streamed, mut part) = (Vec::new(), Vec::new());
        while stream.next(&mut part).unwrap() == StreamSamples::Some {
            streamed.extend_from_slice(&part);
        }
        assert!(streamed == clip.samples, "{name}");
        let cut = &bytes[..bytes.len() - 1_001];
        let mut stream = WavStream::open(cut).unwrap();
        let end = loop {
            match stream.next(&mut part).unwrap() {
                StreamSamples::Some => {}
                end => break end,
            }
        };
        let expected = if clip.notice.is_some() { StreamSamples::End } else { StreamSamples::CutShort };
        assert_eq!(end, expected, "{name}");
    }
    let mut trailing = long_files(8_000, 1, 16, &data).remove(0).1;
    trailing.extend(b"LIST\x04\0\0\0more");
    let mut stream = WavStream::open(&trailing[..]).unwrap();
    let (mut count, mut part) = (0, Vec::new());
    while stream.next(&mut part).unwrap() == StreamSamples::Some {
        count += part.len();
    }
    assert_eq!(count, values.len(), "the list behind the samples is no sound");
}

#[test]
fn laws_and_bottom_bits_are_streamed_as_they_are_read() {
    let folder = TempFolder::new("laws");
    let codes: Vec<u8> = (0..=255).collect();
    let bottom: Vec<u8> = (-500..500_i32).flat_map(|n| (n * 9_999).to_le_bytes()).collect();
    for bytes in [
        long_files(8_000, 6, 8, &codes).remove(0).1,
        long_files(8_000, 7, 8, &codes).remove(3).1,
        extensible(1, 24, 32, &[[0; 8_000].as_slice(), &bottom].concat()),
        extensible(
            3,
            64,
            64,
            &[0.5_f64, -0.25].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>(),
        ),
    ] {
        let clip = read(folder.file("coded.wav", &bytes)).unwrap();
        let mut stream = WavStream::open(&bytes[..]).unwrap();
        let mut part = Vec::new();
        assert_eq!(stream.next(&mut part).unwrap(), StreamSamples::Some);
        assert_eq!(part, clip.samples);
    }
}

#[test]
fn files_beyond_4_gib_state_their_length_in_64_bits() {
    let folder = TempFolder::new("rf64");
    let plain = encode(1, 16_000, 16, &[0.1, 0.2, 0.3]);
    let mut long = b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0".to_vec();
    for length in [0_u64, 4, 2] {
        long.extend(length.to_le_bytes());
    }
    long.extend([0; 4]);
    long.extend(&plain[12..40]);
    long.extend(u32::MAX.to_le_bytes());
    long.extend(&plain[44..]);
    let clip = read(folder.file("long.wav", &long)).unwrap();
    assert_eq!((clip.frames(), clip.notice), (2, None), "the last sample is beyond the stated length");
}

/// A claim of any length costs no more memory than the file has bytes, and a device without an end is left at once.
#[cfg(unix)]
#[test]
fn long_files_and_devices_are_refused_before_they_are_read() {
    let folder = TempFolder::new("long");
    let sparse = folder.file("sparse.wav", &encode(1, 16_000, 16, &[0.1]));
    std::fs::File::options().write(true).open(&sparse).unwrap().set_len(1 << 42).unwrap();
    let hours = folder.file("hours.wav", &encode(1, 4_000, 8, &[0.0; 16]));
    let mut bytes = std::fs::read(&hours).unwrap();
    bytes[40..44].copy_from_slice(&(4_000_u32 * 14_402).to_le_bytes());
    std::fs::write(&hours, bytes).unwrap();
    std::fs::File::options().write(true).open(&hours).unwrap().set_len(44 + 4_000 * 14_402).unwrap();
    for (path, expected) in [
        (sparse, "has more than 12884901888 bytes"),
        (hours, "is 14402 s long; expected at most 14400 s"),
        (PathBuf::from("/dev/zero"), "is not a WAV file: it starts with \"............\""),
        (PathBuf::from("/dev/null"), "is not a WAV file: its 0 bytes"),
    ] {
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn channels_are_picked_and_compared() {
    let clip =
        Clip { rate_hz: 8_000, channels: 3, samples: vec![0.1, 0.3, 0.5, 0.2, 0.4, 0.6], notice: None };
    assert_eq!(clip.mean_of(&[1]), [0.3, 0.4]);
    assert_eq!(clip.mean_of(&[0, 2]), [0.3, 0.4]);
    assert!(!clip.has_equal_channels());
    assert!(Clip { samples: vec![0.5; 6], ..clip }.has_equal_channels());
}

#[test]
fn names_a_wrong_file_and_what_was_found_in_it() {
    let folder = TempFolder::new("wrong");
    let mut a_law = encode(1, 8_000, 16, &[0.0; 8]);
    a_law[20] = 6;
    let mut no_rate = encode(1, 8_000, 16, &[0.0; 8]);
    no_rate[24..32].fill(0);
    let cases = [
        (folder.0.join("missing.wav"), "does not exist"),
        (folder.0.clone(), "is a directory"),
        (folder.file("empty.wav", b""), "is empty (0 bytes)"),
        (folder.file("text.wav", b"hello, this is not sound"), "starts with \"hello,.this.\""),
        (folder.file("short.wav", b"RIFF"), "is not a WAV file: its 4 bytes"),
        (
            folder.file("slow.wav", &encode(1, 1, 16, &[0.0; 8])),
            "has 1 Hz and 1 channels; expected 4000 to 768000 Hz",
        ),
        (folder.file("fast.wav", &encode(1, 4_000_000, 16, &[0.0; 8])), "has 4000000 Hz"),
        (folder.file("header.wav", &encode(1, 8_000, 16, &[])), "no samples"),
        (folder.file("alaw.wav", &a_law), "16-bit A-law"),
        (folder.file("norate.wav", &no_rate), "0 Hz"),
    ];
    for (path, expected) in cases {
        let message = read(&path).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn random_bytes_after_a_header_never_panic() {
    let seed = 8;
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let good = encode(2, 44_100, 24, &[0.25; 64]);
    for _ in 0..3000 {
        let mut bytes = good.clone();
        for _ in 0..rng.range(1, 6) {
            let at = rng.range(0, 60.min(bytes.len() as u64)) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        bytes.truncate(rng.range(1, bytes.len() as u64 + 1) as usize);
        let read = ClipReader::of_bytes(Path::new("fuzz.wav"), bytes).and_then(ClipReader::read_whole);
        if let Ok(clip) = read {
            assert!(clip.channels > 0 && clip.rate_hz > 0 && clip.frames() > 0);
            assert_eq!(clip.samples.len() % usize::from(clip.channels), 0);
        }
    }
}

#[test]
fn replaces_and_counts_samples_that_are_not_finite() {
    let folder = TempFolder::new("nan");
    let path = folder.file("nan.wav", &encode(1, 16_000, 0, &[0.5, f64::NAN, f64::INFINITY, -0.5]));
    let clip = read(&path).unwrap();
    assert_eq!(clip.samples, [0.5, 0.0, 0.0, -0.5]);
    assert!(clip.notice.unwrap().contains("2 samples are not finite"));
}

#[test]
fn sixteen_bits_survive_a_round_trip() {
    let folder = TempFolder::new("trip");
    let path = folder.0.join("out.wav");
    let samples: Vec<f32> = (i16::MIN..=i16::MAX).map(|v| f32::from(v) / 32_768.0).collect();
    assert_eq!(write_mono(&path, 16_000, &samples).unwrap(), 0);
    assert_eq!(read(&path).unwrap().samples, samples);
    assert_eq!(write_mono(&path, 16_000, &[1.5, -2.0, 0.999_99, 0.0]).unwrap(), 3);
    let error = write_mono(folder.0.join("no/such/folder.wav"), 16_000, &samples).unwrap_err();
    assert!(error.to_string().contains("folder.wav: cannot be written"), "{error}");
}

#[test]
fn the_shipped_clips_are_speech_at_their_level() {
    for (clip, seconds) in [(Clip::far(), 14.165), (Clip::near(), 6.591)] {
        assert_eq!((clip.rate_hz, clip.channels, &clip.notice), (16_000, 1, &None));
        assert!((clip.seconds() - seconds).abs() < 0.001, "{} s", clip.seconds());
        // The pause at the end is not speech.
        let spoken = &clip.samples[..clip.samples.len() - 9_600];
        let power = spoken.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / spoken.len() as f64;
        assert!((10.0 * power.log10() + 20.0).abs() < 0.5);
        assert!(clip.samples.iter().all(|x| x.abs() < 0.71));
    }
}

#[test]
fn raw_samples_have_their_value_in_every_coding() {
    let near = |expected: f32, found: f32| (expected - found).abs() < 1e-6;
    for (coding, bytes, expected) in [
        (RawCoding::Unsigned8, vec![0x80, 0xc0, 0x00], vec![0.0, 0.5, -1.0]),
        (RawCoding::Signed16, vec![0x00, 0x40, 0x00, 0x80], vec![0.5, -1.0]),
        // The unused byte on top may be anything.
        (RawCoding::Signed24, vec![0, 0, 0x40, 0, 0, 0, 0xc0, 0xff, 0, 0, 0xc0, 0], vec![0.5, -0.5, -0.5]),
        (RawCoding::Signed24Packed, vec![0, 0, 0x40, 0, 0, 0xc0], vec![0.5, -0.5]),
        (RawCoding::Signed32, vec![0, 0, 0, 0x40, 0, 0, 0, 0xc0], vec![0.5, -0.5]),
        (RawCoding::Float32, 0.25_f32.to_le_bytes().to_vec(), vec![0.25]),
        (RawCoding::Float64, (-0.25_f64).to_le_bytes().to_vec(), vec![-0.25]),
        (RawCoding::MuLaw, vec![0x00, 0xff], vec![-32_124.0 / 32_768.0, 0.0]),
        (RawCoding::ALaw, vec![0x2a, 0xd5], vec![-32_256.0 / 32_768.0, 8.0 / 32_768.0]),
    ] {
        let mut cut = bytes.clone();
        let frame = bytes.len() / expected.len();
        for missing in 0..frame {
            cut.truncate(bytes.len() - missing);
            let mut stream = WavStream::of_raw(&cut[..], coding, 1, 16_000);
            let (mut found, mut part) = (Vec::new(), Vec::new());
            while stream.next(&mut part).unwrap() == StreamSamples::Some {
                found.extend_from_slice(&part);
            }
            let whole = expected.len() - usize::from(missing > 0);
            assert_eq!(
                (found.len(), stream.incomplete_bytes()),
                (whole, (frame - missing) % frame),
                "{coding:?}"
            );
            assert!(found.iter().zip(&expected).all(|(&a, &b)| near(a, b)), "{coding:?}: {found:?}");
        }
    }
}

#[test]
fn a_header_alone_is_that_of_a_whole_file() {
    for count in [0, 1, 1_000] {
        let (whole, _) = mono_bytes(22_050, &vec![0.25; count]);
        assert_eq!(mono_header(22_050, count)[..], whole[..44], "{count} samples");
    }
}
