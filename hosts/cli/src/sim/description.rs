//! Control side: a run in words, for the report, and as the command that repeats it.

use clap::ValueEnum;

use crate::args::{NearArg, SimArgs};

pub(super) fn subtitle(args: &SimArgs) -> String {
    let phases = match &args.near {
        Some(NearArg::None) => "far end alone",
        _ => "far end alone, then double talk, then near end alone",
    };
    format!("{} s in a simulated room at {} Hz: {phases}", args.seconds, args.rate)
}

/// Returns the settings of a run for the report, each with its name and its value with unit.
pub(super) fn settings(args: &SimArgs) -> Vec<(String, String)> {
    let file = |path: &Option<std::path::PathBuf>, none: &str| {
        path.as_ref().map_or_else(|| none.to_owned(), |path| path.display().to_string())
    };
    let near = match &args.near {
        None => "shipped voice".to_owned(),
        Some(NearArg::None) => "no talker".to_owned(),
        Some(NearArg::File(path)) => path.display().to_string(),
    };
    let hz = |rate: Option<u32>| rate.unwrap_or(args.rate);
    let period = |period: Option<u32>, rate: u32| period.unwrap_or(rate / 100);
    let (capture, playback) = (hz(args.capture_rate), hz(args.playback_rate));
    let steps: Vec<String> =
        args.latency_step.iter().map(|step| format!("{:+} ms at {} s", step.by, step.at_s)).collect();
    let drift_steps: Vec<String> =
        args.drift_step.iter().map(|step| format!("{:+} ppm at {} s", step.by, step.at_s)).collect();
    let mut rows = vec![
        (
            "Far end",
            args.far_program.as_ref().map_or_else(|| file(&args.far, "shipped voice"), ToString::to_string),
        ),
        ("Near end", near),
        (
            "Room",
            match args.rt60_ms {
                Some(ms) => format!("reverberation time {ms} ms"),
                None => file(&args.rir, "living room, image-source method"),
            },
        ),
        ("Noise at the microphone", format!("{} dBFS", args.noise_dbfs)),
        ("Terminal", format!("{} Hz, mono", args.rate)),
        (
            "Microphone",
            format!(
                "{capture} Hz, period {} sample frames, {} ppm, latency {} ms",
                period(args.capture_period, capture),
                args.capture_ppm,
                args.capture_latency_ms
            ),
        ),
        (
            "Loudspeaker",
            format!(
                "{playback} Hz, period {} sample frames, {} ppm, latency {} ms",
                period(args.playback_period, playback),
                args.playback_ppm,
                args.render_latency_ms
            ),
        ),
        (
            "Timestamps",
            format!(
                "jitter of {} us, error of {} ms at the loudspeaker",
                args.timestamp_jitter_us, args.timestamp_bias_ms
            ),
        ),
        ("Seed", args.seed.to_string()),
    ];
    if !steps.is_empty() {
        rows.push(("Latency steps", steps.join(", ")));
    }
    if let Some(wander) = &args.wander {
        rows.push(("Clock wander", format!("{} ppm in {} s", wander.by, wander.at_s)));
    }
    if args.burst_periods > 1 {
        rows.push(("Bursts", format!("up to {} periods", args.burst_periods)));
    }
    if !args.time_jump.is_empty() {
        let jumps: Vec<String> =
            args.time_jump.iter().map(|jump| format!("{:+} s at {} s", jump.by, jump.at_s)).collect();
        rows.push(("Jumps of the host's clock", jumps.join(", ")));
    }
    if !drift_steps.is_empty() {
        rows.push(("Drift steps", drift_steps.join(", ")));
    }
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns the command line that repeats the run, for a POSIX shell.
pub(crate) fn command(args: &SimArgs) -> String {
    let mut words = vec!["handsfree".to_owned(), "sim".to_owned()];
    let mut push_switch = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push(format!("--{name}"));
            words.push(quoted(&value));
        }
    };
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    push_switch("far", path(&args.far));
    push_switch("far-program", args.far_program.as_ref().map(ToString::to_string));
    push_switch("rt60-ms", args.rt60_ms.map(|ms| ms.to_string()));
    for talk in &args.talk {
        push_switch("talk", Some(format!("{}-{}", talk.from_s, talk.to_s)));
    }
    push_switch(
        "near",
        args.near.as_ref().map(|near| match near {
            NearArg::None => "none".to_owned(),
            NearArg::File(path) => path.display().to_string(),
        }),
    );
    push_switch("rir", path(&args.rir));
    if let Some(rate_hz) = args.raw.raw_rate {
        push_switch("raw-rate", Some(rate_hz.to_string()));
        push_switch("raw-channels", Some(args.raw.raw_channels.to_string()));
        let coding = args.raw.raw_format.to_possible_value();
        push_switch("raw-format", coding.map(|name| name.get_name().to_owned()));
    }
    push_switch("seconds", Some(args.seconds.to_string()));
    push_switch("rate", Some(args.rate.to_string()));
    push_switch("capture-rate", args.capture_rate.map(|n| n.to_string()));
    push_switch("playback-rate", args.playback_rate.map(|n| n.to_string()));
    push_switch("capture-period", args.capture_period.map(|n| n.to_string()));
    push_switch("playback-period", args.playback_period.map(|n| n.to_string()));
    push_switch("capture-ppm", Some(args.capture_ppm.to_string()));
    push_switch("playback-ppm", Some(args.playback_ppm.to_string()));
    push_switch("render-latency-ms", Some(args.render_latency_ms.to_string()));
    push_switch("capture-latency-ms", Some(args.capture_latency_ms.to_string()));
    for step in &args.latency_step {
        push_switch("latency-step", Some(format!("{}@{}", step.by, step.at_s)));
    }
    for step in &args.drift_step {
        push_switch("drift-step", Some(format!("{}@{}", step.by, step.at_s)));
    }
    for jump in &args.time_jump {
        push_switch("time-jump", Some(format!("{}@{}", jump.by, jump.at_s)));
    }
    push_switch("wander", args.wander.map(|wander| format!("{}@{}", wander.by, wander.at_s)));
    if args.burst_periods > 1 {
        push_switch("burst-periods", Some(args.burst_periods.to_string()));
    }
    push_switch("timestamp-jitter-us", Some(args.timestamp_jitter_us.to_string()));
    push_switch("timestamp-bias-ms", Some(args.timestamp_bias_ms.to_string()));
    push_switch("noise-dbfs", Some(args.noise_dbfs.to_string()));
    let switches = [
        (args.no_echo_search, "--no-echo-search"),
        (args.two_clocks, "--two-clocks"),
        (args.timestamp_jitter_normal, "--timestamp-jitter-normal"),
        (args.switches.no_aec, "--no-aec"),
        (args.switches.no_ns, "--no-ns"),
        (args.switches.no_agc, "--no-agc"),
        (args.switches.no_hpf, "--no-hpf"),
        (args.compare, "--compare"),
        (args.switches.gentle, "--gentle"),
        (args.switches.linear_output, "--linear-output"),
        (args.switches.no_comfort_noise, "--no-comfort-noise"),
    ];
    let noise = args.switches.noise_suppression.and_then(|strength| strength.to_possible_value());
    push_switch("noise-suppression", noise.map(|name| name.get_name().to_owned()));
    let canceller = args.switches.canceller.to_possible_value();
    push_switch("canceller", canceller.map(|name| name.get_name().to_owned()));
    push_switch("echo-over-talker", Some(args.switches.echo_over_talker.to_string()));
    push_switch("seed", Some(args.seed.to_string()));
    words.extend(switches.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| (*name).to_owned()));
    words.join(" ")
}

/// Returns the word, quoted for a POSIX shell if necessary.
fn quoted(word: &str) -> String {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@:".contains(c));
    if plain && !word.is_empty() { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
