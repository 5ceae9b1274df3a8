//! What the far side hears with default switches: the echo is gone from the first second on, the talker is kept, and no
//! gain bursts after a pause.

use clap::Parser;
use handsfree_cli::args::{Cli, Command};
use handsfree_cli::sim::{self, SimulatedRun};
use handsfree_sim::measure;

fn simulate(more: &[&str]) -> SimulatedRun {
    let words = ["handsfree", "sim"].iter().chain(more);
    let Command::Sim(args) = Cli::parse_from(words).command else { unreachable!("the second word is sim") };
    sim::run(&args, &mut |_| {}).unwrap()
}

#[test]
fn the_default_chain_keeps_the_talker_and_no_echo() {
    let mut wrong = Vec::new();
    for (seed, rate_hz) in [("1", "48000"), ("2", "16000"), ("3", "16000"), ("4", "32000")] {
        let run = simulate(&["--seed", seed, "--rate", rate_hz]);
        let (summary, signals) = (&run.report.summary, &run.report.signals);
        let second = rate_hz.parse::<usize>().unwrap();
        let first =
            measure::level_dbfs(&signals.mic[..second]) - measure::level_dbfs(&signals.clean[..second]);
        // The first window has the start of the call.
        let windows: Vec<f64> = summary.erle_db[1..].iter().filter_map(|window| window.db).collect();
        let median = measure::median(windows.iter().copied()).unwrap();
        let si_sdr = summary.near_end.si_sdr_db.unwrap();
        let peak = signals.clean.iter().fold(0.0_f32, |peak, x| peak.max(x.abs()));
        let found = format!(
            "seed {seed}, {rate_hz} Hz: first second {first:.1} dB, median {median:.1} dB, SI-SDR {si_sdr:.1} dB, peak {peak:.2}"
        );
        println!("{found}");
        wrong.extend((first < 15.0 || median < 57.2 || si_sdr < 9.0 || peak > 0.99).then_some(found));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Gain control amplifies neither residual echo nor background noise while nobody speaks.
#[test]
fn the_gain_learns_from_no_echo_and_no_noise() {
    let mut wrong = Vec::new();
    for seed in ["1", "2", "3"] {
        let levels = [&["--no-agc"][..], &[]].map(|more| {
            let call = ["--near", "none", "--noise-dbfs", "-53", "--seconds", "20", "--rate", "16000"];
            let far = ["--far-program", "ring-back:6,speech:14", "--seed", seed];
            let run = simulate(&[&call[..], &far, more].concat());
            measure::level_dbfs(&run.report.signals.clean)
        });
        println!("seed {seed}: {levels:.1?} dBFS without and with gain control");
        wrong.extend((levels[1] > levels[0] + 0.5).then_some((seed, levels)));
    }
    assert!(wrong.is_empty(), "{wrong:.1?}");
}
