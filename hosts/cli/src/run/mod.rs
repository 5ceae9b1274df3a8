//! Control side: `handsfree run`, which runs a terminal on real or simulated devices.

mod events;
pub(crate) mod requests;
mod streams;
mod unplug;

use std::path::Path;
use std::time::{Duration as WallDuration, Instant as WallInstant};

use handsfree::HostChoice;
use handsfree_core::audio_io::Direction;
use handsfree_core::{Duration, Instant, SampleRate, Stats};
use handsfree_host::clock;
use handsfree_host::supervisor::StreamSupervisor;

pub use self::requests::host_config;
use self::requests::{direction_configs, open_failure, sources, within};
use self::streams::RunStreams;
use self::unplug::UnplugSchedule;
use crate::args::{NearArg, RunArgs};
use crate::interrupts::{handle_interrupts, is_interrupted};
use crate::pcm::input::PcmInput;
use crate::pcm::output::{PcmOutput, Written};
use crate::player::{Player, Source};
use crate::publish::check_not_read;
use crate::recorder::{Recorder, RecordingFile};
use crate::report::{Ended, EventOutput, Report, RunEndReason, Started};
use crate::status::{FlowState, StatusObserver, StatusSources, unprocessed_frames};
use crate::watchdog::{Watchdog, WorkerRounds};
use handsfree::dump::{DumpWriter, Dumped};
use handsfree::failure::Failure;
use handsfree::host::AnyIo;
use handsfree::terminal::{CAP, Parts, SLOTS, Terminal, TerminalConfig};

/// Polling interval of the control side: short beside the 1 s between two status events.
const POLL_INTERVAL: WallDuration = WallDuration::from_millis(20);

type HostSupervisor = StreamSupervisor<'static, AnyIo, CAP, SLOTS>;

/// Runs a terminal as configured by `args`, until the run ends.
///
/// # Errors
/// Returns an error that names the device, file or value that cannot be used.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let mut running = RunningTerminal::start(args)?;
    let reason = running.run_until_end(args);
    running.finish(reason)
}

/// Running terminal with its devices, player, recorder and event output.
struct RunningTerminal {
    terminal: Terminal,
    supervisor: HostSupervisor,
    unplug_schedule: Option<UnplugSchedule>,
    player: Player,
    /// Plain samples and recordings from and to other programs.
    streams: RunStreams,
    /// Whether the run ends when all sources have been played.
    ends_with_player: bool,
    recorder: Option<Recorder>,
    dump: Option<DumpWriter>,
    output: EventOutput,
    observer: StatusObserver,
    started_at: Instant,
    /// The same moment on the streams' clock, which in the simulated room is another one.
    streams_started_at: Instant,
    /// Time at which each direction's device was lost; `None` while the device is present.
    lost_at: [Option<Instant>; 2],
    device_losses: u32,
    /// Counters at the last check for xruns.
    reported_stats: Stats,
    /// Earliest time of the next check for xruns.
    next_xrun_check_at: Instant,
    /// Length of a 10 ms frame at the rate of the microphone's device, in sample frames.
    capture_frame_length: u32,
    watchdog: Watchdog,
    /// First error of the event output.
    output_failure: Option<Failure>,
    /// Whether the end of `--pcm-in` was reported.
    is_input_reported: bool,
}

