//! The programs of others that record and play through a service, each in the way its users set it up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration as Span, Instant as Moment};

use crate::alsa_device::{AlsaDevice, path_with_handsfree};
use crate::samples::{bytes_of, samples_of};
use crate::server::SoundServer;
use crate::service::Service;

/// Time in which a helper must have started, on a machine that is busy with other tests.
const START_LIMIT: Span = Span::from_secs(20);

/// Programs of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programs {
    /// `arecord` and `aplay` on ALSA's device `handsfree`.
    Alsa,
    /// `parec` and `pacat` on the devices of `serve --virtual`.
    PulseAudio,
    /// `soundcard`, by which linux-voice-assistant records, and `pacat`, on the devices of `serve --virtual`.
    VoiceAssistant,
    /// `pw-record` and `pw-play` on the devices of `serve --virtual`.
    PipeWire,
    /// Two streams of Python's `sounddevice`, which uses PortAudio, on ALSA's device `handsfree`.
    SoundDevice,
    /// `wyoming-satellite` with the two commands of its recipe, and a `wyoming` client as the assistant.
    Satellite,
}

/// Service with what its clients need.
pub(super) struct ClientRig<'s> {
    pub(super) service: Service,
    programs: Programs,
    rate_hz: u32,
    device: Option<AlsaDevice>,
    server: Option<&'s SoundServer>,
    helper: Option<Helper>,
}

/// Program and its children, which run until this is dropped.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        _ = Command::new("kill").args(["-TERM", "--", &group]).status();
        _ = self.0.wait();
    }
}

impl<'s> ClientRig<'s> {
    /// Starts a service with these words, and what the programs need beside it. `server` is the sound server that they use.
    pub(super) fn start(
        programs: Programs,
        server: Option<&'s SoundServer>,
        rate_hz: u32,
        words: &str,
    ) -> Self {
        let is_on_server =
            matches!(programs, Programs::PulseAudio | Programs::VoiceAssistant | Programs::PipeWire);
        let virtual_devices = if is_on_server { "--virtual" } else { "" };
        // Two tests with the same programs may run at once.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let name = format!("client-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let service = Service::start_with(&name, &format!("{words} --rate {rate_hz} {virtual_devices}"));
        let needs_device = matches!(programs, Programs::Alsa | Programs::SoundDevice);
        let device = needs_device.then(|| AlsaDevice::build(&service.folder, &service.socket));
        let mut rig = Self { service, programs, rate_hz, device, server, helper: None };
        if programs == Programs::Satellite {
            rig.start_satellite(words.contains("--wire"));
        }
        rig
    }

    /// Starts a satellite with the commands of its recipe. `is_exact` makes it play at the service's rate, so that no sample is
    /// converted.
    fn start_satellite(&mut self, is_exact: bool) {
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes/wyoming-satellite.md");
        let recipe = fs::read_to_string(recipe).unwrap();
        let command = |switch: &str| -> String {
            let rest = recipe.split(&format!("{switch} '")).nth(1).expect("the recipe has the command");
            rest.split('\'').next().unwrap().to_owned()
        };
        let (mut speak, mut rate) = (command("--snd-command"), "22050".to_owned());
        assert!(speak.contains(&rate), "{speak}: expected the satellite's own rate");
        if is_exact {
            speak = speak.replace(&rate, &self.rate_hz.to_string());
            rate = self.rate_hz.to_string();
        }
        let socket = self.service.folder.join("satellite");
        let mut satellite = Command::new(python("satellite"));
        satellite
            .args(["-m", "wyoming_satellite", "--name", "satellite", "--uri"])
            .arg(format!("unix://{}", socket.display()))
            .args(["--mic-command", &command("--mic-command")])
            .args(["--snd-command", &speak, "--snd-command-rate", &rate]);
        self.spawn_helper(&mut satellite);
        wait("the satellite", || socket.exists());
        self.service.wait_for_clients("mic", 1);
    }

    fn spawn_helper(&mut self, command: &mut Command) {
        use std::os::unix::process::CommandExt as _;
        let log = fs::File::create(self.service.folder.join("helper.log")).unwrap();
        let helper = command
            .env("PATH", path_with_handsfree())
            .env("HANDSFREE_SOCKET", &self.service.socket)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn();
        self.helper = Some(Helper(helper.unwrap_or_else(|error| panic!("{command:?}: {error}"))));
    }

    /// Ends the programs, then the service, which must do so in order.
    pub(super) fn stop(self) {
        drop(self.helper);
        self.service.stop();
    }

    /// Returns the rate at which the programs record.
    pub(super) fn recorded_hz(&self) -> u32 {
        match self.programs {
            Programs::Satellite | Programs::VoiceAssistant => 16_000,
            _ => self.rate_hz,
        }
    }

