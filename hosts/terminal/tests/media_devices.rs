//! `MediaDevices` on the simulated board in virtual time. Some tests prove that a known flaw of earlier
//! systems, which docs/seeds.md lists, does not exist here; their comments name the flaw.
#![allow(missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration as WallDuration;

use handsfree::HostChoice;
use handsfree::host::AnyIo;
use handsfree::media_devices::{
    InputCapture, InputOptions, MediaDevices, MediaDevicesBuilder, MediaError, MediaEvent, OutputOptions,
    OutputTrack, Polling, TrackOptions,
};
use handsfree::pcm::to_i16;
use handsfree::sim::{LiveRoom, Pace, SimClock, SimHandle, SimIo, SimRoomConfig, Talker};
use handsfree::terminal::{CAP, HostStreamHalves, SLOTS};
use handsfree_core::audio_io::{
    AudioIo, DeviceInfo, Direction, DirectionRequest, Directions, Event, StartError, StreamInfo,
    StreamRequest,
};
use handsfree_core::{ChannelMap, Duration, SampleRate, SessionEvent};
use handsfree_host::supervisor::Notice;
use handsfree_sim::acoustics::{Acoustics, Wire};
use handsfree_sim::board::BoardConfig;
use handsfree_sim::device::DeviceConfig;
use handsfree_sim::wav::Clip;

/// Requests that the host received, without device names.
type Requests = Arc<Mutex<Vec<StreamRequest<'static>>>>;

/// Host that records its requests.
struct RequestSpy(SimIo, Requests);

impl AudioIo<'static, CAP, SLOTS> for RequestSpy {
    type Error = <SimIo as AudioIo<'static, CAP, SLOTS>>::Error;

    fn devices(&self, visit: &mut dyn FnMut(&DeviceInfo<'_>)) -> Result<(), Self::Error> {
        self.0.devices(visit)
    }
    fn start(
        &mut self,
        request: &StreamRequest<'_>,
        halves: HostStreamHalves,
    ) -> Result<StreamInfo, StartError<'static, CAP, SLOTS, Self::Error>> {
        let nameless =
            |end: Option<DirectionRequest<'_>>| end.map(|end| DirectionRequest { device: None, ..end });
        let (capture, playback) = (nameless(request.capture), nameless(request.playback));
        self.1.lock().unwrap().push(StreamRequest { capture, playback });
        self.0.start(request, halves)
    }
    fn stop(&mut self, directions: Directions) -> HostStreamHalves {
        self.0.stop(directions)
    }
    fn poll_event(&mut self) -> Option<Event> {
        self.0.poll_event()
    }
}

struct DevicesRig {
    devices: MediaDevices<AnyIo>,
    sim: SimHandle,
    requests: Requests,
}

fn device(rate_hz: u32, channels: u32, period: u32) -> DeviceConfig {
    let mut device = DeviceConfig::new(SampleRate::new(rate_hz).unwrap(), period);
    device.device_channels = channels;
    device
}

impl DevicesRig {
    fn new(
        rate_hz: u32,
        capture: DeviceConfig,
        playback: DeviceConfig,
        acoustics: Box<dyn Acoustics + Send>,
    ) -> Self {
        Self::with_settings(MediaDevices::builder().rate_hz(rate_hz), capture, playback, acoustics)
    }

    fn with_settings(
        settings: MediaDevicesBuilder,
        capture: DeviceConfig,
        playback: DeviceConfig,
        acoustics: Box<dyn Acoustics + Send>,
    ) -> Self {
        let clock = SimClock::shared();
        let requests = Requests::default();
        let board = BoardConfig {
            capture,
            playback,
            worker_delay: Duration::from_micros(200),
            worker_spread: Duration::from_micros(800),
            seed: 1,
        };
        let mut handle = None;
        let spied = Arc::clone(&requests);
        let devices = settings
            .polling(Polling::Manual)
            .open_with(clock.clone(), |work| {
                let (io, sim) = SimIo::spawn(board, acoustics, work, &clock, Pace::Stepped)?;
                handle = Some(sim);
                Ok(AnyIo::new(RequestSpy(io, spied)))
            })
            .unwrap();
        Self { devices, sim: handle.unwrap(), requests }
    }

