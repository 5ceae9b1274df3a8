//! Room acoustics: impulse responses of a rectangular room with a loudspeaker, a microphone and a talker by the
//! image-source method, and a loudspeaker that distorts.

use std::f64::consts::PI;
use std::fmt;

/// Speed of sound at 20 °C, in metres per second.
pub const SPEED_OF_SOUND_M_PER_S: f64 = 343.0;
/// Taps of the windowed sinc that places a reflection between two samples (Lehmann & Johansson, 2008, use this
/// length and window with Peterson's 1986 method).
const KERNEL_TAPS: i64 = 81;

/// Sound source in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomSource {
    /// The loudspeaker, which plays the far end.
    Loudspeaker,
    /// The talker, who is the near end.
    Talker,
}

/// Empty rectangular room with one microphone and two sources. All three are points.
///
/// One corner is the origin. Lengths and positions are in metres, in the order x, y, z (height).
#[derive(Clone, Debug, PartialEq)]
pub struct Room {
    /// Lengths of the room in metres, 0.5 to 100 each.
    pub size_m: [f64; 3],
    /// Pressure reflection coefficients of the two walls across each axis, -0.99 to 0.99. At 0 a wall absorbs
    /// all sound.
    pub reflection: [f64; 3],
    /// Position of the loudspeaker, in metres.
    pub loudspeaker_m: [f64; 3],
    /// Position of the microphone, in metres.
    pub microphone_m: [f64; 3],
    /// Position of the talker's mouth, in metres.
    pub talker_m: [f64; 3],
}

impl Default for Room {
    /// Returns a living room of 54 m³ with a reverberation time of a quarter of a second. A device on a table
    /// has 0.4 m between its loudspeaker and its microphone, and the talker is 1 m away.
    fn default() -> Self {
        Self {
            size_m: [5.0, 4.0, 2.7],
            reflection: [0.83, 0.82, 0.70],
            loudspeaker_m: [2.13, 1.57, 0.82],
            microphone_m: [2.49, 1.71, 0.93],
            talker_m: [3.18, 2.33, 1.31],
        }
    }
}

/// Error of a room that cannot be computed. The message names the value and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomError(String);

impl fmt::Display for RoomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RoomError {}

