//! A session is plain memory: zero bytes in .bss, which can be split any number of times, and its halves dropped in any
//! order.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use handsfree_core::capture::Bypass;
use handsfree_core::tee::{Tee, TeeSink};
use handsfree_core::{ChannelMap, Duration, Frame, Instant, SampleRate, Session, SessionFormat, Stats};
use handsfree_sim::noise::Rng;
use handsfree_tests::{RecordingVoice, captured_at, for_seeds, intake_config, outlet_config, played_at};

/// A session as on a board: 48 kHz stereo, half a second of memory for each part.
type StaticSession = Session<960, 4, 16, 16, 64, 32, 48_000>;

// The statics are used for their addresses only, which show where the linker placed them.
static mut STATIC_SESSION: StaticSession = StaticSession::new();
static mut STATIC_SINK: TeeSink<960, 16> = TeeSink::new();
static mut STATIC_TEE: Tee<'static, 960, 4> = Tee::new();
/// A static that is not zero, which the linker places in .data.
static mut NOT_ZERO: [u64; 4] = [1; 4];

/// Returns the name of the section of this program that contains an address, read from its own file.
fn section_of(address: usize) -> String {
    let file = std::fs::read("/proc/self/exe").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = std::fs::read_link("/proc/self/exe").unwrap();
    let first = maps.lines().find(|line| line.ends_with(path.to_str().unwrap())).unwrap();
    let base = usize::from_str_radix(first.split('-').next().unwrap(), 16).unwrap();
    let number = |at: usize, size: usize| {
        (0..size).fold(0u64, |sum, byte| sum | u64::from(file[at + byte]) << (8 * byte)) as usize
    };
    assert_eq!(&file[..5], b"\x7fELF\x02", "a 64-bit ELF file");
    // Addresses of a position-independent program are relative to its load address.
    let offset = if number(16, 2) == 3 { base } else { 0 };
    let (table, entry, count, names) = (number(40, 8), number(58, 2), number(60, 2), number(62, 2));
    let names_at = number(table + names * entry + 24, 8);
    for section in (0..count).map(|index| table + index * entry) {
        let (from, size) = (number(section + 16, 8), number(section + 32, 8));
        if from > 0 && (from + offset..from + offset + size).contains(&address) {
            let name = &file[names_at + number(section, 4)..];
            let end = name.iter().position(|&byte| byte == 0).unwrap();
            return String::from_utf8_lossy(&name[..end]).into_owned();
        }
    }
    panic!("{address:#x} is in no section");
}

#[test]
fn a_static_session_is_placed_in_bss() {
    assert_eq!(section_of((&raw const NOT_ZERO).addr()), ".data", "the section look-up is wrong");
    let begin = (&raw const STATIC_SESSION).addr();
    assert_eq!(section_of(begin), ".bss");
    assert_eq!(section_of(begin + size_of::<StaticSession>() - 1), ".bss");
    assert_eq!(section_of((&raw const STATIC_SINK).addr()), ".bss");
    assert_eq!(section_of((&raw const STATIC_TEE).addr()), ".bss");
    assert!(
        size_of::<StaticSession>() > 300_000,
        "a session contains its rings: {} bytes",
        size_of::<StaticSession>()
    );
}

