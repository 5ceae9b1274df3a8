//! Microphone of a sound server on a clock of its own. It hears what a loudspeaker of the same server plays, through a room.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration as Span, Instant as Moment};

use handsfree_sim::convolver::Convolver;
use handsfree_sim::interpolate::{Interpolator, PlayedSignal};
use handsfree_sim::noise::Rng;
use handsfree_sim::room::{Room, RoomSource};

/// Rate of all devices, in hertz.
pub(crate) const RATE_HZ: u32 = 48_000;
/// Samples in 10 ms.
const BLOCK: usize = RATE_HZ as usize / 100;
/// Length of the room's impulse response in samples.
const RESPONSE: usize = RATE_HZ as usize / 4;
/// Power of the echo relative to what was played, for sound without a pitch.
const ECHO_GAIN_DB: f32 = -6.0;
/// Level of the noise in the room, relative to full scale: low, so that it does not limit the echo reduction.
const NOISE_DBFS: f64 = -95.0;
/// Time that a sample waits for the microphone's clock if that is smooth: scheduling may delay the threads by that much
/// without a hole in the sound. It is part of the echo's delay, and not long, because PulseAudio's module needs an early echo.
const RESERVE_MS: u32 = 20;
/// Number of blocks that a microphone delivers together in bursts.
const BURST_BLOCKS: usize = 4;
/// Real-time priorities of the process that hears the loudspeaker and of the microphone's clock. A clock is not late
/// because programs are busy.
const LISTENER_PRIORITY: &str = "15";
const CLOCK_PRIORITY: u8 = 20;

/// How the microphone delivers its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// 10 ms every 10 ms, by the computer's clock.
    Smooth,
    /// 40 ms at a time, once the loudspeaker has played them, as wireless and virtual devices do.
    Bursts,
}

/// Echo path from one loudspeaker to one microphone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EchoPathConfig {
    pub(crate) delivery: Delivery,
    /// How much slower the microphone's clock is than the loudspeaker's.
    pub(crate) ppm: u32,
    /// Delay of the echo beyond what the delivery takes.
    pub(crate) delay_ms: u32,
}

/// Microphone that runs until it is dropped.
pub(crate) struct RoomMicrophone {
    listener: Child,
    is_ended: Arc<AtomicBool>,
    starved: Arc<AtomicU64>,
}

