//! Far ends other than speech: music, the tones of a telephone network, a siren, a ring, and silence, one after
//! another.
//!
//! Tones and rings are the hard far ends for acoustic delay estimation: their correlation has many peaks of
//! equal height, and a canceller that fits one of them has learned nothing about the next sound.

use std::f64::consts::TAU;
use std::fmt;
use std::str::FromStr;

use crate::noise::Rng;
use crate::wav::Clip;

/// Peak of every synthesised sound: -12 dBFS, the level of the peaks of the shipped speech.
const PEAK: f64 = 0.25;
/// Length of a note of [`FarSound::Music`]: eighths at 120 beats a minute.
const NOTE_S: f64 = 0.25;
/// Time in which a sound fades in and out, so that its ends do not click.
const FADE_S: f64 = 0.01;
/// Semitones of the scale of [`FarSound::Music`]: pentatonic, in which any two notes go together.
const SCALE: [u64; 5] = [0, 2, 4, 7, 9];

/// A kind of sound that a far end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarSound {
    /// The shipped voice.
    Speech,
    /// Three plucked voices and a drum, composed from the seed.
    Music,
    /// The North American dial tone: 350 and 440 Hz, without a pause.
    DialTone,
    /// The North American ring-back tone: 440 and 480 Hz for 2 s, then 4 s of silence.
    RingBack,
    /// A siren: a tone that sweeps between 600 and 1200 Hz every 2 s.
    Siren,
    /// The warble of an electronic telephone: 1000 and 1250 Hz in turn for 1 s, then 2 s of silence.
    Ring,
    /// Nothing.
    Silence,
}

impl FarSound {
    /// Every kind of sound.
    pub const ALL: [Self; 7] =
        [Self::Speech, Self::Music, Self::DialTone, Self::RingBack, Self::Siren, Self::Ring, Self::Silence];

    /// Returns the name that [`FarProgram`] reads and prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Speech => "speech",
            Self::Music => "music",
            Self::DialTone => "dial-tone",
            Self::RingBack => "ring-back",
            Self::Siren => "siren",
            Self::Ring => "ring",
            Self::Silence => "silence",
        }
    }

    /// Returns the value of a tone `at_s` seconds after its start; 0 for sounds that are no tone.
    fn tone(self, at_s: f64) -> f64 {
        let pair =
            |low_hz: f64, high_hz: f64| 0.5 * ((TAU * low_hz * at_s).sin() + (TAU * high_hz * at_s).sin());
        match self {
            Self::DialTone => pair(350.0, 440.0),
            Self::RingBack => pair(440.0, 480.0) * gate(at_s % 6.0, 2.0),
            // The phase is the integral of 900 + 300 sin(pi t) Hz.
            Self::Siren => (TAU * (900.0 * at_s - 300.0 / (0.5 * TAU) * (0.5 * TAU * at_s).cos())).sin(),
            Self::Ring => {
                let hz = if ((at_s * 20.0) as u64).is_multiple_of(2) { 1_000.0 } else { 1_250.0 };
                (TAU * hz * at_s).sin() * gate(at_s % 3.0, 1.0)
            }
            Self::Speech | Self::Music | Self::Silence => 0.0,
        }
    }
}

impl FromStr for FarSound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|sound| sound.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|sound| sound.name()).collect();
            format!("'{text}': expected one of {}", names.join(", "))
        })
    }
}

/// Returns 1 during the first `on_s` seconds and 0 after that, with soft edges.
fn gate(at_s: f64, on_s: f64) -> f64 {
    (at_s.min(on_s - at_s) / FADE_S).clamp(0.0, 1.0)
}

/// A far end that sends several sounds one after another, and then starts again.
///
/// Its text is a list of names with lengths in seconds, such as `speech:12,ring-back:10,silence:4`.
#[derive(Clone, Debug, PartialEq)]
pub struct FarProgram(Vec<(FarSound, f64)>);

impl FarProgram {
    /// Makes a program of sounds and their lengths in seconds.
    ///
    /// # Errors
    /// Fails if there is no sound, or if a length is outside 0.1 to 3600 s.
    pub fn new(parts: Vec<(FarSound, f64)>) -> Result<Self, String> {
        if parts.is_empty() {
            return Err("no sound: expected a list such as speech:12,ring-back:10".to_owned());
        }
        match parts.iter().find(|(_, seconds)| !(0.1..=3_600.0).contains(seconds)) {
            Some((sound, seconds)) => {
                Err(format!("{}:{seconds}: expected a length of 0.1 to 3600 s", sound.name()))
            }
            None => Ok(Self(parts)),
        }
    }

    /// Returns the sounds with their lengths in seconds.
    #[must_use]
    pub fn parts(&self) -> &[(FarSound, f64)] {
        &self.0
    }

