//! Control side: replays a recorded run.
//!
//! Each half repeats what its journal says, with the same free space in the ring behind it. The worker's journal says how
//! many frames each round found, so interrupts run just as far ahead of a round as it needs. Whether they overlapped the
//! round in the recorded run does not matter.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;

use handsfree_core::capture::FrameSink;
use handsfree_core::journal::Record;
use handsfree_core::timing::AcousticMemory;
use handsfree_core::{Frame, FrameProducer, FrameRing, Instant, SampleRate};
use serde::Serialize;

use super::compare::Compared;
use super::halves::{ReplayHalf, Loudspeaker, Microphone, PeriodCount};
use super::info::RunInfo;
use super::read::{JournalEnd, Records};
use super::spool::Spool;
use super::{LOUDSPEAKER_FILE, MICROPHONE_FILE, WORKER_FILE};
use crate::failure::Failure;
use crate::terminal::{CAP, HostSession, Meters, SLOTS, roomy, voice, voice_of_code};

/// Result of a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// Settings of the recorded terminal.
    #[serde(skip)]
    pub info: RunInfo,
    /// Compared time in seconds: that of the cleaned frames or, where there are none, from the first period to the last.
    pub seconds: f64,
    /// Reason why the dump does not reach the end of the run, if it does not.
    pub incomplete: Option<String>,
    /// Comparison of the cleaned microphone.
    pub cleaned: Compared,
    /// Number of periods of the microphone.
    pub microphone_periods: u64,
    /// Number of periods of the loudspeaker.
    pub loudspeaker_periods: u64,
    /// Number of periods of both whose samples or frames differ.
    pub differing_periods: u64,
    /// Number of rounds of the worker that read its clock a different number of times, or found fewer frames.
    pub differing_rounds: u64,
}

impl Replayed {
    /// Returns whether everything that was compared is equal, to the sample.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.cleaned.is_equal() && self.differing_periods == 0 && self.differing_rounds == 0
    }
}

/// Returns a text about the result, for a user.
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
        text += &format!("\nnot the whole run: {why}");
    }
    if replayed.is_equal() {
        let which = if replayed.incomplete.is_some() { "up to there " } else { "" };
        return text + &format!("\n{which}every sample is the same");
    }
    if let Some(other) = info.differs_from_here() {
        text += &format!("\nit was written {other}");
    }
    text += &format!(
        "\n{} cleaned frames differ, by at most {}; {} periods and {} rounds of the worker",
        cleaned.differing_frames,
        cleaned.largest_difference,
        replayed.differing_periods,
        replayed.differing_rounds
    );
    if let Some(first) = cleaned.first {
        text += &format!("\nfirst in frame {} at {:.3} s", first.frame, first.at_s);
        if let Some(sample) = first.sample {
            text += &format!(", sample {sample}");
        }
    }
    text
}

/// Capacity of the capture ring: larger than the session's, because frames may arrive while a round empties the ring.
type CapturedRing = FrameRing<CAP, 0, 4_096>;
/// Capacity of the playback ring, the same as the session's.
type PlayedRing = FrameRing<CAP, SLOTS, 128>;

