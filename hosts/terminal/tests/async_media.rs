//! Waiting for frames and tracks of `MediaDevices`: on tokio (with one thread and with several), on embassy's
//! executor, and in a blocked thread. With `Polling::Manual` the simulated board runs in virtual time,
//! otherwise by the wall clock.
#![allow(missing_docs)]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration as WallDuration;

use handsfree::media_devices::{
    InputCapture, InputOptions, MediaDevices, MediaError, OutputOptions, OutputPlayer, OutputTrack, Polling,
    TrackOptions,
};
use handsfree::sim::{Pace, SimClock, SimHandle, SimIo};
use handsfree_core::{Duration, SampleRate};
use handsfree_sim::acoustics::Wire;
use handsfree_sim::board::BoardConfig;
use handsfree_sim::device::DeviceConfig;

const RATE_HZ: u32 = 16_000;
const MONO: TrackOptions = TrackOptions { rate_hz: RATE_HZ, channels: 1 };
const LONG: WallDuration = WallDuration::from_secs(60);
const LATENCY: Duration = Duration::from_millis(70);

struct AsyncRig {
    devices: MediaDevices<SimIo>,
    sim: SimHandle,
    player: OutputPlayer<SimIo>,
    track: OutputTrack,
    input: InputCapture<SimIo>,
}

/// Opens devices with a wire from loudspeaker to microphone, and without voice processing that would change
/// samples.
fn rig(polling: Polling) -> AsyncRig {
    let rate = SampleRate::new(RATE_HZ).unwrap();
    let capture = DeviceConfig::new(rate, 160);
    let playback = DeviceConfig { latency: LATENCY, ..capture.clone() };
    let (worker_delay, worker_spread) = (Duration::from_micros(200), Duration::from_micros(800));
    let board = BoardConfig { capture, playback, worker_delay, worker_spread, seed: 1 };
    let pace = if polling == Polling::Manual { Pace::Stepped } else { Pace::RealTime };
    let clock = SimClock::shared();
    let mut handle = None;
    let devices = MediaDevices::builder()
        .rate_hz(RATE_HZ)
        .polling(polling)
        .open_with(Arc::clone(&clock) as _, |work| {
            let (io, sim) = SimIo::spawn(board, Box::new(Wire), work, &clock, pace)?;
            handle = Some(sim);
            Ok(io)
        })
        .unwrap();
    let options = InputOptions {
        enable_aec: false,
        noise_suppression: false,
        high_pass_filter: false,
        auto_gain_control: false,
        queue_capacity: 255,
        ..InputOptions::default()
    };
    let input = devices.open_input(options).unwrap();
    let mut player = devices.open_output(OutputOptions::default());
    let track = player.add_track(MONO).unwrap();
    AsyncRig { devices, sim: handle.unwrap(), player, track, input }
}

impl AsyncRig {
    fn step(sim: &SimHandle, devices: &MediaDevices<SimIo>) {
        sim.advance(Duration::from_millis(10)).unwrap();
        devices.tick();
    }
}

/// Returns samples that differ by position and are never 0.
fn speech(length: usize) -> Vec<i16> {
    (0..length).map(|at| (at * 7 % 20_000) as i16 + 1).collect()
}

/// Plays speech to its end, then more speech that it interrupts. Returns the first speech and the position of the
/// interruption.
async fn speak(track: &mut OutputTrack) -> (Vec<i16>, u64) {
    let sent = speech(3 * RATE_HZ as usize + 33);
    track.push_all(&sent).await.unwrap();
    let waits = track.queued_duration().unwrap();
    assert!(
        waits <= Duration::from_millis(1_010),
        "{waits:?} wait, expected at most the queue of one second"
    );
    track.wait_for_playout().await.unwrap();
    assert_eq!(track.played_position().unwrap(), sent.len() as u64);
    assert_eq!(track.interrupted_at().unwrap(), None);
    track.push_all(&speech(RATE_HZ as usize)).await.unwrap();
    track.interrupt().unwrap();
    let stopped = track.interrupted().await.unwrap();
    assert_eq!(track.interrupted_at().unwrap(), Some(stopped));
    (sent, stopped)
}

/// Takes frames until all of `sent` was heard, each sample once and in order.
async fn expect_heard(input: &mut InputCapture<SimIo>, sent: &[i16]) {
    let (mut heard, mut next) = (Vec::new(), None);
    loop {
        let frame = input.frame().await;
        assert_eq!(frame.stamp.lost, 0);
        assert_eq!(
            frame.stamp.position,
            next.unwrap_or(frame.stamp.position),
            "no frame is repeated or missing"
        );
        next = Some(frame.stamp.position + frame.sample_frames() as u64);
        heard.extend_from_slice(frame.samples());
        if let Some(begin) = heard.iter().position(|&sample| sample != 0)
            && heard.len() >= begin + sent.len()
        {
            assert!(heard[begin..begin + sent.len()] == *sent, "the samples heard differ from those sent");
            return;
        }
    }
}

type Speaking = Arc<AtomicU32>;

async fn talk(mut track: OutputTrack, speaking: Speaking) {
    let (sent, stopped) = speak(&mut track).await;
    let more = stopped - sent.len() as u64;
    assert!(more < u64::from(RATE_HZ) / 4, "{more} sample frames after the interruption");
    speaking.fetch_sub(1, Ordering::Relaxed);
}

