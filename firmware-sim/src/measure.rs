//! Measurements of signals: echo reduction, quality of the near end, offsets and levels.
//!
//! All signals are mono, have full scale at ±1.0 and one rate, and are aligned sample by sample. All levels
//! are RMS in dBFS, where 0 dBFS is an RMS of 1.0. Frames are 10 ms long.

use std::ops::Range;

use crate::fft::{self, Complex32};

/// Level above which a far-end frame is active. Speech at -20 dBFS is far above it, background noise far below.
pub const FAR_ACTIVE_DBFS: f64 = -50.0;
/// Time for which the far end stays active after a frame above [`FAR_ACTIVE_DBFS`]. It includes the
/// reverberation after a word, which is the hardest part for a canceller, and excludes the noise after that.
pub const FAR_HANG_OVER_S: f64 = 0.2;
/// Level below which a near-end frame is silent: 40 dB below the quietest useful talker, because residual
/// speech would count as residual echo.
pub const NEAR_SILENT_DBFS: f64 = -80.0;
/// Time for which the near end stays active after its last audible frame.
pub const NEAR_HANG_OVER_S: f64 = 0.1;
/// Time for which the near end counts as active before its first audible frame, because a canceller's filter
/// bank spreads an onset over several milliseconds.
pub const NEAR_LEAD_S: f64 = 0.02;
/// Level above which [`near_end`] takes a near-end frame as speech.
pub const NEAR_ACTIVE_DBFS: f64 = -60.0;

/// Power per sample of the noise of rounding to 16 bits. It is the lower bound of every residual, because a
/// ratio below it would measure a muted stream rather than a canceller.
const ROUNDING_POWER: f64 = 1.0 / (12.0 * 32_768.0 * 32_768.0);

/// Echo reduction in one time window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Start of the window, in seconds from the first sample.
    pub from_s: f64,
    /// End of the window, in seconds from the first sample.
    pub to_s: f64,
    /// Echo return loss enhancement in dB; `None` if the window has no measurable frame.
    pub db: Option<f64>,
}

/// Quality of the near end in the cleaned signal; see [`near_end`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NearEnd {
    /// Scale-invariant signal-to-distortion ratio in dB; `None` without near-end speech.
    pub si_sdr_db: Option<f64>,
    /// Level of the cleaned signal relative to the talker's own, in dB; `None` without near-end speech.
    pub level_change_db: Option<f64>,
}

/// Returns the mean power of a signal; 0 for an empty one.
pub fn power(signal: &[f32]) -> f64 {
    energy(signal) / signal.len().max(1) as f64
}

/// Returns the RMS level in dBFS; minus infinity for silence.
pub fn level_dbfs(signal: &[f32]) -> f64 {
    10.0 * power(signal).log10()
}

/// Returns the level of `after` relative to `before` in dB; `None` if one of them is silent.
pub fn level_change_db(before: &[f32], after: &[f32]) -> Option<f64> {
    let change = level_dbfs(after) - level_dbfs(before);
    change.is_finite().then_some(change)
}

/// Returns the RMS level of each 10 ms frame in dBFS, for plotting.
pub fn frame_levels_dbfs(signal: &[f32], rate_hz: u32) -> Vec<f64> {
    frames(signal.len(), rate_hz).map(|frame| level_dbfs(&signal[frame])).collect()
}

/// Returns the echo return loss enhancement in windows of `window_s` seconds: 10 log10 of the microphone's
/// energy divided by the cleaned signal's energy. The last window may be shorter.
///
/// Only frames with an active far end and a silent near end count. The far end is active up to
/// [`FAR_HANG_OVER_S`] after a frame above [`FAR_ACTIVE_DBFS`]. The near end is active from [`NEAR_LEAD_S`]
/// before to [`NEAR_HANG_OVER_S`] after a frame above [`NEAR_SILENT_DBFS`]. Energies are summed over a window
/// before the division, so a loud residual has the weight that a listener gives it.
///
/// `near` is the talker's own signal at the microphone, without noise; an empty slice means that the near end
/// is silent. The measurement ends with the shortest of the other signals.
///
/// # Panics
/// Panics if `window_s` is not above 0.
pub fn erle_windows(
    mic: &[f32],
    clean: &[f32],
    far: &[f32],
    near: &[f32],
    rate_hz: u32,
    window_s: f64,
) -> Vec<Window> {
    assert!(window_s > 0.0, "erle_windows: the window is {window_s} s; expected more than 0");
    let length = mic.len().min(clean.len()).min(far.len());
    let counts = echo_only(&far[..length], near, rate_hz);
    let mut sums = WindowSums::new(window_s);
    for (frame, counts) in frames(length, rate_hz).zip(counts) {
        sums.add(&mic[frame.clone()], &clean[frame], counts);
    }
    sums.windows(length as f64 / f64::from(rate_hz))
}

