//! Application side: what an agent does when a person speaks while it speaks.

use super::SpeechEvent;

/// What an agent is to do with its voice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BargeInAction {
    /// Pause the voice: a person may have started to speak.
    Pause,
    /// Turn the voice down: a person may have started to speak.
    Duck,
    /// Go on at full level: it was a cough.
    Resume,
    /// Stop and forget the rest: a person speaks.
    Interrupt,
}

/// Policy for a person who speaks over an agent.
///
/// The voice is paused or turned down at once. If the sound ends before it is
/// [`Confirmed`](SpeechEvent::Confirmed), it was a cough, and the voice goes on; otherwise it is interrupted.
/// After a pause the interruption takes effect at the sample where the voice was paused:
/// [`Track::interrupted_at`](crate::playback::Track::interrupted_at) then returns what was heard.
///
/// ```
/// use handsfree_core::speech::{BargeIn, BargeInAction, SpeechEvent, SpeechPoint};
///
/// let mut barge_in = BargeIn::pausing();
/// let here = SpeechPoint::default();
/// assert_eq!(barge_in.observe(SpeechEvent::Started(here), true), Some(BargeInAction::Pause));
/// assert_eq!(barge_in.observe(SpeechEvent::Ended(here), true), Some(BargeInAction::Resume));
/// assert_eq!(barge_in.observe(SpeechEvent::Started(here), true), Some(BargeInAction::Pause));
/// assert_eq!(barge_in.observe(SpeechEvent::Confirmed(here), true), Some(BargeInAction::Interrupt));
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BargeIn {
    /// What is done when speech starts.
    first: BargeInAction,
    /// Whether the agent's voice is paused or turned down.
    is_held: bool,
}

impl BargeIn {
    /// Returns a policy that pauses the voice when a person starts to speak.
    #[must_use]
    pub const fn pausing() -> Self {
        Self { first: BargeInAction::Pause, is_held: false }
    }

    /// Returns a policy that turns the voice down when a person starts to speak.
    #[must_use]
    pub const fn ducking() -> Self {
        Self { first: BargeInAction::Duck, is_held: false }
    }

    /// Takes an event of the person's speech, and whether the agent speaks or is held now; returns what the
    /// agent is to do.
    pub fn observe(&mut self, event: SpeechEvent, agent_speaks: bool) -> Option<BargeInAction> {
        let was_held = core::mem::replace(&mut self.is_held, false);
        match event {
            SpeechEvent::Started(_) if agent_speaks => {
                self.is_held = true;
                Some(self.first)
            }
            SpeechEvent::Started(_) => None,
            SpeechEvent::Confirmed(_) => (was_held || agent_speaks).then_some(BargeInAction::Interrupt),
            SpeechEvent::Ended(_) => was_held.then_some(BargeInAction::Resume),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::SpeechPoint;
    use BargeInAction::{Duck, Interrupt, Resume};
    use SpeechEvent::{Confirmed, Ended, Started};

    const HERE: SpeechPoint = SpeechPoint { at: crate::Instant::ORIGIN, position: 0 };

    #[test]
    fn a_silent_agent_is_left_alone() {
        let mut barge_in = BargeIn::pausing();
        for event in [Started(HERE), Confirmed(HERE), Ended(HERE), Started(HERE), Ended(HERE)] {
            assert_eq!(barge_in.observe(event, false), None);
        }
    }

    #[test]
    fn each_hold_ends_in_exactly_one_action() {
        let mut barge_in = BargeIn::ducking();
        assert_eq!(barge_in.observe(Started(HERE), true), Some(Duck));
        assert_eq!(barge_in.observe(Confirmed(HERE), true), Some(Interrupt));
        assert_eq!(barge_in.observe(Ended(HERE), true), None);
        assert_eq!(barge_in.observe(Started(HERE), true), Some(Duck));
        assert_eq!(barge_in.observe(Ended(HERE), false), Some(Resume), "also if the voice ended meanwhile");
    }

    #[test]
    fn an_agent_that_starts_over_a_talker_is_interrupted() {
        let mut barge_in = BargeIn::pausing();
        assert_eq!(barge_in.observe(Started(HERE), false), None);
        assert_eq!(barge_in.observe(Confirmed(HERE), true), Some(Interrupt));
    }
}
