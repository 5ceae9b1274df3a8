//! A PipeWire with its session manager (WirePlumber), its PulseAudio interface and a bus, all of the test's own. Its
//! devices are null sinks; the session manager is kept from this machine's cards.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant as Moment;

use super::{LOOK_INTERVAL, PATIENCE, SINKS, await_socket, command, try_pactl};

/// Starts one in this folder and makes its sinks.
pub(super) fn start(folder: &Path) -> Vec<Child> {
    for (part, line) in [
        (
            "main",
            "alsa_monitor.enabled = false\nv4l2_monitor.enabled = false\nlibcamera_monitor.enabled = false\n",
        ),
        ("bluetooth", "bluez_monitor.enabled = false\n"),
    ] {
        let part = folder.join(format!("wireplumber/{part}.lua.d"));
        fs::create_dir_all(&part).unwrap();
        fs::write(part.join("51-no-devices.lua"), line).unwrap();
    }
    let bus = folder.join("bus");
    let address = format!("unix:path={}", bus.display());
    let mut children = Vec::new();
    let mut run = |program: &str, arguments: &[&str], package: &str| {
        let missing = |error| panic!("{program}: {error}: `apt install {package}`, or `make setup`");
        Command::new(program).arg("--version").output().unwrap_or_else(missing);
        // None of them leaves by itself where this process was killed.
        let child = command("setpriv", folder)
            .args(["--pdeathsig", "KILL", "--", program])
            .args(arguments)
            .env("DBUS_SESSION_BUS_ADDRESS", &address)
            .env("XDG_STATE_HOME", folder.join("state"))
            .env("PIPEWIRE_RUNTIME_DIR", folder)
            .spawn();
        children.push(child.expect("setpriv: `apt install util-linux`"));
    };
    // Those of a server that was killed.
    for socket in ["bus", "pipewire-0", "pipewire-0-manager"] {
        let _ = fs::remove_file(folder.join(socket));
    }
    run("dbus-daemon", &["--session", "--nofork", "--nopidfile", "--address", &address], "dbus");
    await_socket(&bus, folder);
    run("pipewire", &[], "pipewire");
    await_socket(&folder.join("pipewire-0"), folder);
    run("wireplumber", &[], "wireplumber");
    run("pipewire-pulse", &[], "pipewire-pulse");
    await_socket(&folder.join("pulse/native"), folder);
    for (name, rate_hz) in SINKS {
        let sink = format!("sink_name={name} rate={rate_hz} channels=1");
        let words = ["load-module", "module-null-sink"].into_iter().chain(sink.split(' '));
        until_done(folder, &words.collect::<Vec<_>>());
    }
    until_done(folder, &["set-default-sink", "speaker"]);
    until_done(folder, &["set-default-source", "speaker.monitor"]);
    // The session manager does that in its own time.
    let began = Moment::now();
    let is_default = |text: &str| {
        text.contains("Default Sink: speaker\n") && text.contains("Default Source: speaker.monitor\n")
    };
    while !try_pactl(folder, &["info"]).is_ok_and(|text| is_default(&text)) {
        assert!(began.elapsed() < PATIENCE, "the default devices are not what they were set to");
        std::thread::sleep(LOOK_INTERVAL);
    }
    children
}

/// Until the session manager is there, the server says that it does not do such things.
fn until_done(folder: &Path, words: &[&str]) {
    let began = Moment::now();
    while let Err(error) = try_pactl(folder, words) {
        assert!(began.elapsed() < PATIENCE, "{words:?}: {error}");
        std::thread::sleep(LOOK_INTERVAL);
    }
}
