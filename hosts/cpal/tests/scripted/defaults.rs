//! Another default device, while a stream runs, while its device is away, and while devices are listed.

use std::sync::atomic::Ordering;

use cpal::ErrorKind as Kind;
use handsfree_core::SampleRate;
use handsfree_core::audio_io::{Direction, Ends, Event};
use handsfree_cpal::CpalIo;
use handsfree_host::clock;
use handsfree_host::watch::{EndPlan, Keeper, Notice};

use crate::rig::{CAP, Rig, until};
use crate::studio::instant;

#[test]
fn another_default_is_followed_unless_the_system_has_taken_the_stream_there_or_it_has_a_name() {
    let mut rig = Rig::new();
    let studio = rig.studio.clone();
    let ends = Ends { intake: None, outlet: rig.ends.take().unwrap().outlet };
    let mut keeper = Keeper::new(rig.io, ends);
    let plan = |device: Option<&str>| EndPlan {
        device: device.map(str::to_owned),
        ..EndPlan::new(SampleRate::new(48_000).unwrap())
    };
    keeper.open(None, Some(&plan(None)), clock::now()).unwrap();
    let told = |keeper: &mut Keeper<'static, CpalIo<CAP, 2>, CAP, 2>, system_moves: bool| {
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
            notice = keeper.poll(clock::now());
            notice.is_some()
        });
        assert_eq!(keeper.poll(clock::now()), None, "once");
        notice.unwrap()
    };
    let playback = Direction::Playback;
    let device = |keeper: &Keeper<'static, CpalIo<CAP, 2>, CAP, 2>| {
        let opened_on = rig.studio.opened_on.lock().unwrap().clone();
        (keeper.io().playback().unwrap().device.clone(), opened_on)
    };
    let notice = told(&mut keeper, false);
    assert!(matches!(notice, Notice::Moved { direction, .. } if direction == playback), "{notice:?}");
    assert_eq!(device(&keeper), ("alsa:loudspeaker 1".to_owned(), vec![0, 1]), "it was started anew");
    let notice = told(&mut keeper, true);
    assert!(matches!(notice, Notice::Moved { direction, .. } if direction == playback), "{notice:?}");
    assert_eq!(device(&keeper), ("alsa:loudspeaker 2".to_owned(), vec![0, 1]), "it runs on");
    keeper.close(playback);
    keeper.open(None, Some(&plan(Some("alsa:loudspeaker 2"))), clock::now()).unwrap();
    assert_eq!(told(&mut keeper, false), Notice::Host(Event::DefaultChanged { direction: playback }));
    assert_eq!(device(&keeper), ("alsa:loudspeaker 2".to_owned(), vec![0, 1, 2]), "it stays");
}