    /// Makes a rig with a wire between devices of the terminal's rate.
    fn wire(rate_hz: u32) -> Self {
        let device = device(rate_hz, 1, rate_hz / 100);
        Self::new(rate_hz, device.clone(), device, Box::new(Wire))
    }

    /// Makes a rig with a room without a talker, and a latency of 50 ms.
    fn room() -> Self {
        let mut capture = device(16_000, 1, 160);
        capture.latency = Duration::from_millis(10);
        let playback = DeviceConfig { latency: Duration::from_millis(40), ..capture.clone() };
        let acoustics = LiveRoom::new(capture.rate, &Talker::Silent, 1).unwrap();
        Self::new(16_000, capture, playback, Box::new(acoustics))
    }

    fn pass(&self, ms: i64) {
        for _ in 0..ms / 10 {
            self.sim.advance(Duration::from_millis(10)).unwrap();
            self.devices.tick();
        }
    }
}

/// Returns options without voice processing, so that samples stay unchanged.
fn raw() -> InputOptions {
    InputOptions {
        enable_aec: false,
        noise_suppression: false,
        high_pass_filter: false,
        auto_gain_control: false,
        queue_capacity: 255,
        ..InputOptions::default()
    }
}

/// Returns options with echo cancellation and the high-pass filter only, so that levels show the canceller's
/// effect.
fn canceller() -> InputOptions {
    InputOptions { enable_aec: true, high_pass_filter: true, ..raw() }
}

fn samples(input: &mut InputCapture<AnyIo>) -> Vec<i16> {
    let mut all = Vec::new();
    while let Some(frame) = input.try_frame() {
        assert_eq!(frame.stamp.lost, 0);
        all.extend_from_slice(frame.samples());
    }
    all
}

/// Keeps a track full of speech while time passes.
fn speak(rig: &DevicesRig, track: &mut OutputTrack, speech_position: &mut usize, ms: i64) {
    let speech = to_i16(&Clip::far().to_mono_at(16_000));
    for _ in 0..ms / 100 {
        loop {
            let rest = &speech[*speech_position..];
            let taken = track.push(rest).unwrap();
            *speech_position = (*speech_position + taken) % speech.len();
            if taken < rest.len() {
                break;
            }
        }
        rig.pass(100);
    }
}

const MONO_16K: TrackOptions = TrackOptions { rate_hz: 16_000, channels: 1 };

/// Flaw of an earlier system: samples beyond a multiple of 10 ms in a period are dropped.
#[test]
fn no_sample_is_lost_at_any_period() {
    for period in [100, 160, 441, 1_024] {
        let rig = DevicesRig::new(16_000, device(16_000, 1, period), device(16_000, 1, 160), Box::new(Wire));
        let mut player = rig.devices.open_output(OutputOptions::default());
        let mut track = player.add_track(MONO_16K).unwrap();
        let sent: Vec<i16> = (0..16_000).map(|at| (at % 8_000) as i16 + 1).collect();
        assert_eq!(track.push(&sent).unwrap(), sent.len());
        let mut input = rig.devices.open_input(raw()).unwrap();
        player.start().unwrap();
        let mut heard = Vec::new();
        for _ in 0..15 {
            rig.pass(100);
            heard.extend(samples(&mut input));
        }
        let begin = heard.iter().position(|&sample| sample != 0).unwrap();
        assert_eq!(heard[begin..begin + sent.len()], sent, "periods of {period}");
    }
}

/// Flaw of an earlier system: a frame has 480 samples at every rate.
#[test]
fn a_frame_is_10_ms_at_every_rate() {
    for rate_hz in [8_000, 16_000, 48_000] {
        let rig = DevicesRig::wire(rate_hz);
        let mut input = rig.devices.open_input(raw()).unwrap();
        rig.pass(100);
        assert_eq!(input.format().rate_hz(), rate_hz);
        assert_eq!(input.try_frame().unwrap().sample_frames() as u32, rate_hz / 100);
    }
}

