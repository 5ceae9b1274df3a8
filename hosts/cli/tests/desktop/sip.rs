//! A call between two SIP clients (baresip), one of which uses the devices of `handsfree serve --virtual` with the lines of
//! docs/recipes/virtual-devices.md. The service's own devices are a simulated wire, so the caller hears what it says.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration as Span, Instant as Moment};

use handsfree_sim::interpolate::resample_to;
use handsfree_sim::measure;
use handsfree_sim::wav;

use crate::machine_pauses::repeat_while_machine_pauses;
use crate::samples::noise;
use crate::server::{ServerKind, with};
use crate::service::{Service, WIRE};

/// Codecs of the calls, with their rates in hertz. The first one changes no sample and its rate is the service's; the second
/// one is what telephones have, and the sound server converts its rate both ways.
const CODECS: [(&str, u32); 2] = [("L16/48000/1", 48_000), ("PCMU/8000/1", 8_000)];
/// Rate of the service, in hertz.
const SERVICE_HZ: u32 = 48_000;
/// Twice the highest frequency of what is said, in hertz: both codecs carry all of it.
const SAID_HZ: u32 = 6_000;
/// Length of what is said, and of the silence before and after it, in seconds. The last one is longer than the way there and back.
const SILENT_BEFORE_S: usize = 1;
const SAID_S: usize = 5;
const SILENT_AFTER_S: usize = 2;
/// Number of blocks in a second, each of which is searched in the recording.
const BLOCKS_PER_S: usize = 10;
/// How far a block may be from its place after the one before it, in seconds.
const REACH_S: f64 = 0.1;
/// Correlation from which a block is found.
const FOUND_CORRELATION: f64 = 0.9;
/// Level below which a sample is silence, relative to full scale.
const SILENCE: f32 = 1e-3;
/// Numbers of blocks that may be missing in a row and in all. One was in one of 28 calls, in which the sound jumped by
/// 43 ms.
const MISSING_IN_A_ROW: usize = 1;
const MISSING: usize = 2;
/// Least median of the blocks' correlations, which were 1.0000 and 0.9993. It finds a second copy from 17 dB below the first.
const CORRELATION: f64 = 0.99;
/// Largest difference of the levels, in dB. It was 0.00 and 0.07.
const LEVEL_DB: f64 = 0.5;
/// Time in which a client must have started, and in which a call must have ended after its length.
const LIMIT: Span = Span::from_secs(20);

/// Client that runs until this is dropped.
struct Baresip {
    child: Child,
    log: PathBuf,
}

