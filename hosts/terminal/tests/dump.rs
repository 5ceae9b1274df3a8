//! Records runs and replays them, sample by sample: with devices that are lost and return, with a late worker, with
//! interrupts that run in parallel with the worker, and with broken files.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Barrier};

use handsfree::dump::{DumpWriter, Replayed, recompute, replay};
use handsfree::terminal::{JournalReaders, Parts, TerminalConfig};
use handsfree_apm::{ApmConfig, NoiseSuppression};
use handsfree_core::audio_io::Direction;
use handsfree_core::capture::IntakeConfig;
use handsfree_core::playback::OutletConfig;
use handsfree_core::time::PeriodTime;
use handsfree_core::{ChannelMap, Clock, Duration, Gain, Instant, SampleRate};
use handsfree_sim::device::{DeviceConfig, DeviceSampleFormat, Jitter};
use handsfree_sim::noise::Rng;
use support::{RATE, TerminalRig, board, canceller};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dump").join(name);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", folder.display()),
        _ => folder,
    }
}

/// Returns the seed from the environment variable `HANDSFREE_SEED`, or the seeds 1 to `cases`.
fn seeds(cases: u64) -> std::ops::RangeInclusive<u64> {
    match std::env::var("HANDSFREE_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("HANDSFREE_SEED: a whole number");
            seed..=seed
        }
        Err(_) => 1..=cases,
    }
}

fn pick<'o, T>(rng: &mut Rng, of: &'o [T]) -> &'o T {
    &of[rng.range(0, of.len() as u64) as usize]
}

fn any_device(rng: &mut Rng, like: &DeviceConfig) -> DeviceConfig {
    let rate = SampleRate::new(*pick(rng, &[8_000, 16_000, 44_100, 48_000])).unwrap();
    let formats =
        [DeviceSampleFormat::I16, DeviceSampleFormat::I24, DeviceSampleFormat::I32, DeviceSampleFormat::F32];
    DeviceConfig {
        rate,
        ppm: rng.range(0, 400) as f64 - 200.0,
        periods: (0..rng.range(1, 4)).map(|_| rng.range(16, 1_200) as u32).collect(),
        device_channels: 1,
        format: *pick(rng, &formats),
        latency: Duration::from_millis(rng.range(1, 300) as i64),
        jitter: Jitter::Uniform { micros: 100.0 },
        ..like.clone()
    }
}

/// Runs the terminal with random events: lost devices, late workers, lost samples, latency jumps, new voice
/// processors.
fn random_events(rig: &mut TerminalRig, rng: &mut Rng, ms: i64) {
    let mut away = [false; 2];
    for _ in 0..ms / 20 {
        rig.pass(20);
        let direction = *pick(rng, &[Direction::Capture, Direction::Playback]);
        match rng.range(0, 60) {
            0 if !away[direction as usize] => {
                rig.unplug(direction);
                away[direction as usize] = true;
            }
            1..=6 if away[direction as usize] => {
                let device = any_device(rng, &rig.playback_device.clone());
                rig.plug_in(direction, device);
                away[direction as usize] = false;
            }
            7 => {
                let span = Duration::from_millis(rng.range(1, 1_500) as i64);
                rig.sim.with_board(move |board| board.stall_worker(span)).unwrap();
            }
            8 => {
                let lost = rng.range(1, 3_000) as u32;
                rig.sim.with_board(move |board| board.lose_capture(lost)).unwrap();
            }
            9 => {
                let by = Duration::from_millis(rng.range(0, 200) as i64 - 100);
                rig.sim.with_board(move |board| board.step_render_latency(by)).unwrap();
            }
            10 => rig.terminal.restart_voice().unwrap(),
            11 => {
                let noise = *pick(rng, &[NoiseSuppression::Off, NoiseSuppression::High]);
                let config = ApmConfig { noise_suppression: noise, ..canceller() };
                rig.terminal.set_voice(*pick(rng, &[config, ApmConfig::BYPASS])).unwrap();
            }
            _ => {}
        }
    }
}

