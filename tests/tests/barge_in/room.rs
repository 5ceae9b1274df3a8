//! Rooms in which a person interrupts an agent: random geometry, a far end of speech, music, noise or rings, and a
//! talker of a given level against the echo.

use handsfree_sim::acoustics::RoomAcoustics;
use handsfree_sim::convolver::Convolver;
use handsfree_sim::far_program::{FarProgram, FarSound};
use handsfree_sim::interpolate::resample_to;
use handsfree_sim::measure::{frame_levels_dbfs, level_dbfs, power};
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, RoomSource};
use handsfree_sim::wav::Clip;

pub(crate) const RATE_HZ: u32 = 16_000;
const RATE: usize = RATE_HZ as usize;
/// Level of the loudspeaker's signal.
const FAR_DBFS: f64 = -20.0;
/// Level of the echo at the microphone.
const ECHO_DBFS: f64 = -26.0;
/// Length of the impulse responses, in samples: 0.4 s.
const RESPONSE: usize = 6_400;
/// Length for which the person speaks, in seconds.
const SPEAKS_S: usize = 3;
/// Level below the person's mean from which his words have begun.
const BEGINS_BELOW_DB: f64 = 20.0;

/// Sound of the far end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FarEndKind {
    Speech,
    Music,
    Noise,
    /// A telephone rings, and the network's ring-back tone sounds, in turn.
    Rings,
    /// All of these and silence, in turn.
    Mixed,
}

impl FarEndKind {
    /// Returns its sound, with a mean level of -20 dBFS.
    pub(crate) fn render(self, seconds: usize, seed: u64) -> Vec<f32> {
        let program = |text: &str| text.parse::<FarProgram>().unwrap().render(RATE_HZ, seconds as f64, seed);
        let mut far = match self {
            Self::Speech => {
                let clip = Clip::far().to_mono_at(RATE_HZ);
                let from = Rng::for_stream(seed, "far end").range(0, clip.len() as u64) as usize;
                clip.iter().copied().cycle().skip(from).take(seconds * RATE).collect()
            }
            Self::Music => FarProgram::new(vec![(FarSound::Music, 3_600.0)]).unwrap().render(
                RATE_HZ,
                seconds as f64,
                seed,
            ),
            Self::Noise => {
                let mut noise = vec![0.0; seconds * RATE];
                Noise::new(Rng::for_stream(seed, "far end"), Colour::Pink, FAR_DBFS).add_to(&mut noise);
                noise
            }
            Self::Rings => program("ring:12,ring-back:18"),
            Self::Mixed => program("speech:20,music:20,ring:12,speech:14,silence:3,ring-back:12,music:15"),
        };
        scale_to(&mut far, FAR_DBFS);
        far
    }
}

/// A room with what is heard in it.
pub(crate) struct BargeInRoom {
    /// What the agent says.
    pub(crate) far: Vec<f32>,
    pub(crate) acoustics: RoomAcoustics,
    /// Time from which the person's words are at the microphone, in samples.
    pub(crate) begins: usize,
}

impl BargeInRoom {
    /// Makes a room of a seed. The person speaks after 6 to 8 s with `talker_db` against the echo, or not at all.
    pub(crate) fn new(seed: u64, far_end: FarEndKind, seconds: usize, talker_db: Option<f64>) -> Self {
        let mut rng = Rng::for_stream(seed, "barge-in room");
        let room = random_room(&mut rng);
        let far = far_end.render(seconds, seed);
        let mut echo_path = room.impulse_response(RoomSource::Loudspeaker, RATE_HZ, RESPONSE).unwrap();
        let echo_dbfs = level_dbfs(&convolved(&echo_path, &far));
        let gain = 10f64.powf((ECHO_DBFS - echo_dbfs) / 20.0) as f32;
        echo_path.iter_mut().for_each(|tap| *tap *= gain);

        let mut talker = Vec::new();
        let mut begins = 0;
        if let Some(talker_db) = talker_db {
            let mut spoken = words(&mut rng);
            spoken.truncate(SPEAKS_S * RATE);
            let path = room.impulse_response(RoomSource::Talker, RATE_HZ, RESPONSE).unwrap();
            spoken = convolved(&path, &spoken);
            scale_to(&mut spoken, ECHO_DBFS + talker_db);
            let at = ((6.0 + 2.0 * rng.uniform()) * f64::from(RATE_HZ)) as usize;
            let mean = level_dbfs(&spoken);
            let levels = frame_levels_dbfs(&spoken, RATE_HZ);
            let first = levels.iter().position(|&level| level > mean - BEGINS_BELOW_DB).unwrap();
            begins = at + first * RATE / 100;
            talker = vec![0.0; at];
            talker.extend(spoken);
        }
        let colour = if seed.is_multiple_of(2) { Colour::White } else { Colour::Pink };
        let noise = Noise::new(Rng::for_stream(seed, "room"), colour, -78.0 + 18.0 * rng.uniform());
        let acoustics = RoomAcoustics::new(Loudspeaker::new(0.0).unwrap(), &echo_path, talker, noise);
        Self { far, acoustics, begins }
    }
}

/// Returns a person's words from the start of a sentence, or from a word after a pause; each seed's voice has its
/// own pitch and speed.
fn words(rng: &mut Rng) -> Vec<f32> {
    let speed = 0.85 + 0.35 * rng.uniform();
    let clip = resample_to(&Clip::near().to_mono_at(RATE_HZ), RATE_HZ, (f64::from(RATE_HZ) * speed) as u32);
    let (mean, levels) = (level_dbfs(&clip), frame_levels_dbfs(&clip, RATE_HZ));
    // After 80 ms of silence, and with 1 s of words behind it.
    let is_start =
        |&at: &usize| levels[at] > mean - 15.0 && levels[at - 8..at].iter().all(|&level| level < mean - 25.0);
    let starts: Vec<usize> = (8..levels.len() - 100).filter(is_start).map(|at| at - 3).collect();
    let start = match starts.len() as u64 {
        0 => 0,
        _ if rng.uniform() < 0.4 => 0,
        count => starts[rng.range(0, count) as usize],
    };
    clip.iter().copied().cycle().skip(start * RATE / 100).take(SPEAKS_S * RATE).collect()
}

/// Returns a furnished room with a device on a table and a person at an arm's length.
fn random_room(rng: &mut Rng) -> Room {
    let mut between = |low: f64, high: f64| low + (high - low) * rng.uniform();
    let size_m = [between(3.5, 6.0), between(3.0, 5.0), between(2.4, 3.0)];
    let microphone_m = [between(1.2, size_m[0] - 1.6), between(1.2, size_m[1] - 1.2), between(0.7, 1.1)];
    let [x, y, z] = microphone_m;
    let loudspeaker_m = [x + between(0.1, 0.2), y + between(0.2, 0.35), z + between(-0.05, 0.05)];
    let talker_m = [x + between(0.6, 0.9), y - between(0.3, 0.6), z + between(0.2, 0.5)];
    let reflection = (-between(0.1, 0.35)).exp();
    let reflection = [reflection, 0.99 * reflection, 0.97 * reflection];
    Room { size_m, reflection, loudspeaker_m, microphone_m, talker_m }
}

fn convolved(response: &[f32], signal: &[f32]) -> Vec<f32> {
    let mut output = vec![0.0; signal.len()];
    Convolver::new(response).process(signal, &mut output);
    output
}

fn scale_to(signal: &mut [f32], level_dbfs: f64) {
    let scale = (10f64.powf(level_dbfs / 10.0) / power(signal)).sqrt() as f32;
    signal.iter_mut().for_each(|x| *x *= scale);
}
