//! Room with echo and a talker. What programs record through the service is compared with what `handsfree run` records in
//! the same room.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use handsfree_sim::interpolate::resample_to;
use handsfree_sim::measure;
use handsfree_sim::wav::{self, Clip};

use super::programs::{ClientRig, Programs};
use crate::machine_pauses::repeat_while_machine_pauses;
use crate::server::SoundServer;

/// Length of the recordings, in seconds.
const LENGTH_S: f64 = 28.0;
/// Time after which the programs begin to play, in seconds: they must be recording.
const PLAY_AFTER_S: f64 = 0.3;
/// Seconds of a recording in which the far end sounds alone. Programs begin to record up to 2 s after the room's begin.
const FAR_END_S: [f64; 2] = [7.5, 17.5];
/// Length after which the far end repeats itself, in seconds, so that the stretch above holds the same speech wherever it
/// begins.
const FAR_PERIOD_S: usize = 5;
/// Time for which the talker is silent, in seconds, beside the 10 s that the room waits.
const TALKER_WAITS_S: usize = 10;
/// Seconds of the room's time in which the talker speaks over the far end.
const TALKER_S: [f64; 2] = [20.2, 26.0];
/// How much later a program may begin to record, in seconds.
const LATEST_BEGIN_S: f64 = 2.0;
/// Rate at which the talker is searched in a recording, in hertz: it keeps what is characteristic of speech.
const SEARCH_HZ: u32 = 4_000;
/// How much less of the echo a program's recording may lack than that of `run`, in dB.
const BEHIND_DB: f64 = 3.0;
/// Echo reduction that `run` itself must reach, in dB: otherwise there was no echo to reduce.
const LEAST_DB: f64 = 25.0;
/// Least correlation with the talker as `run` records it, and largest difference of the levels in dB.
const CORRELATION: f64 = 0.9;
const LEVEL_DB: f64 = 1.5;

/// Files of one test.
pub(super) struct Room {
    folder: PathBuf,
    rate_hz: u32,
    far: Vec<f32>,
}