/// Closes the streams and writes the rest of the dump.
fn finish(mut rig: TerminalRig, writer: DumpWriter) {
    rig.supervisor.close(Direction::Capture);
    rig.supervisor.close(Direction::Playback);
    let dumped = writer.finish().unwrap();
    assert_eq!(dumped.lost_records, 0);
}

/// Records a run whose devices deliver periods in bursts with late timestamps, as sound servers do, and measures it.
#[test]
fn a_bursty_dump_recomputes_with_the_echo_removed() {
    let folder = folder("bursty");
    let mut devices = board(RATE, 0.0);
    for device in [&mut devices.capture, &mut devices.playback] {
        device.jitter = Jitter::Uniform { micros: 2_000.0 };
        device.burst_periods = 4;
    }
    let (mut rig, journals) = TerminalRig::with_journals_on(devices, |work| work);
    let writer = DumpWriter::start(&folder, &rig.terminal.config(), "sim", journals).unwrap();
    for _ in 0..60 {
        rig.pass(1_000);
    }
    finish(rig, writer);
    let recomputed = recompute(&folder, None).unwrap();
    println!("{recomputed}");
    assert_eq!(recomputed.incomplete, None);
    assert!(recomputed.windows.len() >= 6, "{recomputed}");
    assert!(recomputed.median_db.unwrap() >= 45.0 && recomputed.worst_db.unwrap() >= 35.0, "{recomputed}");
    assert!(recomputed.jumps <= 2, "{recomputed}");
}

#[test]
fn random_runs_replay_to_the_sample() {
    let mut seen = [0; 4];
    for seed in seeds(12) {
        let mut rng = Rng::for_stream(seed, "dump");
        let folder = folder(&format!("any-{seed}"));
        let (mut rig, journals) = TerminalRig::with_journals(100.0, |work| work);
        let writer = DumpWriter::start(&folder, &rig.terminal.config(), "sim", journals).unwrap();
        random_events(&mut rig, &mut rng, 6_000);
        let (stats, voices) = (rig.terminal.stats(), rig.terminal.meters().voice_changes());
        finish(rig, writer);
        let replayed = replay(&folder, None).unwrap();
        assert!(replayed.is_equal() && replayed.incomplete.is_none(), "seed {seed}: {replayed:?}");
        assert_eq!(replayed.cleaned.frames, u64::from(stats.capture.frames), "seed {seed}");
        let lost = stats.intake.overrun_frames + stats.outlet.reference_overrun_frames;
        for (seen, now) in seen.iter_mut().zip([lost, stats.outlet.underruns, stats.intake.gaps, voices]) {
            *seen += now;
        }
    }
    println!("overruns, underruns, gaps, voice processors in all: {seen:?}");
    assert!(seen.iter().all(|&seen| seen > 0) || std::env::var("HANDSFREE_SEED").is_ok(), "{seen:?}");
}

/// Clock that advances by 1 us at each reading.
#[derive(Default)]
struct CountingClock(AtomicI64);

impl Clock for CountingClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.fetch_add(1_000, Ordering::Relaxed))
    }

    /// Another clock than the time of day, as on hosts; a replay must find its readings as well.
    fn thread_time(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Relaxed) / 7)
    }
}

