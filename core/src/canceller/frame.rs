//! Worker side: what happens in 10 ms: filters, selection, suppression.

use super::ceiling;
use super::kalman::{FilterBin, PathChange};
use super::levels::{EchoLevels, FAR_ACTIVE};
use super::loudspeaker_model::LoudspeakerModel;
use super::noise_reduction;
use super::residual::ResidualInputs;
use super::selection::{Candidate, Crossing, FrameEnergies, Repair};
use super::subnormal::flush_powers;
use super::suppressor::Pressing;
use super::window::{overlap_add, rising, windowed};
use super::{CancellerStorage, EchoCanceller};
use crate::dsp::fft::Complex;
use crate::dsp::real_fft::{FftScratch, RealFft};
use crate::dsp::select::{larger, smaller};

/// Decay of an echo path in 10 ms, as power, that is assumed at first: 0.75 dB. It is slower than a room's,
/// because the echo may begin tens of milliseconds after the reference.
const DECAY: f64 = 0.841_395_141_645_195_1;
/// Power of the echo path that is assumed before anything is known: 8 dB, a loudspeaker next to the
/// microphone. A talker who speaks first pays for more of it: the first frames are explained as echo.
const FIRST_POWER: f32 = 6.0;
/// Part of the main filter's expected error power that is kept in 10 ms: a time constant of 20 ms.
const FAST_KEPT: f32 = 0.6;
/// Part of the slow mean of the error's power that is replaced in 10 ms: a time constant of 0.33 s.
const SLOW_STEP: f32 = 0.03;
/// Part of the slow mean that the expected power is at least, so that a pause in near speech does not make
/// its return a surprise.
const SLOW_PART: f32 = 0.4;
/// Part of the shadow filter's expected error power that is kept in 10 ms: a time constant of 45 ms.
const SHADOW_KEPT: f32 = 0.8;
/// Step of the shadow filter in terms of the path's power.
const SHADOW_STEP: f32 = 0.5;
/// Least power of the path that scales the shadow filter's step: -20 dB.
const LEAST_SHADOW_POWER: f32 = 1e-2;
/// Change of the path in 10 ms after a start or a path change: -27 dB.
const FIRST_CHANGE: f32 = 2e-3;
/// Change of the path in 10 ms while nothing moves: -40 dB.
const STEADY_CHANGE: f32 = 1e-4;
/// Largest change of the path in 10 ms that a shift is taken for: -13 dB.
const MOST_SHIFT_CHANGE: f32 = 0.05;
/// Part of the difference between both that is left after 10 ms of far end: a time constant of 3 s.
const CHANGE_KEPT: f32 = 0.996_67;
/// Least power of a bin of the path in terms of the mean, to which the change applies: -30 dB.
const LEAST_BIN_POWER: f32 = 1e-3;
/// Variance after a path change, in terms of the path's power.
const RAISED: f32 = 1.0;
/// Variance after tones, in terms of the path's power. More suppresses a talker whose far end is as narrow as tones; with 1, speech after
/// ring-back tones is cancelled by 3 dB less.
const AFTER_TONES: f32 = 2.0;
/// Part of the path that is left after a divergence.
const HALVED: f32 = 0.5;
/// Power that is always expected in the error: -70 dBFS, where 16-bit samples end.
const LEAST_ERROR: f32 = 1e-7;

/// Sample that is added to each frame before suppression: -170 dBFS.
const LEAST_SAMPLE: f32 = 3e-9;

/// Part of a transform of two frames that its error observes: one frame.
const OBSERVED: f32 = 0.5;
/// Part of the filter's uncertainty that is in its error. It is 1/2 if every partition is constrained in every
/// frame (Kuech, Mabande and Enzner 2014) and 1 if none is, because an unconstrained correction is
/// not halved afterwards; only one partition a frame is.
const UNCERTAINTY_IN_ERROR: f32 = 0.7;
/// Least step of the shadow filter in terms of the normalised LMS.
const LEAST_NORMALISED_STEP: f32 = 0.2;
/// Power of a bin of the reference below which the shadow filter adapts slower: -55 dBFS.
const LEAST_REFERENCE: f32 = 1e-3;

/// Working memory of a frame; nothing in it outlives the frame.
#[derive(Debug)]
pub(super) struct FrameMemory<const HOP: usize, const BINS: usize> {
    filter: [FilterBin; BINS],
    spectra: [[Complex; BINS]; 2],
    powers: [[f32; BINS]; 2],
    time: [[f32; HOP]; 2],
    near: [f32; HOP],
    errors: [[f32; HOP]; 2],
    fft: FftScratch<HOP>,
}

