//! Control side: what a product chooses about its canceller.

/// Settings of an [`EchoCanceller`](super::EchoCanceller).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CancellerSettings {
    /// Echo that is suppressed against talker that is kept, from -100 (keeps the talker) to 100 (suppresses
    /// the echo). Values beyond count as the nearest of these. Default: 0.
    ///
    /// At 100 the suppressor removes 4 times as much power as at 0, and at -100 a quarter.
    pub echo_over_talker: i8,
    /// Whether the residual echo is suppressed. Without it the output is the linear one, as speech
    /// recognition wants it, and 10 ms earlier. Default: true.
    pub suppressor: bool,
    /// Whether noise like the room's takes the place of suppressed echo. Default: true.
    pub comfort_noise: bool,
    /// How far the room's steady noise is turned down, in decibels, from 0 (not at all) to 24. Values above
    /// count as 24. It needs the suppressor. Default: 0.
    pub noise_reduction_db: u8,
    /// Whether the output lacks what is below 80 Hz. Default: true.
    pub high_pass: bool,
    /// Whether the linear output is the a posteriori error, of the path that each frame has corrected. Without it,
    /// it is the error that was predicted before the frame, which has more echo in the first seconds after a
    /// start or a change of the path, and an inverse transform a frame is spared: 4 % of the whole with a tail of
    /// 128 ms. The output with suppression is the same. Default: true.
    pub corrected_linear: bool,
}

impl CancellerSettings {
    /// Largest depth of the noise reduction, in decibels.
    pub const MAX_NOISE_REDUCTION_DB: u8 = 24;

    /// The settings of a canceller that is not configured.
    pub const DEFAULT: Self = Self {
        echo_over_talker: 0,
        suppressor: true,
        comfort_noise: true,
        noise_reduction_db: 0,
        high_pass: true,
        corrected_linear: true,
    };

    /// Returns the factor on the suppressed power.
    pub(super) fn pressing(&self) -> f32 {
        let dial = f32::from(self.echo_over_talker.clamp(-100, 100)) * 0.01;
        if dial < 0.0 { 1.0 / (1.0 - 3.0 * dial) } else { 1.0 + 3.0 * dial }
    }
}

impl Default for CancellerSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
