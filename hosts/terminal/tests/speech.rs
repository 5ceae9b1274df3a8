//! Speech events, the audio of speech and barge-in of `MediaDevices`, on the simulated board in virtual time.
#![allow(missing_docs)]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration as WallDuration;

use handsfree::media_devices::{
    InputCapture, InputOptions, MediaDevices, MediaEvent, OutputOptions, OutputPlayer, OutputTrack, Polling,
    Speech, TrackOptions,
};
use handsfree::sim::{LivingRoom, Pace, SimClock, SimHandle, SimIo, SimRoomConfig};
use handsfree::speech::{BargeIn, BargeInAction, SpeechEvent};
use handsfree::terminal::CancellerChoice;
use handsfree_core::canceller::CancellerSettings;
use handsfree_core::{Duration, Instant, SampleRate};
use handsfree_sim::acoustics::RoomAcoustics;
use handsfree_sim::convolver::Convolver;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::room::Loudspeaker;
use handsfree_sim::wav::Clip;

const RATE_HZ: u32 = 16_000;
const MONO: TrackOptions = TrackOptions { rate_hz: RATE_HZ, channels: 1 };
/// Time of a cough of 0.2 s, in seconds.
const COUGH_S: usize = 6;
/// Time from which the person speaks, in seconds.
const SPEAKS_S: usize = 9;

struct SpeechRig {
    devices: MediaDevices<SimIo>,
    sim: SimHandle,
    _player: OutputPlayer<SimIo>,
    track: OutputTrack,
    input: InputCapture<SimIo>,
    far: Vec<i16>,
    pushed: usize,
}

/// Opens devices in a living room, in which a person coughs after 6 s, says 3 s of words after 9 s, and then nothing.
fn rig() -> SpeechRig {
    let rate = SampleRate::new(RATE_HZ).unwrap();
    let room = LivingRoom::new(1);
    let mut said = vec![0.0; SPEAKS_S * RATE_HZ as usize];
    let words = Clip::near().to_mono_at(RATE_HZ);
    let cough = COUGH_S * RATE_HZ as usize;
    let fade = |n: usize| (n as f32 / 3_200.0 * std::f32::consts::PI).sin();
    // A voiced sound of 0.2 s from the words.
    for (n, (to, &from)) in said[cough..cough + 3_200].iter_mut().zip(&words[3_200..]).enumerate() {
        *to = from * fade(n);
    }
    said.extend(&words[..3 * RATE_HZ as usize]);
    let mut talker = vec![0.0; said.len()];
    Convolver::new(&room.talker_response(rate).unwrap()).process(&said, &mut talker);
    let noise = Noise::new(Rng::new(1), Colour::Pink, -75.0);
    let echo = room.loudspeaker_response(rate).unwrap();
    let acoustics = RoomAcoustics::new(Loudspeaker::new(0.0).unwrap(), &echo, talker, noise);
    let board = SimRoomConfig::default().board(rate, 160);
    let clock = SimClock::shared();
    let mut handle = None;
    let devices = MediaDevices::builder()
        .rate_hz(RATE_HZ)
        .polling(Polling::Manual)
        .canceller(CancellerChoice::Native(CancellerSettings::DEFAULT))
        .open_with(Arc::clone(&clock) as _, |work| {
            let (io, sim) = SimIo::spawn(board, Box::new(acoustics), work, &clock, Pace::Stepped)?;
            handle = Some(sim);
            Ok(io)
        })
        .unwrap();
    let mut player = devices.open_output(OutputOptions::default());
    let track = player.add_track(MONO).unwrap();
    player.start().unwrap();
    let options = InputOptions { queue_capacity: 255, ..InputOptions::default() };
    let input = devices.open_input(options).unwrap();
    let far: Vec<i16> = Clip::far().to_mono_at(RATE_HZ).iter().map(|x| (x * 32_768.0) as i16).collect();
    SpeechRig { devices, sim: handle.unwrap(), _player: player, track, input, far, pushed: 0 }
}

impl SpeechRig {
    /// Lets 10 ms pass.
    fn pass(&mut self) {
        self.pushed += self.track.push(&self.far[self.pushed..]).unwrap();
        self.sim.advance(Duration::from_millis(10)).unwrap();
        self.devices.tick();
    }
}

fn seconds(at: Instant) -> f64 {
    at.as_nanos() as f64 / 1e9
}

