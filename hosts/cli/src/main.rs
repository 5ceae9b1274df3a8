//! The `handsfree` command.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(target_os = "linux")]
mod closed_stdout;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use handsfree::dump;
use handsfree::failure::Failure;
use handsfree::recording::OutputFile;
use handsfree_cli::args::{Cli, Command, DevicesArgs, ManArgs, ProcessArgs, ReplayArgs, RunArgs, SimArgs};
use handsfree_cli::echo_report::ProcessReport;
use handsfree_cli::publish::ReportFolder;
use handsfree_cli::{console, devices, doctor, man, process, publish, run, scenario_file, sim};
use handsfree_sim::report::{Summary, comparison_table};
use indicatif::{ProgressBar, ProgressStyle};

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Some(guarded) = handsfree_cli::serve::virtual_devices::guard::run(std::env::args()) {
        return exit_code(guarded.map(|()| 0));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error),
    };
    let outcome = check_stdout().and_then(|()| match cli.command {
        Command::Sim(args) => simulate(&args).map(|()| 0),
        Command::Sweep(args) => handsfree_cli::sweep::sweep(&args),
        Command::Process(args) => remove_echo(&args),
        Command::Run(args) => run::run(&args).map(|()| 0),
        #[cfg(unix)]
        Command::Serve(args) => handsfree_cli::serve::serve(&args).map(|()| 0),
        #[cfg(unix)]
        Command::Mic(args) => handsfree_cli::client::mic::run(&args).map(|()| 0),
        #[cfg(unix)]
        Command::Speak(args) => handsfree_cli::client::speak::run(&args),
        #[cfg(unix)]
        Command::Ctl(args) => handsfree_cli::client::ctl::run(&args).map(|()| 0),
        Command::Replay(args) => replay(&args).map(|()| 0),
        Command::Devices(args) => list_devices(&args).map(|()| 0),
        Command::Doctor(args) => diagnose(&args).map(|()| 0),
        Command::Completions(args) => print_completions(args.shell).map(|()| 0),
        Command::Man(args) => print_man(&args).map(|()| 0),
    });
    exit_code(outcome)
}

/// Prints a failure and returns the exit code.
fn exit_code(outcome: Result<u8, Failure>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            console::message(&failure.to_string());
            ExitCode::from(failure.code())
        }
    }
}

/// Finds a stdout that cannot be written, before any work.
fn check_stdout() -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    if closed_stdout::was_closed() {
        return Err(Failure::run("stdout is closed: expected an open one, such as /dev/null"));
    }
    console::check_stdout()
}

/// Prints the help text or what is wrong with the command line, and returns the exit code for it.
fn print_usage(error: &clap::Error) -> ExitCode {
    // The second call writes what the first one left in stdout's buffer.
    let printed =
        error.print().and_then(|()| console::print("")).map_err(|error| console::stdout_failure(&error));
    match check_stdout().and(printed) {
        Err(failure) if !error.use_stderr() => {
            console::message(&failure.to_string());
            ExitCode::from(failure.code())
        }
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
    }
}

fn print_completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "handsfree", &mut script);
    console::print_result(&String::from_utf8_lossy(&script))
}

fn print_man(args: &ManArgs) -> Result<(), Failure> {
    match &args.out {
        None => console::print_result(&man::main_page()?),
        Some(folder) => {
            let pages = man::write_pages(folder)?;
            console::print_result(&format!("{pages} pages in {}\n", folder.display()))
        }
    }
}

fn simulate(args: &SimArgs) -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args_os().collect();
    let args = &scenario_file::merged(args, &arguments)?;
    sim::check(args)?;
    let folder = ReportFolder::create(args)?;
    let bar = progress_bar();
    let mut run = sim::run(args, &mut |share| bar.set_position((share * 1_000.0) as u64))?;
    if args.compare {
        run.report.summary.comparison = sim::compare(args);
    }
    bar.finish_and_clear();
    let page = folder.write(&run)?;
    console::notices(&run.report.notices);
    if args.json {
        return console::print_result(&run.report.summary.to_json());
    }
    console::print_result(&format!(
        "{}  {:<22}{}\n{}",
        publish::table(&run),
        "report",
        page.display(),
        compared(&run.report.summary)
    ))
}

/// Processes two recordings and returns the exit code: 0 or 3.
fn remove_echo(args: &ProcessArgs) -> Result<u8, Failure> {
    process::check(args)?;
    let file = OutputFile::create(&args.out)?;
    console::notices(&recovery_notice(&file));
    let mut processed = process::run(args)?;
    if args.compare {
        processed.summary.comparison = process::compare(args);
    }
    process::write(&processed, file)?;
    console::notices(&processed.notices);
    let echo = processed.echo;
    let code = echo.result.exit_code(args.require_echo, !args.switches.is_echo_kept());
    let text = if args.json {
        ProcessReport { summary: &processed.summary, echo }.to_json()
    } else {
        format!(
            "{}: {:.1} s at {} Hz, {:.0} times real time, {} samples of processing delay removed\n{}\n{}",
            args.out.display(),
            processed.summary.seconds,
            processed.summary.rate_hz,
            processed.summary.realtime_factor,
            processed.summary.processing_delay_samples,
            echo.lines(),
            compared(&processed.summary)
        )
    };
    if code != 0 {
        console::message(&format!("no echo: {}", echo.result.sentence()));
    }
    console::print_result(&text)?;
    Ok(code)
}

/// Returns the table of `--compare`, or nothing without it.
fn compared(summary: &Summary) -> String {
    if summary.comparison.is_empty() { String::new() } else { comparison_table(&summary.comparison) }
}

fn recovery_notice(file: &OutputFile) -> Vec<String> {
    file.recovered().map(run::recovery_notice).into_iter().collect()
}

/// Returns a value as one line of JSON; `what` names it in the error.
fn json_line(what: &str, value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(value);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::run(format!("{what} cannot be written as JSON: {error}")))
}

fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    if args.recompute {
        let recomputed = dump::recompute(&args.dump, args.out.as_deref())?;
        return console::print_result(&match args.json {
            true => json_line("the figures", &recomputed)?,
            false => format!("{recomputed}\n"),
        });
    }
    let replayed = dump::replay(&args.dump, args.out.as_deref())?;
    console::print_result(&match args.json {
        true => json_line("the replay", &replayed)?,
        false => dump::summary(&replayed) + "\n",
    })?;
    if replayed.is_equal() {
        return Ok(());
    }
    Err(Failure::run("the replay differs from the recorded run"))
}

fn list_devices(args: &DevicesArgs) -> Result<(), Failure> {
    let (devices, notice) = devices::list(args)?;
    console::notices(&notice.map(str::to_owned).into_iter().collect::<Vec<_>>());
    if args.json {
        return console::print_result(&json_line("the devices", &devices)?);
    }
    if devices.is_empty() {
        console::notices(&["no audio devices were found".to_owned()]);
    }
    console::print_result(&devices::table(&devices))
}

fn diagnose(args: &RunArgs) -> Result<(), Failure> {
    let diagnosis = doctor::examine(args, || {
        if !args.json {
            console::message("listening for about 40 s; the loudspeaker plays chirps");
        }
    })?;
    console::print_result(&match args.json {
        true => json_line("the diagnosis", &diagnosis)?,
        false => doctor::page(&diagnosis),
    })
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
