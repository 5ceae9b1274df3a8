//! Installs LiveKit's Python package from PyPI, runs scripts with it, and measures processor time for both sides.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::time::{ClockId, clock_gettime};

const LIVEKIT: &str = "livekit==1.2.0";

/// Returns the processor time of this thread, in nanoseconds.
pub(crate) fn processor_time_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Runs a program and returns its output, or a message about its failure.
pub(crate) fn output_of(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(format!("{name} failed ({}):\n{}", output.status, String::from_utf8_lossy(&text).trim_end()))
}

/// Returns the interpreter of a virtual environment with LiveKit, which is created if necessary.
pub(crate) fn python(folder: &Path) -> Result<PathBuf, String> {
    let python = folder.join("bin/python3");
    let has_livekit =
        format!("import importlib.metadata as m; assert 'livekit==' + m.version('livekit') == '{LIVEKIT}'");
    let probe = || output_of(Command::new(&python).args(["-c", &has_livekit]));
    if probe().is_ok() {
        return Ok(python);
    }
    eprintln!("installing {LIVEKIT} from PyPI into {}", folder.display());
    output_of(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder)).map_err(|error| {
        format!(
            "cannot create a virtual environment for LiveKit. {error}\n\
             Install Python: apt-get install python3 python3-venv"
        )
    })?;
    output_of(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        LIVEKIT,
    ]))
    .map_err(|error| {
        format!(
            "pip could not install {LIVEKIT}. {error}\n\
                 This comparison needs access to PyPI. To install by hand: {} -m pip install {LIVEKIT}",
            python.display()
        )
    })?;
    probe()?;
    Ok(python)
}
