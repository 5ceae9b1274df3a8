//! Any side: converts one record to bytes and back.

use super::lines::{JournalWriter, LINE_BYTES, Line};
use super::record::{MAX_CLOCK_READS, Malformed, RawSamples, Record};
use crate::capture::IntakeConfig;
use crate::error::ConfigError;
use crate::format::{ChannelMap, Format, SampleRate};
use crate::playback::OutletConfig;
use crate::sample::{DeviceSample, Gain, SampleKind};
use crate::time::{Duration, Instant, PeriodTime};

const WORDS: usize = 7;

/// The first line of a record: what it is, how many bytes of payload follow, and its numbers.
#[derive(Clone, Copy)]
struct Header {
    tag: u8,
    kind: u8,
    channels: u8,
    payload_bytes: u32,
    words: [u64; WORDS],
}

impl Header {
    const fn new(tag: u8, words: [u64; WORDS]) -> Self {
        Self { tag, kind: 0, channels: 0, payload_bytes: 0, words }
    }

    fn line(&self) -> Line {
        let mut line = [0; LINE_BYTES];
        let [tag, kind, channels, _, a, b, c, d, words @ ..] = &mut line;
        (*tag, *kind, *channels) = (self.tag, self.kind, self.channels);
        [*a, *b, *c, *d] = self.payload_bytes.to_le_bytes();
        for (bytes, word) in words.as_chunks_mut::<8>().0.iter_mut().zip(self.words) {
            *bytes = word.to_le_bytes();
        }
        line
    }