    /// Records for a time and plays samples meanwhile. The samples have the rate of [`recorded_hz`](Self::recorded_hz).
    /// Returns what was recorded, once everything was heard.
    pub(super) fn record_and_play(&self, seconds: f64, play_after_s: f64, samples: &[i16]) -> Vec<i16> {
        let folder = &self.service.folder;
        let (recorded, played) = (folder.join("recorded"), folder.join("played"));
        fs::write(&played, bytes_of(samples)).unwrap();
        let (rate, length) = (self.recorded_hz().to_string(), seconds.to_string());
        let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let children = match self.programs {
            Programs::Alsa => {
                let format = ["-D", "handsfree", "-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", &rate];
                let device = self.device.as_ref().unwrap();
                let recorder =
                    spawn(device.command("arecord").args(format).args(["-d", &length]).arg(&recorded));
                pause(play_after_s);
                vec![recorder, spawn(device.command("aplay").args(format).arg(&played))]
            }
            Programs::PulseAudio => {
                let format = format!("--raw --format=s16le --channels=1 --rate={rate} --latency-msec=50");
                let bytes = (2.0 * seconds * f64::from(self.rate_hz)) as usize;
                let recorder = spawn(&mut shell(&format!(
                    "parec {format} --device=handsfree_microphone | head -c {bytes} > {}",
                    recorded.display()
                )));
                pause(play_after_s);
                let player = format!("pacat {format} --device=handsfree_loudspeaker {}", played.display());
                vec![recorder, spawn(&mut shell(&player))]
            }
            Programs::VoiceAssistant => {
                let words = [&rate, &length, &path(&recorded)];
                let mut client = Command::new(python("desktop"));
                let recorder = spawn(client.arg(script("soundcard_client.py")).args(words));
                pause(play_after_s);
                let format = format!("--raw --format=s16le --channels=1 --rate={rate} --latency-msec=50");
                let player = format!("pacat {format} --device=handsfree_loudspeaker {}", played.display());
                vec![recorder, spawn(&mut shell(&player))]
            }
            Programs::PipeWire => {
                let directory = self.server.expect("the test has a server").directory();
                let format = ["--rate", &rate, "--channels", "1", "--format", "s16"];
                let wav = folder.join("played.wav");
                // pw-play of PipeWire 0.3.65 ends before it has played its last quantum.
                let with_pause = [samples, &[0; 4_800]].concat();
                let floats = handsfree::pcm::from_i16(&with_pause);
                handsfree_sim::wav::write_mono(&wav, self.rate_hz, &floats).unwrap();
                // `timeout` ends it, which is its only way to end.
                let line = "timeout --signal=INT \"$0\" pw-record \"$@\"; test $? -eq 124";
                let mut recorder = Command::new("sh");
                recorder.args(["-c", line, &length]).args(format);
                recorder.args(["--target", "handsfree_microphone"]).arg(folder.join("recorded.wav"));
                let recorder = spawn(recorder.env("PIPEWIRE_RUNTIME_DIR", directory));
                pause(play_after_s);
                let mut player = Command::new("pw-play");
                player.args(["--target", "handsfree_loudspeaker"]).arg(&wav);
                vec![recorder, spawn(player.env("PIPEWIRE_RUNTIME_DIR", directory))]
            }
            Programs::SoundDevice => {
                let device = self.device.as_ref().unwrap();
                let after = play_after_s.to_string();
                let words = [&rate, &length, &path(&recorded), &after, &path(&played)];
                let mut client = device.command(python("desktop"));
                vec![spawn(client.arg(script("sounddevice_client.py")).args(words))]
            }
            Programs::Satellite => {
                let uri = format!("unix://{}", folder.join("satellite").display());
                let after = play_after_s.to_string();
                let words = [&uri, &length, &path(&recorded), &after, &rate, &path(&played)];
                let mut client = Command::new(python("desktop"));
                vec![spawn(client.arg(script("wyoming_client.py")).args(words))]
            }
        };
        for child in children {
            let output = child.wait_with_output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            let log = fs::read_to_string(folder.join("helper.log")).unwrap_or_default();
            assert!(output.status.success(), "{:?}: {}: {message}{log}", self.programs, output.status);
        }
        match self.programs {
            Programs::PipeWire => {
                let clip = handsfree_sim::wav::read(folder.join("recorded.wav")).unwrap();
                handsfree::pcm::to_i16(&clip.samples)
            }
            _ => samples_of(&fs::read(&recorded).unwrap()),
        }
    }
}

/// Returns the Python of an environment that `tools/setup-desktop.sh clients` makes.
fn python(environment: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let python = tools.join(environment).join("bin/python3");
    assert!(
        python.exists(),
        "{} is missing: `tools/setup-desktop.sh clients`, or `make test-desktop`",
        python.display()
    );
    python
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/desktop/clients").join(name)
}

fn shell(line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]);
    shell
}

fn spawn(command: &mut Command) -> Child {
    let spawned = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    spawned.unwrap_or_else(|error| panic!("{command:?}: {error}: `tools/setup-desktop.sh` installs it"))
}

fn pause(seconds: f64) {
    std::thread::sleep(Span::from_secs_f64(seconds));
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Moment::now();
    while !condition() {
        assert!(begun.elapsed() < START_LIMIT, "{what} did not start within {START_LIMIT:?}");
        std::thread::sleep(Span::from_millis(20));
    }
}