impl Room {
    pub(super) fn make(name: &str, rate_hz: u32) -> Self {
        let folder = std::env::temp_dir().join(format!("hf-room-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let words = ["Front_Center", "Rear_Left", "Side_Right", "Front_Right", "Rear_Center", "Side_Left"];
        let mut period = Vec::new();
        for word in words.iter().cycle() {
            let file = format!("/usr/share/sounds/alsa/{word}.wav");
            let clip = wav::read(&file)
                .unwrap_or_else(|error| panic!("{error}: run `apt install alsa-utils` or `make setup`"));
            period.extend(clip.to_mono_at(rate_hz));
            if period.len() >= FAR_PERIOD_S * rate_hz as usize {
                period.truncate(FAR_PERIOD_S * rate_hz as usize);
                break;
            }
        }
        let mut far = period.repeat(LENGTH_S as usize / FAR_PERIOD_S + 1);
        far.truncate(((LENGTH_S - PLAY_AFTER_S - LATEST_BEGIN_S) * f64::from(rate_hz)) as usize);
        let mut talker = vec![0.0; TALKER_WAITS_S * rate_hz as usize];
        talker.extend(Clip::near().to_mono_at(rate_hz));
        wav::write_mono(folder.join("far.wav"), rate_hz, &far).unwrap();
        wav::write_mono(folder.join("near.wav"), rate_hz, &talker).unwrap();
        Self { folder, rate_hz, far }
    }

    /// Returns the words that select this room, for a command that owns the devices.
    fn words(&self) -> String {
        format!("--io sim --no-ns --no-agc --near {}", self.folder.join("near.wav").display())
    }

    /// Starts `handsfree run` in the room, which plays the same far end and records.
    fn run(&self, recording: &str, more: &str) -> Child {
        let [far, recording] =
            ["far.wav", recording].map(|name| self.folder.join(name).display().to_string());
        let words = self.words();
        let words = format!("run {words} {more} --json --rate {} --duration {LENGTH_S}", self.rate_hz);
        Command::new(env!("CARGO_BIN_EXE_handsfree"))
            .args(words.split_whitespace())
            .args(["--play", &far, "--record", &recording])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Checks that the programs' recording has as little echo and as much of the talker as that of `run`.
    pub(super) fn compare(&self, programs: Programs, server: Option<&SoundServer>) {
        repeat_while_machine_pauses(|| self.compare_once(programs, server));
        std::fs::remove_dir_all(&self.folder).unwrap();
    }

    /// Records once. Returns an error that names the first figure that is too far from that of `run`.
    fn compare_once(&self, programs: Programs, server: Option<&SoundServer>) -> Result<(), String> {
        let rig = ClientRig::start(programs, server, self.rate_hz, &format!("serve {}", self.words()));
        // All three rooms are in real time, so they run together.
        let runs = [self.run("clean.wav", ""), self.run("echo.wav", "--no-aec --no-hpf")];
        let rate_hz = rig.recorded_hz();
        let far = handsfree::pcm::to_i16(&resample_to(&self.far, self.rate_hz, rate_hz));
        let recorded = handsfree::pcm::from_i16(&rig.record_and_play(LENGTH_S, PLAY_AFTER_S, &far));
        for run in runs {
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let reference = |name: &str| {
            let clip = wav::read(self.folder.join(name)).unwrap();
            clip.to_mono_at(rate_hz)
        };
        let (clean, echo) = (reference("clean.wav"), reference("echo.wav"));
        let level_db = |signal: &[f32]| 10.0 * measure::power(part(signal, FAR_END_S, rate_hz)).log10();
        let [theirs_db, ours_db] = [&recorded, &clean].map(|signal| level_db(&echo) - level_db(signal));
        let talker = TalkerFound::search(&clean, &recorded, rate_hz);
        println!(
            "{programs:?}: echo reduced by {theirs_db:.1} dB (run: {ours_db:.1} dB); talker {:.2} s later than in run, \
             correlation {:.3}, level {:+.1} dB",
            talker.later_s, talker.correlation, talker.level_db
        );
        rig.stop();
        assert!(ours_db >= LEAST_DB, "run itself reduces the echo by {ours_db:.1} dB: expected {LEAST_DB}");
        let too_far = [
            (
                theirs_db < ours_db - BEHIND_DB,
                format!("the echo is reduced by {theirs_db:.1} dB, by run {ours_db:.1} dB"),
            ),
            (
                talker.correlation < CORRELATION,
                format!("the talker's correlation is {:.3}", talker.correlation),
            ),
            (
                talker.level_db.abs() > LEVEL_DB,
                format!("the talker's level differs by {:.1} dB", talker.level_db),
            ),
        ];
        too_far.into_iter().find(|(is_too_far, _)| *is_too_far).map_or(Ok(()), |(_, text)| Err(text))
    }
}

fn part(signal: &[f32], stretch_s: [f64; 2], rate_hz: u32) -> &[f32] {
    let [from, to] = stretch_s.map(|at_s| (at_s * f64::from(rate_hz)) as usize);
    signal.get(from..to).unwrap_or_else(|| panic!("{} samples: expected at least {to}", signal.len()))
}

/// The talker in a recording, compared with another recording.
struct TalkerFound {
    later_s: f64,
    correlation: f64,
    level_db: f64,
}

impl TalkerFound {
    /// Searches the talker of one recording in another, which may have begun later: at a low rate over all lags, then at the
    /// recordings' own rate. Half a sample of the low rate alone would reduce the correlation to 0.9.
    fn search(reference: &[f32], recorded: &[f32], rate_hz: u32) -> Self {
        let low = |signal: &[f32]| resample_to(signal, rate_hz, SEARCH_HZ);
        let from = (TALKER_S[0] * f64::from(SEARCH_HZ)) as usize;
        let earliest = from - (LATEST_BEGIN_S * f64::from(SEARCH_HZ)) as usize;
        let latest = from + SEARCH_HZ as usize / 2;
        let coarse = best_begin(part(&low(reference), TALKER_S, SEARCH_HZ), &low(recorded), earliest, latest);
        let step = (rate_hz / SEARCH_HZ) as usize;
        let talker = part(reference, TALKER_S, rate_hz);
        let best = best_begin(talker, recorded, (coarse - 1) * step, (coarse + 1) * step);
        let heard = &recorded[best..best + talker.len()];
        Self {
            later_s: best as f64 / f64::from(rate_hz) - TALKER_S[0],
            correlation: product(talker, heard) / (product(heard, heard) * product(talker, talker)).sqrt(),
            level_db: 10.0 * (product(heard, heard) / product(talker, talker)).log10(),
        }
    }
}

/// Returns where in a recording a signal begins, by the largest product.
fn best_begin(signal: &[f32], recorded: &[f32], earliest: usize, latest: usize) -> usize {
    let latest = latest.min(recorded.len() - signal.len());
    let product_at = |at: usize| product(signal, &recorded[at..at + signal.len()]);
    (earliest..=latest).max_by(|&a, &b| product_at(a).total_cmp(&product_at(b))).unwrap()
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
}