/// Energies of the microphone and of the cleaned signal in each window.
#[derive(Clone, Debug)]
struct WindowSums {
    window_s: f64,
    frames: usize,
    /// Both energies, and whether a frame counted.
    windows: Vec<(f64, f64, bool)>,
}

impl WindowSums {
    fn new(window_s: f64) -> Self {
        Self { window_s, frames: 0, windows: Vec::new() }
    }

    /// Takes the next frame, which `counts` or not.
    fn add(&mut self, mic: &[f32], clean: &[f32], counts: bool) {
        // The frame's middle selects its window, so that rounding at the borders does not matter.
        let window = ((self.frames as f64 + 0.5) * 0.01 / self.window_s) as usize;
        self.frames += 1;
        if self.windows.len() <= window {
            self.windows.resize(window + 1, (0.0, 0.0, false));
        }
        if counts {
            let sums = &mut self.windows[window];
            sums.0 += energy(mic);
            sums.1 += energy(clean).max(ROUNDING_POWER * mic.len() as f64);
            sums.2 = true;
        }
    }

    /// Returns the windows of a signal that ends at `end_s`.
    fn windows(self, end_s: f64) -> Vec<Window> {
        let windows = self.windows.into_iter().enumerate();
        windows
            .map(|(index, (mic, clean, any))| Window {
                from_s: index as f64 * self.window_s,
                to_s: ((index + 1) as f64 * self.window_s).min(end_s),
                db: (any && mic > 0.0).then(|| 10.0 * (mic / clean).log10()),
            })
            .collect()
    }
}

/// Measures [`erle_windows`] of signals that come second by second, without a talker, for several cleaned signals at once.
#[derive(Clone, Debug)]
pub struct ErleMeter<const SIGNALS: usize> {
    rate_hz: u32,
    /// Frames for which the far end stays active.
    active_frames: usize,
    sample_frames: usize,
    sums: [WindowSums; SIGNALS],
}

impl<const SIGNALS: usize> ErleMeter<SIGNALS> {
    /// Makes a meter for windows of `window_s` seconds, which must be more than 0.
    #[must_use]
    pub fn new(rate_hz: u32, window_s: f64) -> Self {
        Self {
            rate_hz,
            active_frames: 0,
            sample_frames: 0,
            sums: [(); SIGNALS].map(|()| WindowSums::new(window_s)),
        }
    }

    /// Takes the next second of all signals; the last one may be shorter. All must have the length of `mic`.
    pub fn push(&mut self, mic: &[f32], far: &[f32], clean: [&[f32]; SIGNALS]) {
        self.sample_frames += mic.len();
        for frame in frames(mic.len(), self.rate_hz) {
            self.active_frames = match level_dbfs(&far[frame.clone()]) > FAR_ACTIVE_DBFS {
                true => (FAR_HANG_OVER_S * 100.0).round() as usize + 1,
                false => self.active_frames.saturating_sub(1),
            };
            for (sums, clean) in self.sums.iter_mut().zip(clean) {
                sums.add(&mic[frame.clone()], &clean[frame.clone()], self.active_frames > 0);
            }
        }
    }

    /// Returns the windows of each cleaned signal.
    #[must_use]
    pub fn windows(self) -> [Vec<Window>; SIGNALS] {
        let end_s = self.sample_frames as f64 / f64::from(self.rate_hz);
        self.sums.map(|sums| sums.windows(end_s))
    }
}

/// Returns [`erle_windows`] with windows of one second, for plotting.
pub fn erle_per_second(mic: &[f32], clean: &[f32], far: &[f32], near: &[f32], rate_hz: u32) -> Vec<Window> {
    erle_windows(mic, clean, far, near, rate_hz, 1.0)
}

/// Returns the median: the middle value, or the mean of the two middle values of an even count. Returns
/// `None` without values.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Returns for each frame whether it holds echo and no near-end speech, by the rules of [`erle_windows`].
pub fn echo_only(far: &[f32], near: &[f32], rate_hz: u32) -> Vec<bool> {
    let far_active = active_frames(far, rate_hz, FAR_ACTIVE_DBFS, 0.0, FAR_HANG_OVER_S);
    let near_active = active_frames(near, rate_hz, NEAR_SILENT_DBFS, NEAR_LEAD_S, NEAR_HANG_OVER_S);
    far_active
        .into_iter()
        .enumerate()
        .map(|(index, active)| active && !near_active.get(index).copied().unwrap_or(false))
        .collect()
}

