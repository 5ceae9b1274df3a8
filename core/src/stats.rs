//! Both sides: plain counters, each written by one side with load and store and read from anywhere.

use crate::atomics::{AtomicU32, Ordering};

/// A counter with one writer. Wraps at 2^32; readers take differences with `wrapping_sub`.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU32);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Adds to the counter. Only its one writer may call this: without compare-and-swap (Cortex-M0) the load
    /// and the store are two steps. Relaxed: no other memory depends on a counter.
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
    /// Counters of the capture interrupt.
    IntakeStats => IntakeCounters {
        /// Periods taken from the device.
        periods,
        /// Frames handed to the worker.
        frames,
        /// Frames dropped because the worker did not drain the capture ring.
        overrun_frames,
        /// Jumps in the device's position, each of them an xrun.
        gaps,
        /// Sample frames that the device lost in those jumps.
        gap_sample_frames,
        /// Times at which the device stood still without reporting it, each of them an xrun.
        stalls,
        /// Sample frames that the device did not deliver in those times.
        stalled_sample_frames,
        /// Samples that were scrubbed because they were not numbers or out of range.
        scrubbed_samples,
        /// Samples beyond the last whole sample frame of a period, which were ignored.
        ragged_samples,
        /// Positions that ran backwards or implausibly far ahead; counting restarted there.
        position_faults,
    }
}

counters! {
    /// Counters of the playback interrupt.
    OutletStats => OutletCounters {
        /// Periods written to the device.
        periods,
        /// Frames played.
        frames,
        /// Runs of silence because the worker delivered nothing, each of them an xrun.
        underruns,
        /// Sample frames of silence in those runs.
        underrun_sample_frames,
        /// Frames dropped because their format is not the stream's.
        foreign_frames,
        /// Reference frames dropped because the worker did not drain the reference ring.
        reference_overrun_frames,
        /// Jumps in the device's position, each of them an xrun.
        gaps,
        /// Sample frames that the device skipped in those jumps.
        gap_sample_frames,
        /// Times at which the device stood still without reporting it, each of them an xrun.
        stalls,
        /// Sample frames that the device did not take in those times, so that silence was heard instead.
        stalled_sample_frames,
        /// Sample frames that were written and never played, as the host reported.
        discarded_sample_frames,
        /// Samples beyond the last whole sample frame of a period, which were left silent.
        ragged_samples,
        /// Positions that ran backwards or implausibly far ahead; counting restarted there.
        position_faults,
    }
}

counters! {
    /// Counters of the capture worker.
    CaptureStats => CaptureCounters {
        /// Frames delivered to the sink.
        frames,
        /// Frames dropped because their channel count is not the session's.
        foreign_frames,
        /// Frames in the capture ring when last polled.
        ring_fill,
        /// Frames in the reference ring when last polled.
        reference_fill,
        /// Reference frames of 10 ms given to the voice processor, silence included.
        reference_frames,
        /// Reference frames that were silence because nothing was played or the reference was not known in
        /// time.
        reference_silence_frames,
        /// Sample frames lost from the reference and replaced by silence.
        reference_lost_sample_frames,
        /// Frames on which the voice processor failed; they passed unprocessed.
        voice_errors,
        /// Frames for which the voice processor took too long; they passed unprocessed.
        voice_slow_frames,
        /// Frames that passed unprocessed while the voice processor was in backoff or disabled.
        voice_bypassed_frames,
        /// Frames on which a step of the chain failed; they passed that step unprocessed.
        processor_errors,
        /// Times that the echo was lost: it was removed before, and no longer.
        echo_lost,
        /// Times that the echo was found where the devices' times did not expect it, or was removed again.
        echo_found,
        /// Estimated render plus capture latency, in microseconds.
        delay_us,
        /// Events dropped because the application did not take them in time.
        dropped_events,
    }
}

counters! {
    /// Counters of the playback worker.
    PlaybackStats => PlaybackCounters {
        /// Frames put into the playback ring.
        frames,
        /// Frames in the playback ring when last polled.
        ring_fill,
        /// Track frames dropped because their format is not the session's.
        foreign_frames,
        /// Frames in which an open track had nothing to play.
        starved_frames,
        /// Frames dropped because they came too late, from tracks that ask for it.
        late_frames,
        /// Samples of the mix that were clipped because they did not fit 16 bits.
        clipped_samples,
        /// Samples that the soft limiter reduced.
        limited_samples,
        /// Events dropped because the application did not take them in time.
        dropped_events,
    }
}

/// All counters of one session at about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stats {
    /// Counters of the capture interrupt.
    pub intake: IntakeStats,
    /// Counters of the playback interrupt.
    pub outlet: OutletStats,
    /// Counters of the capture worker.
    pub capture: CaptureStats,
    /// Counters of the playback worker.
    pub playback: PlaybackStats,
}

impl Stats {
    /// Returns the number of xruns: overruns, underruns, gaps and stalls of both directions.
    #[must_use]
    pub fn xruns(&self) -> u32 {
        self.intake
            .overrun_frames
            .wrapping_add(self.intake.gaps)
            .wrapping_add(self.outlet.underruns)
            .wrapping_add(self.outlet.gaps)
            .wrapping_add(self.intake.stalls)
            .wrapping_add(self.outlet.stalls)
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

/// Reader of a session's counters, for any thread or interrupt; it can be copied freely.
#[derive(Clone, Copy, Debug)]
pub struct StatsReader<'a> {
    pub(crate) counters: &'a Counters,
}

impl StatsReader<'_> {
    /// Reads all counters. Each is exact; together they are of about one moment, because no lock is taken.
    /// Costs about thirty loads.
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