/// Plays some frames over a wire, leaves every ring half full, and drops the halves in random order.
fn exercise_session(session: &mut StaticSession, rng: &mut Rng, seed_level: i16) {
    let rate = SampleRate::new([16_000, 44_100, 48_000][rng.range(0, 3) as usize]).unwrap();
    let channels = rng.range(1, 3) as u32;
    let terminal = SessionFormat { rate, near_channels: channels, far_channels: channels };
    let mut halves = session.split::<NoopRawMutex, _, _>(terminal, RecordingVoice::default(), ()).unwrap();
    assert_eq!(halves.stats.read(), Stats::default(), "a session that is split again starts at 0");
    assert_eq!(halves.tracks.free(), 4);
    assert_eq!(halves.events.poll(), None);
    assert_eq!(halves.playback.poll(), 0);

    let map = ChannelMap::natural(channels, channels).unwrap();
    let frame = rate.sample_frames();
    halves.intake.configure(intake_config(rate, map, frame as u32)).unwrap();
    halves.outlet.configure(outlet_config(rate, map, frame as u32)).unwrap();
    // Both directions have the same timing here, so that there is no later reference for a lead.
    halves.capture.set_reference_lead(Duration::ZERO);
    let mut heard = Vec::new();
    let mut out = vec![0i16; frame * channels as usize];
    let first = {
        let mut track = halves.tracks.open().unwrap();
        for turn in 0..8u64 {
            track.push(&vec![seed_level; out.len()]).unwrap();
            halves.playback.poll();
            halves.outlet.on_period(&mut out, played_at(turn * frame as u64, rate, 0));
            assert_eq!(out, vec![seed_level; out.len()], "samples of an earlier use are heard");
            halves.intake.on_period(&out, captured_at(turn * frame as u64, frame, rate, 0));
            if turn < 4 {
                let now = captured_at(turn * frame as u64, frame, rate, 0).called;
                halves.capture.poll(&|| now, &mut |frame: &Frame<960>| {
                    assert_eq!(
                        (frame.stamp.lost, frame.stamp.position),
                        (0, heard.len() as u64 / u64::from(channels))
                    );
                    heard.extend_from_slice(frame.samples());
                });
            }
        }
        track.push(&[seed_level; 12]).unwrap();
        track.id()
    };
    assert_eq!(first, 1, "track ids start from 1");
    assert_eq!(heard, vec![seed_level; heard.len()]);
    assert_eq!(heard.len(), 4 * out.len());
    assert_eq!(halves.capture.voice_mut().resets, 0);

    // Dropping one half must not require another.
    let mut order: Vec<u8> = (0..6).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.range(0, i as u64 + 1) as usize);
    }
    let (mut intake, mut outlet) = (Some(halves.intake), Some(halves.outlet));
    let (mut capture, mut playback) = (Some(halves.capture), Some(halves.playback));
    let (mut tracks, mut events) = (Some(halves.tracks), Some(halves.events));
    for part in order {
        match part {
            0 => drop(intake.take()),
            1 => drop(outlet.take()),
            2 => drop(capture.take()),
            3 => drop(playback.take()),
            4 => drop(tracks.take()),
            _ => drop(events.take()),
        }
        // The remaining halves continue to work.
        if let Some(intake) = &mut intake {
            intake.on_period(&out, captured_at(8 * frame as u64, frame, rate, 0));
        }
        if let Some(outlet) = &mut outlet {
            outlet.on_period(&mut out, played_at(8 * frame as u64, rate, 0));
        }
        if let Some(playback) = &mut playback {
            playback.poll();
        }
        if let Some(capture) = &mut capture {
            capture.poll(&|| Instant::ORIGIN, &mut |_: &Frame<960>| {});
        }
        if let Some(tracks) = &tracks {
            // Without the playback worker no slot is freed, which gives an error rather than a panic.
            drop(tracks.open());
        }
    }
}

#[test]
fn a_session_is_reusable_after_its_halves_drop_in_any_order() {
    for_seeds(10, |rng| {
        let mut session = Box::new(StaticSession::new());
        for level in 1..=40 {
            exercise_session(&mut session, rng, level * 700);
        }
    });
}

#[test]
fn a_refused_split_leaves_the_session_usable() {
    let mut session = Box::new(Session::<480, 1, 3, 3, 3, 2, 480>::new());
    let rate = SampleRate::new(48_000).unwrap();
    let terminal = SessionFormat { rate, near_channels: 2, far_channels: 1 };
    assert!(session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).is_err());
    let terminal = SessionFormat { rate, near_channels: 1, far_channels: 1 };
    assert!(session.split::<NoopRawMutex, _, _>(terminal, Bypass, ()).is_ok());
}

#[test]
fn a_session_that_is_split_again_opens_tracks_again() {
    let mut session = Box::new(StaticSession::new());
    let format = SessionFormat { rate: SampleRate::new(48_000).unwrap(), near_channels: 1, far_channels: 1 };
    let halves = session.split::<NoopRawMutex, _, _>(format, Bypass, ()).unwrap();
    halves.tracks.end_input();
    assert!(halves.tracks.open().is_err(), "the input has ended");
    let halves = session.split::<NoopRawMutex, _, _>(format, Bypass, ()).unwrap();
    assert!(halves.tracks.open().is_ok(), "the session starts anew");
}