    fn read(line: &Line) -> Self {
        let [tag, kind, channels, _, a, b, c, d, words @ ..] = line;
        let mut read = [0; WORDS];
        for (word, bytes) in read.iter_mut().zip(words.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self {
            tag: *tag,
            kind: *kind,
            channels: *channels,
            payload_bytes: u32::from_le_bytes([*a, *b, *c, *d]),
            words: read,
        }
    }
}

const fn kind_number(kind: SampleKind) -> u8 {
    match kind {
        SampleKind::I16 => 0,
        SampleKind::I24 => 1,
        SampleKind::PackedI24 => 2,
        SampleKind::I32 => 3,
        SampleKind::F32 => 4,
    }
}

const fn kind_from_number(number: u8) -> Result<SampleKind, Malformed> {
    Ok(match number {
        0 => SampleKind::I16,
        1 => SampleKind::I24,
        2 => SampleKind::PackedI24,
        3 => SampleKind::I32,
        4 => SampleKind::F32,
        tag => return Err(Malformed::Unknown { tag }),
    })
}

fn word(nanos: i64) -> u64 {
    nanos.cast_unsigned()
}

fn time_words(time: PeriodTime) -> [u64; 3] {
    [time.position, word(time.converter.as_nanos()), word(time.called.as_nanos())]
}

fn instant(word: u64) -> Instant {
    Instant::from_nanos(word.cast_signed())
}

/// Returns for each receiving channel of a map the code of its source.
fn sources(map: &ChannelMap) -> &[u8] {
    map.from.get(..map.to_channels()).unwrap_or(&[])
}

/// Rebuilds a map from the codes of its sources.
fn read_map(from_channels: u32, sources: &[u8]) -> Result<ChannelMap, ConfigError> {
    let mut map = ChannelMap::checked(from_channels, u32::try_from(sources.len()).unwrap_or(u32::MAX))?;
    let channels = map.from_channels() as u8;
    for (from, &source) in map.from.iter_mut().zip(sources) {
        if u32::from(source) > from_channels && source != ChannelMap::MEAN {
            return Err(ConfigError::NoSuchChannel { channel: source - 1, channels });
        }
        *from = source;
    }
    Ok(map.with_identity_flag())
}

fn read_gain(q16: u32) -> Result<Gain, ConfigError> {
    if q16 > Gain::MAX.q16() {
        return Err(ConfigError::Gain { gain: q16 as f32 / 65_536.0 });
    }
    Ok(Gain::from_q16(q16))
}

/// The bytes that follow the first line of a record.
pub(crate) enum RecordPayload<'p, S> {
    None,
    Sources(&'p ChannelMap),
    Samples(&'p [S]),
}

impl Record<'_> {
    /// Writes the record into a journal. The samples come as `payload`, because a record holds them as bytes
    /// only once it has been read back.
    pub(crate) fn write<S: DeviceSample>(
        &self,
        journal: &mut JournalWriter<'_>,
        payload: &RecordPayload<'_, S>,
    ) {
        let mut head = self.head();
        let bytes = match payload {
            RecordPayload::None => 0,
            RecordPayload::Sources(map) => sources(map).len(),
            RecordPayload::Samples(samples) => {
                head.kind = kind_number(S::KIND);
                samples.len() * S::KIND.bytes()
            }
        };
        head.payload_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Some(mut record) = journal.open(bytes) else { return };
        record.put(&head.line());
        match payload {
            RecordPayload::None => {}
            RecordPayload::Sources(map) => sources(map).iter().for_each(|source| record.put(&[*source])),
            RecordPayload::Samples(samples) => {
                for sample in *samples {
                    let bits = sample.to_bits().to_le_bytes();
                    record.put(bits.get(..S::KIND.bytes()).unwrap_or(&bits));
                }
            }
        }
        record.close();
    }

    fn head(&self) -> Header {
        match *self {
            Self::CaptureConfigured { config } => Header {
                channels: config.map.from_channels() as u8,
                ..Header::new(
                    1,
                    [
                        u64::from(config.rate.hz()),
                        u64::from(config.gain.q16()),
                        u64::from(config.max_period_sample_frames),
                        u64::from(config.clock_domain),
                        0,
                        0,
                        0,
                    ],
                )
            },
            Self::CapturePeriod { time, accepted, .. } => {
                let [position, converter, called] = time_words(time);
                Header::new(2, [position, converter, called, accepted, 0, 0, 0])
            }
            Self::PlaybackConfigured { config, accepted } => Header {
                channels: config.map.from_channels() as u8,
                ..Header::new(
                    3,
                    [
                        u64::from(config.rate.hz()),
                        u64::from(config.worker_slack_sample_frames),
                        u64::from(config.max_period_sample_frames),
                        u64::from(config.clock_domain),
                        word(config.latency.as_nanos()),
                        accepted,
                        0,
                    ],
                )
            },
            Self::PlaybackFrame { format, .. } => Header {
                channels: format.channels() as u8,
                ..Header::new(4, [format.rate_hz().into(), 0, 0, 0, 0, 0, 0])
            },
            Self::PlaybackPeriod { kind, samples, digest, time, accepted } => {
                let [position, converter, called] = time_words(time);
                let words = [position, converter, called, accepted, samples.into(), digest, 0];
                Header { kind: kind_number(kind), ..Header::new(5, words) }
            }
            Self::PlaybackStopped { accepted } => Header::new(6, [accepted, 0, 0, 0, 0, 0, 0]),
            Self::PlaybackDiscarded { sample_frames, accepted } => {
                Header::new(7, [accepted, sample_frames.into(), 0, 0, 0, 0, 0])
            }
            Self::ClockRead { count, times } => {
                let [a, b, c, d, e, f] = times.map(|time| word(time.as_nanos()));
                Header::new(8, [count as u64, a, b, c, d, e, f])
            }
            Self::Cleaned { format, position, lost, .. } => Header {
                channels: format.channels() as u8,
                ..Header::new(9, [format.rate_hz().into(), position, lost.into(), 0, 0, 0, 0])
            },
            Self::Polled { captured_frames, reference_frames, plays, one_clock } => Header::new(
                10,
                [captured_frames.into(), reference_frames.into(), plays.into(), one_clock.into(), 0, 0, 0],
            ),
            Self::Note { words: [first, second] } => Header::new(11, [first, second, 0, 0, 0, 0, 0]),
            Self::End { lost_records } => Header::new(12, [lost_records.into(), 0, 0, 0, 0, 0, 0]),
        }
    }
}

impl<'r> Record<'r> {
    /// Returns the line that ends a journal file. Whoever empties the ring into the file writes it last.
    #[must_use]
    pub fn end(lost_records: u32) -> Line {
        Self::End { lost_records }.head().line()
    }

    /// Returns how many bytes the record takes whose first line is at the start of `bytes`; [`LINE_BYTES`] if
    /// `bytes` are shorter than a line.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> usize {
        let payload_bytes = bytes.first_chunk().map_or(0, |line| Header::read(line).payload_bytes as usize);
        LINE_BYTES.saturating_add(payload_bytes.div_ceil(LINE_BYTES).saturating_mul(LINE_BYTES))
    }

