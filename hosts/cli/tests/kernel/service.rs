//! `handsfree serve` on sound cards of the kernel, used by ALSA's programs through the device `handsfree`.

use std::path::Path;

use handsfree_kernel_tests::room::UNSHIFTED;
use handsfree_kernel_tests::{Machine, MachineFailure, Options, Result};
use serde_json::Value;

use crate::alsa_device::{build_plugin, config};
use crate::room::{self, ERLE_DB, LIMIT};
use crate::samples::{bytes_of, noise, samples_of};

/// Length of the sound that is followed, in samples at 16 kHz.
const SAID: usize = 32_000;
/// Length of the conversation in the room, in seconds, and of the judged part at its end.
const SECONDS: u32 = 40;
const SETTLED_SECONDS: usize = 15;

/// Starts the service with the given switches and waits until it answers.
const START: &str = "
    export HANDSFREE_SOCKET=/tmp/socket ALSA_CONFIG_PATH=/tmp/asound.conf
    handsfree serve --io alsa --rate 16000 --periods 10 --no-ns --no-agc $switches >/tmp/messages 2>&1 &
    service=$!
    until handsfree ctl status >/tmp/status 2>/dev/null; do
        kill -0 $service || { cat /tmp/messages; exit 1; }
        usleep 20000
    done";

/// Ends the service, which must succeed.
const END: &str = "
    kill -TERM $service
    wait $service || { cat /tmp/messages; exit 1; }";

/// Boots a machine with the plug-in and the configuration of the device `handsfree`, and with the given sound at `/tmp/said`.
fn boot_with_device(options: Options, said: &[i16]) -> Result<Machine> {
    let name = format!("kernel-{}-{}", std::process::id(), said.len());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let [plugin, conf, sound] = ["plugin.so", "asound.conf", "said"].map(|name| folder.join(name));
    build_plugin(&plugin);
    std::fs::write(&conf, config("/tmp/plugin.so")).unwrap();
    std::fs::write(&sound, bytes_of(said)).unwrap();
    let options =
        options.file(plugin, "/tmp/plugin.so").file(conf, "/tmp/asound.conf").file(sound, "/tmp/said");
    let machine = Machine::boot(&options);
    std::fs::remove_dir_all(&folder).unwrap();
    machine
}

fn json(line: &str) -> Result<Value> {
    serde_json::from_str(line).map_err(|error| MachineFailure::new(format!("{error}: {line}")))
}

/// Checks that the devices lost nothing.
fn check_devices(status: &Value) {
    assert_eq!(
        (&status["host"], &status["capture"], &status["playback"]),
        (&"alsa".into(), &"running".into(), &"running".into())
    );
    for count in ["xruns", "dropped_frames", "unprocessed_frames", "refused_clients"] {
        assert_eq!(status[count], 0, "{count}: {status}");
    }
}

/// The card is a loopback, so the microphone records what the loudspeaker plays, and each sample can be followed.
pub(crate) fn carry_every_sample() -> Result<()> {
    let said = noise(SAID, 1);
    let options = Options::new().own_time().module("snd-aloop id=A").program(env!("CARGO_BIN_EXE_handsfree"));
    let machine = boot_with_device(options, &said)?;
    let output = machine.run(
        &format!(
            "switches='--input hw:A,1,0 --output hw:A,0,0 --no-aec --no-hpf --no-echo-search'
            {START}
            format='-q -D handsfree -f S16_LE -r 16000 -c 1 -t raw'
            arecord $format -d 5 /tmp/heard &
            recorder=$!
            sleep 1
            aplay $format /tmp/said || exit
            wait $recorder || exit
            handsfree ctl status || exit
            {END}"
        ),
        LIMIT,
    )?;
    let text = output.success()?;
    let heard = samples_of(&machine.get("/tmp/heard")?);
    let begin = heard.windows(32).position(|window| window == &said[..32]);
    let begin = begin.ok_or_else(|| MachineFailure::new(format!("the sound was not heard\n{text}")))?;
    let differ = said.iter().zip(&heard[begin..]).position(|(a, b)| a != b);
    println!("{SAID} samples, found {begin} samples after the begin");
    assert!(heard.len() >= begin + SAID, "{} samples were heard", heard.len());
    assert_eq!(differ, None, "the sample of {SAID} that differs");
    check_devices(&json(text.lines().last().unwrap_or_default())?);
    Ok(())
}

/// `aplay` speaks in the room where `handsfree run` is tested, while `arecord` records: its echo is removed as by `run`.
pub(crate) fn cancel_the_echo() -> Result<()> {
    let machine = boot_with_device(room::options(), &[])?;
    let output = machine.run(
        &format!(
            "{room}
            room=$!
            switches='--input hw:B,1,0 --output hw:A,0,0'
            {START}
            arecord -q -D handsfree -f S16_LE -r 16000 -d {SECONDS} -t raw /tmp/heard &
            recorder=$!
            (while aplay -q -D handsfree /tmp/far.wav; do :; done) &
            for second in $(seq {SECONDS}); do
                sleep 1
                handsfree ctl status || exit
            done
            wait $recorder || exit
            {END}
            wait $room",
            room = room::start_script(UNSHIFTED, SECONDS + 6),
        ),
        LIMIT,
    )?;
    let text = output.success()?;
    let statuses = text.lines().map(json).collect::<Result<Vec<_>>>()?;
    let settled = &statuses[statuses.len().saturating_sub(SETTLED_SECONDS)..];
    let mut erle: Vec<f64> = settled.iter().filter_map(|status| status["erle_db"].as_f64()).collect();
    erle.sort_by(f64::total_cmp);
    println!("echo reduction in the last {SETTLED_SECONDS} s: {erle:.1?}");
    assert!(erle.len() * 2 >= SETTLED_SECONDS, "{text}");
    assert!(erle[erle.len() / 2] >= ERLE_DB, "expected a median of at least {ERLE_DB} dB:\n{text}");
    check_devices(statuses.last().ok_or_else(|| MachineFailure::new("no status was printed"))?);
    assert_eq!(machine.get("/tmp/heard")?.len(), 2 * 16_000 * SECONDS as usize);
    Ok(())
}