/// Flaw of an earlier system: stereo fails on input and plays at half speed on output.
#[test]
fn stereo_devices_and_stereo_tracks_play_at_their_speed() {
    let rig = DevicesRig::new(16_000, device(16_000, 2, 160), device(16_000, 2, 160), Box::new(Wire));
    let mut player = rig.devices.open_output(OutputOptions::default());
    let mut track = player.add_track(TrackOptions { rate_hz: 16_000, channels: 2 }).unwrap();
    let ramp: Vec<i16> = (1..=8_000).collect();
    let stereo: Vec<i16> = ramp.iter().flat_map(|&sample| [sample, sample]).collect();
    assert_eq!(track.push(&stereo).unwrap(), stereo.len());
    let mut input = rig.devices.open_input(raw()).unwrap();
    player.start().unwrap();
    rig.pass(1_000);
    let requests = rig.requests.lock().unwrap();
    assert_eq!(requests[0].capture.unwrap().device_channels, 2);
    assert_eq!(requests[1].playback.unwrap().device_channels, 2);
    let heard = samples(&mut input);
    let begin = heard.iter().position(|&sample| sample != 0).unwrap();
    assert_eq!(heard[begin..begin + ramp.len()], ramp, "each sample once");
}

/// Flaw of an earlier system: `input_channel_index` is accepted and ignored.
#[test]
fn a_channel_is_selected_and_a_missing_one_is_refused() {
    let rig = DevicesRig::new(16_000, device(16_000, 4, 160), device(16_000, 1, 160), Box::new(Wire));
    let pick = |index| InputOptions { input_channel_index: Some(index), ..raw() };
    drop(rig.devices.open_input(pick(3)).unwrap());
    let asked = rig.requests.lock().unwrap()[0].capture.unwrap();
    assert_eq!((asked.device_channels, asked.map), (4, Some(ChannelMap::select(4, &[3]).unwrap())));
    let error = rig.devices.open_input(pick(4)).unwrap_err();
    assert!(matches!(error, MediaError::NoSuchChannel { index: 4, channels: 4 }), "{error}");
}

/// Flaw of an earlier system: the reported delay is a single reading that does not follow a jump.
#[test]
fn the_delay_estimate_follows_a_jump() {
    let rig = DevicesRig::room();
    let mut player = rig.devices.open_output(OutputOptions::default());
    let mut track = player.add_track(MONO_16K).unwrap();
    player.start().unwrap();
    let input = rig.devices.open_input(canceller()).unwrap();
    let mut speech_position = 0;
    speak(&rig, &mut track, &mut speech_position, 5_000);
    assert!(
        (input.delay() - Duration::from_millis(50)).abs() < Duration::from_millis(1),
        "{:?}",
        input.delay()
    );
    rig.sim.with_board(|board| board.step_render_latency(Duration::from_millis(150))).unwrap();
    speak(&rig, &mut track, &mut speech_position, 3_000);
    assert!(
        (input.delay() - Duration::from_millis(200)).abs() < Duration::from_millis(1),
        "{:?}",
        input.delay()
    );
}

/// Flaw of an earlier system: echo is not cancelled when the output is opened before the input.
#[test]
fn echo_is_cancelled_in_any_order_of_opening_and_reopening() {
    for output_first in [true, false] {
        let rig = DevicesRig::room();
        let mut input = (!output_first).then(|| rig.devices.open_input(canceller()).unwrap());
        let mut player = rig.devices.open_output(OutputOptions::default());
        let mut track = player.add_track(MONO_16K).unwrap();
        player.start().unwrap();
        let mut speech_position = 0;
        speak(&rig, &mut track, &mut speech_position, 1_000);
        for round in 0..2 {
            let open = input.take().unwrap_or_else(|| rig.devices.open_input(canceller()).unwrap());
            speak(&rig, &mut track, &mut speech_position, 10_000);
            let erle_db = open.erle_db().unwrap();
            println!("output first: {output_first}, round {round}: {erle_db:.1} dB");
            assert!(erle_db > 30.0, "output first: {output_first}, round {round}: {erle_db} dB");
            open.close();
            rig.pass(300);
        }
    }
}

/// Flaw of an earlier system: the queue is unbounded, and drops are not counted.
#[test]
fn the_queue_is_bounded_and_counts_dropped_frames() {
    let rig = DevicesRig::wire(16_000);
    let mut input = rig.devices.open_input(InputOptions { queue_capacity: 7, ..raw() }).unwrap();
    rig.pass(1_000);
    let mut waiting = 0;
    while input.try_frame().is_some() {
        waiting += 1;
    }
    assert_eq!(waiting, 7);
    assert!((90..=94).contains(&input.dropped_frames()), "{}", input.dropped_frames());
    drop(input);
    let input = rig.devices.open_input(raw()).unwrap();
    assert_eq!(input.dropped_frames(), 0, "dropped frames are counted from the opening");
}

