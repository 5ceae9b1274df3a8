//! Another default device, while a stream runs, while its device is away, and while devices are listed.

use std::sync::atomic::Ordering;

use cpal::ErrorKind as Kind;
use handsfree_core::SampleRate;
use handsfree_core::audio_io::{Direction, Event, StreamHalves};
use handsfree_cpal::CpalIo;
use handsfree_host::clock;
use handsfree_host::supervisor::{DirectionConfig, DirectionState, FIRST_RETRY, Notice, StreamSupervisor};

use crate::rig::{CAP, Rig, until};
use crate::studio::{Studio, instant};

type StudioSupervisor = StreamSupervisor<'static, CpalIo<CAP, 2>, CAP, 2>;

fn plan(device: Option<&str>) -> DirectionConfig {
    DirectionConfig {
        device: device.map(str::to_owned),
        ..DirectionConfig::new(SampleRate::new(48_000).unwrap())
    }
}

/// A supervisor whose playback runs on the default loudspeaker.
fn playing() -> (StudioSupervisor, Studio) {
    let mut rig = Rig::new();
    let halves = StreamHalves { intake: None, outlet: rig.stream_halves.take().unwrap().outlet };
    let mut supervisor = StreamSupervisor::new(rig.io, halves);
    supervisor.open(None, Some(&plan(None)), clock::now()).unwrap();
    (supervisor, rig.studio)
}

/// Waits until the lookout has looked from its beginning to its end; nobody else may ask for the default.
fn let_look(studio: &Studio) {
    let asked = studio.asked.load(Ordering::Relaxed);
    until("the lookout looks", || studio.asked.load(Ordering::Relaxed) > asked + 2);
}

#[test]
fn another_default_is_followed_unless_the_system_has_taken_the_stream_there_or_it_has_a_name() {
    let (mut supervisor, studio) = playing();
    let told = |supervisor: &mut StudioSupervisor, system_moves: bool| {
        // The lookout has to have seen the one before, and only it asks now.
        let asked = studio.asked.load(Ordering::Relaxed);
        until("the lookout looks", || studio.asked.load(Ordering::Relaxed) > asked + 1);
        if system_moves {
            studio.fail(Kind::DeviceChanged);
        }
        studio.default.fetch_add(1, Ordering::Relaxed);
        let mut notice = None;
        let mut out = [0_i16; 480];
        let mut now_ms = 0;
        until("the change is told", || {
            // A stream that calls nobody is lost.
            now_ms += 10;
            studio.listen(None, &mut out, instant(now_ms), instant(now_ms + 30));
            notice = supervisor.poll(clock::now());
            notice.is_some()
        });
        assert_eq!(supervisor.poll(clock::now()), None, "once");
        notice.unwrap()
    };
    let playback = Direction::Playback;
    let device = |supervisor: &StudioSupervisor| {
        let opened_on = studio.opened_on.lock().unwrap().clone();
        (supervisor.io().playback().unwrap().device.clone(), opened_on)
    };
    let notice = told(&mut supervisor, false);
    assert!(matches!(notice, Notice::Moved { direction, .. } if direction == playback), "{notice:?}");
    assert_eq!(device(&supervisor), ("alsa:loudspeaker 1".to_owned(), vec![0, 1]), "it was started anew");
    let notice = told(&mut supervisor, true);
    assert!(matches!(notice, Notice::Moved { direction, .. } if direction == playback), "{notice:?}");
    assert_eq!(device(&supervisor), ("alsa:loudspeaker 2".to_owned(), vec![0, 1]), "it runs on");
    supervisor.close(playback);
    supervisor.open(None, Some(&plan(Some("alsa:loudspeaker 2"))), clock::now()).unwrap();
    assert_eq!(told(&mut supervisor, false), Notice::Host(Event::DefaultChanged { direction: playback }));
    assert_eq!(device(&supervisor), ("alsa:loudspeaker 2".to_owned(), vec![0, 1, 2]), "it stays");
}

/// What the supervisor tells from the loss on, but for the change itself.
fn told_of_a_loss(others: u32, change_first: bool) -> Vec<Notice> {
    let (mut supervisor, studio) = playing();
    let playback = Direction::Playback;
    let_look(&studio);
    studio.gone.store(true, Ordering::Relaxed);
    studio.fail(Kind::DeviceNotAvailable);
    let lost = clock::now();
    let mut notices: Vec<_> = supervisor.poll(lost).into_iter().collect();
    studio.default.fetch_add(others, Ordering::Relaxed);
    studio.gone.store(false, Ordering::Relaxed);
    if change_first {
        // By the supervisor's clock no time passes, so it tries nothing.
        let_look(&studio);
        notices.extend(std::iter::from_fn(|| supervisor.poll(lost)));
        assert_eq!(supervisor.state(playback), DirectionState::Waiting);
    }
    let later = lost + FIRST_RETRY;
    let mut listen = {
        let (studio, mut now_ms) = (studio.clone(), 0);
        move || {
            now_ms += 10;
            studio.listen(None, &mut [0; 480], instant(now_ms), instant(now_ms + 30));
        }
    };
    notices.extend(std::iter::from_fn(|| supervisor.poll(later)));
    assert!(matches!(supervisor.state(playback), DirectionState::Running(_)), "{notices:?}");
    let asked = studio.asked.load(Ordering::Relaxed);
    until("the lookout has looked after the return", || {
        listen();
        notices.extend(supervisor.poll(later));
        studio.asked.load(Ordering::Relaxed) > asked + 2
    });
    notices.extend(std::iter::from_fn(|| supervisor.poll(later)));
    notices.retain(|notice| *notice != Notice::Host(Event::DefaultChanged { direction: playback }));
    notices
}

#[test]
fn what_returns_on_another_default_device_is_told_to_have_moved_whether_the_change_is_seen_before_or_after() {
    for change_first in [true, false] {
        let notices = told_of_a_loss(1, change_first);
        assert!(
            matches!(notices[..], [Notice::Lost { .. }, Notice::Returned { .. }, Notice::Moved { .. }]),
            "{change_first}: {notices:?}"
        );
        let notices = told_of_a_loss(0, change_first);
        assert!(
            matches!(notices[..], [Notice::Lost { .. }, Notice::Returned { .. }]),
            "the same one: {notices:?}"
        );
    }
}

#[test]
fn another_default_is_seen_from_the_first_list_on_and_however_often_devices_are_listed() {
    for lists_all_the_time in [false, true] {
        let mut rig = Rig::new();
        rig.io.list().unwrap();
        rig.studio.default.fetch_add(1, Ordering::Relaxed);
        let mut events = Vec::new();
        until("the change is told", || {
            if lists_all_the_time {
                rig.io.list().unwrap();
            }
            events.extend(rig.events());
            !events.is_empty()
        });
        assert_eq!(events, [Event::DefaultChanged { direction: Direction::Playback }]);
    }
}