/// Returns for each frame whether it is active. Active frames are those from `lead_s` seconds before to
/// `hang_over_s` seconds after each frame above `threshold_dbfs`.
pub fn active_frames(
    signal: &[f32],
    rate_hz: u32,
    threshold_dbfs: f64,
    lead_s: f64,
    hang_over_s: f64,
) -> Vec<bool> {
    let loud: Vec<bool> =
        frame_levels_dbfs(signal, rate_hz).into_iter().map(|level| level > threshold_dbfs).collect();
    let mut active = vec![false; loud.len()];
    let lead = (lead_s * 100.0).round() as usize;
    let hang_over = (hang_over_s * 100.0).round() as usize;
    for index in (0..loud.len()).filter(|&index| loud[index]) {
        let last = (index + hang_over).min(loud.len() - 1);
        active[index.saturating_sub(lead)..=last].fill(true);
    }
    active
}

/// Measures the quality of the near end over all frames in which the talker speaks: those above
/// [`NEAR_ACTIVE_DBFS`] and [`NEAR_HANG_OVER_S`] after each.
///
/// `near` is the talker's own signal at the microphone, and `clean` is the terminal's output with its delay
/// removed. The level change compares energies, so residual echo raises it.
pub fn near_end(near: &[f32], clean: &[f32], rate_hz: u32) -> NearEnd {
    let length = near.len().min(clean.len());
    let speech = active_frames(&near[..length], rate_hz, NEAR_ACTIVE_DBFS, 0.0, NEAR_HANG_OVER_S);
    let (mut speech_in, mut speech_out) = (Vec::new(), Vec::new());
    for (frame, _) in frames(length, rate_hz).zip(speech).filter(|(_, speech)| *speech) {
        speech_in.extend_from_slice(&near[frame.clone()]);
        speech_out.extend_from_slice(&clean[frame]);
    }
    NearEnd {
        si_sdr_db: si_sdr_db(&speech_in, &speech_out),
        level_change_db: level_change_db(&speech_in, &speech_out),
    }
}

/// Returns the scale-invariant signal-to-distortion ratio in dB (Le Roux et al., "SDR - half-baked or well
/// done?", ICASSP 2019). Returns `None` if one of the signals is silent.
///
/// The estimate is split into the optimally scaled reference and a remainder. Means are not removed. The
/// longer signal is cut to the length of the shorter one. The result is clamped to ±300 dB: equal signals
/// give 300 dB, unrelated ones -300 dB.
pub fn si_sdr_db(reference: &[f32], estimate: &[f32]) -> Option<f64> {
    let length = reference.len().min(estimate.len());
    let (reference, estimate) = (&reference[..length], &estimate[..length]);
    let own = energy(reference);
    if own == 0.0 || energy(estimate) == 0.0 {
        return None;
    }
    let common: f64 = reference.iter().zip(estimate).map(|(&s, &e)| f64::from(s) * f64::from(e)).sum();
    let scale = common / own;
    let target = scale * scale * own;
    let rest: f64 =
        reference.iter().zip(estimate).map(|(&s, &e)| (scale * f64::from(s) - f64::from(e)).powi(2)).sum();
    Some((10.0 * (target / rest).log10()).clamp(-300.0, 300.0))
}

/// Returns the number of samples by which `signal` lags behind `reference`: the offset for which `signal[n +
/// offset]` is most similar to `reference[n]`. It is negative if `signal` leads, within `±max_samples`, and 0
/// if one of the signals is silent or empty.
///
/// The offset is the highest peak of the cross-correlation, computed by FFT in pieces so that memory does not
/// grow with the length of the signals.
pub fn best_offset(reference: &[f32], signal: &[f32], max_samples: usize) -> i64 {
    let size = (4 * max_samples).max(4096).next_power_of_two();
    let piece = size - 2 * max_samples;
    let (forward, inverse) = (fft::forward(size), fft::inverse(size));
    let (mut a, mut b) = (forward.make_input_vec(), forward.make_input_vec());
    let (mut a_bins, mut b_bins) = (forward.make_output_vec(), forward.make_output_vec());
    let mut sum = vec![Complex32::default(); a_bins.len()];
    for start in (0..reference.len()).step_by(piece) {
        let count = piece.min(reference.len() - start);
        a.fill(0.0);
        b.fill(0.0);
        a[..count].copy_from_slice(&reference[start..start + count]);
        // b[0] lies max_samples before the piece, which maps the lags to 0 ..= 2 * max_samples.
        for (index, to) in b.iter_mut().enumerate().take(count + 2 * max_samples) {
            let at = (start + index).checked_sub(max_samples);
            *to = at.and_then(|at| signal.get(at)).copied().unwrap_or(0.0);
        }
        forward.process(&mut a, &mut a_bins).expect("the buffers have the plan's lengths");
        forward.process(&mut b, &mut b_bins).expect("the buffers have the plan's lengths");
        for ((sum, a), b) in sum.iter_mut().zip(&a_bins).zip(&b_bins) {
            *sum += a.conj() * b;
        }
    }
    // The inverse transform rejects imaginary parts in these bins. They are sums of products of real numbers,
    // so only rounding could leave one.
    sum[0].im = 0.0;
    sum[size / 2].im = 0.0;
    let mut correlation = a;
    inverse.process(&mut sum, &mut correlation).expect("the buffers have the plan's lengths");
    let lags = &correlation[..=2 * max_samples];
    let mut best = max_samples;
    for (lag, &value) in lags.iter().enumerate() {
        if value > lags[best] {
            best = lag;
        }
    }
    best as i64 - max_samples as i64
}