impl Room {
    /// Checks that the room can be computed: sizes and coefficients must be in range, every position at least
    /// 1 cm from every wall, and every source at least 1 cm from the microphone.
    ///
    /// # Errors
    /// Returns an error that names the first value out of range and the range.
    pub fn check(&self) -> Result<(), RoomError> {
        for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
            let size = self.size_m[axis];
            // The negated `contains` rejects NaN as well.
            if !(0.5..=100.0).contains(&size) {
                return Err(RoomError(format!("room size {name} is {size} m; expected 0.5 to 100 m")));
            }
            let reflection = self.reflection[axis];
            if !(-0.99..=0.99).contains(&reflection) {
                return Err(RoomError(format!(
                    "wall reflection {name} is {reflection}; expected -0.99 to 0.99"
                )));
            }
            for (what, position) in self.positions() {
                let at = position[axis];
                let nearest = 0.01;
                let farthest = size - 0.01;
                if !(nearest..=farthest).contains(&at) {
                    return Err(RoomError(format!(
                        "{what} position {name} is {at} m; expected {nearest} to {farthest:.2} m, inside the room"
                    )));
                }
            }
        }
        for (what, position) in [("loudspeaker", self.loudspeaker_m), ("talker", self.talker_m)] {
            let apart = distance_m(position, self.microphone_m);
            if apart < 0.01 {
                return Err(RoomError(format!(
                    "{what} is {apart:.4} m from the microphone; expected at least 0.01 m"
                )));
            }
        }
        Ok(())
    }

    fn positions(&self) -> [(&'static str, [f64; 3]); 3] {
        [("loudspeaker", self.loudspeaker_m), ("microphone", self.microphone_m), ("talker", self.talker_m)]
    }

    fn source_m(&self, source: RoomSource) -> [f64; 3] {
        match source {
            RoomSource::Loudspeaker => self.loudspeaker_m,
            RoomSource::Talker => self.talker_m,
        }
    }

    /// Returns the travel time of the direct sound from a source to the microphone, in seconds.
    pub fn direct_s(&self, source: RoomSource) -> f64 {
        distance_m(self.source_m(source), self.microphone_m) / SPEED_OF_SOUND_M_PER_S
    }

    /// Returns the impulse response from a source to the microphone: `length` samples at `rate_hz`. Sample 0
    /// is the time of the impulse.
    ///
    /// The image-source method (Allen & Berkley, JASA 1979) computes it, including their high-pass against
    /// the method's pressure offset, here with a corner frequency of 20 Hz. Amplitudes are free-field
    /// pressures, `1 / (4 pi metres)`: 0.2 for a direct path of 0.4 m. A windowed sinc of 81 taps places each
    /// image at its exact time. Its part before time 0 is cut off.
    ///
    /// # Errors
    /// Returns the errors of [`Room::check`], and an error for a rate outside 4 to 192 kHz or a length above
    /// 10 s.
    pub fn impulse_response(
        &self,
        source: RoomSource,
        rate_hz: u32,
        length: usize,
    ) -> Result<Vec<f32>, RoomError> {
        self.check()?;
        if !(4_000..=192_000).contains(&rate_hz) {
            return Err(RoomError(format!("room rate is {rate_hz} Hz; expected 4000 to 192000 Hz")));
        }
        if length > 10 * rate_hz as usize {
            return Err(RoomError(format!(
                "impulse response length is {length} samples; expected at most {} (10 s)",
                10 * rate_hz
            )));
        }
        let samples_per_m = f64::from(rate_hz) / SPEED_OF_SOUND_M_PER_S;
        let reach_m = (length as f64 + KERNEL_TAPS as f64) / samples_per_m;
        let from = self.source_m(source);
        let axes: [Vec<Image>; 3] = std::array::from_fn(|axis| {
            images(from[axis], self.microphone_m[axis], self.size_m[axis], self.reflection[axis], reach_m)
        });
        let mut response = vec![0.0_f64; length];
        let window = KernelWindow::new();
        for x in &axes[0] {
            for y in &axes[1] {
                let flat = x.offset_m * x.offset_m + y.offset_m * y.offset_m;
                if flat > reach_m * reach_m {
                    continue;
                }
                for z in &axes[2] {
                    let distance_m = (flat + z.offset_m * z.offset_m).sqrt();
                    if distance_m <= reach_m {
                        let gain = x.gain * y.gain * z.gain / (4.0 * PI * distance_m);
                        window.place(&mut response, distance_m * samples_per_m, gain);
                    }
                }
            }
        }
        high_pass(&mut response, f64::from(rate_hz));
        Ok(response.into_iter().map(|tap| tap as f32).collect())
    }
}

fn distance_m(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt()
}

/// Mirror image of a source along one axis: its offset from the microphone and the gain that its reflections
/// leave.
struct Image {
    offset_m: f64,
    gain: f64,
}

fn images(source: f64, microphone: f64, size: f64, reflection: f64, reach_m: f64) -> Vec<Image> {
    let order = (reach_m / (2.0 * size)).ceil() as i32 + 1;
    let mut all = Vec::new();
    for n in -order..=order {
        for mirrored in [0, 1] {
            let unfolded = f64::from(1 - 2 * mirrored) * source;
            let offset_m = unfolded + 2.0 * f64::from(n) * size - microphone;
            // The image has been reflected at the wall through the origin and at the opposite one.
            let count = (n - mirrored).abs() + n.abs();
            // 0 to the power 0 is 1, so the direct sound remains if the walls absorb everything.
            let gain = reflection.powi(count);
            if offset_m.abs() <= reach_m && gain.abs() > 1e-9 {
                all.push(Image { offset_m, gain });
            }
        }
    }
    all
}