/// Two interrupts and a worker run on a thread each, as fast as they can. Rings overflow and run empty in an
/// unknown order.
#[test]
fn racing_interrupts_replay_without_a_common_order() {
    const PERIODS: u64 = 3_000;
    for seed in seeds(4) {
        let folder = folder(&format!("race-{seed}"));
        let rate = SampleRate::new(16_000).unwrap();
        let clock: Arc<CountingClock> = Arc::default();
        let config = TerminalConfig { voice: ApmConfig::BYPASS, ..TerminalConfig::new(rate) };
        let (parts, journals) = config.build_with_journals(clock).unwrap();
        let Parts { terminal, halves, mut work } = parts;
        let writer = DumpWriter::start(&folder, &config, "threads", journals).unwrap();
        let (mut intake, mut outlet) = (halves.intake.unwrap(), halves.outlet.unwrap());
        let map = ChannelMap::natural(1, 1).unwrap();
        intake
            .configure(IntakeConfig {
                rate,
                map,
                gain: Gain::UNITY,
                max_period_sample_frames: 400,
                clock_domain: 0,
            })
            .unwrap();
        outlet
            .configure(OutletConfig {
                rate,
                map,
                max_period_sample_frames: 400,
                worker_slack_sample_frames: 160,
                latency: Duration::from_millis(20),
                clock_domain: 0,
            })
            .unwrap();
        let tracks = terminal.tracks();
        let start = Barrier::new(3);
        let over = AtomicBool::new(false);
        // Random delays make either side faster for a while, so that rings fill up and run empty.
        let spin = |rng: &mut Rng, most: u64| (0..rng.range(0, most)).for_each(|_| std::hint::spin_loop());
        let time = |position: u64| {
            let converter = Instant::ORIGIN + Duration::of_sample_frames(position, rate);
            PeriodTime { position, converter, called: converter }
        };
        std::thread::scope(|scope| {
            let capture = scope.spawn(|| {
                let mut rng = Rng::for_stream(seed, "capture");
                let mut position = 0;
                start.wait();
                for _ in 0..PERIODS {
                    let length = rng.range(1, 401);
                    let period: Vec<i16> = (0..length).map(|_| rng.next_u64() as i16).collect();
                    intake.on_period(&period, time(position));
                    position += length;
                    spin(&mut rng, 20_000);
                }
            });
            let playback = scope.spawn(|| {
                let mut rng = Rng::for_stream(seed, "playback");
                let mut position = 0;
                start.wait();
                for _ in 0..PERIODS {
                    let length = rng.range(1, 401);
                    let mut period = vec![0i32; length as usize];
                    outlet.on_period(&mut period, time(position));
                    position += length;
                    spin(&mut rng, 20_000);
                }
                outlet.stop();
            });
            let worker = scope.spawn(|| {
                let mut rng = Rng::for_stream(seed, "worker");
                let mut track = tracks.open().unwrap();
                start.wait();
                while !over.load(Ordering::Relaxed) {
                    track.push(&[rng.next_u64() as i16; 900]).unwrap();
                    work();
                    let most = if rng.range(0, 50) == 0 { 1_000_000 } else { 3_000 };
                    spin(&mut rng, most);
                }
                work();
            });
            capture.join().unwrap();
            playback.join().unwrap();
            over.store(true, Ordering::Relaxed);
            worker.join().unwrap();
        });
        let stats = terminal.stats();
        assert_eq!(writer.finish().unwrap().lost_records, 0);
        let replayed = replay(&folder, None).unwrap();
        println!(
            "{} frames, {} lost in the ring, {} underruns",
            stats.capture.frames, stats.intake.overrun_frames, stats.outlet.underruns
        );
        assert!(replayed.is_equal(), "seed {seed}: {replayed:?}");
        assert_eq!((replayed.microphone_periods, replayed.loudspeaker_periods), (PERIODS, PERIODS));
        assert_eq!(replayed.cleaned.frames, u64::from(stats.capture.frames));
        assert!(replayed.cleaned.frames > 100);
    }
}

/// Returns the files of a valid dump of two seconds, recorded once. Each test breaks its own copy.
fn valid_dump() -> BTreeMap<String, Vec<u8>> {
    static ONCE: std::sync::OnceLock<BTreeMap<String, Vec<u8>>> = std::sync::OnceLock::new();
    let made = ONCE.get_or_init(|| {
        let folder = folder("valid_dump");
        let (mut rig, journals) = TerminalRig::with_journals(0.0, |work| work);
        let writer = DumpWriter::start(&folder, &rig.terminal.config(), "sim", journals).unwrap();
        rig.pass(2_000);
        finish(rig, writer);
        let files = std::fs::read_dir(&folder).unwrap().map(Result::unwrap);
        files.map(|f| (f.file_name().into_string().unwrap(), std::fs::read(f.path()).unwrap())).collect()
    });
    made.clone()
}

fn write_copy(name: &str, files: &BTreeMap<String, Vec<u8>>) -> PathBuf {
    let folder = folder(name);
    std::fs::create_dir_all(&folder).unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes).unwrap());
    folder
}