fn energy(signal: &[f32]) -> f64 {
    signal.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}

/// Returns the sample ranges of the complete 10 ms frames of a signal. Their lengths differ by one if 10 ms
/// is not a whole number of samples.
fn frames(length: usize, rate_hz: u32) -> impl Iterator<Item = Range<usize>> {
    let border = move |index: usize| (index as u64 * u64::from(rate_hz) / 100) as usize;
    (0..)
        .map(move |index| border(index)..border(index + 1))
        .take_while(move |frame| frame.end <= length && !frame.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Colour, Noise, Rng};

    const RATE_HZ: u32 = 16_000;

    fn noise(seed: u64, level_dbfs: f64, length: usize) -> Vec<f32> {
        let mut noise = Noise::new(Rng::new(seed), Colour::White, level_dbfs);
        (0..length).map(|_| noise.next_sample()).collect()
    }

    #[test]
    fn erle_is_the_ratio_of_energies() {
        let far = noise(1, -20.0, 16_000 * 25);
        let mic: Vec<f32> = far.iter().map(|x| x * 0.5).collect();
        let clean: Vec<f32> = far.iter().map(|x| x * 0.005).collect();
        let windows = erle_windows(&mic, &clean, &far, &[], RATE_HZ, 10.0);
        assert_eq!(windows.len(), 3);
        assert_eq!((windows[2].from_s, windows[2].to_s), (20.0, 25.0));
        for window in windows {
            assert!((window.db.unwrap() - 40.0).abs() < 1e-4, "{window:?}");
        }
        assert_eq!(erle_per_second(&mic, &clean, &far, &[], RATE_HZ).len(), 25);
    }

    #[test]
    fn erle_is_the_same_second_by_second() {
        for rate_hz in [16_000, 22_050] {
            let far: Vec<f32> = (0..12)
                .flat_map(|n| noise(n, if n % 3 == 1 { -70.0 } else { -20.0 }, rate_hz as usize * 9 / 8))
                .collect();
            let mic: Vec<f32> = far.iter().map(|x| x * 0.5).collect();
            let cleans = [0.01, 0.2].map(|gain| mic.iter().map(|x| x * gain).collect::<Vec<f32>>());
            let mut meter = ErleMeter::new(rate_hz, 4.0);
            let seconds = |signal: &[f32]| {
                signal.chunks(rate_hz as usize).map(<[f32]>::to_vec).collect::<Vec<Vec<f32>>>()
            };
            for (at, mic) in seconds(&mic).iter().enumerate() {
                let parts = [&cleans[0], &cleans[1]].map(|clean| seconds(clean)[at].clone());
                meter.push(mic, &seconds(&far)[at], [&parts[0], &parts[1]]);
            }
            for (clean, windows) in cleans.iter().zip(meter.windows()) {
                assert_eq!(windows, erle_windows(&mic, clean, &far, &[], rate_hz, 4.0), "{rate_hz} Hz");
            }
        }
    }

    #[test]
    fn erle_counts_echo_and_its_tail_without_noise_or_talker() {
        let second = RATE_HZ as usize;
        // 0-1 s: far end. 1-2 s: silence. 2-3 s: both. 3-4 s: far end.
        let mut far = noise(2, -20.0, 4 * second);
        far[second..2 * second].fill(0.0);
        let mut near = vec![0.0; 4 * second];
        near[2 * second..3 * second].copy_from_slice(&noise(3, -30.0, second));
        let counts = echo_only(&far, &near, RATE_HZ);
        let expected: Vec<bool> = (0..400).map(|frame| matches!(frame, 0..=119 | 310..=399)).collect();
        assert_eq!(counts, expected);

        // A residual outside the counted frames must not change the figure.
        let mic: Vec<f32> = far.iter().map(|x| x + 0.001).collect();
        let mut clean: Vec<f32> = mic.iter().map(|x| x * 0.1).collect();
        let before = erle_windows(&mic, &clean, &far, &near, RATE_HZ, 10.0)[0].db.unwrap();
        clean[2 * second..3 * second].fill(0.9);
        clean[second * 3 / 2..second * 19 / 10].fill(0.9);
        let after = erle_windows(&mic, &clean, &far, &near, RATE_HZ, 10.0)[0].db.unwrap();
        assert_eq!(before, after);
        assert!((before - 20.0).abs() < 1e-3);
    }

    #[test]
    fn erle_is_none_if_unmeasurable_and_bounded_for_silence() {
        let silent = vec![0.0; 16_000];
        let far = noise(4, -20.0, 16_000);
        assert_eq!(erle_windows(&far, &far, &silent, &[], RATE_HZ, 10.0)[0].db, None);
        assert_eq!(erle_windows(&silent, &silent, &far, &[], RATE_HZ, 10.0)[0].db, None);
        assert!(erle_windows(&[], &far, &far, &[], RATE_HZ, 10.0).is_empty());
        let db = erle_windows(&far, &silent, &far, &[], RATE_HZ, 10.0)[0].db.unwrap();
        assert!((80.0..82.0).contains(&db), "{db}");
    }

    #[test]
    fn si_sdr_ignores_scale_and_measures_added_noise() {
        let reference = noise(5, -20.0, 100_000);
        let added = noise(6, -40.0, 100_000);
        for scale in [0.01, 1.0, 3.0] {
            let estimate: Vec<f32> = reference.iter().zip(&added).map(|(s, n)| scale * (s + n)).collect();
            let db = si_sdr_db(&reference, &estimate).unwrap();
            assert!((db - 20.0).abs() < 0.1, "{db} dB at scale {scale}");
        }
        assert_eq!(si_sdr_db(&reference, &reference), Some(300.0));
        assert_eq!(si_sdr_db(&reference, &[0.0; 10]), None);
        assert_eq!(si_sdr_db(&[], &[]), None);
    }

    #[test]
    fn near_end_is_measured_only_during_speech() {
        let mut near = noise(7, -30.0, 32_000);
        near[16_000..].fill(0.0);
        let mut clean: Vec<f32> = near.iter().map(|x| x * 0.5).collect();
        clean[24_000..].fill(0.7);
        let result = near_end(&near, &clean, RATE_HZ);
        assert!((result.level_change_db.unwrap() + 6.02).abs() < 0.01, "{result:?}");
        assert!(result.si_sdr_db.unwrap() > 100.0, "{result:?}");
        assert_eq!(near_end(&vec![0.0; 16_000], &clean, RATE_HZ), NearEnd::default());
    }

    #[test]
    fn best_offset_finds_any_delay_of_either_sign() {
        let seed = 61;
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        for round in 0..20 {
            let reference = noise(rng.next_u64(), -20.0, 30_000);
            let offset = rng.range(0, 4001) as i64 - 2000;
            let hiss = noise(rng.next_u64(), -26.0, 30_000);
            let signal: Vec<f32> = (0..30_000_i64)
                .map(|n| {
                    let own = usize::try_from(n - offset).ok().and_then(|at| reference.get(at));
                    own.copied().unwrap_or(0.0) * 0.3 + hiss[n as usize]
                })
                .collect();
            let found = best_offset(&reference, &signal, 2000);
            assert_eq!(found, offset, "round {round}");
        }
        assert_eq!(best_offset(&[], &[], 100), 0);
        assert_eq!(best_offset(&[0.0; 50], &[1.0; 50], 100), 0);
        assert_eq!(best_offset(&[1.0, 0.0], &[1.0, 0.0], 0), 0);
    }

    #[test]
    fn levels_and_medians_are_exact() {
        assert_eq!(level_dbfs(&[1.0, -1.0]), 0.0);
        assert_eq!(level_dbfs(&[]), f64::NEG_INFINITY);
        assert_eq!(level_change_db(&[0.5], &[0.0]), None);
        assert!((level_change_db(&[0.5], &[0.05]).unwrap() + 20.0).abs() < 1e-5);
        assert_eq!(frame_levels_dbfs(&[1.0; 1000], 44_100).len(), 2);
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