    /// Returns the signal of the first `seconds`, full scale at 1.0. The seed selects the music.
    ///
    /// # Panics
    /// Panics if the rate is 0.
    #[must_use]
    pub fn render(&self, rate_hz: u32, seconds: f64, seed: u64) -> Vec<f32> {
        let length = (seconds * f64::from(rate_hz)).round() as usize;
        let speech = Clip::far().to_mono_at(rate_hz);
        let mut spoken = speech.iter().copied().cycle();
        let mut band = Band::new(rate_hz, seed);
        let mut signal = Vec::with_capacity(length);
        for &(sound, sound_s) in self.0.iter().cycle() {
            if signal.len() >= length {
                break;
            }
            let count = ((sound_s * f64::from(rate_hz)).round() as usize).clamp(1, length - signal.len());
            for index in 0..count {
                let at_s = index as f64 / f64::from(rate_hz);
                let edge = gate(at_s, count as f64 / f64::from(rate_hz));
                let value = match sound {
                    FarSound::Speech => f64::from(spoken.next().unwrap_or(0.0)),
                    FarSound::Music => band.next_sample() * edge,
                    tone => tone.tone(at_s) * PEAK * edge,
                };
                signal.push(value as f32);
            }
        }
        signal
    }
}

impl FromStr for FarProgram {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |part: &str| {
            let (name, length) = part
                .split_once(':')
                .ok_or_else(|| format!("'{part}': expected NAME:SECONDS, such as ring-back:10"))?;
            let seconds = length
                .parse::<f64>()
                .map_err(|_| format!("'{part}': expected a number of seconds after the colon"))?;
            Ok((name.parse::<FarSound>()?, seconds))
        };
        Self::new(text.split(',').map(part).collect::<Result<_, String>>()?)
    }
}

impl fmt::Display for FarProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (sound, seconds)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{seconds}", sound.name())?;
        }
        Ok(())
    }
}

/// Three plucked voices, each with harmonics that fade at their own speed, and a drum of noise.
struct Band {
    rng: Rng,
    rate_hz: f64,
    notes_hz: [f64; 3],
    /// Samples since the start of the current note.
    index: usize,
    drum: f64,
}

impl Band {
    fn new(rate_hz: u32, seed: u64) -> Self {
        let mut band = Self {
            rng: Rng::for_stream(seed, "music"),
            rate_hz: f64::from(rate_hz),
            notes_hz: [0.0; 3],
            index: 0,
            drum: 0.0,
        };
        band.choose_notes();
        band
    }

    fn choose_notes(&mut self) {
        for (voice, hz) in self.notes_hz.iter_mut().enumerate() {
            let degree = SCALE[self.rng.range(0, SCALE.len() as u64) as usize];
            let semitones = degree as f64 + 12.0 * voice as f64;
            // The lowest voice starts at the A of 110 Hz.
            *hz = 110.0 * (semitones / 12.0).exp2();
        }
        self.drum = if self.rng.range(0, 2) == 0 { 0.3 } else { 0.0 };
    }

    fn next_sample(&mut self) -> f64 {
        let at_s = self.index as f64 / self.rate_hz;
        let mut sum = self.drum * self.rng.gaussian() * (-at_s / 0.03).exp();
        for hz in self.notes_hz {
            for harmonic in 1..=6_u8 {
                let order = f64::from(harmonic);
                sum += (TAU * hz * order * at_s).sin() / (order * 3.0) * (-at_s * order / 0.4).exp();
            }
        }
        self.index += 1;
        if at_s >= NOTE_S {
            self.index = 0;
            self.choose_notes();
        }
        (sum * PEAK).clamp(-1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::level_dbfs;

    #[test]
    fn a_program_prints_as_it_is_read() {
        let text = "speech:12,ring-back:10.5,silence:4";
        let program: FarProgram = text.parse().unwrap();
        assert_eq!(program.to_string(), text);
        for (wrong, expected) in [
            ("", "NAME:SECONDS"),
            ("hum:3", "expected one of speech"),
            ("ring:x", "number of seconds"),
            ("ring:nan", "0.1 to 3600"),
            ("ring:0", "0.1 to 3600"),
        ] {
            let message = wrong.parse::<FarProgram>().unwrap_err();
            assert!(message.contains(expected), "{wrong}: {message}");
        }
    }

    #[test]
    fn every_sound_has_its_level_and_silence_is_silent() {
        for sound in FarSound::ALL {
            let signal = FarProgram::new(vec![(sound, 6.0)]).unwrap().render(16_000, 12.0, 3);
            assert_eq!(signal.len(), 12 * 16_000, "{sound:?}");
            let level = level_dbfs(&signal);
            match sound {
                FarSound::Silence => assert!(level < -300.0, "{level}"),
                _ => assert!((-32.0..-12.0).contains(&level), "{sound:?}: {level} dBFS"),
            }
            if sound == FarSound::Speech {
                continue;
            }
            let step = signal.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
            assert!(step < 0.5, "{sound:?} steps by {step}");
        }
    }
}
