//! Both sides: what a stream's callbacks tell control, by single words.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use cpal::ErrorKind;
use handsfree_core::time::Instant;

/// What the callbacks of one stream counted; each number wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallbackStats {
    /// Callbacks so far.
    pub callbacks: u32,
    /// The longest one, in sample frames.
    pub longest_sample_frames: u32,
    /// Callbacks that were longer than the period that was granted; they were handed over in pieces.
    pub longer_than_granted: u32,
    /// Callbacks of a running stream that did not find their half: it was just being taken back, or was gone.
    pub missed: u32,
    /// Callbacks whose timestamps could not be; the last latency that could be was kept.
    pub times_disbelieved: u32,
    /// Overruns or underruns that the audio system reported. PulseAudio's are not reported.
    pub xruns: u32,
    /// The latency last believed, in microseconds.
    pub latency_us: u32,
}

/// The words. Relaxed everywhere but in `trouble`: they order nothing but themselves, and each has one
/// writer.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    pub(crate) callbacks: AtomicU32,
    longest: AtomicU32,
    longer: AtomicU32,
    missed: AtomicU32,
    disbelieved: AtomicU32,
    /// Written by the error callback, of which there may be two threads.
    xruns: AtomicU32,
    latency_us: AtomicU32,
    /// The longest period granted, written by control before the stream runs.
    pub(crate) granted: AtomicU32,
    /// When the last sample written will have been at the converter.
    ends_at_nanos: AtomicI64,
    /// Whether the stream cannot go on.
    trouble: AtomicBool,
    moved: AtomicBool,
    pub(crate) real_time_refused: AtomicBool,
}

fn add(counter: &AtomicU32, amount: u32) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

impl Gauge {
    /// The callback: one was called, and how long it was.
    pub(crate) fn called(&self, sample_frames: u32) {
        add(&self.callbacks, 1);
        if sample_frames > self.longest.load(Ordering::Relaxed) {
            self.longest.store(sample_frames, Ordering::Relaxed);
        }
        if self.is_granted() && sample_frames > self.granted.load(Ordering::Relaxed) {
            add(&self.longer, 1);
        }
    }

    /// The callback: its latency, and whether that was believed.
    pub(crate) fn timed(&self, latency_us: i64, believed: bool) {
        self.latency_us.store(u32::try_from(latency_us).unwrap_or(u32::MAX), Ordering::Relaxed);
        add(&self.disbelieved, u32::from(!believed));
    }

    /// The callback: when the last sample written will have been heard.
    pub(crate) fn ends_at(&self, time: Instant) {
        self.ends_at_nanos.store(time.as_nanos(), Ordering::Relaxed);
    }

    /// Control, once no callback writes any more.
    pub(crate) fn end(&self) -> Instant {
        Instant::from_nanos(self.ends_at_nanos.load(Ordering::Relaxed))
    }

    /// Whether the half is on its way; PulseAudio asks for its first two periods before.
    fn is_granted(&self) -> bool {
        self.granted.load(Ordering::Relaxed) > 0
    }

    /// The callback: the half was not there.
    pub(crate) fn missed(&self) {
        add(&self.missed, u32::from(self.is_granted()));
    }

    /// The error callback, which some hosts call on the audio thread.
    pub(crate) fn failed(&self, kind: ErrorKind) {
        match kind {
            // The stream goes on, elsewhere.
            ErrorKind::DeviceChanged => self.moved.store(true, Ordering::Relaxed),
            ErrorKind::Xrun => _ = self.xruns.fetch_add(1, Ordering::Relaxed),
            ErrorKind::RealtimeDenied => self.real_time_refused.store(true, Ordering::Relaxed),
            // It does not, or cannot be relied upon: after an error of PulseAudio's timing, for one, there
            // are no more times. Release: partner of the Acquire in `is_broken`.
            _ => self.trouble.store(true, Ordering::Release),
        }
    }

    /// Control: whether the stream has to be started anew.
    pub(crate) fn is_broken(&self) -> bool {
        // Acquire: partner of the Release in `failed`.
        self.trouble.load(Ordering::Acquire)
    }

    /// Control: whether the audio system said that it took the stream to another default device.
    pub(crate) fn was_moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> CallbackStats {
        let of = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        CallbackStats {
            callbacks: of(&self.callbacks),
            longest_sample_frames: of(&self.longest),
            longer_than_granted: of(&self.longer),
            missed: of(&self.missed),
            times_disbelieved: of(&self.disbelieved),
            xruns: of(&self.xruns),
            latency_us: of(&self.latency_us),
        }
    }
}
