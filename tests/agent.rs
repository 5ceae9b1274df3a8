//! A whole conversation in a simulated room: the agent speaks, the user barges in, a level detector on the cleaned
//! microphone stops the voice, and the transcript ends with the word that was heard last.
#![allow(missing_docs)]

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_apm::{ApmConfig, ApmProcessor};
use handsfree_core::audio_io::{AudioIo, StreamHalves};
use handsfree_core::dsp::Quality;
use handsfree_core::playback::{SourceConfig, Track, TrackError, TrackEvent};
use handsfree_core::{Duration, Format, Frame, Instant, SampleRate, SessionFormat};
use handsfree_sim::acoustics::RoomAcoustics;
use handsfree_sim::board::{Board, Step};
use handsfree_sim::convolver::Convolver;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, Source};
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_sim::side::Jitter;
use handsfree_sim::wav::Clip;
use handsfree_tests::{level_db, plain_board, to_pcm, with_room};

const RATE_HZ: u32 = 16_000;
/// Speech synthesis at a rate of its own.
const SPEECH_HZ: u32 = 24_000;
const MEMORY: usize = Quality::MEDIUM.fast_memory(SPEECH_HZ, RATE_HZ, 1);
const LATENCY_MS: i64 = 140;
const DRIFT_PPM: f64 = 180.0;
const USER_BEGINS_S: f64 = 26.0;
const USER_SPEAKS_S: f64 = 3.0;
/// A word of the transcript takes so many sample frames of speech.
const WORD: u64 = 6_000;

type Voice<'p, 'a> = Track<'p, 'a, NoopRawMutex, CAP, SLOTS, MEMORY>;

fn seconds(time: Instant) -> f64 {
    time.as_nanos() as f64 / 1e9
}

/// What the agent says: speech with a faint hum in it, so that its last sample can be found in a recording.
fn speech(length_s: f64) -> Vec<i16> {
    let clip = to_pcm(&Clip::far().to_mono_at(SPEECH_HZ));
    let count = (length_s * f64::from(SPEECH_HZ)) as usize;
    let hum = |n: usize| ((n as f64 * 0.06).sin() * 40.0) as i16;
    (0..count).map(|n| clip[n % clip.len()] / 2 * 2 + hum(n) + 1).collect()
}

/// The user as the microphone hears them.
fn user(room: &Room) -> Vec<f32> {
    let clip = Clip::near().to_mono_at(RATE_HZ);
    let begin = (USER_BEGINS_S * f64::from(RATE_HZ)) as usize;
    let mut spoken = vec![0.0; begin];
    spoken.extend(clip.iter().copied().cycle().take((USER_SPEAKS_S * f64::from(RATE_HZ)) as usize));
    let mut path = room.impulse_response(Source::Talker, RATE_HZ, 4_800).unwrap();
    path.iter_mut().for_each(|tap| *tap *= 6.3);
    let mut heard = vec![0.0; spoken.len()];
    Convolver::new(&path).process(&spoken, &mut heard);
    heard
}

/// Somebody speaks when 6 of the last 10 frames are loud.
#[derive(Default)]
struct Detector {
    loud: std::collections::VecDeque<bool>,
}

impl Detector {
    fn hear(&mut self, frame: &[i16]) -> bool {
        self.loud.push_back(level_db(frame) > -50.0);
        if self.loud.len() > 10 {
            self.loud.pop_front();
        }
        self.loud.iter().filter(|&&loud| loud).count() >= 6
    }
}

/// What the agent is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Greeting,
    Answering,
    Listening,
    LastWords,
    Done,
}

/// What came of the conversation.
#[derive(Debug, Default)]
struct Minutes {
    false_alarms: usize,
    heard_user_at: Option<f64>,
    answer_began: Option<Instant>,
    interrupted_position: Option<u64>,
    late_audio_refused: bool,
    last_words: (Option<Instant>, Option<Instant>),
    user_while_listening_db: f64,
}

