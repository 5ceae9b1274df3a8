//! The echo canceller in controlled rooms: convergence, path changes, double talk, distortion, headphones.
#![allow(missing_docs)]

use handsfree_core::canceller::CancellerSettings;
use handsfree_tests::echo_rooms::*;

#[test]
fn print_all() {
    for rt60_s in [0.3, 0.6] {
        let mut sums = [0.0; 12];
        for seed in 1..=5 {
            let config = SceneConfig::far_end(seed, rt60_s);
            let scene = EchoScene::new(config);
            let out = cancel(&scene, CancellerSettings::DEFAULT);
            let changed = EchoScene::new(SceneConfig { path_change: true, ..config });
            let changed_out = cancel(&changed, CancellerSettings::DEFAULT);
            let mut row = vec![
                reduction_db(&scene, &out.linear, 0..1),
                reduction_db(&scene, &out.linear, 1..2),
                reduction_db(&scene, &out.linear, 8..12),
                reduction_db(&changed, &changed_out.linear, CHANGE_S + 1..CHANGE_S + 2),
                reduction_db(&scene, &out.full, 0..1),
                reduction_db(&scene, &out.full, 8..12),
            ];
            for level in [0.0, -10.0] {
                let scene = EchoScene::new(SceneConfig { talker_db: Some(level), ..config });
                let out = cancel(&scene, CancellerSettings::DEFAULT);
                let kept = talker_kept(&scene, &out.full, TALK_S + 1..SCENE_S);
                row.extend([kept.gain_db, kept.sdr_db]);
            }
            println!("rt {rt60_s} seed {seed}: {row:.1?}");
            for (sum, x) in sums.iter_mut().zip(&row) {
                *sum += x / 5.0;
            }
        }
        println!("rt {rt60_s} mean: {sums:.1?}");
    }
}