    /// Reads the first record in `bytes`. Returns it with the bytes that follow it, or `None` when `bytes`
    /// end before the record does.
    ///
    /// # Errors
    /// Fails on bytes that no journal wrote.
    pub fn read(bytes: &'r [u8]) -> Result<Option<(Self, &'r [u8])>, Malformed> {
        let Some((line, rest)) = bytes.split_first_chunk::<LINE_BYTES>() else { return Ok(None) };
        let head = Header::read(line);
        let payload_bytes = head.payload_bytes as usize;
        let Some((lines, rest)) =
            rest.split_at_checked(payload_bytes.div_ceil(LINE_BYTES).saturating_mul(LINE_BYTES))
        else {
            return Ok(None);
        };
        let payload = lines.get(..payload_bytes).unwrap_or(&[]);
        Ok(Some((Self::of(&head, payload)?, rest)))
    }

    fn of(head: &Header, payload: &'r [u8]) -> Result<Self, Malformed> {
        let [a, b, c, d, e, f, _] = head.words;
        let number = |word: u64| u32::try_from(word).map_err(|_| Malformed::Length);
        let time = || PeriodTime { position: a, converter: instant(b), called: instant(c) };
        let map = || read_map(head.channels.into(), payload);
        let samples = || -> Result<RawSamples<'r>, Malformed> {
            let kind = kind_from_number(head.kind)?;
            match payload.len() % kind.bytes() {
                0 => Ok(RawSamples::of_bytes(kind, payload)),
                _ => Err(Malformed::Length),
            }
        };
        let format = || -> Result<Format, Malformed> { Ok(Format::new(number(a)?, head.channels.into())?) };
        Ok(match head.tag {
            1 => Self::CaptureConfigured {
                config: IntakeConfig {
                    rate: SampleRate::new(number(a)?)?,
                    gain: read_gain(number(b)?)?,
                    max_period_sample_frames: number(c)?,
                    clock_domain: number(d)?,
                    map: map()?,
                },
            },
            2 => Self::CapturePeriod { samples: samples()?, time: time(), accepted: d },
            3 => Self::PlaybackConfigured {
                config: OutletConfig {
                    rate: SampleRate::new(number(a)?)?,
                    worker_slack_sample_frames: number(b)?,
                    max_period_sample_frames: number(c)?,
                    clock_domain: number(d)?,
                    latency: Duration::from_nanos(e.cast_signed()),
                    map: map()?,
                },
                accepted: f,
            },
            4 => Self::PlaybackFrame { format: format()?, samples: samples()? },
            5 => Self::PlaybackPeriod {
                kind: kind_from_number(head.kind)?,
                samples: number(e)?,
                digest: f,
                time: time(),
                accepted: d,
            },
            6 => Self::PlaybackStopped { accepted: a },
            7 => Self::PlaybackDiscarded { accepted: a, sample_frames: number(b)? },
            8 => {
                let [count, times @ ..] = head.words;
                let count = number(count)? as usize;
                if count > MAX_CLOCK_READS {
                    return Err(Malformed::Length);
                }
                Self::ClockRead { count, times: times.map(instant) }
            }
            9 => Self::Cleaned { format: format()?, samples: samples()?, position: b, lost: number(c)? },
            10 => Self::Polled {
                captured_frames: number(a)?,
                reference_frames: number(b)?,
                plays: c != 0,
                one_clock: d != 0,
            },
            11 => Self::Note { words: [a, b] },
            12 => Self::End { lost_records: number(a)? },
            tag => return Err(Malformed::Unknown { tag }),
        })
    }
}

#[cfg(test)]
mod tests {
    use core::fmt;

    use proptest::prelude::*;

    use super::super::lines::Journal;
    use super::*;
    use crate::sample::{I24, PackedI24};

    fn written<S: DeviceSample>(record: &Record<'_>, payload: &RecordPayload<'_, S>) -> Vec<u8> {
        let mut journal = Box::new(Journal::<256>::new());
        let (mut writer, mut reader) = journal.split();
        record.write(&mut writer, payload);
        assert_eq!(reader.lost_records(), 0);
        std::iter::from_fn(|| reader.pop()).flatten().collect()
    }

    fn survives(record: &Record<'_>, map: Option<&ChannelMap>) {
        let payload = map.map_or(RecordPayload::<i16>::None, RecordPayload::Sources);
        let mut bytes = written(record, &payload);
        assert_eq!(Record::bytes(&bytes), bytes.len());
        for end in [0, 1, bytes.len() - 1] {
            assert_eq!(Record::read(&bytes[..end]), Ok(None));
        }
        bytes.push(77);
        assert_eq!(Record::read(&bytes), Ok(Some((*record, &[77][..]))));
    }

