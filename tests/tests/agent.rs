//! A whole conversation in a simulated room: the agent speaks, the user interrupts, a level detector on the cleaned
//! microphone signal stops the agent's voice, and the transcript ends with the last word that was heard.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_apm::{ApmConfig, ApmProcessor};
use handsfree_core::audio_io::{AudioIo, StreamHalves};
use handsfree_core::dsp::Quality;
use handsfree_core::playback::{SourceConfig, Track, TrackError, TrackEvent};
use handsfree_core::{Duration, Format, Frame, Instant, SampleRate, SessionFormat};
use handsfree_sim::acoustics::RoomAcoustics;
use handsfree_sim::board::{SimulatedBoard, Step};
use handsfree_sim::convolver::Convolver;
use handsfree_sim::device::Jitter;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::{Loudspeaker, Room, RoomSource};
use handsfree_sim::scenario::{CAP, SLOTS, SimSession, request};
use handsfree_sim::wav::Clip;
use handsfree_tests::{level_db, plain_board, to_pcm, with_large_stack};

const RATE_HZ: u32 = 16_000;
/// Sample rate of the speech synthesis, which differs from the device's.
const SPEECH_HZ: u32 = 24_000;
const MEMORY: usize = Quality::MEDIUM.fast_memory(SPEECH_HZ, RATE_HZ, 1);
const LATENCY_MS: i64 = 140;
const DRIFT_PPM: f64 = 180.0;
const USER_BEGINS_S: f64 = 26.0;
const USER_SPEAKS_S: f64 = 3.0;
/// Length of a transcript word, in sample frames of the synthesis.
const WORD: u64 = 6_000;

type AgentTrack<'p, 'a> = Track<'p, 'a, NoopRawMutex, CAP, SLOTS, MEMORY>;

fn seconds(time: Instant) -> f64 {
    time.as_nanos() as f64 / 1e9
}

/// Returns the agent's speech with a faint hum added, so that its last sample can be found in a recording.
fn speech(length_s: f64) -> Vec<i16> {
    let clip = to_pcm(&Clip::far().to_mono_at(SPEECH_HZ));
    let count = (length_s * f64::from(SPEECH_HZ)) as usize;
    let hum = |n: usize| ((n as f64 * 0.06).sin() * 40.0) as i16;
    (0..count).map(|n| clip[n % clip.len()] / 2 * 2 + hum(n) + 1).collect()
}

/// Returns the user's speech as it arrives at the microphone.
fn user(room: &Room) -> Vec<f32> {
    let clip = Clip::near().to_mono_at(RATE_HZ);
    let begin = (USER_BEGINS_S * f64::from(RATE_HZ)) as usize;
    let mut spoken = vec![0.0; begin];
    spoken.extend(clip.iter().copied().cycle().take((USER_SPEAKS_S * f64::from(RATE_HZ)) as usize));
    let mut path = room.impulse_response(RoomSource::Talker, RATE_HZ, 4_800).unwrap();
    path.iter_mut().for_each(|tap| *tap *= 6.3);
    let mut heard = vec![0.0; spoken.len()];
    Convolver::new(&path).process(&spoken, &mut heard);
    heard
}

/// Detects loud sound, which is speech in this room: true when 6 of the last 10 frames are loud.
#[derive(Default)]
struct LoudnessDetector {
    loud: std::collections::VecDeque<bool>,
}

impl LoudnessDetector {
    fn is_speech(&mut self, frame: &[i16]) -> bool {
        self.loud.push_back(level_db(frame) > -50.0);
        if self.loud.len() > 10 {
            self.loud.pop_front();
        }
        self.loud.iter().filter(|&&loud| loud).count() >= 6
    }
}

/// State of the agent's side of the conversation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum AgentState {
    Greeting,
    Answering,
    Listening,
    LastWords,
    Done,
}