/// Flaw of an earlier system: a player that stopped cannot start again.
#[test]
fn a_restarted_player_continues_where_it_stopped() {
    let rig = DevicesRig::wire(16_000);
    let mut player = rig.devices.open_output(OutputOptions::default());
    let mut track = player.add_track(MONO_16K).unwrap();
    assert_eq!(track.push(&[5_000; 12_000]).unwrap(), 12_000);
    rig.pass(500);
    assert_eq!(track.queued_duration().unwrap(), Duration::from_millis(750), "not started yet");
    for _ in 0..3 {
        player.start().unwrap();
        player.start().unwrap();
        rig.pass(200);
        player.stop();
        rig.pass(300);
    }
    let left = track.queued_duration().unwrap();
    assert!(left > Duration::from_millis(50) && left < Duration::from_millis(300), "{left:?}");
    player.start().unwrap();
    rig.pass(500);
    assert!(track.is_played_out().unwrap());
    assert_eq!(track.played_position().unwrap(), 12_000, "no sample was lost");
}

/// Fault 32 of docs/reliability.md. A wire carries what is played, so a click would be a step of 5,000.
#[test]
fn speech_that_comes_too_slowly_does_not_click() {
    let rig = DevicesRig::wire(16_000);
    let mut input = rig.devices.open_input(raw()).unwrap();
    let mut player = rig.devices.open_output(OutputOptions::default());
    let mut track = player.add_track(MONO_16K).unwrap();
    player.start().unwrap();
    for value in [5_000, -5_000] {
        track.push(&[value; 1_600]).unwrap();
        rig.pass(200);
    }
    let heard = samples(&mut input);
    // It begins as it was pushed; each end and the second begin take 3 ms.
    let steps = heard.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) > 300);
    assert_eq!(steps.count(), 1);
    assert_eq!(heard.iter().filter(|&&sample| sample == 5_000).count(), 1_600);
    assert_eq!(heard.iter().filter(|&&sample| sample == -5_000).count(), 1_600 - 48 + 1);
}

/// Flaw of an earlier system: the default devices are always `None`.
#[test]
fn system_defaults_are_listed_and_unknown_devices_refused() {
    let rig = DevicesRig::wire(16_000);
    assert_eq!(rig.devices.default_input_device().unwrap().unwrap().id, "sim:microphone");
    assert_eq!(rig.devices.default_output_device().unwrap().unwrap().id, "sim:loudspeaker");
    let inputs = rig.devices.list_input_devices().unwrap();
    assert!(inputs.iter().all(|device| device.direction == "capture") && inputs.len() == 1);
    let options = InputOptions { input_device: Some("hw:9".into()), ..raw() };
    let error = rig.devices.open_input(options).unwrap_err();
    assert!(error.to_string().contains("hw:9"), "{error}");
    let options = OutputOptions { output_device: Some("hw:8".into()), ..OutputOptions::default() };
    let error = rig.devices.open_output(options).start().unwrap_err();
    assert!(matches!(&error, MediaError::NoSuchDevice { id } if id == "hw:8"), "{error}");
    rig.devices.open_input(InputOptions { input_device: Some("sim:microphone".into()), ..raw() }).unwrap();
}

/// Flaw of an earlier system: every error is swallowed.
#[test]
fn impossible_requests_are_errors_and_change_nothing() {
    let rig = DevicesRig::wire(16_000);
    let input = rig.devices.open_input(raw()).unwrap();
    assert!(matches!(rig.devices.open_input(raw()), Err(MediaError::InputOpen)));
    drop(input);
    rig.sim.unplug(Direction::Capture).unwrap();
    assert!(rig.devices.open_input(raw()).is_err(), "unplugged");
    rig.sim.plug_in(Direction::Capture, device(16_000, 1, 160)).unwrap();
    let mut input = rig.devices.open_input(raw()).expect("a refused request leaves the microphone free");
    rig.pass(100);
    assert!(input.try_frame().is_some());

    let mut player = rig.devices.open_output(OutputOptions::default());
    let mut tracks: Vec<OutputTrack> = (0..SLOTS).map(|_| player.add_track(MONO_16K).unwrap()).collect();
    assert!(matches!(player.add_track(MONO_16K), Err(MediaError::Track(_))), "all slots are in use");
    assert!(player.remove_track(tracks[0].id()) && !player.remove_track(tracks[0].id()));
    assert!(matches!(tracks[0].push(&[0]), Err(MediaError::Closed)));
    rig.pass(100);
    player.add_track(MONO_16K).expect("its slot is free again");
    assert!(player.set_volume(-1.0).is_err() && player.volume() == 1.0);
    let mut other = rig.devices.open_output(OutputOptions {
        output_device: Some("sim:loudspeaker".into()),
        ..OutputOptions::default()
    });
    player.start().unwrap();
    assert!(matches!(other.start(), Err(MediaError::OtherOutput { .. })));
    player.stop();
    other.start().unwrap();
}

