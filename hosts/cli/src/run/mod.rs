//! `handsfree run`: runs a terminal over real or simulated devices.

pub(crate) mod requests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration as WallDuration;

use handsfree::HostChoice;
use handsfree_core::audio_io::{Direction, DirectionInfo, Event, StreamInfo};
use handsfree_core::{Duration, Instant, SampleRate, SessionEvent, Stats};
use handsfree_host::clock;
use handsfree_host::supervisor::{Notice, StreamSupervisor};

pub use self::requests::host_config;
use self::requests::{plans, refused, sources};
use crate::args::RunArgs;
use crate::player::{Player, PlayerEvent, Source};
use crate::recorder::Recorder;
use crate::report::{Ended, EventOutput, Opened, Reason, Report, Started, direction_name};
use crate::status::{Observer, unprocessed};
use handsfree::dump::{DumpWriter, Dumped};
use handsfree::failure::Failure;
use handsfree::host::{AnyIo, HostConfig};
use handsfree::sim::SimHandle;
use handsfree::terminal::{CAP, Parts, SLOTS, Terminal, TerminalConfig};

/// Polling interval of the control side.
const TICK: WallDuration = WallDuration::from_millis(20);
/// Shortest interval between two reports of xruns, which are reported together.
const XRUN_INTERVAL: Duration = Duration::from_millis(200);

type HostSupervisor = StreamSupervisor<'static, AnyIo, CAP, SLOTS>;

/// Runs a terminal by the switches in `args`.
///
/// # Errors
/// Names the device, file or value that cannot be used.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let mut running = Running::start(args)?;
    let reason = running.go_on(args);
    running.end(reason)
}

struct Running {
    terminal: Terminal,
    supervisor: HostSupervisor,
    sim: Option<Unplugging>,
    player: Player,
    /// Whether the run ends when all sources have been heard.
    ends_with_player: bool,
    recorder: Option<Recorder>,
    dump: Option<DumpWriter>,
    output: EventOutput,
    observer: Observer,
    begun: Instant,
    /// Time at which each direction's device went away.
    lost_at: [Option<Instant>; 2],
    device_losses: u32,
    counted: Stats,
    xruns_at: Instant,
    /// Number of sample frames in 10 ms of the microphone's device.
    capture_frame: u32,
    /// Whether the reader of the events has closed them.
    is_output_closed: bool,
}

impl Running {
    fn start(args: &RunArgs) -> Result<Self, Failure> {
        let rate = SampleRate::new(args.rate)?;
        let config = host_config(args, rate)?;
        let plans = plans(args, rate, &config)?;
        let host = HostChoice::from(args.io).resolve()?;
        let notice = host.notice();
        let (io_name, is_simulated) = (host.name(), host.is_simulated());
        let terminal_config = TerminalConfig {
            rate,
            voice: args.switches.config(),
            acoustic_delay: !args.no_echo_search,
            loopback: args.input_loopback.is_some(),
            voice_deadline: Duration::from_millis(args.voice_deadline_ms.into()),
        };
        let (Parts { mut terminal, halves, work }, dump) = match &args.dump {
            Some(folder) => {
                let (parts, journals) = terminal_config.build_with_journals(host.clock())?;
                (parts, Some(DumpWriter::start(folder, &terminal_config, io_name, journals)?))
            }
            None => (terminal_config.build(host.clock())?, None),
        };
        let open = host.open(&config, work)?;
        let mut supervisor = StreamSupervisor::new(open.io, halves);
        // Files are opened first, so that a missing one is found before any sound is made.
        let sources = sources(args, is_simulated);
        let repeat = args.repeat || args.play.is_empty();
        let player = Player::start(&sources, repeat, terminal.tracks(), terminal.clock())?;
        let recorder = match (&args.record, terminal.take_cleaned()) {
            (Some(path), Some(frames)) => Some(Recorder::start(path, rate, frames)?),
            _ => None,
        };
        on_interrupt()?;
        let now = clock::now();
        let info = supervisor
            .open(plans[0].as_ref(), plans[1].as_ref(), now)
            .map_err(|error| refused(args, error))?;
        let mut running = Self {
            sim: open.sim.map(|handle| Unplugging::new(handle, args, &config)),
            ends_with_player: !sources.is_empty() && !repeat && args.duration.is_none(),
            output: EventOutput::new(args.json, args.plain),
            observer: Observer::new(now),
            counted: terminal.stats(),
            terminal,
            player,
            recorder,
            dump,
            begun: now,
            lost_at: [None; 2],
            device_losses: 0,
            xruns_at: now,
            capture_frame: info.capture.map_or(0, |info| info.rate.sample_frames() as u32),
            is_output_closed: false,
            supervisor,
        };
        let started = Started {
            io: io_name,
            rate_hz: rate.hz(),
            processing: args.switches.name(),
            input: running.opened(args.input.as_deref(), Direction::Capture, info),
            output: running.opened(args.output.as_deref(), Direction::Playback, info),
            playing: sources.iter().map(Source::name).collect(),
        };
        running.report(&Report::Started(started));
        if let Some(notice) = notice {
            running.note(now, notice);
        }
        Ok(running)
    }