impl<const HOP: usize, const BINS: usize> FrameMemory<HOP, BINS> {
    pub(super) const fn new() -> Self {
        Self {
            filter: [FilterBin::ZERO; BINS],
            spectra: [[Complex::ZERO; BINS]; 2],
            powers: [[0.0; BINS]; 2],
            time: [[0.0; HOP]; 2],
            near: [0.0; HOP],
            errors: [[0.0; HOP]; 2],
            fft: FftScratch::new(),
        }
    }
}

/// Returns the parts of an exponential decay that the partitions have; their sum is 1.
const fn decay<const PARTITIONS: usize>() -> [f32; PARTITIONS] {
    let mut sum = 0.0;
    let mut part = 1.0;
    let mut partition = 0;
    while partition < PARTITIONS {
        sum += part;
        part *= DECAY;
        partition += 1;
    }
    let mut all = [0.0; PARTITIONS];
    let mut part = 1.0 / sum;
    partition = 0;
    while partition < PARTITIONS {
        all[partition] = part as f32;
        part *= DECAY;
        partition += 1;
    }
    all
}

impl<
    const HOP: usize,
    const BINS: usize,
    const PARTITIONS: usize,
    const SHADOW: usize,
    const LOUDSPEAKERS: usize,
    S: CancellerStorage,
    const MODELS: usize,
