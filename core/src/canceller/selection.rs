//! Worker side: which filter's output is used, and which filter learns from the other.
//!
//! The quietest of both errors and the microphone is the output, so that a filter that diverged cannot be
//! heard. The rules of copying extend Haensler and Schmidt, "Acoustic Echo and Noise Control" (2004), chapter
//! 13.

/// Part of a level that is kept in 10 ms: a time constant of 28 ms, about two periods of a voice's pitch.
const KEPT: f32 = 0.7;
/// Level of another output in terms of the main filter's at which it is preferred: 3 dB lower. At 1 dB the
/// shadow filter, which follows a near talker by chance, is heard in its speech.
const PREFERRED_BELOW: f32 = 0.5;
/// Energy of a candidate in terms of its successor's in the same frame above which it is left at once, without a
/// crossing: 6 dB. After silence, in which the microphone may be the quietest, half of an onset would pass.
const LEFT_AT_ONCE_ABOVE: f32 = 4.0;
/// Level of the shadow filter's error in terms of the main filter's at which it is better: 1 dB lower.
const BETTER_BELOW: f32 = 0.8;
/// Frames (10 ms) in a row for which the shadow filter must be better. Half of it lets distortion cause
/// false copies.
const BETTER_FRAMES: u8 = 20;
/// Frames (10 ms) in a row after which a worse shadow filter starts again from the main filter.
const WORSE_FRAMES: u8 = 8;
/// Level of the main filter's error in terms of the microphone's at which the filter adds echo: 1.8 dB.
const DIVERGED_ABOVE: f32 = 1.5;
/// Frames (10 ms) in a row for which the main filter must add echo before it is halved.
const DIVERGED_FRAMES: u8 = 12;
/// Level of an error in terms of the microphone's noise above which it tells something: 6 dB.
const ABOVE_NOISE: f32 = 4.0;
/// Rise of the noise estimate in 10 ms: 1.3 dB a second.
const NOISE_RISE: f32 = 1.003;
/// Lowest energy of a frame that counts as noise; full scale is 1 a sample.
const LEAST_NOISE: f32 = 1e-8;
/// Energy of the newest reference spectrum above which the far end speaks.
const FAR_SPEAKS_ABOVE: f32 = 1e-3;

/// One of the signals that can be the linear output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    /// Error of the main filter.
    Main,
    /// Error of the shadow filter.
    Shadow,
    /// The microphone.
    Microphone,
}

/// What happens to the filters after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// Nothing.
    None,
    /// The main filter takes the shadow filter's path.
    CopyShadowToMain,
    /// The shadow filter takes the main filter's path.
    CopyMainToShadow,
    /// The main filter is halved and the shadow filter forgotten.
    Diverged,
}

/// Energies of the candidates in one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameEnergies {
    /// Error of the main filter as it was before this frame.
    pub(super) main: f32,
    /// Error of the main filter as this frame corrected it.
    pub(super) corrected: f32,
    pub(super) shadow: f32,
    pub(super) microphone: f32,
}

/// Candidates before and after a frame, between which an output crosses over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crossing {
    pub(super) from: Candidate,
    pub(super) to: Candidate,
}

/// Smoothed energies of the candidates, and how long each condition has held.
#[derive(Debug)]
pub(super) struct OutputSelection {
    main: f32,
    corrected: f32,
    shadow: f32,
    microphone: f32,
    noise: f32,
    better: u8,
    worse: u8,
    diverged: u8,
    /// Candidates of the suppressor and of the linear output.
    current: [Candidate; 2],
}

