//! Renders report.html from synthetic data, to check its design without a simulation.
//!
//! `cargo run --release -p handsfree-sim --example report -- DIR`
use handsfree_sim::convolver::Convolver;
use handsfree_sim::measure;
use handsfree_sim::noise::{Colour, Noise, Rng};
use handsfree_sim::report::*;
use handsfree_sim::room::{Room, RoomSource};
use handsfree_sim::wav::Clip;

fn looped(clip: &[f32], from: usize, to: usize, length: usize) -> Vec<f32> {
    (0..length).map(|n| if (from..to).contains(&n) { clip[(n - from) % clip.len()] } else { 0.0 }).collect()
}

fn at_microphone(room: &Room, source: RoomSource, signal: &[f32], rate_hz: u32) -> Vec<f32> {
    let response =
        room.impulse_response(source, rate_hz, rate_hz as usize / 4).expect("the default room is valid");
    let mut out = vec![0.0; signal.len()];
    Convolver::new(&response).process(signal, &mut out);
    out
}

fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let rate_hz = 48_000;
    let seconds = 40_usize;
    let length = seconds * rate_hz as usize;
    let at = |s: usize| s * rate_hz as usize;
    let room = Room::default();
    let far = looped(&Clip::far().to_mono_at(rate_hz), 0, at(30), length);
    let near_dry = looped(&Clip::near().to_mono_at(rate_hz), at(20), at(40), length);
    let echo = at_microphone(&room, RoomSource::Loudspeaker, &far, rate_hz);
    let near = at_microphone(&room, RoomSource::Talker, &near_dry, rate_hz);
    let mut noise = Noise::new(Rng::new(7), Colour::Pink, -78.0);
    let mic: Vec<f32> = echo.iter().zip(&near).map(|(e, n)| e + n + noise.next_sample()).collect();
    let clean: Vec<f32> = (0..length)
        .map(|n| {
            let t = n as f32 / rate_hz as f32;
            let gain = 10_f32.powf(-(8.0 + 44.0 * (1.0 - (-t / 1.4).exp())) / 20.0);
            echo[n] * gain + near[n] * 0.97 + noise.next_sample() * 0.03
        })
        .collect();
    let oracle: Vec<f32> = clean.iter().zip(&near).map(|(c, n)| (c - n * 0.97) * 0.85 + n * 0.97).collect();
    let windows = measure::erle_windows(&mic, &clean, &far, &near, rate_hz, 10.0);
    let oracle_windows = measure::erle_windows(&mic, &oracle, &far, &near, rate_hz, 10.0);
    let mut rng = Rng::new(3);
    let report = SimulationReport {
        summary: Summary {
            seed: 42,
            seconds: seconds as f64,
            rate_hz,
            erle_db: Summary::erle_windows(&windows, &oracle_windows),
            delay_ms: TrueAndEstimated { truth: Some(83.333), estimated: Some(83.352) },
            drift_ppm: TrueAndEstimated { truth: Some(-120.0), estimated: Some(-119.84) },
            near_end: measure::near_end(&near, &clean, rate_hz).into(),
            processing_delay_samples: 288,
            frames: FrameCounts { captured: 1_920_000, played: 1_920_230, lost: 0 },
            xruns: 0,
            realtime_factor: 74.3,
            comparison: Vec::new(),
        },
        subtitle: "40 s of conversation in a simulated living room: far end alone, double talk, then near end alone. With echo cancellation, noise suppression and gain control.".into(),
        command: "handsfree sim --seconds 40 --rate 48000 --capture-ppm 60 --playback-ppm -60 --render-latency-ms 60 --capture-latency-ms 20 --seed 42".into(),
        version: "0.1.0 (synthetic example)".into(),
        settings: [
            ("Far end", "shipped clip, repeated"), ("Near end", "shipped clip, repeated, from 20 s"),
            ("Room", "5.0 × 4.0 × 2.7 m, simulated"), ("Terminal", "48 000 Hz, mono"),
            ("Capture device", "48 000 Hz, periods of 441, +60 ppm, 20 ms"),
            ("Playback device", "48 000 Hz, periods of 512, −60 ppm, 60 ms"),
            ("Timestamp jitter", "200 µs"), ("Noise", "−78 dBFS"),
            ("Echo canceller", "on"), ("Noise suppression", "on"), ("Gain control", "on"), ("High-pass", "on"),
        ].map(|(a, b)| (a.into(), b.into())).to_vec(),
        notices: vec!["The far-end clip is 13.2 s long and was repeated for 30 s.".into()],
        erle_curve: measure::erle_per_second(&mic, &clean, &far, &near, rate_hz),
        oracle_curve: measure::erle_per_second(&mic, &oracle, &far, &near, rate_hz),
        delay: (0..400).map(|n| {
            let truth = if n < 250 { 68.333 } else { 83.333 };
            let lag = if n < 250 { 20.0 * (-f64::from(n) / 8.0).exp() } else { -15.0 * (-f64::from(n - 250) / 6.0).exp() };
            EstimatePoint { at_s: f64::from(n) * 0.1, truth: Some(truth), estimated: (n > 2).then(|| truth + lag + 0.1 * rng.gaussian()) }
        }).collect(),
        drift: Vec::new(),
        rings: (0..4000).map(|n| RingPoint {
            at_s: f64::from(n) * 0.01,
            capture_ms: f64::from(n % 2) * 10.0,
            playback_ms: 30.0 + 10.0 * ((f64::from(n) / 37.0).sin() > 0.6) as u8 as f64,
            reference_ms: if (1800..1815).contains(&n) { 60.0 } else { 10.0 + 5.0 * rng.uniform() },
        }).collect(),
        signals: Signals { rate_hz, mic, clean, far, near },
    };
    let start = std::time::Instant::now();
    let page = render_html(&report);
    println!("{} bytes in {:?}", page.len(), start.elapsed());
    std::fs::write(format!("{folder}/report.html"), page).expect("the page can be written");
    std::fs::write(format!("{folder}/report.json"), report.summary.to_json())
        .expect("the figures can be written");
}
