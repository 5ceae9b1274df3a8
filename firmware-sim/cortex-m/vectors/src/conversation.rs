//! A duplex conversation through a session with the echo canceller as its voice processor.
//!
//! Both devices run on clocks of their own that differ by 100 ppm. The far end speaks alone, then the talker
//! joins, then the talker speaks alone, then the far end alone through a changed room. The times are
//! computed, so that samples, counters and figures are the same on every processor.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::canceller::{CancellerReading, CancellerSettings, CancellerStorage, EchoCanceller};
use handsfree_core::capture::{IntakeConfig, LightVoice, VoiceProcessor, VoiceStats};
use handsfree_core::playback::OutletConfig;
use handsfree_core::{
    ChannelMap, ConfigError, Duration, Frame, Gain, Halves, Instant, PeriodTime, SampleRate, Session,
    SessionFormat, Stats,
};

use crate::hash::Fnv1a;
use crate::meter::{PartMeter, SessionPart};
use crate::room::{Room, Syllables};

/// Samples in a frame of 10 ms at 16 kHz.
const CAP: usize = 160;
const SLOTS: usize = 2;

/// Memory of a conversation: a session at 16 kHz with 250 ms of reference, and a room.
#[derive(Debug)]
pub struct ConversationMemory {
    session: Session<CAP, SLOTS, 4, 4, 4, 8, 4_000>,
    room: Room,
}

impl ConversationMemory {
    /// Returns memory of which all bytes are 0.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static needs it const")]
    pub const fn new() -> Self {
        Self { session: Session::new(), room: Room::new() }
    }
}

type ConversationHalves<'a, V> = Halves<'a, NoopRawMutex, V, (), CAP, SLOTS>;

/// Settings of a product that uses only the output with suppression.
pub const OUTPUT_ONLY: CancellerSettings =
    CancellerSettings { corrected_linear: false, ..CancellerSettings::DEFAULT };

/// A voice processor that holds a conversation: an echo canceller of any size at 16 kHz, or the light voice path.
pub trait ConversationCanceller: VoiceProcessor {
    /// Passes each sample of the linear output.
    fn linear(&self, take: &mut impl FnMut(i16));
    /// Returns the canceller's figures.
    fn reading(&self) -> CancellerReading;
}

impl<
    const BINS: usize,
    const PARTITIONS: usize,
    const SHADOW: usize,
    const LOUDSPEAKERS: usize,
    S: CancellerStorage,
    const MODELS: usize,
> ConversationCanceller for EchoCanceller<CAP, BINS, PARTITIONS, SHADOW, LOUDSPEAKERS, S, MODELS>
{
    fn linear(&self, take: &mut impl FnMut(i16)) {
        EchoCanceller::linear(self).for_each(take);
    }

    fn reading(&self) -> CancellerReading {
        EchoCanceller::reading(self)
    }
}

impl ConversationCanceller for LightVoice {
    fn linear(&self, _take: &mut impl FnMut(i16)) {}

    fn reading(&self) -> CancellerReading {
        CancellerReading::default()
    }
}

/// Result of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConversationOutcome {
    /// Number of delivered frames.
    pub frames: u32,
    /// FNV-1a hash of all delivered samples and all samples of the linear output.
    pub hash: u64,
    /// Energy of the microphone, of the linear output and of the output while only the far end speaks.
    pub echo: [u64; 3],
    /// Energy of the talker, and product of the talker with the output, while both sides speak.
    pub both: [i64; 2],
    /// Energy of the microphone and of the output while only the talker speaks.
    pub near: [u64; 2],
    /// Figures of the canceller at the end of the first part.
    pub voice: VoiceStats,
    /// Further figures of the canceller at the same time.
    pub reading: CancellerReading,
    /// Counters of the session at the end.
    pub stats: Stats,
}

const FRAME: Duration = Duration::from_millis(10);
/// Time from the loudspeaker's first interrupt to the microphone's first sample, in microseconds: ten sample
/// frames.
const FIRST_US: i64 = 625;
/// Sample frames that the loudspeaker's stream is late: the first period plays after the first interrupt.
const PLAYBACK_LATE: u64 = CAP as u64 - 10;
/// Frames (10 ms) by which the output is later than the microphone.
const OUTPUT_LATE: usize = 1;

