//! A reference that arrives 20 or 60 ms after its echo, like a loopback of the loudspeaker. With correct timestamps the
//! microphone is delayed accordingly; with wrong ones the acoustic delay estimate corrects the alignment.

use clap::Parser;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree::pcm::{from_i16, to_i16};
use handsfree_cli::args::{Cli, Command};
use handsfree_cli::evaluate::{advanced, direct, processor_delay_samples};
use handsfree_cli::sim;
use handsfree_cli::switches::{CancellerName, Switches};
use handsfree_core::capture::{EchoReport, ProcessError, VoiceProcessor, VoiceStats};
use handsfree_core::time::{Duration, Instant, PeriodTime};
use handsfree_core::timing::AcousticMemory;
use handsfree_core::{ChannelMap, Format, Frame, PcmMut, PcmRef, SampleRate, SessionFormat};
use handsfree_sim::measure::{erle_windows, median};
use handsfree_sim::noise::Rng;
use handsfree_sim::scenario::{CAP, SimSession};
use handsfree_tests::{intake_config, outlet_config, with_large_stack};

const SWITCHES: Switches =
    Switches { no_ns: true, no_agc: true, canceller: CancellerName::Webrtc, ..Switches::DEFAULT };

/// Returns a loudspeaker signal and the microphone signal of a simulated room, at one rate on one clock.
fn recordings(rate_hz: u32) -> (Vec<i16>, Vec<i16>) {
    let line = format!(
        "handsfree sim --near none --no-aec --no-ns --no-agc --no-hpf --noise-dbfs -100 --seconds 60 --rate {rate_hz}"
    );
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
    let Command::Sim(args) = cli.command else { panic!("not a simulation") };
    let signals = sim::run(&args, &mut |_| {}).unwrap().report.signals;
    (to_i16(&signals.far), to_i16(&signals.mic))
}

/// Processes the recordings in a session in which the playback interrupt runs `late` after its samples were at the
/// converter. With `honest` the timestamps say so, otherwise they claim that the samples are at the converter now. Returns
/// the cleaned signal and the number of reference jumps.
fn clean(rate: SampleRate, far: &[i16], mic: &[i16], late: Duration, honest: bool) -> (Vec<i16>, u32) {
    let format = Format::with_rate(rate, 1).unwrap();
    clean_with(SWITCHES.voice(format, format).unwrap().as_dyn(), rate, far, mic, late, honest)
}

/// Does the same with any voice processor.
fn clean_with<V: VoiceProcessor>(
    voice: V,
    rate: SampleRate,
    far: &[i16],
    mic: &[i16],
    late: Duration,
    honest: bool,
) -> (Vec<i16>, u32) {
    let mut session = Box::new(SimSession::new());
    let mut acoustic_memory = Box::new(AcousticMemory::new());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, voice, ()).unwrap();
    halves.capture.use_acoustic_delay(&mut acoustic_memory);
    let map = ChannelMap::natural(1, 1).unwrap();
    let length = rate.sample_frames();
    halves.intake.configure(intake_config(rate, map, length as u32)).unwrap();
    halves.outlet.configure(outlet_config(rate, map, length as u32)).unwrap();
    let mut track = halves.tracks.open().unwrap();
    let (mut period, mut clean, mut far_at) = (vec![0i16; length], Vec::new(), 0);
    let (mut played, mut heard) = (0u64, 0u64);
    while clean.len() < mic.len() {
        let at = |position: u64| Instant::ORIGIN + Duration::of_sample_frames(position, rate);
        let playback_at = at(played) + late;
        let capture_at = at(heard + length as u64);
        let now = playback_at.min(capture_at);
        if playback_at <= capture_at {
            far_at += track.push(&far[far_at..]).unwrap();
            halves.playback.poll();
            let converter = if honest { at(played) } else { now };
            halves.outlet.on_period(&mut period, PeriodTime { position: played, converter, called: now });
            played += length as u64;
        }
        if capture_at <= playback_at {
            let from = (heard as usize).min(mic.len());
            handsfree_cli::signal::fill(&mut &mic[from..], &mut period).unwrap();
            let time = PeriodTime { position: heard, converter: at(heard), called: now };
            halves.intake.on_period(&period, time);
            heard += length as u64;
        }
        halves.capture.poll(&|| now, &mut |frame: &Frame<CAP>| clean.extend_from_slice(frame.samples()));
    }
    clean.truncate(mic.len());
    (clean, halves.capture.reference_jumps())
}

