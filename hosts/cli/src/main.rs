//! The `handsfree` command.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use handsfree::dump;
use handsfree::failure::Failure;
use handsfree_cli::args::{Cli, Command, DevicesArgs, ProcessArgs, ReplayArgs, RunArgs, SimArgs};
use handsfree_cli::echo_report::ProcessReport;
use handsfree_cli::{devices, doctor, process, publish, run, scenario_file, sim};
use handsfree_sim::wav;
use indicatif::{ProgressBar, ProgressStyle};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Sim(args) => simulate(&args),
        Command::Process(args) => match remove_echo(&args) {
            Ok(code) => return ExitCode::from(code),
            Err(failure) => Err(failure),
        },
        Command::Run(args) => run::run(&args),
        #[cfg(unix)]
        Command::Serve(args) => handsfree_cli::serve::serve(&args),
        #[cfg(unix)]
        Command::Mic(args) => handsfree_cli::client::mic::run(&args),
        #[cfg(unix)]
        Command::Speak(args) => match handsfree_cli::client::speak::run(&args) {
            Ok(code) => return ExitCode::from(code),
            Err(failure) => Err(failure),
        },
        #[cfg(unix)]
        Command::Ctl(args) => handsfree_cli::client::ctl::run(&args),
        Command::Replay(args) => replay(&args),
        Command::Devices(args) => list_devices(&args),
        Command::Doctor(args) => diagnose(&args),
        Command::Completions(args) => {
            clap_complete::generate(args.shell, &mut Cli::command(), "handsfree", &mut std::io::stdout());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("handsfree: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn simulate(args: &SimArgs) -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let args = &scenario_file::merged(args, &arguments)?;
    let bar = progress_bar();
    let run = sim::run(args, &mut |share| bar.set_position((share * 1_000.0) as u64))?;
    bar.finish_and_clear();
    let page = publish::write(&run, &args.out)?;
    print_notices(&run.report.notices);
    if args.json {
        print!("{}", run.report.summary.to_json());
    } else {
        print!("{}", publish::table(&run));
        println!("  {:<22}{}", "report", page.display());
    }
    Ok(())
}

/// Processes two recordings and returns the exit code: 0 or 3.
fn remove_echo(args: &ProcessArgs) -> Result<u8, Failure> {
    let processed = process::run(args)?;
    let samples = handsfree::pcm::from_i16(&processed.clean);
    wav::write_mono(&args.out, processed.summary.rate_hz, &samples)?;
    print_notices(&processed.notices);
    let echo = processed.echo;
    let code = echo.result.exit_code(args.require_echo, !args.switches.no_aec);
    if args.json {
        print!("{}", ProcessReport { summary: &processed.summary, echo }.to_json());
    } else {
        println!(
            "{}: {:.1} s at {} Hz, {:.0} times real time, {} samples of processing delay removed",
            args.out.display(),
            processed.summary.seconds,
            processed.summary.rate_hz,
            processed.summary.realtime_factor,
            processed.summary.processing_delay_samples
        );
        println!("{}", echo.lines());
    }
    if code != 0 {
        eprintln!("handsfree: no echo: {}", echo.result.sentence());
    }
    Ok(code)
}

fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    if args.recompute {
        let recomputed = dump::recompute(&args.dump, args.out.as_deref())?;
        if args.json {
            let text = serde_json::to_string(&recomputed)
                .map_err(|error| Failure::run(format!("the figures cannot be written as JSON: {error}")))?;
            println!("{text}");
        } else {
            println!("{recomputed}");
        }
        return Ok(());
    }
    let replayed = dump::replay(&args.dump, args.out.as_deref())?;
    if args.json {
        let text = serde_json::to_string(&replayed)
            .map_err(|error| Failure::run(format!("the replay cannot be written as JSON: {error}")))?;
        println!("{text}");
    } else {
        println!("{}", dump::summary(&replayed));
    }
    if replayed.is_equal() {
        return Ok(());
    }
    Err(Failure::run("the replay differs from the recorded run"))
}

fn list_devices(args: &DevicesArgs) -> Result<(), Failure> {
    let (devices, notice) = devices::list(args)?;
    print_notices(&notice.map(str::to_owned).into_iter().collect::<Vec<_>>());
    if args.json {
        let text = serde_json::to_string(&devices)
            .map_err(|error| Failure::run(format!("the devices cannot be written as JSON: {error}")))?;
        println!("{text}");
    } else if devices.is_empty() {
        print_notices(&["no audio devices were found".to_owned()]);
    } else {
        print!("{}", devices::table(&devices));
    }
    Ok(())
}

fn diagnose(args: &RunArgs) -> Result<(), Failure> {
    let diagnosis = doctor::examine(args, || {
        if !args.json {
            eprintln!("handsfree: listening for about 40 s; the loudspeaker plays chirps");
        }
    })?;
    if args.json {
        let text = serde_json::to_string(&diagnosis)
            .map_err(|error| Failure::run(format!("the diagnosis cannot be written as JSON: {error}")))?;
        println!("{text}");
    } else {
        print!("{}", doctor::page(&diagnosis));
    }
    Ok(())
}

fn print_notices(notices: &[String]) {
    for notice in notices {
        eprintln!("handsfree: note: {notice}");
    }
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(1_000);
    if let Ok(style) = ProgressStyle::with_template("  simulating {bar:40} {percent:>3} %  {eta} left") {
        bar.set_style(style);
    }
    bar
}