> EchoCanceller<HOP, BINS, PARTITIONS, SHADOW, LOUDSPEAKERS, S, MODELS>
{
    const DECAY: [f32; PARTITIONS] = decay::<PARTITIONS>();
    const SHADOW_DECAY: [f32; SHADOW] = decay::<SHADOW>();
    const RISING: [f32; HOP] = rising::<HOP>();

    /// Gives the memory its first values, in place.
    #[inline(never)]
    pub(super) fn prepare(&mut self) {
        self.is_prepared = true;
        self.far_high_pass = [super::VoiceHighPass::new(); LOUDSPEAKERS];
        self.near_high_pass = super::VoiceHighPass::new();
        self.last_far.as_flattened_mut().fill(0.0);
        for reference in &mut self.reference {
            reference.reset();
        }
        self.model.iter_mut().for_each(LoudspeakerModel::reset);
        self.forget_path();
        self.main_noise[0].fill(1e-6);
        self.main_noise[1].fill(0.0);
        self.shadow_noise.fill(1e-6);
        self.frames = 0;
        self.selection.reset();
        self.residual.reset();
        self.suppressor.reset();
        self.noise_reduction.reset();
        self.random = super::RandomBits::new();
        self.last_error.fill(0.0);
        self.linear.fill(0.0);
        self.last_echo.fill(0.0);
        self.overlap.fill(0.0);
        self.last_near_energy = 0.0;
        self.last_far_energy = 0.0;
        self.kept = (0.0, 0.0);
        (self.path_changes, self.divergences) = (0, 0);
    }

    /// Forgets the echo path, but not what was learned of the microphone's noise and of the talker.
    #[inline(never)]
    pub(super) fn forget_path(&mut self) {
        for main in &mut self.main {
            main.reset(FIRST_POWER, &Self::DECAY);
        }
        for shadow in &mut self.shadow {
            shadow.reset();
        }
        self.model.iter_mut().for_each(LoudspeakerModel::forget_path);
        (self.main_power, self.shadow_power) = (0.0, 0.0);
        self.path_change = FIRST_CHANGE;
        self.path_shift.reset();
        self.echo_error = [0.0; 2];
        self.levels = EchoLevels::new();
    }

    /// Cleans a frame.
    pub(super) fn frame(&mut self, samples: &mut [i16; HOP]) {
        if !self.is_prepared {
            self.prepare();
        }
        self.near_high_pass.flush();
        let mut near_energy = 0.0;
        for (to, &sample) in self.memory.near.iter_mut().zip(samples.iter()) {
            let x = ceiling::from_i16(sample);
            near_energy += x * x;
            *to = if self.settings.no_high_pass { x } else { self.near_high_pass.next(&Self::HIGH_PASS, x) };
        }
        let far_energy = self.take_reference();
        if self.model.iter_mut().any(LoudspeakerModel::disproves_path) {
            for main in &mut self.main {
                main.raise_variance(AFTER_TONES * self.main_power, &Self::DECAY);
            }
            self.path_change = FIRST_CHANGE;
        }
        self.cancel();
        for model in &mut self.model {
            model.observe(&self.memory.near);
        }
        // Parseval's theorem: the energy of the newest reference spectrum, which spans both frames.
        let reference = HOP as f32 * (far_energy + self.last_far_energy);
        self.last_far_energy = far_energy;
        if far_energy > FAR_ACTIVE {
            self.path_change = STEADY_CHANGE + (self.path_change - STEADY_CHANGE) * CHANGE_KEPT;
        }
        // The first frame and those with a repair cost no more than others.
        if self.select(reference) == Repair::None && self.frames > 0 {
            self.constrain();
        }
        let FrameMemory { near, errors, .. } = &mut self.memory;
        // The suppressor's input is the first of both now.
        ceiling::limit_to(near_energy, &mut errors[0]);
        if self.settings.no_correction {
            self.linear = errors[0];
        } else {
            ceiling::limit_to(near_energy, &mut self.linear);
        }
        let [_, echo_error] = &mut self.echo_error;
        for model in &self.model {
            let error = ceiling::energy(&errors[0]) * const { 1.0 / HOP as f32 };
            *echo_error = larger(*echo_error, model.curve_changed(error));
        }
        self.levels.observe(far_energy, near, &errors[0]);
        for model in &mut self.model {
            model.take_levels(&self.levels, far_energy);
        }
        if self.settings.no_suppressor {
            for (last, (near, error)) in self.last_echo.iter_mut().zip(near.iter().zip(&errors[0])) {
                *last = near - error;
            }
            self.last_error = errors[0];
            let energy = ceiling::quantise(near_energy, &self.linear, samples);
            self.kept = (energy, near_energy);
        } else {
            self.suppress(samples);
        }
        self.flush();
        self.last_near_energy = near_energy;
        self.frames = self.frames.wrapping_add(1);
    }

    /// Forgets what is left of sounds that ended.
    fn flush(&mut self) {
        self.main_noise.iter_mut().for_each(|noise| flush_powers(noise));
        flush_powers(&mut self.shadow_noise);
        self.residual.flush();
        self.model.iter_mut().for_each(LoudspeakerModel::flush);
    }

    /// Adds the reverse frame to the reference, or silence if there was none. Returns its energy.
    fn take_reference(&mut self) -> f32 {
        let mut energy = 0.0;
        if !core::mem::take(&mut self.has_far) {
            self.far.as_flattened_mut().fill(0.0);
            for (model, far) in self.model.iter_mut().zip(&mut self.far) {
                let silence = core::iter::repeat_n(0.0, HOP);
                model.distort(silence, far, (!self.settings.no_high_pass).then_some(&Self::HIGH_PASS));
            }
        }
        for ((reference, far), last) in self.reference.iter_mut().zip(&self.far).zip(&mut self.last_far) {
            let [spectrum, _] = &mut self.memory.spectra;
            RealFft::forward(Some(last), Some(far), spectrum, &mut self.memory.fft);
            self.model.iter_mut().for_each(|model| model.take_spectrum(spectrum));
            reference.push(spectrum);
            energy += ceiling::energy(far);
            *last = *far;
        }
        energy
    }

    /// Runs and adapts both filters; leaves their errors in memory.
    ///
    /// The suppressor takes the main filter's error as it was before this frame, because it removes itself what
    /// the filter is uncertain of. The linear output is the a posteriori error, of the path that this frame
    /// corrected: what the Kalman filter knows of this frame's echo, not only what it had predicted.
    fn cancel(&mut self) {
        let FrameMemory { filter, spectra, powers, time, near, errors, fft } = &mut self.memory;
        let [main_bins, shadow_bins] = spectra;
        let [shadow_power, uncertainty] = powers;
        filter.fill(FilterBin::ZERO);
        shadow_bins.fill(Complex::ZERO);
        shadow_power.fill(0.0);
        let steps = Self::SHADOW_DECAY;
        for ((reference, main), shadow) in self.reference.iter().zip(&self.main).zip(&self.shadow) {
            main.predict(reference, filter);
            shadow.predict(reference, &steps, shadow_bins, shadow_power);
        }
        for (to, bin) in main_bins.iter_mut().zip(filter.iter()) {
            *to = bin.value;
        }
        // The shadow filter's spectrum is free between its two transforms.
        for (bins, error) in [&mut *shadow_bins, &mut *main_bins].into_iter().zip(errors.iter_mut().rev()) {
            RealFft::inverse(bins, time, fft);
            for ((error, near), echo) in error.iter_mut().zip(near.iter()).zip(&time[1]) {
                *error = near - echo;
            }
        }
        let [main_error, shadow_error] = errors;
        let shift = self.path_shift.observe(near, main_error);
        let [_, last] = self.echo_error;
        self.echo_error = [last, shift.likelihood];
        RealFft::forward(None, Some(main_error), main_bins, fft);

        let [fast, slow] = &mut self.main_noise;
        let state = filter.iter_mut().zip(fast.iter_mut().zip(slow)).zip(shadow_bins.iter_mut());
        for (z, ((bin, (fast, slow)), explained)) in main_bins.iter().zip(state) {
            let error = z.power();
            *fast = FAST_KEPT * *fast + (1.0 - FAST_KEPT) * error;
            *slow += SLOW_STEP * (error - *slow);
            let noise = larger(*fast, SLOW_PART * *slow);
            let reciprocal = 1.0 / (UNCERTAINTY_IN_ERROR * bin.uncertainty + noise + LEAST_ERROR);
            // What this frame's correction of the path adds to the echo: summed over the partitions, reference
            // times gain is the uncertainty over its sum with the noise. No more than the error can be echo.
            if !self.settings.no_correction {
                *explained = z.scaled((bin.uncertainty * reciprocal).min(1.0));
            }
            *bin = FilterBin { value: z.scaled(reciprocal), gain: OBSERVED * reciprocal, uncertainty: 0.0 };
        }
        if !self.settings.no_correction {
            self.linear.copy_from_slice(main_error);
            RealFft::inverse(shadow_bins, time, fft);
            for (corrected, echo) in self.linear.iter_mut().zip(&time[1]) {
                *corrected -= echo;
            }
        }
        RealFft::forward(None, Some(shadow_error), shadow_bins, fft);
        let least_step = SHADOW_STEP * self.main_power.max(self.shadow_power).max(LEAST_SHADOW_POWER);
        let state = shadow_power.iter().zip(&mut self.shadow_noise);
        for (z, (power, noise)) in shadow_bins.iter_mut().zip(state) {
            *noise = SHADOW_KEPT * *noise + (1.0 - SHADOW_KEPT) * z.power();
            // A step that follows from the path's power is small while the path is unknown; the other one is that
            // of the normalised LMS.
            let step = larger(LEAST_NORMALISED_STEP * *noise / (*power + LEAST_REFERENCE), least_step);
            *z = z.scaled(step / (0.5 * step * *power + *noise + LEAST_ERROR));
        }

        let rate = larger(self.path_change, smaller(shift.change, MOST_SHIFT_CHANGE));
        let change = PathChange { rate, least_power: LEAST_BIN_POWER * self.main_power };
        (self.main_power, self.shadow_power) = (0.0, 0.0);
        for (reference, main) in self.reference.iter().zip(&mut self.main) {
            self.main_power += main.update(reference, filter, change, &Self::DECAY, &mut self.random);
        }
        for (to, bin) in uncertainty.iter_mut().zip(filter.iter()) {
            *to = bin.uncertainty;
        }
        for (reference, shadow) in self.reference.iter().zip(&mut self.shadow) {
            self.shadow_power += shadow.update(reference, shadow_bins, &steps, &mut self.random);
        }
    }

    /// Constrains one partition of one filter, because each costs two transforms: of the main filter in two frames
    /// of three, and of the shadow filter in the third.
    fn constrain(&mut self) {
        let FrameMemory { spectra: [bins, _], time, fft, .. } = &mut self.memory;
        let (round, turn) = (self.frames as usize / 3, self.frames as usize % 3);
        if turn < 2 {
            let partition = (2 * round + turn) % PARTITIONS;
            self.main.iter_mut().for_each(|main| main.constrain(partition, time, fft));
            // The constraint leaves the partition's response in the first half.
            self.model.iter_mut().for_each(|model| model.learn_path(partition, &time[0]));
        } else {
            self.shadow.iter_mut().for_each(|shadow| shadow.constrain(round % SHADOW, bins, time, fft));
        }
    }

    /// Chooses the suppressor's input and the linear output, leaves them in the place of the main filter's two
    /// errors, and repairs the filters.
    fn select(&mut self, reference: f32) -> Repair {
        let FrameMemory { near, errors: [main, shadow], .. } = &mut self.memory;
        let main_energy = ceiling::energy(main);
        let crossings = self.selection.observe(FrameEnergies {
            main: main_energy,
            corrected: if self.settings.no_correction { main_energy } else { ceiling::energy(&self.linear) },
            shadow: ceiling::energy(shadow),
            microphone: ceiling::energy(near),
        });
        let outputs = if self.settings.no_correction { 1 } else { 2 };
        for (Crossing { from, to }, main) in crossings.into_iter().zip([main, &mut self.linear]).take(outputs)
        {
            if from == Candidate::Main && to == Candidate::Main {
                continue;
            }
            let mut part = 0.0;
            for (main, (&shadow, &near)) in main.iter_mut().zip(shadow.iter().zip(near.iter())) {
                part += const { 1.0 / HOP as f32 };
                let value = |candidate| match candidate {
                    Candidate::Main => *main,
                    Candidate::Shadow => shadow,
                    Candidate::Microphone => near,
                };
                *main = value(from) * (1.0 - part) + value(to) * part;
            }
        }
        let repair = self.selection.repair(reference);
        match repair {
            Repair::None => {}
            Repair::CopyShadowToMain => {
                for (main, shadow) in self.main.iter_mut().zip(&self.shadow) {
                    shadow.copy_to(main.weights_mut());
                    main.raise_variance(RAISED * self.shadow_power, &Self::DECAY);
                }
                self.path_change = FIRST_CHANGE;
                self.path_changes = self.path_changes.saturating_add(1);
            }
            Repair::CopyMainToShadow => {
                for (main, shadow) in self.main.iter().zip(&mut self.shadow) {
                    shadow.copy_from(main.weights());
                }
            }
            Repair::Diverged => {
                for (main, shadow) in self.main.iter_mut().zip(&mut self.shadow) {
                    main.scale(HALVED);
                    main.raise_variance(RAISED * HALVED * HALVED * self.main_power, &Self::DECAY);
                    shadow.reset();
                }
                self.path_change = FIRST_CHANGE;
                self.divergences = self.divergences.saturating_add(1);
            }
        }
        repair
    }

    /// Suppresses the residual echo of the last frame; `samples` takes the output.
    fn suppress(&mut self, samples: &mut [i16; HOP]) {
        let pressing =
            Pressing { factor: self.settings().pressing(), comfort_noise: !self.settings.no_comfort_noise };
        let FrameMemory {
            spectra: [error, echo], powers: [power, uncertainty], time, near, errors, fft, ..
        } = &mut self.memory;
        let [current, _] = errors;
        windowed(&self.last_error, current, &Self::RISING, time);
        // In every bin, so that the means of a muted microphone end here and can rise again.
        if let Some(first) = time[0].first_mut() {
            *first += LEAST_SAMPLE;
        }
        RealFft::forward(Some(&time[0]), Some(&time[1]), error, fft);
        for (near, current) in near.iter_mut().zip(current.iter()) {
            *near -= current;
        }
        windowed(&self.last_echo, near, &Self::RISING, time);
        RealFft::forward(Some(&time[0]), Some(&time[1]), echo, fft);
        self.last_error = *current;
        self.last_echo = *near;

        for (index, (reference, main)) in self.reference.iter().zip(&self.main).enumerate() {
            if let Some(oldest) = reference.oldest() {
                let weights = main.weights().get(const { PARTITIONS - 2 }..).unwrap_or(&[]);
                self.residual.observe_tail(&oldest, weights, index == 0);
            }
        }
        let [last, now] = self.echo_error;
        let echo_error = larger(last, now);
        let band_echo = self.model.first_mut().map(LoudspeakerModel::band_echo);
        self.residual.observe(ResidualInputs { error, echo, uncertainty, echo_error }, band_echo, power);
        self.suppressor.observe(power, self.residual.power());
        self.suppressor.apply(error, power, self.residual.power(), pressing);
        if let Some(least_gain) = noise_reduction::least_gain(self.settings.noise_reduction_db) {
            self.noise_reduction.apply(error, self.suppressor.noise_power(), least_gain);
        }
        RealFft::inverse(error, time, fft);
        overlap_add(time, &mut self.overlap, &Self::RISING);
        let [first, _] = time;
        ceiling::limit_to(self.last_near_energy, first);
        let energy = ceiling::quantise(self.last_near_energy, first, samples);
        self.kept = (energy, self.last_near_energy);
    }
}

/// Returns the power of a part of the path.
// Not inlined, because the compiler would unroll the loop over the partitions.
#[inline(never)]
pub(super) fn path_power(weights: &[Complex]) -> f32 {
    weights.iter().fold(0.0, |sum, w| sum + w.power())
}
