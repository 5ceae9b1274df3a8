//! Worker side: what a loudspeaker adds to a linear echo, and how loud its echo may be.

use super::band_echo::BandEcho;
use super::far_end_width::FarEndWidth;
use super::high_pass::HighPassShape;
use super::levels::EchoLevels;
use super::loudspeaker_curve::LoudspeakerCurve;
use super::subnormal::flush_powers;
use crate::dsp::fft::Complex;

/// Model of a loudspeaker, for a main filter of `PARTITIONS` and a curve that is learned from the first `SHADOW` of them.
#[derive(Debug)]
pub(super) struct LoudspeakerModel<const HOP: usize, const SHADOW: usize, const PARTITIONS: usize> {
    curve: LoudspeakerCurve<HOP, SHADOW>,
    width: FarEndWidth<HOP>,
    band_echo: BandEcho<PARTITIONS>,
    /// Energy of the microphone's echo that is expected in the last frame.
    expected_echo: f32,
}

impl<const HOP: usize, const SHADOW: usize, const PARTITIONS: usize>
    LoudspeakerModel<HOP, SHADOW, PARTITIONS>
{
    pub(super) const fn new() -> Self {
        Self {
            curve: LoudspeakerCurve::new(),
            width: FarEndWidth::new(),
            band_echo: BandEcho::new(),
            expected_echo: 0.0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.curve.reset();
        self.width.reset();
        self.band_echo.reset();
        self.expected_echo = 0.0;
    }

    /// Forgets the echo path, but not the loudspeaker.
    pub(super) fn forget_path(&mut self) {
        self.curve.forget_path();
        self.width.forget_path();
        self.band_echo.forget_path();
        self.expected_echo = 0.0;
    }

    /// Forgets what is left of sounds that ended.
    pub(super) fn flush(&mut self) {
        self.band_echo.flush();
        flush_powers(core::slice::from_mut(&mut self.expected_echo));
    }

    /// Takes the reverse frame of the next capture frame, and adds the loudspeaker's distortion of it to `far`, which holds
    /// the same samples behind the high-pass.
    pub(super) fn distort(
        &mut self,
        samples: impl Iterator<Item = f32>,
        far: &mut [f32; HOP],
        high_pass: Option<&HighPassShape>,
    ) {
        self.curve.distort(samples, far, high_pass);
    }

    /// Takes the far end's spectrum of the frame that was distorted last.
    pub(super) fn take_spectrum(&mut self, bins: &[Complex]) {
        if self.curve.is_audible() {
            self.width.observe(bins);
        }
        self.band_echo.take_spectrum(bins);
    }

    /// Takes a partition of the main filter's path.
    pub(super) fn learn_path(&mut self, partition: usize, response: &[f32; HOP]) {
        self.curve.learn_path(partition, response);
        self.band_echo.learn_path(partition, response);
    }

    /// Takes a frame of the microphone.
    pub(super) fn observe(&mut self, near: &[f32; HOP]) {
        self.curve.observe(near, self.width.is_wide());
    }

    /// Takes the levels that a frame with the far end's energy `far` was added to.
    pub(super) fn take_levels(&mut self, levels: &EchoLevels, far: f32) {
        self.band_echo.take_echo_part(levels.echo_part());
        self.expected_echo = levels.expected_echo(far, self.expected_echo);
    }

    /// Returns the likelihood that the last frame's error, with a mean power of `error`, is the echo of a curve that changed.
    pub(super) fn curve_changed(&self, error: f32) -> f32 {
        self.curve.changed(error)
    }

    /// Returns once whether the far end plays many frequencies now, and the path that was learned is wrong, because it is from tones.
    pub(super) fn disproves_path(&mut self) -> bool {
        self.width.disproves_path()
    }

    /// Returns the estimator of the echo in bands.
    pub(super) fn band_echo(&mut self) -> &mut BandEcho<PARTITIONS> {
        &mut self.band_echo
    }

    /// Returns the energy of the microphone's echo that is expected in the last frame.
    pub(super) fn expected_echo(&self) -> f32 {
        self.expected_echo
    }

    /// Returns what outlives a frame and meets every sample, or decays.
    #[cfg(test)]
    pub(super) fn state(&self) -> impl Iterator<Item = f32> {
        self.curve.state().chain(self.width.state()).chain(self.band_echo.means()).chain([self.expected_echo])
    }
}