impl RunningTerminal {
    fn start(args: &RunArgs) -> Result<Self, Failure> {
        let rate = SampleRate::new(args.devices.rate)?;
        args.devices.switches.check_build(rate.hz())?;
        let config = host_config(&args.devices, rate)?;
        if let Some(duration_s) = args.duration {
            within("--duration", duration_s, 0.0..=1e9)?;
        }
        let event_sink = streams::event_sink(args)?;
        let configs = direction_configs(&args.devices, rate, &config)?;
        let host = HostChoice::from(args.devices.io).resolve()?;
        let notice = host.notice();
        let (io_name, is_simulated) = (host.name(), host.is_simulated());
        let terminal_config = TerminalConfig {
            rate,
            voice: args.devices.switches.config(),
            canceller: args.devices.switches.canceller_choice(),
            acoustic_delay: !args.devices.no_echo_search,
            adaptive_latency: args.devices.adaptive_latency,
            loopback: args.devices.input_loopback.is_some(),
            voice_deadline: Duration::from_millis(args.devices.voice_deadline_ms.into()),
            ..TerminalConfig::new(rate)
        };
        check_files(args)?;
        let (Parts { mut terminal, halves, work }, journals) = match &args.dump {
            Some(_) => {
                let (parts, journals) = terminal_config.build_with_journals(host.clock())?;
                (parts, Some(journals))
            }
            None => (terminal_config.build(host.clock())?, None),
        };
        let rounds = WorkerRounds::default();
        let open = host.open(&config, rounds.counted(work))?;
        let watchdog = Watchdog::from_environment(rounds).map_err(|error| Failure::run(error.to_string()))?;
        let mut supervisor = StreamSupervisor::new(open.io, halves);
        // Files are opened before the devices, so that a missing file is reported before any sound is played. None of
        // them is changed before the devices are open.
        let sources = sources(args, is_simulated);
        let repeat = args.repeat || args.play.is_empty();
        let player = Player::start(&sources, repeat, terminal.tracks(), terminal.clock())?;
        let create = |path| RecordingFile::create(path, rate, args.record_segments);
        let recorded_file = args.record.as_deref().filter(|_| streams::is_recorded_to_file(args));
        let recording = recorded_file.map(create).transpose()?;
        let recovered = recording.as_ref().and_then(RecordingFile::recovered);
        let (streams, frames) = RunStreams::start(args, rate, &mut terminal)?;
        handle_interrupts()?;
        let now = clock::now();
        let streams_started_at = terminal.clock().now();
        let info = supervisor
            .open(configs[0].as_ref(), configs[1].as_ref(), now)
            .map_err(|error| open_failure(&args.devices, error))?;
        // What the devices do meanwhile waits in queues that hold seconds of it.
        let dump = match (&args.dump, journals) {
            (Some(folder), Some(journals)) => {
                Some(DumpWriter::start(folder, &terminal_config, io_name, journals)?)
            }
            _ => None,
        };
        let recorder = recording.map(|recording| Recorder::start(recording, frames)).transpose()?;
        let mut running = Self {
            unplug_schedule: open.sim.map(|handle| UnplugSchedule::new(handle, args, &config)),
            ends_with_player: (!sources.is_empty() && !repeat || args.pcm_in.is_some())
                && args.duration.is_none(),
            output: EventOutput::new(args.json, args.plain, event_sink),
            streams,
            observer: StatusObserver::new(now),
            reported_stats: terminal.stats(),
            terminal,
            player,
            recorder,
            dump,
            started_at: now,
            streams_started_at,
            lost_at: [None; 2],
            device_losses: 0,
            next_xrun_check_at: now,
            capture_frame_length: info.capture.map_or(0, |info| info.rate.sample_frames() as u32),
            watchdog,
            output_failure: None,
            is_input_reported: false,
            supervisor,
        };
        let started = Started {
            io: io_name,
            rate_hz: rate.hz(),
            processing: args.devices.switches.name(),
            input: running.opened_device(args.devices.input.as_deref(), Direction::Capture, info),
            output: running.opened_device(args.devices.output.as_deref(), Direction::Playback, info),
            playing: sources.iter().map(Source::name).collect(),
        };
        running.report(&Report::Started(started));
        if let Some(notice) = notice {
            running.note(now, notice);
        }
        if let Err(error) = running.watchdog.ready() {
            running.note(now, &format!("the service manager was not told of the start: {error}"));
        }
        if let Some(path) = recovered {
            running.note(now, &recovery_notice(&path));
        }
        Ok(running)
    }

    /// Runs until an end condition is met, and returns the reason.
    fn run_until_end(&mut self, args: &RunArgs) -> RunEndReason {
        let mut next_status_at = self.started_at + Duration::from_millis(self.output.interval_ms());
        let mut next_median_at = self.started_at + Duration::from_millis(1_000);
        loop {
            std::thread::sleep(POLL_INTERVAL);
            let now = clock::now();
            if let Some(schedule) = &mut self.unplug_schedule {
                schedule.apply_until((now - self.started_at).as_millis_f64() / 1e3);
            }
            self.notify_service_manager();
            self.report_device_notices(now);
            self.report_session_events(now);
            self.report_player_events(now);
            self.report_speech();
            self.report_xruns(now);
            self.report_stream_events(now);
            if now >= next_status_at {
                next_status_at = now.max(next_status_at + Duration::from_millis(self.output.interval_ms()));
                let supervisor = &self.supervisor;
                let playing = self.player.playing();
                let stats = self.terminal.stats();
                let sources = StatusSources {
                    meters: self.terminal.meters(),
                    stats: &stats,
                    dropped_frames: self.terminal.dropped_frames(),
                };
                let status = self.observer.observe(
                    &sources,
                    |direction| supervisor.state(direction).into(),
                    playing,
                    now,
                );
                if now >= next_median_at {
                    next_median_at = now.max(next_median_at + Duration::from_millis(1_000));
                    self.observer.record_erle(&status);
                }
                self.report(&Report::Status(status));
            }
            if is_interrupted() {
                return RunEndReason::Signal;
            }
            if self.output_failure.is_some() {
                return RunEndReason::OutputFailed;
            }
            if args.duration.is_some_and(|duration_s| self.at_s(now) >= duration_s) {
                return RunEndReason::Duration;
            }
            if self.streams.has_output_ended() {
                return RunEndReason::Signal;
            }
            if self.ends_with_player && self.player.playing() == 0 && self.streams.has_input_ended() {
                self.report_stream_events(now);
                self.report_player_events(now);
                return RunEndReason::Played;
            }
            if self.recorder.as_ref().is_some_and(Recorder::has_failed) {
                return RunEndReason::RecordingFailed;
            }
            if self.dump.as_ref().is_some_and(DumpWriter::has_failed) {
                return RunEndReason::DumpFailed;
            }
        }
    }