fn replay_copy(name: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Replayed, String> {
    replay(&write_copy(name, files), None).map_err(|error| error.to_string())
}

/// Each file is cut off in turn at several positions, also in the middle of a record.
#[test]
fn a_killed_run_replays_up_to_its_end() {
    let whole = replay_copy("whole", &valid_dump()).unwrap();
    assert!(whole.is_equal() && whole.incomplete.is_none() && whole.cleaned.frames > 190, "{whole:?}");
    for name in ["worker.journal", "microphone.journal", "loudspeaker.journal"] {
        for part in 1..12 {
            let mut files = valid_dump();
            let bytes = files.get_mut(name).unwrap();
            bytes.truncate(bytes.len() * part / 12 + part);
            let replayed = replay_copy("killed", &files).unwrap();
            assert!(replayed.is_equal(), "{part} of {name}: {replayed:?}");
            assert!(replayed.incomplete.as_ref().unwrap().contains(name), "{part} of {name}: {replayed:?}");
            let most = whole.cleaned.frames * (part as u64 + 1) / 12 + 2;
            assert!(replayed.cleaned.frames <= most, "{part} of {name}: {replayed:?}");
        }
    }
}

#[test]
fn differences_are_found_and_located() {
    let mut files = valid_dump();
    let bytes = files.get_mut("microphone.journal").unwrap();
    let middle = bytes.len() / 2 / 64 * 64 + 7;
    bytes[middle] ^= 0x40;
    let replayed = replay_copy("louder", &files).unwrap();
    assert!(!replayed.is_equal() && replayed.cleaned.differing_frames > 0);
    let first = replayed.cleaned.first.unwrap();
    assert!((0.8..1.2).contains(&first.at_s), "{first:?}");

    // The microphone's journal is closed correctly, but the worker found more frames than it contains.
    let mut files = valid_dump();
    let bytes = files.get_mut("microphone.journal").unwrap();
    let end = bytes[bytes.len() - 64..].to_vec();
    // Two lines of configuration, and six for each period of 160 samples.
    bytes.truncate((2 + 6 * 90) * 64);
    bytes.extend(end);
    let replayed = replay_copy("short", &files).unwrap();
    assert!(!replayed.is_equal() && replayed.differing_rounds > 0, "{replayed:?}");
}

#[test]
fn invalid_dumps_are_refused_with_file_and_record() {
    let mut files = valid_dump();
    files.get_mut("loudspeaker.journal").unwrap()[0] = 99;
    let error = replay_copy("unknown", &files).unwrap_err();
    assert!(error.contains("loudspeaker.journal: record 1") && error.contains("99"), "{error}");

    let mut files = valid_dump();
    let worker = files["worker.journal"].clone();
    files.insert("microphone.journal".into(), worker);
    let error = replay_copy("exchanged", &files).unwrap_err();
    assert!(error.contains("microphone.journal: record 1"), "{error}");

    let mut files = valid_dump();
    files.get_mut("worker.journal").unwrap()[7] = 0xFF;
    let error = replay_copy("endless", &files).unwrap_err();
    assert!(error.contains("record 1") && error.contains("at most"), "{error}");

    let mut files = valid_dump();
    files.insert("run.json".into(), b"{}".to_vec());
    assert!(replay_copy("no-info", &files).unwrap_err().contains("run.json"));
    files.remove("run.json");
    assert!(replay_copy("nothing", &files).unwrap_err().contains("run.json"));

    // Random bytes in place of records give an error, never a panic.
    for seed in seeds(200) {
        let mut rng = Rng::for_stream(seed, "noise");
        let mut files = valid_dump();
        let name = pick(&mut rng, &["microphone.journal", "loudspeaker.journal", "worker.journal"]);
        let bytes = files.get_mut(*name).unwrap();
        let record = rng.range(0, 40) as usize * 64;
        for byte in &mut bytes[record..record + rng.range(1, 64) as usize] {
            *byte = rng.next_u64() as u8;
        }
        match replay_copy("noise", &files) {
            Ok(replayed) => _ = replayed.is_equal(),
            Err(error) => assert!(error.contains("record"), "seed {seed}: {error}"),
        }
    }
}

/// The journals are not read until they are full. Then the end of the recording is missing, not the middle.
#[test]
fn a_slow_disk_loses_only_the_end_and_reports_it() {
    let folder = folder("slow");
    let (mut rig, journals): (TerminalRig, JournalReaders) = TerminalRig::with_journals(0.0, |work| work);
    rig.pass(200_000);
    let writer = DumpWriter::start(&folder, &rig.terminal.config(), "sim", journals).unwrap();
    rig.pass(1_000);
    rig.supervisor.close(Direction::Capture);
    rig.supervisor.close(Direction::Playback);
    let dumped = writer.finish().unwrap();
    assert!(dumped.lost_records > 0, "{dumped:?}");
    let replayed = replay(&folder, None).unwrap();
    assert!(replayed.is_equal() && replayed.incomplete.is_some(), "{replayed:?}");
    assert!((1_000..20_000).contains(&replayed.cleaned.frames), "{replayed:?}");
}

/// Dumps of less than 2 MB that no run has written: each asks for more work than any run of its size, and is refused after
/// at most as much work as one of its size takes.
#[test]
fn a_crafted_dump_does_not_keep_the_replay_busy() {
    let rate = SampleRate::new(16_000).unwrap();
    let config = TerminalConfig::new(rate);
    let source = folder("crafted-source");
    let (parts, journals) = config.build_with_journals(Arc::new(CountingClock::default())).unwrap();
    let Parts { mut terminal, halves, mut work } = parts;
    let writer = DumpWriter::start(&source, &config, "crafted", journals).unwrap();
    let mut outlet = halves.outlet.unwrap();
    let device = OutletConfig { max_period_sample_frames: 400, ..OutletConfig::new(rate) };
    outlet.configure(device).unwrap();
    let now = Instant::ORIGIN;
    // A period of 16 million samples is one record, because only its digest is written.
    outlet.on_period(&mut vec![0i16; 16 << 20], PeriodTime { position: 0, converter: now, called: now });
    terminal.restart_voice().unwrap();
    work();
    writer.finish().unwrap();
    let read = |name: &str| std::fs::read(source.join(name)).unwrap();
    let (loudspeaker, worker) = (read("loudspeaker.journal"), read("worker.journal"));
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> { bytes.chunks(64).map(<[u8]>::to_vec).collect() };
    let (loudspeaker_lines, worker_lines) = (lines(&loudspeaker), lines(&worker));
    // Before the end record is the period, and the first record of the worker is the new voice processor.
    let period = &loudspeaker_lines[loudspeaker_lines.len() - 2];
    let configured = &loudspeaker[..loudspeaker.len() - 128];
    let busy: [(&str, &str, Vec<u8>); 3] = [
        ("loudspeaker.journal", "samples in all periods", [configured, &period.repeat(10_000)].concat()),
        ("worker.journal", "voice processor number", worker_lines[0].repeat(10_000)),
        ("loudspeaker.journal", "", configured.repeat(10_000)),
    ];
    for (name, expected, bytes) in busy {
        assert!(bytes.len() < 2_000_000, "{name}: {} bytes", bytes.len());
        let mut files: BTreeMap<String, Vec<u8>> =
            ["run.json", "microphone.journal", "loudspeaker.journal", "worker.journal"]
                .map(|name| (name.to_owned(), read(name)))
                .into();
        files.insert(name.to_owned(), bytes);
        let started = std::time::Instant::now();
        let outcome = replay_copy("crafted", &files);
        let elapsed = started.elapsed();
        println!("{name}: {elapsed:?}");
        match outcome {
            Err(message) => {
                let is_expected = message.contains(name) && message.contains(expected);
                assert!(is_expected && !expected.is_empty(), "{name}: {message}");
            }
            Ok(replayed) => assert_eq!(expected, "", "{name}: {replayed:?}"),
        }
        // Ten times what it takes on an idle core, and a tenth of what it took without limits.
        assert!(elapsed.as_secs() < 20, "{name}: {elapsed:?}");
    }
}