#[test]
fn a_late_reference_hardly_reduces_the_echo_cancellation() {
    with_large_stack(|| {
        for rate_hz in [48_000, 16_000] {
            let rate = SampleRate::new(rate_hz).unwrap();
            let format = Format::with_rate(rate, 1).unwrap();
            let (far, mic) = recordings(rate_hz);
            let delay = processor_delay_samples(&SWITCHES, rate).unwrap();
            let mut voice = SWITCHES.voice(format, format).unwrap();
            let oracle = direct(voice.as_dyn(), rate, &far, &mic).unwrap();
            let settled_db = |clean: &[i16]| {
                let clean = from_i16(&advanced(clean, delay));
                let windows = erle_windows(&from_i16(&mic), &clean, &from_i16(&far), &[], rate_hz, 10.0);
                let settled: Vec<f64> =
                    windows.iter().filter(|w| w.from_s >= 20.0).filter_map(|w| w.db).collect();
                (median(settled.iter().copied()).unwrap(), settled.into_iter().fold(f64::MAX, f64::min))
            };
            let (oracle_db, _) = settled_db(&oracle);
            for late_ms in [20, 60] {
                let late = Duration::from_millis(late_ms);
                let (honest, jumps) = clean(rate, &far, &mic, late, true);
                assert_eq!(honest, oracle, "{rate_hz} Hz, {late_ms} ms late with correct timestamps");
                assert_eq!(jumps, 1);
                let (lied, jumps) = clean(rate, &far, &mic, late, false);
                let (middle_db, worst_db) = settled_db(&lied);
                println!(
                    "{rate_hz} Hz, {late_ms} ms late: {middle_db:.1} dB, worst {worst_db:.1}, oracle {oracle_db:.1}, {jumps} jumps"
                );
                assert!(oracle_db - middle_db <= 2.0 && oracle_db - worst_db <= 4.0);
            }
        }
    });
}

/// Voice processor that removes 12 dB, reports a convergence and a reach of 64 ms, and counts the calls of
/// `on_reference_moved`.
struct ReportingVoice<'c> {
    convergence: f32,
    moves: &'c mut u32,
}

impl VoiceProcessor for ReportingVoice<'_> {
    fn process_reverse(&mut self, _: PcmRef<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn process_capture(&mut self, near: PcmMut<'_>, _: Duration) -> Result<(), ProcessError> {
        near.samples.iter_mut().for_each(|sample| *sample /= 4);
        Ok(())
    }

    fn stats(&self) -> VoiceStats {
        VoiceStats::default()
    }

    fn echo_report(&self) -> Option<EchoReport> {
        Some(EchoReport { lag: Duration::ZERO, strength_db: -12.0, convergence: self.convergence })
    }

    fn on_reference_moved(&mut self) {
        *self.moves += 1;
    }

    fn reach(&self) -> Duration {
        Duration::from_millis(64)
    }

    fn reset(&mut self) {}
}

#[test]
fn a_reference_whose_echo_is_partly_out_of_reach_is_moved_once_and_the_canceller_told() {
    let rate = SampleRate::new(16_000).unwrap();
    let mut rng = Rng::for_stream(1, "far end");
    let far: Vec<i16> = (0..160_000).map(|_| (2_000.0 * rng.gaussian()) as i16).collect();
    // Convergence, delay of the echo, lateness of a reference whose times do not tell it, and the expected moves.
    for (convergence, echo_ms, late_ms, expected) in
        [(0.9, 85, 0, 1), (0.99, 85, 0, 0), (0.9, 40, 0, 0), (0.9, 0, 20, 1), (0.99, 0, 20, 0)]
    {
        let mut mic = vec![0; 16 * echo_ms];
        mic.extend(far.iter().map(|sample| sample / 4));
        mic.truncate(far.len());
        let mut moves = 0;
        let voice = ReportingVoice { convergence, moves: &mut moves };
        let late = Duration::from_millis(late_ms);
        let (_, jumps) = with_large_stack(|| clean_with(voice, rate, &far, &mic, late, false));
        assert_eq!(
            (moves, jumps),
            (expected, expected + 1),
            "convergence {convergence}, echo {echo_ms} ms later, reference {late_ms} ms late"
        );
    }
}
