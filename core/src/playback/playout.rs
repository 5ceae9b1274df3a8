//! Capture worker to application: which part of each track was at the loudspeaker, and when.
//!
//! The playback interrupt tells the worker exactly what it wrote, with the stretch of each track in
//! it. The worker keeps the playback clock and puts the stretches together; the application asks with
//! a time. So what was heard is known to the sample, whatever paused, starved or failed meanwhile.

use crate::dsp::FrameConverter;
use crate::format::SampleRate;
use crate::frame::{Frame, TrackSpan};
use crate::limits::PLAYOUT_STRETCHES;
use crate::playback::slot::SlotShared;
use crate::published::{Published, Reader, Writer};
use crate::time::Instant;
use crate::timing::{Observation, StreamClock};

/// Stretches that touch within so many device sample frames are one.
const TOUCHING: f64 = 0.5;
/// Against rounding in doubles: a thousandth of a sample frame.
const ROUNDING: f64 = 1e-3;

const ANCHOR_WORDS: usize = 8;
const TRACK_WORDS: usize = 8;
const STRETCH_WORDS: usize = 5;
const WORDS: usize = ANCHOR_WORDS + TRACK_WORDS + PLAYOUT_STRETCHES * STRETCH_WORDS;

/// A slot's playout as the capture worker publishes it.
#[derive(Debug)]
pub(crate) struct PlayoutWords {
    words: Published<WORDS>,
}

impl PlayoutWords {
    pub(crate) const fn new() -> Self {
        Self { words: Published::new() }
    }

    /// Says that `track` was heard up to `position`, where nobody keeps a clock.
    pub(crate) fn publish_heard(&self, track: u32, position: u64) {
        let track = TrackPlayout { track, heard: position, silent_at: f64::MIN, ..TrackPlayout::default() };
        let playout = Playout { anchor: Anchor::default(), track };
        self.words.publish(playout.to_words(&mut [0; WORDS]));
    }

    /// What is known of `track`, as far as the slot is its.
    pub(crate) fn read(&self, track: u32) -> Option<Playout> {
        let playout = Playout::from_words(&self.words.read());
        (playout.track.track == track).then_some(playout)
    }
}

/// Where a stream is at a time: enough of a clock to be copied.
#[derive(Clone, Copy, Debug, Default)]
struct Anchor {
    time_ns: i64,
    /// Stream position at that time, in device sample frames.
    position: f64,
    period_ns: f64,
    /// Sample frames of the terminal in one of the device.
    ratio: f64,
}

/// A stretch of a track that was played without a break.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    /// Stream position where it begins.
    begin: f64,
    /// Position in the track.
    position: u64,
    /// Sample frames of the terminal.
    sample_frames: u32,
}

impl Stretch {
    const fn end(&self) -> u64 {
        self.position + self.sample_frames as u64
    }
}

/// What was played of a slot's track.
#[derive(Clone, Copy, Debug, Default)]
struct TrackPlayout {
    track: u32,
    stretches: [Stretch; PLAYOUT_STRETCHES],
    count: usize,
    /// One past the last sample frame heard before the first stretch.
    heard: u64,
    /// The track was silent at this stream position, and had come so far.
    silent_at: f64,
    silent_position: u64,
}

impl TrackPlayout {
    fn stretches(&self) -> &[Stretch] {
        self.stretches.get(..self.count).unwrap_or(&[])
    }

    fn take(&mut self, begin: f64, span: TrackSpan, ratio: f64) {
        if span.track != self.track {
            *self = Self { track: span.track, silent_at: begin, ..Self::default() };
        }
        if span.sample_frames == 0 {
            if span.position != self.silent_position {
                self.silent_at = begin;
                self.silent_position = span.position;
            }
            return;
        }
        let sample_frames = u32::from(span.sample_frames);
        let last = self.count.checked_sub(1).and_then(|last| self.stretches.get_mut(last));
        if let Some(last) = last
            && last.end() == span.position
            && (last.begin + f64::from(last.sample_frames) / ratio - begin).abs() < TOUCHING
            && let Some(longer) = last.sample_frames.checked_add(sample_frames)
        {
            last.sample_frames = longer;
            return;
        }
        if self.count == PLAYOUT_STRETCHES {
            // The oldest is taken for heard. With so many breaks within the device's latency the
            // position is ahead for a moment; where the track stops is exact all the same.
            self.heard = self.stretches.first().map_or(self.heard, Stretch::end);
            self.stretches.rotate_left(1);
            self.count -= 1;
        }
        if let Some(place) = self.stretches.get_mut(self.count) {
            *place = Stretch { begin, position: span.position, sample_frames };
            self.count += 1;
        }
    }

