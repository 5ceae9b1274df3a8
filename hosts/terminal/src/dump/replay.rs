//! Control side: replays a recorded run.
//!
//! Each half replays its journal, with the recorded free space in the ring behind it. The worker's journal
//! contains the number of frames that each round found, so the interrupts are replayed as far as the round
//! needs. It does not matter whether they overlapped the round in the recorded run.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;

use handsfree_core::capture::FrameSink;
use handsfree_core::journal::Record;
use handsfree_core::timing::AcousticMemory;
use handsfree_core::{Frame, FrameProducer, FrameRing, Instant, SampleRate};
use serde::Serialize;

use super::compare::Compared;
use super::halves::{LoudspeakerReplay, MicrophoneReplay, PeriodCount, ReplayHalf};
use super::info::RunInfo;
use super::read::{JournalEnd, Records};
use super::recompute::{Measured, Recomputed, ReferenceState, RoundPowers, Watch, frame_power};
use super::spool::Spool;
use super::{LOUDSPEAKER_FILE, MICROPHONE_FILE, WORKER_FILE};
use crate::failure::Failure;
use crate::terminal::{CAP, HostSession, Meters, SLOTS, on_large_stack, voice, voice_of_code};

/// Result of a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// Settings of the recorded terminal.
    #[serde(skip)]
    pub info: RunInfo,
    /// Duration of the comparison, in seconds: of the cleaned frames or, if there are none, from the first
    /// period to the last.
    pub seconds: f64,
    /// Reason why the dump ends before the run; `None` if the dump is complete.
    pub incomplete: Option<String>,
    /// Comparison of the cleaned microphone.
    pub cleaned: Compared,
    /// Number of replayed periods of the microphone.
    pub microphone_periods: u64,
    /// Number of replayed periods of the loudspeaker.
    pub loudspeaker_periods: u64,
    /// Number of periods, of both devices together, with differing samples or frames.
    pub differing_periods: u64,
    /// Number of the worker's rounds that differ: they read the clock a different number of times, found fewer
    /// frames, or produced a different number of frames.
    pub differing_rounds: u64,
}

impl Replayed {
    /// Returns whether all compared samples, periods and rounds are equal.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.cleaned.is_equal() && self.differing_periods == 0 && self.differing_rounds == 0
    }
}

/// Returns a description of the result for the user, in one or more lines.
#[must_use]
pub fn summary(replayed: &Replayed) -> String {
    let Replayed { info, cleaned, .. } = replayed;
    let mut text = format!(
        "{:.1} s at {} Hz on {}: {} periods of the microphone, {} of the loudspeaker, {} cleaned frames",
        replayed.seconds,
        info.rate_hz,
        info.io,
        replayed.microphone_periods,
        replayed.loudspeaker_periods,
        cleaned.frames
    );
    if let Some(why) = &replayed.incomplete {
        text += &format!("\nthe recording is incomplete: {why}");
    }
    if replayed.is_equal() {
        let extent = if replayed.incomplete.is_some() { "up to there " } else { "" };
        return text + &format!("\n{extent}every sample is the same");
    }
    if let Some(other) = info.differs_from_here() {
        text += &format!("\nit was recorded by {other}");
    }
    text += &format!(
        "\n{} cleaned frames differ, by at most {}; {} device periods and {} worker rounds differ",
        cleaned.differing_frames,
        cleaned.largest_difference,
        replayed.differing_periods,
        replayed.differing_rounds
    );
    if let Some(first) = cleaned.first {
        text += &format!("\nthe first difference is in frame {} at {:.3} s", first.frame, first.at_s);
        if let Some(sample) = first.sample {
            text += &format!(", sample {sample}");
        }
    }
    text
}

/// Number of voice processors that any journal may ask for. Each takes milliseconds to make.
const FREE_VOICES: u64 = 100;
/// Bytes of the worker's journal for each further voice processor: half a second of a run at 8 kHz. More changes are no
/// recorded run, and would keep the replay busy for longer than the journal's size suggests.
const BYTES_PER_VOICE: u64 = 1 << 14;

/// Capture ring of a replay. It is larger than the session's, because a round may find frames that arrived while it
/// emptied the ring.
type CapturedRing = FrameRing<CAP, 0, 4_096>;
/// Playback or reference ring of a replay, as large as the session's reference ring.
type PlayedRing = FrameRing<CAP, SLOTS, 128>;

/// Replays the run in `folder` and compares the outputs with the recorded ones. If `out` names a folder, the
/// function also writes `microphone.wav`, `loudspeaker.wav` (both at the device's rate) and `cleaned.wav`
/// there.
///
/// # Errors
/// Returns an error that names the file that cannot be read or written, or the invalid record in it.
pub fn replay(folder: &Path, out: Option<&Path>) -> Result<Replayed, Failure> {
    run(folder, out, &mut |_, _| {})
}

