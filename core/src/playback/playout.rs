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
use crate::published::{Published, Reader};
use crate::time::Instant;
use crate::timing::{Observation, StreamClock, whole_and_rest};

/// A stream position in 1/2^16 of a device sample frame: enough for what rates and clocks leave of one, and
/// for 20 years of the fastest stream.
type Q16 = i64;

/// Stretches that touch within so much, half a device sample frame, are one.
const TOUCHING: Q16 = 1 << 15;
/// Against rounding: a thousandth of a sample frame.
const ROUNDING: Q16 = 1 << 6;
/// Before any position.
const NEVER: Q16 = Q16::MIN;

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
        let track = TrackPlayout { track, heard: position, silent_at: NEVER, ..TrackPlayout::default() };
        self.publish(&Anchor::default(), &track, &mut [0; WORDS]);
    }

    /// As many words as it needs, which its count of stretches tells the reader; `words` is scratch memory.
    #[inline(never)]
    fn publish(&self, anchor: &Anchor, track: &TrackPlayout, words: &mut [u32; WORDS]) {
        let (low, high) = (|wide: u64| wide as u32, |wide: u64| (wide >> 32) as u32);
        let [time, position, period] =
            [anchor.time_ns, anchor.position, anchor.period_q32].map(|value| value as u64);
        let [heard, silent_at, silent] = [track.heard, track.silent_at as u64, track.silent_position];
        let head: [u32; ANCHOR_WORDS + TRACK_WORDS] = [
            low(time),
            high(time),
            low(position),
            high(position),
            low(period),
            high(period),
            anchor.ratio.terminal,
            anchor.ratio.device,
            track.track,
            track.count as u32,
            low(heard),
            high(heard),
            low(silent_at),
            high(silent_at),
            low(silent),
            high(silent),
        ];
        let Some((first, places)) = words.split_first_chunk_mut() else { return };
        *first = head;
        let places = places.as_chunks_mut::<STRETCH_WORDS>().0;
        for (place, stretch) in places.iter_mut().zip(track.stretches()) {
            let (begin, position) = (stretch.begin as u64, stretch.position);
            *place = [low(begin), high(begin), low(position), high(position), stretch.sample_frames];
        }
        let used = head.len() + track.count * STRETCH_WORDS;
        self.words.publish(words.get(..used).unwrap_or(&words[..]));
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
    /// Stream position at that time.
    position: Q16,
    /// In 1/2^32 ns.
    period_q32: i64,
    ratio: Ratio,
}

/// Sample frames of the terminal and of the device in 10 ms.
#[derive(Clone, Copy, Debug, Default)]
struct Ratio {
    terminal: u32,
    device: u32,
}

impl Ratio {
    /// How long so many sample frames of the terminal are on the stream.
    #[inline(never)]
    fn on_stream(self, sample_frames: u64) -> Q16 {
        if self.terminal == self.device {
            return (sample_frames << 16) as i64;
        }
        ((sample_frames << 16) * u64::from(self.device) / u64::from(self.terminal.max(1))) as i64
    }

    /// How many whole sample frames of the terminal such a span of the stream is, none of a negative one.
    #[inline(never)]
    fn of_terminal(self, span: Q16) -> u64 {
        let span = span.max(0) as u64;
        if self.terminal == self.device {
            return span >> 16;
        }
        (span.saturating_mul(u64::from(self.terminal)) / u64::from(self.device.max(1))) >> 16
    }
}

/// A stretch of a track that was played without a break.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    /// Stream position where it begins.
    begin: Q16,
    /// Position in the track.
    position: u64,
    /// Sample frames of the terminal.
    sample_frames: u32,
}

impl Stretch {
    /// Stream position where it ends.
    fn over(&self, ratio: Ratio) -> Q16 {
        self.begin + ratio.on_stream(u64::from(self.sample_frames))
    }

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
    silent_at: Q16,
    silent_position: u64,
}

impl TrackPlayout {
    fn stretches(&self) -> &[Stretch] {
        self.stretches.get(..self.count).unwrap_or(&[])
    }