    fn samples_survive<S: DeviceSample + PartialEq + fmt::Debug>(samples: &[S]) {
        let time = PeriodTime { position: 0, converter: Instant::ORIGIN, called: Instant::ORIGIN };
        let none = RawSamples::of_bytes(S::KIND, &[]);
        let record = Record::CapturePeriod { samples: none, time, accepted: 3 };
        let bytes = written(&record, &RecordPayload::Samples(samples));
        let (read, rest) = Record::read(&bytes).unwrap().unwrap();
        let Record::CapturePeriod { samples: read, accepted: 3, .. } = read else { panic!("{read:?}") };
        assert!(rest.is_empty());
        assert_eq!((read.len(), read.kind), (samples.len(), S::KIND));
        assert_eq!(read.iter::<S>().collect::<Vec<_>>(), samples);
    }

    proptest! {
        #[test]
        fn records_read_back_as_written(
            words in any::<[i64; 3]>(), counts in any::<[u32; 4]>(), rate in 80u32..=1_920, channels in 1u32..=8,
            times in any::<[i64; MAX_CLOCK_READS]>(), count in 0..=MAX_CLOCK_READS, gain in 0f32..=64.0,
        ) {
            let rate = SampleRate::new(rate * 100).unwrap();
            let [position, converter, called] = words;
            let time = PeriodTime {
                position: position.cast_unsigned(),
                converter: Instant::from_nanos(converter),
                called: Instant::from_nanos(called),
            };
            let [count_32, sample_frames, lost, domain] = counts;
            let accepted = position.cast_unsigned();
            for map in [ChannelMap::natural(channels, 1), ChannelMap::natural(channels, channels)] {
                let map = map.unwrap();
                let config = IntakeConfig {
                    rate, map, gain: Gain::linear(gain).unwrap(), max_period_sample_frames: sample_frames,
                    clock_domain: domain,
                };
                survives(&Record::CaptureConfigured { config }, Some(&map));
                let config = OutletConfig {
                    rate, map, max_period_sample_frames: sample_frames, worker_slack_sample_frames: lost,
                    latency: Duration::from_nanos(converter), clock_domain: domain,
                };
                survives(&Record::PlaybackConfigured { config, accepted }, Some(&map));
            }
            let digest = position.cast_unsigned();
            for kind in 0..5 {
                let kind = kind_from_number(kind).unwrap();
                let record =
                    Record::PlaybackPeriod { kind, samples: sample_frames, digest, time, accepted };
                survives(&record, None);
            }
            survives(&Record::PlaybackStopped { accepted }, None);
            survives(&Record::PlaybackDiscarded { sample_frames, accepted }, None);
            survives(&Record::ClockRead { count, times: times.map(Instant::from_nanos) }, None);
            let (plays, one_clock) = (lost % 2 == 0, domain % 2 == 0);
            let (captured_frames, reference_frames) = (count_32, sample_frames);
            survives(&Record::Polled { captured_frames, reference_frames, plays, one_clock }, None);
            survives(&Record::End { lost_records: lost }, None);
            let end = Record::end(lost);
            assert_eq!(Record::read(&end), Ok(Some((Record::End { lost_records: lost }, &[][..]))));
            survives(&Record::Note { words: [digest, !digest] }, None);
        }

        #[test]
        fn every_sample_format_keeps_its_bits(words in prop::collection::vec(any::<u32>(), 0..500)) {
            fn of<S: DeviceSample>(words: &[u32]) -> Vec<S> {
                words.iter().map(|&bits| S::from_bits(bits)).collect()
            }
            samples_survive::<i16>(&of(&words));
            samples_survive::<I24>(&of(&words));
            samples_survive::<PackedI24>(&of(&words));
            samples_survive::<i32>(&of(&words));
            // A NaN is not equal to itself.
            let numbers: Vec<f32> = of::<f32>(&words).into_iter().filter(|sample| !sample.is_nan()).collect();
            samples_survive(&numbers);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), tag in 0u8..13, length in 0u8..200) {
            let mut bytes = bytes;
            if bytes.len() > 8 {
                bytes[0] = tag;
                bytes[4..8].copy_from_slice(&[length, 0, 0, 0]);
            }
            if let Ok(Some((_, rest))) = Record::read(&bytes) {
                assert!(rest.len() < bytes.len());
            }
        }
    }
}