    /// Everything so far was heard: the stream begins anew.
    fn settle(&mut self) {
        self.heard = self.stretches().last().map_or(self.heard, Stretch::end);
        self.count = 0;
        self.silent_at = f64::MIN;
    }

    /// Whether more than the last stretch is already over at a stream position, so that it need not
    /// be kept.
    fn forget_before(&mut self, position: f64, ratio: f64) {
        while self.count > 1
            && let Some(first) = self.stretches.first()
            && first.begin + f64::from(first.sample_frames) / ratio < position
        {
            self.heard = first.end();
            self.stretches.rotate_left(1);
            self.count -= 1;
        }
    }

    /// Nothing from a stream position on was played.
    fn cut(&mut self, from: f64, ratio: f64) {
        while let Some(index) = self.count.checked_sub(1)
            && let Some(last) = self.stretches.get_mut(index)
        {
            if last.begin >= from {
                self.count = index;
                continue;
            }
            let played = libm::floor((from - last.begin) * ratio + ROUNDING) as u32;
            last.sample_frames = last.sample_frames.min(played);
            break;
        }
    }
}

/// Worker side: puts the reference stream's spans together, for every slot.
#[derive(Debug)]
pub(crate) struct PlayoutTracker<'a, const SLOTS: usize> {
    tracks: &'a mut [PlayoutMemory; SLOTS],
    shared: [Option<&'a SlotShared>; SLOTS],
    terminal: SampleRate,
    device: Option<SampleRate>,
    /// Of its own: the echo reference's clock counts places in its history, which move when the
    /// latency jumps, and stands at the terminal's rate.
    clock: StreamClock,
    /// Device sample frames by which rate conversion delays what is played.
    conversion: f64,
}

/// Memory for one slot's playout.
#[derive(Debug)]
pub(crate) struct PlayoutMemory(TrackPlayout);

impl PlayoutMemory {
    /// All zero bytes.
    pub(crate) const fn new() -> Self {
        Self(TrackPlayout {
            track: 0,
            stretches: [Stretch { begin: 0.0, position: 0, sample_frames: 0 }; PLAYOUT_STRETCHES],
            count: 0,
            heard: 0,
            silent_at: 0.0,
            silent_position: 0,
        })
    }
}

impl<'a, const SLOTS: usize> PlayoutTracker<'a, SLOTS> {
    pub(crate) fn new(
        tracks: &'a mut [PlayoutMemory; SLOTS],
        shared: [Option<&'a SlotShared>; SLOTS],
        terminal: SampleRate,
    ) -> Self {
        tracks.fill_with(PlayoutMemory::new);
        Self { tracks, shared, terminal, device: None, clock: StreamClock::new(terminal), conversion: 0.0 }
    }

    /// Takes what the playback interrupt wrote. Costs some hundred instructions, and as many stores
    /// for each track that plays.
    pub(crate) fn hear<const CAP: usize>(&mut self, frame: &Frame<CAP, SLOTS>) {
        let stamp = &frame.stamp;
        if let Some(device) = self.device.filter(|_| stamp.unplayed > 0) {
            let from = stamp.position as f64 - f64::from(stamp.unplayed);
            let ratio = self.ratio(device);
            self.tracks.iter_mut().for_each(|track| track.0.cut(from, ratio));
        }
        let rate = frame.format().rate();
        if self.device != Some(rate) {
            self.device = Some(rate);
            self.clock = StreamClock::new(rate);
            self.conversion = FrameConverter::<CAP>::latency_sample_frames(self.terminal, rate) as f64;
            self.tracks.iter_mut().for_each(|track| track.0.settle());
        }
        let ratio = self.ratio(rate);
        if frame.sample_frames() > 0 {
            self.keep_time(stamp.position, stamp.time, stamp.fresh);
        }
        let begin = stamp.position as f64 + self.conversion;
        for (track, span) in self.tracks.iter_mut().zip(&stamp.tracks) {
            if span.track != 0 {
                track.0.take(begin + f64::from(span.offset) / ratio, *span, ratio);
            }
        }
        let anchor = Anchor {
            time_ns: self.clock.time_of(stamp.position).as_nanos(),
            position: stamp.position as f64,
            period_ns: self.clock.period_ns(),
            ratio,
        };
        // What is over by the time this frame was written needs no stretch of its own.
        let called = stamp.time - stamp.latency;
        let over = anchor.at(called) - 1.0;
        let mut words = [0; WORDS];
        for (track, shared) in self.tracks.iter_mut().zip(&self.shared) {
            let (track, Some(shared)) = (&mut track.0, shared) else { continue };
            if track.track != 0 {
                track.forget_before(over, ratio);
                shared.playout.words.publish(Playout { anchor, track: *track }.to_words(&mut words));
            }
        }
    }

    fn ratio(&self, device: SampleRate) -> f64 {
        f64::from(self.terminal.hz()) / f64::from(device.hz().max(1))
    }

    fn keep_time(&mut self, position: u64, time: Instant, fresh: bool) {
        if fresh {
            // What was written before has been heard or was said never to be.
            if self.clock.is_running() {
                self.tracks.iter_mut().for_each(|track| track.0.settle());
            }
            if let Some(late) = self.clock.restart(position, time) {
                self.clock.jump(late);
            }
        }
        if let Observation::Jumped(by) = self.clock.observe(position, time) {
            self.clock.jump(by);
        }
    }
}

impl Anchor {
    /// The stream position that is at the converter at `time`.
    fn at(&self, time: Instant) -> f64 {
        if self.period_ns <= 0.0 {
            return f64::MIN;
        }
        (time.as_nanos().saturating_sub(self.time_ns)) as f64 / self.period_ns + self.position
    }
}

/// What was played of one track, and the clock to ask it by: a copy on the application's side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Playout {
    anchor: Anchor,
    track: TrackPlayout,
}