/// Replays the run in `folder` like [`replay`], but measures the outputs instead of comparing them: how much of the
/// echo today's code removes with the recorded periods and their times.
///
/// # Errors
/// Returns the errors of [`replay`].
pub fn recompute(folder: &Path, out: Option<&Path>) -> Result<Recomputed, Failure> {
    let mut measured = Measured::default();
    let replayed = run(folder, out, &mut |frames, state| measured.round(frames, state))?;
    Ok(measured.finish(replayed))
}

/// Replays the run in `folder`. Calls `watch` after every round of the worker, with its frames and its state.
fn run(folder: &Path, out: Option<&Path>, watch: Watch<'_>) -> Result<Replayed, Failure> {
    let info = RunInfo::read(folder)?;
    let config = info.config()?;
    if let Some(out) = out {
        std::fs::create_dir_all(out)
            .map_err(|error| Failure::run(format!("{}: cannot be made: {error}", out.display())))?;
    }
    let spool = |name| out.map(|out| Spool::new(out, name));
    let mut worker = Records::open(folder, WORKER_FILE)?;

    let mut session = on_large_stack(|| Box::new(HostSession::new()))?;
    let mut acoustic_memory = Box::new(AcousticMemory::new());
    // The voice processor's meter needs a static reference to these few words, so they are leaked.
    let meters = Box::leak(Box::new(Meters::new()));
    let (halves, exchange) = config.split(&mut session, &mut acoustic_memory, meters)?;
    let [mut taken_ring, mut found_ring] = [captured_ring()?, captured_ring()?];
    let [mut mixed_ring, mut played_ring, mut heard_ring] = [played_ring()?, played_ring()?, played_ring()?];
    let (taken_in, taken) = taken_ring.split();
    let (mut found, found_out) = found_ring.split();
    let (mixed, mixed_out) = mixed_ring.split();
    let (played_in, played) = played_ring.split();
    let (mut heard, heard_out) = heard_ring.split();
    let (mut intake, mut outlet, mut capture) = (halves.intake, halves.outlet, halves.capture);
    intake.replay_into(taken_in);
    outlet.replay_between(mixed_out, played_in);
    capture.replay_from(found_out, heard_out);

    let mut microphone = MicrophoneReplay {
        records: Records::open(folder, MICROPHONE_FILE)?,
        intake,
        taken,
        waiting: VecDeque::new(),
        counted_periods: PeriodCount::default(),
        spool: spool("microphone"),
    };
    let mut loudspeaker = LoudspeakerReplay {
        records: Records::open(folder, LOUDSPEAKER_FILE)?,
        outlet,
        mixed,
        played,
        waiting: VecDeque::new(),
        counted_periods: PeriodCount::default(),
        samples: 0,
        spool: spool("loudspeaker"),
    };
    let mut cleaned_spool = spool("cleaned");
    let mut round = ReplayedRound::default();
    let (mut cleaned, mut differing_rounds) = (Compared::default(), 0);
    let mut voices = 0;
    while let Some(record) = worker.next()? {
        match record {
            Record::ClockRead { count, times } => round.reads.get_mut().extend(times.into_iter().take(count)),
            Record::Cleaned { format, samples, position, lost } => {
                let mut frame: Frame<CAP> =
                    samples.to_frame(format).map_err(|error| worker.bad(&error.to_string()))?;
                (frame.stamp.position, frame.stamp.lost) = (position, lost);
                round.expected.push_back(frame);
            }
            Record::Note { words: [config_code, _] } => {
                voices += 1;
                let allowed = FREE_VOICES + worker.bytes() / BYTES_PER_VOICE;
                if voices > allowed {
                    return Err(worker.bad(&format!(
                        "voice processor number {voices}, expected at most {allowed} in a journal of this size"
                    )));
                }
                let (config, canceller) = voice_of_code(config_code)?;
                exchange.replace(voice(info.config()?.format()?, config, canceller)?, config_code)?;
                if capture.voice_mut().take_next().is_some() {
                    capture.reset_breaker();
                }
            }
            Record::Polled { captured_frames, reference_frames, plays, one_clock } => {
                let short = [microphone.run_to(captured_frames)?, loudspeaker.run_to(reference_frames)?];
                if short.into_iter().flatten().any(|end| end != JournalEnd::Complete) {
                    // That journal ends before the frames that this round found.
                    break;
                }
                capture.replay_round(plays, one_clock);
                let heard_now: Vec<f64> =
                    microphone.waiting.iter().take(captured_frames as usize).map(frame_power).collect();
                round.has_all_inputs &= hand_over(&mut microphone.waiting, &mut found, captured_frames)
                    & hand_over(&mut loudspeaker.waiting, &mut heard, reference_frames);
                let mut made = CollectedFrames::default();
                capture.poll(&|| round.read(), &mut made);
                for frame in &made.0 {
                    if let Some(spool) = &mut cleaned_spool {
                        spool.write(frame)?;
                    }
                }
                let cleaned_now: Vec<f64> = made.0.iter().map(frame_power).collect();
                watch(
                    RoundPowers { microphone: &heard_now, cleaned: &cleaned_now },
                    ReferenceState {
                        jumps: capture.reference_jumps(),
                        delay: capture.delay(),
                        drift_ppm: capture.drift_ppm(),
                    },
                );
                differing_rounds += u64::from(!round.compare(&made.0, &mut cleaned, config.rate));
            }
            _ => return Err(worker.bad("expected a record of the worker")),
        }
    }
    microphone.run_out()?;
    loudspeaker.run_out()?;
    for spool in [&mut microphone.spool, &mut loudspeaker.spool, &mut cleaned_spool].into_iter().flatten() {
        spool.finish()?;
    }
    let ends = [
        (MICROPHONE_FILE, microphone.end()),
        (LOUDSPEAKER_FILE, loudspeaker.end()),
        (WORKER_FILE, worker.end()),
    ];
    let (captured, played) = (microphone.counted_periods, loudspeaker.counted_periods);
    Ok(Replayed {
        info,
        seconds: match cleaned.frames {
            0 => captured.seconds().or(played.seconds()).unwrap_or(0.0),
            frames => frames as f64 / 100.0,
        },
        incomplete: ends.into_iter().find_map(|(name, end)| incomplete(name, end)),
        cleaned,
        microphone_periods: captured.periods,
        loudspeaker_periods: played.periods,
        differing_periods: captured.differing + played.differing,
        differing_rounds,
    })
}