    fn finish(mut self, reason: RunEndReason) -> Result<(), Failure> {
        let now = clock::now();
        // An error has no consequence any more.
        _ = self.watchdog.stopping();
        self.supervisor.close(Direction::Capture);
        self.supervisor.close(Direction::Playback);
        self.streams.end_frames();
        let recorded = self.recorder.take().map(Recorder::finish);
        let [pcm_out, streamed] = self.streams.finish();
        let dumped = self.dump.take().map(DumpWriter::finish);
        if let Some(Ok(Dumped { lost_records: lost @ 1.., .. })) = dumped {
            self.note(
                now,
                &format!(
                    "the last {lost} records of the dump were not written because the disk was too slow"
                ),
            );
        }
        let lengths = |written: &Written| [written.sample_frames, written.silent_sample_frames];
        let written = match (&recorded, &streamed) {
            (Some(Ok(recorded)), _) => Some([recorded.sample_frames, recorded.silent_sample_frames]),
            (None, Some(Ok(streamed))) => Some(lengths(streamed)),
            _ => None,
        };
        let has_stream_failed = [&pcm_out, &streamed].into_iter().flatten().any(Result::is_err);
        let reason = if has_stream_failed { RunEndReason::PcmFailed } else { reason };
        let rate_hz = f64::from(self.terminal.config().rate.hz());
        let seconds = |sample_frames: u64| (sample_frames as f64 / rate_hz * 1e3).round() / 1e3;
        let stats = self.terminal.stats();
        let frame_length = self.terminal.config().rate.sample_frames() as u64;
        let meters = self.terminal.meters();
        let ended = Ended {
            reason,
            seconds: self.at_s(now),
            captured_sample_frames: u64::from(stats.capture.frames) * frame_length,
            played_sample_frames: u64::from(stats.playback.frames) * frame_length,
            lost_sample_frames: u64::from(stats.intake.gap_sample_frames)
                + u64::from(stats.intake.overrun_frames) * u64::from(self.capture_frame_length),
            xruns: stats.xruns(),
            device_losses: self.device_losses,
            dropped_frames: self.terminal.dropped_frames(),
            unprocessed_frames: unprocessed_frames(&stats),
            median_erle_db: self.observer.median_erle_db(),
            delay_ms: (f64::from(stats.capture.delay_us) / 100.0).round() / 10.0,
            drift_ppm: meters.drift_ppm().map(|ppm| (ppm * 10.0).round() / 10.0),
            reference_jumps: meters.reference_jumps(),
            cpu_percent: self.observer.cpu_percent(now),
            recorded_s: written.map(|[sample_frames, _]| seconds(sample_frames)),
            recorded_silence_s: written.map(|[_, silent]| seconds(silent)),
            pcm_in_sample_frames: self.streams.pcm_in.as_ref().map(PcmInput::sample_frames),
            pcm_out_sample_frames: pcm_out
                .as_ref()
                .map(|_| self.streams.pcm_out.as_ref().map_or(0, |output| output.written().sample_frames)),
            pcm_out_dropped_sample_frames: self
                .streams
                .pcm_out
                .as_ref()
                .map(PcmOutput::dropped_sample_frames),
        };
        self.report(&Report::Ended(ended));
        // Both files are closed before an error of either is returned.
        recorded.transpose()?;
        pcm_out.transpose()?;
        streamed.transpose()?;
        dumped.transpose()?;
        self.output_failure.take().map_or(Ok(()), Err)
    }

    /// Tells the service manager that the terminal is alive. A message that is lost is sent again.
    fn notify_service_manager(&mut self) {
        let is_running = [Direction::Capture, Direction::Playback]
            .into_iter()
            .any(|direction| FlowState::from(self.supervisor.state(direction)) == FlowState::Running);
        _ = self.watchdog.poll(is_running, WallInstant::now());
    }
}

/// Checks the files that the run writes, without changing anything.
fn check_files(args: &RunArgs) -> Result<(), Failure> {
    if let Some(folder) = &args.dump {
        DumpWriter::check(folder)?;
    }
    let Some(record) = &args.record else { return Ok(()) };
    for file in &args.play {
        check_not_read("--play", Some(file), "--record", record)?;
    }
    match &args.devices.sim.near {
        Some(NearArg::File(file)) => check_not_read("--near", Some(file), "--record", record),
        _ => Ok(()),
    }
}

/// Returns the message about a recording that a killed process left, with the path that it has now.
#[must_use]
pub fn recovery_notice(path: &Path) -> String {
    format!("the unfinished recording of a process that was killed is kept as {}", path.display())
}
