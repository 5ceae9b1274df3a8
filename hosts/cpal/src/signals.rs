//! Interrupt side and control side: the counters and flags, each a single atomic, that a stream's callbacks set
//! and control reads.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use cpal::ErrorKind;
use handsfree_core::time::Instant;

/// Counters of one stream's callbacks. Each count wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallbackStats {
    /// Number of callbacks.
    pub callbacks: u32,
    /// Length of the longest callback, in sample frames.
    pub longest_sample_frames: u32,
    /// Number of callbacks that were longer than the granted period; they were processed in pieces.
    pub longer_than_granted: u32,
    /// Number of callbacks of a running stream that did not find their half, because control was taking it back
    /// or had taken it.
    pub missed: u32,
    /// Number of callbacks with impossible timestamps; the last plausible latency was used for them.
    pub distrusted_timestamps: u32,
    /// Number of overruns or underruns that the audio system reported. cpal reports none of PulseAudio, but
    /// the interrupt halves find its stalls by their times.
    pub xruns: u32,
    /// Last latency that was plausible, in microseconds.
    pub latency_us: u32,
}

/// State shared by one stream's callbacks and control. All accesses are Relaxed except those to `broken`: the
/// values do not order any other memory. Each has one writer, except `xruns`.
#[derive(Debug, Default)]
pub(crate) struct CallbackSignals {
    pub(crate) callbacks: AtomicU32,
    longest: AtomicU32,
    longer: AtomicU32,
    missed: AtomicU32,
    distrusted_timestamps: AtomicU32,
    /// Written by the error callback, which two threads may call.
    xruns: AtomicU32,
    latency_us: AtomicU32,
    /// Longest granted period in sample frames. Control writes it before the stream runs.
    pub(crate) granted_sample_frames: AtomicU32,
    /// Time at which the last sample written will be at the converter.
    playback_end_nanos: AtomicI64,
    /// Whether the stream cannot continue.
    broken: AtomicBool,
    moved: AtomicBool,
    pub(crate) real_time_refused: AtomicBool,
}

fn add(counter: &AtomicU32, amount: u32) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

impl CallbackSignals {
    /// Counts a callback and its length. Called by the data callback.
    pub(crate) fn count_callback(&self, sample_frames: u32) {
        add(&self.callbacks, 1);
        if sample_frames > self.longest.load(Ordering::Relaxed) {
            self.longest.store(sample_frames, Ordering::Relaxed);
        }
        if self.is_granted() && sample_frames > self.granted_sample_frames.load(Ordering::Relaxed) {
            add(&self.longer, 1);
        }
    }

    /// Records the latency of a callback and whether its timestamps were trusted. Called by the data callback.
    pub(crate) fn record_latency(&self, latency_us: i64, is_trusted: bool) {
        self.latency_us.store(u32::try_from(latency_us).unwrap_or(u32::MAX), Ordering::Relaxed);
        add(&self.distrusted_timestamps, u32::from(!is_trusted));
    }

    /// Records the time at which the last sample written will have been played. Called by the data callback.
    pub(crate) fn record_playback_end(&self, time: Instant) {
        self.playback_end_nanos.store(time.as_nanos(), Ordering::Relaxed);
    }

    /// Returns the time at which the last sample written will have been played. Called by control once the
    /// callbacks no longer have the half.
    pub(crate) fn playback_end(&self) -> Instant {
        Instant::from_nanos(self.playback_end_nanos.load(Ordering::Relaxed))
    }

    /// Returns whether the stream is open. PulseAudio calls back for its first two periods before that.
    fn is_granted(&self) -> bool {
        self.granted_sample_frames.load(Ordering::Relaxed) > 0
    }

    /// Counts a callback that did not find its half. Called by the data callback.
    pub(crate) fn count_missed(&self) {
        add(&self.missed, u32::from(self.is_granted()));
    }

    /// Records an error. Called by the error callback, which some hosts call on the audio thread.
    pub(crate) fn record_error(&self, kind: ErrorKind) {
        match kind {
            // The stream continues on another device.
            ErrorKind::DeviceChanged => self.moved.store(true, Ordering::Relaxed),
            ErrorKind::Xrun => _ = self.xruns.fetch_add(1, Ordering::Relaxed),
            ErrorKind::RealtimeDenied => self.real_time_refused.store(true, Ordering::Relaxed),
            // The stream has ended or can no longer be relied upon; after an error of PulseAudio's timing, for
            // example, it gets no more timestamps. Release: partner of the Acquire in `is_broken`.
            _ => self.broken.store(true, Ordering::Release),
        }
    }

    /// Returns whether the stream has to be reopened. Called by control.
    pub(crate) fn is_broken(&self) -> bool {
        // Acquire: partner of the Release in `record_error`.
        self.broken.load(Ordering::Acquire)
    }

    /// Returns whether the audio system reported that it moved the stream to another default device. Called by
    /// control.
    pub(crate) fn was_moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> CallbackStats {
        let value = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        CallbackStats {
            callbacks: value(&self.callbacks),
            longest_sample_frames: value(&self.longest),
            longer_than_granted: value(&self.longer),
            missed: value(&self.missed),
            distrusted_timestamps: value(&self.distrusted_timestamps),
            xruns: value(&self.xruns),
            latency_us: value(&self.latency_us),
        }
    }
}