async fn listen(mut input: InputCapture<SimIo>, speaking: Speaking) {
    expect_heard(&mut input, &speech(3 * RATE_HZ as usize + 33)).await;
    speaking.fetch_sub(1, Ordering::Relaxed);
}

/// Advances virtual time in steps of 10 ms until all tasks are done. The tasks run only when they are woken.
async fn drive(
    (devices, sim, mut player): (MediaDevices<SimIo>, SimHandle, OutputPlayer<SimIo>),
    speaking: Speaking,
    yield_now: impl AsyncFn(),
) {
    player.start().unwrap();
    for step in 0.. {
        if speaking.load(Ordering::Relaxed) == 0 {
            break;
        }
        AsyncRig::step(&sim, &devices);
        yield_now().await;
        assert!(step < 1_000, "a task was not woken within 10 s of virtual time");
    }
}

#[test]
fn a_conversation_runs_on_tokio_in_one_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let AsyncRig { devices, sim, player, track, input } = rig(Polling::Manual);
    let speaking = Arc::new(AtomicU32::new(2));
    let tasks = [
        runtime.spawn(talk(track, Arc::clone(&speaking))),
        runtime.spawn(listen(input, Arc::clone(&speaking))),
    ];
    runtime.block_on(async {
        drive((devices, sim, player), speaking, tokio::task::yield_now).await;
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[embassy_executor::task]
async fn drive_task(held: (MediaDevices<SimIo>, SimHandle, OutputPlayer<SimIo>), speaking: Speaking) {
    drive(held, speaking, embassy_futures::yield_now).await;
}

#[embassy_executor::task]
async fn talk_task(track: OutputTrack, speaking: Speaking) {
    talk(track, speaking).await;
}

#[embassy_executor::task]
async fn listen_task(input: InputCapture<SimIo>, speaking: Speaking) {
    listen(input, speaking).await;
}

#[test]
fn a_conversation_runs_on_embassys_executor() {
    let executor: &'static mut embassy_executor::Executor =
        Box::leak(Box::new(embassy_executor::Executor::new()));
    let AsyncRig { devices, sim, player, track, input } = rig(Polling::Manual);
    let speaking = Arc::new(AtomicU32::new(2));
    executor.run_until(
        |spawner| {
            spawner.spawn(drive_task((devices, sim, player), Arc::clone(&speaking)).unwrap());
            spawner.spawn(talk_task(track, Arc::clone(&speaking)).unwrap());
            spawner.spawn(listen_task(input, Arc::clone(&speaking)).unwrap());
        },
        || speaking.load(Ordering::Relaxed) == 0,
    );
}

/// Runs by the wall clock; the worker's rounds wake tasks on any thread.
#[test]
fn conversations_run_on_tokio_in_several_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let AsyncRig { devices, sim, mut player, mut track, mut input } = rig(Polling::Thread);
    player.start().unwrap();
    let talk = runtime.spawn(async move { speak(&mut track).await });
    let listen =
        runtime.spawn(async move { expect_heard(&mut input, &speech(3 * RATE_HZ as usize + 33)).await });
    runtime.block_on(async {
        let (sent, stopped) = talk.await.unwrap();
        assert!(stopped >= sent.len() as u64);
        listen.await.unwrap();
    });
    drop((devices, sim, player));
}

#[test]
fn blocking_calls_work_in_a_separate_thread() {
    let AsyncRig { devices, sim, mut player, mut track, mut input } = rig(Polling::Thread);
    let taken = track.push_blocking(&[1; 40_000], WallDuration::from_millis(5)).unwrap();
    assert!(
        (16_000..=16_160).contains(&taken),
        "{taken}: expected one second and part of a frame, because nothing plays yet"
    );
    player.start().unwrap();
    let listen = std::thread::spawn(move || {
        (0..300).map(|_| u64::from(input.next_frame(LONG).expect("a frame").stamp.lost)).sum::<u64>()
    });
    assert_eq!(track.push_blocking(&[1; 24_000], LONG).unwrap(), 24_000);
    assert_eq!(listen.join().unwrap(), 0);
    drop((devices, sim));
}

#[test]
fn dropped_futures_take_nothing_and_removed_tracks_end_them() {
    let AsyncRig { devices, sim, mut player, mut track, mut input } = rig(Polling::Manual);
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(input.frame()).poll(&mut context).is_pending());
    AsyncRig::step(&sim, &devices);
    AsyncRig::step(&sim, &devices);
    assert!(pin!(input.frame()).poll(&mut context).is_ready());

    let id = track.id();
    let sent = speech(2 * RATE_HZ as usize);
    {
        let mut pushing = pin!(track.push_all(&sent));
        assert!(
            pushing.as_mut().poll(&mut context).is_pending(),
            "the player is stopped and the queue is full"
        );
        AsyncRig::step(&sim, &devices);
        assert!(pushing.as_mut().poll(&mut context).is_pending());
        assert!(player.remove_track(id));
        let Poll::Ready(Err(MediaError::Closed)) = pushing.as_mut().poll(&mut context) else {
            panic!("expected the removed track to end the future")
        };
    }
    assert!(matches!(
        pin!(track.wait_for_playout()).poll(&mut context),
        Poll::Ready(Err(MediaError::Closed))
    ));
    assert!(matches!(pin!(track.interrupted()).poll(&mut context), Poll::Ready(Err(MediaError::Closed))));
    assert!(matches!(track.push_blocking(&sent, LONG), Err(MediaError::Closed)));
}