/// Observations made during the conversation.
#[derive(Debug, Default)]
struct ConversationLog {
    false_alarms: usize,
    heard_user_at: Option<f64>,
    answer_began: Option<Instant>,
    interrupted_position: Option<u64>,
    late_audio_refused: bool,
    last_words: (Option<Instant>, Option<Instant>),
    user_while_listening_db: f64,
}

struct Agent<'p, 'a> {
    voice: AgentTrack<'p, 'a>,
    state: AgentState,
    utterance: Vec<i16>,
    pushed: usize,
    /// True once the whole utterance was pushed and marked as complete.
    is_complete: bool,
    detector: LoudnessDetector,
    quiet_frames: u32,
    log: ConversationLog,
}

impl Agent<'_, '_> {
    fn begin(&mut self, state: AgentState, length_s: f64) {
        self.state = state;
        self.utterance = speech(length_s);
        self.pushed = 0;
        self.is_complete = false;
    }

    /// Pushes as much speech as the track accepts. Like a network service, it learns of an interruption only from the
    /// refusal of its samples.
    fn synthesise(&mut self) {
        if self.is_complete {
            return;
        }
        match self.voice.push(&self.utterance[self.pushed..]) {
            Ok(taken) => self.pushed += taken,
            Err(error) => {
                assert_eq!(error, TrackError::InputClosed);
                self.log.late_audio_refused = true;
                self.is_complete = true;
                return;
            }
        }
        if self.pushed == self.utterance.len() {
            // With a full queue this is retried at the next frame.
            self.is_complete = self.voice.mark_synthesis_complete().is_ok();
        }
    }

    fn handle_captured(&mut self, frame: &[i16], now: Instant) {
        let speaks = self.detector.is_speech(frame);
        match self.state {
            AgentState::Greeting | AgentState::Answering if speaks && seconds(now) < USER_BEGINS_S => {
                // The canceller needs a moment of echo to converge.
                self.log.false_alarms += usize::from(seconds(now) > 2.0);
            }
            AgentState::Answering if speaks => {
                self.log.heard_user_at = Some(seconds(now));
                self.voice.interrupt();
                self.state = AgentState::Listening;
            }
            AgentState::Listening => {
                self.log.user_while_listening_db = self.log.user_while_listening_db.max(level_db(frame));
                self.quiet_frames = if speaks { 0 } else { self.quiet_frames + 1 };
                if self.quiet_frames == 60 && self.log.interrupted_position.is_some() {
                    self.voice.enable_input(true);
                    self.begin(AgentState::LastWords, 1.5);
                }
            }
            _ => {}
        }
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.voice.poll_event(now) {
            match (self.state, event) {
                (AgentState::Answering, TrackEvent::FirstAudio { at }) => self.log.answer_began = Some(at),
                (AgentState::LastWords, TrackEvent::FirstAudio { at }) => self.log.last_words.0 = Some(at),
                (AgentState::Greeting, TrackEvent::LastAudio { .. }) => {
                    self.begin(AgentState::Answering, 20.0)
                }
                (AgentState::LastWords, TrackEvent::LastAudio { at }) => {
                    self.log.last_words.1 = Some(at);
                    self.state = AgentState::Done;
                }
                (_, TrackEvent::Interrupted { position }) => self.log.interrupted_position = Some(position),
                _ => {}
            }
        }
    }
}