    #[inline(never)]
    fn take(&mut self, begin: Q16, span: TrackSpan, ratio: Ratio) {
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
            && (last.over(ratio) - begin).abs() < TOUCHING
            && let Some(longer) = last.sample_frames.checked_add(sample_frames)
        {
            last.sample_frames = longer;
            return;
        }
        if self.count == PLAYOUT_STRETCHES {
            // The oldest is taken for heard. With so many breaks within the device's latency the
            // position is ahead for a moment; where the track stops is exact all the same.
            self.forget_first();
        }
        if let Some(place) = self.stretches.get_mut(self.count) {
            *place = Stretch { begin, position: span.position, sample_frames };
            self.count += 1;
        }
    }

    /// Everything so far was heard: the stream begins anew.
    #[cold]
    #[inline(never)]
    fn settle(&mut self) {
        self.heard = self.stretches().last().map_or(self.heard, Stretch::end);
        self.count = 0;
        self.silent_at = NEVER;
    }

    /// Takes the first stretch for heard.
    #[inline(never)]
    fn forget_first(&mut self) {
        self.heard = self.stretches.first().map_or(self.heard, Stretch::end);
        for index in 1..self.count {
            if let Some(&next) = self.stretches.get(index)
                && let Some(place) = self.stretches.get_mut(index - 1)
            {
                *place = next;
            }
        }
        self.count = self.count.saturating_sub(1);
    }

    /// Whether more than the last stretch is already over at a stream position, so that it need not
    /// be kept.
    fn forget_before(&mut self, position: Q16, ratio: Ratio) {
        while self.count > 1 && self.stretches.first().is_some_and(|first| first.over(ratio) < position) {
            self.forget_first();
        }
    }