struct Agent<'p, 'a> {
    voice: Voice<'p, 'a>,
    turn: Turn,
    to_say: Vec<i16>,
    said: usize,
    /// All of it was pushed and the voice knows.
    is_complete: bool,
    detector: Detector,
    quiet_frames: u32,
    minutes: Minutes,
}

impl Agent<'_, '_> {
    fn begin(&mut self, turn: Turn, length_s: f64) {
        self.turn = turn;
        self.to_say = speech(length_s);
        self.said = 0;
        self.is_complete = false;
    }

    /// Synthesis delivers as fast as it is taken; the network does not know of interruptions at once.
    fn synthesise(&mut self) {
        if self.is_complete {
            return;
        }
        match self.voice.push(&self.to_say[self.said..]) {
            Ok(taken) => self.said += taken,
            Err(error) => {
                assert_eq!(error, TrackError::InputClosed);
                self.minutes.late_audio_refused = true;
                self.is_complete = true;
                return;
            }
        }
        if self.said == self.to_say.len() {
            // A full queue is tried again with the next frame.
            self.is_complete = self.voice.mark_synthesis_complete().is_ok();
        }
    }

    fn hear(&mut self, frame: &[i16], now: Instant) {
        let speaks = self.detector.hear(frame);
        match self.turn {
            Turn::Greeting | Turn::Answering if speaks && seconds(now) < USER_BEGINS_S => {
                // The canceller may need its first second of echo.
                self.minutes.false_alarms += usize::from(seconds(now) > 2.0);
            }
            Turn::Answering if speaks => {
                self.minutes.heard_user_at = Some(seconds(now));
                self.voice.interrupt();
                self.turn = Turn::Listening;
            }
            Turn::Listening => {
                self.minutes.user_while_listening_db =
                    self.minutes.user_while_listening_db.max(level_db(frame));
                self.quiet_frames = if speaks { 0 } else { self.quiet_frames + 1 };
                if self.quiet_frames == 60 && self.minutes.interrupted_position.is_some() {
                    self.voice.enable_input(true);
                    self.begin(Turn::LastWords, 1.5);
                }
            }
            _ => {}
        }
    }

    fn notice(&mut self, now: Instant) {
        while let Some(event) = self.voice.poll_event(now) {
            match (self.turn, event) {
                (Turn::Answering, TrackEvent::FirstAudio { at }) => self.minutes.answer_began = Some(at),
                (Turn::LastWords, TrackEvent::FirstAudio { at }) => self.minutes.last_words.0 = Some(at),
                (Turn::Greeting, TrackEvent::LastAudio { .. }) => self.begin(Turn::Answering, 20.0),
                (Turn::LastWords, TrackEvent::LastAudio { at }) => {
                    self.minutes.last_words.1 = Some(at);
                    self.turn = Turn::Done;
                }
                (_, TrackEvent::Interrupted { position }) => {
                    self.minutes.interrupted_position = Some(position)
                }
                _ => {}
            }
        }
    }
}

