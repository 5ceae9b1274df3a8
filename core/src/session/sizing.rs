//! Control side: a session's sizes, derived from what an application knows in hertz and milliseconds.

use super::SessionFormat;
use crate::format::SampleRate;
use crate::limits::{FRAMES_PER_SECOND, MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ};

/// Length of a frame in milliseconds.
const FRAME_MS: u32 = 1_000 / FRAMES_PER_SECOND;

/// Longest device period plus worker lateness: the playback ring's target fill is stored in 8 bits.
const MAX_BRIDGED_MS: u32 = 2_500;

/// Longest track queue and longest echo history: beyond a minute the value is a mistake in the unit.
const MAX_KEPT_MS: u32 = 60_000;

/// The seven sizes of a [`Session`](crate::Session) in an application's units.
///
/// The macro [`session!`](crate::session!) makes a session's type of it. Depths follow from the fields as
/// below; a ring or queue of depth N holds N - 1 frames of 10 ms, and every division rounds up.
///
/// | parameter of `Session` | value |
/// |---|---|
/// | `CAP` | the larger of `rate_hz` and `device_rate_hz`, divided by 100, times the larger channel count |
/// | `SLOTS` | `tracks` |
/// | `CAPTURE`, `PLAYBACK` | 1 + `period_ms` / 10 + `worker_late_ms` / 10, where either quotient counts as at least 1 |
/// | `REFERENCE` | `PLAYBACK` + 2, for silence that begins within a frame and the report of a stopped device |
/// | `QUEUE` | 1 + `queue_ms` / 10 |
/// | `HISTORY` | `rate_hz` times `echo_history_ms` / 1000 times `far_channels`, at least `CAP` |
///
/// ```
/// use handsfree_core::SessionSizing;
///
/// const SIZING: SessionSizing = SessionSizing { worker_late_ms: 40, ..SessionSizing::new(48_000) };
/// assert_eq!(SIZING.cap(), 480);
/// assert_eq!(SIZING.capture_depth(), 6, "50 ms are 5 frames, and a ring of 6 holds 5");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SessionSizing {
    /// Sample rate of the session, in hertz.
    pub rate_hz: u32,
    /// Channels of the microphone signal, 1 to 8. Default: 1.
    pub near_channels: u32,
    /// Channels of the loudspeaker signal, 1 to 8. Default: 1.
    pub far_channels: u32,
    /// Number of tracks that can be open at the same time. Default: 2.
    pub tracks: u32,
    /// Audio that one track's queue holds, in milliseconds. Default: 200.
    pub queue_ms: u32,
    /// Longest lateness of the worker, in milliseconds, at which no captured frame is lost. Default: 20.
    ///
    /// Playback tolerates the same lateness only if
    /// [`worker_slack_sample_frames`](crate::playback::OutletConfig::worker_slack_sample_frames) asks for it,
    /// because that slack adds as much latency.
    pub worker_late_ms: u32,
    /// Length of the echo history, in milliseconds: the longest time from the playback interrupt to the
    /// capture interrupt, through both devices and the air, across which echo is found. Default: 250.
    pub echo_history_ms: u32,
    /// Longest period of either device, in milliseconds. Default: 10.
    pub period_ms: u32,
    /// Highest sample rate of a device, in hertz, if it is above `rate_hz`. Default: `rate_hz`.
    pub device_rate_hz: u32,
}

impl SessionSizing {
    /// Returns the sizing of a mono session with the default of each field.
    #[must_use]
    pub const fn new(rate_hz: u32) -> Self {
        Self {
            rate_hz,
            near_channels: 1,
            far_channels: 1,
            tracks: 2,
            queue_ms: 200,
            worker_late_ms: 20,
            echo_history_ms: 250,
            period_ms: FRAME_MS,
            device_rate_hz: rate_hz,
        }
    }