impl Playout {
    /// One past the last sample frame of the track that had wholly left the loudspeaker by `now`.
    pub(crate) fn heard(&self, now: Instant) -> u64 {
        let at = self.anchor.at(now) + ROUNDING;
        let mut heard = self.track.heard;
        for stretch in self.track.stretches() {
            if at <= stretch.begin {
                break;
            }
            let over = libm::floor((at - stretch.begin) * self.anchor.ratio);
            heard = stretch.position + u64::from(stretch.sample_frames).min(over as u64);
        }
        heard
    }

    /// When the sample frame at `position` of the track begins to leave the loudspeaker, if it was
    /// written and is still known.
    pub(crate) fn time_of(&self, position: u64) -> Option<Instant> {
        let holds = |stretch: &&Stretch| (stretch.position..stretch.end()).contains(&position);
        let stretch = self.track.stretches().iter().rev().find(holds)?;
        let at = stretch.begin + (position - stretch.position) as f64 / self.anchor.ratio;
        let ahead_ns = (at - self.anchor.position) * self.anchor.period_ns;
        Some(Instant::from_nanos(self.anchor.time_ns.saturating_add(libm::round(ahead_ns) as i64)))
    }

    /// Whether by `now` everything before `position` was heard, or is known never to be.
    pub(crate) fn is_over(&self, position: u64, now: Instant) -> bool {
        let at = self.anchor.at(now) + ROUNDING;
        self.heard(now) >= position || (self.track.silent_position >= position && at >= self.track.silent_at)
    }

    /// When the last sample of what is known has left the loudspeaker.
    pub(crate) fn ends(&self) -> Option<Instant> {
        let last = self.track.stretches().last()?;
        let begin = self.time_of(last.end().checked_sub(1)?)?;
        let period_ns = self.anchor.period_ns / self.anchor.ratio;
        Some(Instant::from_nanos(begin.as_nanos().saturating_add(libm::round(period_ns) as i64)))
    }

    /// As many words as it needs, which its count of stretches tells the reader.
    fn to_words(self, words: &mut [u32; WORDS]) -> &[u32] {
        let mut writer = Writer::new(words);
        writer.u64(self.anchor.time_ns as u64);
        writer.f64(self.anchor.position);
        writer.f64(self.anchor.period_ns);
        writer.f64(self.anchor.ratio);
        writer.u32(self.track.track);
        writer.u32(self.track.count as u32);
        writer.u64(self.track.heard);
        writer.f64(self.track.silent_at);
        writer.u64(self.track.silent_position);
        for stretch in self.track.stretches() {
            writer.f64(stretch.begin);
            writer.u64(stretch.position);
            writer.u32(stretch.sample_frames);
        }
        let used = ANCHOR_WORDS + TRACK_WORDS + self.track.stretches().len() * STRETCH_WORDS;
        words.get(..used).unwrap_or(words)
    }

    fn from_words(words: &[u32; WORDS]) -> Self {
        let mut reader = Reader::new(words);
        let anchor = Anchor {
            time_ns: reader.u64() as i64,
            position: reader.f64(),
            period_ns: reader.f64(),
            ratio: reader.f64(),
        };
        let mut track = TrackPlayout { track: reader.u32(), ..TrackPlayout::default() };
        track.count = (reader.u32() as usize).min(PLAYOUT_STRETCHES);
        track.heard = reader.u64();
        track.silent_at = reader.f64();
        track.silent_position = reader.u64();
        for stretch in track.stretches.iter_mut().take(track.count) {
            *stretch = Stretch { begin: reader.f64(), position: reader.u64(), sample_frames: reader.u32() };
        }
        Self { anchor, track }
    }
}