    /// Nothing from a stream position on was played.
    #[cold]
    fn cut(&mut self, from: Q16, ratio: Ratio) {
        while let Some(index) = self.count.checked_sub(1)
            && let Some(last) = self.stretches.get_mut(index)
        {
            if last.begin >= from {
                self.count = index;
                continue;
            }
            let played = ratio.of_terminal(from - last.begin + ROUNDING);
            last.sample_frames = u64::from(last.sample_frames).min(played) as u32;
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
    conversion: u64,
}

/// Memory for one slot's playout.
#[derive(Debug)]
pub(crate) struct PlayoutMemory(TrackPlayout);

impl PlayoutMemory {
    /// All zero bytes.
    pub(crate) const fn new() -> Self {
        Self(TrackPlayout {
            track: 0,
            stretches: [Stretch { begin: 0, position: 0, sample_frames: 0 }; PLAYOUT_STRETCHES],
            count: 0,
            heard: 0,
            silent_at: 0,
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
        for PlayoutMemory(track) in tracks.iter_mut() {
            (track.track, track.count, track.heard) = (0, 0, 0);
        }
        Self { tracks, shared, terminal, device: None, clock: StreamClock::new(terminal), conversion: 0 }
    }

    /// Takes what the playback interrupt wrote. Costs some hundred instructions, and as many stores
    /// for each track that plays.
    pub(crate) fn hear<const CAP: usize>(&mut self, frame: &Frame<CAP, SLOTS>) {
        let stamp = &frame.stamp;
        if let Some(device) = self.device.filter(|_| stamp.unplayed > 0) {
            let from = on_stream(stamp.position) - on_stream(u64::from(stamp.unplayed));
            let ratio = self.ratio(device);
            self.tracks.iter_mut().for_each(|track| track.0.cut(from, ratio));
        }
        let rate = frame.format().rate();
        if self.device != Some(rate) {
            self.device = Some(rate);
            self.clock = StreamClock::new(rate);
            self.conversion = FrameConverter::<CAP>::latency_sample_frames(self.terminal, rate) as u64;
            self.tracks.iter_mut().for_each(|track| track.0.settle());
        }
        let ratio = self.ratio(rate);
        if frame.sample_frames() > 0 {
            self.keep_time(stamp.position, stamp.time, stamp.fresh);
        }
        let begin = on_stream(stamp.position + self.conversion);
        for (track, span) in self.tracks.iter_mut().zip(&stamp.tracks) {
            if span.track != 0 {
                track.0.take(begin + ratio.on_stream(u64::from(span.offset)), *span, ratio);
            }
        }
        let anchor = Anchor {
            time_ns: self.clock.time_of(stamp.position).as_nanos(),
            position: on_stream(stamp.position),
            period_q32: self.clock.period_q32(),
            ratio,
        };
        // What is over by the time this frame was written needs no stretch of its own.
        let called = stamp.time - stamp.latency;
        let over = anchor.at(called) - on_stream(1);
        let mut words = [0; WORDS];
        for (track, shared) in self.tracks.iter_mut().zip(&self.shared) {
            let (track, Some(shared)) = (&mut track.0, shared) else { continue };
            if track.track != 0 {
                track.forget_before(over, ratio);
                shared.playout.publish(&anchor, track, &mut words);
            }
        }
    }

    fn ratio(&self, device: SampleRate) -> Ratio {
        let [terminal, device] = [self.terminal, device].map(|rate| rate.sample_frames() as u32);
        Ratio { terminal, device }
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
    /// How long a span of the stream takes, to the nearest nanosecond.
    fn nanos(&self, span: Q16) -> i64 {
        ((i128::from(span) * i128::from(self.period_q32) + (1 << 47)) >> 48) as i64
    }

    /// The stream position that is at the converter at `time`.
    fn at(&self, time: Instant) -> Q16 {
        let span_ns = time.as_nanos().saturating_sub(self.time_ns);
        match whole_and_rest(span_ns, self.period_q32) {
            Some((whole, rest_q32)) => {
                self.position + (whole << 16) + rest_q32 / (self.period_q32 >> 16).max(1)
            }
            None => NEVER,
        }
    }
}

/// Whole sample frames as a stream position.
const fn on_stream(sample_frames: u64) -> Q16 {
    (sample_frames << 16) as i64
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
        let at = self.anchor.at(now).saturating_add(ROUNDING);
        let mut heard = self.track.heard;
        for stretch in self.track.stretches() {
            if at <= stretch.begin {
                break;
            }
            let over = self.anchor.ratio.of_terminal(at - stretch.begin);
            heard = stretch.position + u64::from(stretch.sample_frames).min(over);
        }
        heard
    }

    /// When the sample frame at `position` of the track begins to leave the loudspeaker, if it was
    /// written and is still known.
    pub(crate) fn time_of(&self, position: u64) -> Option<Instant> {
        let holds = |stretch: &&Stretch| (stretch.position..stretch.end()).contains(&position);
        let stretch = self.track.stretches().iter().rev().find(holds)?;
        let at = stretch.begin + self.anchor.ratio.on_stream(position - stretch.position);
        let ahead_ns = self.anchor.nanos(at - self.anchor.position);
        Some(Instant::from_nanos(self.anchor.time_ns.saturating_add(ahead_ns)))
    }

    /// Whether by `now` everything before `position` was heard, or is known never to be.
    pub(crate) fn is_over(&self, position: u64, now: Instant) -> bool {
        let at = self.anchor.at(now).saturating_add(ROUNDING);
        self.heard(now) >= position || (self.track.silent_position >= position && at >= self.track.silent_at)
    }

    /// When the last sample of what is known has left the loudspeaker.
    pub(crate) fn ends(&self) -> Option<Instant> {
        let last = self.track.stretches().last()?;
        let begin = self.time_of(last.end().checked_sub(1)?)?;
        let period_ns = self.anchor.nanos(self.anchor.ratio.on_stream(1));
        Some(Instant::from_nanos(begin.as_nanos().saturating_add(period_ns)))
    }

    fn from_words(words: &[u32; WORDS]) -> Self {
        let mut reader = Reader::new(words);
        let anchor = Anchor {
            time_ns: reader.u64() as i64,
            position: reader.u64() as i64,
            period_q32: reader.u64() as i64,
            ratio: Ratio { terminal: reader.u32(), device: reader.u32() },
        };
        let mut track = TrackPlayout { track: reader.u32(), ..TrackPlayout::default() };
        track.count = (reader.u32() as usize).min(PLAYOUT_STRETCHES);
        track.heard = reader.u64();
        track.silent_at = reader.u64() as i64;
        track.silent_position = reader.u64();
        for stretch in track.stretches.iter_mut().take(track.count) {
            *stretch =
                Stretch { begin: reader.u64() as i64, position: reader.u64(), sample_frames: reader.u32() };
        }
        Self { anchor, track }
    }
}
