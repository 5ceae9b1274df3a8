//! Worker side: measures how much of the microphone the voice processor removes while the loudspeaker is active.

use crate::frame::PcmRef;

/// Mean square of a reference frame below which the loudspeaker is silent: an amplitude of 4 steps of 16 bits.
const SILENT_POWER: f32 = 8.0;
/// Power of a reference frame against the loudest recent one below which the loudspeaker is not active, -30 dB.
const QUIET_SHARE: f32 = 1e-3;
/// Decay of the loudest recent power in one frame: 9 dB in 10 s.
const LOUDEST_DECAY: f32 = 0.998;
/// Averaging length of the powers, in frames in which the loudspeaker is active (0.5 s).
const AVERAGE_FRAMES: u32 = 50;
/// Active frames from which on the powers are known.
const KNOWN_FRAMES: u32 = 30;
/// Removed power from which on the canceller works, 6 dB. Noise suppression alone removes less of speech.
const WORKS: f32 = 4.0;
/// Removed power below which the canceller does not work, 3 dB.
const FAILS: f32 = 2.0;

/// Power of the microphone against that of its noise below which it holds no echo, 6 dB: what a suppressor does to noise shows
/// nothing.
const ABOVE_NOISE: f32 = 4.0;
/// Growth of the estimated noise in a frame in which the loudspeaker is not active: 9 dB in 10 s.
const NOISE_GROWTH: f32 = 1.002;

/// How well the voice processor cancels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancellation {
    /// The loudspeaker was not active for long enough, or the figures lie between the others.
    Unknown,
    /// The echo is removed.
    Works,
    /// Hardly anything is removed: the reference does not fit, a talker is louder, or there is no echo.
    Fails,
}

/// Compares the microphone before and after the voice processor. Costs three sums of squares a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CancellationMeter {
    loudest: f32,
    before: f32,
    after: f32,
    /// Power of the microphone's noise: the least of a frame, which grows slowly while the loudspeaker is not active.
    noise: f32,
    /// Number of active frames in the powers, up to [`AVERAGE_FRAMES`].
    frames: u32,
}

impl CancellationMeter {
    pub(crate) const fn new() -> Self {
        Self { loudest: 0.0, before: 0.0, after: 0.0, noise: f32::MAX, frames: 0 }
    }

    /// Takes a frame of the reference, and of the microphone before and after the voice processor. Returns
    /// whether the loudspeaker was active.
    pub(crate) fn observe(&mut self, far: PcmRef<'_>, before: PcmRef<'_>, after: PcmRef<'_>) -> bool {
        let (played, heard) = (mean_square(far.samples), mean_square(before.samples));
        self.loudest = (self.loudest * LOUDEST_DECAY).max(played);
        let is_active = played >= SILENT_POWER && played >= self.loudest * QUIET_SHARE;
        self.noise = if is_active { self.noise } else { self.noise * NOISE_GROWTH }.min(heard);
        if !is_active {
            return false;
        }
        self.frames = (self.frames + 1).min(AVERAGE_FRAMES);
        let part = 1.0 / self.frames as f32;
        self.before += (heard - self.before) * part;
        self.after += (mean_square(after.samples) - self.after) * part;
        true
    }

    pub(crate) fn cancellation(&self) -> Cancellation {
        // A muted microphone shows nothing.
        if self.frames < KNOWN_FRAMES || self.before < (ABOVE_NOISE * self.noise).max(1.0) {
            Cancellation::Unknown
        } else if self.before > WORKS * self.after {
            Cancellation::Works
        } else if self.before < FAILS * self.after {
            Cancellation::Fails
        } else {
            Cancellation::Unknown
        }
    }

    /// Forgets the powers, because the reference moved.
    pub(crate) fn restart(&mut self) {
        self.frames = 0;
    }
}

fn mean_square(samples: &[i16]) -> f32 {
    let sum: f32 = samples.iter().map(|&sample| f32::from(sample) * f32::from(sample)).sum();
    sum / samples.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn frame(amplitude: i16, k: i16) -> [i16; 160] {
        core::array::from_fn(|n| if (n as i16 * 7 + k * 3) % 5 < 2 { amplitude } else { -amplitude })
    }

    fn after(frames: i16, far: i16, before: i16, after: i16) -> Cancellation {
        let format = Format::new(16_000, 1).unwrap();
        let mut meter = CancellationMeter::new();
        for k in 0..frames {
            // The echo comes after what makes it.
            let [before, after] = if k < 2 { [before.min(2); 2] } else { [before, after] };
            let [far, before, after] = [far, before, after].map(|amplitude| frame(amplitude, k));
            let [far, before, after] = [&far, &before, &after].map(|samples| PcmRef { format, samples });
            meter.observe(far, before, after);
        }
        meter.cancellation()
    }

    #[test]
    fn tells_a_removed_echo_from_one_that_stays() {
        assert_eq!(after(100, 3_000, 1_000, 100), Cancellation::Works);
        assert_eq!(after(100, 3_000, 1_000, 950), Cancellation::Fails);
        assert_eq!(after(100, 3_000, 1_000, 600), Cancellation::Unknown);
    }

    #[test]
    fn noise_that_is_suppressed_is_no_echo_that_is_removed() {
        let format = Format::new(16_000, 1).unwrap();
        let mut meter = CancellationMeter::new();
        for k in 0..500 {
            // The frames of noise differ by a factor of 2.
            let amplitude = 20 + (k * 7) % 10;
            let [far, before, after] = [3_000, amplitude, 1].map(|amplitude| frame(amplitude, k));
            let [far, before, after] = [&far, &before, &after].map(|samples| PcmRef { format, samples });
            meter.observe(far, before, after);
            assert_eq!(meter.cancellation(), Cancellation::Unknown, "frame {k}");
        }
    }

    #[test]
    fn knows_nothing_while_the_loudspeaker_or_the_microphone_is_off() {
        assert_eq!(after(100, 0, 1_000, 100), Cancellation::Unknown);
        assert_eq!(after(100, 3_000, 0, 0), Cancellation::Unknown);
        assert_eq!(after(20, 3_000, 1_000, 100), Cancellation::Unknown);
    }
}