impl Baresip {
    /// Starts a client with a configuration and an account in a folder of its own.
    fn start(folder: &Path, config: &str, account: &str, words: &[&str]) -> Result<Self, String> {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("config"), config).unwrap();
        fs::write(folder.join("accounts"), format!("{account}\n")).unwrap();
        let log = folder.join("log");
        let output = fs::File::create(&log).unwrap();
        // `setpriv` ends the client when this process is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "baresip", "-f"])
            .arg(folder)
            .args(words)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("setpriv: `apt install util-linux`");
        let mut client = Self { child, log };
        client.wait_for("baresip is ready", LIMIT)?;
        Ok(client)
    }

    /// Waits until the client has printed a text. Returns an error with all that it printed if it does not.
    fn wait_for(&mut self, text: &str, limit: Span) -> Result<(), String> {
        let begun = Moment::now();
        loop {
            let log = String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned();
            if log.contains(text) {
                return Ok(());
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || begun.elapsed() > limit {
                let hint = "`tools/setup-desktop.sh clients` installs baresip";
                return Err(format!("expected '{text}' ({ended:?}; {hint}): {log}"));
            }
            std::thread::sleep(Span::from_millis(20));
        }
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Returns the lines that the recipe gives for a file.
fn recipe(file: &str) -> String {
    let recipe = include_str!("../../../../docs/recipes/virtual-devices.md");
    let begin = format!("    # {file}\n");
    let (_, rest) = recipe.split_once(&begin).unwrap_or_else(|| panic!("the recipe has no {file}"));
    rest.lines().map_while(|line| line.strip_prefix("    ")).map(|line| format!("{line}\n")).collect()
}

/// Returns a port of this computer that no program uses.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Calls the terminal, which answers, and says something until the call ends. Returns what the caller hears. What the clients do
/// not do is an error, because a panic within `repeat_while_machine_pauses` would not end.
fn call(folder: &Path, codec: &str, rate_hz: u32, said: &[f32]) -> Result<Vec<f32>, String> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder.join("heard")).unwrap();
    let silence = |seconds: usize| vec![0.0; seconds * rate_hz as usize];
    let whole = [&silence(SILENT_BEFORE_S), said, &silence(SILENT_AFTER_S)].concat();
    wav::write_mono(folder.join("said.wav"), rate_hz, &whole).unwrap();
    let config = recipe("~/.baresip/config");
    let network =
        |port: u16| format!("net_interface 127.0.0.1\nsip_listen 127.0.0.1:{port}\nmodule l16.so\n");
    let port = free_port();
    let account = recipe("~/.baresip/accounts").replace("SERVER", &format!("127.0.0.1:{port}"));
    // There is no server at which the clients could register.
    let account = format!("{};regint=0;audio_codecs={codec}", account.trim());
    let terminal_config = config.clone() + &network(port);
    let mut terminal = Baresip::start(&folder.join("terminal"), &terminal_config, &account, &[])?;
    let others: Vec<&str> = config.lines().filter(|line| !line.starts_with("audio_")).collect();
    let folder_text = folder.display();
    let caller_config = format!(
        "{}\n{}module aufile.so\nmodule sndfile.so\nsnd_path {folder_text}/heard\n\
         audio_source aufile,{folder_text}/said.wav\naudio_player pulse,speaker\naudio_alert pulse,speaker\n",
        others.join("\n"),
        network(free_port())
    );
    let account = format!("<sip:caller@127.0.0.1>;regint=0;audio_codecs={codec}");
    let dial = format!("/dial sip:USER@127.0.0.1:{port}");
    let mut caller = Baresip::start(&folder.join("caller"), &caller_config, &account, &["-e", &dial])?;
    caller.wait_for("Call established", LIMIT)?;
    let length = Span::from_secs((SILENT_BEFORE_S + SAID_S + SILENT_AFTER_S) as u64);
    // The file's end ends the call.
    caller.wait_for("terminated (duration", length + LIMIT)?;
    terminal.wait_for("terminated (duration", LIMIT)?;
    let files = fs::read_dir(folder.join("heard")).unwrap().map(|entry| entry.unwrap().path());
    let heard: Vec<PathBuf> = files.filter(|file| file.to_string_lossy().ends_with("-dec.wav")).collect();
    let [file] = heard.as_slice() else { return Err(format!("expected one recording: {heard:?}")) };
    let clip = wav::read(file).map_err(|error| error.to_string())?;
    let expected = format!("expected {rate_hz} Hz: {} Hz", clip.rate_hz);
    if clip.rate_hz == rate_hz { Ok(clip.to_mono_at(rate_hz)) } else { Err(expected) }
}

/// What came back of what was said.
struct Heard {
    /// Time of the first sound in the recording, in seconds.
    begin_s: f64,
    /// Correlation of each block with what was found of it; 0 without a sound.
    correlations: Vec<f64>,
    /// Times by which blocks came later than after the one before, or earlier if negative, in milliseconds; without zeros.
    shifts_ms: Vec<f64>,
    /// Level of the blocks that were found, relative to what was said, in dB.
    level_db: f64,
    /// Largest sample after the last block, relative to full scale.
    afterwards: f32,
}

impl Heard {
    /// Searches each block of what was said near the place of the one before. Both signals have the service's rate.
    fn search(said: &[f32], heard: &[f32]) -> Result<Self, String> {
        let begin = heard.iter().position(|sample| sample.abs() > SILENCE).ok_or("nothing was heard")?;
        let reach = (REACH_S * f64::from(SERVICE_HZ)) as usize;
        let (mut place, mut shifts_ms, mut correlations) = (begin, Vec::new(), Vec::new());
        let (mut found_said, mut found_heard) = (Vec::new(), Vec::new());
        for block in said.chunks_exact(SERVICE_HZ as usize / BLOCKS_PER_S) {
            let part_at = |at: usize| &heard[at..at + block.len()];
            let latest = (place + reach).min(heard.len().saturating_sub(block.len()));
            let at = (place.saturating_sub(reach)..=latest)
                .max_by(|&a, &b| product(block, part_at(a)).total_cmp(&product(block, part_at(b))))
                .ok_or("the recording ends before what was said")?;
            let energies = product(block, block) * product(part_at(at), part_at(at));
            let correlation = product(block, part_at(at)) / energies.sqrt().max(f64::MIN_POSITIVE);
            correlations.push(correlation);
            if correlation >= FOUND_CORRELATION {
                if at != place && !found_said.is_empty() {
                    shifts_ms.push(1e3 * (at as f64 - place as f64) / f64::from(SERVICE_HZ));
                }
                found_said.extend_from_slice(block);
                found_heard.extend_from_slice(part_at(at));
                place = at;
            }
            place += block.len();
        }
        let after = heard.get(place + reach..).unwrap_or(&[]);
        Ok(Self {
            begin_s: begin as f64 / f64::from(SERVICE_HZ),
            correlations,
            shifts_ms,
            level_db: measure::level_change_db(&found_said, &found_heard).ok_or("no block was found")?,
            afterwards: after.iter().fold(0.0, |largest, sample| largest.max(sample.abs())),
        })
    }