/// Runs the conversation and returns its log, the source position at which the answer begins, and the loudspeaker's
/// signal on the microphone's clock.
fn converse(seed: u64) -> (ConversationLog, u64, Vec<f32>) {
    let rate = SampleRate::new(RATE_HZ).unwrap();
    let format = Format::with_rate(rate, 1).unwrap();
    let room = Room::default();
    let mut response = room.impulse_response(RoomSource::Loudspeaker, RATE_HZ, 4_800).unwrap();
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
    let mut board = SimulatedBoard::new(config.clone(), Box::new(air)).unwrap();
    board.record();
    let stream_halves = StreamHalves { intake: Some(halves.intake), outlet: Some(halves.outlet) };
    board.start(&request(&config), stream_halves).unwrap_or_else(|refused| panic!("{}", refused.error));

    let source = SourceConfig { rate_hz: SPEECH_HZ, channels: 1, quality: Quality::MEDIUM, matching: None };
    let mut agent = Agent {
        voice: halves.tracks.open_source(source).unwrap(),
        state: AgentState::Greeting,
        utterance: speech(17.0),
        pushed: 0,
        is_complete: false,
        detector: LoudnessDetector::default(),
        quiet_frames: 0,
        log: ConversationLog { user_while_listening_db: -120.0, ..ConversationLog::default() },
    };
    agent.voice.enable_input(true);
    let clock = board.clock();
    while agent.state != AgentState::Done {
        if board.step() != Step::Worker {
            continue;
        }
        agent.synthesise();
        halves.playback.poll();
        let mut cleaned = Vec::new();
        halves.capture.poll(&clock, &mut |frame: &Frame<CAP>| cleaned.push(frame.samples().to_vec()));
        cleaned.iter().for_each(|frame| agent.handle_captured(frame, board.now()));
        agent.handle_events(board.now());
        assert!(seconds(board.now()) < 60.0, "stuck in {:?}", agent.state);
    }
    // Run on until the microphone has recorded everything that was played.
    let until = board.now() + Duration::from_millis(200);
    while board.now() < until {
        board.step();
    }
    (agent.log, 17 * u64::from(SPEECH_HZ), board.take_recording().unwrap().far)
}

#[test]
fn after_a_barge_in_the_transcript_ends_at_the_last_heard_word() {
    for seed in 1..=3 {
        let (log, answer_from, far) = with_large_stack(|| converse(seed));
        println!("seed {seed}: {log:?}");
        assert_eq!(log.false_alarms, 0, "the agent's own voice was taken for the user");
        let noticed_s = log.heard_user_at.expect("the user was heard") - USER_BEGINS_S;
        assert!((0.0..0.5).contains(&noticed_s), "the user was heard after {noticed_s:.3} s");

        // The truth: the loudspeaker's last sound before the user was listened to.
        let listening = ((USER_BEGINS_S + noticed_s + 0.8) * f64::from(RATE_HZ)) as usize;
        let last = far[..listening].iter().rposition(|sample| sample.abs() > 0.5 / 32_768.0).unwrap();
        let last_s = last as f64 / f64::from(RATE_HZ);
        let silent_after_s = last_s - log.heard_user_at.unwrap();
        // The sum of one fade, two frames in the ring, one frame of detection delay, and the device's latency.
        let bound_s = 0.005 + 0.02 + 0.01 + LATENCY_MS as f64 / 1e3;
        assert!(
            (0.0..bound_s).contains(&silent_after_s),
            "silent after {silent_after_s:.4} s, bound {bound_s:.4} s"
        );

        let began_s = seconds(log.answer_began.unwrap());
        let truth = (last_s - began_s) * f64::from(SPEECH_HZ) * (1.0 + DRIFT_PPM * 1e-6);
        let reported = log.interrupted_position.unwrap() - answer_from;
        println!(
            "seed {seed}: heard after {:.0} ms, silent {:.1} ms later, reported {reported}, true position {truth:.0}",
            noticed_s * 1e3,
            silent_after_s * 1e3
        );
        // The last samples of the fade are below the least significant bit.
        assert!((reported as f64 - truth).abs() < 12.0, "reported {reported}, true position {truth}");
        assert_eq!(reported / WORD, truth as u64 / WORD, "the same last word");

        assert!(log.late_audio_refused, "the remaining speech of the old answer was not refused");
        assert!(log.user_while_listening_db > -45.0, "the user's speech was suppressed");
        let (first, last) = log.last_words;
        let took = (last.unwrap() - first.unwrap()).as_nanos() as f64 / 1e9;
        assert!(
            (took - 1.5 / (1.0 + DRIFT_PPM * 1e-6)).abs() < 0.001,
            "the last words took {took} s, not 1.5"
        );
    }
}