    /// Runs until there is a reason to end.
    fn go_on(&mut self, args: &RunArgs) -> Reason {
        let mut look_at = self.begun + Duration::from_millis(self.output.interval_ms());
        let mut remember_at = self.begun + Duration::from_millis(1_000);
        loop {
            std::thread::sleep(TICK);
            let now = clock::now();
            if let Some(sim) = &mut self.sim {
                sim.follow((now - self.begun).as_millis_f64() / 1e3);
            }
            self.hear_devices(now);
            self.hear_workers(now);
            self.hear_player(now);
            self.count_xruns(now);
            if now >= look_at {
                look_at = now.max(look_at + Duration::from_millis(self.output.interval_ms()));
                let supervisor = &self.supervisor;
                let playing = self.player.playing();
                let status =
                    self.observer.look(&self.terminal, |direction| supervisor.state(direction), playing, now);
                if now >= remember_at {
                    remember_at = now.max(remember_at + Duration::from_millis(1_000));
                    self.observer.remember(&status);
                }
                self.report(&Report::Status(status));
            }
            if is_interrupted() || self.is_output_closed {
                return Reason::Signal;
            }
            if args.duration.is_some_and(|duration_s| self.at_s(now) >= duration_s) {
                return Reason::Duration;
            }
            if self.ends_with_player && self.player.playing() == 0 {
                self.hear_player(now);
                return Reason::Played;
            }
            if self.recorder.as_ref().is_some_and(Recorder::has_failed) {
                return Reason::RecordingFailed;
            }
            if self.dump.as_ref().is_some_and(DumpWriter::has_failed) {
                return Reason::DumpFailed;
            }
        }
    }

    fn end(mut self, reason: Reason) -> Result<(), Failure> {
        let now = clock::now();
        self.supervisor.close(Direction::Capture);
        self.supervisor.close(Direction::Playback);
        let recorded = self.recorder.take().map(Recorder::finish);
        let dumped = self.dump.take().map(DumpWriter::finish);
        if let Some(Ok(Dumped { lost_records: lost @ 1.., .. })) = dumped {
            self.note(now, &format!("the dump lacks {lost} records at its end: the disk was too slow"));
        }
        let written = recorded.as_ref().and_then(|recorded| recorded.as_ref().ok());
        let rate_hz = f64::from(self.terminal.config().rate.hz());
        let seconds = |sample_frames: u64| (sample_frames as f64 / rate_hz * 1e3).round() / 1e3;
        let stats = self.terminal.stats();
        let frame = self.terminal.config().rate.sample_frames() as u64;
        let meters = self.terminal.meters();
        let ended = Ended {
            reason,
            seconds: self.at_s(now),
            captured_sample_frames: u64::from(stats.capture.frames) * frame,
            played_sample_frames: u64::from(stats.playback.frames) * frame,
            lost_sample_frames: u64::from(stats.intake.gap_sample_frames)
                + u64::from(stats.intake.overrun_frames) * u64::from(self.capture_frame),
            xruns: stats.xruns(),
            device_losses: self.device_losses,
            dropped_frames: self.terminal.dropped_frames(),
            unprocessed_frames: unprocessed(&stats),
            median_erle_db: self.observer.median_erle_db(),
            delay_ms: (f64::from(stats.capture.delay_us) / 100.0).round() / 10.0,
            drift_ppm: meters.drift_ppm().map(|ppm| (ppm * 10.0).round() / 10.0),
            reference_jumps: meters.reference_jumps(),
            cpu_percent: self.observer.cpu_percent(now),
            recorded_s: written.map(|written| seconds(written.sample_frames)),
            recorded_silence_s: written.map(|written| seconds(written.silent_sample_frames)),
        };
        self.report(&Report::Ended(ended));
        // Both files are closed before a failure of either is reported.
        recorded.transpose()?;
        dumped.transpose().map(|_| ())
    }

