//! A PulseAudio server that has only null sinks, which its start script creates.

use std::fs;
use std::path::Path;
use std::process::Child;

use super::{SINKS, command, null_sink};

/// Starts the server in this directory.
pub(super) fn start(directory: &Path) -> Vec<Child> {
    let mut script = String::from(".fail\n");
    for (name, rate_hz) in SINKS {
        script += &format!("load-module module-null-sink {}\n", null_sink(name, rate_hz));
    }
    script += "set-default-sink speaker\nset-default-source speaker.monitor\n";
    script += &format!(
        "load-module module-native-protocol-unix auth-anonymous=1 socket={}\n",
        directory.join("pulse/native").display()
    );
    fs::write(directory.join("script.pa"), script).unwrap();
    let server = command("pulseaudio", directory)
        .args(["--daemonize=no", "-n", "--use-pid-file=no", "--disable-shm=yes", "--log-target=stderr"])
        // The idle time ends the server after this process was killed. The priorities apply where the system
        // permits them.
        .args(["--exit-idle-time=60", "--high-priority=yes", "--realtime=yes", "--log-level=debug"])
        .arg("-F")
        .arg(directory.join("script.pa"))
        .env("PULSE_RUNTIME_PATH", directory.join("pulse"))
        .spawn()
        .expect("pulseaudio: `apt install pulseaudio pulseaudio-utils`, or `make setup`");
    vec![server]
}