/// Hann window of the fractional-delay kernel, computed by rotation. Evaluating two sines per tap would take
/// seconds for the 80,000 images of a quarter of a second.
struct KernelWindow {
    cos_step: f64,
    sin_step: f64,
}

impl KernelWindow {
    fn new() -> Self {
        let step = 2.0 * PI / (KERNEL_TAPS + 1) as f64;
        Self { cos_step: step.cos(), sin_step: step.sin() }
    }

    fn place(&self, response: &mut [f64], delay: f64, gain: f64) {
        let half = KERNEL_TAPS / 2;
        let centre = delay.round() as i64;
        let fraction = delay - centre as f64;
        if fraction.abs() < 1e-9 {
            if let Some(tap) = usize::try_from(centre).ok().and_then(|i| response.get_mut(i)) {
                *tap += gain;
            }
            return;
        }
        let mut x = -half as f64 - fraction;
        // From tap to tap sin(pi * x) only changes its sign.
        let mut sine = (PI * x).sin();
        let angle = 2.0 * PI * x / (KERNEL_TAPS + 1) as f64;
        let (mut sin, mut cos) = angle.sin_cos();
        for k in -half..=half {
            if let Some(tap) = usize::try_from(centre + k).ok().and_then(|i| response.get_mut(i)) {
                *tap += gain * sine / (PI * x) * 0.5 * (1.0 + cos);
            }
            x += 1.0;
            sine = -sine;
            (cos, sin) =
                (cos * self.cos_step - sin * self.sin_step, sin * self.cos_step + cos * self.sin_step);
        }
    }
}

/// Applies Allen & Berkley's second-order high-pass, as in their Fortran program.
fn high_pass(response: &mut [f64], rate_hz: f64) {
    let w = 2.0 * PI * 20.0 / rate_hz;
    let r = (-w).exp();
    let (b1, b2, a1) = (2.0 * r * w.cos(), -r * r, -(1.0 + r));
    let (mut y1, mut y2) = (0.0, 0.0);
    for tap in response {
        let y0 = b1 * y1 + b2 * y2 + *tap;
        *tap = y0 + a1 * y1 + r * y2;
        (y2, y1) = (y1, y0);
    }
}

/// Returns the reverberation time (T60) of an impulse response in seconds: three times the decay from -5 to
/// -25 dB of Schroeder's backward integral (1965). Returns `None` if the response does not decay that far.
pub fn reverberation_s(response: &[f32], rate_hz: u32) -> Option<f64> {
    let mut left: f64 = response.iter().map(|&tap| f64::from(tap).powi(2)).sum();
    let total = left;
    let mut from = None;
    for (n, &tap) in response.iter().enumerate() {
        let level_db = 10.0 * (left / total).log10();
        if level_db <= -5.0 && from.is_none() {
            from = Some(n);
        }
        if level_db <= -25.0 {
            return from.map(|from| 3.0 * (n - from) as f64 / f64::from(rate_hz));
        }
        left -= f64::from(tap).powi(2);
    }
    None
}

/// Nonlinear distortion of a small loudspeaker.
///
/// A drive of 0 passes the signal unchanged, bit for bit. Any other drive computes `tanh(drive * x) / drive`:
/// small signals pass with a gain of 1, and the output stays within `1 / drive`. At a drive of 1 a full-scale
/// sine has about 4 % of third harmonic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loudspeaker {
    drive: f32,
}

impl Loudspeaker {
    /// Makes a loudspeaker with a drive of 0.0 to 100.0.
    ///
    /// # Errors
    /// Returns an error for a drive outside that range.
    pub fn new(drive: f32) -> Result<Self, RoomError> {
        if (0.0..=100.0).contains(&drive) {
            Ok(Self { drive })
        } else {
            Err(RoomError(format!("loudspeaker drive is {drive}; expected 0 (off) to 100")))
        }
    }

