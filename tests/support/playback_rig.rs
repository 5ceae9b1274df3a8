//! Test support: the playback path of a session, driven one frame at a time.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::{self, Bypass};
use handsfree_core::playback::{self, Outlet, Track, TrackPool, TrackTap};
use handsfree_core::{
    ChannelMap, Duration, Events, Frame, Instant, PlaybackStats, SampleRate, Session, SessionEvent,
    SessionFormat, StatsReader,
};
use handsfree_sim::noise::Rng;

use crate::{outlet_config, played_at};

/// Capacity of a frame, in samples.
pub const CAP: usize = 960;
/// Number of frames that a track's queue holds.
pub const QUEUE_FRAMES: usize = 7;

/// Track slots of the rig's session.
pub type RigTracks<'a, const SLOTS: usize> = TrackPool<'a, NoopRawMutex, CAP, SLOTS>;
/// A track in the format of the mix.
pub type RigTrack<'p, 'a, const SLOTS: usize> = Track<'p, 'a, NoopRawMutex, CAP, SLOTS>;

/// The worker and an ideal loudspeaker without latency, driven one frame at a time.
pub struct PlaybackRig<'a, const SLOTS: usize> {
    /// Worker half that mixes.
    pub playback: playback::Pipeline<'a, CAP, SLOTS>,
    /// Worker half that receives the played frames as echo reference.
    pub capture: capture::Pipeline<'a, CAP, SLOTS, Bypass>,
    /// Interrupt half of the loudspeaker.
    pub outlet: Outlet<'a, CAP, SLOTS>,
    events: Events<'a>,
    stats: StatsReader<'a>,
    /// Sample rate of the mix.
    pub rate: SampleRate,
    channels: usize,
    frames: u64,
}

impl<const SLOTS: usize> PlaybackRig<'_, SLOTS> {
    /// Mixes 10 ms, plays them and returns the loudspeaker's samples.
    pub fn frame(&mut self) -> Vec<i16> {
        self.frame_tapped(&mut ())
    }

    /// Mixes and plays 10 ms with a tap that receives the single tracks, and returns the loudspeaker's samples.
    pub fn frame_tapped(&mut self, tap: &mut impl TrackTap<CAP>) -> Vec<i16> {
        assert_eq!(self.playback.poll_tapped(tap), 1, "the ring's target is one frame");
        let mut out = vec![i16::MIN; self.rate.sample_frames() * self.channels];
        let position = self.frames * self.rate.sample_frames() as u64;
        self.outlet.on_period(&mut out, played_at(position, self.rate, 0));
        self.frames += 1;
        let now = self.now();
        self.capture.poll(&|| now, &mut |_: &Frame<CAP>| {});
        out
    }

    /// Returns the time at which the last frame has been played completely.
    #[must_use]
    pub fn now(&self) -> Instant {
        let sample_frames = self.frames * self.rate.sample_frames() as u64;
        Instant::ORIGIN + Duration::of_sample_frames(sample_frames, self.rate)
    }

    /// Returns the events since the previous call.
    pub fn events(&mut self) -> Vec<SessionEvent> {
        std::iter::from_fn(|| self.events.poll()).collect()
    }

    /// Returns the counters of the playback worker.
    #[must_use]
    pub fn stats(&self) -> PlaybackStats {
        self.stats.read().playback
    }
}

/// Runs `test` on a rig with a sample rate and a number of channels.
pub fn with_playback_rig<const SLOTS: usize>(
    rate_hz: u32,
    channels: usize,
    test: impl FnOnce(&mut PlaybackRig<'_, SLOTS>, &RigTracks<'_, SLOTS>),
) {
    let rate = SampleRate::new(rate_hz).unwrap();
    let mut session = Box::new(Session::<CAP, SLOTS, 4, 4, 8, { QUEUE_FRAMES + 1 }, CAP>::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: channels as u32 };
    let halves = session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).unwrap();
    let mut outlet = halves.outlet;
    let map = ChannelMap::natural(channels as u32, channels as u32).unwrap();
    outlet.configure(outlet_config(rate, map, rate.sample_frames() as u32)).unwrap();
    let (playback, capture, events, stats) = (halves.playback, halves.capture, halves.events, halves.stats);
    let mut rig = PlaybackRig { playback, capture, outlet, events, stats, rate, channels, frames: 0 };
    test(&mut rig, &halves.tracks);
}

/// Returns noise of a random level.
pub fn any_samples(rng: &mut Rng, count: usize) -> Vec<i16> {
    let shift = rng.range(0, 12);
    (0..count).map(|_| (rng.next_u64() as i16) >> shift).collect()
}

/// Returns a random gain from 0 to 64; 0, 1 and 64 are frequent.
pub fn any_gain(rng: &mut Rng) -> f32 {
    match rng.range(0, 6) {
        0 => 0.0,
        1 => 1.0,
        2 => 64.0,
        3 => (rng.uniform() * 64.0) as f32,
        _ => (rng.uniform() * 1.5) as f32,
    }
}

/// Returns a gain in units of 1/65536, to which the interface documents that it is rounded.
#[must_use]
pub fn q16(gain: f32) -> i64 {
    (f64::from(gain) * 65_536.0).round() as i64
}

/// Returns a sample multiplied by a gain, rounded to nearest with halves rounded up.
#[must_use]
pub fn scaled(sample: i16, gain_q16: i64) -> i64 {
    (i64::from(sample) * gain_q16 + 0x8000).div_euclid(0x1_0000)
}

/// Returns a sum limited to 16 bits.
#[must_use]
pub fn saturated(sum: i64) -> i16 {
    sum.clamp(-32_768, 32_767) as i16
}
