//! Worker side: measures levels for display.

use crate::atomics::{AtomicU32, Ordering};

use crate::capture::processor::{FrameProcessor, ProcessError};
use crate::frame::PcmMut;
use crate::limits::FRAMES_PER_SECOND;
use crate::stats::Counter;

/// Reading for silence, in dBFS: the lowest level that RFC 6464 can express.
pub const LEVEL_FLOOR_DBFS: f32 = -127.0;

/// Decay of the peak in a frame: 20 dB in 1.7 s, the return time of IEC 60268-18.
const FALL_DB: f32 = 20.0 / 1.7 / FRAMES_PER_SECOND as f32;

/// Time for which the highest peak is held: 1 s, after IEC 60268-18.
const HOLD_FRAMES: u8 = FRAMES_PER_SECOND as u8;

/// Weight of a frame in the exponential average: 1 - exp(-10 ms / 125 ms).
const FRAME_WEIGHT: f32 = 0.076_883_65;

/// Square of full scale.
const FULL_SCALE_POWER: f32 = (1u32 << 30) as f32;

/// Levels over all channels. 0 dBFS is full scale; for the RMS, a signal that is always at full scale.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LevelReading {
    /// Sample peak: rises at once, falls by 20 dB in 1.7 s.
    pub peak_dbfs: f32,
    /// Highest recent peak, held for a second after it was reached.
    pub held_peak_dbfs: f32,
    /// Root of the mean square, averaged exponentially over 125 ms. A full-scale sine reads -3.01 dB,
    /// as in RFC 6464; AES17 would read 3.01 dB more.
    pub rms_dbfs: f32,
    /// Number of frames measured so far; it does not change while the meter does not run, and wraps at 2^32.
    pub frames: u32,
}

/// Output of a [`LevelMeter`]. It lives outside the meter, which borrows it, and belongs to one meter only.
#[derive(Debug)]
pub struct Levels {
    peak: AtomicU32,
    held_peak: AtomicU32,
    rms: AtomicU32,
    frames: Counter,
}

impl Default for Levels {
    fn default() -> Self {
        Self::new()
    }
}

impl Levels {
    /// Returns the levels of silence.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            peak: AtomicU32::new(LEVEL_FLOOR_DBFS.to_bits()),
            held_peak: AtomicU32::new(LEVEL_FLOOR_DBFS.to_bits()),
            rms: AtomicU32::new(LEVEL_FLOOR_DBFS.to_bits()),
            frames: Counter::new(),
        }
    }

    /// Reads the levels, none below [`LEVEL_FLOOR_DBFS`]. Any side, wait-free; together the values are of
    /// about one frame.
    #[must_use]
    pub fn read(&self) -> LevelReading {
        // Relaxed: each is one word, and they need not be of the same frame.
        let level = |bits: &AtomicU32| f32::from_bits(bits.load(Ordering::Relaxed));
        LevelReading {
            peak_dbfs: level(&self.peak),
            held_peak_dbfs: level(&self.held_peak),
            rms_dbfs: level(&self.rms),
            frames: self.frames.get(),
        }
    }
}

/// A meter of peak and RMS level, as a step that changes nothing.
///
/// A digital peak level meter after IEC 60268-18 (sample peaks, not those between samples) and an
/// exponential average with the time constant "F" of IEC 61672-1. Costs a comparison and a
/// multiplication a sample, and two logarithms a frame (0.25 us for 480 samples on a small server core).
///
/// ```
/// use handsfree_core::capture::{FrameProcessor, LEVEL_FLOOR_DBFS, LevelMeter, Levels};
/// use handsfree_core::{Format, PcmMut};
///
/// static MICROPHONE: Levels = Levels::new();
/// let mut meter = LevelMeter::new(&MICROPHONE);
/// let mut samples = [3_277; 80];
/// for _ in 0..200 {
///     meter.process(PcmMut { format: Format::new(8_000, 1)?, samples: &mut samples })?;
/// }
/// let levels = MICROPHONE.read();
/// assert!((levels.peak_dbfs + 20.0).abs() < 0.01);
/// assert!((levels.rms_dbfs + 20.0).abs() < 0.01);
/// meter.reset();
/// assert_eq!(MICROPHONE.read().peak_dbfs, LEVEL_FLOOR_DBFS);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LevelMeter<'a> {
    levels: &'a Levels,
    peak_dbfs: f32,
    held_peak_dbfs: f32,
    hold_frames: u8,
    /// Mean square, where full scale is 1.
    power: f32,
}

impl<'a> LevelMeter<'a> {
    /// Returns a meter that begins at silence.
    #[must_use]
    pub fn new(levels: &'a Levels) -> Self {
        let mut meter = Self {
            levels,
            peak_dbfs: LEVEL_FLOOR_DBFS,
            held_peak_dbfs: LEVEL_FLOOR_DBFS,
            hold_frames: 0,
            power: 0.0,
        };
        meter.reset();
        meter
    }

    /// Measures 10 ms of samples over all channels.
    pub fn measure(&mut self, samples: &[i16]) {
        let (mut peak, mut energy) = (0u16, 0u64);
        for &sample in samples {
            let magnitude = sample.unsigned_abs();
            peak = peak.max(magnitude);
            energy += u64::from(u32::from(magnitude) * u32::from(magnitude));
        }
        let peak = f32::from(peak) * f32::from(peak) / FULL_SCALE_POWER;
        self.update_peak(decibels(peak));
        self.update_rms(energy as f32 / (samples.len().max(1) as f32 * FULL_SCALE_POWER));
        self.show();
        self.levels.frames.add(1);
    }