#[test]
fn several_players_play_at_once_and_stop_separately() {
    let rig = DevicesRig::wire(16_000);
    let mut input = rig.devices.open_input(raw()).unwrap();
    let mut players = [1_000i16, 2_000].map(|sample| {
        let mut player = rig.devices.open_output(OutputOptions::default());
        let mut track = player.add_track(MONO_16K).unwrap();
        track.push(&[sample; 15_000]).unwrap();
        player.start().unwrap();
        (player, track)
    });
    let mut level = |ms| {
        rig.pass(ms);
        *samples(&mut input).last().unwrap()
    };
    assert_eq!(level(200), 3_000);
    players[0].0.stop();
    assert_eq!(level(200), 2_000);
    players[0].0.start().unwrap();
    players[1].1.set_paused(true);
    assert_eq!(level(200), 1_000);
    players[1].1.set_paused(false);
    players[0].1.interrupt().unwrap();
    assert_eq!(level(200), 2_000);
    let [(first, _), (second, mut track)] = players;
    first.close();
    assert_eq!(level(100), 2_000);
    second.close();
    assert_eq!(level(100), 0);
    assert!(matches!(track.push(&[1]), Err(MediaError::Closed)));
}

#[test]
fn a_volume_change_reaches_the_reference_so_echo_stays_low() {
    let rig = DevicesRig::room();
    let mut player = rig.devices.open_output(OutputOptions::default());
    let mut track = player.add_track(MONO_16K).unwrap();
    player.start().unwrap();
    let input = rig.devices.open_input(canceller()).unwrap();
    let mut speech_position = 0;
    speak(&rig, &mut track, &mut speech_position, 20_000);
    let before_db = input.erle_db().unwrap();
    player.set_volume(0.25).unwrap();
    speak(&rig, &mut track, &mut speech_position, 2_000);
    let after_db = input.erle_db().unwrap();
    // The echo is 12 dB quieter, but the noise and the quantization are not.
    println!("{before_db:.1} dB, 2 s after a quarter of the volume {after_db:.1} dB");
    assert!(after_db > before_db - 15.0 && after_db > 25.0, "{before_db} {after_db}");
}

#[test]
fn volume_and_gain_multiply_even_before_the_start() {
    let rig = DevicesRig::wire(16_000);
    let mut input = rig.devices.open_input(raw()).unwrap();
    let mut player = rig.devices.open_output(OutputOptions::default());
    let mut track = player.add_track(MONO_16K).unwrap();
    track.push(&[8_000; 15_000]).unwrap();
    // These are more changes than commands can wait.
    for percent in 1..=50 {
        player.set_volume(percent as f32 / 100.0).unwrap();
    }
    track.set_gain(0.5).unwrap();
    player.start().unwrap();
    rig.pass(300);
    assert_eq!(*samples(&mut input).last().unwrap(), 2_000);
    player.set_volume(2.0).unwrap();
    rig.pass(300);
    assert_eq!(*samples(&mut input).last().unwrap(), 8_000);
}