/// Replays the run in `folder` and compares. With `out`, a folder, it also writes `microphone.wav` and `loudspeaker.wav`
/// (each as in its ring, at the device's rate) and `cleaned.wav`.
///
/// # Errors
/// Names the file that cannot be read or written, and an invalid record in it.
pub fn replay(folder: &Path, out: Option<&Path>) -> Result<Replayed, Failure> {
    let info = RunInfo::read(folder)?;
    let config = info.config()?;
    if let Some(out) = out {
        std::fs::create_dir_all(out)
            .map_err(|error| Failure::run(format!("{}: cannot be made: {error}", out.display())))?;
    }
    let spool = |name| out.map(|out| Spool::new(out, name));
    let mut worker = Records::open(folder, WORKER_FILE)?;

    let mut session = roomy(|| Box::new(HostSession::new()))?;
    let mut ear = Box::new(AcousticMemory::new());
    // Leaked: a few words that the voice processor's meter holds for the life of the process.
    let meters = Box::leak(Box::new(Meters::new()));
    let (halves, exchange) = config.split(&mut session, &mut ear, meters)?;
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

    let mut microphone = Microphone {
        records: Records::open(folder, MICROPHONE_FILE)?,
        intake,
        taken,
        waiting: VecDeque::new(),
        counted_periods: PeriodCount::default(),
        spool: spool("microphone"),
    };
    let mut loudspeaker = Loudspeaker {
        records: Records::open(folder, LOUDSPEAKER_FILE)?,
        outlet,
        mixed,
        played,
        waiting: VecDeque::new(),
        counted_periods: PeriodCount::default(),
        spool: spool("loudspeaker"),
    };
    let mut cleaned_spool = spool("cleaned");
    let mut round = Round::default();
    let (mut cleaned, mut differing_rounds) = (Compared::default(), 0);
    while let Some(record) = worker.next()? {
        match record {
            Record::ClockRead { count, times } => round.reads.get_mut().extend(times.into_iter().take(count)),
            Record::Cleaned { format, samples, position, lost } => {
                let mut frame: Frame<CAP> =
                    samples.to_frame(format).map_err(|error| worker.bad(&error.to_string()))?;
                (frame.stamp.position, frame.stamp.lost) = (position, lost);
                round.expected.push_back(frame);
            }
            Record::Note { words: [made_from, _] } => {
                let config = voice_of_code(made_from)?;
                exchange.replace(voice(info.config()?.format()?, config)?, made_from)?;
                if capture.voice_mut().take_next().is_some() {
                    capture.reset_breaker();
                }
            }
            Record::Polled { captured_frames, reference_frames, plays, one_clock } => {
                let short = [microphone.run_to(captured_frames)?, loudspeaker.run_to(reference_frames)?];
                if short.into_iter().flatten().any(|end| end != JournalEnd::Whole) {
                    // The frames of this round were lost with the end of that journal.
                    break;
                }
                capture.replay_round(plays, one_clock);
                round.is_whole &= hand_over(&mut microphone.waiting, &mut found, captured_frames)
                    & hand_over(&mut loudspeaker.waiting, &mut heard, reference_frames);
                let mut made = Made::default();
                capture.poll(&|| round.read(), &mut made);
                for frame in &made.0 {
                    if let Some(spool) = &mut cleaned_spool {
                        spool.write(frame)?;
                    }
                }
                differing_rounds += u64::from(!round.compare(&made.0, &mut cleaned, config.rate));
            }
            _ => return Err(worker.bad("not a worker's")),
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
    let (heard, said) = (microphone.counted_periods, loudspeaker.counted_periods);
    Ok(Replayed {
        info,
        seconds: match cleaned.frames {
            0 => heard.seconds().or(said.seconds()).unwrap_or(0.0),
            frames => frames as f64 / 100.0,
        },
        incomplete: ends.into_iter().find_map(|(name, end)| incomplete(name, end)),
        cleaned,
        microphone_periods: heard.periods,
        loudspeaker_periods: said.periods,
        differing_periods: heard.differing + said.differing,
        differing_rounds,
    })
}

/// Returns a text about a journal's end, unless the journal is complete.
fn incomplete(name: &str, end: Option<JournalEnd>) -> Option<String> {
    match end {
        // This journal was not read to its end because another one ended.
        None | Some(JournalEnd::Whole) => None,
        Some(JournalEnd::Full) => Some(format!("{name} lacks its end, for the disk was too slow")),
        Some(JournalEnd::Torn) => Some(format!("{name} was not closed")),
    }
}

fn captured_ring() -> Result<Box<CapturedRing>, Failure> {
    roomy(|| Box::new(CapturedRing::new()))
}

fn played_ring() -> Result<Box<PlayedRing>, Failure> {
    roomy(|| Box::new(PlayedRing::new()))
}

/// Gives the worker the frames that it found in the recorded run. Returns false when there are fewer.
fn hand_over<const SLOTS: usize>(
    waiting: &mut VecDeque<Frame<CAP, SLOTS>>,
    ring: &mut FrameProducer<'_, CAP, SLOTS>,
    frames: u32,
) -> bool {
    (0..frames).all(|_| waiting.pop_front().is_some_and(|frame| ring.push(frame).is_ok()))
}

/// Frames in the order in which the worker delivers them.
#[derive(Default)]
struct Made(Vec<Frame<CAP>>);

impl FrameSink<CAP> for Made {
    fn on_frame(&mut self, frame: &Frame<CAP>) {
        self.0.push(frame.clone());
    }
}

/// Expected inputs and outputs of the worker's next round.
struct Round {
    reads: RefCell<VecDeque<Instant>>,
    last_read: Cell<Instant>,
    /// Whether the round found and read the same as in the recorded run.
    is_whole: bool,
    read_too_often: Cell<bool>,
    expected: VecDeque<Frame<CAP>>,
}

impl Default for Round {
    fn default() -> Self {
        Self {
            reads: RefCell::default(),
            last_read: Cell::new(Instant::ORIGIN),
            is_whole: true,
            read_too_often: Cell::new(false),
            expected: VecDeque::new(),
        }
    }
}

impl Round {
    fn read(&self) -> Instant {
        let Some(now) = self.reads.borrow_mut().pop_front() else {
            self.read_too_often.set(true);
            return self.last_read.get();
        };
        self.last_read.set(now);
        now
    }

    /// Compares the round's outputs and inputs, and begins the next round.
    fn compare(&mut self, made: &[Frame<CAP>], cleaned: &mut Compared, rate: SampleRate) -> bool {
        let place = |frame: &Frame<CAP>| (frame.stamp.position, frame.stamp.lost);
        let mut is_same = made.len() == self.expected.len();
        for (at, then) in self.expected.drain(..).enumerate() {
            let now = made.get(at).map(|frame| (place(frame), frame.samples()));
            cleaned.frame(rate, (place(&then), then.samples()), now);
        }
        is_same &= self.reads.get_mut().is_empty() && !self.read_too_often.get() && self.is_whole;
        self.reads.get_mut().clear();
        self.read_too_often.set(false);
        self.is_whole = true;
        is_same
    }
}
