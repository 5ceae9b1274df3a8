//! A voice processor that checks instead of cancelling: is the reference really what the microphone
//! hears, at the time it hears it?

use core::sync::atomic::{AtomicU32, Ordering};

use handsfree_core::capture::{ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::timing::ReferenceQuality;
use handsfree_core::{Duration, PcmMut, PcmRef};

use crate::CAP;
use crate::measure::Gauge;
use crate::room::{DELAY, REFLECTION};

/// What listening itself took.
pub static LISTENING: Gauge = Gauge::new();

/// Frames over which echo and remainder are compared (1 s).
const WINDOW: u32 = 100;

/// The worst window's remainder since [`forget`] in parts of a million of its echo, by energy.
static WORST_PPM: AtomicU32 = AtomicU32::new(0);
static WINDOWS: AtomicU32 = AtomicU32::new(0);

/// The worst second since [`forget`], remainder over echo in parts of a million of the energy.
#[must_use]
pub fn worst_ppm() -> u32 {
    WORST_PPM.load(Ordering::Relaxed)
}

/// Seconds of echo that were compared since [`forget`].
#[must_use]
pub fn seconds() -> u32 {
    WINDOWS.load(Ordering::Relaxed)
}

/// Starts the comparison anew.
pub fn forget() {
    WORST_PPM.store(0, Ordering::Relaxed);
    WINDOWS.store(0, Ordering::Relaxed);
}

/// Knows the room, makes the echo from the reference and compares.
#[derive(Debug)]
pub struct Listener {
    /// The last reference frames, the newest at the end.
    far: [i16; 2 * CAP],
    echo: u64,
    remainder: u64,
    frames: u32,
}

impl Listener {
    /// One that has heard nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { far: [0; 2 * CAP], echo: 0, remainder: 0, frames: 0 }
    }

    fn compare(&mut self, near: &[i16], lead_sample_frames: usize) {
        let late = DELAY + lead_sample_frames;
        for (i, &heard) in near.iter().enumerate() {
            let at = |ago: usize| self.far.get(CAP + i - ago).map_or(0, |&sample| i32::from(sample));
            let expected = (at(late) + at(late + REFLECTION)) / 4;
            let off = i32::from(heard) - expected;
            self.echo += (i32::from(heard) * i32::from(heard)) as u64;
            self.remainder += i64::from(off).pow(2) as u64;
        }
        self.frames += 1;
        if self.frames < WINDOW {
            return;
        }
        // Where nothing was played nothing is compared.
        if self.echo > u64::from(WINDOW) * CAP as u64 * 1_000 {
            let ppm = u32::try_from(self.remainder * 1_000_000 / self.echo).unwrap_or(u32::MAX);
            WORST_PPM.store(WORST_PPM.load(Ordering::Relaxed).max(ppm), Ordering::Relaxed);
            WINDOWS.store(WINDOWS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        (self.echo, self.remainder, self.frames) = (0, 0, 0);
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self::new()
    }
}

impl VoiceProcessor for Listener {
    fn process_reverse(&mut self, far: PcmRef<'_>) -> Result<(), ProcessError> {
        LISTENING.run(|| {
            self.far.copy_within(CAP.., 0);
            self.far.iter_mut().skip(CAP).zip(far.samples).for_each(|(to, &from)| *to = from);
        });
        Ok(())
    }

    fn process_capture(&mut self, near: PcmMut<'_>, delay: Duration) -> Result<(), ProcessError> {
        LISTENING.run(|| self.compare(near.samples, (delay.as_micros() as usize * 16).div_ceil(1_000)));
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