/// Holds the conversation and returns its minutes, where the answer began in the source, and what the loudspeaker
/// played on the microphone's clock.
fn converse(seed: u64) -> (Minutes, u64, Vec<f32>) {
    let rate = SampleRate::new(RATE_HZ).unwrap();
    let format = Format::with_rate(rate, 1).unwrap();
    let room = Room::default();
    let mut response = room.impulse_response(Source::Loudspeaker, RATE_HZ, 4_800).unwrap();
    response.iter_mut().for_each(|tap| *tap *= 2.0);
    let noise = Noise::new(Rng::for_stream(seed, "noise"), Colour::Pink, -70.0);
    let air = RoomAcoustics::new(Loudspeaker::new(0.0).unwrap(), &response, user(&room), noise);

    let mut config = plain_board(rate, seed);
    config.playback.latency = Duration::from_millis(LATENCY_MS);
    config.playback.ppm = DRIFT_PPM;
    config.playback.jitter = Jitter::Uniform { micros: 100.0 };
    let mut session = Box::new(SimSession::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let voice = ApmProcessor::new(format, format, ApmConfig::default()).unwrap();
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, voice, ()).unwrap();
    let mut board = Board::new(config.clone(), Box::new(air)).unwrap();
    board.record();
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    board.start(&request(&config), stream_halves).unwrap_or_else(|refused| panic!("{}", refused.error));

    let source = SourceConfig { rate_hz: SPEECH_HZ, channels: 1, quality: Quality::MEDIUM, matching: None };
    let mut agent = Agent {
        voice: halves.tracks.open_source(source).unwrap(),
        turn: Turn::Greeting,
        to_say: speech(17.0),
        said: 0,
        is_complete: false,
        detector: Detector::default(),
        quiet_frames: 0,
        minutes: Minutes { user_while_listening_db: -120.0, ..Minutes::default() },
    };
    agent.voice.enable_input(true);
    let clock = board.clock();
    while agent.turn != Turn::Done {
        if board.step() != Step::Worker {
            continue;
        }
        agent.synthesise();
        halves.playback.poll();
        let mut cleaned = Vec::new();
        halves.capture.poll(&clock, &mut |frame: &Frame<CAP>| cleaned.push(frame.samples().to_vec()));
        cleaned.iter().for_each(|frame| agent.hear(frame, board.now()));
        agent.notice(board.now());
        assert!(seconds(board.now()) < 60.0, "stuck in {:?}", agent.turn);
    }
    // What the microphone has not recorded yet.
    let until = board.now() + Duration::from_millis(200);
    while board.now() < until {
        board.step();
    }
    (agent.minutes, 17 * u64::from(SPEECH_HZ), board.take_recording().unwrap().far)
}

#[test]
fn the_user_barges_in_and_the_transcript_ends_where_the_voice_did() {
    for seed in 1..=3 {
        let (minutes, answer_from, far) = with_room(|| converse(seed));
        println!("seed {seed}: {minutes:?}");
        assert_eq!(minutes.false_alarms, 0, "the agent's own voice is no user");
        let noticed_s = minutes.heard_user_at.expect("the user was heard") - USER_BEGINS_S;
        assert!((0.0..0.5).contains(&noticed_s), "the user was heard after {noticed_s:.3} s");

        // The truth: the loudspeaker's last sound before the user was listened to.
        let listening = ((USER_BEGINS_S + noticed_s + 0.8) * f64::from(RATE_HZ)) as usize;
        let last = far[..listening].iter().rposition(|sample| sample.abs() > 0.5 / 32_768.0).unwrap();
        let last_s = last as f64 / f64::from(RATE_HZ);
        let silent_after_s = last_s - minutes.heard_user_at.unwrap();
        // One fade, two frames in the ring, one frame, the device; and the detector ran a frame after its audio.
        let bound_s = 0.005 + 0.02 + 0.01 + LATENCY_MS as f64 / 1e3;
        assert!(
            (0.0..bound_s).contains(&silent_after_s),
            "silent after {silent_after_s:.4} s, bound {bound_s:.4} s"
        );

        let began_s = seconds(minutes.answer_began.unwrap());
        let truth = (last_s - began_s) * f64::from(SPEECH_HZ) * (1.0 + DRIFT_PPM * 1e-6);
        let told = minutes.interrupted_position.unwrap() - answer_from;
        println!(
            "seed {seed}: heard after {:.0} ms, silent {:.1} ms later, told {told}, truth {truth:.0}",
            noticed_s * 1e3,
            silent_after_s * 1e3
        );
        // The fade's last samples, two of the mix in three of the source, are below the least bit.
        assert!((told as f64 - truth).abs() < 12.0, "told {told}, truth {truth}");
        assert_eq!(told / WORD, truth as u64 / WORD, "the same last word");

        assert!(minutes.late_audio_refused, "what synthesis still had for the old answer was refused");
        assert!(minutes.user_while_listening_db > -45.0, "the user comes through");
        let (first, last) = minutes.last_words;
        let took = (last.unwrap() - first.unwrap()).as_nanos() as f64 / 1e9;
        assert!(
            (took - 1.5 / (1.0 + DRIFT_PPM * 1e-6)).abs() < 0.001,
            "the last words took {took} s, not 1.5"
        );
    }
}