/// Returns how an incomplete journal ended, for the user; `None` for a complete journal.
fn incomplete(name: &str, end: Option<JournalEnd>) -> Option<String> {
    match end {
        // `None`: this journal was not read to its end, because another one ended first.
        None | Some(JournalEnd::Complete) => None,
        Some(JournalEnd::Overflowed) => {
            Some(format!("the end of {name} is missing because the disk was too slow"))
        }
        Some(JournalEnd::Unclosed) => Some(format!("{name} was not closed")),
    }
}

fn captured_ring() -> Result<Box<CapturedRing>, Failure> {
    on_large_stack(|| Box::new(CapturedRing::new()))
}

fn played_ring() -> Result<Box<PlayedRing>, Failure> {
    on_large_stack(|| Box::new(PlayedRing::new()))
}

/// Moves the frames that the worker found in the recorded run into its ring. Returns false when there are fewer.
fn hand_over<const SLOTS: usize>(
    waiting: &mut VecDeque<Frame<CAP, SLOTS>>,
    ring: &mut FrameProducer<'_, CAP, SLOTS>,
    frames: u32,
) -> bool {
    (0..frames).all(|_| waiting.pop_front().is_some_and(|frame| ring.push(frame).is_ok()))
}

/// Sink that collects the frames that the worker delivers, in order.
#[derive(Default)]
struct CollectedFrames(Vec<Frame<CAP>>);

impl FrameSink<CAP> for CollectedFrames {
    fn on_frame(&mut self, frame: &Frame<CAP>) {
        self.0.push(frame.clone());
    }
}

/// Recorded inputs and outputs of one round of the worker.
struct ReplayedRound {
    reads: RefCell<VecDeque<Instant>>,
    last_read: Cell<Instant>,
    /// Whether the round found as many frames as in the recorded run.
    has_all_inputs: bool,
    read_too_often: Cell<bool>,
    expected: VecDeque<Frame<CAP>>,
}

impl Default for ReplayedRound {
    fn default() -> Self {
        Self {
            reads: RefCell::default(),
            last_read: Cell::new(Instant::ORIGIN),
            has_all_inputs: true,
            read_too_often: Cell::new(false),
            expected: VecDeque::new(),
        }
    }
}

impl ReplayedRound {
    /// Returns the next recorded reading of the clock.
    fn read(&self) -> Instant {
        let Some(now) = self.reads.borrow_mut().pop_front() else {
            self.read_too_often.set(true);
            return self.last_read.get();
        };
        self.last_read.set(now);
        now
    }

    /// Compares the frames and the clock readings of the replayed round with the recorded ones, and clears them
    /// for the next round.
    fn compare(&mut self, made: &[Frame<CAP>], cleaned: &mut Compared, rate: SampleRate) -> bool {
        let stamp = |frame: &Frame<CAP>| (frame.stamp.position, frame.stamp.lost);
        let mut is_same = made.len() == self.expected.len();
        for (at, then) in self.expected.drain(..).enumerate() {
            let now = made.get(at).map(|frame| (stamp(frame), frame.samples()));
            cleaned.frame(rate, (stamp(&then), then.samples()), now);
        }
        is_same &= self.reads.get_mut().is_empty() && !self.read_too_often.get() && self.has_all_inputs;
        self.reads.get_mut().clear();
        self.read_too_often.set(false);
        self.has_all_inputs = true;
        is_same
    }
}
