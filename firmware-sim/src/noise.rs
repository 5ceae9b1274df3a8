//! Random numbers from one seed, and stationary background noise.
//!
//! The sample path calls no function of the platform's mathematics library: a run must give the same samples
//! on every machine, and `ln`, `cos` and `tanh` differ between machines in the last bit.

/// Small pseudo-random number generator. A seed gives the same numbers on every platform and in every version
/// of this crate.
///
/// The generator is xoshiro256++ (Blackman & Vigna, 2019), seeded by SplitMix64 as its authors advise. It is
/// not cryptographically secure.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// Makes a generator for a seed. Every seed is valid, 0 included.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let state = std::array::from_fn(|_| {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = mixed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// Makes a generator for one part of a run, named by `stream`.
    ///
    /// Parts with generators of their own are independent: an additional draw in one part does not change the
    /// numbers of another.
    pub fn for_stream(seed: u64, stream: &str) -> Self {
        // FNV-1a, because the standard library's hash may change between versions.
        let name = stream.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self::new(seed ^ name)
    }

    /// Returns 64 uniformly distributed bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Returns a uniformly distributed number in 0.0 ..= 1.0 - 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a uniformly distributed number in `low..high`; `low` if the range is empty.
    ///
    /// The bias of the multiply-and-shift method is below `(high - low) / 2^64`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        let width = u128::from(high.saturating_sub(low));
        low + ((u128::from(self.next_u64()) * width) >> 64) as u64
    }

    /// Returns a normally distributed number with mean 0 and standard deviation 1, within ±6.
    ///
    /// It is the sum of twelve uniform 16-bit numbers (Irwin-Hall distribution). It needs additions only, so
    /// it is the same on every platform. Its kurtosis is 2.9 instead of 3, which makes no difference to the
    /// simulation.
    pub fn gaussian(&mut self) -> f64 {
        let mut sum = 0_u64;
        for _ in 0..3 {
            let bits = self.next_u64();
            sum += (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        }
        // Twelve times half a quantisation step makes the mean exactly 0.
        (sum as f64 + 6.0) / 65_536.0 - 6.0
    }
}

/// Spectrum of a [`Noise`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Constant power density, as of an amplifier.
    White,
    /// Power density falling by about 3 dB per octave, as of a room.
    Pink,
}

/// Stationary Gaussian noise of a given level.
///
/// Pink noise is white noise filtered by Paul Kellet's three-pole filter (music-dsp list, 1999), within 0.5
/// dB of -3 dB per octave between 40 Hz and 15 kHz at 44.1 to 48 kHz; at other rates the corner moves with
/// the rate.
#[derive(Clone, Debug)]
pub struct Noise {
    rng: Rng,
    colour: Colour,
    gain: f64,
    poles: [f64; 3],
}

impl Noise {
    /// Makes a noise of `level_dbfs` RMS, where 0 dBFS is an RMS of 1.0. A level of minus infinity gives
    /// silence.
    pub fn new(rng: Rng, colour: Colour, level_dbfs: f64) -> Self {
        let amplitude = 10_f64.powf(level_dbfs / 20.0);
        let gain = match colour {
            Colour::White => amplitude,
            Colour::Pink => amplitude / pink_rms(),
        };
        Self { rng, colour, gain, poles: [0.0; 3] }
    }

    /// Returns the next sample; full scale is ±1.0.
    pub fn next_sample(&mut self) -> f32 {
        let white = self.rng.gaussian();
        let sample = match self.colour {
            Colour::White => white,
            Colour::Pink => pink(&mut self.poles, white),
        };
        (sample * self.gain) as f32
    }

    /// Adds the noise to a signal.
    pub fn add_to(&mut self, signal: &mut [f32]) {
        if self.gain == 0.0 {
            return;
        }
        for sample in signal {
            *sample += self.next_sample();
        }
    }
}

fn pink(poles: &mut [f64; 3], white: f64) -> f64 {
    poles[0] = 0.99765 * poles[0] + white * 0.099_046_0;
    poles[1] = 0.96300 * poles[1] + white * 0.296_516_4;
    poles[2] = 0.57000 * poles[2] + white * 1.052_691_3;
    poles[0] + poles[1] + poles[2] + white * 0.1848
}

/// Returns the RMS level of the pink filter's output for white noise of RMS 1: the root of the energy of its
/// impulse response.
fn pink_rms() -> f64 {
    let mut poles = [0.0; 3];
    (0..20_000).map(|n| pink(&mut poles, if n == 0 { 1.0 } else { 0.0 }).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_published_ones_and_streams_differ() {
        let mut rng = Rng::new(0);
        // xoshiro256++ behind SplitMix64(0), as printed by the authors' C code.
        assert_eq!(rng.next_u64(), 0x53175d61490b23df);
        assert_eq!(rng.next_u64(), 0x61da6f3dc380d507);
        let mut noise = Noise::new(Rng::for_stream(7, "noise"), Colour::White, -60.0);
        let first = noise.next_sample();
        assert_eq!(first, Noise::new(Rng::for_stream(7, "noise"), Colour::White, -60.0).next_sample());
        assert_ne!(first, Noise::new(Rng::for_stream(7, "jitter"), Colour::White, -60.0).next_sample());
    }

    #[test]
    fn gaussian_has_the_expected_moments() {
        let mut rng = Rng::new(1);
        let draws: Vec<f64> = (0..200_000).map(|_| rng.gaussian()).collect();
        let moment = |power| draws.iter().map(|x| x.powi(power)).sum::<f64>() / draws.len() as f64;
        assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.01, "variance {}", moment(2));
        assert!((moment(4) - 2.9).abs() < 0.1, "fourth moment {}", moment(4));
    }

    #[test]
    fn range_stays_inside_and_reaches_both_ends() {
        let mut rng = Rng::new(3);
        let mut seen = [false; 5];
        for _ in 0..500 {
            let value = rng.range(10, 15);
            seen[(value - 10) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(rng.range(4, 4), 4);
    }

    #[test]
    fn both_colours_have_the_requested_level() {
        for colour in [Colour::White, Colour::Pink] {
            let mut noise = Noise::new(Rng::new(9), colour, -60.0);
            let mut signal = vec![0.0_f32; 480_000];
            noise.add_to(&mut signal);
            let power = signal.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / signal.len() as f64;
            let level_dbfs = 10.0 * power.log10();
            assert!((level_dbfs + 60.0).abs() < 0.3, "{colour:?}: {level_dbfs} dBFS");
        }
        assert_eq!(Noise::new(Rng::new(9), Colour::White, f64::NEG_INFINITY).next_sample(), 0.0);
    }
}