    /// Prints the figures. Returns an error that names the first one that is out of its bounds.
    fn check(&self, codec: &str) -> Result<(), String> {
        let is_missing = |correlation: &f64| *correlation < FOUND_CORRELATION;
        let missing = self.correlations.iter().filter(|correlation| is_missing(correlation)).count();
        let runs = self.correlations.split(|correlation| !is_missing(correlation));
        let missing_in_a_row = runs.map(<[f64]>::len).max().unwrap_or(0);
        let median = measure::median(self.correlations.iter().copied()).unwrap();
        let smallest = self.correlations.iter().copied().fold(1.0, f64::min);
        println!(
            "{codec}: of {} blocks {missing} missing, {missing_in_a_row} in a row; correlation {smallest:.4} and more, median \
             {median:.4}; level {:+.2} dB; first sound after {:.3} s; shifts {:.1?} ms; {:.5} afterwards",
            self.correlations.len(),
            self.level_db,
            self.begin_s,
            self.shifts_ms,
            self.afterwards
        );
        let bounds = [
            (missing_in_a_row > MISSING_IN_A_ROW, format!("{missing_in_a_row} blocks in a row are missing")),
            (missing > MISSING, format!("{missing} blocks are missing")),
            (median < CORRELATION, format!("the median correlation is {median:.4}")),
            (self.level_db.abs() > LEVEL_DB, format!("the level differs by {:.2} dB", self.level_db)),
            (self.afterwards > SILENCE, format!("{} is heard after the end", self.afterwards)),
        ];
        bounds
            .into_iter()
            .find(|(is_out, _)| *is_out)
            .map_or(Ok(()), |(_, text)| Err(format!("{codec}: {text}")))
    }
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
}

#[test]
#[ignore = "half a minute of real time: `make test-desktop` runs it"]
fn a_sip_caller_hears_what_it_says_once() {
    with(ServerKind::PulseAudio, "sip::a_sip_caller_hears_what_it_says_once", |server| {
        let service = Service::start_with("sip", &format!("{WIRE} --rate {SERVICE_HZ} --virtual"));
        for (codec, rate_hz) in CODECS {
            let low = handsfree::pcm::from_i16(&noise(SAID_S * SAID_HZ as usize, 11));
            let said = resample_to(&low, SAID_HZ, rate_hz);
            repeat_while_machine_pauses(|| {
                let logged = server.log().len();
                let heard = call(&service.folder.join("call"), codec, rate_hz, &said)?;
                println!("{} underruns in the server's log", server.underruns(logged));
                // At the service's rate a delay by half a sample reduces the correlation by less than 0.01.
                let [said, heard] = [&said, &heard].map(|signal| resample_to(signal, rate_hz, SERVICE_HZ));
                Heard::search(&said, &heard)?.check(codec)
            });
        }
        service.stop();
    });
}

#[test]
fn faults_of_a_call_are_found() {
    let low = handsfree::pcm::from_i16(&noise(SAID_HZ as usize, 12));
    let said = resample_to(&low, SAID_HZ, SERVICE_HZ);
    let ms = |count: usize| vec![0.0; count * SERVICE_HZ as usize / 1_000];
    let whole = [&ms(300), &said[..], &ms(500)].concat();
    let verdict = |heard: &[f32]| Heard::search(&said, heard).and_then(|found| found.check("test"));
    let (before, after) = whole.split_at(SERVICE_HZ as usize);
    let later = |count: usize| [&ms(count), &whole[..]].concat();
    let copy = |gain: f32, delayed: &[f32]| -> Vec<f32> {
        whole.iter().zip(delayed).map(|(sample, again)| sample + gain * again).collect()
    };
    assert_eq!(verdict(&whole), Ok(()));
    assert_eq!(verdict(&[before, &ms(43), after].concat()), Ok(()));
    let faults = [
        ("in a row", [&before[..before.len() - ms(250).len()], &ms(250), after].concat()),
        ("the level", whole.iter().map(|sample| 0.9 * sample).collect()),
        ("correlation", copy(0.2, &later(40))),
        ("after the end", copy(0.2, &later(1_100))),
        ("nothing", ms(2_000)),
    ];
    for (expected, heard) in faults {
        let error = verdict(&heard).unwrap_err();
        assert!(error.contains(expected), "{error}: expected '{expected}'");
    }
}
