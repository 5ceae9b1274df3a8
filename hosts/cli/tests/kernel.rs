//! The whole terminal on a Linux kernel's sound cards with a clock each: loudspeaker and microphone are two loopback cables,
//! and a program between them is the room. No sample may be lost, the drift has to be found and the echo to go.
//!
//! The kernel machine has a time of its own, so that a busy server changes nothing about it. This executable is the test
//! outside and the room inside.
#![allow(missing_docs)]

#[cfg(target_os = "linux")]
mod room {
    use std::time::Duration;

    use handsfree_kernel_tests::room::{UNSHIFTED, echo_path_db};
    use handsfree_kernel_tests::{Machine, MachineFailure, Options, Result};
    use serde_json::Value;

    const RATE: u32 = 16_000;
    /// How long the terminal runs, in its own time, and which end of that is measured.
    const SECONDS: u32 = 60;
    const SETTLED_SECONDS: usize = 20;
    /// From loudspeaker to microphone, in sample frames: what the room's own buffer needs, and less than the 100 ms from
    /// which on the echo search would move the reference.
    const DELAY: u32 = 1_280;
    /// How well the drift is to be known.
    const DRIFT_PPM: f64 = 20.0;
    /// The least echo reduction of the settled seconds' median, in dB.
    const ERLE_DB: f64 = 40.0;
    /// The same of the worst of these seconds.
    const WORST_ERLE_DB: f64 = 25.0;
    /// The slowest machine that this is to pass on emulates a tenth of a second each second.
    const LIMIT: Duration = Duration::from_secs(600);

    /// What is heard in the room, and which clock the loudspeaker has.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Case {
        /// The loudspeaker card's rate shift minus 100000: tens of ppm by which it is slow.
        pub(crate) slow: i64,
        pub(crate) echo_search: bool,
    }

    impl Case {
        pub(crate) fn name(self) -> String {
            let search = if self.echo_search { "_with_echo_search" } else { "" };
            format!("room::drift_of_{:+}_ppm{search}", -self.slow * 10)
        }

        /// The loudspeaker's clock minus the microphone's.
        fn ppm(self) -> f64 {
            (UNSHIFTED as f64 / (UNSHIFTED + self.slow) as f64 - 1.0) * 1e6
        }
    }

    pub(crate) fn run(case: Case) -> Result<()> {
        let room = std::env::current_exe().map_err(|error| MachineFailure::new(error.to_string()))?;
        let room_name = room.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let voice = concat!(env!("CARGO_MANIFEST_DIR"), "/../../firmware-sim/clips/far.wav");
        let machine = Machine::boot(
            &Options::new()
                .own_time()
                .module("snd-aloop enable=1,1 index=0,1 id=A,B")
                .program(env!("CARGO_BIN_EXE_handsfree"))
                .program(&room)
                .file(voice, "/tmp/far.wav"),
        )?;
        let shift = UNSHIFTED + case.slow;
        let search = if case.echo_search { "" } else { "--no-echo-search" };
        let output = machine.run(
            &format!(
                "amixer -q -c A cset iface=PCM,name='PCM Rate Shift 100000',device=1,subdevice=0 {shift} || exit
                {room_name} room --from hw:A,1,0 --to hw:B,0,0 --rate {RATE} --from-shift {shift} --delay {DELAY} \
                    --seconds {room_seconds} >/tmp/room &
                until grep -q RUNNING /proc/asound/B/pcm0p/sub0/status; do
                    kill -0 $! || {{ cat /tmp/room; exit 1; }}
                    usleep 20000
                done
                handsfree run --io alsa --input hw:B,1,0 --output hw:A,0,0 --rate {RATE} --periods 10 \
                    --play /tmp/far.wav --repeat --duration {SECONDS} --no-ns --no-agc {search} --json || exit
                wait $! && cat /tmp/room",
                room_seconds = SECONDS + 4,
            ),
            LIMIT,
        )?;
        let text = output.success()?;
        let events: Vec<Value> = text
            .lines()
            .map(|line| {
                serde_json::from_str(line).map_err(|error| MachineFailure::new(format!("{error}: {line}")))
            })
            .collect::<Result<_>>()?;
        judge(case, &events).map_err(|failure| MachineFailure::new(format!("{failure}\n{text}")))
    }

    fn judge(case: Case, events: &[Value]) -> Result<()> {
        let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
        let ensure = |holds: bool, what: String| if holds { Ok(()) } else { Err(MachineFailure::new(what)) };
        let statuses = of("status");
        let ended = *of("ended").last().ok_or_else(|| MachineFailure::new("it did not end"))?;
        let room = events.last().filter(|room| room["carried"].is_u64());
        let room = room.ok_or_else(|| MachineFailure::new("the room did not say what it did"))?;

        // Nothing slipped, nowhere.
        ensure(room["late_sample_frames"] == 0, format!("the room was late: {room}"))?;
        for count in ["lost_sample_frames", "xruns", "device_losses", "dropped_frames", "unprocessed_frames"]
        {
            ensure(ended[count] == 0, format!("{count}: {}", ended[count]))?;
        }
        ensure(of("note").is_empty(), "there was something to note".into())?;
        let least = u64::from((SECONDS - 1) * RATE);
        for count in ["captured_sample_frames", "played_sample_frames"] {
            ensure(ended[count].as_u64().is_some_and(|n| n >= least), format!("{count}: {}", ended[count]))?;
        }
        ensure(ended["reference_jumps"] == 1, format!("the reference jumped: {}", ended["reference_jumps"]))?;

        let last = &statuses[statuses.len().saturating_sub(SETTLED_SECONDS)..];
        let figures = |of: &dyn Fn(&Value) -> Option<f64>| {
            let mut found: Vec<f64> = last.iter().filter_map(|status| of(status)).collect();
            found.sort_by(f64::total_cmp);
            found
        };
        // What is not known does not count; half of it has to be.
        let median = |found: &[f64]| {
            let is_enough = found.len() * 2 >= SETTLED_SECONDS;
            found.get(found.len() / 2).copied().filter(|_| is_enough)
        };
        // The microphone hears as much of the loudspeaker as the room lets through: there was an echo to take out.
        let power = |key: &str| {
            let db = figures(&|status| status[key]["rms_dbfs"].as_f64());
            10.0 * (db.iter().map(|db| 10_f64.powf(db / 10.0)).sum::<f64>() / db.len() as f64).log10()
        };
        let heard_db = power("microphone") - power("loudspeaker");
        let erle = figures(&|status| status["erle_db"].as_f64());
        let drift = figures(&|status| status["drift_ppm"].as_f64());
        let (Some(erle_db), Some(&worst_db)) = (median(&erle), erle.first()) else {
            return Err(MachineFailure::new("the echo reduction is not known"));
        };
        let Some(drift_ppm) = median(&drift) else {
            return Err(MachineFailure::new("the drift is not known"));
        };
        println!(
            "{}: truly {:+.1} ppm, found {drift_ppm:+.1} ({:+.1} to {:+.1}); echo {heard_db:.1} dB of the sound, less {erle_db:.1} dB \
             (worst second {worst_db:.1}); CPU {} %",
            case.name(),
            case.ppm(),
            drift.first().unwrap_or(&f64::NAN),
            drift.last().unwrap_or(&f64::NAN),
            ended["cpu_percent"],
        );
        let path_db = echo_path_db();
        ensure(
            (heard_db - path_db).abs() < 3.0,
            format!("echo of {heard_db:.1} dB, the room has {path_db:.1}"),
        )?;
        ensure(erle_db >= ERLE_DB && worst_db >= WORST_ERLE_DB, "the echo remains".into())?;
        ensure((drift_ppm - case.ppm()).abs() <= DRIFT_PPM, format!("drift of {drift_ppm} ppm"))
    }
}

