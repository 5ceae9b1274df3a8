//! Application side: the streams of a run from and to other programs: plain samples and recordings to a pipe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration as WallDuration;

use handsfree::background::WriterThread;
use handsfree::failure::Failure;
use handsfree::terminal::{CAP, CleanedFrames, MAX_WAITING, Terminal};
use handsfree_core::{Format, Frame, SampleRate};

use crate::args::RunArgs;
use crate::pcm::endpoint::{ByteSink, Endpoint};
use crate::pcm::format::PcmFormat;
use crate::pcm::input::PcmInput;
use crate::pcm::mic_hub::{MicHub, MicNext, MicReader};
use crate::pcm::output::{OutputForm, PcmOutput, Written};

/// Interval at which the cleaned frames are handed on: half a frame, so that it adds little latency.
const POLL_INTERVAL: WallDuration = WallDuration::from_millis(5);
/// Number of frames that wait for a reader of plain samples: 0.5 s. A live reader does not want older ones.
const LIVE_BLOCKS: usize = 50;
/// Number of frames that wait for a recording, as many as the terminal itself keeps.
const RECORDED_BLOCKS: usize = MAX_WAITING as usize;

/// Returns the oldest cleaned frame that waits for the recording.
type NextFrame = Box<dyn FnMut() -> Option<Frame<CAP>> + Send>;

/// Streams of one run.
#[derive(Debug, Default)]
pub(super) struct RunStreams {
    hub: Arc<MicHub>,
    feed: Option<WriterThread<()>>,
    /// Writer of `--pcm-out`.
    pub(super) pcm_out: Option<PcmOutput>,
    /// Writer of `--record` to a pipe.
    pub(super) recording: Option<PcmOutput>,
    /// Player of `--pcm-in`.
    pub(super) pcm_in: Option<PcmInput>,
    reported_drops: u64,
}

/// Returns the place of `--record` if it is a pipe.
fn recorded_stream(args: &RunArgs) -> Option<Endpoint> {
    let place: Endpoint = args.record.as_ref()?.to_str()?.parse().ok()?;
    place.is_stream().then_some(place)
}

/// Returns whether `--record` names a file.
pub(super) fn is_recorded_to_file(args: &RunArgs) -> bool {
    args.record.is_some() && recorded_stream(args).is_none()
}

/// Returns the place for events: that of `--events`, or stderr if sound is written to stdout.
pub(super) fn event_sink(args: &RunArgs) -> Result<Option<ByteSink>, Failure> {
    let sounds: Vec<Endpoint> = args.pcm_out.iter().cloned().chain(recorded_stream(args)).collect();
    let on_stdout = sounds.iter().filter(|place| place.is_stdout()).count();
    if on_stdout > 1 {
        return Err(Failure::usage("--pcm-out and --record: expected at most one of them on stdout"));
    }
    match &args.events {
        Some(place) if place.is_stdout() && on_stdout > 0 => {
            Err(Failure::usage("--events -: expected another place, because sound is written to stdout"))
        }
        Some(place) if place.is_stdout() => Ok(None),
        Some(place) => place.open_sink(&[]).map(Some),
        None if on_stdout > 0 => Ok(Some(Box::new(std::io::stderr()))),
        None => Ok(None),
    }
}

