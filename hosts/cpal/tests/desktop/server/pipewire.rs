//! A PipeWire server with its session manager (WirePlumber), its PulseAudio interface and a D-Bus daemon, all
//! of which belong to one test. Its devices are null sinks; the session manager ignores the machine's sound
//! cards.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant as Moment;

use super::{POLL_INTERVAL, SERVER_TIMEOUT, SINKS, await_socket, command, try_pactl};

/// Starts the server in this directory and creates its sinks.
pub(super) fn start(directory: &Path) -> Vec<Child> {
    for (part, line) in [
        (
            "main",
            "alsa_monitor.enabled = false\nv4l2_monitor.enabled = false\nlibcamera_monitor.enabled = false\n",
        ),
        ("bluetooth", "bluez_monitor.enabled = false\n"),
    ] {
        let part = directory.join(format!("wireplumber/{part}.lua.d"));
        fs::create_dir_all(&part).unwrap();
        fs::write(part.join("51-no-devices.lua"), line).unwrap();
    }
    let bus = directory.join("bus");
    let address = format!("unix:path={}", bus.display());
    let mut children = Vec::new();
    let mut run = |program: &str, arguments: &[&str], package: &str| {
        let missing = |error| panic!("{program}: {error}: `apt install {package}`, or `make setup`");
        Command::new(program).arg("--version").output().unwrap_or_else(missing);
        // `setpriv` ends the programs when this process is killed; none of them would exit by itself.
        let child = command("setpriv", directory)
            .args(["--pdeathsig", "KILL", "--", program])
            .args(arguments)
            .env("DBUS_SESSION_BUS_ADDRESS", &address)
            .env("XDG_STATE_HOME", directory.join("state"))
            .env("PIPEWIRE_RUNTIME_DIR", directory)
            .spawn();
        children.push(child.expect("setpriv: `apt install util-linux`"));
    };
    // Removes the sockets of a killed server.
    for socket in ["bus", "pipewire-0", "pipewire-0-manager"] {
        let _ = fs::remove_file(directory.join(socket));
    }
    run("dbus-daemon", &["--session", "--nofork", "--nopidfile", "--address", &address], "dbus");
    await_socket(&bus, directory);
    run("pipewire", &[], "pipewire");
    await_socket(&directory.join("pipewire-0"), directory);
    run("wireplumber", &[], "wireplumber");
    run("pipewire-pulse", &[], "pipewire-pulse");
    await_socket(&directory.join("pulse/native"), directory);
    for (name, rate_hz) in SINKS {
        let sink = format!("sink_name={name} rate={rate_hz} channels=1");
        let arguments = ["load-module", "module-null-sink"].into_iter().chain(sink.split(' '));
        pactl_with_retry(directory, &arguments.collect::<Vec<_>>());
    }
    pactl_with_retry(directory, &["set-default-sink", "speaker"]);
    pactl_with_retry(directory, &["set-default-source", "speaker.monitor"]);
    // The session manager applies the defaults later.
    let began = Moment::now();
    let is_default = |text: &str| {
        text.contains("Default Sink: speaker\n") && text.contains("Default Source: speaker.monitor\n")
    };
    while !try_pactl(directory, &["info"]).is_ok_and(|text| is_default(&text)) {
        assert!(began.elapsed() < SERVER_TIMEOUT, "the default devices are not what they were set to");
        std::thread::sleep(POLL_INTERVAL);
    }
    children
}

/// Retries a command of `pactl` until it succeeds: the server refuses it until the session manager runs.
fn pactl_with_retry(directory: &Path, arguments: &[&str]) {
    let began = Moment::now();
    while let Err(error) = try_pactl(directory, arguments) {
        assert!(began.elapsed() < SERVER_TIMEOUT, "pactl {arguments:?}: {error}");
        std::thread::sleep(POLL_INTERVAL);
    }
}