    /// Returns the sizing unchanged.
    ///
    /// # Panics
    /// Names the first field that is out of range. In a constant, as in [`session!`](crate::session!), the
    /// program does not compile then.
    #[must_use]
    pub const fn checked(self) -> Self {
        assert!(is_rate(self.rate_hz), "rate_hz: expected a multiple of 100 from 8000 to 192000 Hz");
        assert!(
            is_rate(self.device_rate_hz),
            "device_rate_hz: expected a multiple of 100 from 8000 to 192000 Hz"
        );
        assert!(is_channels(self.near_channels), "near_channels: expected 1 to 8 channels");
        assert!(is_channels(self.far_channels), "far_channels: expected 1 to 8 channels");
        assert!(self.tracks > 0, "tracks: expected at least 1 track");
        assert!(self.queue_ms > 0 && self.queue_ms <= MAX_KEPT_MS, "queue_ms: expected 1 to 60000 ms");
        assert!(self.period_ms > 0, "period_ms: expected at least 1 ms");
        assert!(
            self.period_ms.saturating_add(self.worker_late_ms) <= MAX_BRIDGED_MS,
            "period_ms plus worker_late_ms: expected at most 2500 ms"
        );
        assert!(
            self.echo_history_ms >= FRAME_MS && self.echo_history_ms <= MAX_KEPT_MS,
            "echo_history_ms: expected 10 to 60000 ms"
        );
        self
    }

    /// Returns the format of the session.
    ///
    /// # Panics
    /// Like [`checked`](Self::checked), for a rate that is out of range.
    #[must_use]
    pub const fn format(&self) -> SessionFormat {
        let Ok(rate) = SampleRate::new(self.rate_hz) else {
            panic!("rate_hz: expected a multiple of 100 from 8000 to 192000 Hz")
        };
        SessionFormat { rate, near_channels: self.near_channels, far_channels: self.far_channels }
    }

    /// Returns the capacity of a frame in samples, all channels: `CAP`.
    #[must_use]
    pub const fn cap(&self) -> usize {
        let rate_hz = max(self.rate_hz, self.device_rate_hz);
        (rate_hz / FRAMES_PER_SECOND * max(self.near_channels, self.far_channels)) as usize
    }

    /// Returns the number of track slots: `SLOTS`.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.tracks as usize
    }

    /// Returns the depth of the capture ring: `CAPTURE`.
    #[must_use]
    pub const fn capture_depth(&self) -> usize {
        1 + max(1, frames(self.period_ms)) as usize + max(1, frames(self.worker_late_ms)) as usize
    }

    /// Returns the depth of the playback ring: `PLAYBACK`.
    #[must_use]
    pub const fn playback_depth(&self) -> usize {
        self.capture_depth()
    }

    /// Returns the depth of the reference ring: `REFERENCE`.
    #[must_use]
    pub const fn reference_depth(&self) -> usize {
        self.playback_depth() + 2
    }

    /// Returns the depth of one track's queue: `QUEUE`.
    #[must_use]
    pub const fn queue_depth(&self) -> usize {
        1 + frames(self.queue_ms) as usize
    }

    /// Returns the length of the echo history in samples, all channels: `HISTORY`.
    #[must_use]
    pub const fn history(&self) -> usize {
        let sample_frames = (self.rate_hz as u64 * self.echo_history_ms as u64).div_ceil(1_000);
        let samples = sample_frames as usize * self.far_channels as usize;
        if samples > self.cap() { samples } else { self.cap() }
    }
}

const fn frames(ms: u32) -> u32 {
    ms.div_ceil(FRAME_MS)
}

const fn max(a: u32, b: u32) -> u32 {
    if a > b { a } else { b }
}

const fn is_rate(rate_hz: u32) -> bool {
    rate_hz >= MIN_RATE_HZ && rate_hz <= MAX_RATE_HZ && rate_hz.is_multiple_of(FRAMES_PER_SECOND)
}

const fn is_channels(channels: u32) -> bool {
    channels > 0 && channels <= MAX_CHANNELS as u32
}