    /// Distorts a block in place.
    pub fn process(&self, signal: &mut [f32]) {
        if self.drive == 0.0 {
            return;
        }
        for sample in signal {
            let x = (self.drive * *sample).clamp(-3.0, 3.0);
            // Padé approximation of tanh, exactly ±1 at ±3. The platform's tanh differs between machines in
            // the last bit, and a run must give the same samples everywhere.
            *sample = x * (27.0 + x * x) / (27.0 + 9.0 * x * x) / self.drive;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Rng;

    #[test]
    fn the_default_room_reverberates_like_a_living_room() {
        let room = Room::default();
        room.check().unwrap();
        let loudspeaker_m = distance_m(room.loudspeaker_m, room.microphone_m);
        let talker_m = distance_m(room.talker_m, room.microphone_m);
        assert!((0.3..0.5).contains(&loudspeaker_m), "{loudspeaker_m} m");
        assert!((0.9..1.1).contains(&talker_m), "{talker_m} m");
        for source in [RoomSource::Loudspeaker, RoomSource::Talker] {
            let response = room.impulse_response(source, 48_000, 24_000).unwrap();
            let decay_s = reverberation_s(&response, 48_000).unwrap();
            println!("{source:?}: {decay_s:.3} s");
            assert!((0.2..0.3).contains(&decay_s), "{source:?}: {decay_s:.3} s");
        }
    }

    #[test]
    fn absorbing_walls_leave_only_the_direct_sound() {
        let room = Room { reflection: [0.0; 3], ..Room::default() };
        let response = room.impulse_response(RoomSource::Talker, 48_000, 2000).unwrap();
        let delay = room.direct_s(RoomSource::Talker) * 48_000.0;
        let peak = (0..2000).max_by(|&a, &b| response[a].abs().total_cmp(&response[b].abs())).unwrap();
        assert_eq!(peak as f64, delay.round());
        // The high-pass has no gain at 0 Hz, so the level is measured at 1 kHz.
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &tap) in response.iter().enumerate() {
            let angle = 2.0 * PI * 1000.0 / 48_000.0 * n as f64;
            re += f64::from(tap) * angle.cos();
            im -= f64::from(tap) * angle.sin();
        }
        let expected = 1.0 / (4.0 * PI * distance_m(room.talker_m, room.microphone_m));
        let gain_db = 20.0 * ((re * re + im * im).sqrt() / expected).log10();
        assert!(gain_db.abs() < 0.05, "{gain_db} dB");
        let phase = im.atan2(re);
        let expected_phase = -(2.0 * PI * 1000.0 / 48_000.0 * delay);
        let error = (phase - expected_phase + PI).rem_euclid(2.0 * PI) - PI;
        assert!(error.abs() < 0.06, "phase off by {error}");
    }

    #[test]
    fn the_first_reflection_arrives_at_its_geometric_time() {
        let room = Room {
            size_m: [10.0, 10.0, 10.0],
            reflection: [0.0, 0.0, 0.5],
            loudspeaker_m: [5.0, 5.0, 1.0],
            microphone_m: [6.0, 5.0, 1.0],
            talker_m: [5.0, 6.0, 1.0],
        };
        let response = room.impulse_response(RoomSource::Loudspeaker, 48_000, 1000).unwrap();
        let path_m = (1.0_f64 + 4.0).sqrt();
        let arrival = (path_m / SPEED_OF_SOUND_M_PER_S * 48_000.0).round() as usize;
        let after = 200..1000;
        let peak = after.max_by(|&a, &b| response[a].abs().total_cmp(&response[b].abs())).unwrap();
        assert!(peak.abs_diff(arrival) <= 1, "at {peak}, expected {arrival}");
        let expected = 0.5 / (4.0 * PI * path_m);
        assert!((f64::from(response[peak]) / expected - 1.0).abs() < 0.25, "{}", response[peak]);
    }

    #[test]
    fn an_invalid_room_is_rejected_with_the_value_at_fault() {
        let good = Room::default();
        let cases = [
            (Room { size_m: [f64::NAN, 4.0, 2.7], ..good.clone() }, "room size x is NaN m"),
            (Room { size_m: [5.0, 400.0, 2.7], ..good.clone() }, "room size y is 400 m"),
            (Room { reflection: [0.5, 0.5, 1.0], ..good.clone() }, "wall reflection z is 1;"),
            (Room { talker_m: [3.0, 4.5, 1.0], ..good.clone() }, "talker position y is 4.5 m"),
            (
                Room { microphone_m: [f64::INFINITY, 1.0, 1.0], ..good.clone() },
                "microphone position x is inf m",
            ),
            (Room { talker_m: good.microphone_m, ..good.clone() }, "talker is 0.0000 m from"),
        ];
        for (room, expected) in cases {
            let message = room.impulse_response(RoomSource::Talker, 48_000, 10).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("expected"), "{message}");
        }
        let message = good.impulse_response(RoomSource::Talker, 0, 10).unwrap_err().to_string();
        assert_eq!(message, "room rate is 0 Hz; expected 4000 to 192000 Hz");
        assert!(good.impulse_response(RoomSource::Talker, 8000, 80_001).is_err());
        assert!(good.impulse_response(RoomSource::Talker, 8000, 0).unwrap().is_empty());
    }