    fn hear_devices(&mut self, now: Instant) {
        while let Some(notice) = self.supervisor.poll(now) {
            match notice {
                Notice::Lost { direction } => {
                    self.device_losses += 1;
                    self.lost_at[direction as usize] = Some(now);
                    let direction = direction_name(direction);
                    self.report(&Report::DeviceLost { at_s: self.at_s(now), direction });
                }
                Notice::Returned { direction, info } => {
                    if direction == Direction::Capture {
                        self.capture_frame = info.rate.sample_frames() as u32;
                    }
                    let away = self.lost_at[direction as usize].take().map_or(Duration::ZERO, |at| now - at);
                    self.report(&Report::DeviceReturned {
                        at_s: self.at_s(now),
                        direction: direction_name(direction),
                        away_s: (away.as_millis_f64()).round() / 1e3,
                        rate_hz: info.rate.hz(),
                        channels: info.device_channels,
                    });
                }
                Notice::Moved { direction, info } => {
                    if direction == Direction::Capture {
                        self.capture_frame = info.rate.sample_frames() as u32;
                    }
                    if let Err(failure) = self.terminal.handle_notice(&notice) {
                        self.note(now, &failure.to_string());
                    }
                    let direction = direction_name(direction);
                    self.note(
                        now,
                        &format!("another device is the default for {direction} now, and is used"),
                    );
                }
                Notice::Host(Event::RealTimeRefused) => {
                    self.note(now, "real-time scheduling or locked memory was refused; xruns are likelier");
                }
                Notice::Host(Event::DefaultChanged { direction }) => {
                    let direction = direction_name(direction);
                    self.note(
                        now,
                        &format!("another device is the default for {direction} now; it was not asked for"),
                    );
                }
                Notice::Host(Event::EventsLost { count }) => {
                    self.note(now, &format!("{count} events of the host were lost"));
                }
                // Xruns are reported from the counters, which include those between interrupt and worker.
                _ => {}
            }
        }
    }

    fn hear_workers(&mut self, now: Instant) {
        loop {
            match self.terminal.poll_event() {
                Ok(None) => return,
                Ok(Some(SessionEvent::DeviceChanged { direction })) => {
                    let direction = direction_name(direction);
                    self.note(
                        now,
                        &format!("the {direction} device has another format: the echo is learned anew"),
                    );
                }
                Ok(Some(SessionEvent::VoiceTripped { fault })) => {
                    self.note(now, &format!("the voice processor failed or was too slow (fault {fault})"));
                }
                Ok(Some(SessionEvent::VoiceDisabled)) => {
                    self.note(now, "the voice processor failed too often and stays bypassed");
                }
                Ok(Some(_)) => {}
                Err(failure) => self.note(now, &failure.to_string()),
            }
        }
    }

    fn hear_player(&mut self, now: Instant) {
        while let Some(event) = self.player.poll_event() {
            match event {
                PlayerEvent::Played { name } => {
                    self.report(&Report::Played { at_s: self.at_s(now), name });
                }
                PlayerEvent::Broken { message } => self.note(now, &message),
            }
        }
    }

