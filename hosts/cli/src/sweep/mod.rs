//! Control side: `handsfree sweep`, which runs many simulated conversations and reports the worst.

pub mod line;
mod page;
pub mod plan;
pub mod shard;
pub mod summary;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use handsfree::failure::Failure;
use handsfree::recording::OutputFile;
use indicatif::{ProgressBar, ProgressStyle};

use self::line::{RunFigures, RunLine, ShardFile};
use self::plan::SweepPlan;
use self::shard::Shard;
use self::summary::Campaign;
use crate::args::{SweepAction, SweepArgs, SweepReportArgs};
use crate::{console, sim};

/// Exit code after conversations that failed or are missing.
const FAILED: u8 = 3;

/// Runs the subcommand and returns its exit code: 0 or 3.
///
/// # Errors
/// Returns an error that names the file, the entry or the variable that is wrong.
pub fn sweep(args: &SweepArgs) -> Result<u8, Failure> {
    if let Some(SweepAction::Report(args)) = &args.action {
        return report(args);
    }
    let Some(file) = &args.file else {
        return Err(Failure::usage("FILE.toml is missing: expected a file that describes the conversations"));
    };
    let shard = match args.shard {
        Some(shard) => shard,
        None => Shard::from_scheduler(&|name| std::env::var(name).ok())?,
    };
    let plan = SweepPlan::read(file)?;
    let (mut output, mut lines) = ShardFile::open(&args.out, shard)?;
    // Conversations that were run with another number of shards.
    for path in line::files(&args.out)? {
        if path.file_name().is_none_or(|name| name != shard.file_name().as_str()) {
            lines.append(&mut line::read(&path)?.lines);
        }
    }
    if let Some(line) = lines.iter().find(|line| line.campaign != plan.digest()) {
        return Err(Failure::usage(format!(
            "{}: it has results of campaign {}, expected none or those of {} ({}); choose another folder",
            args.out.display(),
            line.campaign,
            plan.digest(),
            file.display(),
        )));
    }
    let done: BTreeSet<u64> = lines.iter().map(|line| line.run).collect();
    let to_run: Vec<u64> = shard.runs(plan.runs()).filter(|run| !done.contains(run)).collect();
    let of_shard = shard.runs(plan.runs()).count();
    let bar = progress_bar(of_shard as u64, shard);
    bar.set_position((of_shard - to_run.len()) as u64);
    bar.reset_eta();
    let mut failed = lines.iter().filter(|line| line.error.is_some() && shard.has(line.run)).count();
    for &number in &to_run {
        let line = converse(&plan, number);
        failed += usize::from(line.error.is_some());
        output.append(&line)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    console::print_result(&format!(
        "shard {shard}: {} conversations, {} of them now; {failed} failed\n",
        of_shard,
        to_run.len()
    ))?;
    Ok(if failed == 0 { 0 } else { FAILED })
}

/// Runs one conversation. A panic becomes the error of its line, so that the others run.
fn converse(plan: &SweepPlan, number: u64) -> RunLine {
    let mut line =
        RunLine { run: number, of: plan.runs(), campaign: plan.digest().to_owned(), ..RunLine::default() };
    let run = match plan.run(number) {
        Ok(run) => run,
        Err(error) => return RunLine { error: Some(error), ..line },
    };
    line.values = run.values;
    line.command = sim::command(&run.args);
    let began = Instant::now();
    match catch_unwind(AssertUnwindSafe(|| sim::run(&run.args, &mut |_| ()))) {
        Ok(Ok(simulated)) => {
            line.figures = Some(RunFigures::of(&simulated, began.elapsed().as_secs_f64()));
        }
        Ok(Err(failure)) => line.error = Some(failure.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            line.error = Some(format!("panic: {}", text.unwrap_or("without a message")));
        }
    }
    line
}

/// Merges the shards, writes the page and prints the summary. Returns the exit code.
fn report(args: &SweepReportArgs) -> Result<u8, Failure> {
    let campaign = Campaign::read(&args.folder)?;
    let path = args.out.clone().unwrap_or_else(|| args.folder.join("report.html"));
    OutputFile::write_whole(&path, page::page(&campaign).as_bytes())?;
    console::print_result(&format!("{}\npage: {}\n", campaign.text(), display(&path)))?;
    Ok(if campaign.is_whole() { 0 } else { FAILED })
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

fn progress_bar(runs: u64, shard: Shard) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(runs);
    let template = format!("  shard {shard} {{bar:40}} {{pos}} of {{len}} conversations  {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}