impl OutputSelection {
    pub(super) const fn new() -> Self {
        Self {
            main: 0.0,
            corrected: 0.0,
            shadow: 0.0,
            microphone: 0.0,
            noise: 0.0,
            better: 0,
            worse: 0,
            diverged: 0,
            current: [Candidate::Main; 2],
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
        // High enough that the first frames lower it.
        self.noise = 1e-3;
    }

    /// Returns the crossing of the suppressor's input, of which the main filter's part is its error as it was,
    /// and that of the linear output, of which it is the corrected one.
    pub(super) fn observe(&mut self, now: FrameEnergies) -> [Crossing; 2] {
        let smooth = |old: f32, new: f32| KEPT * old + (1.0 - KEPT) * new;
        self.main = smooth(self.main, now.main);
        self.corrected = smooth(self.corrected, now.corrected);
        self.shadow = smooth(self.shadow, now.shadow);
        self.microphone = smooth(self.microphone, now.microphone);
        self.noise = (self.noise * NOISE_RISE).min(now.microphone.max(LEAST_NOISE));
        let before = self.current;
        self.current = [self.main, self.corrected].map(|main| self.quietest(main));
        let [suppressed, linear] = self.current;
        let [suppressed_before, linear_before] = before;
        [(suppressed_before, suppressed, now.main), (linear_before, linear, now.corrected)].map(
            |(from, to, main)| {
                let energy = |candidate| match candidate {
                    Candidate::Main => main,
                    Candidate::Shadow => now.shadow,
                    Candidate::Microphone => now.microphone,
                };
                let is_left = energy(from) > LEFT_AT_ONCE_ABOVE * energy(to);
                Crossing { from: if is_left { to } else { from }, to }
            },
        )
    }

    /// Returns the candidate to be used if the main filter's error has the smoothed energy `main`.
    fn quietest(&self, main: f32) -> Candidate {
        let mut lowest = main * PREFERRED_BELOW;
        let mut quietest = Candidate::Main;
        if self.shadow < lowest {
            (quietest, lowest) = (Candidate::Shadow, self.shadow);
        }
        if self.microphone < lowest {
            quietest = Candidate::Microphone;
        }
        quietest
    }

    /// Returns what happens to the filters, after [`observe`](Self::observe).
    pub(super) fn repair(&mut self, reference: f32) -> Repair {
        let echo = self.main > ABOVE_NOISE * self.noise && reference > FAR_SPEAKS_ABOVE;
        let count = |held: bool, frames: u8| if held { frames.saturating_add(1) } else { 0 };
        self.better = count(echo && self.shadow < BETTER_BELOW * self.main, self.better);
        if self.better >= BETTER_FRAMES {
            self.better = 0;
            (self.main, self.corrected) = (self.shadow, self.shadow);
            return Repair::CopyShadowToMain;
        }
        self.worse = count(self.shadow > self.main, self.worse);
        self.diverged = count(echo && self.main > DIVERGED_ABOVE * self.microphone, self.diverged);
        if self.diverged >= DIVERGED_FRAMES {
            self.diverged = 0;
            (self.main, self.corrected, self.shadow) = (self.microphone, self.microphone, self.microphone);
            return Repair::Diverged;
        }
        if self.worse >= WORSE_FRAMES {
            self.worse = 0;
            self.shadow = self.main;
            return Repair::CopyMainToShadow;
        }
        Repair::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn energies(main: f32, shadow: f32, microphone: f32) -> FrameEnergies {
        FrameEnergies { main, corrected: main, shadow, microphone }
    }

    fn quiet_start() -> OutputSelection {
        let mut selection = OutputSelection::new();
        selection.reset();
        selection.observe(energies(1e-6, 1e-6, 1e-6));
        selection
    }

    #[test]
    fn the_quietest_candidate_becomes_the_output() {
        let mut selection = quiet_start();
        let mut last = |now| (0..30).map(|_| selection.observe(now)[0].to).last();
        assert_eq!(last(energies(0.1, 0.2, 1.0)), Some(Candidate::Main));
        assert_eq!(last(energies(0.1, 0.03, 1.0)), Some(Candidate::Shadow));
        assert_eq!(last(energies(3.0, 2.0, 1.0)), Some(Candidate::Microphone));
    }

    #[test]
    fn an_onset_after_silence_is_not_crossed_into() {
        let mut selection = quiet_start();
        for _ in 0..30 {
            selection.observe(energies(1e-6, 1e-6, 1e-7));
        }
        assert_eq!(selection.current, [Candidate::Microphone; 2]);
        let onset = selection.observe(energies(1e-4, 1e-3, 1.0));
        assert_eq!(onset, [Crossing { from: Candidate::Main, to: Candidate::Main }; 2]);
    }

    #[test]
    fn a_better_shadow_filter_is_copied_after_200_ms() {
        let mut selection = quiet_start();
        let repairs: Vec<Repair> = (0..30)
            .map(|_| {
                selection.observe(energies(1.0, 0.2, 1.0));
                selection.repair(1.0)
            })
            .take_while(|&repair| repair == Repair::None)
            .collect();
        assert!((20..24).contains(&(repairs.len() + 1)), "{} frames", repairs.len());
    }

    #[test]
    fn a_diverged_filter_is_halved_and_silence_repairs_nothing() {
        let mut selection = quiet_start();
        let mut seen = Vec::new();
        for _ in 0..20 {
            selection.observe(energies(4.0, 4.0, 1.0));
            seen.push(selection.repair(1.0));
        }
        assert!(seen.contains(&Repair::Diverged), "{seen:?}");
        let mut selection = quiet_start();
        for _ in 0..50 {
            selection.observe(energies(4.0, 4.0, 1.0));
            assert_eq!(selection.repair(0.0), Repair::None);
        }
    }
}