/// `handsfree doctor` and `handsfree devices` on a loopback cable, whose latency is known to the sample.
#[cfg(target_os = "linux")]
mod doctor {
    use std::time::Duration;

    use handsfree_kernel_tests::{Machine, MachineFailure, Options, Result};
    use serde_json::Value;

    const LIMIT: Duration = Duration::from_secs(600);

    pub(crate) fn run() -> Result<()> {
        let machine = Machine::boot(
            &Options::new().own_time().module("snd-aloop id=A").program(env!("CARGO_BIN_EXE_handsfree")),
        )?;
        let devices = "--input hw:CARD=A,DEV=1 --output hw:CARD=A,DEV=0";
        let script = format!(
            "handsfree devices --io alsa --json && \\
             handsfree doctor --io alsa --rate 16000 {devices} --periods 10 --json"
        );
        let told = machine.run(&script, LIMIT)?.success()?;
        let json = |line: Option<&str>| -> Result<Value> {
            serde_json::from_str(line.unwrap_or_default())
                .map_err(|error| MachineFailure::new(format!("{error}: {told}")))
        };
        let mut lines = told.lines();
        let (listed, found) = (json(lines.next())?, json(lines.next())?);
        let ids: Vec<&str> =
            listed.as_array().into_iter().flatten().filter_map(|device| device["id"].as_str()).collect();
        assert!(ids.contains(&"hw:CARD=A,DEV=0") && ids.contains(&"hw:CARD=A,DEV=1"), "{listed:#}");
        let formats = listed[0]["formats"].as_array().map_or(0, Vec::len);
        assert_eq!(formats, 5, "a loopback takes every format: {listed:#}");
        println!("{found:#}");
        let trip = &found["round_trip"];
        assert_eq!(trip["heard"], 5);
        let (sound_ms, times_ms) = (trip["by_sound_ms"].as_f64(), trip["by_times_ms"].as_f64());
        let (sound_ms, times_ms) = sound_ms.zip(times_ms).unwrap_or_default();
        // Ten periods of fill, less what was under way when the kernel was asked.
        assert!((80.0..=100.0).contains(&sound_ms), "{sound_ms} ms");
        assert!((sound_ms - times_ms).abs() < 1.0, "{sound_ms} ms by the sound, {times_ms} ms by the times");
        assert_eq!(found["drift_ppm"].as_f64().map(f64::abs), Some(0.0), "one clock: {found:#}");
        assert_eq!(found["safe_period_ms"], 5.0);
        assert!(found["scheduling"]["real_time_refused"].is_null(), "{found:#}");
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use libtest_mimic::{Arguments, Trial};

    let mut words = std::env::args();
    if words.nth(1).as_deref() == Some("room") {
        return handsfree_kernel_tests::room::main_with(std::iter::once("room".to_owned()).chain(words));
    }
    let mut arguments = Arguments::from_args();
    // More machines at once take each other's processor and end no sooner.
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(2).min(2));
    let drifts = [0, 20, -20, 100, -100].map(|slow| room::Case { slow, echo_search: false });
    let searches = [room::Case { slow: -20, echo_search: true }];
    let trials = drifts
        .into_iter()
        .chain(searches)
        .map(|case| Trial::test(case.name(), move || room::run(case).map_err(Into::into)))
        .chain([Trial::test("doctor::knows_a_loopback", || doctor::run().map_err(Into::into))])
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