    #[test]
    fn any_room_is_finite_and_decays() {
        let seed = 99;
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        for _ in 0..10 {
            let size_m = std::array::from_fn(|_| 2.0 + 6.0 * rng.uniform());
            let mut inside = || std::array::from_fn(|axis| 0.1 + (size_m[axis] - 0.2) * rng.uniform());
            let (loudspeaker_m, microphone_m, talker_m) = (inside(), inside(), inside());
            let reflection = std::array::from_fn(|_| 0.8 * rng.uniform());
            let room = Room { size_m, reflection, loudspeaker_m, microphone_m, talker_m };
            if room.check().is_err() {
                continue;
            }
            let response = room.impulse_response(RoomSource::Loudspeaker, 16_000, 8_000).unwrap();
            assert!(response.iter().all(|tap| tap.is_finite()));
            let energy = |part: &[f32]| part.iter().map(|&tap| f64::from(tap).powi(2)).sum::<f64>();
            assert!(energy(&response[4000..]) < 0.1 * energy(&response[..4000]), "{room:?}");
        }
    }

    #[test]
    fn a_loudspeaker_without_drive_passes_samples_unchanged() {
        let mut rng = Rng::new(4);
        let signal: Vec<f32> = (0..1000).map(|_| (rng.uniform() * 2.0 - 1.0) as f32).collect();
        let mut same = signal.clone();
        Loudspeaker::new(0.0).unwrap().process(&mut same);
        assert_eq!(same, signal);
        let loudspeaker = Loudspeaker::new(2.0).unwrap();
        let mut bent = signal.clone();
        loudspeaker.process(&mut bent);
        for (&x, &y) in signal.iter().zip(&bent) {
            assert!(y.abs() <= x.abs() * 1.000_001 && y.abs() <= 0.5 && x * y >= 0.0, "{x} became {y}");
            assert!((y - (2.0 * x).tanh() / 2.0).abs() < 0.015, "{x} became {y}");
        }
        let mut loud = [10.0, -1e30, 1e-3];
        loudspeaker.process(&mut loud);
        assert_eq!(&loud[..2], &[0.5, -0.5]);
        assert!((loud[2] - 1e-3).abs() < 1e-8);
        assert!(Loudspeaker::new(f32::NAN).unwrap_err().to_string().contains("NaN"));
    }
}
