//! Control side: a canceller's sizes, derived from rate and tail.

use crate::limits::FRAMES_PER_SECOND;

/// Length of a partition in milliseconds: a frame.
const PARTITION_MS: u32 = 1_000 / FRAMES_PER_SECOND;
/// Shortest tail in milliseconds.
const MIN_TAIL_MS: u32 = 32;
/// Longest tail in milliseconds.
const MAX_TAIL_MS: u32 = 512;
/// Length of the shadow filter in partitions: the direct sound and the early reflections, which move when
/// something in the room moves. They also show a loudspeaker's curve.
const SHADOW_PARTITIONS: usize = 7;
/// Largest number of loudspeaker channels.
pub(super) const MAX_LOUDSPEAKERS: usize = 2;

/// Sizes of an [`EchoCanceller`](super::EchoCanceller). The macro
/// [`echo_canceller!`](crate::echo_canceller!) makes the canceller's type of it.
///
/// ```
/// use handsfree_core::canceller::CancellerSizing;
///
/// const SIZING: CancellerSizing = CancellerSizing { tail_ms: 64, ..CancellerSizing::new(16_000) };
/// assert_eq!((SIZING.hop(), SIZING.partitions()), (160, 7));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CancellerSizing {
    /// Sample rate in hertz: 8000, 16000, 32000 or 48000.
    pub rate_hz: u32,
    /// Length of the echo that is cancelled, in milliseconds: 32 to 512. Default: 128.
    pub tail_ms: u32,
    /// Loudspeaker channels that are played independently: 1 or 2. Default: 1.
    pub loudspeakers: usize,
    /// Whether is learned what a loudspeaker adds to a linear echo, with one loudspeaker channel: the curve of one that
    /// distorts, and the power of its sound in bands. It takes 36 bytes for each sample of the shadow filter and 104 for each
    /// partition (42 KiB at 16 kHz), and a sixth more time. Default: `false`.
    pub loudspeaker_model: bool,
}

impl CancellerSizing {
    /// Returns the sizing of a mono canceller of 128 ms.
    #[must_use]
    pub const fn new(rate_hz: u32) -> Self {
        Self { rate_hz, tail_ms: 128, loudspeakers: 1, loudspeaker_model: false }
    }

    /// Returns the sizing unchanged.
    ///
    /// # Panics
    /// Names the first field that is out of range. In a constant, as in
    /// [`echo_canceller!`](crate::echo_canceller!), the program does not compile then.
    #[must_use]
    pub const fn checked(self) -> Self {
        assert!(
            matches!(self.rate_hz, 8_000 | 16_000 | 32_000 | 48_000),
            "rate_hz: expected 8000, 16000, 32000 or 48000 Hz"
        );
        assert!(self.tail_ms >= MIN_TAIL_MS && self.tail_ms <= MAX_TAIL_MS, "tail_ms: expected 32 to 512 ms");
        assert!(
            self.loudspeakers > 0 && self.loudspeakers <= MAX_LOUDSPEAKERS,
            "loudspeakers: expected 1 or 2 channels"
        );
        assert!(
            !self.loudspeaker_model || self.loudspeakers == 1,
            "loudspeaker_model: expected one loudspeaker channel"
        );
        self
    }

    /// Returns the number of samples in a frame of 10 ms: `HOP`.
    #[must_use]
    pub const fn hop(&self) -> usize {
        (self.rate_hz / FRAMES_PER_SECOND) as usize
    }

    /// Returns the number of bins of a spectrum: `BINS`.
    #[must_use]
    pub const fn bins(&self) -> usize {
        self.hop() + 1
    }

    /// Returns the number of partitions of the main filter: `PARTITIONS`, each 10 ms long.
    #[must_use]
    pub const fn partitions(&self) -> usize {
        self.tail_ms.div_ceil(PARTITION_MS) as usize
    }

    /// Returns the number of partitions of the shadow filter: `SHADOW`.
    #[must_use]
    pub const fn shadow_partitions(&self) -> usize {
        let partitions = self.partitions();
        if partitions < SHADOW_PARTITIONS { partitions } else { SHADOW_PARTITIONS }
    }

    /// Returns the number of loudspeaker models that are learned: `MODELS`.
    #[must_use]
    pub const fn loudspeaker_models(&self) -> usize {
        self.loudspeaker_model as usize
    }
}

/// Defines the type of an [`EchoCanceller`](crate::canceller::EchoCanceller) from rate and tail.
///
/// The braces hold fields of [`CancellerSizing`](crate::canceller::CancellerSizing); `rate_hz` comes first and
/// is the only one that must be there. The storage is [`FullStorage`](crate::canceller::FullStorage) or
/// [`LeanStorage`](crate::canceller::LeanStorage). A value out of range does not compile.
///
/// ```
/// use handsfree_core::canceller::LeanStorage;
///
/// handsfree_core::echo_canceller! {
///     /// Canceller of a speakerphone.
///     pub type Canceller = EchoCanceller<LeanStorage> { rate_hz: 16_000, tail_ms: 128 };
/// }
///
/// const { assert!(size_of::<Canceller>() <= 64 * 1_024) };
/// static CANCELLER: std::sync::Mutex<Canceller> = std::sync::Mutex::new(Canceller::new());
/// # let _ = &CANCELLER;
/// ```
#[macro_export]
macro_rules! echo_canceller {
    ($(#[$meta:meta])* $vis:vis type $name:ident = EchoCanceller<$storage:ty> {
        rate_hz: $rate_hz:expr $(, $field:ident: $value:expr)* $(,)?
    };) => {
        $(#[$meta])*
        $vis type $name = $crate::canceller::EchoCanceller<
            { $crate::echo_canceller!(@sizing $rate_hz $(, $field: $value)*).hop() },
            { $crate::echo_canceller!(@sizing $rate_hz $(, $field: $value)*).bins() },
            { $crate::echo_canceller!(@sizing $rate_hz $(, $field: $value)*).partitions() },
            { $crate::echo_canceller!(@sizing $rate_hz $(, $field: $value)*).shadow_partitions() },
            { $crate::echo_canceller!(@sizing $rate_hz $(, $field: $value)*).loudspeakers },
            $storage,
            { $crate::echo_canceller!(@sizing $rate_hz $(, $field: $value)*).loudspeaker_models() },
        >;
    };
    (@sizing $rate_hz:expr $(, $field:ident: $value:expr)*) => {{
        #[allow(clippy::needless_update)]
        const SIZING: $crate::canceller::CancellerSizing = $crate::canceller::CancellerSizing {
            $($field: $value,)*
            ..$crate::canceller::CancellerSizing::new($rate_hz)
        }
        .checked();
        SIZING
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_rate_and_tail() {
        let sizing = CancellerSizing::new(48_000).checked();
        assert_eq!((sizing.hop(), sizing.bins(), sizing.partitions()), (480, 481, 13));
        assert_eq!(sizing.shadow_partitions(), 7);
        let short = CancellerSizing { tail_ms: 32, ..CancellerSizing::new(8_000) }.checked();
        assert_eq!((short.partitions(), short.shadow_partitions()), (4, 4));
        assert_eq!(CancellerSizing { tail_ms: 512, ..short }.checked().partitions(), 52);
    }

    #[test]
    #[should_panic(expected = "tail_ms: expected 32 to 512 ms")]
    fn a_tail_out_of_range_is_rejected_by_name() {
        let _ = CancellerSizing { tail_ms: 513, ..CancellerSizing::new(16_000) }.checked();
    }
}
