//! A change of the default device while a stream runs, while its device is missing, and while devices are listed.

use std::sync::atomic::Ordering;

use cpal::ErrorKind as Kind;
use handsfree_core::SampleRate;
use handsfree_core::audio_io::{Direction, Event, StreamHalves};
use handsfree_cpal::CpalIo;
use handsfree_host::clock;
use handsfree_host::supervisor::{
    DirectionConfig, DirectionState, FIRST_RETRY_DELAY, Notice, StreamSupervisor,
};

use crate::host::{HostScript, instant};
use crate::scripted_rig::{CAP, ScriptedRig, until};

type ScriptedSupervisor = StreamSupervisor<'static, CpalIo<CAP, 2>, CAP, 2>;

fn direction_config(device: Option<&str>) -> DirectionConfig {
    DirectionConfig {
        device: device.map(str::to_owned),
        ..DirectionConfig::new(SampleRate::new(48_000).unwrap())
    }
}

/// Returns a supervisor with playback running on the default loudspeaker.
fn playing() -> (ScriptedSupervisor, HostScript) {
    let mut rig = ScriptedRig::new();
    let halves = StreamHalves { intake: None, outlet: rig.stream_halves.take().unwrap().outlet };
    let mut supervisor = StreamSupervisor::new(rig.io, halves);
    supervisor.open(None, Some(&direction_config(None)), clock::now()).unwrap();
    (supervisor, rig.script)
}

/// Waits until the device monitor has completed a poll. Requires that only the monitor queries the default
/// device.
fn await_poll(script: &HostScript) {
    let queries = script.default_queries.load(Ordering::Relaxed);
    until("the device monitor polls", || script.default_queries.load(Ordering::Relaxed) > queries + 2);
}

#[test]
fn only_unnamed_streams_are_restarted_on_another_default() {
    let (mut supervisor, script) = playing();
    let notice_of_change = |supervisor: &mut ScriptedSupervisor, system_moves: bool| {
        // The device monitor must have seen the previous default, and only the monitor queries it now.
        let queries = script.default_queries.load(Ordering::Relaxed);
        until("the device monitor polls", || script.default_queries.load(Ordering::Relaxed) > queries + 1);
        if system_moves {
            script.fail(Kind::DeviceChanged);
        }
        script.default.fetch_add(1, Ordering::Relaxed);
        let mut notice = None;
        let mut out = [0_i16; 480];
        let mut now_ms = 0;
        until("the change is reported", || {
            // Callbacks keep the stream from being lost.
            now_ms += 10;
            script.play(None, &mut out, instant(now_ms), instant(now_ms + 30));
            notice = supervisor.poll(clock::now());
            notice.is_some()
        });
        assert_eq!(supervisor.poll(clock::now()), None, "reported once");
        notice.unwrap()
    };
    let playback = Direction::Playback;
    let device = |supervisor: &ScriptedSupervisor| {
        let opened_on = script.opened_on.lock().unwrap().clone();
        (supervisor.io().playback().unwrap().device.clone(), opened_on)
    };
    let notice = notice_of_change(&mut supervisor, false);
    assert!(matches!(notice, Notice::Moved { direction, .. } if direction == playback), "{notice:?}");
    assert_eq!(
        device(&supervisor),
        ("alsa:loudspeaker 1".to_owned(), vec![0, 1]),
        "the stream was restarted"
    );
    let notice = notice_of_change(&mut supervisor, true);
    assert!(matches!(notice, Notice::Moved { direction, .. } if direction == playback), "{notice:?}");
    assert_eq!(
        device(&supervisor),
        ("alsa:loudspeaker 2".to_owned(), vec![0, 1]),
        "the stream was not restarted"
    );
    supervisor.close(playback);
    supervisor.open(None, Some(&direction_config(Some("alsa:loudspeaker 2"))), clock::now()).unwrap();
    assert_eq!(
        notice_of_change(&mut supervisor, false),
        Notice::Host(Event::DefaultChanged { direction: playback })
    );
    assert_eq!(device(&supervisor), ("alsa:loudspeaker 2".to_owned(), vec![0, 1, 2]), "the stream stays");
}

/// Returns the supervisor's notices after a loss, without those of the change of the default device.
fn notices_after_a_loss(others: u32, change_first: bool) -> Vec<Notice> {
    let (mut supervisor, script) = playing();
    let playback = Direction::Playback;
    await_poll(&script);
    script.gone.store(true, Ordering::Relaxed);
    script.fail(Kind::DeviceNotAvailable);
    let lost_at = clock::now();
    let mut notices: Vec<_> = supervisor.poll(lost_at).into_iter().collect();
    script.default.fetch_add(others, Ordering::Relaxed);
    script.gone.store(false, Ordering::Relaxed);
    if change_first {
        // The supervisor's clock stands still, so it does not retry.
        await_poll(&script);
        notices.extend(std::iter::from_fn(|| supervisor.poll(lost_at)));
        assert_eq!(supervisor.state(playback), DirectionState::Waiting);
    }
    let later = lost_at + FIRST_RETRY_DELAY;
    let mut play = {
        let (script, mut now_ms) = (script.clone(), 0);
        move || {
            now_ms += 10;
            script.play(None, &mut [0; 480], instant(now_ms), instant(now_ms + 30));
        }
    };
    notices.extend(std::iter::from_fn(|| supervisor.poll(later)));
    assert!(matches!(supervisor.state(playback), DirectionState::Running(_)), "{notices:?}");
    let queries = script.default_queries.load(Ordering::Relaxed);
    until("the device monitor polls after the return", || {
        play();
        notices.extend(supervisor.poll(later));
        script.default_queries.load(Ordering::Relaxed) > queries + 2
    });
    notices.extend(std::iter::from_fn(|| supervisor.poll(later)));
    notices.retain(|notice| *notice != Notice::Host(Event::DefaultChanged { direction: playback }));
    notices
}

#[test]
fn a_return_on_another_default_device_is_reported_as_a_move() {
    for change_first in [true, false] {
        let notices = notices_after_a_loss(1, change_first);
        assert!(
            matches!(notices[..], [Notice::Lost { .. }, Notice::Returned { .. }, Notice::Moved { .. }]),
            "{change_first}: {notices:?}"
        );
        let notices = notices_after_a_loss(0, change_first);
        assert!(
            matches!(notices[..], [Notice::Lost { .. }, Notice::Returned { .. }]),
            "same device: {notices:?}"
        );
    }
}

#[test]
fn a_changed_default_is_noticed_while_devices_are_listed() {
    for lists_continuously in [false, true] {
        let mut rig = ScriptedRig::new();
        rig.io.list().unwrap();
        rig.script.default.fetch_add(1, Ordering::Relaxed);
        let mut events = Vec::new();
        until("the change is reported", || {
            if lists_continuously {
                rig.io.list().unwrap();
            }
            events.extend(rig.events());
            !events.is_empty()
        });
        assert_eq!(events, [Event::DefaultChanged { direction: Direction::Playback }]);
    }
}
