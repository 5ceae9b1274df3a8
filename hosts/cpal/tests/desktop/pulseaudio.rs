//! A PulseAudio whose only devices are the null sinks that its script makes.

use std::fs;
use std::path::Path;
use std::process::Child;

use super::{SINKS, command, null_sink};

/// Starts one in this folder.
pub(super) fn start(folder: &Path) -> Vec<Child> {
    let mut script = String::from(".fail\n");
    for (name, rate_hz) in SINKS {
        script += &format!("load-module module-null-sink {}\n", null_sink(name, rate_hz));
    }
    script += "set-default-sink speaker\nset-default-source speaker.monitor\n";
    script += &format!(
        "load-module module-native-protocol-unix auth-anonymous=1 socket={}\n",
        folder.join("pulse/native").display()
    );
    fs::write(folder.join("script.pa"), script).unwrap();
    let server = command("pulseaudio", folder)
        .args(["--daemonize=no", "-n", "--use-pid-file=no", "--disable-shm=yes", "--log-target=stderr"])
        // It leaves by itself where this process was killed, and takes priority where it is allowed to.
        .args(["--exit-idle-time=60", "--high-priority=yes", "--realtime=yes", "--log-level=debug"])
        .arg("-F")
        .arg(folder.join("script.pa"))
        .env("PULSE_RUNTIME_PATH", folder.join("pulse"))
        .spawn()
        .expect("pulseaudio: `apt install pulseaudio pulseaudio-utils`, or `make setup`");
    vec![server]
}
