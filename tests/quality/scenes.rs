//! Control side: the scenes of `make quality`, and the figures that are measured in each.

use handsfree_tests::echo_rooms::{
    CHANGE_S, Distortion, EchoScene, SCENE_S, SceneConfig, TALK_S, reduction_db, talker_kept,
};

/// Scene with its name and room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamedScene {
    /// Name in tables and file names.
    pub(crate) name: &'static str,
    /// Reverberation time, in seconds.
    pub(crate) rt60_s: f64,
    /// What happens.
    pub(crate) config: SceneConfig,
}

const FAR: SceneConfig = SceneConfig::FAR_END;
const TALK: SceneConfig = SceneConfig { talker_db: Some(0.0), ..FAR };

const fn scene(name: &'static str, rt60_s: f64, config: SceneConfig) -> NamedScene {
    NamedScene { name, rt60_s, config }
}

/// All scenes. Only the far end speaks, unless the name has a talker.
pub(crate) const SCENES: [NamedScene; 17] = [
    scene("far end, RT60 0.15 s", 0.15, FAR),
    scene("far end, RT60 0.3 s", 0.3, FAR),
    scene("far end, RT60 0.6 s", 0.6, FAR),
    scene("loud echo, return loss -6 dB", 0.3, SceneConfig { echo_return_loss_db: -6.0, ..FAR }),
    scene("faint echo, return loss 20 dB", 0.3, SceneConfig { echo_return_loss_db: 20.0, ..FAR }),
    scene("noise 24 dB below the echo", 0.3, SceneConfig { noise_dbfs: -50.0, ..FAR }),
    scene("distortion, tanh 4", 0.3, SceneConfig { distortion: Distortion::Tanh(4.0), ..FAR }),
    scene("distortion, asymmetric 4", 0.3, SceneConfig { distortion: Distortion::Asymmetric(4.0), ..FAR }),
    scene("path change at 6 s", 0.3, SceneConfig { path_change: true, ..FAR }),
    scene("music", 0.3, SceneConfig { music: true, ..FAR }),
    scene("talker 10 dB above the echo", 0.3, SceneConfig { talker_db: Some(10.0), ..FAR }),
    scene("talker as loud as the echo", 0.3, TALK),
    scene("talker 10 dB below the echo", 0.3, SceneConfig { talker_db: Some(-10.0), ..FAR }),
    scene("talker as loud, RT60 0.6 s", 0.6, TALK),
    scene("talker over music", 0.3, SceneConfig { music: true, ..TALK }),
    scene("talker from the start", 0.3, SceneConfig { talks_from_s: 0, ..TALK }),
    scene("talker with headphones", 0.3, SceneConfig { headphones: true, ..TALK }),
];

impl NamedScene {
    /// Returns the names of the figures, in the order of [`figures`](Self::figures).
    pub(crate) fn figure_names(&self) -> [&'static str; 2] {
        match (self.config.talker_db, self.config.path_change) {
            (Some(_), _) => ["gain of the talker", "SDR of the talker"],
            (None, true) => ["reduction 1 to 2 s after", "reduction 10 to 12 s"],
            (None, false) => ["reduction in second 1", "reduction 8 to 12 s"],
        }
    }

    /// Measures an output, in dB.
    pub(crate) fn figures(&self, scene: &EchoScene, output: &[f32]) -> [f64; 2] {
        if self.config.talker_db.is_some() {
            // Who speaks from the start is measured while a canceller knows nothing.
            let seconds = if self.config.talks_from_s == 0 { 0..3 } else { TALK_S + 1..SCENE_S };
            let kept = talker_kept(scene, output, seconds);
            return [kept.gain_db, kept.sdr_db];
        }
        let [early, late] = match self.config.path_change {
            true => [CHANGE_S + 1..CHANGE_S + 2, CHANGE_S + 4..SCENE_S],
            false => [0..1, 8..SCENE_S],
        };
        [reduction_db(scene, output, early), reduction_db(scene, output, late)]
    }

    /// Returns how much worse a figure became, in dB: a reduction or an SDR that fell, a gain that left 0 dB.
    pub(crate) fn loss_db(&self, at: usize, before: f64, now: f64) -> f64 {
        let is_gain = at == 0 && self.config.talker_db.is_some();
        if is_gain { now.abs() - before.abs() } else { before - now }
    }

    /// Returns the name with which this scene's files begin.
    pub(crate) fn file_stem(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        self.name.replace(", ", " ").chars().map(plain).collect()
    }
}
