//! Interrupt side: the callbacks that cpal calls. A callback borrows its half from the slot without waiting,
//! determines the position and time of its samples, and wakes the worker when a frame is complete. It waits for
//! no lock and neither allocates nor frees memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use handsfree_core::audio_io::Direction;
use handsfree_core::capture::Intake;
use handsfree_core::playback::Outlet;
use handsfree_core::time::{Duration, Instant};
use handsfree_core::{DeviceSample, PeriodTime, SampleRate};
use handsfree_host::clock;
use handsfree_host::worker::Wake;

use crate::format::{self, CapturedSamples, PieceSink, PieceSource, SamplesToPlay};
use crate::signals::CallbackSignals;
use crate::slot::HalfSlot;
use crate::timing::{CallbackTiming, CpalTimestamps};

/// State of a stream's callback.
pub(crate) struct StreamCallback<T> {
    slot: Arc<HalfSlot<T>>,
    signals: Arc<CallbackSignals>,
    wake: Wake,
    timing: CallbackTiming,
    rate: SampleRate,
    channels: usize,
    /// Stream position of the next sample frame.
    position: u64,
    /// Real-time priority that the first callback requests for its thread.
    priority: Option<u8>,
}

/// Settings of a stream's callback.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallbackConfig {
    pub(crate) direction: Direction,
    pub(crate) rate: SampleRate,
    pub(crate) channels: usize,
    /// Latency to assume until one is measured.
    pub(crate) expected_latency: Duration,
    pub(crate) priority: Option<u8>,
}

impl<T> StreamCallback<T> {
    pub(crate) fn new(
        slot: Arc<HalfSlot<T>>,
        signals: Arc<CallbackSignals>,
        wake: Wake,
        config: CallbackConfig,
    ) -> Self {
        Self {
            slot,
            signals,
            wake,
            timing: CallbackTiming::new(config.direction, config.expected_latency),
            rate: config.rate,
            channels: config.channels.max(1),
            position: 0,
            priority: config.priority,
        }
    }

    /// Begins a callback of `samples` samples. Returns the cursor of its first sample and the longest allowed
    /// piece, in sample frames.
    fn begin(&mut self, samples: usize, timestamps: CpalTimestamps) -> (PeriodCursor, usize) {
        let called = clock::now();
        if let Some(priority) = self.priority.take() {
            self.request_realtime(priority);
        }
        let sample_frames = samples / self.channels;
        self.signals.count_callback(u32::try_from(sample_frames).unwrap_or(u32::MAX));
        let period = Duration::of_sample_frames(sample_frames as u64, self.rate);
        let converter = self.timing.converter_time(timestamps, called, period);
        self.signals.record_latency(converter.latency.as_micros(), converter.is_trusted);
        let position = self.position;
        // The position advances even without a half: samples that no half takes are a gap.
        self.position += sample_frames as u64;
        let cursor = PeriodCursor {
            position,
            called,
            begin: converter.time,
            done_sample_frames: 0,
            rate: self.rate,
            channels: self.channels,
            frames: 0,
        };
        (cursor, self.signals.granted_sample_frames.load(Ordering::Relaxed) as usize)
    }

    /// Requests real-time scheduling for the calling thread. The audio system owns that thread, so the request
    /// is made in the first callback.
    #[cfg(target_os = "linux")]
    fn request_realtime(&self, priority: u8) {
        if handsfree_host::realtime::schedule_fifo(priority).is_err() {
            self.signals.real_time_refused.store(true, Ordering::Relaxed);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn request_realtime(&self, _: u8) {}

    /// Ends a callback that completed `frames` frames; `None` if it did not find its half.
    fn end(&self, frames: Option<u32>) {
        match frames {
            Some(0) => {}
            Some(_) => self.wake.wake(),
            None => self.signals.count_missed(),
        }
    }
}

/// Position within a callback's samples while they are processed in pieces.
#[derive(Clone, Copy)]
struct PeriodCursor {
    /// Stream position of the callback's first sample frame.
    position: u64,
    called: Instant,
    /// Time at which the callback's first sample was or will be at the converter.
    begin: Instant,
    done_sample_frames: u64,
    rate: SampleRate,
    channels: usize,
    /// Number of frames that the pieces completed.
    frames: u32,
}

impl PeriodCursor {
    /// Returns the time of the next piece and moves past its `samples` samples.
    fn advance(&mut self, samples: usize) -> PeriodTime {
        let offset = Duration::of_sample_frames(self.done_sample_frames, self.rate);
        let time = PeriodTime {
            position: self.position + self.done_sample_frames,
            converter: self.begin + offset,
            called: self.called,
        };
        self.done_sample_frames += (samples / self.channels) as u64;
        time
    }
}

struct IntakePieces<'h, const CAP: usize>(&'h mut Intake<'static, CAP>, PeriodCursor);

impl<const CAP: usize> PieceSink for IntakePieces<'_, CAP> {
    fn take<S: DeviceSample>(&mut self, samples: &[S]) {
        let time = self.1.advance(samples.len());
        self.1.frames += self.0.on_period(samples, time);
    }
}

struct OutletPieces<'h, const CAP: usize, const SLOTS: usize>(
    &'h mut Outlet<'static, CAP, SLOTS>,
    PeriodCursor,
);

impl<const CAP: usize, const SLOTS: usize> PieceSource for OutletPieces<'_, CAP, SLOTS> {
    fn fill<S: DeviceSample>(&mut self, samples: &mut [S]) {
        let time = self.1.advance(samples.len());
        self.1.frames += self.0.on_period(samples, time);
    }
}

struct SilentPieces;

impl PieceSource for SilentPieces {
    fn fill<S: DeviceSample>(&mut self, samples: &mut [S]) {
        samples.fill(S::SILENCE);
    }
}

impl<const CAP: usize> StreamCallback<Intake<'static, CAP>> {
    /// Handles samples from the microphone.
    pub(crate) fn on_input(&mut self, samples: &CapturedSamples<'_>, timestamps: CpalTimestamps) {
        let (cursor, longest) = self.begin(samples.len(), timestamps);
        let channels = self.channels;
        let frames = self.slot.try_with(|intake| {
            let mut sink = IntakePieces(intake, cursor);
            format::read_pieces(samples, channels, longest, &mut sink);
            sink.1.frames
        });
        self.end(frames);
    }
}

impl<const CAP: usize, const SLOTS: usize> StreamCallback<Outlet<'static, CAP, SLOTS>> {
    /// Handles a request for samples for the loudspeaker.
    pub(crate) fn on_output(&mut self, samples: &mut SamplesToPlay<'_>, timestamps: CpalTimestamps) {
        let (cursor, longest) = self.begin(samples.len(), timestamps);
        let channels = self.channels;
        let frames = self.slot.try_with(|outlet| {
            let mut source = OutletPieces(outlet, cursor);
            format::write_pieces(samples, channels, longest, &mut source);
            source.1.frames
        });
        if frames.is_some() {
            let length = Duration::of_sample_frames(self.position - cursor.position, self.rate);
            self.signals.record_playback_end(cursor.begin + length);
        } else {
            // Some hosts hand over their memory with its old content.
            format::write_pieces(samples, channels, longest, &mut SilentPieces);
        }
        self.end(frames);
    }
}
