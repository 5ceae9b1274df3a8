//! Control side: a WAV file of 16-bit samples that is valid while it grows, beyond 4 GiB as well.
//!
//! Sources: "Multimedia Programming Interface and Data Specifications 1.0" (IBM and Microsoft, 1991) for WAV, and EBU
//! Tech 3306 v1.1 ("RF64: an extended file format for audio", 2009), sections 3 and 4, for more than 4 GiB: a chunk
//! `JUNK` is reserved in front, and becomes the chunk `ds64` with lengths of 64 bits when the file needs them.

use std::io::{self, Seek, SeekFrom, Write};

/// Length of the header, in bytes: the RIFF header, the reserved chunk, the format chunk and the data chunk's header.
const HEADER_BYTES: usize = 12 + 8 + DS64_BYTES + 8 + 16 + 8;
/// Length of a `ds64` chunk without a table, in bytes (EBU Tech 3306, section 4).
const DS64_BYTES: usize = 28;
/// Number of bytes that are collected before they are written: a third of a second of mono at 48 kHz.
const BUFFER_BYTES: usize = 1 << 15;
/// Length in a header that states none, or that is in the `ds64` chunk.
const NO_LENGTH: u32 = u32::MAX;

/// Writer of a WAV file with 16-bit samples.
///
/// The header states the length of the samples up to the last [`flush`](Self::flush), so that the file is valid at each
/// moment. A file of more than 4 GiB becomes RF64. Where the output cannot seek, such as a pipe, the header states no
/// length, which readers take as "to the end".
#[derive(Debug)]
pub struct WavRecording<W> {
    output: W,
    rate_hz: u32,
    channels: u16,
    /// Samples that are not yet written.
    buffer: Vec<u8>,
    /// Number of bytes of samples that were written.
    data_bytes: u64,
    can_seek: bool,
}

impl<W: Write + Seek> WavRecording<W> {
    /// Writes the header to `output`, which must be empty, for a number of interleaved channels.
    ///
    /// # Errors
    /// Returns the error of the output.
    pub fn new(mut output: W, rate_hz: u32, channels: u16) -> io::Result<Self> {
        let can_seek = output.seek(SeekFrom::Start(0)).is_ok();
        let buffer = Vec::with_capacity(2 * BUFFER_BYTES);
        let mut recording = Self { output, rate_hz, channels, buffer, data_bytes: 0, can_seek };
        let header = recording.header();
        recording.output.write_all(&header)?;
        Ok(recording)
    }