/// Defines the type of a [`Session`](crate::Session) from an application's units, and on request its format
/// and the static that holds it.
///
/// The type's braces hold fields of [`SessionSizing`](crate::SessionSizing), which documents their defaults
/// and how the sizes follow from them; `rate_hz` comes first and is the only one that must be there. A value
/// out of range does not compile; the compiler's message names the field and its range.
/// [`Session::BYTES`](crate::Session::BYTES) is the size of the result.
///
/// ```
/// handsfree_core::session! {
///     /// Memory of the session.
///     type Memory = Session { rate_hz: 16_000, tracks: 3, worker_late_ms: 40 };
///     const FORMAT: SessionFormat;
/// }
///
/// assert_eq!(FORMAT.rate.hz(), 16_000);
/// assert!(Memory::BYTES < 64 * 1_024);
/// # use handsfree_core::{ConfigError, capture::Bypass};
/// # use embassy_sync::blocking_mutex::raw::NoopRawMutex;
/// let mut session = Box::new(Memory::new());
/// let halves = session.split::<NoopRawMutex, _, _>(FORMAT, Bypass, ())?;
/// assert_eq!(halves.tracks.free(), 3);
/// # Ok::<(), ConfigError>(())
/// ```
///
/// A static is named with any cell that has a constant `new`: `ConstStaticCell` of the crate `static_cell` on
/// a microcontroller, a `Mutex` of the standard library on a host. It is all zero bytes.
///
/// ```
/// use std::sync::Mutex;
///
/// handsfree_core::session! {
///     pub type Memory = Session {
///         rate_hz: 48_000,
///         near_channels: 1,
///         far_channels: 2,
///         tracks: 4,
///         queue_ms: 1_000,
///         worker_late_ms: 100,
///         echo_history_ms: 1_000,
///     };
///     pub const FORMAT: SessionFormat;
///     pub static SESSION: Mutex<Memory>;
/// }
/// assert_eq!(FORMAT.far_channels, 2);
/// assert!(SESSION.lock().is_ok());
/// ```
///
/// ```compile_fail
/// handsfree_core::session! {
///     type Memory = Session { rate_hz: 44_123 };
/// }
/// ```
#[macro_export]
macro_rules! session {
    (
        $(#[$meta:meta])*
        $visibility:vis type $memory:ident = Session {
            rate_hz: $rate_hz:expr $(, $field:ident: $value:expr)* $(,)?
        };
        $($items:tt)*
    ) => {
        $(#[$meta])*
        $visibility type $memory = $crate::Session<
            { $crate::session!(@sizing $rate_hz $(, $field: $value)*).cap() },
            { $crate::session!(@sizing $rate_hz $(, $field: $value)*).slots() },
            { $crate::session!(@sizing $rate_hz $(, $field: $value)*).capture_depth() },
            { $crate::session!(@sizing $rate_hz $(, $field: $value)*).playback_depth() },
            { $crate::session!(@sizing $rate_hz $(, $field: $value)*).reference_depth() },
            { $crate::session!(@sizing $rate_hz $(, $field: $value)*).queue_depth() },
            { $crate::session!(@sizing $rate_hz $(, $field: $value)*).history() },
        >;
        // Checked even where the type is not used.
        const _: $crate::SessionSizing = $crate::session!(@sizing $rate_hz $(, $field: $value)*);
        $crate::session!(@items $memory, $crate::session!(@sizing $rate_hz $(, $field: $value)*); $($items)*);
    };
    (@sizing $rate_hz:expr $(, $field:ident: $value:expr)*) => {{
        #[allow(clippy::needless_update)]
        const HANDSFREE_SESSION_SIZING: $crate::SessionSizing =
            $crate::SessionSizing { $($field: $value,)* ..$crate::SessionSizing::new($rate_hz) }.checked();
        HANDSFREE_SESSION_SIZING
    }};
    (@items $memory:ident, $sizing:expr;) => {};
    (
        @items $memory:ident, $sizing:expr;
        $(#[$meta:meta])* $visibility:vis const $name:ident: SessionFormat;
        $($items:tt)*
    ) => {
        $(#[$meta])*
        $visibility const $name: $crate::SessionFormat = $sizing.format();
        $crate::session!(@items $memory, $sizing; $($items)*);
    };
    (
        @items $memory:ident, $sizing:expr;
        $(#[$meta:meta])* $visibility:vis static $name:ident: $($cell:ident)::+ <$held:ty>;
        $($items:tt)*
    ) => {
        $(#[$meta])*
        $visibility static $name: $($cell)::+<$held> = $($cell)::+::new(<$held>::new());
        $crate::session!(@items $memory, $sizing; $($items)*);
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The depths in the order of `Session`'s parameters.
    fn depths(sizing: SessionSizing) -> [usize; 7] {
        [
            sizing.cap(),
            sizing.slots(),
            sizing.capture_depth(),
            sizing.playback_depth(),
            sizing.reference_depth(),
            sizing.queue_depth(),
            sizing.history(),
        ]
    }

    #[test]
    fn depths_equal_those_computed_by_hand() {
        let mono = SessionSizing::new(16_000).checked();
        assert_eq!(depths(mono), [160, 2, 4, 4, 6, 21, 4_000]);
        let prompt = SessionSizing { worker_late_ms: 0, queue_ms: 1, ..mono }.checked();
        assert_eq!(depths(prompt), [160, 2, 3, 3, 5, 2, 4_000]);
        let host = SessionSizing {
            far_channels: 2,
            tracks: 4,
            queue_ms: 1_000,
            worker_late_ms: 605,
            echo_history_ms: 3_000,
            ..SessionSizing::new(48_000)
        };
        assert_eq!(depths(host.checked()), [960, 4, 63, 63, 65, 101, 288_000]);
        let slow_device = SessionSizing { period_ms: 25, worker_late_ms: 15, ..mono };
        assert_eq!(depths(slow_device.checked()), [160, 2, 6, 6, 8, 21, 4_000]);
        let fast_device = SessionSizing { device_rate_hz: 48_000, echo_history_ms: 15, ..mono };
        assert_eq!(depths(fast_device.checked()), [480, 2, 4, 4, 6, 21, 480]);
        let odd_rate = SessionSizing { echo_history_ms: 33, ..SessionSizing::new(22_100) };
        assert_eq!(depths(odd_rate.checked()), [221, 2, 4, 4, 6, 21, 730]);
    }

    crate::session! {
        type Small = Session { rate_hz: 8_000, tracks: 1, queue_ms: 50, echo_history_ms: 100 };
        const SMALL: SessionFormat;
        static HELD: std::sync::Mutex<Small>;
    }

    #[test]
    fn the_macro_makes_the_type_with_the_derived_sizes() {
        let by_hand = crate::Session::<80, 1, 4, 4, 6, 6, 800>::new();
        let held: &Small = &HELD.lock().unwrap();
        assert_eq!(size_of_val(held), size_of_val(&by_hand));
        assert_eq!(Small::BYTES, size_of::<Small>());
        assert_eq!((SMALL.rate.hz(), SMALL.near_channels, SMALL.far_channels), (8_000, 1, 1));
    }

    #[test]
    #[should_panic = "echo_history_ms: expected 10 to 60000 ms"]
    fn a_value_out_of_range_is_named() {
        let _ = SessionSizing { echo_history_ms: 5, ..SessionSizing::new(8_000) }.checked();
    }

    #[test]
    fn the_longest_bridged_time_fits_the_playback_target() {
        let longest = SessionSizing { period_ms: 5, worker_late_ms: 2_495, ..SessionSizing::new(8_000) };
        assert!(longest.checked().playback_depth() <= 256);
    }

    #[test]
    fn every_sizing_bridges_its_longest_period() {
        for period_ms in 1..=100 {
            for worker_late_ms in 0..=100 {
                let sizing =
                    SessionSizing { period_ms, worker_late_ms, ..SessionSizing::new(8_000) }.checked();
                let held_ms = (sizing.capture_depth() as u32 - 1) * FRAME_MS;
                assert!(held_ms >= period_ms + worker_late_ms);
                assert!(held_ms - FRAME_MS >= period_ms, "as `configure` demands");
            }
        }
    }
}