impl RunStreams {
    /// Opens all streams. Returns them with the frames that a recorder of a file takes.
    pub(super) fn start(
        args: &RunArgs,
        rate: SampleRate,
        terminal: &mut Terminal,
    ) -> Result<(Self, NextFrame), Failure> {
        let format = PcmFormat::new(args.pcm_rate, args.pcm_channels)?;
        let mut streams = Self::default();
        if let Some(place) = &args.pcm_in {
            streams.pcm_in = Some(PcmInput::start(place, format, terminal.tracks(), terminal.clock())?);
        }
        let Some(mut frames) = terminal.take_cleaned() else { return Ok((streams, Box::new(|| None))) };
        let recorded = recorded_stream(args);
        if args.pcm_out.is_none() && recorded.is_none() {
            if args.record.is_some() {
                frames.listen(MAX_WAITING);
            }
            return Ok((streams, Box::new(move || frames.pop())));
        }
        if let Some(place) = &args.pcm_out {
            let form = OutputForm { format, has_header: false, fills_gaps: false };
            let reader = streams.hub.subscribe(LIVE_BLOCKS);
            streams.pcm_out = Some(PcmOutput::start(place, form, rate.hz(), reader)?);
        }
        if let Some(place) = &recorded {
            let format = PcmFormat::new(rate.hz(), 1)?;
            let form = OutputForm { format, has_header: true, fills_gaps: true };
            let reader = streams.hub.subscribe(RECORDED_BLOCKS);
            streams.recording = Some(PcmOutput::start(place, form, rate.hz(), reader)?);
        }
        let next =
            recorder_frames(rate, is_recorded_to_file(args).then(|| streams.hub.subscribe(RECORDED_BLOCKS)));
        frames.listen(MAX_WAITING);
        let hub = Arc::clone(&streams.hub);
        let feed = move |is_stopping: &AtomicBool| {
            feed_hub(&hub, &mut frames, is_stopping);
            Ok(())
        };
        streams.feed = Some(WriterThread::spawn("microphone feed", feed)?);
        Ok((streams, next))
    }

    /// Returns how many sample frames the readers missed since the last call, if any.
    pub(super) fn new_drops(&mut self) -> Option<u64> {
        let drops = [&self.pcm_out, &self.recording]
            .into_iter()
            .flatten()
            .map(PcmOutput::dropped_sample_frames)
            .sum::<u64>();
        let new = drops - std::mem::replace(&mut self.reported_drops, drops);
        (new > 0).then_some(new)
    }

    /// Returns whether a stream to another program has ended.
    pub(super) fn has_output_ended(&self) -> bool {
        [&self.pcm_out, &self.recording].into_iter().flatten().any(PcmOutput::has_ended)
    }

    /// Returns whether everything of `--pcm-in` was heard; true without it.
    pub(super) fn has_input_ended(&self) -> bool {
        self.pcm_in.as_ref().is_none_or(PcmInput::has_ended)
    }

    /// Ends the stream of frames, so that recorders and writers find its end.
    pub(super) fn end_frames(&mut self) {
        if let Some(feed) = self.feed.take() {
            // Its thread cannot fail.
            _ = feed.finish();
        }
        self.hub.close();
    }

    /// Waits until everything is written. Returns what was written to `--pcm-out` and to `--record`.
    pub(super) fn finish(&self) -> [Option<Result<Written, Failure>>; 2] {
        [&self.pcm_out, &self.recording].map(|output| output.as_ref().map(PcmOutput::finish))
    }
}

fn feed_hub(hub: &MicHub, frames: &mut CleanedFrames, is_stopping: &AtomicBool) {
    loop {
        let is_last_round = is_stopping.load(Ordering::Relaxed);
        while let Some(frame) = frames.pop() {
            hub.publish(frame.samples(), frame.stamp.lost);
        }
        if is_last_round {
            return;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns a function that makes frames of the blocks of a hub for a recorder.
fn recorder_frames(rate: SampleRate, reader: Option<MicReader>) -> NextFrame {
    let mut end = None;
    Box::new(move || {
        let MicNext::Block(block) = reader.as_ref()?.next(WallDuration::ZERO) else { return None };
        let mut frame = Frame::silence(Format::with_rate(rate, 1).ok()?).ok()?;
        for (to, &sample) in frame.samples_mut().iter_mut().zip(&block.samples) {
            *to = sample;
        }
        let missing = block.position.saturating_sub(end.unwrap_or(block.position));
        frame.stamp.lost = u32::try_from(missing).unwrap_or(u32::MAX);
        end = Some(block.end());
        Some(frame)
    })
}
