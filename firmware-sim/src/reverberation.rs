//! Room impulse responses of a given reverberation time.
//!
//! The model is Polack's (doctoral thesis, Le Mans, 1988): after the direct sound, Gaussian noise that decays
//! exponentially. It costs a fraction of the image-source method's time, which grows with the cube of the
//! reverberation time.

use crate::noise::Rng;
use crate::room::SPEED_OF_SOUND_M_PER_S;

/// Volume of the room, in cubic metres: that of [`Room::default`](crate::room::Room).
const VOLUME_M3: f64 = 54.0;
/// Time from the direct sound to the first reflection, in seconds: a detour of 0.7 m.
const GAP_S: f64 = 0.002;

/// Returns the impulse response from a source to a microphone `distance_m` away, in a room with a reverberation
/// time (T60) of `rt60_s`. Sample 0 is the time of the impulse.
///
/// The direct sound has the gain `1 / (4 pi metres)`, as in [`Room`](crate::room::Room). The reverberation has
/// the energy of the direct sound at the critical distance, which is `0.057 * sqrt(volume / T60)` metres
/// (Kuttruff, "Room Acoustics", section 5.1).
#[must_use]
pub fn response(rate_hz: u32, rt60_s: f64, distance_m: f64, rng: &mut Rng) -> Vec<f32> {
    let rate_hz = f64::from(rate_hz);
    let direct = (distance_m / SPEED_OF_SOUND_M_PER_S * rate_hz).round() as usize;
    let first = direct + (GAP_S * rate_hz).round() as usize;
    let gain = 1.0 / (4.0 * std::f64::consts::PI * distance_m);
    let mut response = vec![0.0; first + (rt60_s * rate_hz).round() as usize];
    // The amplitude falls by 60 dB in the reverberation time.
    let decay = 1e-3_f64.powf(1.0 / (rt60_s * rate_hz));
    let mut amplitude = 1.0;
    let mut energy = 0.0;
    for tap in &mut response[first..] {
        *tap = rng.gaussian() * amplitude;
        energy += *tap * *tap;
        amplitude *= decay;
    }
    let critical_m = 0.057 * (VOLUME_M3 / rt60_s).sqrt();
    let reverberant = gain * distance_m / critical_m / energy.max(f64::MIN_POSITIVE).sqrt();
    response[first..].iter_mut().for_each(|tap| *tap *= reverberant);
    response[direct] = gain;
    response.into_iter().map(|tap| tap as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::reverberation_s;

    #[test]
    fn the_response_has_the_requested_reverberation_time() {
        for (seed, rt60_s) in [(1, 0.1), (2, 0.4), (3, 0.8)] {
            let response = response(16_000, rt60_s, 2.0, &mut Rng::new(seed));
            let found = reverberation_s(&response, 16_000).unwrap();
            assert!((found / rt60_s - 1.0).abs() < 0.2, "seed {seed}: {found} s for {rt60_s}");
            assert_eq!(response.iter().position(|&tap| tap != 0.0), Some(93));
        }
    }
}
