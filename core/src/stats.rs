//! Both sides: plain counters, each written by one side with load and store, read from anywhere.

use core::sync::atomic::{AtomicU32, Ordering};

/// One counter with one writer. Wraps at 2^32; readers take differences with `wrapping_sub`.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU32);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Only the counter's one writer may call this: without compare-and-swap (Cortex-M0) the load
    /// and the store are two steps. Relaxed, for a counter orders nothing but itself.
    #[inline]
    pub(crate) fn add(&self, amount: u32) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn set(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident => $cells:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub struct $name { $($(#[$doc])* pub $field: u32,)* }

        #[derive(Debug)]
        pub(crate) struct $cells { $(pub(crate) $field: Counter,)* }

        impl $cells {
            pub(crate) const fn new() -> Self {
                Self { $($field: Counter::new(),)* }
            }

            pub(crate) fn read(&self) -> $name {
                $name { $($field: self.$field.get(),)* }
            }
        }
    };
}

counters! {
    /// What the capture interrupt saw.
    IntakeStats => IntakeCounters {
        /// Periods taken in.
        periods,
        /// Frames handed to the worker.
        frames,
        /// Frames dropped because the worker did not drain the capture ring.
        overrun_frames,
        /// Jumps in the device's position, each one xrun.
        gaps,
        /// Sample frames the device lost in those jumps.
        gap_sample_frames,
        /// Samples that were not numbers or out of range and were scrubbed.
        scrubbed_samples,
        /// Samples beyond the last whole sample frame of a period, ignored.
        ragged_samples,
        /// Positions that ran backwards or absurdly far ahead, not believed.
        position_faults,
    }
}

counters! {
    /// What the playback interrupt saw.
    OutletStats => OutletCounters {
        /// Periods written.
        periods,
        /// Frames played.
        frames,
        /// Runs of silence because the worker delivered nothing, each one xrun.
        underruns,
        /// Sample frames of silence in those runs.
        underrun_sample_frames,
        /// Frames of a format that is not the stream's, dropped.
        foreign_frames,
        /// Reference frames dropped because the worker did not drain the reference ring.
        reference_overrun_frames,
        /// Jumps in the device's position, each one xrun.
        gaps,
        /// Sample frames the device skipped in those jumps.
        gap_sample_frames,
        /// Sample frames that were written and never played, as the host reported.
        discarded_sample_frames,
        /// Samples beyond the last whole sample frame of a period, left silent.
        ragged_samples,
        /// Positions that ran backwards or absurdly far ahead, not believed.
        position_faults,
    }
}

counters! {
    /// What the capture worker did.
    CaptureStats => CaptureCounters {
        /// Frames delivered to the sink.
        frames,
        /// Frames of a channel count that is not the terminal's, dropped.
        foreign_frames,
        /// Frames in the capture ring when last polled.
        ring_fill,
        /// Frames in the reference ring when last polled.
        reference_fill,
        /// 10 ms reference frames given to the voice processor, silence included.
        reference_frames,
        /// Of those, frames of silence given because nothing was being played or it was not known in time.
        reference_silence_frames,
        /// Sample frames lost from the reference and replaced by silence.
        reference_lost_sample_frames,
        /// Frames the voice processor failed on; they passed unprocessed.
        voice_errors,
        /// Frames the voice processor took too long for; they passed unprocessed.
        voice_slow_frames,
        /// Frames that passed unprocessed while the voice processor rested or was given up.
        voice_bypassed_frames,
        /// Frames on which a step of the chain failed; they passed that step as they were.
        processor_errors,
        /// Render plus capture latency in microseconds, as told to the voice processor.
        delay_us,
        /// Events dropped because the application did not take them.
        dropped_events,
    }
}

counters! {
    /// What the playback worker did.
    PlaybackStats => PlaybackCounters {
        /// Frames put into the playback ring.
        frames,
        /// Frames in the playback ring when last polled.
        ring_fill,
        /// Track frames of a format that is not the terminal's, dropped.
        foreign_frames,
        /// Frames in which an open track had nothing to play.
        starved_frames,
        /// Frames that came too late and were dropped, as their track asks.
        late_frames,
        /// Samples of the mix that did not fit 16 bits and were clipped.
        clipped_samples,
        /// Samples that the soft limiter bent.
        limited_samples,
        /// Events dropped because the application did not take them.
        dropped_events,
    }
}

/// All counters of one session at about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stats {
    /// The capture interrupt's.
    pub intake: IntakeStats,
    /// The playback interrupt's.
    pub outlet: OutletStats,
    /// The capture worker's.
    pub capture: CaptureStats,
    /// The playback worker's.
    pub playback: PlaybackStats,
}

impl Stats {
    /// Overruns, underruns and gaps on either side.
    #[must_use]
    pub fn xruns(&self) -> u32 {
        self.intake
            .overrun_frames
            .wrapping_add(self.intake.gaps)
            .wrapping_add(self.outlet.underruns)
            .wrapping_add(self.outlet.gaps)
    }
}

#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) intake: IntakeCounters,
    pub(crate) outlet: OutletCounters,
    pub(crate) capture: CaptureCounters,
    pub(crate) playback: PlaybackCounters,
}

impl Counters {
    pub(crate) const fn new() -> Self {
        Self {
            intake: IntakeCounters::new(),
            outlet: OutletCounters::new(),
            capture: CaptureCounters::new(),
            playback: PlaybackCounters::new(),
        }
    }
}

/// Reads a session's counters, from any thread or interrupt, as often as one likes.
#[derive(Clone, Copy, Debug)]
pub struct StatsReader<'a> {
    pub(crate) counters: &'a Counters,
}

impl StatsReader<'_> {
    /// The counters now. Each is exact; together they are of about one moment, for no lock is
    /// taken. Costs some thirty loads.
    #[must_use]
    pub fn read(&self) -> Stats {
        Stats {
            intake: self.counters.intake.read(),
            outlet: self.counters.outlet.read(),
            capture: self.counters.capture.read(),
            playback: self.counters.playback.read(),
        }
    }
}
