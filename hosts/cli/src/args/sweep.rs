//! Control side: the switches of `handsfree sweep`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::sweep::shard::Shard;

pub(super) const SWEEP_HELP: &str = "\
Runs every conversation that FILE.toml describes, or a random sample of them, and writes one line of
JSON for each into a file of its shard in the folder --out. A command that was killed is repeated: it
goes on with the first conversation that has no line. docs/sweep.md explains the file and the lines.

The shards of a campaign run beside each other, also on several machines that share the folder. Without
--shard, the shard is taken from SLURM_ARRAY_TASK_ID (a Slurm array), or with HANDSFREE_SWEEP_SHARDS=N
from JOB_COMPLETION_INDEX (an indexed Job of Kubernetes) or PARALLEL_SEQ (GNU parallel).

Examples:
  handsfree sweep rooms.toml --out rooms                          all conversations, one after another
  parallel handsfree sweep rooms.toml --out rooms --shard {}/8 ::: 1 2 3 4 5 6 7 8
  handsfree sweep report rooms                                    rooms/report.html and a summary

Exit codes: 0 success, 1 a file could not be read or written, 2 the command line or FILE.toml is
invalid, 3 conversations failed; with 'report' also when conversations are missing.";

/// Switches of `handsfree sweep`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SweepArgs {
    /// Subcommand, if it is not a run.
    #[command(subcommand)]
    pub action: Option<SweepAction>,
    /// File that describes the conversations
    #[arg(value_name = "FILE.toml", required = true)]
    pub file: Option<PathBuf>,
    /// Part of the conversations to run: the K-th of N, counted from 1 [default: from the scheduler, else all]
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
    /// Folder that receives the lines
    #[arg(long, value_name = "DIR", default_value = "handsfree-sweep")]
    pub out: PathBuf,
}

/// Subcommands of `handsfree sweep`.
#[derive(Subcommand, Clone, Debug)]
pub enum SweepAction {
    /// Merges the lines of all shards into one page, the worst conversations first, and prints a summary
    Report(SweepReportArgs),
}

/// Switches of `handsfree sweep report`.
#[derive(Args, Clone, Debug)]
pub struct SweepReportArgs {
    /// Folder with the lines of the shards
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Page to write [default: report.html in DIR]
    #[arg(long, value_name = "HTML")]
    pub out: Option<PathBuf>,
}
