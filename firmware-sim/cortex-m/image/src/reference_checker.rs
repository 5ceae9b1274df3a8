//! Voice processor that checks the echo reference instead of cancelling echo: it compares the microphone
//! signal with the echo that the reference predicts.

use core::sync::atomic::{AtomicU32, Ordering};

use handsfree_core::capture::{ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::timing::ReferenceQuality;
use handsfree_core::{Duration, PcmMut, PcmRef};

use crate::CAP;
use crate::instruction_counter::InstructionCounter;
use crate::room::{DELAY_SAMPLE_FRAMES, REFLECTION_SAMPLE_FRAMES};

/// Instructions of the checker itself, which are no part of the capture pipeline's cost.
pub static CHECKER_COST: InstructionCounter = InstructionCounter::new();

/// Number of frames per comparison: 1 s.
const WINDOW_FRAMES: u32 = 100;

/// Largest unexplained energy of a window since [`restart`], in parts per million of the echo's energy.
static WORST_PPM: AtomicU32 = AtomicU32::new(0);
static WINDOWS: AtomicU32 = AtomicU32::new(0);

/// Returns the largest unexplained energy of one second since [`restart`], in parts per million of the echo's
/// energy.
#[must_use]
pub fn worst_ppm() -> u32 {
    WORST_PPM.load(Ordering::Relaxed)
}

/// Returns the number of seconds with echo that were compared since [`restart`].
#[must_use]
pub fn seconds() -> u32 {
    WINDOWS.load(Ordering::Relaxed)
}

/// Resets the results of the comparison.
pub fn restart() {
    WORST_PPM.store(0, Ordering::Relaxed);
    WINDOWS.store(0, Ordering::Relaxed);
}

/// Voice processor that predicts the echo from the reference and the known acoustic path and compares it with
/// the microphone signal.
#[derive(Debug)]
pub struct ReferenceChecker {
    /// Last two reference frames, the newer one at the end.
    far: [i16; 2 * CAP],
    echo: u64,
    unexplained: u64,
    frames: u32,
}

impl ReferenceChecker {
    /// Makes a checker without history.
    #[must_use]
    pub const fn new() -> Self {
        Self { far: [0; 2 * CAP], echo: 0, unexplained: 0, frames: 0 }
    }

    fn compare(&mut self, near: &[i16], lead_sample_frames: usize) {
        let delay = DELAY_SAMPLE_FRAMES + lead_sample_frames;
        for (i, &captured) in near.iter().enumerate() {
            let at = |ago: usize| self.far.get(CAP + i - ago).map_or(0, |&sample| i32::from(sample));
            let expected = (at(delay) + at(delay + REFLECTION_SAMPLE_FRAMES)) / 4;
            let error = i32::from(captured) - expected;
            self.echo += (i32::from(captured) * i32::from(captured)) as u64;
            self.unexplained += i64::from(error).pow(2) as u64;
        }
        self.frames += 1;
        if self.frames < WINDOW_FRAMES {
            return;
        }
        // Seconds without playback are not compared.
        if self.echo > u64::from(WINDOW_FRAMES) * CAP as u64 * 1_000 {
            let ppm = u32::try_from(self.unexplained * 1_000_000 / self.echo).unwrap_or(u32::MAX);
            WORST_PPM.store(WORST_PPM.load(Ordering::Relaxed).max(ppm), Ordering::Relaxed);
            WINDOWS.store(WINDOWS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        (self.echo, self.unexplained, self.frames) = (0, 0, 0);
    }
}

impl Default for ReferenceChecker {
    fn default() -> Self {
        Self::new()
    }
}

impl VoiceProcessor for ReferenceChecker {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        CHECKER_COST.measure(|| {
            self.far.copy_within(CAP.., 0);
            self.far.iter_mut().skip(CAP).zip(far.samples).for_each(|(to, &from)| *to = from);
        });
        Ok(())
    }

    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        CHECKER_COST
            .measure(|| self.compare(near.samples, (delay.as_micros() as usize * 16).div_ceil(1_000)));
        Ok(())
    }

    fn stats(&self) -> VoiceStats {
        VoiceStats::default()
    }

    fn reset(&mut self) {
        *self = Self::new();
    }

    fn reference_quality() -> ReferenceQuality {
        ReferenceQuality::Quick
    }
}