    /// Appends interleaved samples.
    ///
    /// # Errors
    /// Returns the error of the output. The header then states the samples that were written before.
    pub fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        for part in samples.chunks(BUFFER_BYTES / 2) {
            self.buffer.extend(part.iter().flat_map(|sample| sample.to_le_bytes()));
            if self.buffer.len() >= BUFFER_BYTES {
                self.write_buffer()?;
            }
        }
        Ok(())
    }

    /// Appends silence of `samples` samples, counted over all channels.
    ///
    /// # Errors
    /// Returns the error of the output.
    pub fn write_silence(&mut self, samples: u64) -> io::Result<()> {
        let mut left = samples;
        while left > 0 {
            let count = left.min(BUFFER_BYTES as u64 / 2) as usize;
            self.write(&[0; BUFFER_BYTES / 2][..count])?;
            left -= count as u64;
        }
        Ok(())
    }

    /// Writes all samples and their number, so that the file is valid up to here.
    ///
    /// # Errors
    /// Returns the error of the output. The header then states the samples that were written before.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write_buffer()?;
        self.write_header()?;
        self.output.flush()
    }

    /// Writes everything and returns the output.
    ///
    /// # Errors
    /// Returns the error of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.output)
    }

    /// Returns the output. What was written since the last [`flush`](Self::flush) may be missing in it.
    pub fn into_output(self) -> W {
        self.output
    }

    /// Returns the output.
    pub const fn get_ref(&self) -> &W {
        &self.output
    }

    /// Returns the output. What is written to it directly damages the file.
    pub const fn get_mut(&mut self) -> &mut W {
        &mut self.output
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        let written = self.output.write_all(&self.buffer);
        if written.is_err() {
            // A part of the buffer may be there, so the header must not count on it. The first error is the cause.
            self.buffer.clear();
            _ = self.write_header();
            return written;
        }
        self.data_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Replaces the header, with one call of the system, and returns to the end of the samples.
    fn write_header(&mut self) -> io::Result<()> {
        if !self.can_seek {
            return Ok(());
        }
        let header = self.header();
        self.output.seek(SeekFrom::Start(0))?;
        self.output.write_all(&header)?;
        self.output.seek(SeekFrom::Start(HEADER_BYTES as u64 + self.data_bytes)).map(|_| ())
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let frame_bytes = 2 * u64::from(self.channels).max(1);
        // The RIFF header counts everything behind its own length.
        let riff_bytes = HEADER_BYTES as u64 - 8 + self.data_bytes;
        let is_long = self.can_seek && riff_bytes >= u64::from(NO_LENGTH);
        let short = |bytes: u64| {
            if self.can_seek { u32::try_from(bytes).unwrap_or(NO_LENGTH) } else { NO_LENGTH }
        };
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(if is_long { b"RF64" } else { b"RIFF" });
        header.extend(if is_long { NO_LENGTH } else { short(riff_bytes) }.to_le_bytes());
        header.extend(b"WAVE");
        header.extend(if is_long { b"ds64" } else { b"JUNK" });
        header.extend((DS64_BYTES as u32).to_le_bytes());
        let lengths = [riff_bytes, self.data_bytes, self.data_bytes / frame_bytes];
        header.extend(
            lengths.map(|length| if is_long { length } else { 0 }).iter().flat_map(|n| n.to_le_bytes()),
        );
        // The table of other long chunks is empty.
        header.extend(0_u32.to_le_bytes());
        header.extend(b"fmt ");
        header.extend(16_u32.to_le_bytes());
        header.extend(1_u16.to_le_bytes());
        header.extend(self.channels.to_le_bytes());
        header.extend(self.rate_hz.to_le_bytes());
        header.extend(self.rate_hz.saturating_mul(2 * u32::from(self.channels)).to_le_bytes());
        header.extend(self.channels.saturating_mul(2).to_le_bytes());
        header.extend(16_u16.to_le_bytes());
        header.extend(b"data");
        header.extend(if is_long { NO_LENGTH } else { short(self.data_bytes) }.to_le_bytes());
        let mut bytes = [0; HEADER_BYTES];
        bytes.iter_mut().zip(header).for_each(|(to, from)| *to = from);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Output that keeps only its first bytes, its length and the bytes behind a mark.
    struct Sparse {
        first: [u8; HEADER_BYTES],
        position: u64,
        length: u64,
        can_seek: bool,
        /// Length beyond which writing fails.
        capacity: u64,
    }

    impl Sparse {
        fn new(capacity: u64, can_seek: bool) -> Self {
            Self { first: [0; HEADER_BYTES], position: 0, length: 0, can_seek, capacity }
        }
    }

    impl Write for Sparse {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.position + bytes.len() as u64 > self.capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
            for (at, &byte) in (self.position..).zip(bytes).take(HEADER_BYTES) {
                if let Some(to) = self.first.get_mut(at as usize) {
                    *to = byte;
                }
            }
            self.position += bytes.len() as u64;
            self.length = self.length.max(self.position);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Sparse {
        fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
            let SeekFrom::Start(position) = position else { panic!("expected a position from the start") };
            if !self.can_seek {
                return Err(io::ErrorKind::NotSeekable.into());
            }
            self.position = position;
            Ok(position)
        }
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn any_reader_gets_the_samples_up_to_the_last_flush() {
        let samples: Vec<i16> = (0..70_000).map(|n: i32| (n * 31 % 60_001 - 30_000) as i16).collect();
        let mut recording = WavRecording::new(Cursor::new(Vec::new()), 16_000, 2).unwrap();
        let (mut written, mut flushed) = (0, 0);
        // Lengths around the buffer's, so that all its borders are met.
        for length in [0, 1, 2, 16_383, 16_384, 16_385, 1, 9_000] {
            recording.write(&samples[written..written + length]).unwrap();
            written += length;
            if written % 2 == 0 {
                recording.flush().unwrap();
                flushed = written;
            }
            let reader = hound::WavReader::new(Cursor::new(recording.get_ref().get_ref().clone())).unwrap();
            assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, 16_000));
            let read: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
            assert_eq!(read, samples[..flushed], "after {written} samples");
        }
        recording.write_silence(40_000).unwrap();
        let bytes = recording.finish().unwrap().into_inner();
        let read: Vec<i16> =
            hound::WavReader::new(Cursor::new(bytes)).unwrap().into_samples().map(Result::unwrap).collect();
        assert_eq!(read.len(), written + 40_000);
        assert!(read[..written] == samples[..written] && read[written..].iter().all(|&sample| sample == 0));
    }

    #[test]
    fn beyond_4_gib_the_lengths_have_64_bits() {
        let header_bytes = HEADER_BYTES as u64;
        let mut recording = WavRecording::new(Sparse::new(u64::MAX, true), 48_000, 1).unwrap();
        // The last length that 32 bits state is 2^32 - 2, because 2^32 - 1 means "none".
        let last_short = (u64::from(u32::MAX) - 1 - (header_bytes - 8)) / 2;
        // As if so much had been written.
        recording.data_bytes = 2 * last_short;
        recording.flush().unwrap();
        recording.output.length = header_bytes + 2 * last_short;
        let bytes = &recording.get_ref().first;
        assert_eq!(
            (&bytes[..4], &bytes[12..16], u32_at(bytes, 4)),
            (&b"RIFF"[..], &b"JUNK"[..], u32::MAX - 1)
        );
        assert_eq!(u64::from(u32_at(bytes, 76)), 2 * last_short);

        recording.write(&[1]).unwrap();
        let sparse = recording.finish().unwrap();
        let (bytes, data_bytes) = (&sparse.first, 2 * (last_short + 1));
        assert_eq!((&bytes[..4], &bytes[8..16]), (&b"RF64"[..], &b"WAVEds64"[..]));
        assert_eq!((u32_at(bytes, 4), u32_at(bytes, 76)), (u32::MAX, u32::MAX));
        assert_eq!(u64_at(bytes, 20), sparse.length - 8, "length of the file");
        assert_eq!((u64_at(bytes, 28), u64_at(bytes, 36)), (data_bytes, last_short + 1));
        assert_eq!(sparse.length, header_bytes + data_bytes);
        assert_eq!(
            (u32_at(bytes, 16), u32_at(bytes, 44)),
            (28, 0),
            "a chunk of 28 bytes with an empty table"
        );
        assert_eq!(&bytes[48..56], b"fmt \x10\0\0\0");
    }

    #[test]
    fn a_full_disk_leaves_a_valid_header() {
        let mut recording = WavRecording::new(Sparse::new(100_000, true), 8_000, 1).unwrap();
        let error = (0..10).find_map(|_| recording.write(&[7; 10_000]).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let bytes = &recording.get_ref().first;
        let data_bytes = u64::from(u32_at(bytes, 76));
        assert!(data_bytes > 50_000 && HEADER_BYTES as u64 + data_bytes <= 100_000, "{data_bytes}");
        assert_eq!(u64::from(u32_at(bytes, 4)), HEADER_BYTES as u64 - 8 + data_bytes);
    }

    #[test]
    fn a_pipe_gets_a_header_without_a_length() {
        let mut recording = WavRecording::new(Sparse::new(u64::MAX, false), 8_000, 1).unwrap();
        recording.write(&[1, 2, 3]).unwrap();
        let sparse = recording.finish().unwrap();
        assert_eq!((u32_at(&sparse.first, 4), u32_at(&sparse.first, 76)), (u32::MAX, u32::MAX));
        assert_eq!((&sparse.first[..4], sparse.length), (&b"RIFF"[..], HEADER_BYTES as u64 + 6));
    }
}