#[test]
fn a_muted_microphone_is_silent_and_keeps_cancelling() {
    let rig = DevicesRig::room();
    let mut player = rig.devices.open_output(OutputOptions::default());
    let mut track = player.add_track(MONO_16K).unwrap();
    player.start().unwrap();
    let mut input = rig.devices.open_input(InputOptions { queue_capacity: 20, ..canceller() }).unwrap();
    input.set_muted(true);
    assert!(input.is_muted());
    let mut speech_position = 0;
    speak(&rig, &mut track, &mut speech_position, 15_000);
    assert!(std::iter::from_fn(|| input.try_frame()).all(|frame| frame.samples().iter().all(|&s| s == 0)));
    let muted_db = input.erle_db().unwrap();
    assert!(muted_db > 30.0, "{muted_db}");
    input.set_muted(false);
    speak(&rig, &mut track, &mut speech_position, 200);
    assert!(std::iter::from_fn(|| input.try_frame()).any(|frame| frame.samples().iter().any(|&s| s != 0)));
}

#[test]
fn a_lost_device_is_reported_and_capture_resumes_with_it() {
    let rig = DevicesRig::wire(16_000);
    let mut input = rig.devices.open_input(raw()).unwrap();
    rig.pass(500);
    rig.sim.unplug(Direction::Capture).unwrap();
    rig.pass(1_000);
    samples(&mut input);
    rig.sim.plug_in(Direction::Capture, device(16_000, 1, 160)).unwrap();
    rig.pass(1_000);
    assert!(std::iter::from_fn(|| input.try_frame()).count() > 50, "the capture delivers frames again");
    let events: Vec<MediaEvent> = std::iter::from_fn(|| rig.devices.poll_event()).collect();
    assert!(
        matches!(
            events[..],
            [
                MediaEvent::Device(Notice::Lost { direction: Direction::Capture }),
                MediaEvent::Device(Notice::Returned { direction: Direction::Capture, .. })
            ]
        ),
        "{events:?}"
    );
}

/// Runs in real time, with the thread that polls the devices.
#[test]
fn a_host_chosen_by_name_runs_without_ticks() {
    let room = SimRoomConfig { talker: Talker::Silent, ..SimRoomConfig::default() };
    let builder = MediaDevices::builder().rate_hz(16_000).host(HostChoice::Sim).sim(room);
    let devices = builder.open().unwrap();
    assert_eq!((devices.host_name(), devices.notices()), ("sim", &[][..]));
    let mut input = devices.open_input(InputOptions::default()).unwrap();
    let mut player = devices.open_output(OutputOptions::default());
    let mut track = player.add_track(MONO_16K).unwrap();
    track.push(&[3_000; 1_600]).unwrap();
    player.start().unwrap();
    let begun = std::time::Instant::now();
    while !track.is_played_out().unwrap() && begun.elapsed() < WallDuration::from_secs(10) {
        assert!(input.next_frame(WallDuration::from_secs(5)).is_some());
    }
    assert_eq!(track.played_position().unwrap(), 1_600);
}

#[test]
fn next_frame_returns_none_at_its_timeout() {
    let rig = DevicesRig::wire(16_000);
    let mut input = rig.devices.open_input(raw()).unwrap();
    assert!(input.next_frame(WallDuration::from_millis(10)).is_none(), "no virtual time passes");
    rig.pass(50);
    assert!(input.next_frame(WallDuration::from_secs(10)).is_some());
}

#[test]
fn a_prompt_is_heard_ten_milliseconds_earlier_once_the_worker_was_punctual() {
    let device = device(16_000, 1, 160);
    let settings = MediaDevices::builder().rate_hz(16_000).adaptive_latency(true);
    let rig = DevicesRig::with_settings(settings, device.clone(), device, Box::new(Wire));
    let mut player = rig.devices.open_output(OutputOptions::default());
    let mut track = player.add_track(MONO_16K).unwrap();
    let mut input = rig.devices.open_input(raw()).unwrap();
    player.start().unwrap();
    let mut prompt_after = |seconds: usize| {
        for _ in 0..seconds {
            rig.pass(1_000);
            samples(&mut input);
        }
        assert_eq!(track.push(&[9_000; 1_600]).unwrap(), 1_600);
        rig.pass(300);
        samples(&mut input).iter().position(|&sample| sample > 50).unwrap()
    };
    let (before, after) = (prompt_after(1), prompt_after(11));
    assert_eq!(before - after, 160, "heard after {before} and {after} samples");
    let mut changes = Vec::new();
    while let Some(event) = rig.devices.poll_event() {
        if let MediaEvent::Session(SessionEvent::PlaybackFillChanged { frames, most_frames }) = event {
            changes.push((frames, most_frames));
        }
    }
    assert_eq!(changes, [(1, 2)]);
}