/// Runs a conversation of `frames` frames of 10 ms.
///
/// # Errors
/// Returns the errors of the session's configuration; there are none.
pub fn converse<C: ConversationCanceller>(
    frames: u32,
    canceller: &mut C,
    memory: &mut ConversationMemory,
    meter: &mut impl PartMeter,
) -> Result<ConversationOutcome, ConfigError> {
    let rate = SampleRate::new(16_000)?;
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves: ConversationHalves<'_, &mut C> = memory.session.split(terminal, canceller, ())?;
    let map = ChannelMap::natural(1, 1)?;
    let max_period_sample_frames = CAP as u32;
    let gain = Gain::UNITY;
    halves.intake.configure(IntakeConfig { rate, map, gain, max_period_sample_frames, clock_domain: 0 })?;
    halves.outlet.configure(OutletConfig {
        rate,
        map,
        max_period_sample_frames,
        worker_slack_sample_frames: CAP as u32,
        latency: Duration::from_millis(20),
        clock_domain: 0,
    })?;
    let ConversationHalves { mut intake, mut outlet, mut capture, mut playback, tracks, mut events, stats } =
        halves;
    let mut track = tracks.open().ok();

    let mut outcome = ConversationOutcome::default();
    let mut hash = Fnv1a::new();
    let room = &mut memory.room;
    room.furnish(5);
    let (mut far, mut talker) = (Syllables::new(1, 4_001), Syllables::new(2, 5_003));
    let (mut speech, mut pushed) = ([0i16; CAP], CAP);
    let (mut talked, mut heard) = ([[0i16; CAP]; 1 + OUTPUT_LATE], [[0i16; CAP]; 1 + OUTPUT_LATE]);
    let mut output = Frame::<CAP>::silence(handsfree_core::Format::with_rate(rate, 1)?)?;
    let mut played = 0u64;
    for frame in 0..frames {
        let part = |of: u32| frame >= frames / 20 * of;
        let far_speaks = !part(15) || part(17);
        let talker_speaks = part(9) && !part(17);
        if frame == frames / 20 * 17 {
            outcome.voice = capture.voice_mut().stats();
            outcome.reading = capture.voice_mut().reading();
            room.change();
        }
        // The loudspeaker's interrupts until the end of the microphone's period.
        let ended = Instant::from_nanos(1_000 * (FIRST_US + 10_000 * i64::from(frame + 1)));
        loop {
            let now = playback_time(played);
            if now > ended {
                break;
            }
            let mut period = [0i16; CAP];
            let time =
                PeriodTime { position: played, converter: playback_time(played + CAP as u64), called: now };
            meter.measure(SessionPart::PlaybackInterrupt, || outlet.on_period(&mut period, time));
            room.play(played, &period);
            played += CAP as u64;
        }
        let position = u64::from(frame) * CAP as u64;
        talked.rotate_right(1);
        heard.rotate_right(1);
        let [talked_now, ..] = &mut talked;
        let [heard_now, ..] = &mut heard;
        for ((to, near), at) in heard_now.iter_mut().zip(talked_now.iter_mut()).zip(position..) {
            *near = if talker_speaks { talker.sample() / 2 } else { 0 };
            let sound = room.capture(at, PLAYBACK_LATE) + i32::from(*near);
            *to = sound.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
        }
        let time = PeriodTime { position, converter: ended - FRAME, called: ended };
        meter.measure(SessionPart::CaptureInterrupt, || intake.on_period(heard_now, time));

        if let Some(track) = &mut track {
            loop {
                if pushed == CAP {
                    speech.fill_with(|| if far_speaks { far.sample() } else { 0 });
                    pushed = 0;
                }
                let taken = track.push(speech.get(pushed..).unwrap_or(&[])).unwrap_or(0);
                pushed += taken;
                if pushed < CAP {
                    break;
                }
            }
        }
        let now = ended + Duration::from_micros(300);
        meter.measure(SessionPart::PlaybackPipeline, || playback.poll());
        let mut delivered = 0;
        meter.measure(SessionPart::CapturePipeline, || {
            capture.poll(&|| now, &mut |frame: &Frame<CAP>| {
                output.clone_from(frame);
                delivered += 1;
            })
        });
        meter.delivered(delivered);
        while events.poll().is_some() {}
        tracks.dispatch();
        outcome.frames += delivered;
        if delivered == 0 {
            continue;
        }
        hash.take(output.samples().iter().copied());
        let mut linear_energy = 0;
        capture.voice_mut().linear(&mut |sample| {
            hash.take([sample]);
            linear_energy += square(sample);
        });
        let ([.., near], [.., microphone]) = (&talked, &heard);
        let energy = |samples: &[i16]| samples.iter().map(|&x| square(x)).sum::<u64>();
        if part(6) && !part(9) {
            for (sum, now) in
                outcome.echo.iter_mut().zip([energy(microphone), linear_energy, energy(output.samples())])
            {
                *sum += now;
            }
        } else if part(11) && !part(15) {
            let products = near.iter().zip(output.samples());
            for (&near, &output) in products {
                outcome.both[0] += i64::from(near) * i64::from(near);
                outcome.both[1] += i64::from(near) * i64::from(output);
            }
        } else if part(16) && !part(17) {
            for (sum, now) in outcome.near.iter_mut().zip([energy(microphone), energy(output.samples())]) {
                *sum += now;
            }
        }
    }
    outcome.hash = hash.value();
    outcome.stats = stats.read();
    Ok(outcome)
}

fn square(x: i16) -> u64 {
    u64::from(x.unsigned_abs()) * u64::from(x.unsigned_abs())
}

/// Returns the time of a position of the loudspeaker's stream: a clock that is 100 ppm fast.
fn playback_time(position: u64) -> Instant {
    Instant::from_nanos((position * 62_500 / 10_000 * 9_999) as i64)
}