impl RoomMicrophone {
    /// Starts to hear the monitor of a sink, and to write into the pipe of a pipe source.
    pub(crate) fn start(sink: &str, pipe: &PathBuf, path: EchoPathConfig) -> Self {
        let mut listener = realtime_command("parec", LISTENER_PRIORITY)
            .args(["--raw", "--format=s16le", "--channels=1", "--latency-msec=10"])
            .args([format!("--rate={RATE_HZ}"), format!("--device={sink}.monitor")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("parec: `apt install pulseaudio-utils`, or `make setup`");
        let mut monitor = listener.stdout.take().unwrap();
        let mut pipe = File::options().write(true).open(pipe).unwrap();
        let (is_ended, starved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut echo = EchoPath::new(path);
        let mut hear = move |blocks: usize| -> Option<Vec<i16>> {
            let mut bytes = vec![0; 2 * BLOCK * blocks];
            monitor.read_exact(&mut bytes).ok()?;
            Some(echo.carry(&bytes))
        };
        if path.delivery == Delivery::Bursts {
            std::thread::spawn(move || {
                let _ = handsfree_host::realtime::schedule_fifo(CLOCK_PRIORITY);
                while let Some(heard) = hear(BURST_BLOCKS) {
                    if pipe.write_all(&bytes_of(heard)).is_err() {
                        break;
                    }
                }
            });
            return Self { listener, is_ended, starved };
        }
        let heard = Arc::new(Mutex::new(VecDeque::new()));
        let queue = Arc::clone(&heard);
        std::thread::spawn(move || {
            let _ = handsfree_host::realtime::schedule_fifo(CLOCK_PRIORITY);
            while let Some(heard) = hear(1) {
                queue.lock().unwrap().extend(heard);
            }
        });
        let clock = MicrophoneClock {
            heard,
            pipe,
            is_ended: Arc::clone(&is_ended),
            starved: Arc::clone(&starved),
            sample_s: (1.0 + f64::from(path.ppm) * 1e-6) / f64::from(RATE_HZ),
        };
        std::thread::spawn(move || {
            let _ = handsfree_host::realtime::schedule_fifo(CLOCK_PRIORITY);
            clock.run();
        });
        Self { listener, is_ended, starved }
    }

    /// Returns the number of samples that the microphone had to replace by silence because the machine was too slow.
    pub(crate) fn starved_samples(&self) -> u64 {
        self.starved.load(Ordering::Relaxed)
    }
}

impl Drop for RoomMicrophone {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
        let _ = self.listener.kill();
        let _ = self.listener.wait();
        // The threads are not joined: one that writes to the pipe waits for a server that no longer reads it.
    }
}

/// Thread that delivers what was heard on the microphone's own clock.
struct MicrophoneClock {
    heard: Arc<Mutex<VecDeque<i16>>>,
    pipe: File,
    is_ended: Arc<AtomicBool>,
    starved: Arc<AtomicU64>,
    /// Length of a sample by the computer's clock.
    sample_s: f64,
}

impl MicrophoneClock {
    fn run(mut self) {
        while self.heard.lock().unwrap().is_empty() && !self.is_ended.load(Ordering::Relaxed) {
            std::thread::sleep(Span::from_millis(1));
        }
        let begun = Moment::now();
        let mut delivered = 0;
        while !self.is_ended.load(Ordering::Relaxed) {
            delivered += BLOCK;
            let due = begun + Span::from_secs_f64(delivered as f64 * self.sample_s);
            std::thread::sleep(due.saturating_duration_since(Moment::now()));
            let mut block: Vec<i16> = {
                let mut heard = self.heard.lock().unwrap();
                let count = BLOCK.min(heard.len());
                heard.drain(..count).collect()
            };
            self.starved.fetch_add((BLOCK - block.len()) as u64, Ordering::Relaxed);
            block.resize(BLOCK, 0);
            if self.pipe.write_all(&bytes_of(block)).is_err() {
                return;
            }
        }
    }
}

fn bytes_of(samples: Vec<i16>) -> Vec<u8> {
    samples.into_iter().flat_map(i16::to_le_bytes).collect()
}

/// Returns a command with real-time scheduling where the system permits it.
pub(crate) fn realtime_command(program: &str, priority: &str) -> Command {
    let wrapper = ["-f", priority];
    let is_permitted =
        Command::new("chrt").args(wrapper).arg("true").output().is_ok_and(|out| out.status.success());
    if !is_permitted {
        return Command::new(program);
    }
    let mut command = Command::new("chrt");
    command.args(wrapper).arg(program);
    command
}

/// The loudspeaker's sound on the microphone's clock.
struct EchoPath {
    room: Convolver,
    tape: PlayedSignal,
    interpolator: Interpolator,
    rng: Rng,
    noise: f64,
    /// Number of samples delivered.
    carried: u64,
}

impl EchoPath {
    fn new(path: EchoPathConfig) -> Self {
        let mut response =
            Room::default().impulse_response(RoomSource::Loudspeaker, RATE_HZ, RESPONSE).unwrap();
        let power: f32 = response.iter().map(|tap| tap * tap).sum();
        let gain = 10_f32.powf(ECHO_GAIN_DB / 20.0) / power.sqrt();
        response.iter_mut().for_each(|tap| *tap *= gain);
        let reserve_ms = if path.delivery == Delivery::Smooth { RESERVE_MS } else { 0 };
        let delay_ms = reserve_ms + path.delay_ms;
        Self {
            room: Convolver::new(&response),
            tape: PlayedSignal::starting_at(u64::from(delay_ms * (RATE_HZ / 1_000))),
            interpolator: Interpolator::new(1.0 + f64::from(path.ppm) * 1e-6),
            rng: Rng::new(5),
            noise: 32_768.0 * 10_f64.powf(NOISE_DBFS / 20.0),
            carried: 0,
        }
    }

    /// Takes played samples of 16 bits and returns the microphone samples that are complete.
    fn carry(&mut self, played: &[u8]) -> Vec<i16> {
        let played: Vec<f32> =
            played.as_chunks().0.iter().map(|&bytes| f32::from(i16::from_le_bytes(bytes))).collect();
        self.room.process(&played, self.tape.extend(played.len()));
        let reach = self.interpolator.reach() as u64;
        let mut heard = Vec::with_capacity(played.len() + 1);
        loop {
            let position = self.carried as f64 * self.interpolator.step();
            let whole = position as u64;
            if whole + reach >= self.tape.end() {
                self.tape.drop_before(whole.saturating_sub(reach));
                return heard;
            }
            let mut sample = [0.0];
            let at = (whole as i64, position.fract());
            self.tape.read_run(&self.interpolator, at, self.interpolator.step(), &mut sample);
            let sample = f64::from(sample[0]) + self.noise * self.rng.gaussian();
            heard.push(sample.round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16);
            self.carried += 1;
        }
    }
}