    fn count_xruns(&mut self, now: Instant) {
        if now < self.xruns_at {
            return;
        }
        self.xruns_at = now + XRUN_INTERVAL;
        let (stats, before) = (self.terminal.stats(), self.counted);
        self.counted = stats;
        let frame = self.capture_frame;
        let (overruns, gaps) = (
            stats.intake.overrun_frames.wrapping_sub(before.intake.overrun_frames),
            stats.intake.gaps.wrapping_sub(before.intake.gaps),
        );
        let capture_gap = stats.intake.gap_sample_frames.wrapping_sub(before.intake.gap_sample_frames);
        let underruns = stats.outlet.underruns.wrapping_sub(before.outlet.underruns);
        let skips = stats.outlet.gaps.wrapping_sub(before.outlet.gaps);
        let silence = stats.outlet.underrun_sample_frames.wrapping_sub(before.outlet.underrun_sample_frames);
        let skipped = stats.outlet.gap_sample_frames.wrapping_sub(before.outlet.gap_sample_frames);
        for (direction, count, sample_frames) in [
            (Direction::Capture, overruns.saturating_add(gaps), capture_gap.saturating_add(overruns * frame)),
            (Direction::Playback, underruns.saturating_add(skips), silence.saturating_add(skipped)),
        ] {
            if count > 0 {
                let direction = direction_name(direction);
                self.report(&Report::Xrun { at_s: self.at_s(now), direction, count, sample_frames });
            }
        }
    }

    fn opened(&self, device: Option<&str>, direction: Direction, info: StreamInfo) -> Option<Opened> {
        let info: DirectionInfo = match direction {
            Direction::Capture => info.capture,
            Direction::Playback => info.playback,
        }?;
        let mut name = device.unwrap_or("the default device").to_owned();
        let listed = self.supervisor.devices(&mut |found| {
            let is_meant = device.map_or(found.is_default, |id| id == found.id);
            if found.direction == direction && is_meant {
                found.name.clone_into(&mut name);
            }
        });
        if let Err(error) = listed {
            // The device runs; only its name is unknown.
            name = format!("{name} ({error})");
        }
        Some(Opened {
            name,
            rate_hz: info.rate.hz(),
            channels: info.device_channels,
            period_sample_frames: info.max_period_sample_frames,
            latency_ms: info.latency.as_millis_f64(),
        })
    }

    fn at_s(&self, now: Instant) -> f64 {
        (now - self.begun).as_millis_f64().round() / 1e3
    }

    fn note(&mut self, now: Instant, message: &str) {
        self.report(&Report::Note { at_s: self.at_s(now), message: message.to_owned() });
    }

    fn report(&mut self, report: &Report) {
        self.is_output_closed |= self.output.write(report).is_err();
    }
}

/// Schedule of `--unplug` for the simulated loudspeaker.
struct Unplugging {
    handle: SimHandle,
    device: handsfree_sim::device::DeviceConfig,
    /// Times, with whether the device is plugged in from then on; the soonest is last.
    turns: Vec<(f64, bool)>,
}

impl Unplugging {
    fn new(handle: SimHandle, args: &RunArgs, config: &HostConfig) -> Self {
        let mut turns: Vec<(f64, bool)> = args
            .sim
            .unplug
            .iter()
            .flat_map(|unplug| [(unplug.at_s, false), (unplug.at_s + unplug.seconds, true)])
            .collect();
        turns.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { handle, device: config.sim.board(config.rate, config.period_sample_frames).playback, turns }
    }

    fn follow(&mut self, at_s: f64) {
        while let Some((_, plugged_in)) = self.turns.pop_if(|(turn_at_s, _)| *turn_at_s <= at_s) {
            // The streams report a driver that has ended.
            _ = match plugged_in {
                true => self.handle.plug_in(Direction::Playback, self.device.clone()),
                false => self.handle.unplug(Direction::Playback),
            };
        }
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Ctrl-C ends the run with a summary; pressed again it ends the process at once.
fn on_interrupt() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .map_err(|error| Failure::run(format!("Ctrl-C could not be taken over: {error}")))
}