#[test]
fn an_agent_goes_on_after_a_cough_and_stops_for_words() {
    let mut rig = rig();
    let mut barge_in = BargeIn::pausing();
    let (mut actions, mut paused_at, mut interrupted_at) = (Vec::new(), None, None);
    let mut frames_of_words = 0;
    for step in 0..1_400 {
        rig.pass();
        while let Some(part) = rig.input.try_speech() {
            let Speech::Event(event) = part else {
                frames_of_words += usize::from(actions.len() > 2);
                continue;
            };
            if let Some(action) = barge_in.observe(event, true) {
                rig.track.follow(action).unwrap();
                actions.push((step as f64 / 100.0, action));
            }
        }
        if let Some(&(at_s, BargeInAction::Pause)) = actions.last()
            && (step as f64 / 100.0 - at_s - 0.3).abs() < 0.005
        {
            paused_at = Some(rig.track.played_position().unwrap());
        }
        interrupted_at = rig.track.interrupted_at().unwrap();
    }
    let kinds: Vec<_> = actions.iter().map(|&(_, action)| action).collect();
    let expected =
        [BargeInAction::Pause, BargeInAction::Resume, BargeInAction::Pause, BargeInAction::Interrupt];
    assert_eq!(kinds, expected, "{actions:?}");
    assert!((actions[0].0 - COUGH_S as f64) < 0.3, "{actions:?}");
    assert!((actions[2].0 - SPEAKS_S as f64) < 0.3, "{actions:?}");
    // What was heard ends where the voice was paused, although it was interrupted half a second later.
    assert_eq!(interrupted_at, paused_at, "{actions:?}");
    assert!(interrupted_at.is_some());
    // 300 ms before the words, 3 s of words with their reverberation, and the hang-over.
    assert!((340..=420).contains(&frames_of_words), "{frames_of_words} frames");
}

#[test]
fn both_forms_of_waiting_and_the_event_queue_agree() {
    let mut rig = rig();
    let (mut events, mut queued, mut last) = (Vec::new(), Vec::new(), None);
    for step in 0..1_400 {
        rig.pass();
        while let Some(event) = rig.devices.poll_event() {
            if let MediaEvent::Speech(event) = event {
                queued.push(event);
            }
        }
        loop {
            // Both forms take parts of the same speech in turn.
            let part = if step % 2 == 0 {
                rig.input.next_speech(WallDuration::ZERO)
            } else {
                match pin!(rig.input.speech()).poll_once() {
                    Poll::Ready(part) => Some(part),
                    Poll::Pending => None,
                }
            };
            match part {
                None => break,
                Some(Speech::Event(event)) => {
                    if let SpeechEvent::Started(_) = event {
                        last = None;
                    }
                    events.push(event);
                }
                Some(Speech::Audio(frame)) => {
                    let position = frame.stamp.position;
                    if let (None, Some(SpeechEvent::Started(start))) = (last, events.last()) {
                        let lead_s = seconds(start.at) - seconds(frame.stamp.time);
                        assert!((0.28..=0.3).contains(&lead_s), "{lead_s} s before the start");
                    }
                    assert!(last.is_none_or(|last| last + 160 == position), "{last:?}, {position}");
                    last = Some(position);
                }
            }
        }
    }
    assert_eq!(events, queued);
    let starts: Vec<f64> = events
        .iter()
        .filter_map(|event| match event {
            SpeechEvent::Started(point) => Some(seconds(point.at)),
            _ => None,
        })
        .collect();
    assert_eq!(starts.len(), 2, "{events:?}");
    for (start, expected) in starts.iter().zip([COUGH_S as f64, SPEAKS_S as f64]) {
        assert!((start - expected).abs() < 0.25, "{start} s, {expected} s");
    }
    assert!(matches!(events.last(), Some(SpeechEvent::Ended(_))), "{events:?}");
}

#[test]
fn a_muted_microphone_hears_nobody() {
    let mut rig = rig();
    rig.input.set_muted(true);
    for _ in 0..1_300 {
        rig.pass();
        assert!(rig.input.try_speech().is_none());
    }
}

#[test]
fn a_ducked_track_goes_on_quietly_and_returns() {
    let mut rig = rig();
    (0..100).for_each(|_| rig.pass());
    let before = rig.track.played_position().unwrap();
    rig.track.follow(BargeInAction::Duck).unwrap();
    (0..100).for_each(|_| rig.pass());
    // The clock's estimate may round to the next sample.
    let heard = rig.track.played_position().unwrap() - before;
    assert!((15_999..=16_001).contains(&heard), "{heard} of 16000 samples: the track goes on");
    let quiet = rig.devices.meters().loudspeaker.read().rms_dbfs;
    rig.track.follow(BargeInAction::Resume).unwrap();
    (0..100).for_each(|_| rig.pass());
    let loud = rig.devices.meters().loudspeaker.read().rms_dbfs;
    assert!(loud - quiet > 5.0, "{quiet} dBFS while ducked, {loud} dBFS after");
}

trait PollOnce: Future {
    /// Polls a future once, without a waker.
    fn poll_once(self: std::pin::Pin<&mut Self>) -> Poll<Self::Output> {
        self.poll(&mut Context::from_waker(Waker::noop()))
    }
}

impl<F: Future> PollOnce for F {}