    fn update_peak(&mut self, peak_dbfs: f32) {
        self.peak_dbfs = peak_dbfs.max(self.peak_dbfs - FALL_DB).max(LEVEL_FLOOR_DBFS);
        if self.peak_dbfs >= self.held_peak_dbfs {
            self.held_peak_dbfs = self.peak_dbfs;
            self.hold_frames = HOLD_FRAMES;
        } else if self.hold_frames > 0 {
            self.hold_frames -= 1;
        } else {
            self.held_peak_dbfs = self.peak_dbfs;
        }
    }

    fn update_rms(&mut self, power: f32) {
        self.power += FRAME_WEIGHT * (power - self.power);
        // Far below the floor: a further decay would reach denormal numbers, which are slow on many
        // processors.
        if self.power < 1e-20 {
            self.power = 0.0;
        }
    }

    fn show(&self) {
        let show = |cell: &AtomicU32, level: f32| cell.store(level.to_bits(), Ordering::Relaxed);
        show(&self.levels.peak, self.peak_dbfs);
        show(&self.levels.held_peak, self.held_peak_dbfs);
        show(&self.levels.rms, decibels(self.power));
    }
}

/// Converts a power, where full scale is 1, to dB, limited to the floor.
fn decibels(power: f32) -> f32 {
    if power > 0.0 { (10.0 * libm::log10f(power)).max(LEVEL_FLOOR_DBFS) } else { LEVEL_FLOOR_DBFS }
}

impl FrameProcessor for LevelMeter<'_> {
    fn process(&mut self, frame: PcmMut<'_>) -> Result<(), ProcessError> {
        self.measure(frame.samples);
        Ok(())
    }

    /// Returns the meter and its readings to silence.
    fn reset(&mut self) {
        self.peak_dbfs = LEVEL_FLOOR_DBFS;
        self.held_peak_dbfs = LEVEL_FLOOR_DBFS;
        self.hold_frames = 0;
        self.power = 0.0;
        self.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    fn feed(meter: &mut LevelMeter<'_>, frames: u32, sample: i16) {
        let format = Format::new(48_000, 1).unwrap();
        for _ in 0..frames {
            meter.process(PcmMut { format, samples: &mut [sample; 480] }).unwrap();
        }
    }

    fn near(level: f32, expected: f32) -> bool {
        (level - expected).abs() < 0.05
    }

    #[test]
    fn silence_reads_the_floor_and_full_scale_reads_0() {
        let levels = Levels::new();
        let mut meter = LevelMeter::new(&levels);
        feed(&mut meter, 10, 0);
        let silence = levels.read();
        assert_eq!((silence.peak_dbfs, silence.rms_dbfs), (LEVEL_FLOOR_DBFS, LEVEL_FLOOR_DBFS));
        feed(&mut meter, 200, i16::MIN);
        let loud = levels.read();
        assert_eq!(loud.peak_dbfs, 0.0);
        assert!(near(loud.rms_dbfs, 0.0), "{loud:?}");
        assert_eq!(loud.frames, 210);
    }

    #[test]
    fn the_quietest_sample_reads_above_the_floor() {
        let levels = Levels::new();
        feed(&mut LevelMeter::new(&levels), 200, 1);
        assert!(near(levels.read().peak_dbfs, -90.31) && near(levels.read().rms_dbfs, -90.31));
    }

    #[test]
    fn the_peak_falls_20_db_in_1_7_s_after_a_hold_of_1_s() {
        let levels = Levels::new();
        let mut meter = LevelMeter::new(&levels);
        feed(&mut meter, 1, i16::MIN);
        assert_eq!(levels.read().peak_dbfs, 0.0, "at once");
        feed(&mut meter, 100, 0);
        assert_eq!(levels.read().held_peak_dbfs, 0.0);
        feed(&mut meter, 1, 0);
        assert_eq!(levels.read().held_peak_dbfs, levels.read().peak_dbfs);
        feed(&mut meter, 69, 0);
        assert!(near(levels.read().peak_dbfs, -20.0), "{:?}", levels.read());
        feed(&mut meter, 2_000, 0);
        assert_eq!(levels.read().peak_dbfs, LEVEL_FLOOR_DBFS);
    }

    #[test]
    fn the_rms_has_a_time_constant_of_125_ms() {
        let levels = Levels::new();
        let mut meter = LevelMeter::new(&levels);
        // 250 ms are two time constants: 1 - e^-2 of the power, then e^-2 of that.
        feed(&mut meter, 25, i16::MIN);
        assert!(near(levels.read().rms_dbfs, -0.632), "{:?}", levels.read());
        feed(&mut meter, 25, 0);
        assert!(near(levels.read().rms_dbfs, -0.632 - 8.686), "{:?}", levels.read());
        feed(&mut meter, 1_000, 0);
        assert_eq!(levels.read().rms_dbfs, LEVEL_FLOOR_DBFS);
    }

    #[test]
    fn a_reading_covers_all_channels() {
        let levels = Levels::new();
        let mut meter = LevelMeter::new(&levels);
        let format = Format::new(8_000, 2).unwrap();
        let mut samples = [0; 160];
        samples.chunks_exact_mut(2).for_each(|pair| pair[1] = 16_384);
        for _ in 0..300 {
            meter.process(PcmMut { format, samples: &mut samples }).unwrap();
        }
        assert!(near(levels.read().peak_dbfs, -6.02) && near(levels.read().rms_dbfs, -9.03));
        assert!(samples.chunks_exact(2).all(|pair| pair == [0, 16_384]), "nothing is changed");
    }
}
